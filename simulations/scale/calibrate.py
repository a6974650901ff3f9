"""`python -m swarmd.simulations.scale.calibrate`: measure the real daemon on this machine and write costs.json anew.

What can be timed alone is. What is left over in whole meshes of one to four daemons (their `cpu_ms_per_task`, less
what the parts explain) is fitted by non-negative least squares to three more constants: what a turn costs beyond
its envelopes, what an envelope costs beyond its parts, and what the local socket and the jobs cost a task.
Meshes of five and more daemons are never used here: they are what the model is held against.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from swarmd.simulations.scale import costs as constants
from swarmd.simulations.scale import micro, probes
from swarmd.simulations.scale.bench import JOBS_PER_TASK, BenchModel, daemon_cpu_us
from swarmd.simulations.scale.costs import Costs
from swarmd.simulations.scale.fit import solve

# (nodes, tasks, needs under way)
MESHES = (
    (1, 200, 1),
    (1, 400, 32),
    (2, 150, 1),
    (2, 300, 8),
    (2, 400, 64),
    (3, 150, 4),
    (3, 300, 32),
    (4, 150, 2),
    (4, 300, 32),
)
FRAME_RUN = (5, 1500, 1024, 5)
ROUNDS = 4


def fitted(costs: Costs, meshes: Sequence[Mapping[str, Any]]) -> Costs:
    """The constants with turn, glue and local costs such that the model spends the CPU that the meshes did.

    What a mesh does depends a little on what it costs (batching), so it is repeated a few times.
    """
    for _ in range(ROUNDS):
        rows, wanted = [], []
        for mesh in meshes:
            counts = BenchModel(mesh["nodes"], mesh["tasks"], mesh["window"], costs).run()["counts"]
            known = replace(costs, turn_us=0.0, glue_us=0.0, post_us=0.0, job_us=0.0)
            measured_us = 1_000 * mesh["cpu_ms_per_task"]
            # Relative errors: a mesh of four must not outweigh one of one.
            row = (counts.turns, counts.heard + counts.authored, 1.0)
            rows.append([value / measured_us for value in row])
            wanted.append((measured_us - daemon_cpu_us(counts, known)) / measured_us)
        turn_us, glue_us, local_us = non_negative(rows, wanted)
        each_us = local_us / (1 + JOBS_PER_TASK)
        costs = replace(
            costs,
            turn_us=round(turn_us, 1),
            glue_us=round(glue_us, 1),
            post_us=round(each_us, 1),
            job_us=round(each_us, 1),
        )
    return costs


def non_negative(rows: Sequence[Sequence[float]], wanted: Sequence[float]) -> list[float]:
    """Least squares without negative unknowns: the best of all subsets of them that may be more than zero."""
    count = len(rows[0])
    best, best_error = [0.0] * count, sum(value * value for value in wanted)
    for size in range(1, count + 1):
        for chosen in combinations(range(count), size):
            try:
                found = solve([[row[i] for i in chosen] for row in rows], wanted)
            except ZeroDivisionError:
                continue
            if min(found) < 0:
                continue
            full = [0.0] * count
            for i, value in zip(chosen, found, strict=True):
                full[i] = value
            error = sum(
                (sum(a * x for a, x in zip(row, full, strict=True)) - y) ** 2
                for row, y in zip(rows, wanted, strict=True)
            )
            if error < best_error:
                best, best_error = full, error
    return best


def measure(say: Any = lambda _text: None) -> dict[str, Any]:
    """The document of costs.json. Takes some minutes; the machine should be quiet."""
    say("timing the core")
    found: dict[str, float] = {**micro.measure()}
    say("timing the gate and the journal")
    found["gate_us"] = round(min(probes.gate_us() for _ in range(3)), 1)
    journals = [probes.journal() for _ in range(5)]
    found["journal_row_us"] = round(min(entry["row_us"] for entry in journals), 1)
    calm = min(journals, key=lambda entry: entry["p50_ms"])
    found["commit_p50_ms"] = round(max(0.01, calm["p50_ms"]), 2)
    found["commit_p99_ms"] = round(max(found["commit_p50_ms"], calm["p99_ms"]), 2)
    say("gossiping frames")
    delivery_us = min(probes.frame_us(*FRAME_RUN) for _ in range(3))
    shared_us = max(0.0, delivery_us - found["sign_us"] / (FRAME_RUN[0] - 1) - found["verify_us"]) / 2
    found["frame_out_us"] = round(shared_us, 1)
    found["frame_in_us"] = round(shared_us + found["verify_us"], 1)
    found["duplicate_us"] = round(shared_us, 1)
    meshes = []
    for nodes, tasks, window in MESHES:
        say(f"a mesh of {nodes}, {window} needs under way")
        probes.wait_for_calm()
        meshes.append(
            min(
                (probes.bench_mesh(nodes, tasks, window) for _ in range(2)),
                key=lambda m: float(m["cpu_ms_per_task"]),
            )
        )
    kept = (
        "nodes",
        "tasks",
        "window",
        "cpu_ms_per_task",
        "agent_cpu_ms_per_task",
        "signatures_per_task",
        "finalize_p50_ms",
        "others_cpu_share",
    )
    meshes = [{name: mesh[name] for name in kept} for mesh in meshes]
    agent_ms = min(float(mesh["agent_cpu_ms_per_task"]) for mesh in meshes)
    found["agent_us"] = round(1_000 * agent_ms / JOBS_PER_TASK, 1)
    found.update(ASSUMED)
    return document(found, meshes, probes.machine())


ASSUMED = {"driver_us": 300.0, "local_ms": 0.3}


def document(
    found: Mapping[str, float], meshes: list[dict[str, Any]], machine: Mapping[str, Any]
) -> dict[str, Any]:
    """Fit what is left, and say of each constant what it is and how it was found."""
    zero = dict.fromkeys(Costs.__dataclass_fields__, 0.0)
    fit = fitted(Costs(**{**zero, **found}), meshes)
    return {
        "about": "Constants of the scale model; made by: python -m swarmd.simulations.scale.calibrate",
        "machine": dict(machine),
        "meshes": meshes,
        "costs": {
            name: {"value": getattr(fit, name), "source": source, "is": what, "how": how}
            for name, (source, what, how) in ORIGIN.items()
        },
    }


_MICRO = "python -m swarmd.simulations.scale.micro"
_MESHES = "what swarmd bench mesh --nodes 1..4 spends beyond the other costs (see meshes), least squares"
_FRAMES = probes.command([*probes.FRAMES, *map(str, FRAME_RUN)])
ORIGIN: Mapping[str, tuple[str, str, str]] = {
    "sign_us": ("measured", "an Ed25519 signature; a frame has two, its flush's and gossipsub's", _MICRO),
    "flush_us": ("measured", "sealing a flush of one envelope, less the signature", _MICRO),
    "verify_us": ("measured", "verifying an Ed25519 signature", _MICRO),
    "parse_us": ("measured", "decoding and checking a flush of one envelope, less the signature", _MICRO),
    "build_us": ("measured", "making an envelope of a draft", _MICRO),
    "step_us": ("measured", "engine.step of an envelope, mean over the eight of a need", _MICRO),
    "gate_us": ("measured", "one evaluation of the base policy", probes.command(probes.GATE)),
    "journal_row_us": (
        "measured",
        "one more row in a transaction",
        probes.command(probes.JOURNAL) + " FOLDER",
    ),
    "glue_us": ("fitted", "an envelope in the runner beyond the above: facts, codec, watchers", _MESHES),
    "frame_out_us": (
        "measured",
        "sending a frame to one peer: half of a delivery without its signatures",
        _FRAMES,
    ),
    "frame_in_us": ("measured", "receiving a frame: the other half and gossipsub's verification", _FRAMES),
    "duplicate_us": (
        "assumed",
        "receiving a frame that is known: as frame_in_us without verification",
        _FRAMES,
    ),
    "turn_us": ("fitted", "a turn beyond its envelopes: wake-ups, transaction, system calls", _MESHES),
    "post_us": (
        "fitted",
        "taking and answering a local need.post and need.wait: a third of the fitted sum",
        _MESHES,
    ),
    "job_us": (
        "fitted",
        "handing a job to an agent and taking its answer: a third of the fitted sum",
        _MESHES,
    ),
    "agent_us": (
        "measured",
        "the echo agent's own CPU for a job",
        "swarmd bench mesh --json: agent_cpu_ms_per_task / 2",
    ),
    "driver_us": (
        "assumed",
        "the bench's driver for one need",
        "two calls over a local socket, by rule of thumb",
    ),
    "commit_p50_ms": (
        "measured",
        "what a commit waits for the disk, median",
        probes.command(probes.JOURNAL) + " FOLDER",
    ),
    "commit_p99_ms": ("measured", "the same, 99th percentile", probes.command(probes.JOURNAL) + " FOLDER"),
    "local_ms": (
        "assumed",
        "one way over the local socket, wake-up included",
        "below the 7.1 ms p99 of a loaded socket",
    ),
    "envelope_bytes": (
        "measured",
        "memory an engine keeps for an envelope of a need, the need's share included",
        _MICRO,
    ),
    "manifest_bytes": ("measured", "memory of one node's manifest", _MICRO),
    "chain_bytes": ("measured", "memory of the head of one chain (author, epoch, bucket)", _MICRO),
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=constants.FILE, help="where to write (default: %(default)s)"
    )
    parser.add_argument("--refit", action="store_true", help="keep what is measured there, fit the rest anew")
    args = parser.parse_args(argv)
    if args.refit:
        old = constants.read(args.out)
        found = {name: float(entry["value"]) for name, entry in old["costs"].items()}
        made = document(found, old["meshes"], old["machine"])
    else:
        made = measure(lambda text: print(text, file=sys.stderr))
    args.out.write_text(json.dumps(made, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
