"""What several commands have around them: a question before what can't be undone, doing it again and again, and an
end in order."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import UsageFault
from swarmd.node.console.output import clean
from swarmd.protocol.faults import LocalFault


def attended(run: Callable[[Context], int], ctx: Context) -> int:
    """Run a command, after its question, as often as `--watch` says."""
    question = getattr(ctx.args, "irrevocable", "")
    if question and not ctx.args.yes:
        _ask(ctx, question)
    if getattr(ctx.args, "watch_again", False):
        return _again(run, ctx)
    if getattr(ctx.args, "starts_processes", False):
        with terminated_like_interrupted():
            return run(ctx)
    return run(ctx)


def _ask(ctx: Context, question: str) -> None:
    """LocalFault `not-confirmed` unless a person says yes."""
    if ctx.out.as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageFault(f"{question}: nobody is here to confirm it", fix="add --yes if it is meant")
    print(f"{clean(question)}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise LocalFault("not-confirmed", "nothing was done")


def _again(run: Callable[[Context], int], ctx: Context) -> int:
    """Until Ctrl-C. A terminal is cleared before each; with --json it is a document a line."""
    live = ctx.out.live
    while True:
        if live:
            ctx.out.console.clear()
        try:
            run(ctx)
        except LocalFault as fault:
            # A daemon that is being restarted comes back; what is wrong with the command itself stays wrong.
            if fault.code not in ("daemon-not-running", "daemon-gone", "daemon-timeout"):
                raise
            ctx.out.fail(fault)
        time.sleep(ctx.args.interval)


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """What ends a command that started processes and made folders does as Ctrl-C does: it leaves none of them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    # Under nohup a hangup is ignored; so it stays.
    changed = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in changed:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, before[number])


def _interrupt(number: int, frame: FrameType | None) -> None:
    """By whatever handles Ctrl-C: trio's handler knows when KeyboardInterrupt would break its loop. In the background
    of a shell none does."""
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(signal.SIGINT, frame)
