"""Envelope: one signed-for statement of one daemon about one need.

Its bytes are canonical dag-cbor; its id is the CIDv1 of those bytes. It carries no signature of its own: the
batch it travels in does (protocol/batch.py), and a merkle path shows that it belongs to that batch.
"""

import re
from base64 import b32encode
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from typing import Any

from swarmd.protocol import limits
from swarmd.protocol.cbor import Link, decode, decode_known, encode
from swarmd.protocol.cids import dag_cbor_cid
from swarmd.protocol.didkey import public_key_of
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.heads import CID_AT, LINK_BYTES, match_envelope, uint
from swarmd.protocol.kinds import THREAD_ID, check_payload

_is_thread_id = re.compile(THREAD_ID).fullmatch
_is_traceparent = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}").fullmatch
# dag-cbor order: shorter keys first, then bytewise.
_FIELDS = (
    "v",
    "eval",
    "kind",
    "refs",
    "epoch",
    "trace",
    "ts_ns",
    "policy",
    "sender",
    "thread",
    "lamport",
    "payload",
)


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    """A decoded, shape-checked envelope. Equal by id.

    `refs` are the ids (binary CIDs) of its causal parents; `policy` and `eval` are 32 bytes: the hash of the
    policy its author ran and the digest of its own ingress evaluation (adr/0013); `trace` is a W3C traceparent
    or "".
    """

    kind: str
    thread: str
    sender: str
    lamport: int
    ts_ns: int
    epoch: int
    payload: dict[str, Any]
    refs: tuple[Link, ...]
    policy: bytes
    eval: bytes
    trace: str
    raw: bytes
    id: bytes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Envelope) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)


def build(
    *,
    kind: str,
    thread: str,
    sender: str,
    lamport: int,
    ts_ns: int,
    epoch: int,
    payload: dict[str, Any],
    refs: tuple[bytes, ...],
    policy: bytes,
    eval_digest: bytes,
    trace: str = "",
) -> Envelope:
    """Make an envelope of our own; it passes the very checks a receiver makes."""
    raw = encode(
        {
            "v": limits.PROTOCOL_VERSION,
            "kind": kind,
            "thread": thread,
            "sender": sender,
            "lamport": lamport,
            "ts_ns": ts_ns,
            "epoch": epoch,
            "payload": payload,
            "refs": [Link(ref) for ref in refs],
            "policy": policy,
            "eval": eval_digest,
            "trace": trace,
        }
    )
    return parse(raw)


# Where the digest's bytes stand: map head, "v": 1, "eval", the head of a byte string of 32.
_EVAL_AT = 1 + 2 + 1 + 5 + 2


def evaluated(envelope: Envelope, eval_digest: bytes) -> Envelope:
    """The envelope with its policy evaluation's digest (32 bytes) put in, which changes its bytes and its id.

    The policy judges the envelope's own size, so it is built first and the digest, of fixed length, set after.
    """
    raw = envelope.raw[:_EVAL_AT] + eval_digest + envelope.raw[_EVAL_AT + 32 :]
    return replace(envelope, eval=eval_digest, raw=raw, id=dag_cbor_cid(raw))


def parse(raw: bytes) -> Envelope:
    """Decode and check one envelope; RemoteFault with a reason code for anything else."""
    return _parse_at_a_look(raw) or parse_by_decoder(raw)


def reparse(raw: bytes) -> Envelope:
    """`parse` of what was parsed before, in two thirds of the time: the caller compares its id with what was kept of it."""
    return _parse_at_a_look(raw, known=True) or parse_by_decoder(raw)


def _parse_at_a_look(raw: bytes, *, known: bool = False) -> Envelope | None:
    """What `parse_by_decoder` would give, in half the time; None for what that shall look at or refuse."""
    # A larger one may have too large a payload.
    head = match_envelope(raw) if len(raw) <= limits.MAX_PAYLOAD_BYTES else None
    if head is None:
        return None
    digest, kind, count, links, epoch, trace, ts, policy, author, thread, clock = head.groups()
    refs = [Link(links[at + CID_AT : at + LINK_BYTES]) for at in range(0, len(links), LINK_BYTES)]
    epoch, ts_ns, lamport = uint(epoch), uint(ts), uint(clock)
    if (
        len(refs) != (count[0] & 0x1F if len(count) == 1 else count[1])
        or (len(refs) > 1 and len(set(refs)) != len(refs))
        or not 1 <= lamport <= limits.MAX_LAMPORT
        or ts_ns >= 1 << 63
        or epoch >= 1 << 62
    ):
        return None
    sender, name = author.decode(), kind[1:].decode()
    try:
        if known:
            payload = decode_known(raw[head.end() :])
        else:
            public_key_of(sender)
            payload = decode(raw[head.end() :])
            check_payload(name, payload)
    except RemoteFault:
        return None
    return Envelope(
        kind=name,
        thread=thread.decode(),
        sender=sender,
        lamport=lamport,
        ts_ns=ts_ns,
        epoch=epoch,
        payload=payload,
        refs=tuple(refs),
        policy=policy,
        eval=digest,
        trace=trace.decode() if trace else "",
        raw=raw,
        id=dag_cbor_cid(raw),
    )


def parse_by_decoder(raw: bytes) -> Envelope:
    """`parse` for everything: whatever is wrong, it says what."""
    if len(raw) > limits.MAX_ENVELOPE_BYTES:
        raise RemoteFault("envelope-too-big", f"{len(raw)} bytes, at most {limits.MAX_ENVELOPE_BYTES}")
    fields = decode(raw)
    if type(fields) is not dict or tuple(fields) != _FIELDS:
        raise RemoteFault("bad-envelope", f"the fields must be {', '.join(_FIELDS)}")
    (version, digest, kind, refs, epoch, trace, ts_ns, policy, sender, thread, lamport, payload) = (
        fields.values()
    )
    if version != limits.PROTOCOL_VERSION or type(version) is not int:
        raise RemoteFault("bad-version", f"version {version!r}; we speak {limits.PROTOCOL_VERSION}")
    # Only an envelope of that size can hold such a payload; measured only then.
    if len(raw) > limits.MAX_PAYLOAD_BYTES and len(encode(payload)) > limits.MAX_PAYLOAD_BYTES:
        raise RemoteFault("payload-too-big", f"at most {limits.MAX_PAYLOAD_BYTES} bytes")
    _check_header(thread, lamport, ts_ns, epoch, trace)
    public_key_of(sender)
    for name, value in (("policy", policy), ("eval", digest)):
        if type(value) is not bytes or len(value) != 32:
            raise RemoteFault("bad-envelope", f"{name} must be 32 bytes")
    if type(refs) is not list or len(refs) > limits.MAX_REFS or any(type(r) is not Link for r in refs):
        raise RemoteFault("bad-envelope", f"refs must be at most {limits.MAX_REFS} links")
    if len(set(refs)) != len(refs):
        raise RemoteFault("bad-envelope", "refs repeat")
    check_payload(kind, payload)
    return Envelope(
        kind=kind,
        thread=thread,
        sender=sender,
        lamport=lamport,
        ts_ns=ts_ns,
        epoch=epoch,
        payload=payload,
        refs=tuple(refs),
        policy=policy,
        eval=digest,
        trace=trace,
        raw=raw,
        id=dag_cbor_cid(raw),
    )


def _check_header(thread: Any, lamport: Any, ts_ns: Any, epoch: Any, trace: Any) -> None:
    if type(thread) is not str or _is_thread_id(thread) is None:
        raise RemoteFault(
            "bad-envelope",
            "thread is no id of a need, an epoch, an account, an escrow or a place in the pool",
        )
    if type(lamport) is not int or not 1 <= lamport <= limits.MAX_LAMPORT:
        raise RemoteFault("bad-lamport", f"{lamport!r} is outside 1..2^62")
    if type(ts_ns) is not int or not 0 <= ts_ns < 1 << 63:
        raise RemoteFault("bad-envelope", "ts_ns must be nanoseconds since 1970")
    if type(epoch) is not int or not 0 <= epoch < 1 << 62:
        raise RemoteFault("bad-envelope", "epoch must be a small non-negative integer")
    if type(trace) is not str or (trace and _is_traceparent(trace) is None):
        raise RemoteFault("bad-envelope", "trace is no W3C traceparent")


def need_id(owner: str, fund_seq: int) -> str:
    """The id of the need that `owner` funds with entry `fund_seq` of its account: nobody can squat or reuse it."""
    digest = sha256(b"swarmd/need/1\0" + owner.encode() + b"\0" + fund_seq.to_bytes(8, "big")).digest()
    return "need-" + b32encode(digest[:20]).decode("ascii").lower()


@lru_cache(maxsize=64)  # asked for at each look at a ballot
def epoch_thread(epoch: int) -> str:
    """The thread of the ballot about the checkpoint that opens `epoch`."""
    digest = sha256(b"swarmd/epoch/1\0" + epoch.to_bytes(8, "big")).digest()
    return "epoch-" + b32encode(digest[:20]).decode("ascii").lower()


@lru_cache(maxsize=8192)
def pool_thread(did: str) -> str:
    """The thread in which a verifier, and nobody else, speaks of its place in the pool."""
    digest = sha256(b"swarmd/pool/1\0" + did.encode()).digest()
    return "pool-" + b32encode(digest[:20]).decode("ascii").lower()


@lru_cache(maxsize=8192)
def account_thread(did: str) -> str:
    """The thread in which the owner of an account, and nobody else, speaks of money."""
    digest = sha256(b"swarmd/account/1\0" + did.encode()).digest()
    return "acct-" + b32encode(digest[:20]).decode("ascii").lower()


@lru_cache(maxsize=8192)  # asked for each envelope of a need
def bucket_of(need: str) -> int:
    """The bucket of a need (0..255): the first byte of SHA-256 of its id (seed 004, command 33)."""
    return sha256(need.encode()).digest()[0]


def trace_id_of(need: str) -> str:
    """The trace id of a need, 32 hexadecimal digits: who records a part of it anywhere records it under this one."""
    return sha256(b"swarmd/trace/1\0" + need.encode()).hexdigest()[:32]


def trace_of(need: str, step: int) -> str:
    """A W3C traceparent whose trace id is the need's, so that one trace spans all daemons.

    What the core suggests: it has no spans. A node that records them says its own (node/telemetry), another nothing.
    """
    span = sha256(f"{need}/{step}".encode()).hexdigest()[:16]
    return f"00-{trace_id_of(need)}-{span}-01"
