"""The nemeses: what is done to a simulated mesh, by name, as a schedule drawn from the seed.

A schedule is a list of `Fault`s, each with dice of its own, so that leaving some out (shrink.py) does not change
what the others do. Everything ends by the time the mesh gets to settle.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from swarmd.simulations.clock import MS_NS, S_NS, Loop, dice
from swarmd.simulations.liars import BEHAVIOURS, EQUIVOCATE, NOISE
from swarmd.simulations.network import Network
from swarmd.simulations.node import SimNode

Heal = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """`at_ms` and `for_ms` since the start; `seed` is for its own dice."""

    number: int
    name: str
    at_ms: int
    for_ms: int
    seed: int

    def to_map(self) -> dict[str, Any]:
        return {"number": self.number, "name": self.name, "at_ms": self.at_ms, "for_ms": self.for_ms}


# Faults that are nodes: who lies is settled when the mesh is made.
LYING = ("liar", "equivocate")


@dataclass(frozen=True, slots=True)
class Field:
    """What a nemesis works on."""

    loop: Loop
    network: Network
    nodes: Sequence[SimNode]


def _some(field: Field, random: Random, most: int) -> list[int]:
    count = len(field.nodes)
    return sorted(random.sample(range(count), random.randint(1, max(1, most))))


def _links(field: Field, inside: list[int]) -> list[tuple[int, int]]:
    outside = [i for i in range(len(field.nodes)) if i not in inside]
    return [(one, other) for one in inside for other in outside]


def _partition(field: Field, random: Random, fault: Fault) -> Heal:
    """Cut a group off: both ways, or only what it says, or only what it hears."""
    out = _links(field, _some(field, random, len(field.nodes) // 2))
    back = [(other, one) for one, other in out]
    return field.network.block(random.choice((out + back, out + back, out, back)))


def _split(field: Field, random: Random, fault: Fault) -> Heal:
    """Cut a minority off, both ways, for so long that the others end an epoch or two without it."""
    out = _links(field, _some(field, random, (len(field.nodes) - 1) // 2))
    return field.network.block(out + [(other, one) for one, other in out])


def _slow(field: Field, random: Random, fault: Fault) -> Heal:
    """Links of a group that are many times slower, or that hold everything back and then burst."""
    out = _links(field, _some(field, random, len(field.nodes) // 3))
    if random.random() < 0.4:
        return field.network.clog(out)
    return field.network.slow(out + [(other, one) for one, other in out], random.randint(4, 40))


def _kill(field: Field, random: Random, fault: Fault) -> Heal:
    """Crash nodes at any moment of the fault's first half; they come back one by one until it ends."""
    chosen = [field.nodes[i] for i in _some(field, random, len(field.nodes) // 4)]
    half_ns = fault.for_ms * MS_NS // 2
    for node in chosen:
        down_ns = random.randrange(half_ns)
        field.loop.after(down_ns, node.crash)
        field.loop.after(down_ns + random.randrange(half_ns), node.restart)

    def heal() -> None:
        for node in chosen:
            node.restart()

    return heal


def _skew(field: Field, random: Random, fault: Fault) -> Heal:
    """A clock that jumps, by up to the tolerance of the protocol, or that runs fast or slow."""
    node = field.nodes[random.randrange(len(field.nodes))]
    if random.random() < 0.5:
        node.clock.jump(random.randint(-20 * S_NS, 20 * S_NS))
    else:
        node.clock.drift(random.choice((-100_000, -500, 500, 100_000)))
    node.poke()

    def heal() -> None:
        node.clock.heal()
        node.poke()

    return heal


def _chance(attribute: str, by: float) -> Callable[[Field, Random, Fault], Heal]:
    def apply(field: Field, random: Random, fault: Fault) -> Heal:
        share = by * (0.5 + random.random())

        def add(amount: float) -> None:
            setattr(field.network, attribute, max(0.0, getattr(field.network, attribute) + amount))

        add(share)
        return lambda: add(-share)

    return apply


def _disk(field: Field, random: Random, fault: Fault) -> Heal:
    """A disk that is full, that is slow, or that tears what it writes when the power goes."""
    node = field.nodes[random.randrange(len(field.nodes))]
    how = random.randrange(3)
    if how == 0:
        node.disk.full = True
    elif how == 1:
        node.disk.slowness = random.choice((20, 200))
    else:
        node.disk.slowness = 300  # so long a write that the crash falls into one
        field.loop.after(fault.for_ms * MS_NS // 2, node.crash)

    def heal() -> None:
        node.disk.full = False
        node.disk.slowness = 1
        node.restart()
        node.poke()

    return heal


def _amnesia(field: Field, random: Random, fault: Fault) -> Heal:
    """A disk that lies about fsync and loses acknowledged writes when the power goes."""
    node = field.nodes[random.randrange(len(field.nodes))]
    node.disk.forgets = random.randint(1, 20)
    field.loop.after(fault.for_ms * MS_NS // 2, node.crash)

    def heal() -> None:
        node.disk.forgets = 0
        node.restart()

    return heal


def _nothing(field: Field, random: Random, fault: Fault) -> Heal:
    return lambda: None  # who lies is settled when the mesh is made


@dataclass(frozen=True, slots=True)
class Nemesis:
    """`count` faults a run, each of `least_ms` to `most_ms`."""

    apply: Callable[[Field, Random, Fault], Heal]
    count: int
    least_ms: int
    most_ms: int


NEMESES: dict[str, Nemesis] = {
    "partition": Nemesis(_partition, 4, 500, 9_000),
    "split": Nemesis(_split, 1, 13_000, 20_000),
    "slow": Nemesis(_slow, 4, 500, 8_000),
    "kill": Nemesis(_kill, 4, 500, 8_000),
    "skew": Nemesis(_skew, 3, 1_000, 15_000),
    "reorder": Nemesis(_chance("reorder", 0.3), 2, 2_000, 10_000),
    "duplicate": Nemesis(_chance("duplicate", 0.3), 2, 2_000, 10_000),
    "corrupt": Nemesis(_chance("corrupt", 0.1), 2, 2_000, 10_000),
    "loss": Nemesis(_chance("loss", 0.2), 2, 2_000, 10_000),
    "disk": Nemesis(_disk, 3, 1_000, 6_000),
    "liar": Nemesis(_nothing, 0, 0, 0),
    "equivocate": Nemesis(_nothing, 1, 1_000, 1_001),
    "amnesia": Nemesis(_amnesia, 2, 2_000, 8_000),
}
# What the core does not claim to withstand yet: docs/simulator.md, "Known limits".
BEYOND = ("equivocate", "amnesia")
ALL = tuple(name for name in NEMESES if name not in BEYOND)


def schedule(seed: int, names: Sequence[str], active_ms: int, liars: int) -> list[Fault]:
    """The faults of a run: every one ends by `active_ms`. `liars` is how many nodes lie, if any do."""
    faults: list[Fault] = []
    for name in names:
        random = dice(seed, "nemesis/" + name)
        nemesis = NEMESES[name]
        for _ in range(liars if name == "liar" else nemesis.count):
            at_ms, for_ms = 0, active_ms
            if name != "liar":
                most_ms = min(nemesis.most_ms, active_ms * 2 // 3 if name == "split" else active_ms // 2)
                for_ms = random.randint(min(nemesis.least_ms, most_ms), most_ms)
                at_ms = random.randrange(active_ms - for_ms)
            faults.append(Fault(len(faults), name, at_ms, for_ms, random.getrandbits(32)))
    return faults


def unleash(field: Field, faults: Sequence[Fault], start_ns: int) -> None:
    """Put the faults of a schedule on the loop."""

    def begin(fault: Fault) -> None:
        heal = NEMESES[fault.name].apply(field, Random(fault.seed), fault)
        field.loop.after(fault.for_ms * MS_NS, heal)

    for fault in faults:
        field.loop.at(start_ns + fault.at_ms * MS_NS, begin, fault)


def behaviours_of(fault: Fault, in_committee: bool) -> tuple[str, ...]:
    """How the liar of this fault lies: two or three ways; outside committees unless it may be `in_committee`."""
    random = Random(fault.seed)
    random.random()  # the first draw picks the node
    if fault.name == "equivocate":
        return (EQUIVOCATE,)
    choices = BEHAVIOURS if in_committee else NOISE
    return tuple(sorted(random.sample(choices, random.randint(2, 3))))
