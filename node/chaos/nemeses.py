"""What goes wrong and when: a schedule that follows from the seed alone, and how each fault is done and undone."""

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import trio
from swarmd.node.chaos.netns import Impairment
from swarmd.protocol.faults import LocalFault

# Half of what a node lets another's clock run ahead (30 s): two skewed clocks are less than that apart.
MAX_SKEW_S = 12.0
# Pauses and durations below are for runs of at least so long; shorter runs scale them down.
FULL_LENGTH_S = 60.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, `at_s` after the start of the load, for `for_s`. `what` is of its kind."""

    kind: str
    at_s: float
    for_s: float
    what: Mapping[str, Any]

    def text(self) -> str:
        return _KINDS[self.kind].text(self.what)


class Hosts(Protocol):
    """What nemeses do to the nodes, which are numbered from 0."""

    def cut(self, ways: Iterable[tuple[int, int]]) -> None: ...
    def slow(self, links: Mapping[int, Impairment]) -> None: ...
    def kill(self, node: int) -> None: ...
    async def restart(self, node: int) -> None: ...
    def pause(self, node: int) -> None: ...
    def resume(self, node: int) -> None: ...
    def skew(self, node: int, offset_s: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """`pause_s` and `for_s` are ranges; `plan` draws what happens, `act` does it and undoes it."""

    pause_s: tuple[float, float]
    for_s: tuple[float, float]
    plan: Callable[[random.Random, int], dict[str, Any]]
    act: Callable[[Hosts, Fault], Awaitable[None]]
    text: Callable[[Mapping[str, Any]], str]


def schedule(seed: int, duration_s: float, nodes: int, kinds: Iterable[str]) -> list[Fault]:
    """The faults of a run in the order of their beginnings. Each kind draws its own: leaving one out moves no other.

    Faults of one kind never overlap, of different kinds they do. Every kind happens at least once.
    """
    faults = []
    scale = min(1.0, duration_s / FULL_LENGTH_S)
    for kind in dict.fromkeys(kinds):
        if kind not in _KINDS:
            raise LocalFault("usage", f"no nemesis {kind!r}", fix=f"there are: {', '.join(_KINDS)}")
        dice = random.Random(f"swarmd/chaos/{seed}/{kind}/{nodes}")
        how = _KINDS[kind]
        at_s = dice.uniform(0.02, 0.25) * duration_s if scale < 1 else dice.uniform(2.0, 10.0)
        while at_s < duration_s:
            for_s = min(dice.uniform(*how.for_s) * scale, duration_s - at_s)
            faults.append(Fault(kind, round(at_s, 3), round(for_s, 3), how.plan(dice, nodes)))
            at_s += for_s + dice.uniform(*how.pause_s) * scale
    return sorted(faults, key=lambda fault: (fault.at_s, fault.kind))


async def inflict(hosts: Hosts, faults: Sequence[Fault], log: Callable[[Fault, str], None]) -> None:
    """Do all faults of a schedule, in their time from now; `log` hears of each "start" and "stop"."""
    began_s = trio.current_time()

    async def one(fault: Fault) -> None:
        await trio.sleep_until(began_s + fault.at_s)
        log(fault, "start")
        await _KINDS[fault.kind].act(hosts, fault)
        log(fault, "stop")

    async with trio.open_nursery() as nursery:
        for fault in faults:
            nursery.start_soon(one, fault)


# Partitions ----------------------------------------------------------------------------------------------


def _plan_partition(dice: random.Random, nodes: int) -> dict[str, Any]:
    """halves: neither hears the other; deaf: one way only; bridge: one node hears both sides."""
    order = dice.sample(range(nodes), nodes)
    shape = dice.choice(["halves", "deaf", "bridge"] if nodes > 2 else ["halves", "deaf"])
    middle = [order.pop()] if shape == "bridge" else []
    size = dice.randint(1, len(order) - 1)
    one, other = sorted(order[:size]), sorted(order[size:])
    ways = [(a, b) for a in one for b in other]
    if shape != "deaf":
        ways += [(b, a) for a, b in ways]
    return {"shape": shape, "one": one, "other": other, "middle": middle, "ways": ways}


async def _partition(hosts: Hosts, fault: Fault) -> None:
    hosts.cut(fault.what["ways"])
    await trio.sleep(fault.for_s)
    hosts.cut(())


def _partition_text(what: Mapping[str, Any]) -> str:
    sign = "-x->" if what["shape"] == "deaf" else "<-x->"
    middle = f", {what['middle'][0]} hears both" if what["middle"] else ""
    return f"{what['one']} {sign} {what['other']}{middle}"


# Slow links ----------------------------------------------------------------------------------------------


def _plan_slow(dice: random.Random, nodes: int) -> dict[str, Any]:
    links = {}
    for node in sorted(dice.sample(range(nodes), dice.randint(1, nodes))):
        delay_ms = round(dice.choice([5.0, 40.0, 150.0, 400.0]) * dice.uniform(0.5, 1.0), 1)
        links[node] = Impairment(
            delay_ms=delay_ms,
            jitter_ms=round(delay_ms * dice.uniform(0.0, 0.5), 1),
            loss_percent=round(dice.choice([0.0, 1.0, 10.0]) * dice.random(), 2),
            duplicate_percent=round(dice.choice([0.0, 5.0]) * dice.random(), 2),
            reorder_percent=round(dice.choice([0.0, 25.0]) * dice.random(), 2),
        )
    return {"links": links}


async def _slow(hosts: Hosts, fault: Fault) -> None:
    hosts.slow(fault.what["links"])
    await trio.sleep(fault.for_s)
    hosts.slow({})


def _slow_text(what: Mapping[str, Any]) -> str:
    return "; ".join(f"{node}: {impairment}" for node, impairment in what["links"].items())


# Processes -----------------------------------------------------------------------------------------------


def _plan_kill(dice: random.Random, nodes: int) -> dict[str, Any]:
    """One node; now and then all at once, as in a power cut."""
    whom = list(range(nodes)) if dice.random() < 0.15 else [dice.randrange(nodes)]
    return {"nodes": whom}


async def _kill(hosts: Hosts, fault: Fault) -> None:
    for node in fault.what["nodes"]:
        hosts.kill(node)
    await trio.sleep(fault.for_s)
    for node in fault.what["nodes"]:
        await hosts.restart(node)


def _plan_stop(dice: random.Random, nodes: int) -> dict[str, Any]:
    return {"nodes": sorted(dice.sample(range(nodes), dice.choice([1, 1, 2 if nodes > 2 else 1])))}


async def _stop(hosts: Hosts, fault: Fault) -> None:
    for node in fault.what["nodes"]:
        hosts.pause(node)
    await trio.sleep(fault.for_s)
    for node in fault.what["nodes"]:
        hosts.resume(node)


def _nodes_text(what: Mapping[str, Any]) -> str:
    return ", ".join(map(str, what["nodes"]))


# Clocks --------------------------------------------------------------------------------------------------


def _plan_skew(dice: random.Random, nodes: int) -> dict[str, Any]:
    """Offsets that a node's clock jumps to, one after the other, in equal parts of the fault's time; then to 0."""
    jumps = [round(dice.uniform(-MAX_SKEW_S, MAX_SKEW_S), 3) for _ in range(dice.choice([1, 1, 3]))]
    return {"node": dice.randrange(nodes), "offsets_s": jumps}


async def _skew(hosts: Hosts, fault: Fault) -> None:
    for offset_s in fault.what["offsets_s"]:
        hosts.skew(fault.what["node"], offset_s)
        await trio.sleep(fault.for_s / len(fault.what["offsets_s"]))
    hosts.skew(fault.what["node"], 0.0)


def _skew_text(what: Mapping[str, Any]) -> str:
    return f"{what['node']}: " + ", then ".join(f"{offset_s:+g} s" for offset_s in what["offsets_s"])


_KINDS: Mapping[str, Kind] = {
    "partition": Kind((3, 12), (4, 20), _plan_partition, _partition, _partition_text),
    "slow": Kind((3, 12), (5, 20), _plan_slow, _slow, _slow_text),
    "kill": Kind((3, 12), (0.2, 6), _plan_kill, _kill, _nodes_text),
    "stop": Kind((5, 15), (1, 14), _plan_stop, _stop, _nodes_text),
    "skew": Kind((4, 15), (5, 20), _plan_skew, _skew, _skew_text),
}
NEMESES = tuple(_KINDS)
