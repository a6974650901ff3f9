"""Where a restart goes on: the state as it was after some input on record, in a file beside the journal.

A start replays the epoch, about a millisecond a need; read back from here it is a tenth of that. The file is only ever
a shortcut. It names the code that made it, the input it is after by the hash of its record, and its own hash; where
anything does not fit it is left aside, and the journal replayed. So it may be lost, torn or old at any time, and nothing waits
for it to be on disk. docs/adr/0039-a-start-does-less.md.

Written by a fork of the daemon, which has the state as of one moment without holding a turn.
"""

import gc
import io
import logging
import os
import pickle
import signal
import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import swarmd.protocol
import trio
from swarmd.node.journal import Journal
from swarmd.protocol.envelope import Envelope, reparse
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.state import State

log = logging.getLogger("swarmd.resume")

RESUME_FILE: Final = "resume.bin"
CHECK_S: Final = 5.0
# CPU of turns since the last one, from which on a replay is worth saving.
MIN_WORK_S: Final = 0.3
# While there is work, so many times the CPU of writing the last one is done first; when it is quiet it is written anyway.
WORK_RATIO: Final = 20.0
QUIET_SHARE: Final = 0.1
# A quarter of a millisecond each, and somebody waits for the stop.
MAX_LAST_NEEDS: Final = 2_000
WRITE_TIMEOUT_S: Final = 120.0
MIN_FREE_BYTES: Final = 1 << 28
_MAGIC: Final = b"swarmd resume 1\n"
_LEVEL: Final = 1
# Behind it, 32 bytes each: whose it is, the code, the record's hash, the hash of these and the body; before the last the
# number of the input, big-endian.
_HEAD: Final = struct.Struct("32s32s32sQ32s")
_NONSENSE: Final = (ValueError, TypeError, LookupError, AttributeError, EOFError, ImportError)
_PLAIN: Final = {("collections", "deque"), ("builtins", "set"), ("builtins", "frozenset")}


@dataclass(frozen=True, slots=True)
class Point:
    """`state` is after input `upto` of the journal; `said` as of `begin`."""

    state: State
    said: list[Envelope]
    upto: int


@dataclass(slots=True)
class Work:
    """What the runner has, at one moment between two turns."""

    state: State
    said: list[bytes]
    upto: int
    record_hash: bytes


class ResumeFile:
    """`read` and `write` of one node's file. Made when the process begins: the code on disk may be another one later."""

    def __init__(self, path: Path, genesis: Genesis, me: str) -> None:
        self.path = path
        self._genesis = genesis
        self._me = me
        self._owner = sha256(genesis.mesh_id + me.encode()).digest()
        self._code = code_hash()

    def read(self, journal: Journal, *, check_everything: bool = False) -> Point | None:
        """What the file has, if it is whole, of this code and of this journal; else None, and the log says why."""
        try:
            found = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.info("%s is not read, the journal is replayed: %s", self.path, error)
            return None
        try:
            point = self._parse(found, journal)
        except _Unfit as why:
            log.info("%s is left aside, the journal is replayed: %s", self.path, why)
            return None
        point.state.check_everything = check_everything
        return point

    def _parse(self, found: bytes, journal: Journal) -> Point:
        size = len(_MAGIC) + _HEAD.size
        if len(found) < size or not found.startswith(_MAGIC):
            raise _Unfit("it is none of ours")
        owner, code, record, upto, digest = _HEAD.unpack_from(found, len(_MAGIC))
        body = memoryview(found)[size:]
        if (owner, code) != (self._owner, self._code):
            raise _Unfit("other code made it, or another node")
        if self._sealed(record, upto, body) != digest:
            raise _Unfit("it is damaged")
        if journal.input_hash(upto) != record:
            raise _Unfit("it is of another journal, or of an earlier epoch")
        try:
            state, said = _Reader(io.BytesIO(zlib.decompress(body))).load()
            return Point(state, [reparse(raw) for raw in said], upto)
        except (pickle.UnpicklingError, zlib.error, RemoteFault, *_NONSENSE) as error:
            raise _Unfit(repr(error)[:200]) from error

    def _sealed(self, record: bytes, upto: int, body: bytes | memoryview) -> bytes:
        return sha256(_HEAD.pack(self._owner, self._code, record, upto, bytes(32)) + body).digest()

    def write(self, work: Work) -> None:
        """OSError if the disk does not take it; what was there before stays then."""
        body = zlib.compress(pickle.dumps((work.state, work.said), protocol=5), _LEVEL)
        digest = self._sealed(work.record_hash, work.upto, body)
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        try:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(_MAGIC + _HEAD.pack(self._owner, self._code, work.record_hash, work.upto, digest))
                file.write(body)
            # Not synced: after a power cut it is whole, or its hash does not fit.
            os.replace(part, self.path)
        finally:
            part.unlink(missing_ok=True)

    def clean_up(self) -> None:
        """Remove what an earlier life had begun to write."""
        for part in self.path.parent.glob(f"{self.path.name}.*.part"):
            part.unlink(missing_ok=True)


class _Unfit(Exception):
    """Why a file is not used."""


class _Reader(pickle.Unpickler):
    """Makes objects of the core and containers only, and calls nothing: a file that fits was written by us, but the hash
    in it is no signature."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PLAIN:
            return super().find_class(module, name)
        if module.startswith("swarmd.protocol."):
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise pickle.UnpicklingError(f"{module}.{name} does not belong into a state")


def code_hash() -> bytes:
    """32 bytes over the sources of the core and the interpreter: what is pickled by one is read by the same only."""
    digest = sha256(f"{sys.implementation.cache_tag} {sys.version}\0".encode())
    for folder in swarmd.protocol.__path__:
        for path in sorted(Path(folder).rglob("*.py")):
            source = path.read_bytes()
            digest.update(f"{path.relative_to(folder)} {len(source)}\0".encode() + source)
    return digest.digest()


# Writing in the background --------------------------------------------------------------------------------


class Resumer:
    """Writes the file now and then while `run` runs. `work`: what the runner has, None if nothing is to be gained; `cpu_s`:
    the CPU that a replay of it takes, as far as turns have shown: it only grows."""

    def __init__(self, file: ResumeFile, work: Callable[[], Work | None], cpu_s: Callable[[], float]) -> None:
        self._file = file
        self._work = work
        self._cpu_s = cpu_s
        self._written_at_s = 0.0  # of `cpu_s`
        self._cost_s = 0.0
        self._last_s = 0.0
        self.written = 0
        self.failed = 0

    def due(self) -> bool:
        """Is it time? Asked every CHECK_S."""
        cpu_s = self._cpu_s()
        since_s, quiet = cpu_s - self._written_at_s, cpu_s - self._last_s < QUIET_SHARE * CHECK_S
        self._last_s = cpu_s
        return since_s >= MIN_WORK_S and (quiet or since_s >= WORK_RATIO * self._cost_s)

    async def run(self) -> None:
        """Until cancelled."""
        self._file.clean_up()
        while True:
            await trio.sleep(CHECK_S)
            if self.due() and _free_bytes(self._file.path) > MIN_FREE_BYTES:
                await self.write_apart()

    async def write_apart(self) -> bool:
        """Write it by a fork. False if there was nothing to write, or it failed: then the one before stays."""
        at_s, work = self._cpu_s(), self._work()
        if work is None:
            return False
        pid = _fork(partial(self._file.write, work))
        del work
        code, cost_s = await _end_of(pid)
        self._written_at_s, self._cost_s = at_s, max(cost_s, self._cost_s)
        if code:
            self.failed += 1
            log.warning(
                "%s was not written (exit code %d): a restart replays the journal", self._file.path, code
            )
            return False
        self.written += 1
        return True

    def write_last(self) -> None:
        """At an orderly stop, where that does not keep anybody waiting."""
        work = self._work()
        if work is None or self._cpu_s() - self._written_at_s < MIN_WORK_S:
            return
        if len(work.state.needs) > MAX_LAST_NEEDS or _free_bytes(self._file.path) <= MIN_FREE_BYTES:
            return
        try:
            self._file.write(work)
        except OSError as error:
            log.warning("%s was not written: %s", self._file.path, error)


def _free_bytes(path: Path) -> int:
    found = os.statvfs(path.parent)
    return found.f_bavail * found.f_frsize


def _fork(task: Callable[[], None]) -> int:
    """Its process id. The child does `task` on its copy of our memory and ends; it shares nothing else with us."""
    with warnings.catch_warnings():
        # Of a fork beside threads, from 3.12 on: ours takes no lock that one of them may hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        gc.disable()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(nothing, fd)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # the lock of the home and our ports above all
        os.nice(10)
        task()
        code = 0
    finally:
        # Whatever happens here must not get back into our event loop.
        os._exit(code)


async def _end_of(pid: int) -> tuple[int, float]:
    """(exit code, CPU seconds) of a child; it is killed when it takes too long or we are cancelled."""
    ended = None
    try:
        with trio.move_on_after(WRITE_TIMEOUT_S):
            while (ended := _reaped(pid, os.WNOHANG)) is None:  # noqa: ASYNC110  no event tells of it
                await trio.sleep(0.05)
    finally:
        if ended is None:
            os.kill(pid, signal.SIGKILL)
            ended = _reaped(pid, 0)
    return ended or (-signal.SIGKILL, 0.0)


def _reaped(pid: int, options: int) -> tuple[int, float] | None:
    found, status, usage = os.wait4(pid, options)
    return (os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime) if found else None
