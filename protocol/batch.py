"""Batches, flushes and seals: how envelopes are signed.

A *batch* holds the envelopes of one author and bucket; its header (author, epoch, bucket, seq, prev, merkle root
of the envelopes) forms a hash chain per (author, epoch, bucket), so two headers with one seq prove equivocation.
A *flush* is what an author sends at once: batches of any buckets under ONE signature over the merkle root of
their headers. The *seal* of a batch is that signature with the header's merkle path, so a batch stands alone on
disk and in sync, and a single envelope can be shown to a third party (`EnvelopeProof`). One signature per flush
and not per bucket: docs/adr/0003-one-signature-per-flush.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import nacl.bindings
import nacl.exceptions
from swarmd.protocol import limits, merkle
from swarmd.protocol.cbor import BYTES, LIST, UINT, decode, encode_ordered, head_of
from swarmd.protocol.cids import dag_cbor_cid
from swarmd.protocol.didkey import public_key_of
from swarmd.protocol.envelope import Envelope, bucket_of, parse, reparse
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.heads import match_batch, uint

GENESIS_PREV = bytes(32)
FRAME_FLUSH = 1
_HEADER_FIELDS = ("v", "seq", "prev", "root", "count", "epoch", "author", "bucket")
Sign = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Seal:
    """The signature of the flush and the way from a batch header to what was signed."""

    signature: bytes
    index: int
    count: int
    path: tuple[bytes, ...]

    def to_list(self) -> list[Any]:
        return [self.signature, self.index, self.count, list(self.path)]


@dataclass(frozen=True, slots=True)
class Head:
    """What a batch's header says."""

    author: str
    epoch: int
    bucket: int
    seq: int
    prev: bytes
    root: bytes
    count: int


@dataclass(frozen=True, slots=True)
class Batch:
    """A verified link of an author's chain. `hash` is SHA-256 of the header's bytes."""

    author: str
    epoch: int
    bucket: int
    seq: int
    prev: bytes
    root: bytes
    envelopes: tuple[Envelope, ...]
    header: bytes
    hash: bytes
    seal: Seal


def _signing_input(mesh_id: bytes, root: bytes, count: int) -> bytes:
    # The domain separates flushes from every other thing we sign; the mesh id one mesh from the next.
    return b"swarmd/flush/1\0" + mesh_id + root + count.to_bytes(4, "big")


def sign_flush(
    mesh_id: bytes, author: str, groups: Sequence[tuple[int, int, int, bytes, Sequence[Envelope]]], sign: Sign
) -> tuple[bytes, list[Batch]]:
    """Seal groups of own envelopes: each (epoch, bucket, seq, prev hash, envelopes).

    Returns the frame to gossip and the sealed batches. `sign` makes the 64-byte Ed25519 signature of its input.
    """
    if not 1 <= len(groups) <= limits.MAX_BATCHES_PER_FLUSH:
        raise LocalFault("flush-size", f"{len(groups)} batches in a flush")
    headers = []
    roots = []
    for epoch, bucket, seq, prev, envelopes in groups:
        root = merkle.root_of([envelope.id for envelope in envelopes])
        roots.append(root)
        headers.append(
            encode_ordered(
                {
                    "v": limits.PROTOCOL_VERSION,
                    "seq": seq,
                    "prev": prev,
                    "root": root,
                    "count": len(envelopes),
                    "epoch": epoch,
                    "author": author,
                    "bucket": bucket,
                }
            )
        )
    flush_root, paths = merkle.root_and_proofs(headers)
    signature = sign(_signing_input(mesh_id, flush_root, len(headers)))
    batches = []
    for index, (group, root, header) in enumerate(zip(groups, roots, headers, strict=True)):
        epoch, bucket, seq, prev, envelopes = group
        seal = Seal(signature, index, len(headers), paths[index])
        batches.append(
            Batch(
                author=author,
                epoch=epoch,
                bucket=bucket,
                seq=seq,
                prev=prev,
                root=root,
                envelopes=tuple(envelopes),
                header=header,
                hash=sha256(header).digest(),
                seal=seal,
            )
        )
    return encode_flush(batches), batches


def encode_flush(batches: Sequence[Batch]) -> bytes:
    """The gossip frame of the batches of one flush, all of them, in order."""
    body = [[batch.header, [envelope.raw for envelope in batch.envelopes]] for batch in batches]
    return encode_ordered([FRAME_FLUSH, batches[0].seal.signature, body])


def parse_flush(mesh_id: bytes, value: Any) -> list[Batch]:
    """The batches of a decoded flush frame, signature verified once. RemoteFault for anything amiss."""
    if type(value) is not list or len(value) != 3 or type(value[0]) is not int or value[0] != FRAME_FLUSH:
        raise RemoteFault("bad-flush", "not [1, signature, batches]")
    _, signature, body = value
    if type(body) is not list or not 1 <= len(body) <= limits.MAX_BATCHES_PER_FLUSH:
        raise RemoteFault("bad-flush", f"1 to {limits.MAX_BATCHES_PER_FLUSH} batches")
    headers = []
    for entry in body:
        if type(entry) is not list or len(entry) != 2 or type(entry[0]) is not bytes:
            raise RemoteFault("bad-flush", "a batch is [header, envelopes]")
        headers.append(entry[0])
    heads = [_parse_header(header) for header in headers]
    author = heads[0].author
    if any(head.author != author for head in heads):
        raise RemoteFault("bad-flush", "one flush, one author")
    # Verify before the costlier parsing of envelopes: an unsigned flood is cheap to refuse.
    flush_root, paths = merkle.root_and_proofs(headers)
    _verify(mesh_id, author, flush_root, len(headers), signature)
    batches = []
    for index, (head, header, entry) in enumerate(zip(heads, headers, body, strict=True)):
        seal = Seal(signature, index, len(headers), paths[index])
        batches.append(_parse_batch(head, header, entry[1], seal))
    return batches


def batch_to_list(batch: Batch) -> list[Any]:
    """A batch with its seal, as it is stored and sent in sync: [header, [envelope bytes], seal]."""
    return [batch.header, [envelope.raw for envelope in batch.envelopes], batch.seal.to_list()]


def encode_sealed(batch: Batch) -> bytes:
    """`batch_to_list`, encoded; put together from bytes that are there."""
    raws, seal = [envelope.raw for envelope in batch.envelopes], batch.seal
    return b"".join(
        (
            b"\x83",
            head_of(BYTES, len(batch.header)),
            batch.header,
            head_of(LIST, len(raws)),
            *(part for raw in raws for part in (head_of(BYTES, len(raw)), raw)),
            b"\x84",
            head_of(BYTES, len(seal.signature)),
            seal.signature,
            head_of(UINT, seal.index),
            head_of(UINT, seal.count),
            head_of(LIST, len(seal.path)),
            *(part for node in seal.path for part in (b"\x58\x20", node)),
        )
    )


def parse_sealed(mesh_id: bytes, value: Any, verified: set[bytes] | None = None) -> Batch:
    """A batch from its list form. `verified` remembers (signature || root)s already checked in this exchange."""
    if type(value) is not list or len(value) != 3 or type(value[0]) is not bytes:
        raise RemoteFault("bad-batch", "not [header, envelopes, seal]")
    header, envelopes, seal_list = value
    head = _parse_header(header)
    seal = _parse_seal(seal_list)
    root = merkle.root_from_proof(header, seal.index, seal.count, seal.path)
    if root is None:
        raise RemoteFault("bad-seal", "the merkle path does not fit")
    key = seal.signature + root + head.author.encode()
    if verified is None or key not in verified:
        _verify(mesh_id, head.author, root, seal.count, seal.signature)
        if verified is not None:
            verified.add(key)
    return _parse_batch(head, header, envelopes, seal)


def reload_batch(value: Any) -> Batch:
    """A batch from our own journal: verified and checked when it came in. RemoteFault if its envelopes are no longer those
    of its header."""
    return _parse_batch(_parse_header(value[0]), value[0], value[1], _parse_seal(value[2]), reparse)


def sealed_envelopes(value: Any, batch_hash: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """The (id, bytes) of a batch from our own journal whose hash is known from elsewhere, for who only passes
    them on.

    RemoteFault if its header has not that hash, or they are not those of the header.
    """
    header, raws, _ = value
    found = match_batch(header) if sha256(header).digest() == batch_hash else None
    if found is None:
        raise RemoteFault("bad-batch", "the header is not that of the batch")
    ids = [dag_cbor_cid(raw) for raw in raws]
    if merkle.root_of(ids) != found.group(3):
        raise RemoteFault("bad-batch", "the envelopes do not hash to the header's root")
    return tuple(zip(ids, raws, strict=True))


def _parse_seal(value: Any) -> Seal:
    if type(value) is not list or len(value) != 4:
        raise RemoteFault("bad-seal", "not [signature, index, count, path]")
    signature, index, count, path = value
    if (
        type(signature) is not bytes
        or type(index) is not int
        or type(count) is not int
        or type(path) is not list
        or not 1 <= count <= limits.MAX_BATCHES_PER_FLUSH
        or not 0 <= index < count
        or len(path) > 8
        or any(type(node) is not bytes or len(node) != 32 for node in path)
    ):
        raise RemoteFault("bad-seal", "not [signature, index, count, path]")
    return Seal(signature, index, count, tuple(path))


def _verify(mesh_id: bytes, author: str, root: bytes, count: int, signature: Any) -> None:
    if type(signature) is not bytes or len(signature) != 64:
        raise RemoteFault("bad-signature", "an Ed25519 signature has 64 bytes")
    try:
        nacl.bindings.crypto_sign_open(
            signature + _signing_input(mesh_id, root, count), public_key_of(author)
        )
    except (nacl.exceptions.BadSignatureError, ValueError):
        raise RemoteFault("bad-signature", f"not signed by {author} for this mesh") from None


def _parse_header(header: bytes) -> Head:
    found = match_batch(header)
    if found is None:
        head = _header_by_decoder(header)
    else:
        seq, prev, root, count, epoch, author, bucket = found.groups()
        head = Head(author.decode(), uint(epoch), uint(bucket), uint(seq), prev, root, uint(count))
    if head.seq >= 1 << 62 or head.epoch >= 1 << 62:
        raise RemoteFault("bad-batch", "seq and epoch must be small non-negative integers")
    if head.bucket >= limits.BUCKETS or not 1 <= head.count <= limits.MAX_ENVELOPES_PER_BATCH:
        raise RemoteFault("bad-batch", "bucket or count out of range")
    if (head.seq == 0) != (head.prev == GENESIS_PREV):
        raise RemoteFault("bad-batch", "prev is zero exactly for seq 0")
    public_key_of(head.author)
    return head


def _header_by_decoder(header: bytes) -> Head:
    """For what the pattern does not know: it says what is wrong."""
    head = decode(header) if len(header) <= 512 else None
    if type(head) is not dict or tuple(head) != _HEADER_FIELDS:
        raise RemoteFault("bad-batch", f"the header's fields must be {', '.join(_HEADER_FIELDS)}")
    for name in ("v", "seq", "count", "epoch", "bucket"):
        if type(head[name]) is not int or not 0 <= head[name] < 1 << 62:
            raise RemoteFault("bad-batch", f"{name} must be a small non-negative integer")
    for name in ("prev", "root"):
        if type(head[name]) is not bytes or len(head[name]) != 32:
            raise RemoteFault("bad-batch", f"{name} must be 32 bytes")
    if head.pop("v") != limits.PROTOCOL_VERSION:
        raise RemoteFault("bad-version", f"a batch of another version; we speak {limits.PROTOCOL_VERSION}")
    return Head(**head)


def _parse_batch(
    head: Head, header: bytes, raws: Any, seal: Seal, parse: Callable[[bytes], Envelope] = parse
) -> Batch:
    if type(raws) is not list or len(raws) != head.count:
        raise RemoteFault("bad-batch", "the header counts other envelopes")
    envelopes = []
    author, epoch, bucket = head.author, head.epoch, head.bucket
    for raw in raws:
        if type(raw) is not bytes:
            raise RemoteFault("bad-batch", "an envelope is a byte string")
        envelope = parse(raw)
        if envelope.sender != author:
            raise RemoteFault("sender-mismatch", f"{envelope.kind} of {envelope.sender} in another's batch")
        if envelope.epoch != epoch or bucket_of(envelope.thread) != bucket:
            raise RemoteFault("bucket-mismatch", f"{envelope.kind} does not belong to this chain")
        envelopes.append(envelope)
    if merkle.root_of([envelope.id for envelope in envelopes]) != head.root:
        raise RemoteFault("bad-batch", "the envelopes do not hash to the header's root")
    return Batch(
        author=head.author,
        epoch=head.epoch,
        bucket=head.bucket,
        seq=head.seq,
        prev=head.prev,
        root=head.root,
        envelopes=tuple(envelopes),
        header=header,
        hash=sha256(header).digest(),
        seal=seal,
    )


@dataclass(frozen=True, slots=True)
class EnvelopeProof:
    """Shows one envelope to anybody, offline: envelope -> batch header -> signed flush root."""

    raw: bytes
    index: int
    count: int
    path: tuple[bytes, ...]
    header: bytes
    seal: Seal

    def to_list(self) -> list[Any]:
        return [self.raw, self.index, self.count, list(self.path), self.header, self.seal.to_list()]


def prove(batch: Batch, index: int) -> EnvelopeProof:
    """The proof of the batch's envelope number `index`."""
    ids = [envelope.id for envelope in batch.envelopes]
    return EnvelopeProof(
        raw=batch.envelopes[index].raw,
        index=index,
        count=len(ids),
        path=tuple(merkle.proof_of(ids, index)),
        header=batch.header,
        seal=batch.seal,
    )


def verify_proof(mesh_id: bytes, proof: EnvelopeProof) -> Envelope:
    """The proven envelope; RemoteFault if any step of the proof does not hold."""
    envelope = parse(proof.raw)
    head = _parse_header(proof.header)
    if proof.count != head.count or head.root != merkle.root_from_proof(
        envelope.id, proof.index, proof.count, proof.path
    ):
        raise RemoteFault("bad-proof", "the envelope is not in the batch")
    if envelope.sender != head.author:
        raise RemoteFault("sender-mismatch", "the batch is another author's")
    if envelope.epoch != head.epoch or bucket_of(envelope.thread) != head.bucket:
        raise RemoteFault("bucket-mismatch", "the envelope does not belong to the batch's chain")
    root = merkle.root_from_proof(proof.header, proof.seal.index, proof.seal.count, proof.seal.path)
    if root is None:
        raise RemoteFault("bad-proof", "the merkle path does not fit")
    _verify(mesh_id, head.author, root, proof.seal.count, proof.seal.signature)
    return envelope


def proof_from_list(value: Any) -> EnvelopeProof:
    """Decode `EnvelopeProof.to_list`; RemoteFault `bad-proof` if it is none."""
    if (
        type(value) is not list
        or len(value) != 6
        or type(value[0]) is not bytes
        or type(value[1]) is not int
        or type(value[2]) is not int
        or type(value[3]) is not list
        or any(type(node) is not bytes or len(node) != 32 for node in value[3])
        or type(value[4]) is not bytes
    ):
        raise RemoteFault("bad-proof", "not an envelope proof")
    return EnvelopeProof(value[0], value[1], value[2], tuple(value[3]), value[4], _parse_seal(value[5]))
