"""The node of `swarmd bench hour`, in a process: takes from stdin what its mesh says, and adopts, prunes and forgets as a
daemon does. Its clock is that of the load. On stdout a line of JSON each so many simulated seconds, and one at the end.
With `reopen` it only opens what another left in its folder, and says what that took.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import trio
from swarmd.node.bench import history
from swarmd.node.bench.hour_load import CERTIFIED, FRAME, SNAPSHOT, packed_of, read_messages
from swarmd.node.bench.state_node import FRAMES_A_TURN, OpenGate, StateNode, base_gate
from swarmd.node.checkpoint.pruning import Pruner
from swarmd.node.checkpoint.records import Records
from swarmd.node.checkpoint.service import Checkpoints, Wish, floor_of
from swarmd.node.content.store import SqliteBlockStore
from swarmd.node.garbage import Garbage, give_back_large
from swarmd.node.ports import PeerInfo
from swarmd.node.process_usage import own_rss_bytes
from swarmd.node.state.sync import Sync
from swarmd.node.turns import Out
from swarmd.protocol.limits import S_NS

MB = 1_048_576
# What a checkpoint waits for, and no longer: the certificate, its adoption.
_ADOPT_TIMEOUT_S = 600.0


class NoPeers:
    """A transport of nobody: what a mesh says comes through the pipe."""

    @property
    def addrs(self) -> tuple[str, ...]:
        return ()

    def peers(self) -> list[PeerInfo]:
        return []

    async def request(self, peer_id: str, body: bytes) -> bytes:
        raise AssertionError("nobody is asked here")

    def report(self, peer_id: str, code: str) -> None: ...


class HourNode:
    def __init__(self, settings: Any, garbage: Garbage) -> None:
        self._folder = Path(settings["folder"])
        self._every_ns = settings["every_s"] * S_NS
        self._garbage = garbage
        self.now_ns = history.START_NS
        gate = base_gate() if settings["gated"] else OpenGate()
        self.node = StateNode(
            self._folder,
            history.MEMBERS,
            gate,
            clock_ns=lambda: self.now_ns,
            chain_epochs=settings["chain_epochs"],
        )
        runner, journal = self.node.runner, self.node.journal
        self.records = Records(journal)
        blocks = SqliteBlockStore(journal.db)
        self.pruner = Pruner(journal, self.records, blocks, settings["keep_epochs"], settings["cold_mb"] * MB)
        self.pruner.me = self.node.did
        transport: Any = NoPeers()
        sync = Sync(runner, journal, transport, lambda: b"")
        self.checkpoints = Checkpoints(
            runner, journal, self.records, transport, sync, lambda did: "", self.pruner
        )
        runner.core.floor = floor_of(self.records)
        self.node.on_out = self._out
        self._adopted = trio.Event()
        self._began_s = time.perf_counter()
        self._row_at_ns = self.now_ns + self._every_ns
        self.frames = 0
        self._snapshot_bytes = 0

    def _out(self, out: Out) -> None:
        for effect in out.effects:
            if isinstance(effect, Wish):
                self.checkpoints.start(effect)

    async def take(self, messages: Iterator[tuple[int, int, bytes]]) -> None:
        """All of them, as fast as it goes."""
        for what, now_ns, body in messages:
            self.now_ns = now_ns
            if what == FRAME:
                self.node.runner.offer_frame("bench", body)
                self.frames += 1
                if self.frames % FRAMES_A_TURN == 0:
                    await trio.lowlevel.checkpoint()
            elif what == SNAPSHOT:
                self.records.put(packed_of(body))
                self._snapshot_bytes = len(body)
            elif what == CERTIFIED:
                await self._certified(int(body))
            if now_ns >= self._row_at_ns:
                self.say("row")
                self._row_at_ns += self._every_ns
        while self.node.runner.queued:  # noqa: ASYNC110
            await trio.sleep(0.01)

    async def _certified(self, epoch: int) -> None:
        """Until the epoch has begun here too, and what is old is put away."""
        self.say("before")
        with trio.fail_after(_ADOPT_TIMEOUT_S):
            while self.node.runner.state.epoch < epoch:  # noqa: ASYNC110  the runner has no event for it
                await trio.sleep(0.005)
            # In the hour that the clock does not show there was time for this.
            while self.pruner.due:  # noqa: ASYNC110
                await trio.sleep(0.005)
        self.say("after")

    def say(self, what: str) -> None:
        runner = self.node.runner
        tiers = self.pruner.status()
        size_of = {path.name: path.stat().st_size for path in self._folder.iterdir() if path.is_file()}
        used = resource.getrusage(resource.RUSAGE_SELF)
        row = {
            "what": what,
            "simulated_s": round((self.now_ns - history.START_NS) / S_NS, 1),
            "wall_s": round(time.perf_counter() - self._began_s, 1),
            "cpu_s": round(used.ru_utime + used.ru_stime, 3),
            "epoch": runner.state.epoch,
            "ops": runner.counters["admitted"],
            "tasks": sum(accepted for accepted, _ in runner.state.reputation.values()),
            "needs_in_memory": len(runner.state.needs),
            "chains": len(runner.chains.heads),
            "snapshot_mb": round(self._snapshot_bytes / MB, 2),
            "rss_mb": round(own_rss_bytes() / MB, 1),
            "warm_mb": round(tiers["warm"]["bytes"] / MB, 1),
            "cold_mb": round(tiers["cold"]["bytes"] / MB, 1),
            "journal_mb": round(size_of.get("journal.db", 0) / MB, 1),
            "wal_mb": round(size_of.get("journal.db-wal", 0) / MB, 1),
            "disk_mb": round(sum(size_of.values()) / MB, 1),
            "refused": sum(runner.ingress.faults.values()),
            "parked": len(runner.state.parked_ids),
            "full_looks": self._garbage.full_looks,
        }
        print(json.dumps(row), flush=True)


async def main(settings: Any, garbage: Garbage, file: BinaryIO) -> None:
    node = HourNode(settings, garbage)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(garbage.watch)
        nursery.start_soon(node.node.runner.run)
        started: Awaitable[Any] = nursery.start(node.checkpoints.run, ())
        await started
        await node.take(read_messages(file))
        node.say("end")
        nursery.cancel_scope.cancel()
    node.node.journal.close()


def reopen(settings: Any, garbage: Garbage) -> None:
    """Open the folder's journal and come to the state it holds. One line of JSON: seconds by the clock without imports, seconds
    of CPU with them, MB of memory, envelopes of the open epoch, needs in memory."""
    began_s = time.perf_counter()
    node = HourNode(settings, garbage)
    runner = node.node.runner
    row = {
        "reopen_s": round(time.perf_counter() - began_s, 2),
        "reopen_cpu_s": round(time.process_time(), 2),
        "reopen_rss_mb": round(own_rss_bytes() / MB, 1),
        "reopen_ops": sum(1 for _ in runner.inputs(0)),
        "reopen_needs": len(runner.state.needs),
    }
    print(json.dumps(row), flush=True)
    node.node.journal.close()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    give_back_large()
    collector = Garbage()
    collector.start()
    if given.get("reopen"):
        reopen(given, collector)
        sys.exit(0)
    with os.fdopen(sys.stdin.fileno(), "rb", buffering=1 << 20, closefd=False) as pipe:
        trio.run(main, given, collector, pipe)
