"""How a command ends: exit codes, faults, and the limit on its time."""

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from swarmd.protocol.faults import CorruptState, Fault, LocalFault

OK = 0
FAILED = 1
USAGE = 2
NO_DAEMON = 3
REFUSED = 4
TIMEOUT = 5
CORRUPT = 6
INTERRUPTED = 130

# docs/cli.md has this table for operators.
MEANING = {
    OK: "done",
    FAILED: "done, but the outcome is a failure: a need refunded or expired, a check or a demo that did not hold",
    USAGE: "the command line or swarmd.toml is wrong; nothing was asked of the daemon",
    NO_DAEMON: "no daemon answers at this home",
    REFUSED: "the daemon, or a local check before it, refused; nothing was changed",
    TIMEOUT: "no answer in the time given",
    CORRUPT: "the node's own disk or state contradicts itself; the daemon does not start",
    INTERRUPTED: "interrupted by Ctrl-C",
}

_BY_CODE = {
    "usage": USAGE,
    "bad-config": USAGE,
    "bad-amount": USAGE,
    "daemon-not-running": NO_DAEMON,
    "daemon-gone": NO_DAEMON,
    "no-permission": NO_DAEMON,
    "daemon-timeout": TIMEOUT,
    "timeout": TIMEOUT,
    "not-ready": TIMEOUT,
    "not-stopped": TIMEOUT,
    "failed": FAILED,
}


# Where the documentation goes on, of the faults that a fix in a line does not end. A test follows each.
PAGES = {
    "usage": "docs/cli.md#commands",
    "bad-config": "docs/cli.md#settings",
    "daemon-not-running": "docs/runbooks.md#the-daemon-does-not-start",
    "daemon-gone": "docs/runbooks.md#the-daemon-does-not-start",
    "daemon-failed": "docs/runbooks.md#the-daemon-does-not-start",
    "already-running": "docs/daemon.md#named-troubles",
    "not-ready": "docs/runbooks.md#the-daemon-does-not-start",
    "no-permission": "docs/doctor.md#permissions",
    "no-home": "docs/quickstart.md",
    "home-exists": "docs/quickstart.md",
    "bad-home": "docs/quickstart.md",
    "bad-ticket": "docs/joining.md",
    "ticket-expired": "docs/joining.md",
    "bad-genesis": "docs/daemon.md#named-troubles",
    "other-mesh": "docs/daemon.md#named-troubles",
    "key-exposed": "docs/runbooks.md#the-key-may-be-known-to-somebody",
    "key-unreadable": "docs/doctor.md#permissions",
    "key-lost": "docs/backup.md",
    "bad-key": "docs/backup.md",
    "other-key": "docs/daemon.md#named-troubles",
    "newer-journal": "docs/runbooks.md#upgrade",
    "bad-journal": "docs/daemon.md#named-troubles",
    "restored-silent": "docs/backup.md",
    "journal-lost": "docs/backup.md#without-a-backup",
    "disk-full": "docs/runbooks.md#the-disk-is-full",
    "disk-error": "docs/runbooks.md#the-disk-is-full",
    "address-in-use": "docs/doctor.md#ports",
    "bad-policy": "docs/policy.md",
    "no-opa": "docs/policy.md",
    "chain-stopped": "docs/runbooks.md#the-chain-is-away-or-gas-is-out",
    "unknown-need": "docs/runbooks.md#a-need-hangs",
    "timeout": "docs/runbooks.md#a-need-hangs",
    "no-service-manager": "docs/cli.md#as-a-service",
    "no-log": "docs/cli.md#as-a-service",
}


# Of faults that the core and the codecs raise, which know no commands.
FIXES = {
    "bad-did": "a node's DID is did:key:z6Mk...: swarmd status there shows it",
    "bad-cid": "a CID begins with baf; swarmd content ls lists what is pinned",
    "bad-need": "see swarmd need post --help, of a plan docs/cli.md#a-plan",
    "bad-deadline": "such as --deadline 600",
    "bad-car": "name a CAR file, as swarmd content export writes it",
    "truncated-car": "it is no CAR file, or not all of one: take another copy",
    "bad-journal": "check the disk; restore a backup (swarmd backup restore), or without one: swarmd backup recover",
}


def fix_of(fault: Fault) -> str:
    return fault.fix or FIXES.get(fault.code, "")


class UsageFault(LocalFault):
    """The command line asks for something it cannot mean."""

    def __init__(self, message: str, *, fix: str = "") -> None:
        super().__init__("usage", message, fix=fix)


def exit_code(fault: Fault) -> int:
    """The exit code for a command that ended with `fault`."""
    if isinstance(fault, CorruptState):
        return CORRUPT
    return _BY_CODE.get(fault.code, REFUSED)


def system_fault(error: OSError) -> LocalFault:
    """What the operating system refused, for people."""
    what = f"{error.filename}: {error.strerror}" if error.filename else f"{error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LocalFault("disk-full", what, fix="free some space on its disk")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        fix = "run swarmd as who owns it, or mend its rights (ls -ld shows them)"
        return LocalFault("no-rights", what, fix=fix)
    return LocalFault("system-error", what, fix="swarmd doctor looks at the home and its disk")


@contextmanager
def time_limit(timeout_s: float | None, what: str, fix: str) -> Iterator[None]:
    """LocalFault `timeout` if the block takes longer; None: no limit. Only in the main thread.

    By an alarm, because the block mostly waits in a socket's recv for events that may come at any rate.
    """
    if timeout_s is None:
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise LocalFault("timeout", f"{what} took longer than {timeout_s:g} s", fix=fix)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
