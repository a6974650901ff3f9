"""`python -m swarmd.node.chaos.skewed ...` is `python -m swarmd.cli ...` for a process under libfaketime.

libfaketime 0.9.10 breaks clock_nanosleep: every `time.sleep` ends with EINVAL. The daemon waits by trio, but
`subprocess` sleeps when it waits with a timeout. select does the same and is left alone.
"""

import runpy
import select
import time


def _sleep(duration_s: float) -> None:
    select.select([], [], [], duration_s)


if __name__ == "__main__":
    time.sleep = _sleep  # type: ignore[assignment]
    runpy.run_module("swarmd.cli", run_name="__main__", alter_sys=True)
