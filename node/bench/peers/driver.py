"""A driver's side of the talk with the benchmark: one JSON document a line, asked on stdin and answered on stdout.

A driver posts needs, `window` under way at a time, and learns their results; each system has one, in the interpreter that
its users would have. Only the standard library.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

RUN, STORED = "run", "stored"
SETTINGS = "BENCH_PEERS"  # the variable with the settings, for programs whose argv is not ours


@dataclass(slots=True)
class Run:
    """What became of the needs of one run. Fill it with `posted` and `done`."""

    results: dict[int, Any] = field(default_factory=dict)
    latencies_ms: list[float] = field(default_factory=list)
    _posted_s: dict[int, float] = field(default_factory=dict)

    def posted(self, number: int) -> None:
        """Just before anything of need `number` is done, its input included."""
        self._posted_s[number] = time.perf_counter()

    def done(self, number: int, result: Any) -> None:
        """As soon as the driver has the result."""
        self.latencies_ms.append(1000 * (time.perf_counter() - self._posted_s.pop(number)))
        self.results[number] = result


class Driver(Protocol):
    def run(self, numbers: Iterable[int], into: Run) -> None:
        """Take the needs through the system; returns when all are done."""

    def stored(self, numbers: Iterable[int]) -> Mapping[int, Any] | None:
        """The results on record, asked anew; None where the system keeps no record."""


def serve(begin: Callable[[dict[str, Any]], Driver]) -> None:
    """Make a driver from the settings in argv, say that it is ready, and answer until stdin ends."""
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(document: Any) -> None:
        answers.write(json.dumps(document) + "\n")
        answers.flush()

    driver = begin(json.loads(sys.argv[1]))
    say({"ready": True})
    for line in sys.stdin:
        asked = json.loads(line)
        numbers = range(asked["first"], asked["first"] + asked["count"])
        if asked["op"] == STORED:
            say({"stored": driver.stored(numbers)})
            continue
        run = Run()
        began_s = time.perf_counter()
        driver.run(numbers, run)
        wall_s = time.perf_counter() - began_s
        say({"wall_s": wall_s, "latencies_ms": run.latencies_ms, "results": run.results})
