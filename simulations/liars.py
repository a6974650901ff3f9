"""Nodes that lie. Each runs the real core and departs from it in the ways its behaviours name."""

from collections.abc import Callable
from random import Random
from typing import Any

from swarmd.protocol import cids
from swarmd.protocol.batch import GENESIS_PREV, Batch, sign_flush
from swarmd.protocol.cbor import Link, encode
from swarmd.protocol.effects import Judge, Publish, RunAgent
from swarmd.protocol.envelope import Envelope, bucket_of, build, evaluated, need_id
from swarmd.protocol.state import State
from swarmd.protocol.work.need import Need
from swarmd.simulations.agents import Conduct
from swarmd.simulations.clock import S_NS
from swarmd.simulations.disk import Transaction
from swarmd.simulations.node import ALLOW_DIGEST, SimNode
from swarmd.simulations.workload import right_answer

# Those that speak in committees are safe below a quorum only; the others with any share.
IN_COMMITTEES = ("false-attest", "collude", "double-vote")
NOISE = ("withhold", "replay", "spam", "forge", "wrong-result")
BEHAVIOURS = IN_COMMITTEES + NOISE
EQUIVOCATE = "equivocate"  # beyond what the core withstands: two batches with one seq
NOISE_SHARE = 0.02
KEPT_FRAMES = 64
SPAM_EPOCH = 7  # a chain of its own, so that spam does not fork what the liar's core says


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
        if self._does("forge"):
            node.say(self._forge)

    def spoke(self, node: SimNode, transaction: Transaction) -> None:
        if self.active and self._does(EQUIVOCATE):
            for batch in transaction.batches:
                if batch.author == node.did:
                    self._fork(node, batch)
        if not self._does("double-vote"):
            return
        for envelope in transaction.heard:
            if envelope.kind == "PROPOSE":
                node.say(_vote_for(envelope))

    def _fork(self, node: SimNode, batch: Batch) -> None:
        """Tell half of the mesh something else under the seq of a batch of ours."""
        other = [evaluated(envelope, bytes(31) + b"\1") for envelope in batch.envelopes]
        link = (batch.epoch, batch.bucket, batch.seq, batch.prev, other)
        frame, _ = sign_flush(node.mesh.wire.mesh_id, node.did, [link], node.sign)
        everybody = range(len(node.mesh.network.endpoints))
        half = sorted(self._random.sample(everybody, len(everybody) // 2))
        node.mesh.network.gossip(node.index, frame, half)

    def _forge(self, state: State) -> Publish:
        """Something about a random need that the rules forbid, or may."""
        if not state.needs:
            return _draft(state, need_id(state.me, 1 << 40), "YIELD", {**_about("t0", 0), "reason": ""}, ())
        need = state.needs[self._random.choice(list(state.needs))]
        return self._random.choice(_FORGERIES)(state, need, self._random)

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


_SPAM: tuple[Callable[[Liar, SimNode, bytes], bytes], ...] = (
    _garbage,
    _odd_value,
    _parked,
    _future,
    _other_mesh,
    _swapped,
)


# Forged statements ---------------------------------------------------------------------------------------


def _draft(state: State, thread: str, kind: str, payload: dict[str, Any], refs: tuple[bytes, ...]) -> Publish:
    state.lamport += 1
    return Publish(
        kind=kind,
        thread=thread,
        lamport=state.lamport,
        ts_ns=state.now_ns,
        epoch=0,
        payload=payload,
        refs=tuple(dict.fromkeys(refs)),
        trace="",
    )


def _vote_for(proposal: Envelope) -> Callable[[State], Publish]:
    def draft(state: State) -> Publish:
        payload = {"verdict": "accept", "reason": "every plan is fine"}
        return _draft(state, proposal.thread, "ATTEST_PLAN", payload, (proposal.id,))

    return draft


def _about(task: str, attempt: int) -> dict[str, Any]:
    return {"task": task, "attempt": attempt}


def _some(random: Random, known: dict[bytes, Any]) -> tuple[bytes, ...]:
    return (random.choice(list(known)),) if known else ()


def _claim(state: State, need: Need, random: Random) -> Publish:
    payload = {**_about(random.choice(list(need.tasks)), random.randrange(2)), "lease_s": 60}
    return _draft(state, need.id, "CLAIM", payload, _some(random, need.decides))


def _decide(state: State, need: Need, random: Random) -> Publish:
    refs = _some(random, need.proposals) + _some(random, need.vote_of)
    return _draft(state, need.id, "DECIDE", {"round": 0, "k": 1}, refs)


def _accept(state: State, need: Need, random: Random) -> Publish:
    refs = _some(random, need.commits)
    commit = need.commits[refs[0]] if refs else None
    payload = {
        "outcome": "accepted",
        "task": commit.task if commit else "t0",
        "result": Link(commit.result if commit else cids.raw_cid(b"")),
    }
    return _draft(state, need.id, "FINALIZE", payload, refs + _some(random, need.attests))


def _expire(state: State, need: Need, random: Random) -> Publish:
    return _draft(state, need.id, "FINALIZE", {"outcome": "expired", "reason": "I say so"}, (need.envelope,))


def _refund(state: State, need: Need, random: Random) -> Publish:
    payload = {"outcome": "refunded", "task": random.choice(list(need.tasks)), "reason": "I say so"}
    return _draft(state, need.id, "FINALIZE", payload, _some(random, need.endings))


def _release(state: State, need: Need, random: Random) -> Publish:
    refs = _some(random, need.claims) + _some(random, need.decides) + _some(random, need.commits)
    cause = random.choice(("expired", "unclaimed", "rejected"))
    payload = {**_about(random.choice(list(need.tasks)), random.randrange(2)), "cause": cause}
    return _draft(state, need.id, "RELEASE", payload, refs)


def _yield(state: State, need: Need, random: Random) -> Publish:
    payload = {**_about(random.choice(list(need.tasks)), 0), "reason": "not mine"}
    return _draft(state, need.id, "YIELD", payload, _some(random, need.claims) or _some(random, need.decides))


def _commit(state: State, need: Need, random: Random) -> Publish:
    refs = _some(random, need.claims)
    telemetry = {"wall_ms": 0, "cpu_ms": 0, "max_rss_kb": 0, "output_bytes": 0}
    payload = {
        "task": need.claims[refs[0]].task if refs else "t0",
        "result": Link(cids.raw_cid(b"stolen")),
        "size": 6,
        "telemetry": telemetry,
    }
    return _draft(state, need.id, "COMMIT", payload, refs)


def _attest(state: State, need: Need, random: Random) -> Publish:
    refs = _some(random, need.commits)
    task = need.commits[refs[0]].task if refs else "t0"
    payload = {"task": task, "verdict": random.choice(("accept", "reject")), "score": 1, "reason": ""}
    return _draft(state, need.id, "ATTEST", payload, refs)


def _annotate(state: State, need: Need, random: Random) -> Publish:
    op = {"op": "ANNOTATE", "task": "", "key": "anchor", "value": "eip155:1:0x00"}
    return _draft(state, need.id, "UPDATE_PLAN", {"ops": [op]}, (need.envelope,))


def _challenge(state: State, need: Need, random: Random) -> Publish:
    payload = {"task": random.choice(list(need.tasks)), "reason": "wrong", "evidence": []}
    return _draft(state, need.id, "CHALLENGE", payload, _some(random, need.finals))


def _propose(state: State, need: Need, random: Random) -> Publish:
    plan = {task: [[state.me, spec.max_price]] for task, spec in need.tasks.items()}
    return _draft(state, need.id, "PROPOSE", {"round": 0, "lease_s": 86_400, "plan": plan}, (need.envelope,))


_FORGERIES: tuple[Callable[[State, Need, Random], Publish], ...] = (
    _claim,
    _decide,
    _accept,
    _expire,
    _refund,
    _release,
    _yield,
    _commit,
    _attest,
    _annotate,
    _challenge,
    _propose,
)
