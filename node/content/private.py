"""Private content: sealed to recipients before it gets a CID, so that what travels and is stored is ciphertext.

    "swarmd-private\\n" | length of the header, 4 bytes | header, canonical CBOR | chunks

The header has one box for each recipient: the content's key, sealed (libsodium's sealed box) to the X25519 form of the
Ed25519 key in the recipient's did:key. It does not say who they are; a reader tries each box. Chunks of 64 KiB are secret
boxes under a key that the header goes into, numbered, the last one marked (STREAM, https://eprint.iacr.org/2015/189): what is
changed, moved or cut off does not open. Each content has a key of its own, so whoever is left out next time has nothing.
"""

import random
import secrets
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Final

import nacl.exceptions
from nacl.public import SealedBox
from nacl.secret import SecretBox
from nacl.signing import SigningKey, VerifyKey
from swarmd.node.content.unixfs import Readable
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.didkey import public_key_of
from swarmd.protocol.faults import LocalFault, RemoteFault

MAGIC: Final = b"swarmd-private\n"
FORMAT: Final = 1
CHUNK_BYTES: Final = 65_536
MAX_RECIPIENTS: Final = 256
_BOX_BYTES: Final = 32 + 48
_MAX_HEADER_BYTES: Final = 64 + MAX_RECIPIENTS * (_BOX_BYTES + 4)
_SEALED_CHUNK_BYTES: Final = CHUNK_BYTES + SecretBox.MACBYTES
_MORE, _LAST = 0, 1


def _nonce(number: int, kind: int) -> bytes:
    return number.to_bytes(SecretBox.NONCE_SIZE - 1, "big") + bytes([kind])


def _box(key: bytes, header: bytes) -> SecretBox:
    # The header goes into the key: boxes that were added, removed or swapped open nothing.
    return SecretBox(blake2b(header, digest_size=32, key=key).digest())


class Sealed:
    """A stream of the ciphertext of `stream`, for the DIDs in `recipients`; as `import_stream` reads it.

    LocalFault `no-recipient`, `too-many-recipients`, `bad-recipient`.
    """

    def __init__(self, stream: Readable, recipients: Iterable[str]) -> None:
        dids = sorted(set(recipients))
        if not dids:
            raise LocalFault("no-recipient", "nobody could ever open it", fix="--to DID")
        if len(dids) > MAX_RECIPIENTS:
            raise LocalFault("too-many-recipients", f"{len(dids)}; at most {MAX_RECIPIENTS} at once")
        key = secrets.token_bytes(32)
        boxes = [_seal_to(did, key) for did in dids]
        # Their order must not say whose is whose.
        random.SystemRandom().shuffle(boxes)
        header = encode({"boxes": boxes, "format": FORMAT})
        self._stream = stream
        self._box = _box(key, header)
        self._ready = bytearray(MAGIC + len(header).to_bytes(4, "big") + header)
        self._plain = bytearray()
        self._number = 0
        self._ended = False

    def read(self, size: int, /) -> bytes:
        while len(self._ready) < size and not self._ended:
            data = self._stream.read(CHUNK_BYTES * 8)
            self._plain += data
            # More than a chunk: the last one, which is marked, is only known at the end.
            while len(self._plain) > CHUNK_BYTES:
                self._seal(bytes(self._plain[:CHUNK_BYTES]), _MORE)
                del self._plain[:CHUNK_BYTES]
            if not data:
                self._seal(bytes(self._plain), _LAST)
                self._ended = True
        part = bytes(self._ready[:size])
        del self._ready[:size]
        return part

    def _seal(self, chunk: bytes, kind: int) -> None:
        self._ready += self._box.encrypt(chunk, _nonce(self._number, kind)).ciphertext
        self._number += 1


def _seal_to(did: str, key: bytes) -> bytes:
    try:
        public = VerifyKey(public_key_of(did)).to_curve25519_public_key()
    except (RemoteFault, nacl.exceptions.CryptoError, RuntimeError) as error:
        raise LocalFault(
            "bad-recipient", f"{did[:80]}: {error}", fix="a did:key of a node, as swarmd status shows"
        ) from None
    return SealedBox(public).encrypt(key)


def is_sealed(first: bytes) -> bool:
    """Does content that begins with these bytes look like private content?"""
    return first.startswith(MAGIC)


def unseal(parts: Iterator[bytes], seed: bytes) -> Iterator[bytes]:
    """The plaintext of private content, for the node whose 32-byte Ed25519 `seed` this is.

    LocalFault `not-private`, `not-for-us`; RemoteFault `bad-private` for what was changed or cut off. What came before a
    fault was authentic, but is not all: who writes it to a file removes that.
    """
    source = _Parts(parts)
    if source.exactly(len(MAGIC)) != MAGIC:
        raise LocalFault("not-private", "this content is not private", fix="leave --unseal out")
    size = int.from_bytes(source.exactly(4), "big")
    if size > _MAX_HEADER_BYTES:
        raise RemoteFault("bad-private", f"a header of {size} bytes")
    header = source.exactly(size)
    box = _box(_key_for(_boxes(header), seed), header)
    number = 0
    sealed = source.up_to(_SEALED_CHUNK_BYTES)
    while True:
        ahead = source.up_to(_SEALED_CHUNK_BYTES)
        try:
            chunk = box.decrypt(sealed, _nonce(number, _MORE if ahead else _LAST))
        except (nacl.exceptions.CryptoError, ValueError):
            raise RemoteFault(
                "bad-private", f"its part {number} was changed, or its end is cut off"
            ) from None
        if chunk:
            yield chunk
        if not ahead:
            return
        sealed, number = ahead, number + 1


def _boxes(header: bytes) -> Sequence[bytes]:
    try:
        fields = decode(header)
    except RemoteFault as fault:
        raise RemoteFault("bad-private", f"its header: {fault.message}") from None
    if type(fields) is not dict or set(fields) != {"boxes", "format"}:
        raise RemoteFault("bad-private", "its header makes no sense")
    if fields["format"] != FORMAT:
        raise RemoteFault("bad-private", f"format {fields['format']!r}; this swarmd knows {FORMAT}")
    boxes = fields["boxes"]
    if type(boxes) is not list or not all(type(box) is bytes and len(box) == _BOX_BYTES for box in boxes):
        raise RemoteFault("bad-private", "its boxes make no sense")
    return boxes


def _key_for(boxes: Sequence[bytes], seed: bytes) -> bytes:
    opener = SealedBox(SigningKey(seed).to_curve25519_private_key())
    for box in boxes:
        try:
            key = opener.decrypt(box)
        except nacl.exceptions.CryptoError:
            continue
        if len(key) == 32:
            return bytes(key)
    raise LocalFault(
        "not-for-us",
        "this content is sealed to others",
        fix="ask its author to seal it to this node's DID, too",
    )


class _Parts:
    """Pieces of any length out of pieces of another."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._buffer = bytearray()

    def up_to(self, size: int) -> bytes:
        while len(self._buffer) < size and (part := next(self._parts, None)) is not None:
            self._buffer += part
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def exactly(self, size: int) -> bytes:
        data = self.up_to(size)
        if len(data) < size:
            raise RemoteFault("bad-private", "it is cut off")
        return data
