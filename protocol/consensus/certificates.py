"""Certificates that stand alone: what was decided, accepted or contradicted, shown to who has nothing but genesis.

A certificate holds the envelopes it is about and all that they refer to, each with its merkle path to a signed flush.
They are taken by the very rules that a node goes by (`work/rules.py`): a rule looks only at an envelope, at what it refers to
and at genesis, so the closure of refs is all it takes, and nothing can count here that would be void in the mesh.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from swarmd.protocol import kinds
from swarmd.protocol.batch import Batch, EnvelopeProof, parse_sealed, proof_from_list, verify_proof
from swarmd.protocol.cids import cid_text
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.terms import Terms
from swarmd.protocol.work import opening, rules
from swarmd.protocol.work.committees import plan_committee
from swarmd.protocol.work.need import Need
from swarmd.protocol.work.void import Void

DECISION, RESULT, CONTRADICTION, FORK = "decision", "result", "contradiction", "fork"
MAX_STATEMENTS = 65_536
MAX_DRAWS = 1_024


@dataclass(frozen=True, slots=True)
class Certificate:
    """`about`: ids of the envelopes it shows: a DECIDE, a FINALIZE, or two that contradict each other. `draws`: the epochs
    whose committees had the need in turn; it says what the last of them decided, not that no later one took over."""

    what: str
    about: tuple[bytes, ...]
    draws: tuple[int, ...]
    proofs: tuple[EnvelopeProof, ...]

    def to_list(self) -> list[Any]:
        proofs = [proof.to_list() for proof in self.proofs]
        return [self.what, list(self.about), list(self.draws), proofs]


def certificate_from_list(value: Any) -> Certificate:
    """Decode `Certificate.to_list`; RemoteFault `bad-certificate`, `bad-proof`."""
    if (
        type(value) is not list
        or len(value) != 4
        or value[0] not in (DECISION, RESULT, CONTRADICTION)
        or type(value[1]) is not list
        or len(value[1]) != (2 if value[0] == CONTRADICTION else 1)
        or any(type(ref) is not bytes for ref in value[1])
        or type(value[2]) is not list
        or not 1 <= len(value[2]) <= MAX_DRAWS
        or any(type(draw) is not int or draw < 0 for draw in value[2])
        or sorted(set(value[2])) != value[2]
        or type(value[3]) is not list
        or not 1 <= len(value[3]) <= MAX_STATEMENTS
    ):
        raise RemoteFault("bad-certificate", "not [what, about, draws, proofs]")
    proofs = tuple(proof_from_list(proof) for proof in value[3])
    return Certificate(value[0], tuple(value[1]), tuple(value[2]), proofs)


def closure(known: Mapping[bytes, Envelope], about: Iterable[bytes]) -> list[Envelope]:
    """The envelopes `about` with all they refer to, over however many steps, in causal order.

    LocalFault `incomplete` if one is not in `known`.
    """
    found: dict[bytes, Envelope] = {}
    todo = list(about)
    while todo:
        envelope_id = bytes(todo.pop())
        if envelope_id in found:
            continue
        envelope = known.get(envelope_id)
        if envelope is None:
            raise LocalFault(
                "incomplete", f"{cid_text(envelope_id)} is not on record here", fix="swarmd sync"
            )
        found[envelope_id] = envelope
        todo.extend(envelope.refs)
    return sorted(found.values(), key=lambda envelope: (envelope.lamport, envelope.id))


def certify(
    what: str,
    about: Sequence[bytes],
    draws: Sequence[int],
    known: Mapping[bytes, Envelope],
    prove: Callable[[Envelope], EnvelopeProof],
) -> Certificate:
    """The certificate of `about`, which are in `known` with all they refer to; `prove` gives each one's path."""
    every = closure(known, about)
    if all(envelope.kind != kinds.NEED for envelope in every):
        need = next((envelope for envelope in known.values() if envelope.kind == kinds.NEED), None)
        if need is None:
            raise LocalFault("incomplete", "the NEED is not on record here", fix="swarmd sync")
        every.insert(0, need)
    ids = tuple(bytes(ref) for ref in about)
    return Certificate(what, ids, tuple(draws), tuple(prove(each) for each in every))


# Verifying -----------------------------------------------------------------------------------------------


def verify(terms: Terms, certificate: Certificate) -> dict[str, Any]:
    """What the certificate shows, as plain values. `terms` must have the rosters of its epochs. RemoteFault with a stable code if it does not show it:

    bad-proof, bad-signature, sender-mismatch, bucket-mismatch (a statement was not signed by who it names, for this mesh),
    repeated-statement, missing-statement, unrelated-statement, other-need, void-statement, no-contradiction,
    bad-certificate, unknown-roster.
    """
    envelopes = _proven(terms, certificate)
    need = _replayed(terms, certificate, envelopes)
    if certificate.what == CONTRADICTION:
        return _contradiction(need, certificate, envelopes)
    (about,) = certificate.about
    said = envelopes[about]
    if about in need.void:
        raise RemoteFault("void-statement", f"{said.kind}: {need.void[about]}")
    if certificate.what == DECISION:
        return _decision(terms, need, said)
    return _result(need, said)


def _proven(terms: Terms, certificate: Certificate) -> dict[bytes, Envelope]:
    """The envelopes, each signed by its sender for this mesh, and exactly those that it takes."""
    found: dict[bytes, Envelope] = {}
    for proof in certificate.proofs:
        envelope = verify_proof(terms.genesis.mesh_id, proof)
        if envelope.id in found:
            raise RemoteFault("repeated-statement", f"{envelope.kind} {cid_text(envelope.id)}")
        found[envelope.id] = envelope
    if len({envelope.thread for envelope in found.values()}) != 1:
        raise RemoteFault("other-need", "its statements are about several needs")
    try:
        wanted = {envelope.id for envelope in closure(found, certificate.about)}
    except LocalFault as fault:
        raise RemoteFault("missing-statement", fault.message) from None
    for envelope in found.values():
        if envelope.id not in wanted and envelope.kind != kinds.NEED:
            raise RemoteFault("unrelated-statement", f"{envelope.kind} {cid_text(envelope.id)}")
    return found


def _replayed(terms: Terms, certificate: Certificate, envelopes: Mapping[bytes, Envelope]) -> Need:
    openings = [envelope for envelope in envelopes.values() if envelope.kind == kinds.NEED]
    if len(openings) != 1:
        raise RemoteFault("bad-certificate", f"{len(openings)} NEEDs, one is needed")
    try:
        need = opening.open_need(openings[0])
    except Void as void:
        raise RemoteFault("void-statement", f"NEED: {void}") from None
    if certificate.draws[0] != need.epoch:
        raise RemoteFault("bad-certificate", f"the need is of epoch {need.epoch}, the first draw of another")
    missing = [draw for draw in certificate.draws if draw not in terms.rosters]
    if missing:
        raise RemoteFault("unknown-roster", f"who verified in epoch {missing[0]} is not known here")
    need.draws = certificate.draws
    # By what refers to what, not by lamport: whoever made the certificate chose those.
    causes = {each.id: each.refs for each in envelopes.values() if each.kind != kinds.NEED}
    for envelope_id in TopologicalSorter(causes).static_order():
        if envelope_id in causes:
            rules.apply(terms, need, envelopes[envelope_id])
    return need


def _decision(terms: Terms, need: Need, said: Envelope) -> dict[str, Any]:
    decide = need.decides.get(said.id)
    if decide is None:
        raise RemoteFault("bad-certificate", f"a {said.kind} is no decision")
    proposal = need.proposals[decide.proposal]
    committee = plan_committee(terms, need, proposal.draw)
    return {
        "what": DECISION,
        "need": need.id,
        "epoch": proposal.draw,
        "decide": cid_text(said.id),
        "decider": said.sender,
        "at_ns": said.ts_ns,
        "plan": {task: [list(worker) for worker in workers] for task, workers in proposal.plan.items()},
        "proposal": cid_text(decide.proposal),
        "round": said.payload["round"],
        "quorum": committee.quorum,
        "committee": list(committee.members),
        "voters": sorted(need.vote_of[vote][0] for vote in decide.votes),
    }


def _result(need: Need, said: Envelope) -> dict[str, Any]:
    final, closing = need.finals.get(said.id), need.closings.get(said.id)
    if final is not None:
        return {
            "what": RESULT,
            "need": need.id,
            "epoch": said.epoch,
            "finalize": cid_text(said.id),
            "at_ns": said.ts_ns,
            "outcome": "accepted",
            "task": final.task,
            "worker": final.worker,
            "price": final.price,
            "result": cid_text(final.result),
            "judges": sorted(need.attests[attest].judge for attest in final.attests),
        }
    if closing is not None:
        return {
            "what": RESULT,
            "need": need.id,
            "epoch": said.epoch,
            "finalize": cid_text(said.id),
            "at_ns": said.ts_ns,
            "outcome": closing.outcome,
            "task": closing.task,
            "reason": closing.reason,
        }
    raise RemoteFault("bad-certificate", f"a {said.kind} is no result")


def _contradiction(
    need: Need, certificate: Certificate, envelopes: Mapping[bytes, Envelope]
) -> dict[str, Any]:
    one, other = (envelopes[about] for about in certificate.about)
    if one.sender != other.sender:
        raise RemoteFault("no-contradiction", "two different members said these")
    proven = need.equivocators.get(one.sender)
    if proven is None or set(proven) != set(certificate.about):
        raise RemoteFault("no-contradiction", "an honest member may say both")
    return {
        "what": CONTRADICTION,
        "need": need.id,
        "epoch": one.epoch,
        "who": one.sender,
        "said": [
            {"kind": each.kind, "id": cid_text(each.id), "at_ns": each.ts_ns, **_about(need, each)}
            for each in sorted((one, other), key=lambda each: each.lamport)
        ],
    }


def _about(need: Need, said: Envelope) -> dict[str, Any]:
    if said.id in need.vote_of:
        proposal = need.proposals[need.vote_of[said.id][1]]
        return {"verdict": "accept", "round": proposal.round, "proposal": cid_text(proposal.id)}
    if said.id in need.skips:
        return {"verdict": "skip", "round": need.skips[said.id].round}
    return {"round": said.payload.get("round", 0)}


def verify_fork(mesh_id: bytes, one: Any, other: Any) -> dict[str, Any]:
    """Two sealed batches (their list form) that one author signed for one place of its chain. RemoteFault
    `no-contradiction`, or what is wrong with a batch."""
    batches: tuple[Batch, Batch] = (
        parse_sealed(mesh_id, one),
        parse_sealed(mesh_id, other),
    )
    places = {(batch.author, batch.epoch, batch.bucket, batch.seq) for batch in batches}
    if len(places) != 1 or batches[0].hash == batches[1].hash:
        raise RemoteFault("no-contradiction", "an honest author may sign both")
    return {
        "what": FORK,
        "who": batches[0].author,
        "epoch": batches[0].epoch,
        "bucket": batches[0].bucket,
        "seq": batches[0].seq,
        "said": [[f"{each.kind} in {each.thread}" for each in batch.envelopes] for batch in batches],
    }
