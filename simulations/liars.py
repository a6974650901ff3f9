"""Nodes that lie. Each runs the real core and departs from it in the ways its behaviours name."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from swarmd.protocol import cids
from swarmd.protocol.batch import GENESIS_PREV, Batch, sign_flush
from swarmd.protocol.cbor import Link, encode
from swarmd.protocol.checkpoint.packing import pack
from swarmd.protocol.effects import Judge, Publish, RunAgent
from swarmd.protocol.envelope import Envelope, account_thread, bucket_of, build, evaluated, need_id
from swarmd.protocol.shadow.record import spend_of
from swarmd.protocol.state import State
from swarmd.protocol.work import committees
from swarmd.protocol.work.facts import Commit
from swarmd.protocol.work.need import Need
from swarmd.simulations.agents import Conduct
from swarmd.simulations.checkpoints import Kept
from swarmd.simulations.clock import S_NS
from swarmd.simulations.disk import Transaction
from swarmd.simulations.node import ALLOW_DIGEST, SimNode
from swarmd.simulations.workload import right_answer

# Those that speak in committees are safe below a quorum only; the others with any share.
IN_COMMITTEES = ("false-attest", "collude", "double-vote")
NOISE = ("withhold", "replay", "spam", "forge", "wrong-result", "false-snapshot", "other-epochs")
BEHAVIOURS = IN_COMMITTEES + NOISE
EQUIVOCATE = "equivocate"  # beyond what the core withstands: two batches with one seq
NOISE_SHARE = 0.02
FORGE_SHARE = 0.2
OTHER_EPOCHS_SHARE = 0.1
LATE_NS = 8 * S_NS  # after the end of any lease
KEPT_FRAMES = 64
SPAM_EPOCH = 1 << 40  # a chain of its own, so that spam does not fork what the liar's core says


class Liar(Conduct):
    """`fellows` are the dids of all liars of the run: those that collude back each other."""

    honest = False

    def __init__(self, behaviours: tuple[str, ...], fellows: frozenset[str], random: Random) -> None:
        self.behaviours = behaviours
        self._fellows = fellows
        self._random = random
        self._frames: list[bytes] = []
        self._spam_heads: dict[int, tuple[int, bytes]] = {}
        self.active = True  # noise ends with the other faults; false judgements do not

    def _does(self, behaviour: str) -> bool:
        return behaviour in self.behaviours

    def answer(self, node: SimNode, effect: RunAgent) -> bytes:
        right = right_answer(effect.capability, effect.input)
        return b"wrong" + right if self._does("wrong-result") or self._does("collude") else right

    def verdict(self, node: SimNode, effect: Judge) -> tuple[str, int, str]:
        verdict, score, reason = super().verdict(node, effect)
        if self._does("collude"):
            theirs = effect.holders[0] in self._fellows
            return ("accept", 100, "one of us") if theirs else ("reject", 0, "not one of us")
        if self._does("false-attest"):
            return ("reject", 0, "a lie") if verdict == "accept" else ("accept", 100, "a lie")
        return verdict, score, reason

    def proposes(self, node: SimNode, made: Kept) -> Kept:
        """Another snapshot than the cut gives: we are richer in it, or a need is not in it."""
        if not self._does("false-snapshot"):
            return made
        snapshot = made.snapshot
        if snapshot.open and self._random.random() < 0.5:
            gone = self._random.choice(sorted(snapshot.open))
            false = replace(snapshot, open={k: v for k, v in snapshot.open.items() if k != gone})
        else:
            own = snapshot.accounts[node.did]
            rich = replace(own, available=own.available + self._random.choice((1, 1_000_000)))
            false = replace(snapshot, accounts={**snapshot.accounts, node.did: rich})
        return Kept(false, pack(false))

    def agrees(self, node: SimNode, same: bool) -> bool:
        return same or self._does("false-snapshot")

    def recipients(self, node: SimNode) -> list[int] | None:
        if not (self.active and self._does("withhold")):
            return None
        everybody = range(len(node.mesh.network.endpoints))
        return sorted(self._random.sample(everybody, len(everybody) // 2))

    def serves(self, node: SimNode) -> bool:
        return not (self.active and self._does("withhold")) or self._random.random() < 0.3

    def heard(self, node: SimNode, frame: bytes) -> None:
        if not self.active or self._random.random() > NOISE_SHARE:
            return
        if self._does("replay"):
            self._frames = [*self._frames[-KEPT_FRAMES:], frame]
            node.mesh.network.gossip(node.index, self._random.choice(self._frames))
        if self._does("spam"):
            node.mesh.network.gossip(node.index, self._random.choice(_SPAM)(self, node, frame))

    def spoke(self, node: SimNode, transaction: Transaction) -> None:
        if self.active and self._does(EQUIVOCATE):
            for batch in transaction.batches:
                if batch.author == node.did:
                    self._fork(node, batch)
        for envelope in transaction.heard:
            if envelope.kind == "PROPOSE" and self._does("double-vote"):
                node.say(_vote_for(envelope))
            if envelope.kind == "CHECKPOINT" and self._does("false-snapshot"):
                node.say(_vote_for(envelope))  # for each that there is
            if self.active and self._does("other-epochs") and envelope.sender not in self._fellows:
                self._astray(node, envelope)
            asked = envelope.kind == "ATTEST_PLAN" and envelope.payload["verdict"] == "skip"
            if asked and self._does("double-vote") and envelope.sender not in self._fellows:
                node.say(_skip_hiding(envelope))
            # Never to each other: liars that answer liars would talk without end.
            tempting = self.active and self._does("forge") and envelope.sender not in self._fellows
            if tempting and self._random.random() < FORGE_SHARE:
                self._react(node, envelope)
        for envelope in transaction.heard:
            if (
                envelope.kind == "MONEY"
                and envelope.payload["op"] == "transfer"
                and self._does("double-vote")
            ):
                node.say(_sign_blindly(envelope))
        for envelope in transaction.said:
            fresh = envelope.kind == "MONEY" and envelope.payload["op"] == "transfer"
            if fresh and self.active and envelope.payload["key"].startswith("sim"):
                if self._random.random() < 0.5:
                    node.say(_spend_again(envelope))
                else:
                    wait_ns = self._random.choice((0, 1, 3)) * S_NS
                    node.mesh.loop.after(wait_ns, node.say, _another_need(envelope))
            if envelope.kind == "CLAIM" and self._does("forge"):
                node.mesh.loop.after(LATE_NS, node.say, _late(envelope))

    def _fork(self, node: SimNode, batch: Batch) -> None:
        """Tell half of the mesh something else under the seq of a batch of ours."""
        other = [evaluated(envelope, bytes(31) + b"\1") for envelope in batch.envelopes]
        link = (batch.epoch, batch.bucket, batch.seq, batch.prev, other)
        frame, _ = sign_flush(node.mesh.wire.mesh_id, node.did, [link], node.sign)
        everybody = range(len(node.mesh.network.endpoints))
        half = sorted(self._random.sample(everybody, len(everybody) // 2))
        node.mesh.network.gossip(node.index, frame, half)

    def _astray(self, node: SimNode, heard: Envelope) -> None:
        """Say something in an epoch that is over or has not begun, or about a need that is closed."""
        if self._random.random() > OTHER_EPOCHS_SHARE:
            return
        by = self._random.choice((-2, -1, 1, 2))
        closed = sorted(node.state.closed)
        if closed and self._random.random() < 0.5:
            thread = self._random.choice(closed)
            node.say(lambda state: _shifted(_give_up(state, thread, ()), by))
        elif heard.thread in node.state.needs and (forgeries := _FORGERIES.get(heard.kind)):
            forge = self._random.choice(forgeries)
            node.say(lambda state: _said_of(state, forge, self._random, heard, by))

    def _react(self, node: SimNode, heard: Envelope) -> None:
        """Say about what was heard something that the rules forbid, mostly by a little."""
        forgeries = _FORGERIES.get(heard.kind)
        if forgeries is None or heard.thread not in node.state.needs:
            return
        forge = self._random.choice(forgeries)
        node.say(lambda state: _said_of(state, forge, self._random, heard, 0))

    # Spam ----------------------------------------------------------------------------------------------

    def spam_frame(self, node: SimNode, ts_ns: int, mesh_id: bytes) -> bytes:
        """A well-signed flush of a statement about a need that nobody knows, with a cause that is not there."""
        thread = need_id(node.did, self._random.randrange(1 << 40))
        envelope = build(
            kind="YIELD",
            thread=thread,
            sender=node.did,
            lamport=node.state.lamport + 1 + len(self._spam_heads),
            ts_ns=ts_ns,
            epoch=SPAM_EPOCH,
            payload={**_about("t0", 0), "reason": "spam"},
            refs=(cids.dag_cbor_cid(self._random.randbytes(8)),),
            policy=ALLOW_DIGEST,
            eval_digest=ALLOW_DIGEST,
        )
        bucket = bucket_of(thread)
        seq, prev = self._spam_heads.get(bucket, (0, GENESIS_PREV))
        frame, batches = sign_flush(
            mesh_id, node.did, [(SPAM_EPOCH, bucket, seq, prev, [envelope])], node.sign
        )
        if mesh_id == node.mesh.wire.mesh_id and ts_ns <= node.clock.now_ns():
            self._spam_heads[bucket] = (seq + 1, batches[0].hash)
        return frame


def _garbage(liar: Liar, node: SimNode, frame: bytes) -> bytes:
    return liar._random.randbytes(liar._random.randrange(1, 400))


def _odd_value(liar: Liar, node: SimNode, frame: bytes) -> bytes:
    values: list[Any] = [
        [1],
        [1, b"", []],
        [2, b"", b""],
        {},
        [3, "x"],
        "text",
        [[1]],
        [1, bytes(64), [[b"", []]]],
    ]
    return encode(liar._random.choice(values))


def _parked(liar: Liar, node: SimNode, frame: bytes) -> bytes:
    return liar.spam_frame(node, node.clock.now_ns(), node.mesh.wire.mesh_id)


def _future(liar: Liar, node: SimNode, frame: bytes) -> bytes:
    return liar.spam_frame(node, node.clock.now_ns() + 3600 * S_NS, node.mesh.wire.mesh_id)


def _other_mesh(liar: Liar, node: SimNode, frame: bytes) -> bytes:
    return liar.spam_frame(node, node.clock.now_ns(), bytes(32))


def _swapped(liar: Liar, node: SimNode, frame: bytes) -> bytes:
    """Somebody's frame with one byte changed: the signature no longer fits."""
    at = liar._random.randrange(len(frame))
    return frame[:at] + bytes((frame[at] ^ 1,)) + frame[at + 1 :]


def _impersonate(liar: Liar, node: SimNode, frame: bytes) -> bytes:
    """The next batch of another's chain, signed by us."""
    chains = [chain for chain in node.chains.heads if chain[0] != node.did]  # its own would be a true fork
    if not chains:
        return frame
    author, epoch, bucket = liar._random.choice(chains)
    head = node.chains.heads[(author, epoch, bucket)]
    known = node.disk.batch((author, epoch, bucket), head.seq)
    thread = known.envelopes[-1].thread if known else need_id(author, 0)
    envelope = build(
        kind="YIELD",
        thread=thread,
        sender=author,
        lamport=head.lamport + 1,
        ts_ns=head.ts_ns,
        epoch=epoch,
        payload={**_about("t0", 0), "reason": "said by another"},
        refs=(),
        policy=ALLOW_DIGEST,
        eval_digest=ALLOW_DIGEST,
    )
    link = (epoch, bucket_of(thread), head.seq + 1, head.hash, [envelope])
    frame, _ = sign_flush(node.mesh.wire.mesh_id, author, [link], node.sign)
    return frame


_SPAM: tuple[Callable[[Liar, SimNode, bytes], bytes], ...] = (
    _garbage,
    _odd_value,
    _parked,
    _future,
    _other_mesh,
    _swapped,
    _impersonate,
)


_NO_TELEMETRY = {"wall_ms": 0, "cpu_ms": 0, "max_rss_kb": 0, "output_bytes": 0}


def _spend_again(first: Envelope) -> Callable[[State], Publish | None]:
    """A second transfer under the number of one of ours, to ourselves by another key of it would be void: to nobody."""

    def make(state: State) -> Publish | None:
        payload = {**first.payload, "key": "again", "to": state.genesis.roster[0]}
        if payload["to"] in (state.me, first.payload["to"]):
            payload["to"] = state.genesis.roster[-1]
        return _draft(state, first.thread, "MONEY", payload, ())

    return make


def _another_need(transfer: Envelope) -> Callable[[State], Publish | None]:
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


def _sign_blindly(heard: Envelope) -> Callable[[State], Publish | None]:
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


def _said_of(state: State, forge: "Forgery", random: Random, heard: Envelope, by: int) -> Publish | None:
    """A forgery, `by` epochs away from ours; None if its need was closed meanwhile."""
    need = state.needs.get(heard.thread)
    return _shifted(forge(state, need, random, heard.id), by) if need is not None else None


def _shifted(draft: Publish, by: int) -> Publish:
    """The same, said in another epoch."""
    return replace(draft, epoch=max(0, draft.epoch + by))


def _give_up(state: State, thread: str, refs: tuple[bytes, ...]) -> Publish:
    return _draft(state, thread, "YIELD", {**_about("t0", 0), "reason": "late"}, refs)


def _vote_for(proposal: Envelope) -> Callable[[State], Publish]:
    def draft(state: State) -> Publish:
        payload = {"verdict": "accept", "reason": "every plan is fine"}
        return _draft(state, proposal.thread, "ATTEST_PLAN", payload, (proposal.id,))

    return draft


def _skip_hiding(heard: Envelope) -> Callable[[State], Publish]:
    """Ask for the round that another asks for, and keep back what we have voted for."""

    def draft(state: State) -> Publish:
        payload = {"verdict": "skip", "round": heard.payload["round"], "reason": "never voted"}
        need = state.needs.get(heard.thread)
        return _draft(state, heard.thread, "ATTEST_PLAN", payload, (need.envelope,) if need else ())

    return draft


def _late(claim: Envelope) -> Callable[[State], Publish]:
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


def _about(task: str, attempt: int) -> dict[str, Any]:
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
    payload = {**_about(_task(need, random), random.randrange(3)), "lease_s": 60}
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
    payload = {**_about(commit.task if commit else "t0", attempt), "cause": "rejected"}
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
        payload = {**_about(claim.task, claim.attempt), "cause": "expired"}
        return _draft(state, need.id, "RELEASE", payload, (claim.id,))
    payload = {**_about(_task(need, random), 0), "cause": "unclaimed"}
    return _draft(state, need.id, "RELEASE", payload, _some(random, need.decides))


def _yield(state: State, need: Need, random: Random, heard: bytes) -> Publish:
    claim = need.claims.get(heard)
    about = _about(claim.task, claim.attempt) if claim else _about(_task(need, random), 0)
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
    """More than it has."""
    budget = state.ledger.account(state.me).available + random.choice((1, 1_000_000_000))
    return _spend(state, need_id(state.me, state.own_seq), state.own_seq, budget)


def _spend_twice(state: State, need: Need, random: Random, heard: bytes) -> Publish:
    """A second need under an account entry that is used already."""
    seq = random.randrange(state.own_seq) if state.own_seq else 0
    return _spend(state, need_id(state.me, seq), seq, 40_000)


Forgery = Callable[[State, Need, Random, bytes], Publish]
# What a liar is tempted to say when it hears a verb.
_FORGERIES: dict[str, tuple[Forgery, ...]] = {
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
