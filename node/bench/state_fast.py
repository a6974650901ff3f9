"""Fast sync, for `swarmd bench state`: a newcomer begins at a checkpoint over a long history, and takes what came after.

`serves` makes the snapshot of the history (what a proposer does at the end of an epoch), certifies it with the keys of the
bench's verifiers, and holds the last flushes of it as what came after the cut. `joins` has an empty journal.
"""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import trio
from swarmd.node.bench import history
from swarmd.node.bench.processes import Ready, serve
from swarmd.node.bench.state_node import FRAMES_A_TURN, Peer, StateNode, base_gate
from swarmd.node.bench.state_views import rss_mb
from swarmd.node.checkpoint.pruning import Pruner
from swarmd.node.checkpoint.records import Records
from swarmd.node.checkpoint.service import Checkpoints, floor_of
from swarmd.node.content.store import SqliteBlockStore
from swarmd.node.garbage import Garbage
from swarmd.node.ports import PeerGone
from swarmd.node.transport.p2p.transport import P2PTransport
from swarmd.protocol import kinds
from swarmd.protocol.batch import EnvelopeProof, parse_flush, prove, sign_flush
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.chains import Chains
from swarmd.protocol.checkpoint import ballots
from swarmd.protocol.checkpoint.making import Maker
from swarmd.protocol.checkpoint.packing import pack
from swarmd.protocol.checkpoint.snapshot import Packed, Snapshot
from swarmd.protocol.digest import mesh_digest
from swarmd.protocol.envelope import bucket_of, build, epoch_thread

TAIL_FRAMES = 200
_POLL_S = 0.02


def _certified(found: Snapshot, packed: Packed) -> tuple[EnvelopeProof, ...]:
    """The checkpoint and a quorum of votes for it, by the verifiers' own keys."""
    genesis = history.genesis()
    drawn = ballots.epoch_committee(genesis.roster, 0)
    keys = {history.did_number(number): history.key_of(number) for number in range(history.MEMBERS)}
    thread = epoch_thread(1)
    proofs: list[EnvelopeProof] = []

    def say(did: str, kind: str, payload: dict[str, Any], refs: tuple[bytes, ...]) -> bytes:
        envelope = build(
            kind=kind,
            thread=thread,
            sender=did,
            lamport=len(proofs) + 1,
            ts_ns=history.START_NS,
            epoch=0,
            payload=payload,
            refs=refs,
            policy=bytes(32),
            eval_digest=bytes(32),
        )
        link = (0, bucket_of(thread), 0, bytes(32), [envelope])
        _, [batch] = sign_flush(genesis.mesh_id, did, [link], lambda data: keys[did].sign(data).signature)
        proofs.append(prove(batch, 0))
        return envelope.id

    payload = {"epoch": 1, "round": 0, "root": found.root, "state": packed.state}
    checkpoint = say(drawn.members[0], kinds.CHECKPOINT, payload, ())
    for did in drawn.members[: drawn.quorum]:
        say(did, kinds.ATTEST_PLAN, {"verdict": "accept", "reason": ""}, (checkpoint,))
    return tuple(proofs)


class Keeper:
    """A node of the bench with what keeps and gives checkpoints."""

    def __init__(self, node: StateNode, peer: Peer, transport: P2PTransport) -> None:
        self.records = Records(node.journal)
        pruner = Pruner(node.journal, self.records, SqliteBlockStore(node.journal.db))
        self.checkpoints = Checkpoints(
            node.runner, node.journal, self.records, transport, peer.sync, lambda did: "", pruner
        )
        peer.sync.epochs = self.checkpoints
        node.runner.core.floor = floor_of(self.records)


async def _prepare(node: StateNode, keeper: Keeper, frames: Iterator[bytes], ops: int) -> dict[str, Any]:
    """Make, certify and adopt the snapshot; then take in what is left of the history."""
    began = time.perf_counter()
    maker, chains, made = Maker(node.genesis, None), Chains(), 0
    while made < ops and (frame := next(frames, None)) is not None:
        for batch in parse_flush(node.genesis.mesh_id, decode(frame)):
            maker.feed(batch)
            chains.accept(batch)
            made += len(batch.envelopes)
        await trio.lowlevel.checkpoint()
    found = maker.finish(dict(chains.heads))
    packed = pack(found)
    report = {"ops": found.ops, "made_s": round(time.perf_counter() - began, 1), "closed": len(found.closed)}
    report["bytes"] = len(packed.head) + sum(map(len, packed.parts.values()))
    keeper.records.put(packed)
    state, certificate = packed.state, _certified(found, packed)
    del maker, packed, found
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.runner.run)
        await keeper.checkpoints.begin_at(1, state, certificate)
        nursery.cancel_scope.cancel()
    while some := list(islice(frames, FRAMES_A_TURN)):
        node.take(some)
        await trio.lowlevel.checkpoint()
    return report


async def main(settings: Any, ready: Ready) -> dict[str, Any]:
    Garbage().start()  # as the daemon
    node = StateNode(Path(settings["folder"]), settings["number"], base_gate())
    transport = P2PTransport(bytes(node.key), "bench", static_peers=settings["peers"], frames_are_signed=True)
    peer = Peer(node, transport)
    keeper = Keeper(node, peer, transport)
    report: dict[str, Any] = {}
    if not settings["peers"]:
        frames = history.read_frames(Path(settings["frames"]))
        report = await _prepare(node, keeper, frames, settings["ops"])
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run, peer)
        await ready(transport.addrs[0])
        if settings["peers"]:
            nursery.start_soon(node.runner.run)
            report = await _joins(node, peer, keeper, transport)
        else:
            await peer.ended.wait()
            await trio.sleep(0.2)  # until the answer is out
        nursery.cancel_scope.cancel()
    return report | {
        "rss_mb": rss_mb(),
        "cpu_s": time.process_time(),
        "digest": mesh_digest(node.runner.state).hex(),
    }


async def _joins(node: StateNode, peer: Peer, keeper: Keeper, transport: P2PTransport) -> dict[str, Any]:
    """From an empty journal to having what the other has: connecting is not counted."""
    while not transport.peers():  # noqa: ASYNC110  the transport has no event for it
        await trio.sleep(_POLL_S)
    other = transport.peers()[0].peer_id
    began = time.perf_counter()
    await keeper.checkpoints.catch_up(other)
    adopted_s = time.perf_counter() - began
    while await peer.sync.round(other):
        pass
    took_s = time.perf_counter() - began
    try:
        roots = decode(await transport.request(other, encode({"t": "end"})))
    except PeerGone:
        roots = []
    return {
        "took_s": round(took_s, 2),
        "adopted_s": round(adopted_s, 2),
        "after_ops": node.runner.counters["admitted"],
        "agree": roots == node.runner.chains.bucket_roots(),
    }


if __name__ == "__main__":
    serve(main)
