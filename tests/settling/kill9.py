"""Kills a publisher and its debtors with SIGKILL after each commit, then lets them finish.

`python kill9.py EQUIPPED FOLDER`: for each commit of settling three needs' payments, a copy of the equipped world, one life
that is killed there and one that is lived to its end. Prints JSON: how each ended, and what the chain says afterwards.
"""

import json
import os
import runpy
import shutil
import signal
import sqlite3
import sys
import traceback
from itertools import count
from pathlib import Path

from swarmd.node.settling.terms import Terms

World = runpy.run_path(str(Path(__file__).with_name("conftest.py")))["World"]
PAYMENTS = (("ann", "bob", 700), ("bob", "cat", 500), ("cat", "ann", 100))


class KillingConnection(sqlite3.Connection):
    """Ends the process just after the commit whose turn it is: what comes before the next one is lost."""

    at = -1
    passed = 0

    def execute(self, sql: str, *rest: object) -> sqlite3.Cursor:  # type: ignore[override]
        if sql != "COMMIT":
            return super().execute(sql, *rest)  # type: ignore[arg-type]
        number, KillingConnection.passed = self.passed, self.passed + 1
        cursor = super().execute(sql)
        if number == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        return cursor


def open_world(folder: Path):
    return World(folder, ("ann", "bob", "cat"), Terms()).open()


def begin(folder: Path, kill_at: int) -> None:
    """Settle for the first time, and die at a commit of it."""
    real = sqlite3.connect
    sqlite3.connect = lambda *a, **k: real(*a, factory=KillingConnection, **k)  # type: ignore[assignment]
    world = open_world(folder)
    KillingConnection.passed, KillingConnection.at = 0, kill_at
    world.closed(1, *PAYMENTS)
    world.settle("cat")
    world.share_proofs()


def go_on(folder: Path, told: int) -> None:
    """Then each publishes what it knows of, after the silent time of who was left out; say what the chain says."""
    world = open_world(folder)
    world.closed(1, *PAYMENTS)
    for name in ("ann", "cat", "bob"):
        world.settle(name)
        world.share_proofs()
        world.now_s += 601
    found = {
        "balances": world.balances(),
        "receipts": sum(event["count"] for event in world.settled_events()),
        "open": {
            name: [due.need for due in party.mesh.dues.open_of(party.did, 10)]
            for name, party in world.parties.items()
        },
    }
    world.close()
    os.write(told, json.dumps(found).encode())


def fork_life(life, *arguments: object) -> int:
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        life(*arguments)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def main(equipped: Path, folder: Path) -> None:
    warm = folder / "warm"
    shutil.copytree(equipped, warm)
    open_world(warm).close()  # load the EVM here, once for all forks
    ends = []
    for kill_at in count():
        home = folder / str(kill_at)
        shutil.copytree(equipped, home)
        first = fork_life(begin, home, kill_at)
        reader, writer = os.pipe()
        second = fork_life(go_on, home, writer)
        os.close(writer)
        with os.fdopen(reader, "rb") as told:
            ends.append([first, second, json.loads(told.read() or b"null")])
        shutil.rmtree(home)
        if first != -signal.SIGKILL:
            break
    print(json.dumps(ends))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
