"""From outcomes to figures: one row a size, how each figure grows, and whether what was asked holds."""

from collections.abc import Mapping, Sequence
from typing import Any

from swarmd.protocol import limits
from swarmd.protocol.consensus import committee
from swarmd.simulations.scale.costs import Costs
from swarmd.simulations.scale.daemon import Daemon, Host
from swarmd.simulations.scale.events import S_NS
from swarmd.simulations.scale.fit import growth
from swarmd.simulations.scale.model import Model, Outcome, Scenario, percentile_ms

LATENCY_BOUND_MS = 2_000.0
# key of a row -> what it is; the growth of each is fitted.
GROWING: Mapping[str, str] = {
    "goal_p95_ms": "latency of a goal, p95, ms",
    "request_p95_ms": "latency of a request, p95, ms",
    "frames_per_need": "messages per need",
    "frames_per_task": "messages per task",
    "node_frames_per_s": "messages per node and second",
    "hottest_frames_per_s": "the same, busiest node",
    "state_mb": "state per node, MB",
    "hottest_state_mb": "the same, largest node",
}
# What is asked to grow no faster than the logarithm of the agents.
ASKED = ("frames_per_need", "state_mb")


def row(outcome: Outcome, costs: Costs) -> dict[str, Any]:
    """The figures of one run. Messages are transmissions of a frame to one peer, duplicates included."""
    scenario, tree = outcome.scenario, outcome.tree
    span_s = outcome.span_ns / S_NS
    daemons = [daemon for mesh in tree.meshes for daemon in mesh.daemons]
    frames = sum(daemon.frames_out for daemon in daemons)
    frames_of = [_of(host, lambda d: d.frames_in + d.duplicates + d.frames_out) for host in tree.hosts]
    state_of = [state_bytes(host, costs, span_s, scenario.retention_s) / 1e6 for host in tree.hosts]
    cpu = [host.cores.busy_ns / outcome.span_ns / scenario.cores for host in tree.hosts]
    swarm = tree.swarms[0].mesh
    hosts = len(tree.hosts)
    return {
        "agents": scenario.agents,
        "hosts": hosts,
        "managers": len(tree.swarms),
        "tiers": tree.tiers,
        "hosts_per_swarm": len(swarm.daemons),
        "k_plan": committee.k_plan(len(swarm.roster), swarm.genesis),
        "k_result": committee.k_result(len(swarm.roster), swarm.genesis),
        "goals": outcome.posted,
        "goals_done": len(outcome.goals_ns),
        "needs": outcome.needs,
        "tasks": outcome.tasks,
        "tasks_per_s": round(outcome.tasks / span_s, 1),
        **_spread(outcome.goals_ns, "goal"),
        **_spread(outcome.requests_ns, "request"),
        **_spread(outcome.swarm_needs_ns, "swarm_need"),
        "envelopes_per_need": round(sum(daemon.authored for daemon in daemons) / outcome.needs, 2),
        "heard_per_need": round(sum(daemon.heard for daemon in daemons) / outcome.needs, 1),
        "frames_per_need": round(frames / outcome.needs, 1),
        "frames_per_task": round(frames / outcome.tasks, 1),
        "node_frames_per_s": round(sum(frames_of) / hosts / span_s, 1),
        "hottest_frames_per_s": round(max(frames_of) / span_s, 1),
        "cpu_share": round(sum(cpu) / hosts, 3),
        "hottest_cpu_share": round(max(cpu), 3),
        "state_mb": round(sum(state_of) / hosts, 2),
        "hottest_state_mb": round(max(state_of), 2),
        "backups": outcome.backups,
    }


def _of(host: Host, figure: Any) -> int:
    return sum(figure(daemon) for daemon in host.daemons)


def _spread(values_ns: Sequence[int], name: str) -> dict[str, float]:
    return {f"{name}_p{p}_ms": percentile_ms(values_ns, p / 100) for p in (50, 95, 99)}


def state_bytes(host: Host, costs: Costs, span_s: float, retention_s: float) -> float:
    """What a host's daemons hold: the members' manifests and chain heads, and the envelopes of `retention_s`."""

    def of(daemon: Daemon) -> float:
        members = len(daemon.mesh.daemons)
        fixed = members * (costs.manifest_bytes + limits.BUCKETS * costs.chain_bytes)
        return fixed + (daemon.heard + daemon.authored) / span_s * retention_s * costs.envelope_bytes

    return sum(of(daemon) for daemon in host.daemons)


def flat(rows: Sequence[Mapping[str, Any]], scenario: Scenario, costs: Costs) -> list[dict[str, Any]]:
    """The same work in ONE mesh of all hosts, computed and not simulated: what the hierarchy is for.

    Each frame reaches every host at least once, each host keeps every envelope. K is 5 from 17 hosts on.
    """
    made = []
    for size in rows:
        hosts = size["hosts"]
        envelopes_per_s = size["tasks_per_s"] * size["envelopes_per_need"] * size["needs"] / size["tasks"]
        members = hosts * (costs.manifest_bytes + limits.BUCKETS * costs.chain_bytes)
        held = envelopes_per_s * scenario.retention_s * costs.envelope_bytes
        made.append(
            {
                "agents": size["agents"],
                "frames_per_need": round(size["envelopes_per_need"] * (hosts - 1), 1),
                "state_mb": round((members + held) / 1e6, 2),
                "cpu_share": round(envelopes_per_s * costs.in_ns.envelope_in / S_NS / scenario.cores, 3),
            }
        )
    return made


def simulate(
    scenarios: Sequence[Scenario], costs: Costs, progress: Any = lambda _text: None
) -> dict[str, Any]:
    """The document: rows by size, the flat mesh beside them, growth, and what was asked with whether it holds."""
    rows = []
    for scenario in scenarios:
        progress(f"{scenario.agents} agents")
        rows.append(row(Model(scenario, costs).run(), costs))
    first = scenarios[0]
    beside = flat(rows, first, costs)
    sizes = [size["agents"] for size in rows]
    growths = {}
    if len(rows) > 2:
        growths = {key: _growth(sizes, [size[key] for size in rows]) for key in GROWING}
        growths["flat_frames_per_need"] = _growth(sizes, [size["frames_per_need"] for size in beside])
        growths["flat_state_mb"] = _growth(sizes, [size["state_mb"] for size in beside])
    return {
        "seed": first.seed,
        "assumptions": _assumptions(first),
        "sizes": rows,
        "one_flat_mesh": beside,
        "growth": growths,
        "figures": figures(rows, growths),
    }


def _assumptions(scenario: Scenario) -> dict[str, Any]:
    services = {role: getattr(scenario, role) for role in ("manager", "planner", "worker", "judge")}
    return {
        "tasks_per_agent_s": scenario.load,
        "workers_per_need": scenario.workers,
        "agents_per_host": scenario.agents_per_host,
        "hosts_per_mesh": scenario.mesh_hosts,
        "cores_per_host": scenario.cores,
        "network": scenario.network,
        "retention_s": scenario.retention_s,
        "service_ms": {role: [spread.p50_ms, spread.p99_ms] for role, spread in services.items()},
    }


def _growth(sizes: Sequence[int], values: Sequence[float]) -> dict[str, Any]:
    found = growth(sizes, values)
    return {
        "r2_log_n": round(found.against_log.r2, 4),
        "r2_n": round(found.against_n.r2, 4),
        "better": found.better,
        "per_decade": [round(value, 2) for value in found.per_decade],
        "slope_per_decade": round(found.against_log.slope, 3),
        "exponent": round(found.exponent, 3),
        "at_most_log": found.at_most_log,
    }


def figures(
    rows: Sequence[Mapping[str, Any]], growths: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """What is asked: p95 below 2 s at 10,000 agents (or the size nearest below), growth at most log n."""
    judged = max(
        (size for size in rows if size["agents"] <= 10_000), key=lambda size: size["agents"], default=rows[0]
    )
    done = judged["goals_done"] == judged["goals"]
    found: list[dict[str, Any]] = [
        {
            "what": f"end-to-end p95 of {judged['agents']} agents, ms",
            "asked": f"< {LATENCY_BOUND_MS:g}, every goal done",
            "found": judged["goal_p95_ms"],
            "held": done and 0 < judged["goal_p95_ms"] < LATENCY_BOUND_MS,
        }
    ]
    for key in ASKED if growths else ():
        found.append(
            {
                "what": f"growth of {GROWING[key]}",
                "asked": "no faster than log n",
                "found": f"n^{growths[key]['exponent']:g}, {growths[key]['better']} fits better",
                "held": growths[key]["at_most_log"],
            }
        )
    return found
