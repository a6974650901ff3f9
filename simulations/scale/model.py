"""The hierarchical swarm at any size, simulated: goals go down the tree, results come up, every message is paid for.

The super-orchestrator posts a goal of one task for each unit below it; who claims such a task leads a unit and
posts a need into that one's mesh; a swarm's need is one planner's task and then some workers' tasks at once. Every
task of every tier is judged by a committee and finalised. Deterministic from the seed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from random import Random

from swarmd.simulations.scale.costs import Costs
from swarmd.simulations.scale.daemon import Daemon, Host, World
from swarmd.simulations.scale.events import MS_NS, S_NS, Cores, Events, Pool, Spread
from swarmd.simulations.scale.needs import Need, Task
from swarmd.simulations.scale.topology import Tree, Unit, grow

ROLES = {"planner": 0.1, "worker": 0.7, "judge": 0.2}


@dataclass(frozen=True, slots=True)
class Network:
    """One-way delays within a region and between regions."""

    near: Spread
    far: Spread


NETWORKS = {
    "lan": Network(Spread(0.25, 1.0), Spread(0.25, 1.0)),
    "regions": Network(Spread(1.0, 5.0), Spread(40.0, 80.0)),
    "wan": Network(Spread(40.0, 80.0), Spread(80.0, 160.0)),
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is asked of the swarm. `load` is tasks per agent and second; service times are of the agents."""

    agents: int
    seed: int = 1
    goals: int = 100
    load: float = 0.02
    workers: int = 4
    agents_per_host: int = 64
    mesh_hosts: int = 16
    cores: int = 1
    network: str = "regions"
    manager: Spread = Spread(10.0, 40.0)
    planner: Spread = Spread(100.0, 400.0)
    worker: Spread = Spread(100.0, 400.0)
    judge: Spread = Spread(50.0, 200.0)
    retention_s: float = 600.0
    patience_s: float = 30.0


@dataclass(slots=True)
class Outcome:
    """What came of it. Times in nanoseconds: `goals_ns` from a goal's posting to all of its results, `requests_ns`
    to each result of one unit below the root, `swarm_needs_ns` of the needs in swarms. `posted` goals count."""

    scenario: Scenario
    tree: Tree
    span_ns: int = 0
    goals_ns: list[int] = field(default_factory=list)
    requests_ns: list[int] = field(default_factory=list)
    swarm_needs_ns: list[int] = field(default_factory=list)
    posted: int = 0
    needs: int = 0
    tasks: int = 0
    backups: int = 0


class Model:
    """One run. `run` returns the outcome once every goal is done, or the patience is at its end."""

    def __init__(self, scenario: Scenario, costs: Costs) -> None:
        self.scenario = scenario
        self.random = Random(f"scale/{scenario.seed}/{scenario.agents}")
        self.events = Events()
        network = NETWORKS[scenario.network]
        near, far = network.near.delay(self.random), network.far.delay(self.random)
        self.world = World(
            self.events,
            self.random,
            costs,
            costs.commit.delay(self.random),
            lambda one, other: near if one == other else far,
        )
        self.service = {
            role: getattr(scenario, role).delay(self.random)
            for role in ("manager", "planner", "worker", "judge")
        }
        self.tree = grow(
            self.world, self._host, ceil(scenario.agents / scenario.agents_per_host), scenario.mesh_hosts
        )
        self.outcome = Outcome(scenario, self.tree)
        self._local_ns = int(costs.local_ms * MS_NS)
        self._costs = costs

    def _host(self, index: int, region: int) -> Host:
        host = Host(index, region, Cores(self.events, self.scenario.cores))
        share = min(self.scenario.agents_per_host, self.scenario.agents)
        for role, part in ROLES.items():
            host.pools[role] = Pool(self.events, max(1, round(share * part)))
        host.pools["manager"] = Pool(self.events, 1)
        return host

    @property
    def goals_per_s(self) -> float:
        """At this rate every agent has `load` tasks a second: a goal asks each swarm for one need on average."""
        tasks = len(self.tree.swarms) * (1 + self.scenario.workers)
        return self.scenario.load * self.scenario.agents / tasks

    def run(self) -> Outcome:
        warm_up = max(1, self.scenario.goals // 10)
        count = warm_up + self.scenario.goals
        span_ns = int(count / self.goals_per_s * S_NS)
        # A Poisson process of which one knows how many came: so every size is measured at the same load exactly.
        for number, at_ns in enumerate(sorted(int(self.random.random() * span_ns) for _ in range(count))):
            self.events.at(at_ns, self._goal, number >= warm_up)
        self.outcome.span_ns = span_ns
        until_ns = span_ns + int(self.scenario.patience_s * S_NS)
        self.events.run(until_ns, lambda: False)
        return self.outcome

    # Work ----------------------------------------------------------------------------------------------

    def _goal(self, counts: bool) -> None:
        began_ns = self.events.now_ns
        self.outcome.posted += counts

        def done(need: Need) -> None:
            if counts:
                self.outcome.goals_ns.append(self.events.now_ns - began_ns)
                self.outcome.requests_ns.extend(task.final_ns - began_ns for task in need.tasks)

        self._assign(self.tree.root, done)

    def _assign(self, unit: Unit, done: Callable[[Need], None]) -> None:
        """The lead of `unit` posts a need into its mesh; `done` once it has the results."""
        tasks = self._lead_tasks(unit) if unit.children else self._swarm_tasks(unit)
        began_ns = self.events.now_ns

        def ended(need: Need) -> None:
            self.outcome.backups += need.backups
            if not unit.children:
                self.outcome.swarm_needs_ns.append(self.events.now_ns - began_ns)
            self.events.at(self.events.now_ns + self._local_ns, done, need)

        need = Need(unit.mesh, unit.lead, tasks, ended)
        self.outcome.needs += 1
        self.outcome.tasks += len(tasks)
        self.events.at(self.events.now_ns + self._local_ns, unit.lead.tell, need.post, self._costs.post_us)

    def _lead_tasks(self, unit: Unit) -> list[Task]:
        """As many tasks as there are units below; which of them takes a task is drawn, as the price list's tie is."""
        chosen = self.random.choices(unit.children, k=len(unit.children))
        return [Task(daemon, self._managing(below), self._serving("judge")) for daemon, below in chosen]

    def _swarm_tasks(self, unit: Unit) -> list[Task]:
        daemons = unit.mesh.daemons
        judge = self._serving("judge")
        first = Task(self.random.choice(daemons), self._serving("planner"), judge)
        work = self._serving("worker")
        later = [
            Task(self.random.choice(daemons), work, judge, parents=(first,))
            for _ in range(self.scenario.workers)
        ]
        return [first, *later]

    def _serving(self, role: str) -> Callable[[Daemon, Callable[[int], None]], None]:
        """An agent of that role on the daemon's host does it."""
        service = self.service[role]

        def work(daemon: Daemon, answer: Callable[[int], None]) -> None:
            took_ns = service.draw_ns()
            pool = daemon.host.pools[role]
            done = partial(self._answer, daemon, answer, took_ns)
            self.events.at(self.events.now_ns + self._local_ns, pool.work, took_ns, done)

        return work

    def _managing(self, unit: Unit) -> Callable[[Daemon, Callable[[int], None]], None]:
        """The manager of `unit` splits the task into a need of its own and answers with what came of it."""
        service = self.service["manager"]

        def work(daemon: Daemon, answer: Callable[[int], None]) -> None:
            began_ns = self.events.now_ns
            pool = daemon.host.pools["manager"]

            def back(_: Need) -> None:
                self._answer(daemon, answer, self.events.now_ns - began_ns)

            pool.work(service.draw_ns(), lambda: self._assign(unit, back))

        return work

    def _answer(self, daemon: Daemon, answer: Callable[[int], None], took_ns: int) -> None:
        item = partial(answer, took_ns // MS_NS)
        self.events.at(self.events.now_ns + self._local_ns, daemon.tell, item, self._costs.job_us)


def percentile_ms(values_ns: Sequence[int], share: float) -> float:
    """The nearest-rank percentile in milliseconds; 0.0 of nothing."""
    if not values_ns:
        return 0.0
    ordered = sorted(values_ns)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1e6, 2)
