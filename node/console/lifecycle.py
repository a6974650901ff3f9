"""The daemon as a process: `up --detach`, `down`, `logs`, `wait`. None of it loads the node."""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import FAILED, OK, UsageFault
from swarmd.node.console.output import clean
from swarmd.node.home_lock import running_pid
from swarmd.node.log_file import LOG_FILE
from swarmd.node.own_python import own_python
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.work.need_states import ENDS, STAGES

START_TIMEOUT_S = 60.0
POLL_S = 0.05
TAIL_BYTES = 1 << 20


# up --detach -----------------------------------------------------------------------------------------------


def run_detached(ctx: Context) -> int:
    """Start `swarmd up` with the same flags in a session of its own; return when it is ready or has failed."""
    log = Path(ctx.args.log_file).absolute() if ctx.args.log_file else ctx.home / LOG_FILE
    # The last flag wins, so that this is the same command in all else.
    more = ["--no-detach", "--json", "--home", str(ctx.home), "--log-file", str(log)]
    command = [*own_python("swarmd.cli"), *ctx.words, *more]
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    assert process.stdout is not None
    with process.stdout:
        said = _first_document(process.stdout, START_TIMEOUT_S)
    if said is None:
        # Whatever it is doing, whoever asked would not know of it.
        process.kill()
        code = process.wait()
        raise LocalFault(
            "daemon-failed",
            f"the daemon did not start (it ended with {code}): {_last_line(log)}",
            fix=f"see {log}, or run swarmd up without --detach",
        )
    if "error" in said:
        error = said["error"]
        ctx.out.fail(LocalFault(error["code"], error["message"], fix=error["fix"]))
        return process.wait()
    found = {**said, "pid": process.pid, "log": str(log)}
    if ctx.out.as_json:
        ctx.out.document(found)
    elif ctx.out.quiet:
        ctx.out.line(str(process.pid))
    else:
        ctx.out.note(f"swarmd is up (pid {process.pid}): {found['did']}")
        ctx.out.note(f"  log     {clean(log)} (swarmd logs -f)")
        ctx.out.note("  stop    swarmd down")
        if not said.get("api") and not ctx.args.no_api:
            ctx.out.note("  no HTTP API and dashboard: swarmd api status says why", "yellow")
    return OK


def _first_document(stream: IO[bytes], timeout_s: float) -> dict[str, Any] | None:
    """The first line that the daemon writes, as JSON; None if it ends, or says nothing in time."""
    give_up_at, line = time.monotonic() + timeout_s, b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while b"\n" not in line:
            left_s = give_up_at - time.monotonic()
            if left_s <= 0 or not selector.select(left_s):
                return None
            part = os.read(stream.fileno(), 65_536)
            if not part:
                return None
            line += part
    try:
        found = json.loads(line.split(b"\n")[0])
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _last_line(path: Path) -> str:
    lines = _tail(path, 1)
    return lines[0] if lines else "it said nothing"


# down ------------------------------------------------------------------------------------------------------


def run_down(ctx: Context) -> int:
    """Stop the daemon and wait until it is gone; well done, too, if none runs."""
    pid = running_pid(ctx.home)
    stopped = pid is not None
    if stopped:
        try:
            ctx.ask("shutdown")
        except LocalFault as fault:
            # It may be starting, or on its way out already; only its lock says when it is gone.
            if fault.code not in ("daemon-not-running", "daemon-gone", "daemon-timeout"):
                raise
        if not _gone(ctx.home, pid, ctx.args.timeout):
            if not ctx.args.kill:
                raise LocalFault(
                    "not-stopped",
                    f"the daemon (pid {pid}) runs still after {ctx.args.timeout:g} s",
                    fix="see swarmd logs; swarmd down --kill ends it as a power cut would, which loses nothing",
                )
            assert pid is not None
            _kill(pid)
            _gone(ctx.home, pid, ctx.args.timeout)
    if ctx.out.as_json:
        ctx.out.document({"stopped": stopped, "pid": pid})
    elif stopped:
        ctx.out.note(f"the daemon (pid {pid}) has stopped")
    else:
        ctx.out.note(f"no daemon runs on {clean(ctx.home)}")
    return OK


def _gone(home: Path, pid: int | None, timeout_s: float) -> bool:
    """Wait until the home is free, and then until the process is no more: it lets go of the lock first."""
    give_up_at = time.monotonic() + timeout_s
    while running_pid(home) is not None or (pid and _alive(pid)):
        if time.monotonic() > give_up_at:
            return running_pid(home) is None
        time.sleep(POLL_S)
    return True


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # dead, but its parent has not looked yet
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return sys.platform != "linux"


def _kill(pid: int) -> None:
    # Only while the lock is held does the pid in it mean the daemon, and not another program by now.
    if pid > 1:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


# logs ------------------------------------------------------------------------------------------------------


def run_logs(ctx: Context) -> int:
    path = Path(ctx.args.file) if ctx.args.file else ctx.home / LOG_FILE
    if not path.exists():
        raise LocalFault(
            "no-log",
            f"{path} is not there: the daemon writes it with swarmd up --detach or --log-file",
            fix="in the foreground it logs to stderr, as a service to its journal: "
            "journalctl --user -u swarmd -f, or journalctl -u swarmd -f",
        )
    for line in _tail(path, ctx.args.lines):
        _show_line(ctx, line)
    if ctx.args.follow:
        for line in follow(path):
            _show_line(ctx, line)
    return OK


def _show_line(ctx: Context, line: str) -> None:
    if not ctx.out.as_json:
        ctx.out.line(clean(line.expandtabs()))
        return
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    ctx.out.document(found if isinstance(found, dict) else {"message": line})


def _tail(path: Path, count: int) -> list[str]:
    """The last lines of a file, of its last MiB."""
    try:
        with open(path, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - TAIL_BYTES))
            data = file.read()
    except OSError:
        return []
    return data.decode("utf-8", "replace").splitlines()[-count:] if count else []


def follow(path: Path, pause: Callable[[], None] = lambda: time.sleep(0.2)) -> Iterator[str]:
    """Lines as they are written, from now on; goes over to the new file when the log is rotated."""
    file = open(path, "rb")
    try:
        file.seek(0, os.SEEK_END)
        kept = b""
        while True:
            kept += file.read()
            *lines, kept = kept.split(b"\n")
            for line in lines:
                yield line.decode("utf-8", "replace")
            try:
                other = os.stat(path).st_ino != os.fstat(file.fileno()).st_ino
            except FileNotFoundError:
                other = False  # between the renaming of the old and the making of the new
            if other:
                rest = file.read()  # what came before the renaming, after our last look
                file.close()
                file = open(path, "rb")
                kept = kept + rest
            elif not lines:
                pause()
    finally:
        file.close()


# wait ------------------------------------------------------------------------------------------------------


def run_wait_ready(ctx: Context) -> int:
    """Until the daemon answers, and has so many peers; exit code 5 if it does not in time."""
    give_up_at = time.monotonic() + ctx.args.timeout
    why = "no daemon answers"
    while True:
        try:
            with ctx.client(min(ctx.args.timeout, 10.0)) as client:
                status = client.call("status")
            if status["peers"] >= ctx.args.peers:
                break
            why = f"it has {status['peers']} of {ctx.args.peers} peers"
        except LocalFault as fault:
            if fault.code not in ("daemon-not-running", "daemon-gone", "daemon-timeout"):
                raise
        if time.monotonic() > give_up_at:
            raise LocalFault(
                "not-ready",
                f"the node at {ctx.home} was not ready within {ctx.args.timeout:g} s: {why}",
                fix="swarmd doctor says what is wrong",
            )
        time.sleep(POLL_S)
    if ctx.out.as_json:
        ctx.out.document({"ready": True, "did": status["did"], "peers": status["peers"]})
    else:
        ctx.out.note(f"ready: {status['peers']} peers")
    return OK


def run_wait_need(ctx: Context) -> int:
    """Until the need is in `--state` or beyond it; exit code 1 if it ended otherwise."""
    from swarmd.node.console.outcome import time_limit

    args = ctx.args
    wanted = (args.state or "FINALIZED").upper()
    if wanted not in (*STAGES, *ENDS):
        raise UsageFault(
            f"--state {args.state}: no state of a need", fix=f"one of {', '.join((*STAGES, *ENDS))}"
        )
    last: dict[str, Any] = {}
    with (
        time_limit(args.timeout, "the need", f"it goes on: swarmd need show {args.need}"),
        ctx.client(None) as client,
    ):
        for last in client.stream("need.watch", {"need": args.need}):
            if reached(last["state"], wanted):
                break
    state = last["state"]
    if ctx.out.as_json:
        ctx.out.document({"need": args.need, "state": state, "reached": reached(state, wanted)})
    else:
        ctx.out.line(clean(state))
    return OK if reached(state, wanted) else FAILED


def reached(state: str, wanted: str) -> bool:
    """A need that is finalized has been through all stages; one that was refunded may not have."""
    if state == wanted:
        return True
    if wanted not in STAGES:
        return False
    return state == "FINALIZED" or (state in STAGES and STAGES.index(state) > STAGES.index(wanted))
