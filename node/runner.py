"""The runner: takes what happened, turn by turn, through gate, engine and journal, and only then lets it out.

A turn handles everything that queued up since the last one in ONE SQLite transaction: inputs, our own new
envelopes, sealed batches, outbox rows and inline blocks. After the commit the frames go out, effects are
dispatched and callers are answered. If the disk fails, nothing of the turn has happened: the engine is rebuilt
from the journal and the node goes on reading while it waits for room (state `disk-full`).
"""

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import trio
from swarmd.node.durability import Durability
from swarmd.node.journaled import JournaledEngine
from swarmd.node.policy.gates import Switch
from swarmd.node.ports import PolicyGate
from swarmd.node.resume import Work
from swarmd.node.sealing import FlushWindow
from swarmd.node.telemetry.metrics import FAST_S, Timings
from swarmd.node.telemetry.tracing import Tracer
from swarmd.node.turns import Item, Out, Reply
from swarmd.protocol.chains import Chains
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.faults import CorruptState, LocalFault
from swarmd.protocol.inputs import Input
from swarmd.protocol.state import State

log = logging.getLogger("swarmd.runner")

MAX_TURN_ITEMS = 512
MAX_QUEUE = 8_192
DISK_RETRY_S = 1.0
TICK_RETRY_NS = 10_000_000_000
# What the disk may say for a while. All else, a failed fsync above all, leaves open what is on it: CorruptState.
_PASSING_ERRORS = frozenset(
    (
        "SQLITE_FULL",
        "SQLITE_IOERR",
        "SQLITE_IOERR_WRITE",
        "SQLITE_IOERR_SHMSIZE",
        "SQLITE_IOERR_SHMOPEN",
        "SQLITE_CANTOPEN",
        "SQLITE_READONLY",
        "SQLITE_BUSY",
    )
)


class Runner:
    """Turns of a `JournaledEngine`. `on_out` is called once a commit is on disk, in order, and must not block."""

    def __init__(self, core: JournaledEngine, on_out: Callable[[Out], None]) -> None:
        self.core = core
        self.genesis, self.me, self.journal = core.genesis, core.me, core.journal
        self.gates, self.voice, self.ingress = core.gates, core.voice, core.ingress
        self.before_adoption = core.before_adoption
        self.bus, self.gossip_s = core.bus, core.gossip_s
        self.counters = core.counters
        # CPU microseconds of this thread: frames parsed and verified, turns without their commit, commits.
        self.counters |= {"turns": 0, "frames_cpu_us": 0, "turns_cpu_us": 0, "commits_cpu_us": 0}
        self.frames_dropped = 0
        self.turn_s = Timings(FAST_S)
        self.trouble = ""
        self.watchers: list[Callable[[Envelope], None]] = []
        self._clock_ns = core.clock_ns
        self._on_out = on_out
        self._queue: deque[Item] = deque()
        self._wake = trio.Event()
        self._window = FlushWindow()
        self._tick_after_ns = 0
        self.disk = Durability(core.journal)
        self.disk.wake = lambda: self._wake.set()

    @property
    def state(self) -> State:
        return self.core.state

    @property
    def chains(self) -> Chains:
        return self.core.chains

    @property
    def silent(self) -> bool:
        """Does it only listen, because it was made of a backup (docs/backup.md)?"""
        return self.core.silent

    @property
    def gate(self) -> PolicyGate:
        """The policy in force."""
        return self.gates.active

    def trace(self, tracer: Tracer) -> None:
        """From now on, make spans of what happens."""
        self.core.tracer = self.voice.tracer = tracer

    def traceparent_of(self, job_id: str) -> str:
        """For the agent that does a job; "" where it is not traced."""
        return self.core.tracer.traceparent_of(job_id) if self.core.tracer is not None else ""

    # Looking -------------------------------------------------------------------------------------------

    def inputs(self, after: int = 0) -> Iterator[Input]:
        """The inputs on record behind that number, in order; from 0 all since the last checkpoint that was adopted."""
        return self.core.inputs(after)

    def thread(self, need: str) -> list[Envelope]:
        """Every envelope of a need that is here, in causal order: on record, and ours that are not sealed yet."""
        return self.core.thread(need)

    def resume_work(self) -> Work | None:
        """What a `ResumeFile` writes, between two turns; None if there is no input since the last checkpoint."""
        return self.core.resume_work()

    def replay_s(self) -> float:
        """CPU seconds of all replays and turns so far: about what another replay of them takes."""
        return self.core.replayed_s + self.counters["turns_cpu_us"] / 1e6

    @property
    def queued(self) -> int:
        """Items that wait for a turn."""
        return len(self._queue)

    def now_ns(self) -> int:
        return self._clock_ns()

    # Taking things in ----------------------------------------------------------------------------------

    def tell(
        self, make: Callable[[int], Input], *, reply: bool = False, of_the_mesh: bool = False
    ) -> Reply | None:
        """Queue an input, made when its turn comes with the node's clock. With `reply`, wait on the result."""
        item = Item(make=make, of_the_mesh=of_the_mesh, reply=Reply() if reply else None)
        self._push(item)
        return item.reply

    def offer_frame(self, peer: str, frame: bytes) -> None:
        """Check a peer's frame and queue what it holds. RemoteFault if it must not be passed on.

        Over the bound of the queue it is dropped and counted: sync brings it again.
        """
        began_ns = time.thread_time_ns()
        try:
            parsed = self.ingress.parse(frame, self._clock_ns())
        finally:
            self._charge_cpu("frames_cpu_us", began_ns)
        if len(self._queue) >= MAX_QUEUE:
            self.frames_dropped += 1
            return
        self._push(Item(peer=peer, batches=parsed.batches, manifest=parsed.manifest))

    def _charge_cpu(self, room: str, began_ns: int) -> None:
        self.counters[room] += (time.thread_time_ns() - began_ns) // 1000

    async def offer_synced(self, peer: str, bodies: list[Any]) -> int:
        """Take the batches of a sync answer; returns how many were new, once they are on disk."""
        item = Item(peer=peer, batches=self.ingress.parse_synced(bodies), reply=Reply())
        self._push(item)
        assert item.reply is not None
        new: int = await item.reply.wait()
        return new

    def switch(self, switch: Switch) -> None:
        """Change the policy when its time has come: before the first turn that begins then."""
        self.gates.schedule(switch)
        self._wake.set()

    def speak(self) -> None:
        """End the silence of a restored node."""
        self.core.silent = False
        self.core.restore()
        self._wake.set()

    def suspect_disk(self, fault: LocalFault) -> None:
        """Something outside of a turn found the disk full: say so, and look when that ends."""
        if isinstance(fault.__cause__, sqlite3.Error) and not self.trouble:
            log.error("the block store takes no writes: %s; reading goes on, retrying", fault)
            self.trouble = fault.code
            self._wake.set()

    def _push(self, item: Item) -> None:
        self._queue.append(item)
        self._wake.set()

    # The loop ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Turn after turn until cancelled."""
        while True:
            ends_at_ns = self._window.ends_at_ns
            waiting = self._to_seal() and ends_at_ns > self._clock_ns()
            with trio.move_on_after(self._patience_s()) as patience:
                await self._wake.wait()
            if patience.cancelled_caught and waiting:
                self._window.rang(self._clock_ns() - ends_at_ns)
            self._wake = trio.Event()
            began_ns, commits_us = time.thread_time_ns(), self.counters["commits_cpu_us"]
            out = self._turn(sync_later=self.disk.is_slow)
            self._charge_cpu("turns_cpu_us", began_ns)
            self.counters["turns_cpu_us"] -= self.counters["commits_cpu_us"] - commits_us
            # What was only heard can wait. Not on a machine that is behind: there the wait makes fewer and larger turns.
            if out.speaks or self._window.is_late or self.disk.due_in_s() == 0.0:
                await self.disk.sync()
            self._show()
            if self._queue and not (self.silent and all(item.waits_in_silence for item in self._queue)):
                self._wake.set()
            if out:
                self._on_out(out)
            if self.trouble:
                await trio.sleep(DISK_RETRY_S)
            else:
                await trio.lowlevel.checkpoint()

    def _patience_s(self) -> float:
        """How long to wait for something to happen: until the next timer or the end of the flush window."""
        if self.trouble:
            return 0.0  # each turn tries whether the disk takes writes again
        now_ns = self._clock_ns()
        until_ns = self._next_tick_ns()
        if self._to_seal():
            until_ns = min(until_ns, self._window.ends_at_ns)
        return min(3600.0, self.disk.due_in_s(), max(0.0, (until_ns - now_ns) / 1e9))

    def _to_seal(self) -> bool:
        return bool(self.voice.unsealed) and not self.silent

    def _items_heard(self, out: Out) -> list[Item]:
        """Of what queued up, what peers said and the mesh decided. Callers are refused; results of agents and the chain wait."""
        heard: list[Item] = []
        kept: deque[Item] = deque()
        while self._queue and len(heard) < MAX_TURN_ITEMS:
            item = self._queue.popleft()
            if not item.waits_in_silence:
                heard.append(item)
            elif item.reply is None:
                kept.append(item)
            else:
                item.reply.fault = LocalFault(
                    "restored-silent",
                    "this node was made of a backup, or its journal was lost: it listens before it speaks",
                    fix="connect it to its mesh; swarmd status says how far it is",
                )
                out.replies.append(item.reply)
        self._queue.extendleft(reversed(kept))
        return heard

    def _next_tick_ns(self) -> int:
        """When the engine wants to be told the time next; far away if it does not."""
        if not self.state.timers or self.silent:
            return 1 << 63
        return max(self.state.timers[0][0], self._tick_after_ns)

    def turn(self) -> Out:
        """One transaction's worth of work, on disk. Never raises for what a peer or a caller did."""
        out = self._turn(sync_later=False)
        self._show()
        return out

    def _show(self) -> None:
        """Tell the watchers what was taken since they were told."""
        for envelope in self.core.told():
            for watcher in self.watchers:
                watcher(envelope)

    def _turn(self, *, sync_later: bool) -> Out:
        out = Out()
        if self.gates.advance(self.state.lamport):
            log.info("the policy is now %s", self.gate.policy_hash.hex())
        began_ns = self._clock_ns()
        now_ns = max(began_ns, self.state.now_ns)
        if self.silent:
            items, ticking = self._items_heard(out), False
        else:
            items = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_TURN_ITEMS))]
            ticking = self._next_tick_ns() <= now_ns
        if not (items or ticking or self._to_seal() or self.trouble):
            return out
        try:
            self.journal.begin(sync_later=sync_later)
            if self.trouble:
                self.journal.probe()
        except sqlite3.Error as error:
            return self._undo(error, items, moved=False)
        try:
            for position, item in enumerate(items):
                try:
                    self.core.take(item, now_ns, out)
                except (sqlite3.Error, CorruptState):
                    raise
                except Exception as error:
                    # The boundary of P10: whatever a rule did not foresee costs this one item, nothing else.
                    return self._drop(error, items, position)
            # What an item made due is done in its own turn: it saves a commit, and the wait for one.
            if ticking or (not self.silent and self._next_tick_ns() <= now_ns):
                try:
                    self.core.tick(now_ns, out)
                except (sqlite3.Error, CorruptState):
                    raise
                except Exception as error:
                    # As above; the same tick would fail again at once, so it waits a while.
                    self._tick_after_ns = now_ns + TICK_RETRY_NS
                    return self._drop(error, items, None)
            if self._to_seal() and self._window.due(len(self.voice.unsealed), now_ns):
                self.core.seal(out)
                self._window.flushed(now_ns)
            self.core.store_blocks()
            self._commit(sync_later)
        except sqlite3.Error as error:
            return self._undo(error, items, moved=True)
        except LocalFault as fault:
            if not isinstance(fault.__cause__, sqlite3.Error):
                raise
            return self._undo(
                fault.__cause__, items, moved=True
            )  # the block store's: it writes to the same file
        if self.trouble:
            log.info("the journal takes writes again")
            self.trouble = ""
        self.counters["turns"] += 1
        self.turn_s.add((self._clock_ns() - began_ns) / 1e9)
        self.core.committed()
        return out

    def _commit(self, sync_later: bool) -> None:
        began_ns, began_s = time.thread_time_ns(), time.perf_counter()
        self.journal.commit()
        if sync_later:
            self.disk.committed()
        else:
            self.disk.took(time.perf_counter() - began_s)
        self._charge_cpu("commits_cpu_us", began_ns)

    def _drop(self, error: Exception, items: list[Item], position: int | None) -> Out:
        """Forget this turn and take it again without the item (None: the tick) that broke it."""
        self.core.take_back()
        self.core.restore()
        culprit = Item() if position is None else items.pop(position)
        self._queue.extendleft(reversed(items))
        out = Out()
        if isinstance(error, LocalFault):
            fault = error
        else:
            log.error("dropped what broke a rule of ours", exc_info=error)
            fault = LocalFault("internal", f"{type(error).__name__}: {error}"[:500])
        if culprit.reply is not None:
            culprit.reply.fault = fault
            out.replies.append(culprit.reply)
        if culprit.peer:
            self.ingress.faults["internal"] += 1
            out.reports.append((culprit.peer, "", "internal"))
        return out

    def _undo(self, error: sqlite3.Error, items: list[Item], *, moved: bool) -> Out:
        """The transaction failed: nothing of this turn happened, so the state, if it moved, must forget it too."""
        self.core.take_back()
        code = getattr(error, "sqlite_errorname", "")
        if code not in _PASSING_ERRORS:
            raise CorruptState("bad-journal", f"{self.journal.path}: {error}") from error
        if not self.trouble:
            log.error("the journal takes no writes: %s; reading goes on, retrying", error)
        self.trouble = "disk-full" if code == "SQLITE_FULL" else f"disk-error: {error}"
        if moved:
            self.core.restore()
        fault = LocalFault(
            "disk-full" if code == "SQLITE_FULL" else "disk-error",
            f"nothing was changed: {self.journal.path} takes no writes ({error})",
            fix="free some space on its disk; the daemon goes on by itself",
        )
        out = Out()
        for item in items:
            if item.reply is not None:
                item.reply.fault = fault
                out.replies.append(item.reply)
            elif item.make is not None:
                self._queue.append(item)  # results of agents and the chain are not asked for again: keep them
        return out
