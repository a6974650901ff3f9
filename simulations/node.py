"""One simulated daemon: the real core, driven turn by turn as `node/runner.py` drives it.

A turn takes what queued up through chains and engine and writes one transaction; the commit takes the disk's
time, and only after it frames, effects and answers go out. A crash in between leaves the transaction there or
not; a restart replays the journal. What this file must keep in step with: node/runner.py and node/state/sync.py;
what happens to one item of a turn is in `journaled.py`.
"""

import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Protocol

from swarmd.protocol import limits
from swarmd.protocol.batch import Batch, Sign
from swarmd.protocol.chains import Chains
from swarmd.protocol.effects import Adopt, CheckSnapshot, MakeSnapshot, Publish
from swarmd.protocol.faults import CorruptState, LocalFault, RemoteFault
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.identity.manifest import Manifest, sign_manifest
from swarmd.protocol.inputs import Commanded, Input, ManifestSeen, Ticked
from swarmd.protocol.state import State
from swarmd.simulations.agents import Conduct, Jobs
from swarmd.simulations.checkpoints import Certified, Checkpoints, Kept, Makers
from swarmd.simulations.clock import MS_NS, S_NS, Loop, NodeClock
from swarmd.simulations.disk import Disk, DiskFull, Transaction
from swarmd.simulations.disk import Kept as Outgoing
from swarmd.simulations.journaled import JournaledCore
from swarmd.simulations.network import Network
from swarmd.simulations.syncing import Syncing
from swarmd.simulations.turns import Answer, Item, Out
from swarmd.simulations.wire import Wire
from swarmd.simulations.workload import SimArbiter, SimChain

MAX_TURN_ITEMS = 512
MAX_QUEUE = 8_192
FLUSH_WINDOW_NS = 3 * MS_NS
DISK_RETRY_NS = S_NS
MANIFEST_EVERY_NS = 45 * S_NS


def told(error: BaseException) -> str:
    """An exception and the place it came from, as the same text on any machine."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, {frames[-1].name})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


class Watch(Protocol):
    """Who is told what nodes make durable, and what goes wrong with them."""

    def committed(self, node: "SimNode", transaction: Transaction) -> None: ...

    def broke(self, property_id: str, node: "SimNode", what: str) -> None: ...

    def restarted(self, node: "SimNode", before: bytes | None) -> None: ...


@dataclass(frozen=True, slots=True)
class Mesh:
    """What all nodes of a run share."""

    genesis: Genesis
    loop: Loop
    network: Network
    wire: Wire
    chain: SimChain
    arbiter: SimArbiter
    watch: Watch
    lease_s: int
    sync_every_ns: int
    makers: Makers
    places: dict[str, int]  # did -> index
    everything: bool = False  # check the core's own invariants over the whole state after every step


class SimNode:
    """`up` is false between a crash and the restart; `life` tells callbacks of an earlier life apart."""

    def __init__(
        self,
        mesh: Mesh,
        index: int,
        did: str,
        sign: Sign,
        random: Random,
        offers: dict[str, int],
        conduct: Conduct,
    ) -> None:
        self.mesh = mesh
        self.index = index
        self.did = did
        self.sign = sign
        self.random = random
        self.offers = offers
        self.conduct = conduct
        self.clock = NodeClock(mesh.loop)
        self.disk = Disk(random)
        self.jobs = Jobs(self)
        self.sync = Syncing(self)
        self.checkpoints = Checkpoints(self)
        self.up = False
        self.life = 0
        self.trouble = False
        self._digest: bytes | None = None
        self._queue: deque[Item] = deque()
        self._writing: tuple[Transaction, list[Item]] | None = None
        self._turn_at_ns = 0
        self._last_flush_ns = 0
        self._manifest_frame = b""
        self.core = JournaledCore(
            mesh.wire.mesh_id, did, sign, self.disk, self._new_state, self.checkpoints.adopted
        )
        self.counters = self.core.counters

    # Life and death ------------------------------------------------------------------------------------

    def _new_state(self) -> State:
        state = State(self.mesh.genesis, self.did, lease_s=self.mesh.lease_s)
        state.check_everything = self.mesh.everything and self.conduct.honest
        if not self.conduct.honest:
            # A liar's own core must not stop it from saying what others have to refuse.
            setattr(state.ledger, "check", lambda dids: None)  # noqa: B010
        return state

    def _rebuild(self) -> bool:
        """Restore; a journal of its own that a node cannot read ends it, and is a finding."""
        try:
            self.core.restore()
        except Exception as error:  # whatever it is: the core once took these very inputs
            self.mesh.watch.broke("P2", self, "the journal does not replay: " + told(error))
            self.up = False
            self.life += 1
            return False
        return True

    @property
    def state(self) -> State:
        return self.core.state

    @property
    def chains(self) -> Chains:
        return self.core.chains

    def state_digest(self) -> bytes:
        return self.core.digests.state(self.state)

    def mesh_digest(self) -> bytes:
        return self.core.digests.mesh(self.state)

    def replayed(self) -> bytes:
        """The digest of the state that the journal gives (P2)."""
        return self.core.replayed()

    def boot(self) -> None:
        """Start, the first time or after a crash: manifest, outbox, sync."""
        if self.up:
            return  # it was killed and restarted before its first start was due: a second one would lose what is being written
        self.up = True
        self.life += 1
        self._turn_at_ns = 0
        self._announce(self.life)
        for effect in list(self.disk.outbox.values()):
            self._start(effect)
        self.sync.begin()
        self.poke()

    def crash(self) -> None:
        """Power is cut, at whatever step."""
        if not self.up:
            return
        self.counters["crashes"] += 1
        written = self._writing[0] if self._writing else None
        self._digest = self.state_digest() if written is None and not self.disk.forgets else None
        self.up = False
        self.life += 1
        self._queue.clear()
        self._writing = None
        self.trouble = False
        self.jobs.forget()
        self.checkpoints.forget()
        if self.disk.crash(written) and written is not None:
            self.counters["unacknowledged commits"] += 1
            self.mesh.watch.committed(self, written)

    def restart(self) -> None:
        if self.up:
            return
        if self._rebuild():
            self.mesh.watch.restarted(self, self._digest)
            self.boot()

    def _announce(self, life: int) -> None:
        """Say what we offer, again and again: manifests grow old."""
        if life != self.life:
            return
        manifest = sign_manifest(
            self.mesh.wire.mesh_id, self.did, self.clock.now_ns(), self.offers, (), (), self.sign
        )
        self._manifest_frame = manifest.frame()
        self.tell(lambda at_ns: ManifestSeen(manifest, at_ns))
        self.mesh.network.gossip(self.index, self._manifest_frame)
        self.mesh.loop.after(MANIFEST_EVERY_NS, self._announce, life)

    @property
    def writing(self) -> bool:
        """Is a turn on its way to the disk?"""
        return self._writing is not None

    @property
    def manifest_frame(self) -> bytes:
        return self._manifest_frame

    # Taking things in ----------------------------------------------------------------------------------

    def tell(
        self,
        make: Callable[[int], Input],
        answer: Answer | None = None,
        snapshot: Kept | None = None,
    ) -> None:
        self._push(Item(make=make, answer=answer, snapshot=snapshot))

    def adopt(self, found: Kept, certified: tuple[Certified, ...]) -> None:
        """Begin the epoch that a certified snapshot opens."""
        self._push(Item(adopt=(found, certified)))

    def drop(self, effect: str) -> None:
        """Nobody waits for this effect any more."""
        self._push(Item(drop=effect))

    def _start(self, effect: Outgoing) -> None:
        if isinstance(effect, MakeSnapshot | CheckSnapshot | Adopt):
            self.checkpoints.start(effect)
        else:
            self.jobs.start(effect)

    def command(self, op: str, args: dict[str, Any], answer: Answer) -> None:
        """An operator's command; `answer` is called after the commit with the need's id or a LocalFault."""
        self.tell(lambda at_ns: Commanded(op, args, at_ns), answer)

    def say(self, draft: Callable[[State], Publish | None]) -> None:
        """Say something that the core did not ask for: liars only."""
        self._push(Item(draft=draft))

    def on_frame(self, source: int, frame: bytes) -> None:
        try:
            parsed = self.mesh.wire.parse(frame)
        except RemoteFault as fault:
            self.counters["refused: " + fault.code] += 1
            return
        except Exception as error:  # the boundary of P10: anything but a RemoteFault is a finding
            self.mesh.watch.broke("P10", self, "parsing a frame: " + told(error))
            return
        self.conduct.heard(self, frame)
        if len(self._queue) >= MAX_QUEUE:
            self.counters["dropped"] += 1
        elif isinstance(parsed, Manifest):
            if parsed.issued_ns <= self.clock.now_ns() + limits.MAX_FUTURE_NS:
                self._push(Item(peer=source, manifest=parsed))
        else:
            self._push(Item(peer=source, batches=parsed))

    def on_request(self, source: int, body: Any) -> Any:
        if not self.conduct.serves(self):
            return None
        if body[0] in ("cut", "snapshot", "newest"):
            return self.checkpoints.serve(body)
        return self.sync.serve(source, body)

    def offer(self, peer: int, batches: list[Batch], answer: Answer) -> None:
        """The batches of a sync answer; `answer` gets how many were new, once they are on disk."""
        self._push(Item(peer=peer, batches=[self.mesh.wire.resealed(b) for b in batches], answer=answer))

    def _push(self, item: Item) -> None:
        if self.up:
            self._queue.append(item)
            if self._turn_at_ns != self.mesh.loop.now_ns:
                self.poke()

    # Turns ---------------------------------------------------------------------------------------------

    def poke(self) -> None:
        """See to it that the next turn happens when there is something to do."""
        if not self.up or self._writing is not None:
            return
        now_ns = self.mesh.loop.now_ns
        if self._queue:
            at_ns = now_ns
        elif not self.core.unsealed:
            if not self.state.timers:
                return
            at_ns = max(now_ns, self.clock.true_of(self.state.timers[0][0]))
        else:
            until_ns = [timer[0] for timer in self.state.timers[:1]]
            until_ns.append(self._last_flush_ns + FLUSH_WINDOW_NS)
            at_ns = max(now_ns, self.clock.true_of(min(until_ns)))
        if self.trouble:
            at_ns = max(at_ns, now_ns + DISK_RETRY_NS)
        if not self._turn_at_ns or at_ns < self._turn_at_ns:
            self._turn_at_ns = at_ns
            loop = self.mesh.loop
            if at_ns > now_ns:
                loop.at(at_ns, self._turn_event, self.life, at_ns)
            else:
                loop.soon(self._turn_event, self.life, at_ns)

    def _turn_event(self, life: int, at_ns: int) -> None:
        if life != self.life or at_ns != self._turn_at_ns:
            return
        self._turn_at_ns = 0
        self._turn()

    def _turn(self) -> None:
        queue, state = self._queue, self.state
        if len(queue) <= MAX_TURN_ITEMS:
            items = list(queue)
            queue.clear()
        else:
            items = [queue.popleft() for _ in range(MAX_TURN_ITEMS)]
        now_ns = max(self.clock.now_ns(), state.now_ns)
        ticking = bool(state.timers) and state.timers[0][0] <= now_ns
        sealing = bool(self.core.unsealed) and now_ns - self._last_flush_ns >= FLUSH_WINDOW_NS
        if not (items or ticking or sealing):
            self.poke()
            return
        transaction, out = Transaction(), Out()
        culprit: Item | None = None
        try:
            for item in items:
                culprit = item
                self.core.take(item, now_ns, transaction, out)
            culprit = None
            if ticking:
                self.core.step(Ticked(now_ns), transaction, out)
            if self.core.unsealed and now_ns - self._last_flush_ns >= FLUSH_WINDOW_NS:
                self.core.seal(transaction, out)
                self._last_flush_ns = now_ns
        except CorruptState as fault:
            self.mesh.watch.broke(fault.code if fault.code[0] == "P" else "P9", self, str(fault))
            self.crash()
            return
        except Exception as error:  # the boundary of P10: nothing that a peer sends may come to this
            self.mesh.watch.broke("P10", self, told(error))
            if self._rebuild():
                self._queue.extendleft(item for item in reversed(items) if item is not culprit)
                self.poke()
            return
        self.counters["turns"] += 1
        self._writing = (transaction, items)
        self.mesh.loop.after(self.disk.fsync_ns(), self._commit, self.life, transaction, items, out)

    def _commit(self, life: int, transaction: Transaction, items: list[Item], out: Out) -> None:
        if life != self.life:
            return
        self._writing = None
        try:
            self.disk.commit(transaction)
        except DiskFull:
            self._undo(items)
            return
        self.trouble = False
        self.mesh.watch.committed(self, transaction)
        for frame in out.frames:
            self.mesh.network.gossip(self.index, frame, self.conduct.recipients(self))
        for effect in out.effects:
            self._start(effect)
        for peer, gap in out.gaps:
            self.sync.fill(peer, gap)
        for answer, value in out.answers:
            answer(value)
        self.conduct.spoke(self, transaction)
        self.poke()

    def _undo(self, items: list[Item]) -> None:
        """Nothing of the turn happened: forget it, fail who waits, keep what is not said again."""
        self.counters["disk-full turns"] += 1
        self.trouble = True
        if not self._rebuild():
            return
        for item in items:
            if item.answer is not None:
                item.answer(LocalFault("disk-full", "nothing was changed"))
            elif any(part is not None for part in (item.make, item.draft, item.adopt)) or item.drop:
                self._queue.append(item)
        self.poke()
