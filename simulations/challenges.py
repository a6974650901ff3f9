"""Challenges, a second time: who has results judged again, what the rules of it are, and what they come to.

Like oracle.py and books.py it shares the wire's formats with the core and no rule of challenges.
"""

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from swarmd.protocol import cids
from swarmd.protocol.cbor import Link
from swarmd.protocol.effects import Judge, RunAgent
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.state import State
from swarmd.protocol.work.need import Need
from swarmd.simulations.agents import Conduct
from swarmd.simulations.disk import Transaction
from swarmd.simulations.reading import Fact, Reading, Wrong, add_verb, parents_of
from swarmd.simulations.workload import right_answer

if TYPE_CHECKING:
    from swarmd.simulations.node import SimNode

MIN_BOND = 10_000
LOOSE = {"type": "schema", "schema": Link(cids.raw_cid(b"a schema that anything fits"))}
FAULTY_ONE_IN = 6
ONE_IN = 4  # so many honest nodes challenge a lie that they see, beside its owner,
FRIVOLOUS_ONE_IN = 64  # and so many a result that is right


# What honest nodes do ------------------------------------------------------------------------------------


class Challenger(Conduct):
    """Judges by the form where an owner asks for no more, and challenges what it knows to be wrong. Its agent is
    faulty now and then, and it does not know."""

    def answer(self, node: "SimNode", effect: RunAgent) -> bytes:
        right = super().answer(node, effect)
        return b"faulty" + right if _luck(node, effect.job_id.encode()) % FAULTY_ONE_IN == 0 else right

    def verdict(self, node: "SimNode", effect: Judge) -> tuple[str, int, str]:
        if effect.verify["type"] == "schema":
            return "accept", 100, "it has the right form"
        return super().verdict(node, effect)

    def spoke(self, node: "SimNode", transaction: Transaction) -> None:
        for envelope in (*transaction.heard, *transaction.said):
            if envelope.kind != "FINALIZE" or envelope.payload["outcome"] != "accepted":
                continue
            need = node.state.needs.get(envelope.thread)
            final = need.finals.get(envelope.id) if need is not None else None
            if need is None or final is None:
                continue
            luck = _luck(node, envelope.id)
            one_in = FRIVOLOUS_ONE_IN if is_right(need, final.commit) else ONE_IN
            if luck % one_in == 0 or (one_in == ONE_IN and node.did == need.owner):
                args = {"need": need.id, "task": final.task, "reason": "it is wrong", "evidence": []}
                node.command("challenge", args, _heard)


def _luck(node: "SimNode", about: bytes) -> int:
    return int.from_bytes(sha256(node.did.encode() + about).digest()[:4], "big")


def _heard(_: Any) -> None:
    """Refused or not: the auditor looks at what came of it."""


def is_right(need: Need, commit: bytes) -> bool:
    """Is a result what an honest agent would have made of what it was made from?"""
    found = need.commits[commit]
    claim = need.claims[found.claim]
    spec = need.proposals[claim.proposal].specs[found.task]
    made = {need.commits[ref].task: need.commits[ref].result for ref in claim.basis}
    bound = {
        name: {"cid": binding["cid"] if "cid" in binding else made[binding["task"]]}
        for name, binding in spec.input.items()
    }
    return found.result == cids.raw_cid(right_answer(spec.capability, bound))


def breaches(state: State) -> Iterator[tuple[bool, str]]:
    """P3 by what is true of results: (does it hold, what) for each challenge that has ended, and each result."""
    for need in state.needs.values():
        for ruling in need.rulings.values():
            challenge = need.challenges[ruling.challenge]
            right = is_right(need, challenge.commit)
            yield ruling.upheld != right, f"{need.id}/{ruling.task}: upheld {ruling.upheld}, right {right}"
        for run in need.runs.values():
            if run.final is not None:
                stands = run.final.commit not in need.invalid
                yield stands, f"{need.id}: {run.final.task} stands though it was reversed"


# The rules -----------------------------------------------------------------------------------------------


def is_watched(reading: Reading) -> bool:
    """Can results of the need be challenged?"""
    return reading.terms.window_s > 0 and reading.need.payload.get("pay") != "at_once"


def _again(
    reading: Reading, challenge: Fact, gone: frozenset[str] = frozenset()
) -> tuple[tuple[str, ...], int]:
    """(members, quorum) of the committee that judges a challenged result again."""
    final = reading.facts[challenge.shown]
    commit = reading.facts[final.commit]
    part = {reading.need.sender, commit.worker, challenge.said.sender}
    part |= reading.judged_by(final.said, commit) | gone
    draw = reading.facts[commit.proposal].draw
    thread = reading.need.thread
    return reading.oracle.draw("challenge", thread, commit.task, draw, frozenset(), frozenset(part))


def challenge(reading: Reading, envelope: Envelope) -> Fact:
    final = next((f for r in envelope.refs if (f := reading.fact(r, "FINALIZE")) and f.commit), None)
    if final is None or final.task != envelope.payload["task"]:
        raise Wrong("no such result")
    if not is_watched(reading):
        raise Wrong("what is paid at once cannot be challenged")
    if envelope.sender == final.worker:
        raise Wrong("one's own result")
    if envelope.payload["bond"]["amount"] != max(MIN_BOND, final.price // 2):
        raise Wrong("another bond")
    found = Fact(envelope, final.proposal, final.task, final.attempt, final.worker)
    found.commit, found.shown = final.commit, bytes(final.said.id)
    if not _again(reading, found)[0]:
        raise Wrong("nobody is left")
    return found


def review(reading: Reading, envelope: Envelope, about: Fact) -> Fact:
    if envelope.payload["task"] != about.task:
        raise Wrong("another task")
    if envelope.sender not in _again(reading, about, _gone(reading, envelope, about))[0]:
        raise Wrong("not of the committee")
    return Fact(envelope, task=about.task, shown=bytes(about.said.id))


def _gone(reading: Reading, envelope: Envelope, about: Fact) -> frozenset[str]:
    return frozenset(
        fact.said.sender
        for ref in envelope.refs
        if (fact := reading.fact(ref, "ATTEST"))
        and fact.shown == about.said.id
        and fact.said.payload["verdict"] == "abstain"
    )


def ruling(reading: Reading, envelope: Envelope) -> Fact:
    """An INVALIDATE, or a FINALIZE that dismisses."""
    wanted = "reject" if envelope.kind == "INVALIDATE" else "accept"
    about = reading.first(envelope, "CHALLENGE")
    if envelope.payload["task"] != about.task:
        raise Wrong("another task")
    members, quorum = _again(reading, about, _gone(reading, envelope, about))
    voices = {
        fact.said.sender
        for ref in envelope.refs
        if (fact := reading.fact(ref, "ATTEST"))
        and fact.shown == about.said.id
        and fact.said.payload["verdict"] == wanted
        and fact.said.sender in members
    }
    if not members or len(voices) < quorum:
        raise Wrong("no quorum of reviewers")
    found = Fact(envelope, about.proposal, about.task, about.attempt, about.worker, shown=about.said.id)
    found.certificate = tuple(sorted(voice.encode() for voice in voices))
    return found


# What they come to ---------------------------------------------------------------------------------------


def reversed_of(reading: Reading, facts: list[Fact]) -> set[bytes]:
    """The results (COMMITs) of a need that do not stand: reversed, or made from one that was."""
    down = {reading.facts[fact.shown].commit for fact in facts if fact.said.kind == "INVALIDATE"}
    commits = sorted((f for f in facts if f.said.kind == "COMMIT"), key=lambda f: f.said.lamport)
    for commit in commits if down else ():
        claim = reading.seen[commit.certificate[0]]
        specs = reading.need.payload["tasks"]
        parents = parents_of(next(spec for spec in specs if spec["id"] == commit.task))
        basis = {
            final.commit
            for ref in claim.refs
            if (final := reading.fact(ref, "FINALIZE")) and final.commit and final.task in parents
        }
        if basis & down:
            down.add(bytes(commit.said.id))
    return down


def is_held(reading: Reading, facts: list[Fact], results: bool) -> bool:
    """Does the money of a need wait? `results`: has it any that stands?"""
    challenged = any(fact.said.kind == "CHALLENGE" for fact in facts)
    return is_watched(reading) and (results or challenged)


def bonds_of(
    reading: Reading, facts: list[Fact], name_of: Callable[[Envelope], str]
) -> dict[str, tuple[str, dict[str, tuple[str, int]]]]:
    """What became of bonds: name -> (returned or forfeited, who is paid)."""
    direct = {reading.facts[fact.shown].commit for fact in facts if fact.said.kind == "INVALIDATE"}
    found: dict[str, tuple[str, dict[str, tuple[str, int]]]] = {}
    rulings = [reading.facts[f.shown] for f in facts if f.said.kind == "FINALIZE" and f.shown]
    for about in rulings:
        paid = {"bond": (about.worker, about.said.payload["bond"]["amount"])}
        found[name_of(about.said)] = ("forfeited", paid)
    for about in [fact for fact in facts if fact.said.kind == "CHALLENGE"]:
        if about.commit in direct:
            found[name_of(about.said)] = ("returned", {})
    return found


def pending(reading: Reading, facts: list[Fact], name_of: Callable[[Envelope], str]) -> dict[bytes, str]:
    """Challenges that nobody has ruled on, and whose result has not fallen by another: id -> bond."""
    down = reversed_of(reading, facts)
    ruled = {
        name_of(reading.facts[fact.shown].said)
        for fact in facts
        if fact.said.kind == "INVALIDATE" or (fact.said.kind == "FINALIZE" and fact.shown)
    }
    asked = [fact for fact in facts if fact.said.kind == "CHALLENGE" and fact.commit not in down]
    return {bytes(fact.said.id): bond for fact in asked if (bond := name_of(fact.said)) not in ruled}


def rewards(reading: Reading, facts: list[Fact], left: int) -> dict[str, tuple[str, int]]:
    """What those earn who had results reversed, of what is `left` of the budget: the first ruling about each counts."""
    first: dict[bytes, Fact] = {}
    for fact in sorted(facts, key=lambda f: (f.said.lamport, f.said.id)):
        if fact.said.kind == "INVALIDATE":
            first.setdefault(reading.facts[fact.shown].commit, reading.facts[fact.shown])
    found = {}
    for commit, about in sorted(first.items()):
        price = reading.facts[about.shown].price
        double = reading.oracle.rosters[reading.facts[about.proposal].draw][1]
        amount = min(left, price * reading.terms.reward_permille // 1000 * (2 if double else 1))
        if amount > 0:
            left -= amount
            found[f"reward/{about.task}/{commit.hex()[-16:]}"] = (about.said.sender, amount)
    return found


# As verbs of the oracle ----------------------------------------------------------------------------------


def _attest(reading: Reading, envelope: Envelope) -> Fact:
    about = next((fact for ref in envelope.refs if (fact := reading.fact(ref, "CHALLENGE"))), None)
    return review(reading, envelope, about) if about is not None else Reading.attest(reading, envelope)


def _finalize(reading: Reading, envelope: Envelope) -> Fact:
    dismisses = envelope.payload["outcome"] == "dismissed"
    return ruling(reading, envelope) if dismisses else Reading.finalize(reading, envelope)


add_verb("CHALLENGE", challenge)
add_verb("INVALIDATE", ruling)
add_verb("ATTEST", _attest)
add_verb("FINALIZE", _finalize)
