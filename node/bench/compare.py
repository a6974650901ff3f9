"""`swarmd bench compare`: two commits measured in turn on one machine, and the ratios of what they take.

The other commit is checked out into a folder of its own and run by this very Python, with the packages that are installed
here. Others' load hits both, so single figures move and ratios move less; of CPU time the least of all rounds counts, for
nothing but waiting and cold caches can add to it.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from swarmd.node.bench.table import AT_LEAST, ROOT, Figure, Suite, commit, git, look_up, run_json
from swarmd.protocol.faults import LocalFault

# Short, and of CPU time as far as possible: latencies of a busy machine say nothing about a commit.
SUITES: tuple[Suite, ...] = (
    Suite(
        "receive",
        ("state", "--parts", "receive", "--received", "4000"),
        (
            Figure("tasks received by one core", "receive_tasks_per_s", "1/s", AT_LEAST),
            Figure("... without the replica", "receive_without_replica_tasks_per_s", "1/s", AT_LEAST),
            Figure("... with the base policy", "receive_with_policy_tasks_per_s", "1/s", AT_LEAST),
            Figure("an envelope verified and parsed", "receive_check_us_per_op", "us"),
            Figure("an envelope's share of a turn", "receive_turn_us_per_op", "us"),
        ),
    ),
    Suite("policy", ("policy", "--rounds", "20000"), (Figure("an evaluation p50", "p50_us", "us"),)),
    Suite(
        "mesh",
        ("mesh", "--nodes", "4", "--tasks", "800", "--window", "256"),
        (
            Figure("CPU a task, all four daemons", "cpu_ms_per_task", "ms"),
            Figure("whole tasks", "tasks_per_s", "1/s", AT_LEAST),
        ),
    ),
)


@contextmanager
def checked_out(base: str) -> Iterator[Path]:
    """The folder of a checkout of `base`, removed afterwards. LocalFault if there is no such commit, or no git."""
    found = git("rev-parse", "--verify", "--quiet", f"{base}^{{commit}}")
    if found is None:
        raise LocalFault(
            "no-such-commit", f"{base!r} is no commit of the checkout at {ROOT}", fix="git log --oneline"
        )
    with tempfile.TemporaryDirectory(prefix="swarmd-bench-") as folder:
        tree = Path(folder) / found[:12]
        if git("worktree", "add", "--quiet", "--detach", str(tree), found) is None:
            raise LocalFault("no-worktree", f"git could not check {base} out into {tree}")
        try:
            yield tree
        finally:
            git("worktree", "remove", "--force", str(tree))


def compare(
    base: str, suites: Sequence[Suite], rounds: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    """`rows`: figure, base, here, and how many times better we are than `base`; None for what either did not measure."""
    with checked_out(base) as tree:
        trees = {"base": tree, "here": ROOT}
        found: dict[str, dict[str, list[Any]]] = {
            side: {suite.name: [] for suite in suites} for side in trees
        }
        for number in range(rounds):
            for suite in suites:
                # The first of a pair has colder caches: each is it every other round.
                for side in sorted(trees, reverse=number % 2 == 1):
                    progress(f"{number + 1}/{rounds} {side}: {suite.command}")
                    found[side][suite.name].append(_run(trees[side], suite))
        base_name = tree.name
    rows = [
        _row(suite, figure, found["base"][suite.name], found["here"][suite.name])
        for suite in suites
        for figure in suite.figures
    ]
    return {"base": base_name, "here": commit(), "rounds": rounds, "rows": rows}


def _run(tree: Path, suite: Suite) -> Any:
    command = [sys.executable, "-m", "swarmd.cli", "--json", "bench", *suite.words]
    document, error = run_json(command, environment(tree))
    if error:
        raise LocalFault("bench-failed", f"{suite.command} at {tree.name}: {error}")
    return document


def environment(tree: Path) -> Mapping[str, str]:
    """Its `swarmd` before the one that is installed."""
    return {**os.environ, "PYTHONPATH": str(tree / ".layout")}


def _row(suite: Suite, figure: Figure, base: Sequence[Any], here: Sequence[Any]) -> dict[str, Any]:
    best = max if figure.better == AT_LEAST else min
    sides: list[float | None] = []
    for documents in (base, here):
        values = [look_up(document, figure.key) for document in documents]
        numbers = [value for value in values if isinstance(value, int | float)]
        sides.append(best(numbers) if numbers else None)
    before, after = sides
    ratio = None
    if before and after:
        ratio = round(after / before if figure.better == AT_LEAST else before / after, 3)
    return {
        "suite": suite.name,
        "figure": figure.name,
        "unit": figure.unit,
        "base": before,
        "here": after,
        "ratio": ratio,
    }
