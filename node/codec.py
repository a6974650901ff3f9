"""Journal records of engine inputs and outbox records of effects: canonical CBOR lists, tagged by a number.

Envelopes of admitted batches are not repeated here: the record names the batches, which the journal keeps once.
"""

from collections.abc import Callable, Sequence
from typing import Any

from swarmd.protocol.cbor import decode, decode_known, encode, encode_ordered
from swarmd.protocol.effects import (
    Adopt,
    Arbitrate,
    CheckClaim,
    CheckQuote,
    CheckSnapshot,
    Fetch,
    Judge,
    MakeSnapshot,
    RunAgent,
    Submit,
)
from swarmd.protocol.envelope import Envelope, reparse
from swarmd.protocol.faults import CorruptState, RemoteFault
from swarmd.protocol.identity.manifest import parse_manifest
from swarmd.protocol.inputs import (
    Admitted,
    Adopted,
    AgentDone,
    Arbitrated,
    Authored,
    ChainSeen,
    ClaimChecked,
    Commanded,
    ContentReady,
    Input,
    Judged,
    ManifestSeen,
    QuoteChecked,
    SnapshotChecked,
    SnapshotMade,
    Ticked,
)
from swarmd.protocol.pool.attesting import hash_of

BatchKey = tuple[str, int, int, int]  # (author, epoch, bucket, seq)
Load = Callable[[BatchKey], tuple[Envelope, ...]]


def encode_admitted(keys: Sequence[BatchKey], given: Admitted, policy: bytes) -> bytes:
    """`policy` is the hash of the policy that gave the verdicts."""
    denied = [[position, reason] for position, reason in given.denied.items()]
    return encode_ordered([1, given.at_ns, [list(key) for key in keys], denied, policy])


def encode_input(given: Input) -> bytes:
    match given:
        case Authored(envelope, at_ns):
            return encode_ordered([2, at_ns, envelope.raw])
        case Ticked(at_ns):
            body: list[Any] = [3, at_ns]
        case AgentDone(job_id, result, size, inline, telemetry, error, at_ns):
            body = [4, at_ns, job_id, result, size, inline, dict(telemetry), error]
        case Judged(job_id, verdict, score, reason, at_ns):
            body = [5, at_ns, job_id, verdict, score, reason]
        case ContentReady(cid, at_ns):
            body = [6, at_ns, cid]
        case ChainSeen(anchor_id, tx_hash, block_number, chain_id, contract, at_ns):
            body = [7, at_ns, anchor_id, tx_hash, block_number, chain_id, contract]
        case ManifestSeen(manifest, at_ns):
            body = [8, at_ns, manifest.raw, manifest.signature]
        case Commanded(op, args, at_ns):
            body = [9, at_ns, op, dict(args)]
        case Arbitrated(need, epoch, proposal, at_ns):
            body = [10, at_ns, need, epoch, proposal]
        case SnapshotMade(epoch, round_, root, state, at_ns):
            body = [11, at_ns, epoch, round_, root, state]
        case SnapshotChecked(proposal, same, reason, at_ns):
            body = [12, at_ns, proposal, same, reason]
        case QuoteChecked(subject, quote, genuine, reason, at_ns):
            body = [13, at_ns, subject, quote, genuine, reason]
        case ClaimChecked(subject, what, to, amount, seen, reason, at_ns):
            body = [14, at_ns, subject, what, to, amount, seen, reason]
        case Adopted():
            raise TypeError("an adopted checkpoint is recorded as the state it leads to (Journal.begin_anew)")
        case Admitted():
            raise TypeError("admitted batches are recorded by encode_admitted")
    return encode(body)


def decode_input(record: bytes, mesh_id: bytes, load: Load) -> Input:
    """The input of a record. CorruptState if the record is not one of ours."""
    try:
        body = decode_known(record)
        return _DECODERS[body[0]](body, mesh_id, load)
    except (RemoteFault, KeyError, IndexError, TypeError, ValueError) as error:
        raise CorruptState("bad-journal", f"a record that is no input: {error!r}") from error


def _admitted(body: Any, mesh_id: bytes, load: Load) -> Input:
    envelopes = [envelope for key in body[2] for envelope in load(tuple(key))]
    return Admitted(tuple(envelopes), {position: reason for position, reason in body[3]}, body[1])


_DECODERS: dict[int, Callable[[Any, bytes, Load], Input]] = {
    1: _admitted,
    2: lambda b, m, _: Authored(reparse(b[2]), b[1]),
    3: lambda b, m, _: Ticked(b[1]),
    4: lambda b, m, _: AgentDone(b[2], b[3], b[4], b[5], b[6], b[7], b[1]),
    5: lambda b, m, _: Judged(b[2], b[3], b[4], b[5], b[1]),
    6: lambda b, m, _: ContentReady(b[2], b[1]),
    7: lambda b, m, _: ChainSeen(b[2], b[3], b[4], b[5], b[6], b[1]),
    8: lambda b, m, _: ManifestSeen(parse_manifest(m, [2, b[2], b[3]], verify=False), b[1]),
    9: lambda b, m, _: Commanded(b[2], b[3], b[1]),
    10: lambda b, m, _: Arbitrated(b[2], b[3], b[4], b[1]),
    11: lambda b, m, _: SnapshotMade(b[2], b[3], b[4], b[5], b[1]),
    12: lambda b, m, _: SnapshotChecked(b[2], b[3], b[4], b[1]),
    13: lambda b, m, _: QuoteChecked(b[2], b[3], b[4], b[5], b[1]),
    14: lambda b, m, _: ClaimChecked(b[2], b[3], b[4], b[5], b[6], b[7], b[1]),
}

Kept = (
    RunAgent
    | Judge
    | Fetch
    | Submit
    | Arbitrate
    | MakeSnapshot
    | CheckSnapshot
    | Adopt
    | CheckQuote
    | CheckClaim
)


def effect_id(effect: Kept) -> str:
    """The id under which the outbox keeps an effect until its result is an input."""
    match effect:
        case RunAgent() | Judge():
            return effect.job_id
        case Fetch():
            return "fetch-" + effect.cid.hex()
        case Submit():
            return "anchor-" + effect.anchor_id.hex()
        case Arbitrate():
            return f"arbitrate-{effect.epoch}-{effect.need}"
        case MakeSnapshot():
            return f"epoch-make-{effect.epoch}-{effect.round}"
        case CheckSnapshot():
            return "epoch-check-" + effect.proposal.hex()
        case Adopt():
            return f"epoch-adopt-{effect.epoch}"
        case CheckQuote():
            return "quote-" + hash_of(effect.quote).hex()
        case CheckClaim():
            return "claim-" + effect.subject.hex()


def encode_effect(effect: Kept) -> bytes:
    match effect:
        case RunAgent():
            body: list[Any] = [1, effect.job_id, effect.need, effect.task, effect.capability]
            body += [_plain(effect.input), list(effect.holders), effect.until_ns]
        case Judge():
            body = [2, effect.job_id, effect.need, effect.task, effect.capability, _plain(effect.input)]
            body += [dict(effect.verify), effect.result, effect.size, dict(effect.telemetry)]
            body += [list(effect.holders), effect.until_ns]
        case Fetch():
            body = [3, effect.cid, list(effect.holders)]
        case Submit():
            body = [4, effect.anchor_id, effect.root, list(effect.leaves)]
        case Arbitrate():
            body = [5, effect.need, effect.epoch, effect.proposal, effect.lamport, effect.k, effect.decider]
            body += [effect.at_ns, effect.until_ns]
        case MakeSnapshot():
            body = [6, effect.epoch, effect.round]
        case CheckSnapshot():
            body = [7, effect.epoch, effect.proposal, effect.root, effect.state, effect.holder]
        case Adopt():
            body = [8, effect.epoch, effect.state, list(effect.certificate), list(effect.holders)]
        case CheckQuote():
            body = [9, effect.subject, effect.form, effect.quote, effect.data]
        case CheckClaim():
            body = [10, effect.subject, effect.what, effect.to, effect.amount, dict(effect.claim)]
    return encode(body)


def _plain(bindings: Any) -> dict[str, Any]:
    return {name: dict(binding) for name, binding in bindings.items()}


def decode_effect(record: bytes) -> Kept:
    body = decode(record)
    match body[0]:
        case 1:
            _, job_id, need, task, capability, bound, holders, until_ns = body
            return RunAgent(job_id, need, task, capability, bound, tuple(holders), until_ns)
        case 2:
            _, job_id, need, task, capability, bound, verify, result, size, telemetry, holders, until_ns = (
                body
            )
            return Judge(
                job_id,
                need,
                task,
                capability,
                bound,
                verify,
                result,
                size,
                telemetry,
                tuple(holders),
                until_ns,
            )
        case 3:
            return Fetch(body[1], tuple(body[2]))
        case 4:
            return Submit(body[1], body[2], tuple(body[3]))
        case 5:
            return Arbitrate(*body[1:])
        case 6:
            return MakeSnapshot(*body[1:])
        case 7:
            return CheckSnapshot(*body[1:])
        case 8:
            return Adopt(body[1], body[2], tuple(body[3]), tuple(body[4]))
        case 9:
            return CheckQuote(*body[1:])
        case 10:
            return CheckClaim(*body[1:])
    raise CorruptState("bad-outbox", f"no such effect: {body[0]!r}")
