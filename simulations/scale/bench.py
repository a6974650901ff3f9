"""The model put into the place of `swarmd bench mesh`: the same closed loop, all daemons on the cores of one machine.

So its prediction can stand beside a real run: N daemons, their agents and the driver share the cores, the network
is loopback, and `window` needs of one task are under way at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from swarmd.simulations.scale.costs import Costs
from swarmd.simulations.scale.daemon import Daemon, Host, Mesh, World
from swarmd.simulations.scale.events import MS_NS, S_NS, US_NS, Cores, Events, Spread
from swarmd.simulations.scale.model import percentile_ms
from swarmd.simulations.scale.needs import Need, Task

LOOPBACK = Spread(0.05, 0.2)


@dataclass(slots=True)
class Counts:
    """What a run did, per task: what the costs are fitted on."""

    heard: float
    frames_in: float
    duplicates: float
    turns: float
    authored: float
    flushes: float
    frames_out: float
    jobs: float


class BenchModel:
    """One run of the bench. `cores` of `speed` (1.0: all of a core is ours)."""

    def __init__(
        self, nodes: int, tasks: int, window: int, costs: Costs, *, cores: int = 2, seed: int = 1
    ) -> None:
        self.tasks = tasks
        self.window = window
        self.costs = costs
        self.random = Random(f"bench/{seed}/{nodes}/{window}")
        self.events = Events()
        self.cores = Cores(self.events, cores)
        delay = LOOPBACK.delay(self.random)
        commit = costs.commit.delay(self.random)
        world = World(self.events, self.random, costs, commit, lambda _one, _other: delay)
        hosts = [Host(number, 0, self.cores) for number in range(nodes)]
        self.mesh = Mesh("bench", hosts, world)
        self.ended: list[Need] = []
        self._posted = 0
        self._local_ns = int(costs.local_ms * MS_NS)
        self._jobs = 0

    def run(self) -> dict[str, Any]:
        """The keys of the real bench that the model can state, and `counts`."""
        # The real bench warms up with needs of its own first: so the rates are those of a run under way.
        for index in range(min(self.window, self.tasks)):
            self._next(self.mesh.daemons[index % len(self.mesh.daemons)])
        self.events.run(600 * S_NS, lambda: len(self.ended) >= self.tasks)
        last_ns = max([1, *(need.finalized_ns for need in self.ended)])
        # The annotations of the last needs come after the clock stops, but are the tasks' own.
        self.events.run(last_ns + 5 * S_NS, lambda: False)
        daemons, done = self.mesh.daemons, max(1, len(self.ended))

        def total(name: str) -> float:
            return float(sum(getattr(daemon, name) for daemon in daemons)) / done

        names = ("heard", "frames_in", "duplicates", "turns", "authored", "flushes", "frames_out")
        counts = Counts(**{name: total(name) for name in names}, jobs=self._jobs / done)
        finalize = [need.finalized_ns - need.posted_ns for need in self.ended]
        decide = [need.decided_ns - need.posted_ns for need in self.ended]
        return {
            "nodes": len(daemons),
            "window": self.window,
            "tasks_per_s": round(done / (last_ns / S_NS), 1),
            "decide_p50_ms": percentile_ms(decide, 0.5),
            "finalize_p50_ms": percentile_ms(finalize, 0.5),
            "finalize_p95_ms": percentile_ms(finalize, 0.95),
            "envelopes_per_task": round(counts.authored, 2),
            "signatures_per_task": round(counts.flushes, 3),
            "cpu_ms_per_task": round(daemon_cpu_us(counts, self.costs) / 1_000, 3),
            "counts": counts,
        }

    def _next(self, owner: Daemon) -> None:
        """The driver posts one more need with `owner`, if there is one left."""
        if self._posted == self.tasks:
            return
        self._posted += 1
        worker = self.random.choice(self.mesh.daemons)
        task = Task(worker, self._agent, self._agent)
        need = Need(self.mesh, owner, [task], self._end)

        def post() -> int:
            self.events.at(self.events.now_ns + self._local_ns, owner.tell, need.post, self.costs.post_us)
            return int(self.costs.driver_us * US_NS)

        self.cores.submit(post)

    def _end(self, need: Need) -> None:
        self.ended.append(need)
        self.events.at(self.events.now_ns + self._local_ns, self._next, need.owner)

    def _agent(self, daemon: Daemon, answer: Callable[[int], None]) -> None:
        """The echo agent: a little CPU on the shared cores, there and back over the local socket."""
        took_ns = int(self.costs.agent_us * US_NS)
        self._jobs += 1

        def work() -> int:
            at_ns = self.events.now_ns + took_ns + self._local_ns
            self.events.at(at_ns, daemon.tell, lambda: answer(0), self.costs.job_us)
            return took_ns

        self.events.at(self.events.now_ns + self._local_ns, self.cores.submit, work)


JOBS_PER_TASK = 2  # the work and, while K is 1, one judge: in meshes below ten


def daemon_cpu_us(counts: Counts, costs: Costs) -> float:
    """The CPU of all daemons per task, from what they did."""
    in_ns = costs.in_ns
    frames = (
        counts.heard * in_ns.envelope_in
        + counts.frames_in * in_ns.frame_in
        + counts.duplicates * in_ns.duplicate
        + counts.frames_out * in_ns.frame_out
        + counts.flushes * in_ns.seal
        + counts.authored * in_ns.envelope_out
        + counts.turns * in_ns.turn
    ) / US_NS
    return frames + costs.post_us + counts.jobs * costs.job_us
