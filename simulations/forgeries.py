"""What liars say past their cores: each breaks a rule, mostly by a little."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from swarmd.protocol import cids
from swarmd.protocol.cbor import Link
from swarmd.protocol.effects import Publish
from swarmd.protocol.envelope import Envelope, account_thread, need_id
from swarmd.protocol.shadow.record import spend_of
from swarmd.protocol.state import State
from swarmd.protocol.work import committees
from swarmd.protocol.work.facts import Commit
from swarmd.protocol.work.need import Need
from swarmd.simulations.clock import S_NS

Forgery = Callable[[State, Need, Random, bytes], Publish]
_NO_TELEMETRY = {"wall_ms": 0, "cpu_ms": 0, "max_rss_kb": 0, "output_bytes": 0}


def spend_again(first: Envelope) -> Callable[[State], Publish | None]:
    """A second transfer under the number of one of ours, to somebody else."""

    def make(state: State) -> Publish | None:
        payload = {**first.payload, "key": "again", "to": state.genesis.roster[0]}
        if payload["to"] in (state.me, first.payload["to"]):
            payload["to"] = state.genesis.roster[-1]
        return _draft(state, first.thread, "MONEY", payload, ())

    return make


def another_need(transfer: Envelope) -> Callable[[State], Publish | None]:
    """A second NEED under the number of our last one before a transfer of ours, in an epoch that is over: so that it comes
    first in the next cut, and what the transfer goes on from does not stand."""

    def make(state: State) -> Publish | None:
        seq, ledger = transfer.payload["seq"], state.ledger
        own = [need for need in state.needs.values() if need.owner == state.me and 0 < need.epoch]
        before = max((need for need in own if need.fund_seq < seq), key=lambda n: n.fund_seq, default=None)
        if before is None:
            return None
        known = ledger.entries.get((state.me, before.fund_seq), {}).values()
        entry = next((each for each in known if each.need == before.id), None)
        if entry is None:
            return None  # a checkpoint has it
        draft = _spend(state, before.id, entry.seq, max(30_000, entry.amount // 2))
        fund = {"seq": entry.seq, "prev": entry.prev}
        return replace(
            draft, payload={**draft.payload, "fund": fund}, lamport=before.lamport - 1, epoch=before.epoch - 1
        )

    return make


def sign_blindly(heard: Envelope) -> Callable[[State], Publish | None]:
    """A signature under an entry whatever else there is of its number."""

    def make(state: State) -> Publish | None:
        spend = spend_of(heard)
        payload = {"op": "confirm", "entries": [[spend.owner, spend.seq, spend.hash]]}
        return _draft(state, account_thread(state.me), "MONEY", payload, ())

    return make


# Forged statements ---------------------------------------------------------------------------------------


def _draft(state: State, thread: str, kind: str, payload: dict[str, Any], refs: tuple[bytes, ...]) -> Publish:
    state.lamport += 1
    return Publish(
        kind=kind,
        thread=thread,
        lamport=state.lamport,
        ts_ns=state.now_ns,
        epoch=state.epoch,
        payload=payload,
        refs=tuple(dict.fromkeys(refs)),
        trace="",
    )


def said_of(state: State, forge: Forgery, random: Random, heard: Envelope, by: int) -> Publish | None:
    """A forgery, `by` epochs away from ours; None if its need was closed meanwhile."""
    need = state.needs.get(heard.thread)
    return shifted(forge(state, need, random, heard.id), by) if need is not None else None


def shifted(draft: Publish, by: int) -> Publish:
    """The same, said in another epoch."""
    return replace(draft, epoch=max(0, draft.epoch + by))


def give_up(state: State, thread: str, refs: tuple[bytes, ...]) -> Publish:
    return _draft(state, thread, "YIELD", {**about_attempt("t0", 0), "reason": "late"}, refs)


def vote_for(proposal: Envelope) -> Callable[[State], Publish]:
    def draft(state: State) -> Publish:
        payload = {"verdict": "accept", "reason": "every plan is fine"}
        return _draft(state, proposal.thread, "ATTEST_PLAN", payload, (proposal.id,))

    return draft


def skip_hiding(heard: Envelope) -> Callable[[State], Publish]:
    """Ask for the round that another asks for, and keep back what we have voted for."""

    def draft(state: State) -> Publish:
        payload = {"verdict": "skip", "round": heard.payload["round"], "reason": "never voted"}
        need = state.needs.get(heard.thread)
        return _draft(state, heard.thread, "ATTEST_PLAN", payload, (need.envelope,) if need else ())

    return draft


def late(claim: Envelope) -> Callable[[State], Publish]:
    """A result after the lease."""

    def draft(state: State) -> Publish:
        payload = {
            "task": claim.payload["task"],
            "result": Link(cids.raw_cid(b"late")),
            "size": 4,
            "telemetry": dict(_NO_TELEMETRY),
        }
        return _draft(state, claim.thread, "COMMIT", payload, (claim.id,))

    return draft


def about_attempt(task: str, attempt: int) -> dict[str, Any]:
    return {"task": task, "attempt": attempt}


def _subset(random: Random, known: list[bytes], most: int = 8) -> tuple[bytes, ...]:
    whole = min(most, len(known))
    return tuple(random.sample(known, whole if random.random() < 0.5 else random.randint(0, whole)))


def _some(random: Random, known: dict[bytes, Any]) -> tuple[bytes, ...]:
    return (random.choice(list(known)),) if known else ()


def _task(need: Need, random: Random) -> str:
    return random.choice(list(need.tasks))


def _claim(state: State, need: Need, random: Random, heard: bytes) -> Publish:
    """Another's attempt, or one whose time has not come."""
    payload = {**about_attempt(_task(need, random), random.randrange(3)), "lease_s": 60}
    return _draft(state, need.id, "CLAIM", payload, _some(random, need.decides) + _some(random, need.finals))


def _decide(state: State, need: Need, random: Random, heard: bytes) -> Publish:
    """With the votes so far, perhaps those for other proposals, under the K that it should be."""
    refs = _some(random, need.proposals) + _subset(random, list(need.vote_of))
    quorum = committees.plan_committee(state.terms, need, need.draw).quorum
    proposal = need.proposals.get(refs[0]) if refs else None
    payload = {"round": proposal.round if proposal else 0, "k": quorum}
    return _draft(state, need.id, "DECIDE", payload, refs)


def _certificate(need: Need, random: Random, heard: bytes) -> tuple[Commit | None, tuple[bytes, ...]]:
    """A result, the one that was heard of if it was, and some of what was said about it or about others."""
    attest = need.attests.get(heard)
    ref = attest.commit if attest else heard
    commit = need.commits.get(ref) or next(iter(need.commits.values()), None)
    if commit is None:
        return None, ()
    own = random.random() < 0.6
    attests = [a.id for a in need.attests.values() if (a.commit == commit.id) == own]
    return commit, (commit.id, *_subset(random, attests))


def _accept(state: State, need: Need, random: Random, heard: bytes) -> Publish:
    commit, refs = _certificate(need, random, heard)
    payload = {
        "outcome": "accepted",
        "task": commit.task if commit else "t0",
        "result": Link(commit.result if commit else cids.raw_cid(b"")),
    }
    return _draft(state, need.id, "FINALIZE", payload, refs)


def _reject(state: State, need: Need, random: Random, heard: bytes) -> Publish:
    commit, refs = _certificate(need, random, heard)
    attempt = need.claims[commit.claim].attempt if commit else 0
    payload = {**about_attempt(commit.task if commit else "t0", attempt), "cause": "rejected"}
    return _draft(state, need.id, "RELEASE", payload, refs)


def _expire(state: State, need: Need, random: Random, heard: bytes) -> Publish:
    return _draft(state, need.id, "FINALIZE", {"outcome": "expired", "reason": "I say so"}, (need.envelope,))


def _refund(state: State, need: Need, random: Random, heard: bytes) -> Publish:
    ending = need.endings.get(heard)
    payload = {
        "outcome": "refunded",
        "task": ending.task if ending else _task(need, random),
        "reason": "I say so",
    }
    return _draft(state, need.id, "FINALIZE", payload, (heard,))


def _release(state: State, need: Need, random: Random, heard: bytes) -> Publish:
    claim = need.claims.get(heard)
    if claim is not None:
        payload = {**about_attempt(claim.task, claim.attempt), "cause": "expired"}
        return _draft(state, need.id, "RELEASE", payload, (claim.id,))
    payload = {**about_attempt(_task(need, random), 0), "cause": "unclaimed"}
    return _draft(state, need.id, "RELEASE", payload, _some(random, need.decides))


def _yield(state: State, need: Need, random: Random, heard: bytes) -> Publish:
    claim = need.claims.get(heard)
    about = about_attempt(claim.task, claim.attempt) if claim else about_attempt(_task(need, random), 0)
    refs = (claim.id,) if claim else _some(random, need.decides)
    return _draft(state, need.id, "YIELD", {**about, "reason": "not mine"}, refs)


def _commit(state: State, need: Need, random: Random, heard: bytes) -> Publish:
    claim = need.claims.get(heard) or next(iter(need.claims.values()), None)
    payload = {
        "task": claim.task if claim else "t0",
        "result": Link(cids.raw_cid(b"stolen")),
        "size": 6,
        "telemetry": dict(_NO_TELEMETRY),
    }
    return _draft(state, need.id, "COMMIT", payload, (claim.id,) if claim else ())


def _attest(state: State, need: Need, random: Random, heard: bytes) -> Publish:
    commit, refs = _certificate(need, random, heard)
    verdict = random.choice(("accept", "reject"))
    payload = {"task": commit.task if commit else "t0", "verdict": verdict, "score": 1, "reason": ""}
    return _draft(state, need.id, "ATTEST", payload, refs[:1])


def _annotate(state: State, need: Need, random: Random, heard: bytes) -> Publish:
    op = {"op": "ANNOTATE", "task": "", "key": "anchor", "value": "eip155:1:0x00"}
    return _draft(state, need.id, "UPDATE_PLAN", {"ops": [op]}, (need.envelope,))


def _challenge(state: State, need: Need, random: Random, heard: bytes) -> Publish:
    bond = {"seq": state.own_seq + random.choice((0, 1, 99)), "prev": state.own_head, "amount": 10_000}
    payload = {"task": _task(need, random), "reason": "wrong", "evidence": [], "bond": bond}
    return _draft(state, need.id, "CHALLENGE", payload, (heard,))


def _propose(state: State, need: Need, random: Random, heard: bytes) -> Publish:
    """Everything to itself, for all the owner would pay or a bit more; in its turn or not, asked for or not."""
    more = random.choice((0, 0, 1))
    plan = {task: [[state.me, spec.max_price + more]] for task, spec in need.tasks.items()}
    members = committees.plan_committee(state.terms, need, need.draw).members
    turn = members.index(state.me) if state.me in members else 0
    round_ = random.choice((0, turn, turn, max((skip.round for skip in need.skips.values()), default=0)))
    payload = {"round": round_, "lease_s": 86_400, "plan": plan}
    refs = (need.envelope, *_subset(random, list(need.skips)))
    return _draft(state, need.id, "PROPOSE", payload, refs)


def _spend(state: State, thread: str, seq: int, budget: int) -> Publish:
    spec = {
        "id": "t0",
        "capability": "text.count",
        "max_price": 30_000,
        "input": {},
        "verify": {"type": "reexec"},
    }
    payload = {
        "title": "a need of a liar",
        "budget": budget,
        "deadline_ns": state.now_ns + 30 * S_NS,
        "fund": {"seq": seq, "prev": state.own_head},
        "tasks": [spec],
    }
    return _draft(state, thread, "NEED", payload, ())


def _overspend(state: State, need: Need, random: Random, heard: bytes) -> Publish:
    """More than it has; now and then after an entry that nobody says."""
    budget = state.ledger.account(state.me).available + random.choice((1, 1_000_000_000))
    seq = state.own_seq + (heard[-1] % 4 == 0)
    return _spend(state, need_id(state.me, seq), seq, budget)


def _spend_twice(state: State, need: Need, random: Random, heard: bytes) -> Publish:
    """A second need under an account entry that is used already."""
    seq = random.randrange(state.own_seq) if state.own_seq else 0
    return _spend(state, need_id(state.me, seq), seq, 40_000)


# What a liar is tempted to say when it hears a verb.
FORGERIES: dict[str, tuple[Forgery, ...]] = {
    "NEED": (_propose, _expire, _annotate, _spend_twice, _overspend),
    "PROPOSE": (_propose, _decide),
    "ATTEST_PLAN": (_decide, _propose),
    "DECIDE": (_claim, _release, _yield, _decide),
    "CLAIM": (_commit, _release, _yield, _claim, _overspend),
    "COMMIT": (_accept, _reject, _attest),
    "ATTEST": (_accept, _reject, _attest),
    "YIELD": (_refund, _claim),
    "RELEASE": (_refund, _claim),
    "FINALIZE": (_challenge, _claim, _expire, _accept),
}
