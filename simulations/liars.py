"""Nodes that lie. Each runs the real core and departs from it in the ways its behaviours name."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from swarmd.protocol import cids
from swarmd.protocol.batch import GENESIS_PREV, Batch, sign_flush
from swarmd.protocol.cbor import encode
from swarmd.protocol.checkpoint.packing import pack
from swarmd.protocol.effects import Judge, RunAgent
from swarmd.protocol.envelope import Envelope, bucket_of, build, evaluated, need_id
from swarmd.simulations.agents import Conduct
from swarmd.simulations.checkpoints import Kept
from swarmd.simulations.clock import S_NS
from swarmd.simulations.disk import Transaction
from swarmd.simulations.forgeries import (
    FORGERIES,
    about_attempt,
    another_need,
    give_up,
    late,
    said_of,
    shifted,
    sign_blindly,
    skip_hiding,
    spend_again,
    vote_for,
)
from swarmd.simulations.journaled import ALLOW_DIGEST
from swarmd.simulations.node import SimNode
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
                node.say(vote_for(envelope))
            if envelope.kind == "CHECKPOINT" and self._does("false-snapshot"):
                node.say(vote_for(envelope))  # for each that there is
            if self.active and self._does("other-epochs") and envelope.sender not in self._fellows:
                self._astray(node, envelope)
            asked = envelope.kind == "ATTEST_PLAN" and envelope.payload["verdict"] == "skip"
            if asked and self._does("double-vote") and envelope.sender not in self._fellows:
                node.say(skip_hiding(envelope))
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
                node.say(sign_blindly(envelope))
        for envelope in transaction.said:
            fresh = envelope.kind == "MONEY" and envelope.payload["op"] == "transfer"
            if fresh and self.active and envelope.payload["key"].startswith("sim"):
                if self._random.random() < 0.5:
                    node.say(spend_again(envelope))
                else:
                    wait_ns = self._random.choice((0, 1, 3)) * S_NS
                    node.mesh.loop.after(wait_ns, node.say, another_need(envelope))
            if envelope.kind == "CLAIM" and self._does("forge"):
                node.mesh.loop.after(LATE_NS, node.say, late(envelope))

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
            node.say(lambda state: shifted(give_up(state, thread, ()), by))
        elif heard.thread in node.state.needs and (forgeries := FORGERIES.get(heard.kind)):
            forge = self._random.choice(forgeries)
            node.say(lambda state: said_of(state, forge, self._random, heard, by))

    def _react(self, node: SimNode, heard: Envelope) -> None:
        """Say about what was heard something that the rules forbid, mostly by a little."""
        forgeries = FORGERIES.get(heard.kind)
        if forgeries is None or heard.thread not in node.state.needs:
            return
        forge = self._random.choice(forgeries)
        node.say(lambda state: said_of(state, forge, self._random, heard, 0))

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
            payload={**about_attempt("t0", 0), "reason": "spam"},
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
        payload={**about_attempt("t0", 0), "reason": "said by another"},
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
