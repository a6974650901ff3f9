"""What this machine lets us do: its tools, and by trial what its kernel and container allow."""

import glob
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from swarmd.node.chaos.netns import Impairment, Net
from swarmd.protocol.faults import LocalFault

_FAKETIME = (
    "/usr/lib/*/faketime/libfaketimeMT.so.1",
    "/usr/lib*/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
)
# nemesis -> the tools it needs beside ip, with their Debian packages
_TOOLS: Mapping[str, Mapping[str, str]] = {
    "partition": {"nft": "nftables"},
    "slow": {"tc": "iproute2"},
}
_TRIAL_OFFSET_S = 1_000_000
_ASK_BOTH_CLOCKS = "import time; print(time.time(), time.monotonic())"


def faketime_library() -> str:
    """The path of libfaketime for programs with threads; "" if it is not installed."""
    return next((path for pattern in _FAKETIME for path in sorted(glob.glob(pattern))), "")


def faketime_settings(clock: Path) -> dict[str, str]:
    """The environment of a process whose clock is off by what the file `clock` says: "+1.5" is ahead, in seconds."""
    return {
        "LD_PRELOAD": faketime_library(),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # trio's clock
        "DONT_FAKE_MONOTONIC": "1",  # the name before libfaketime 0.9.8
        # Else threads that wait for Python's lock wake at once, again and again (libfaketime 0.9.10).
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        "NO_FAKE_STAT": "1",
    }


def preflight(nemeses: Iterable[str]) -> None:
    """Is everything installed, and are we root? LocalFault with the fix if not."""
    if sys.platform != "linux":
        raise LocalFault(
            "not-linux", "chaos needs the network namespaces of Linux", fix="run it in a Linux VM"
        )
    if os.geteuid() != 0:
        raise LocalFault("not-root", "only root may make network namespaces", fix="run it with sudo")
    missing: dict[str, str] = {} if shutil.which("ip") else {"ip": "iproute2"}
    for nemesis in nemeses:
        missing |= {tool: pkg for tool, pkg in _TOOLS.get(nemesis, {}).items() if not shutil.which(tool)}
        if nemesis == "skew" and not faketime_library():
            missing["libfaketime"] = "libfaketime"
    if missing:
        raise LocalFault(
            "missing-tools",
            f"chaos needs {', '.join(missing)}",
            fix=f"Debian: apt-get install {' '.join(sorted(set(missing.values())))}",
        )


def trial(nemeses: Iterable[str]) -> None:
    """Do once, to nothing, what these nemeses do. LocalFault with what the machine refuses."""
    nemeses = set(nemeses)
    net = Net(2)
    try:
        net.up(slow="slow" in nemeses)
        if "partition" in nemeses:
            net.cut([(0, 1)])
        if "slow" in nemeses:
            net.slow({0: Impairment(delay_ms=1.0)})
    finally:
        net.down()
    if "skew" in nemeses:
        _try_faketime()


def _try_faketime() -> None:
    """A Python that does not load the library would run on a clock that is right, and nobody would see it."""
    with tempfile.TemporaryDirectory() as folder:
        clock = Path(folder) / "clock"
        clock.write_text(f"{_TRIAL_OFFSET_S:+d}\n")
        ask = [sys.executable, "-c", _ASK_BOTH_CLOCKS]
        shown = []
        for settings in ({}, faketime_settings(clock)):
            done = subprocess.run(
                ask, env={**os.environ, **settings}, capture_output=True, text=True, timeout=30
            )
            try:
                wall_s, monotonic_s = map(float, done.stdout.split())
            except ValueError:
                raise LocalFault(
                    "faketime-failed",
                    f"{sys.executable} does not run under libfaketime: {done.stderr.strip()[-400:]}",
                    fix="leave skew out of --nemesis",
                ) from None
            shown.append((wall_s, monotonic_s))
    (wall_s, monotonic_s), (other_wall_s, other_monotonic_s) = shown
    ahead_s = other_wall_s - wall_s - (other_monotonic_s - monotonic_s)
    if not _TRIAL_OFFSET_S - 60 < ahead_s < _TRIAL_OFFSET_S + 60:
        raise LocalFault(
            "faketime-failed",
            f"libfaketime moves the clock of {sys.executable} by {ahead_s:.0f} s, not {_TRIAL_OFFSET_S}",
            fix="leave skew out of --nemesis",
        )


def refusals(nemeses: Iterable[str]) -> dict[str, LocalFault]:
    """nemesis -> why this machine cannot do it; empty if it can do all of them."""
    refused = {}
    for nemesis in nemeses:
        try:
            preflight([nemesis])
            trial([nemesis])
        except LocalFault as fault:
            refused[nemesis] = fault
    return refused
