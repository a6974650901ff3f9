"""The launcher: a small process that starts the agents' processes for the daemon, limits and ends them.

Run as `python -I -S launcher_main.py TOKEN` with a Unix stream socket as standard input. It exists because the
daemon is large and threaded: forking that is slow and `preexec_fn` in it unsafe, while here, in one
thread and 10 MB, ordinary Python may run between fork and exec, so limits hold from the first instruction.
It also is what outlives a killed daemon: when the socket ends it kills every agent. On Linux it is the
subreaper of the agents' whole trees, so a grandchild that left its session is found and killed too. The
token, in each agent's environment, tells whose a process is.

Requests, one JSON object a line: `{"op": "run", "job", "argv", "env", "cwd", "memory_bytes", "cpu_s"}` with
three file descriptors attached (stdin, stdout, stderr), and `{"op": "kill", "job"}`. Reports:
`{"job", "status", "cpu_ms", "max_rss_kb", "error"}` once for each run, after the whole group is killed.

Standard library only, and nothing of swarmd: it must start in milliseconds.
"""

import array
import contextlib
import ctypes
import errno
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import Any

JOB_VARIABLE = "SWARMD_JOB"
_RECV_BYTES = 65_536
_MAX_FDS = 96
_LAST_SWEEPS = 100
_SWEEP_PAUSE_S = 0.02
_MOURN_S = 0.5
_OPEN_FILES = 1_024
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_LINUX = sys.platform == "linux"
_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1_024

_prctl = ctypes.CDLL(None, use_errno=True).prctl if _LINUX else None


class _Job:
    def __init__(self, job: int, error_fd: int) -> None:
        self.job = job
        self.error_fd = error_fd  # what went wrong before exec; empty once exec succeeded


class Launcher:
    def __init__(self, control: socket.socket, token: str) -> None:
        self._control = control
        self._token = token
        self._buffer = b""
        self._fds: list[int] = []
        self._running: dict[int, _Job] = {}  # by pid of the leader, which is also its session and group
        self._pids: dict[int, int] = {}  # job -> pid
        self._ended: list[tuple[float, dict[str, Any]]] = []  # (report at the latest, report)

    def serve(self) -> None:
        """Until the daemon's end of the socket closes."""
        wake_read, wake_write = os.pipe()
        for fd in (wake_read, wake_write):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(wake_read, select.POLLIN)
        while True:
            for fd, _ in poll.poll(_SWEEP_PAUSE_S * 1_000 if self._ended else None):
                if fd == wake_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake_read, 4_096)
                elif not self._receive():
                    return
            self._reap()

    def end(self) -> None:
        """Kill all that was started here, also what hides from its group."""
        for pid in list(self._running):
            _kill_group(pid)
        self._running.clear()
        for _ in range(_LAST_SWEEPS):
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if not self._sweep():
                return
            time.sleep(_SWEEP_PAUSE_S)

    def _receive(self) -> bool:
        try:
            data, ancillary, flags, _ = self._control.recvmsg(_RECV_BYTES, socket.CMSG_SPACE(4 * _MAX_FDS))
        except OSError:
            return False
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
                for fd in fds:
                    os.set_inheritable(fd, False)
                self._fds.extend(fds)
        if not data or flags & socket.MSG_CTRUNC:
            return False
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if request["op"] == "run":
                self._run(request)
            else:
                pid = self._pids.get(request["job"])
                if pid is not None:
                    _kill_group(pid)
        return True

    def _run(self, request: dict[str, Any]) -> None:
        fds, self._fds = self._fds[:3], self._fds[3:]
        error_read = error_write = -1
        try:
            error_read, error_write = os.pipe()
            request["env"][JOB_VARIABLE] = f"{self._token}-{request['job']}"
            pid = os.fork()
            if pid == 0:
                _become(request, fds, error_write)
            self._running[pid] = _Job(request["job"], error_read)
            self._pids[request["job"]] = pid
        except OSError as error:
            if error_read >= 0:
                os.close(error_read)
            self._report({"job": request["job"], "status": 0, "error": f"cannot start: {error.strerror}"})
        finally:
            for fd in (*fds, error_write):
                if fd >= 0:
                    os.close(fd)

    def _reap(self) -> None:
        """Bury the dead, kill what they left behind, and report the leaders whose trees are gone."""
        buried = False
        while True:
            try:
                # Looked at, not yet reaped: until it is, its process group id cannot be used again.
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if found is None:
                break
            buried = True
            job = self._running.pop(found.si_pid, None)
            if job is None:
                os.waitpid(found.si_pid, 0)
            else:
                self._bury_leader(found.si_pid, job)
        if not (buried or self._ended):
            return
        # What was killed is not dead yet. A report waits for it: the job's folder is removed after it.
        strays = self._sweep()
        now = time.monotonic()
        for latest, report in self._ended:
            if not strays or latest < now:
                self._report(report)
        self._ended = [(latest, report) for latest, report in self._ended if strays and latest >= now]

    def _bury_leader(self, pid: int, job: _Job) -> None:
        _kill_group(pid)
        _, status, usage = os.wait4(pid, 0)
        del self._pids[job.job]
        with open(job.error_fd, "rb") as errors:
            error = errors.read(4_096).decode("utf-8", "replace")
        report = {
            "job": job.job,
            "status": status,
            "cpu_ms": round((usage.ru_utime + usage.ru_stime) * 1_000),
            "max_rss_kb": usage.ru_maxrss * _RSS_UNIT_BYTES // 1_024,
            "error": error,
        }
        self._ended.append((time.monotonic() + _MOURN_S, report))

    def _sweep(self) -> int:
        """Kill our children that belong to no running job: orphans that left their group. How many."""
        strays = [pid for pid in _children() if pid not in self._running and not self._belongs(pid)]
        for pid in strays:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(strays)

    def _belongs(self, pid: int) -> bool:
        """Is this orphan part of a job that still runs?"""
        try:
            if os.getsid(pid) in self._running:
                return True
            with open(f"/proc/{pid}/environ", "rb") as environ:
                marks = environ.read(1 << 20).split(b"\0")
        except OSError:
            return False
        return any(
            f"{JOB_VARIABLE}={self._token}-{job.job}".encode() in marks for job in self._running.values()
        )

    def _report(self, report: dict[str, Any]) -> None:
        self._control.sendall(json.dumps(report).encode() + b"\n")


def _kill_group(pid: int) -> None:
    """Kill a leader we have not reaped yet, and its group. Before its setsid() there is no group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _children() -> list[int]:
    if not _LINUX:
        return []
    me = os.getpid()
    with contextlib.suppress(OSError), open(f"/proc/self/task/{me}/children", "rb") as children:
        return [int(pid) for pid in children.read().split()]
    # A kernel without CONFIG_PROC_CHILDREN.
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:
                # The command, in parentheses, may itself hold spaces and parentheses.
                if int(stat.read().rpartition(b")")[2].split()[1]) == me:
                    found.append(int(name))
    return found


def _become(request: dict[str, Any], fds: list[int], error_fd: int) -> None:
    """In the child: a session of its own, its pipes and limits, then the agent's program. Never returns."""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        # All of them are above 2, where main() keeps something open. Every other descriptor closes at exec.
        for target, fd in enumerate(fds):
            os.dup2(fd, target)
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            # When the host's memory runs out, let it be an agent that goes, not the daemon.
            with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
                score.write("500")
        os.umask(0o077)
        os.chdir(request["cwd"])
        _limit(resource.RLIMIT_CORE, 0)
        _limit(resource.RLIMIT_CPU, request["cpu_s"])
        # The daemon may have raised it for its peers; programs that use select() break above this.
        _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
        if request["memory_bytes"]:
            _limit(resource.RLIMIT_AS, request["memory_bytes"])
        os.execve(request["argv"][0], request["argv"], request["env"])
    except BaseException as error:
        # Whatever it was: this process must not go on as a second launcher.
        text = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
        os.write(error_fd, f"{request['argv'][0]}: {text}".encode("utf-8", "replace")[:4_096])
    finally:
        os._exit(127)


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = most if hard == resource.RLIM_INFINITY else min(most, hard)
    try:
        resource.setrlimit(kind, (value, value))
    except (ValueError, OSError) as error:
        # macOS refuses RLIMIT_AS below what is mapped already, and does not enforce it.
        if _LINUX or getattr(error, "errno", errno.EINVAL) != errno.EINVAL:
            raise


def main() -> None:
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # The daemon decides; its end is the end of the socket.
        signal.signal(number, signal.SIG_IGN)
    if _prctl is not None:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    launcher = Launcher(control, sys.argv[1])
    try:
        launcher.serve()
    except BrokenPipeError:
        pass
    finally:
        launcher.end()


if __name__ == "__main__":
    main()
