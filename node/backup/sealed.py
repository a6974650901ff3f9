"""An encrypted stream in a file: a passphrase in, chunks that are each authenticated out, at constant memory.

    "swarmd-backup\\n" | length of the header, 2 bytes | header, canonical CBOR | SHA-256 of all that, 32 bytes
    | key check, 16 bytes | chunks: 64 KiB of plaintext each (the last one 0 to 64 KiB) and their MACs, 16 bytes

The key is BLAKE2b of the header under Argon2id of the passphrase, so a changed header opens nothing. Chunks are
SecretBoxes (XSalsa20-Poly1305) whose nonce is their number and whether they are the last: the STREAM construction
(Hoang et al., https://eprint.iacr.org/2015/189), as age has it. A chunk that is changed, moved, left out or cut off
does not open. The key is used for one file only (its salt is random), so counting nonces never repeat.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import Any, BinaryIO

import nacl.exceptions
import nacl.pwhash.argon2id as argon2id
from nacl.secret import SecretBox
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.faults import LocalFault, RemoteFault

MAGIC = b"swarmd-backup\n"
FORMAT = 1
CHUNK_BYTES = 65_536
_MAC_BYTES = SecretBox.MACBYTES
_MORE, _LAST, _CHECK = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one guess at the passphrase: passes over, and bytes of, memory."""

    passes: int = argon2id.OPSLIMIT_MODERATE
    memory_bytes: int = argon2id.MEMLIMIT_MODERATE


# What a file may ask of us before we know who wrote it.
MOST = Cost(passes=16, memory_bytes=1 << 30)


def _nonce(number: int, kind: int) -> bytes:
    return number.to_bytes(SecretBox.NONCE_SIZE - 1, "big") + bytes([kind])


def _box(passphrase: bytes, header: bytes, salt: bytes, cost: Cost) -> SecretBox:
    try:
        stretched = argon2id.kdf(32, passphrase, salt, opslimit=cost.passes, memlimit=cost.memory_bytes)
    except (MemoryError, RuntimeError, nacl.exceptions.CryptoError) as error:
        raise LocalFault(
            "no-memory",
            f"stretching the passphrase needs {cost.memory_bytes >> 20} MiB of memory: {error}",
            fix="free some memory",
        ) from None
    return SecretBox(blake2b(header, digest_size=32, key=stretched).digest())


class SealedWriter:
    """`write` what is to be encrypted into `file`, then `close`, without which the stream counts as truncated."""

    def __init__(self, file: BinaryIO, passphrase: bytes, cost: Cost = Cost()) -> None:
        salt = secrets.token_bytes(argon2id.SALTBYTES)
        header = encode({"format": FORMAT, "salt": salt, "passes": cost.passes, "memory": cost.memory_bytes})
        head = MAGIC + len(header).to_bytes(2, "big") + header
        self._file = file
        self._box = _box(passphrase, header, salt, cost)
        self._number = 0
        self._buffer = bytearray()
        file.write(head + sha256(head).digest() + self._box.encrypt(b"", _nonce(0, _CHECK)).ciphertext)

    def write(self, data: bytes) -> int:
        self._buffer += data
        # More than a chunk: the last one, which is marked, must not come out empty unless all is.
        while len(self._buffer) > CHUNK_BYTES:
            self._put(bytes(self._buffer[:CHUNK_BYTES]), _MORE)
            del self._buffer[:CHUNK_BYTES]
        return len(data)

    def close(self) -> None:
        self._put(bytes(self._buffer), _LAST)
        self._buffer.clear()

    def _put(self, chunk: bytes, kind: int) -> None:
        self._file.write(self._box.encrypt(chunk, _nonce(self._number, kind)).ciphertext)
        self._number += 1


class SealedReader:
    """`read(n)` what was written. LocalFault `bad-backup`, `newer-backup` or `wrong-passphrase`.

    `passphrase` is called once the file is known to be a backup. What `read` returned before it raises was
    authentic, but not all.
    """

    def __init__(self, file: BinaryIO, name: str, passphrase: Callable[[], bytes]) -> None:
        self._file = file
        self._name = name
        header = self._header()
        fields = self._fields(header)
        cost = Cost(fields["passes"], fields["memory"])
        self._box = _box(passphrase(), header, fields["salt"], cost)
        check = self._exactly(_MAC_BYTES)
        try:
            self._box.decrypt(check, _nonce(0, _CHECK))
        except nacl.exceptions.CryptoError:
            raise LocalFault(
                "wrong-passphrase",
                f"{name} does not open with this passphrase",
                fix="use the passphrase that the backup was made with",
            ) from None
        self._number = 0
        self._ahead = file.read(CHUNK_BYTES + _MAC_BYTES)
        self._buffer = b""
        self._ended = False

    def _damaged(self, what: str) -> LocalFault:
        return LocalFault(
            "bad-backup", f"{self._name} {what}", fix="take another copy of it, or an older backup"
        )

    def _exactly(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) != count:
            raise self._damaged("ends early: it is truncated")
        return data

    def _header(self) -> bytes:
        if self._file.read(len(MAGIC)) != MAGIC:
            raise LocalFault(
                "bad-backup",
                f"{self._name} is no backup of swarmd",
                fix="name a file that swarmd backup made",
            )
        size = self._exactly(2)
        header = self._exactly(int.from_bytes(size, "big"))
        if self._exactly(32) != sha256(MAGIC + size + header).digest():
            raise self._damaged("is damaged at its beginning")
        return header

    def _fields(self, header: bytes) -> dict[str, Any]:
        try:
            fields = decode(header)
            if type(fields) is dict and type(fields.get("format")) is int and fields["format"] > FORMAT:
                raise LocalFault(
                    "newer-backup",
                    f"{self._name} has format {fields['format']}, this swarmd knows {FORMAT}",
                    fix="use the swarmd that wrote it, or a newer one",
                )
            if (
                fields["format"] == FORMAT
                and len(fields["salt"]) == argon2id.SALTBYTES
                and argon2id.OPSLIMIT_MIN <= fields["passes"] <= MOST.passes
                and argon2id.MEMLIMIT_MIN <= fields["memory"] <= MOST.memory_bytes
            ):
                found: dict[str, Any] = fields
                return found
        except (RemoteFault, TypeError, KeyError):
            pass
        raise self._damaged("has a header that makes no sense")

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, all of them if it is negative; b"" at the end."""
        parts = [self._buffer]
        have = len(self._buffer)
        while not self._ended and (size < 0 or have < size):
            parts.append(self._next())
            have += len(parts[-1])
        data = b"".join(parts)
        cut = len(data) if size < 0 else min(size, len(data))
        self._buffer = data[cut:]
        return data[:cut]

    def _next(self) -> bytes:
        sealed = self._ahead
        self._ahead = self._file.read(CHUNK_BYTES + _MAC_BYTES) if sealed else b""
        kind = _MORE if self._ahead else _LAST
        try:
            chunk = self._box.decrypt(sealed, _nonce(self._number, kind))
        except (nacl.exceptions.CryptoError, ValueError):
            raise self._damaged(self._cause(sealed, kind)) from None
        self._number += 1
        self._ended = kind == _LAST
        return chunk

    def _cause(self, sealed: bytes, kind: int) -> str:
        if kind == _LAST:
            if len(sealed) < CHUNK_BYTES + _MAC_BYTES:
                return "is truncated, or damaged at its end"
            try:
                self._box.decrypt(sealed, _nonce(self._number, _MORE))
                return "is truncated"
            except nacl.exceptions.CryptoError:
                pass
        return f"is damaged in its part {self._number} of {CHUNK_BYTES >> 10} KiB"
