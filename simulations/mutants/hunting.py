"""Hunts a planted bug: simulations with that core until one breaks a property, and then the tests of the core."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from swarmd.simulations.mutants import MUTANTS, plant

# (seed, nodes, tasks, nemeses): small runs first, from no faults to all.
ALL_FAULTS = "partition,slow,kill,skew,reorder,duplicate,corrupt,loss,disk,liar"
ATTEMPTS = (
    (1, 5, 12, ""),
    (2, 11, 12, "liar"),
    (3, 11, 16, "partition,slow,loss"),
    *((seed, 11, 16, ALL_FAULTS) for seed in range(4, 12)),
    *((seed, 11, 30, "liar,kill") for seed in range(12, 20)),
    *((seed, 11, 30, ALL_FAULTS + ",split") for seed in range(20, 26)),
)

# And with challenges, whose windows checkpoints end.
WINDOWED_ATTEMPTS = (
    (1, 16, 14, ""),
    (3, 16, 14, "liar,kill,partition,reorder"),
    (4, 14, 12, "loss,duplicate,skew,split,disk,corrupt,slow,partition,liar,kill,reorder"),
)
# And with verifiers that join and leave.
JOINING_ATTEMPTS = (
    (1, 12, 12, ""),
    (2, 14, 14, "liar,kill,partition,loss"),
)
# And with chains that are closed soon.
CLOSING_ATTEMPTS = (
    (1, 5, 12, ""),
    (13, 11, 30, ALL_FAULTS),
    (21, 11, 30, ALL_FAULTS),
    (30, 11, 30, ALL_FAULTS + ",split"),
)
CLOSING = ("checkpoint.closing", "stale-words-stand", "closed-chains-in-cuts")  # modules and mutants
WINDOWED = (
    "checkpoint.settling",
    "work.challenging",
    "bonds",
    "reviewing",
)  # modules: their mutants meet these first

# What the simulator misses, a test of the core must catch.
_SUITE = """
import sys
from swarmd.simulations.mutants import plant
plant(sys.argv[1])
import pytest
sys.exit(pytest.main([sys.argv[2], "-x", "-q", "--no-header"]))
"""


def hunt(name: str) -> str:
    """Which property, in which run, gives the mutant away; "" if none does. Once in a process: it stays planted."""
    plant(name)
    from swarmd.simulations.run import run

    plain: dict[str, int] = {"active_s": 12, "liar_permille": 300, "epoch_s": 5}
    plain["escrows"] = 20 if MUTANTS[name].module.startswith("escrow.") else 0
    windowed = {"active_s": 15, "liar_permille": 200, "epoch_s": 4, "challenge_window_s": 6}
    joining = {"active_s": 20, "liar_permille": 200, "epoch_s": 3, "joins": 4}
    closing: dict[str, int] = {
        "active_s": 30,
        "liar_permille": 300,
        "epoch_s": 4,
        "chain_epochs": 2,
        "escrows": 10,
    }
    attempts = [
        (each, more, label)
        for these, more, label in (
            (ATTEMPTS, plain, ""),
            (WINDOWED_ATTEMPTS, windowed, ", windows"),
            (JOINING_ATTEMPTS, joining, ", joins"),
            (CLOSING_ATTEMPTS, closing, ", chains closed soon"),
        )
        for each in these
    ]
    module = MUTANTS[name].module
    first = windowed if module in WINDOWED else joining if module.startswith("pool.") else plain
    first = closing if module in CLOSING or name in CLOSING else first
    attempts.sort(key=lambda attempt: attempt[1] is not first)
    for (seed, nodes, tasks, faults), more, label in attempts:
        names = tuple(fault for fault in faults.split(",") if fault)
        try:
            report = run(seed, nodes=nodes, tasks=tasks, nemeses=names, **more)
        except Exception as error:  # a mutant may break anything, the simulator's assumptions too
            return f"{type(error).__name__}, seed {seed}"
        if report.violations:
            under = ("all faults" if faults == ALL_FAULTS else faults or "no faults") + label
            return f"{report.violations[0]['property']}, seed {seed}, {nodes} nodes, {under}"
    return ""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("name", nargs="?", choices=sorted(MUTANTS))
    args = parser.parse_args(argv)
    if args.name:
        found = hunt(args.name)
        print(found or "survived")
        return 0 if found else 1
    survivors = 0
    suite = Path("tests/protocol")
    for name, mutant in MUTANTS.items():
        command = [sys.executable, "-m", "swarmd.simulations.mutants", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
        lines = (done.stdout or done.stderr).strip().splitlines()
        if done.returncode and suite.is_dir():
            done = subprocess.run(
                [sys.executable, "-c", _SUITE, name, str(suite)],
                capture_output=True,
                text=True,
                check=False,
                timeout=900,
            )
            failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
            # pytest's status 1 is a failed test; anything else did not get that far.
            done.returncode = 0 if done.returncode == 1 and failed else 1
            lines = [failed[0].split(" - ")[0].removeprefix("FAILED ")] if failed else ["survived"]
        print(f"| {name} | {mutant.what} | {lines[-1] if lines else 'no output'} |", flush=True)
        survivors += done.returncode != 0
    print(f"{len(MUTANTS) - survivors} of {len(MUTANTS)} caught", flush=True)
    return 1 if survivors else 0
