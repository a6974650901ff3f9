"""A daemon as a queueing station: frames in, turns on its host's core, a commit, frames out to its mesh.

The order of work in a turn is that of the real runner: everything that came since the last turn is checked and
stepped, what follows from it is written in the same turn, then one commit, then frames and jobs leave. A flush
goes out at most once in a flush window; what is said in between waits for the next. Frames go as the transport
sends them: straight to all members while they are few, else through a mesh of fixed degree, duplicates and all.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from swarmd.protocol.genesis import Genesis
from swarmd.simulations.scale.costs import Costs
from swarmd.simulations.scale.events import US_NS, Cores, Delay, Events, Pool

FLUSH_WINDOW_NS = 3_000_000  # swarmd.node.sealing.WINDOW_NS
MAX_TURN_ITEMS = 512  # swarmd.node.runner.MAX_TURN_ITEMS
MAX_FLOOD_PEERS = 32  # P2PLimits.max_flood_peers
MESH_DEGREE = 6  # P2PLimits.mesh_degree


class Hearer(Protocol):
    """Whom an envelope is about: told of it by every daemon that minds it."""

    def hear(self, daemon: "Daemon", envelope: "Envelope") -> None: ...


@dataclass(slots=True, eq=False)
class Envelope:
    """`minded` are the daemons that may have to do something about it; the others only pay for taking it."""

    kind: str
    about: Hearer
    author: "Daemon"
    minded: frozenset["Daemon"]
    ts_ns: int
    data: Any = None


class Frame:
    """One flush of one author. `seen` is kept where frames are forwarded."""

    __slots__ = ("author", "cost_ns", "envelopes", "seen")

    def __init__(self, author: "Daemon", envelopes: list[Envelope], cost_ns: int, relayed: bool) -> None:
        self.author = author
        self.envelopes = envelopes
        self.cost_ns = cost_ns
        self.seen: set[int] | None = {author.index} if relayed else None


@dataclass(slots=True, eq=False)
class Host:
    """A machine with agents. Its daemons (one a mesh it is in) share its cores; its agents have their own."""

    index: int
    region: int
    cores: Cores
    pools: dict[str, Pool] = field(default_factory=dict)
    daemons: list["Daemon"] = field(default_factory=list)


class Mesh:
    """The daemons that hear each other, and the roster they draw committees from: all of them."""

    def __init__(self, name: str, hosts: list[Host], world: "World") -> None:
        self.name = name
        self.world = world
        self.daemons = [Daemon(number, host, self) for number, host in enumerate(hosts)]
        self.roster = tuple(f"{name}/{number}" for number in range(len(hosts)))
        self.member = dict(zip(self.roster, self.daemons, strict=True))
        self.genesis = Genesis(name, self.roster, {})
        self.relayed = len(hosts) - 1 > MAX_FLOOD_PEERS
        self.needs = 0
        self.receipts: dict[Daemon, list[Hearer]] = {}  # of an owner, since its last anchor
        self._connect()

    def _connect(self) -> None:
        """Everybody to everybody, or a random mesh of `MESH_DEGREE`: the union of rings, so that it is connected."""
        links: list[set[Daemon]] = [set() for _ in self.daemons]
        if not self.relayed:
            for daemon in self.daemons:
                links[daemon.index].update(self.daemons)
        else:
            for _ in range(MESH_DEGREE // 2):
                ring = self.world.random.sample(self.daemons, len(self.daemons))
                for one, other in zip(ring, [*ring[1:], ring[0]], strict=True):
                    links[one.index].add(other)
                    links[other.index].add(one)
        for daemon in self.daemons:
            peers = sorted(links[daemon.index] - {daemon}, key=lambda peer: peer.index)
            daemon.peers = [(peer, self.world.delay(daemon.host.region, peer.host.region)) for peer in peers]


@dataclass(slots=True)
class World:
    """What all share: events, dice, costs, and the delay between two regions."""

    events: Events
    random: Random
    costs: Costs
    commit: Delay
    delay: Callable[[int, int], Delay]


class Daemon:
    """One daemon of one mesh. `unsealed` is what it has said since its last flush."""

    __slots__ = (
        "_after",
        "_cost_ns",
        "_costs",
        "_events",
        "_flush_armed",
        "_free_ns",
        "_inbox",
        "_last_flush_ns",
        "_relays",
        "_scheduled",
        "authored",
        "duplicates",
        "flushes",
        "frames_in",
        "frames_out",
        "heard",
        "host",
        "index",
        "mesh",
        "peers",
        "turns",
        "unsealed",
        "world",
    )

    def __init__(self, index: int, host: Host, mesh: Mesh) -> None:
        self.index = index
        self.host = host
        self.mesh = mesh
        self.world = mesh.world
        self.peers: list[tuple[Daemon, Delay]] = []
        self.unsealed: list[Envelope] = []
        self.turns = self.flushes = self.authored = self.heard = 0
        self.frames_in = self.frames_out = self.duplicates = 0
        self._events = self.world.events
        self._costs = self.world.costs.in_ns
        self._inbox: list[Any] = []
        self._scheduled = False
        self._free_ns = 0
        self._cost_ns = 0
        self._last_flush_ns = -FLUSH_WINDOW_NS
        self._flush_armed = False
        self._after: list[Callable[[], None]] = []
        self._relays: list[tuple[Frame, Daemon]] = []
        host.daemons.append(self)

    # What comes in -------------------------------------------------------------------------------------

    def tell(self, item: Callable[[], None], cost_us: float = 0.0) -> None:
        """Let `item` be handled in the next turn: a timer, a caller's command, the end of a job."""
        self._take((int(cost_us * US_NS), item))

    def arrive(self, frame: Frame, forwarder: "Daemon") -> None:
        seen = frame.seen
        if seen is not None:
            if self.index in seen:
                self.duplicates += 1
                self._take(None)
                return
            seen.add(self.index)
            self._relays.append((frame, forwarder))
        self._take(frame)

    def _take(self, item: Any) -> None:
        self._inbox.append(item)
        if not self._scheduled:
            self._schedule()

    def _schedule(self) -> None:
        """Take a turn as soon as the last one is over and a core is free."""
        self._scheduled = True
        if self._events.now_ns < self._free_ns:
            self._events.at(self._free_ns, self.host.cores.submit, self._turn)
        else:
            self.host.cores.submit(self._turn)

    # A turn --------------------------------------------------------------------------------------------

    def say(self, envelope: Envelope) -> None:
        """Write an envelope, in the turn that is under way."""
        self._cost_ns += self._costs.envelope_out
        self.authored += 1
        self.unsealed.append(envelope)
        envelope.about.hear(self, envelope)

    def after(self, action: Callable[[], None]) -> None:
        """Do something once the turn that is under way is committed."""
        self._after.append(action)

    def _turn(self) -> int:
        """Take a turn; returns the CPU time it holds a core for."""
        self._scheduled = False
        now_ns = self._events.now_ns
        inbox, self._inbox = self._inbox[:MAX_TURN_ITEMS], self._inbox[MAX_TURN_ITEMS:]
        costs = self._costs
        self._cost_ns = 0
        idle = True
        for item in inbox:
            if item is None:
                self._cost_ns += costs.duplicate
                continue
            idle = False
            if item.__class__ is Frame:
                self._cost_ns += item.cost_ns
                self.frames_in += 1
                self.heard += len(item.envelopes)
                for envelope in item.envelopes:
                    if self in envelope.minded:
                        envelope.about.hear(self, envelope)
            else:
                self._cost_ns += item[0]
                item[1]()
        relay_ns = self._relay(now_ns)
        frame = self._flush(now_ns)
        commit_ns = 0
        if not idle or frame is not None:
            self.turns += 1
            self._cost_ns += costs.turn
            commit_ns = self.world.commit.draw_ns()
        cpu_ns = self._cost_ns
        out_ns = now_ns + cpu_ns + relay_ns + commit_ns
        if frame is not None:
            cpu_ns += self._send(frame, out_ns)
        if self._after:
            actions, self._after = self._after, []
            for action in actions:
                self._events.at(out_ns, action)
        self._free_ns = now_ns + cpu_ns + relay_ns + commit_ns
        if self._inbox:
            self._schedule()
        return cpu_ns + relay_ns

    def _relay(self, now_ns: int) -> int:
        """Forward what a peer's frames brought, before the commit; returns the CPU time of it."""
        if not self._relays:
            return 0
        took_ns = 0
        relays, self._relays = self._relays, []
        for frame, forwarder in relays:
            reached = {peer.index for peer, _ in frame.author.peers}
            for peer, delay in self.peers:
                if peer is not forwarder and peer is not frame.author and peer.index not in reached:
                    took_ns += self._costs.frame_out
                    self.frames_out += 1
                    at_ns = now_ns + self._cost_ns + took_ns + delay.draw_ns()
                    self._events.at(at_ns, peer.arrive, frame, self)
        return took_ns

    def _flush(self, now_ns: int) -> Frame | None:
        if not self.unsealed:
            return None
        due_ns = self._last_flush_ns + FLUSH_WINDOW_NS
        if now_ns < due_ns:
            if not self._flush_armed:
                self._flush_armed = True
                self._events.at(due_ns, self._flush_due)
            return None
        envelopes, self.unsealed = self.unsealed, []
        self._last_flush_ns = now_ns
        self.flushes += 1
        self._cost_ns += self._costs.seal
        cost_ns = self._costs.frame_in + len(envelopes) * self._costs.envelope_in
        return Frame(self, envelopes, cost_ns, self.mesh.relayed)

    def _flush_due(self) -> None:
        self._flush_armed = False
        if self.unsealed and not self._scheduled:
            self._schedule()

    def _send(self, frame: Frame, at_ns: int) -> int:
        cost_ns = self._costs.frame_out
        for number, (peer, delay) in enumerate(self.peers, start=1):
            self._events.at(at_ns + number * cost_ns + delay.draw_ns(), peer.arrive, frame, self)
        self.frames_out += len(self.peers)
        return cost_ns * len(self.peers)
