"""`swarmd bench heal`: five daemons in network namespaces, parted 2|3 while needs come on both sides, and put together again.

Counts from the moment the network lets everything through: until each daemon is connected with all others, and until
all show one digest of the mesh. The daemons have the intervals they ship with. Afterwards their journals are judged as
after a run of chaos: no need decided twice (P1), no money made or lost (P9), and all else (docs/chaos.md).
"""

import statistics
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from typing import Any

import trio
from swarmd.node.bench.machine import machine
from swarmd.node.bench.processes import MachineLoad
from swarmd.node.chaos import run as chaos
from swarmd.node.console.output import Output, facts
from swarmd.protocol.faults import LocalFault

NODES = 5
SMALL_SIDE = (0, 1)
SYNC_INTERVAL_S = 30.0
WHOLE_S = 3.0
POLL_S = 0.02


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--cut", type=float, default=15.0, metavar="S", help="parted for so long (default 15)"
    )
    parser.add_argument(
        "--rate", type=float, default=4.0, metavar="N", help="needs a second at each node (default 4)"
    )
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="the median counts (default 3)")


def main(args: Namespace, out: Output) -> int:
    """0 if every property held in every run."""
    if not 1 <= args.cut <= 600 or not 0 < args.rate <= 50 or not 1 <= args.runs <= 20:
        raise LocalFault("usage", "a cut of 1 to 600 s, at most 50 needs a second, 1 to 20 runs")
    reports = []
    for seed in range(args.runs):
        settings = chaos.Settings(
            args.cut / 60, NODES, seed, ("partition",), args.rate, sync_interval_s=SYNC_INTERVAL_S
        )
        reports.append(chaos.run(settings, out.progress, _Parted))
    healed = [report["one_digest_s"] for report in reports]
    figures: dict[str, Any] = {
        "nodes": NODES,
        "cut_s": args.cut,
        "rate": args.rate * NODES,
        "reconnected_s": statistics.median(report["reconnected_s"] for report in reports),
        "one_digest_s": statistics.median(healed),
        "worst_one_digest_s": max(healed),
        "runs_one_digest_s": healed,
        "needs": sum(report["acknowledged"] for report in reports),
        "violations": [each for report in reports for each in report["violations"]],
        "others_cpu_percent": max(report["others_cpu_percent"] or 0.0 for report in reports),
        **machine(),
    }
    if out.as_json:
        out.document(figures)
    else:
        out.print(facts(list(figures.items())))
    return 1 if figures["violations"] else 0


@dataclass(slots=True)
class _Parted(chaos.Run):
    """One partition, in the middle of a steady load."""

    async def chaos(self) -> None:
        cut_s = self.settings.minutes * 60
        others = [node for node in range(self.settings.nodes) if node not in SMALL_SIDE]
        ways = [(one, other) for one in SMALL_SIDE for other in others]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.load.run)
            await trio.sleep(WHOLE_S)
            self.hosts.cut([*ways, *((other, one) for one, other in ways)])
            self.say(f"parted for {cut_s:g} s")
            await trio.sleep(cut_s)
            nursery.cancel_scope.cancel()
        if len(await self._digests()) < 2:
            raise LocalFault("bench-failed", "the sides did not come to differ", fix="a longer --cut")
        machine_load, cpu_s = MachineLoad(), self._cpu_s()
        self.hosts.cut(())
        began_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until, "reconnected_s", self._all_connected, began_s)
            nursery.start_soon(self._until, "one_digest_s", self._all_equal, began_s)
        self.say(f"one digest after {self.measured['one_digest_s']:g} s")
        self.measured["others_cpu_percent"] = machine_load.others_percent(self._cpu_s() - cpu_s)

    def _cpu_s(self) -> float:
        return sum(member.cpu_s() for member in self.hosts.members)

    async def _until(self, name: str, holds: Any, began_s: float) -> None:
        with trio.move_on_after(self.settings.heal_limit_s):
            while not await holds():  # noqa: ASYNC110 - in other processes
                await trio.sleep(POLL_S)
            self.measured[name] = round(trio.current_time() - began_s, 2)
            return
        raise LocalFault("bench-failed", f"not {name} within {self.settings.heal_limit_s:g} s")

    async def _all_connected(self) -> bool:
        count = self.settings.nodes
        found = [len((await self.hosts.call(node, "peers"))["peers"]) for node in range(count)]
        return min(found) == count - 1

    async def _all_equal(self) -> bool:
        return len(await self._digests()) == 1

    async def _digests(self) -> set[str]:
        return {(await self.hosts.call(node, "status"))["mesh_digest"] for node in range(self.settings.nodes)}
