"""Many seeds: `python -m swarmd.simulations.soak --seeds 200`, or until stopped with `--forever` (`make soak`).

Seeds that failed once are kept in a corpus and always run again first, so a mended fault stays mended. One line a
failure as it is found, with the command that repeats it; ends with 1 if there was one.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any

from swarmd.simulations.main import command
from swarmd.simulations.nemesis import ALL
from swarmd.simulations.run import Config, Simulation

EPOCHS_S = (12, 0, 12, 6)  # in turn
CORPUS = Path("tests/simulations/corpus.json")


def load_corpus(path: Path) -> list[dict[str, Any]]:
    """[{"seed", "nodes", "tasks", "nemeses", "epoch_s"}], oldest first; nothing if there is no file."""
    if not path.exists():
        return []
    entries: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return entries


def keep(path: Path, entry: dict[str, Any]) -> None:
    """Add a failing run to the corpus, atomically."""
    entries = load_corpus(path)
    if entry not in entries:
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(json.dumps([*entries, entry], indent=1) + "\n", "utf-8")
        temporary.replace(path)


def one(entry: dict[str, Any]) -> tuple[dict[str, Any], list[Any], int, str]:
    """(entry, violations, envelopes admitted, the command that repeats it)."""
    epoch_s = entry.get("epoch_s", 0)  # entries from before there were epochs have none
    config = Config(entry["seed"], entry["nodes"], entry["tasks"], tuple(entry["nemeses"]), epoch_s=epoch_s)
    report = Simulation(config).run()
    return entry, report.violations, report.admissions, command(config)


def entries(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    seeds = count(args.first) if args.forever else range(args.first, args.first + args.seeds)
    fresh = (
        {
            "seed": seed,
            "nodes": args.nodes,
            "tasks": args.tasks,
            "nemeses": list(ALL),
            "epoch_s": EPOCHS_S[seed % len(EPOCHS_S)],
        }
        for seed in seeds
    )
    return chain(load_corpus(args.corpus), fresh)


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description="Run many seeds; keep those that fail.")
    parser.add_argument("--seeds", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--forever", action="store_true", help="until stopped")
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="where failing seeds are kept")
    args = parser.parse_args()
    started = time.monotonic()
    runs = admitted = failed = 0
    try:
        with multiprocessing.get_context("fork").Pool(args.jobs) as pool:
            for entry, violations, envelopes, again in pool.imap_unordered(one, entries(args)):
                runs += 1
                admitted += envelopes
                if violations:
                    failed += 1
                    keep(args.corpus, entry)
                    print(f"FAILED {again}\n  {violations[0]}", flush=True)
                if runs % 50 == 0:
                    print(f"{runs} runs, {failed} failed", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    took_s = time.monotonic() - started
    print(f"{runs} runs, {failed} failed, {admitted} envelopes admitted in {took_s:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
