"""`swarmd bench content`: a large file into the embedded store and out again, and small blocks, beside what bounds them.

Each step runs in a process of its own, so that its peak memory is its own. Import counts until everything survives a power
cut; export reads, hashes and gives every byte. Beside them, of the same machine in the same minute: SHA-256 alone, the disk
alone (one file written and synced), and kubo's `add` and `cat` of the same file where there is a kubo.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from swarmd.node.bench.kubo import find_kubo
from swarmd.node.console.output import Output, facts
from swarmd.protocol.faults import LocalFault

MB = 1_000_000
SMALL_BYTES = 300
SMALL_BLOCKS = 200_000
_STEP_TIMEOUT_S = 1_800.0
_BLOCK_BYTES = 262_144
# The median counts: a disk behind a cache of its own takes the first at half the pace of the next.
_IMPORTS = 3
Figures = dict[str, Any]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--megabytes", type=int, default=2_000, metavar="N", help="how large the file is (default: 2000)"
    )
    parser.add_argument(
        "--folder",
        metavar="DIR",
        help="on the disk that is measured; needs three times the file (default: /tmp)",
    )


def main(args: Namespace, out: Output) -> int:
    if not 1 <= args.megabytes <= 4_000:
        raise LocalFault("usage", "1 to 4000 megabytes")
    with tempfile.TemporaryDirectory(prefix="swarmd-bench-", dir=args.folder) as name:
        folder = Path(name)
        if shutil.disk_usage(folder).free < 4 * args.megabytes * MB:
            raise LocalFault(
                "disk-full", f"{folder} has no room for it", fix="--megabytes N, or --folder DIR"
            )
        figures = run(folder, args.megabytes * MB, out.progress)
    if out.as_json:
        out.document(figures)
    else:
        out.print(facts([(name, "-" if value is None else value) for name, value in figures.items()]))
    return 0


def run(folder: Path, size: int, say: Callable[[str], None] = lambda _: None) -> Figures:
    """Every figure; `rss_mb` is the peak of the process that imports, or exports, the file. None for what was not measured: there is no kubo here, or `MORE` does not have it yet."""
    source = folder / "source"
    figures: Figures = {"megabytes": size // MB, "sha256_mb_s": sha256_mb_s()}
    say("writing the file")
    figures["disk_write_mb_s"] = write_source(source, size)
    for step in ("import", "export", "small"):
        say(step)
        figures |= _step(step, folder, source)
    figures.pop("small_rss_mb")  # the blocks that it makes beforehand are most of that
    figures["rss_mb"] = max(figures.pop("import_rss_mb"), figures.pop("export_rss_mb"))
    figures |= {"kubo_add_mb_s": None, "kubo_cat_mb_s": None, "kubo_add_ratio": None, "fetch_mb_s": None}
    for measure in MORE:
        say(measure.__name__.replace("_", " "))
        figures |= measure(folder, source, figures)
    figures.pop("cid")
    return figures


def sha256_mb_s() -> float:
    """What hashing alone would take, in blocks of the importer's size."""
    block = os.urandom(_BLOCK_BYTES)
    count = 2_000
    started = time.perf_counter()
    for _ in range(count):
        sha256(block).digest()
    return round(count * _BLOCK_BYTES / MB / (time.perf_counter() - started), 1)


def write_source(path: Path, size: int) -> float:
    """A file without two equal blocks; MB/s of writing and syncing it."""
    group = bytearray(os.urandom(32 * _BLOCK_BYTES))
    left, number = size, 0
    spent_s = 0.0
    with open(path, "wb", buffering=0) as file:
        while left:
            for at in range(0, len(group), _BLOCK_BYTES):
                group[at : at + 8] = number.to_bytes(8, "big")
                number += 1
            started = time.perf_counter()
            part = memoryview(group)[: min(left, len(group))]
            while part:
                part = part[file.write(part) or 0 :]
            spent_s += time.perf_counter() - started
            left -= min(left, len(group))
        started = time.perf_counter()
        os.fsync(file.fileno())
        spent_s += time.perf_counter() - started
    return round(size / MB / spent_s, 1)


# The steps, each in its process ----------------------------------------------------------------------------


def _step(step: str, folder: Path, source: Path) -> Figures:
    argv = [sys.executable, "-m", "swarmd.node.bench.content", step, str(folder), str(source)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_STEP_TIMEOUT_S)
    if done.returncode:
        raise LocalFault("bench-failed", f"{step}: {done.stderr[-500:]}")
    found: Figures = json.loads(done.stdout)
    return found


def _import(folder: Path, source: Path) -> Figures:
    from swarmd.node.content.adding import Adder
    from swarmd.node.content.repo import ContentRepo
    from swarmd.protocol.cids import cid_text

    runs = []
    for _ in range(_IMPORTS):
        shutil.rmtree(folder / "content", ignore_errors=True)
        os.sync()  # a disk that is still busy with the file, or with the last run, would be measured too
        with ContentRepo(folder / "content") as repo:
            started = time.perf_counter()
            added = Adder(repo.put_group).add(source)
            repo.sync()
            runs.append(round(added.size / MB / (time.perf_counter() - started), 1))
            repo.pin(added.cid)
    return {"import_mb_s": statistics.median(runs), "import_runs_mb_s": runs, "cid": cid_text(added.cid)}


def _export(folder: Path, source: Path) -> Figures:
    from swarmd.node.content.extract import write_stream
    from swarmd.node.content.repo import ContentRepo

    with ContentRepo(folder / "content") as repo, open(os.devnull, "wb", buffering=0) as nowhere:
        (pin,) = repo.pins()
        started = time.perf_counter()
        done = write_stream(pin.cid, nowhere, repo.get)
        spent_s = time.perf_counter() - started
    if done.bytes != source.stat().st_size:
        raise LocalFault("bench-failed", f"{done.bytes} bytes came back")
    return {"export_mb_s": round(done.bytes / MB / spent_s, 1)}


def _small(folder: Path, source: Path) -> Figures:
    from swarmd.node.content.repo import ContentRepo
    from swarmd.protocol.cids import raw_cid

    blocks = [os.urandom(SMALL_BYTES) for _ in range(SMALL_BLOCKS)]
    pairs = [(raw_cid(block), block) for block in blocks]
    with ContentRepo(folder / "small") as repo:
        started = time.perf_counter()
        repo.put_many(pairs)
        repo.sync()
        puts_s = time.perf_counter() - started
        started = time.perf_counter()
        for cid, _ in pairs:
            if repo.get(cid) is None:
                raise LocalFault("bench-failed", "a block did not come back")
        gets_s = time.perf_counter() - started
    return {
        "small_puts_per_s": round(SMALL_BLOCKS / puts_s),
        "small_gets_per_s": round(SMALL_BLOCKS / gets_s),
    }


# Beside others ---------------------------------------------------------------------------------------------


def kubo(folder: Path, source: Path, figures: Mapping[str, Any]) -> Figures:
    """`ipfs add` and `ipfs cat` of the same file, offline, in a repository of our own; nothing without a kubo."""
    binary = find_kubo()
    if binary is None:
        return {}
    size_mb = source.stat().st_size / MB
    env = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(folder),
        "IPFS_PATH": str(folder / "kubo"),
        "IPFS_TELEMETRY": "off",
    }

    def call(*argv: str) -> tuple[str, float]:
        started = time.perf_counter()
        with open(folder / "kubo.out", "wb") as out:
            subprocess.run(
                [binary, *argv],
                env=env,
                stdout=subprocess.DEVNULL if argv[0] == "cat" else out,
                stderr=subprocess.DEVNULL,
                check=True,
                timeout=_STEP_TIMEOUT_S,
            )
        return (folder / "kubo.out").read_text().strip(), time.perf_counter() - started

    try:
        call("init", "--profile=test")
        cid, add_s = call("add", "-Q", "--offline", "--cid-version=1", "--raw-leaves", str(source))
        _, cat_s = call("cat", "--offline", cid)
    except (subprocess.SubprocessError, OSError) as error:
        raise LocalFault("bench-failed", f"kubo: {error}") from None
    finally:
        with suppress(OSError):
            shutil.rmtree(folder / "kubo")
    if cid != figures["cid"]:
        raise LocalFault("bench-failed", f"kubo says {cid}, we say {figures['cid']}")
    return {
        "kubo_add_mb_s": round(size_mb / add_s, 1),
        "kubo_cat_mb_s": round(size_mb / cat_s, 1),
        "kubo_add_ratio": round(figures["import_mb_s"] / (size_mb / add_s), 2),
    }


def fetch(folder: Path, source: Path, figures: Mapping[str, Any]) -> Figures:
    """The same file from one daemon to another."""
    import trio
    from swarmd.node.bench import fetching

    found: Figures = trio.run(fetching.fetch, source, strict_exception_groups=True)
    return found


# What else is measured of the same file: (folder, the file, the figures so far) -> more of them.
MORE: Sequence[Callable[[Path, Path, Mapping[str, Any]], Figures]] = (kubo, fetch)

_STEPS: Mapping[str, Callable[[Path, Path], Figures]] = {
    "import": _import,
    "export": _export,
    "small": _small,
}


def _peak_rss_mb() -> float:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1_048_576 if sys.platform == "darwin" else 1_024), 1)


if __name__ == "__main__":
    step, folder, source = sys.argv[1:]
    found = _STEPS[step](Path(folder), Path(source))
    print(json.dumps({**found, f"{step}_rss_mb": _peak_rss_mb()}))
