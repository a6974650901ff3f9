"""Kills a chain with SIGKILL again and again, then lets it finish. Run by test_crash.py; prints JSON.

    python kill9.py random HOME ANCHORS KILLS SEED     at random moments
    python kill9.py commits HOME                       right before and right after each commit of a small run

The EVM is imported once here; each life is a forked process of its own, so that a test can afford many.
"""

import json
import os
import random
import signal
import sqlite3
import sys
import time
from hashlib import sha256
from itertools import count
from pathlib import Path

import trio
from swarmd.node.chain import EmbeddedChain
from swarmd.node.chain.anchoring import open_embedded
from swarmd.node.chain.outbox import Outbox
from swarmd.node.ports import AnchorSeen

LIFE_LIMIT_S = 30


def digest(value: object) -> bytes:
    return sha256(repr(value).encode()).digest()


async def live(home: Path, anchors: int) -> None:
    """Submit `anchors` anchors, also those of earlier lives; end when every one of them was told of."""
    chain = EmbeddedChain(home)
    told_file = os.open(home / "told", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def on_seen(anchor: AnchorSeen) -> None:
        os.write(told_file, anchor.anchor_id)

    async def submit(first: int) -> None:
        for n in range(first, anchors, 4):
            await chain.submit_anchor(digest(n), digest(("root", n)), count=n + 1)

    with trio.fail_after(LIFE_LIMIT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(chain.run, on_seen)
            async with trio.open_nursery() as submitters:
                for first in range(4):
                    submitters.start_soon(submit, first)
            # The status is a snapshot without an event to wait for.
            while chain.status()["pending"] or chain.status()["state"] != "ready":  # noqa: ASYNC110
                await trio.sleep(0.002)
            nursery.cancel_scope.cancel()


class KillingConnection(sqlite3.Connection):
    """Ends the process at the commit whose turn it is: even numbers just before it, odd ones just after."""

    at = 0
    passed = 0

    def execute(self, sql: str, *rest: object) -> sqlite3.Cursor:  # type: ignore[override]
        if sql != "COMMIT":
            return super().execute(sql, *rest)  # type: ignore[arg-type]
        number, KillingConnection.passed = self.passed, self.passed + 1
        if (number, 0) == divmod(self.at, 2):
            os.kill(os.getpid(), signal.SIGKILL)
        cursor = super().execute(sql)
        if (number, 1) == divmod(self.at, 2):
            os.kill(os.getpid(), signal.SIGKILL)
        return cursor


def fork_life(home: Path, anchors: int, kill_at: int | None = None) -> int:
    child = os.fork()
    if child:
        return child
    try:
        if kill_at is not None:
            KillingConnection.at = kill_at
            real = sqlite3.connect
            sqlite3.connect = lambda *a, **k: real(*a, factory=KillingConnection, **k)  # type: ignore[assignment]
        trio.run(live, home, anchors)
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)


def wait(child: int) -> int:
    """0 for a life lived to its end, -9 for a killed one, 1 for a failed one."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at_random(home: Path, anchors: int, kills: int, seed: int) -> dict[str, object]:
    """Lives until `kills` of them were killed; each kill is followed by more anchors than there were before."""
    rng = random.Random(seed)
    ends: list[int] = []
    while (killed := ends.count(-signal.SIGKILL)) < kills and len(ends) < 10 * kills:
        child = fork_life(home, anchors * (killed + 1) // kills)
        time.sleep(rng.uniform(0.002, 0.06))
        os.kill(child, signal.SIGKILL)
        ends.append(wait(child))
    return {"killed": killed, "failed": ends.count(1), "last": wait(fork_life(home, anchors))}


def kill_at_commits(home: Path, anchors: int = 3) -> dict[str, object]:
    results = []
    for kill_at in count():
        folder = home / str(kill_at)
        folder.mkdir()
        first = wait(fork_life(folder, anchors, kill_at))
        results.append([first, wait(fork_life(folder, anchors))])
        if first != -9:
            return {"ends": results}
    raise AssertionError


def warm_up(folder: Path) -> None:
    """Load the EVM and all that it loads on first use, in this thread, so that the forks find it in memory."""
    folder.mkdir()
    outbox = Outbox(folder / "outbox.sqlite")
    machine = open_embedded(folder, 1, outbox)
    machine.deploy()
    machine.close()
    outbox.close()


def main(mode: str, home: str, *rest: str) -> None:
    warm_up(Path(home) / "warm")
    if mode == "random":
        result = kill_at_random(Path(home), *(int(value) for value in rest))
    else:
        result = kill_at_commits(Path(home))
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
