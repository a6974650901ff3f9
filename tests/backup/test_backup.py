"""Backups of real nodes: made while they run, restored elsewhere to the same state, or not at all."""

import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import trio
from swarmd.node.backup.create import create_backup
from swarmd.node.backup.restore import restore_backup, verify_backup
from swarmd.node.backup.snapshot import SNAPSHOT_FOLDER
from swarmd.node.daemon import Daemon
from swarmd.node.journal import RESTORED_KEY, Journal
from swarmd.node.keys import KEY_FILE
from swarmd.node.settings import Settings
from swarmd.node.setup import init_home
from swarmd.protocol.faults import LocalFault

FILES = ("agents.json", "swarmd.toml", "node.key", "genesis.json", "chain/account.key")


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


async def test_a_running_node_comes_back_elsewhere(
    tmp_path, run_live, post_need, cost, passphrase, wait_thread
):
    """P9: what was acknowledged before the backup is in it, though the daemon never stopped writing."""
    home, other, file = tmp_path / "home", tmp_path / "other", tmp_path / "b"
    init_home(home)
    before, after = [], []

    async def work(client) -> None:
        async with trio.open_nursery() as nursery:

            async def go_on() -> None:
                while True:
                    after.append(await post_need(client))

            before.append(await post_need(client))
            nursery.start_soon(go_on)
            with pytest.raises(LocalFault) as caught:
                await client.call("backup.snapshot", {"folder": str(tmp_path)})
            assert caught.value.code == "bad-args"

            def copy(folder: Path) -> None:
                trio.from_thread.run(client.call, "backup.snapshot", {"folder": str(folder)})

            await wait_thread(create_backup, home, file, passphrase, copy=copy, cost=cost)
            count = len(after)
            while len(after) == count:  # noqa: ASYNC110
                await trio.sleep(0.01)  # it works on
            nursery.cancel_scope.cancel()

    await run_live(home, work)
    assert not (home / SNAPSHOT_FOLDER).exists()
    assert oct(file.stat().st_mode)[-3:] == "600"
    made = verify_backup(file, lambda: passphrase)
    assert restore_backup(file, other, lambda: passphrase) == made
    shutil.rmtree(home)  # two homes with one key must never run

    async def look(client) -> None:
        status = await client.call("status", {})
        assert status["restored"] is None  # alone in its mesh: there is nobody to listen to
        for need in before:
            assert (await client.call("need.show", {"need": need}))["values"] == {"t": {"text": "hello"}}
        await post_need(client, "and it works on")
        chain: dict = {"pending": 1}
        while chain["pending"] or chain["state"] == "starting":
            await trio.sleep(0.02)
            chain = (await client.call("status", {}))["chain"]
        assert chain["state"] in ("ready", "anchoring")

    # A start adds inputs (its manifest, the time), so the digest is that of the journal as restored.
    with closing(Journal(other / "journal.db")) as journal:
        assert journal.meta(RESTORED_KEY) is not None
    status = await run_live(other, look)
    assert status["did"] == made.did


def test_all_of_the_home_is_in_it(worked_home, backup_file, tmp_path, passphrase):
    home = tmp_path / "new"
    manifest = restore_backup(backup_file, home, lambda: passphrase, alone=True)
    for name in FILES:
        assert (home / name).read_bytes() == (worked_home / name).read_bytes(), name
        assert oct((home / name).stat().st_mode)[-3:] == "600", name
    assert oct(home.stat().st_mode)[-3:] == "700"
    assert {*FILES, "journal.db", "peers.db", "chain/chain.sqlite", "chain/outbox.sqlite"} <= set(
        manifest.files
    )
    for name, query in (
        ("journal.db", "select cid, block from blocks"),
        ("chain/chain.sqlite", "select * from kv"),
    ):
        with (
            closing(sqlite3.connect(worked_home / name)) as one,
            closing(sqlite3.connect(home / name)) as other,
        ):
            rows = one.execute(query).fetchall()
            assert rows and rows == other.execute(query).fetchall()
    assert (home / KEY_FILE).read_text().strip().encode() not in backup_file.read_bytes()


def test_the_same_state_digest_as_the_daemon_said(
    worked_home, backup_file, tmp_path, passphrase, swarmd_status
):
    manifest = restore_backup(backup_file, tmp_path / "new", lambda: passphrase, alone=True)
    assert manifest.state_digest == swarmd_status(worked_home) == swarmd_status(tmp_path / "new")


def test_a_node_that_never_ran_has_a_key_worth_keeping(tmp_path, cost, passphrase):
    init_home(tmp_path / "home")
    create_backup(tmp_path / "home", tmp_path / "b", passphrase, cost=cost)
    restore_backup(tmp_path / "b", tmp_path / "new", lambda: passphrase)
    assert (tmp_path / "new" / KEY_FILE).read_bytes() == (tmp_path / "home" / KEY_FILE).read_bytes()


# What goes wrong -------------------------------------------------------------------------------------------


def refusal(call, *args, **more) -> LocalFault:
    with pytest.raises(LocalFault) as caught:
        call(*args, **more)
    assert caught.value.fix
    return caught.value


def test_nothing_is_written_over(backup_file, worked_home, tmp_path, cost, passphrase):
    full = tmp_path / "full"
    init_home(full)
    held = tree(full)
    assert refusal(restore_backup, backup_file, full, lambda: passphrase).code == "home-exists"
    assert refusal(restore_backup, backup_file, backup_file, lambda: passphrase).code == "home-exists"
    assert tree(full) == held
    before = backup_file.read_bytes()
    assert refusal(create_backup, worked_home, backup_file, passphrase, cost=cost).code == "backup-exists"
    assert backup_file.read_bytes() == before
    fault = refusal(create_backup, worked_home, tmp_path / "none" / "b", passphrase, cost=cost)
    assert fault.code == "no-folder"


def test_an_empty_folder_may_be_the_home(backup_file, worked_home, tmp_path, passphrase, swarmd_status):
    """Such as one that a disk is mounted at: it cannot be renamed over."""
    (empty := tmp_path / "empty").mkdir()
    inode = empty.stat().st_ino
    assert refusal(restore_backup, backup_file, empty, lambda: b"wrong").code == "wrong-passphrase"
    assert os.listdir(empty) == []
    restore_backup(backup_file, empty, lambda: passphrase, alone=True)
    assert empty.stat().st_ino == inode and oct(empty.stat().st_mode)[-3:] == "700"
    assert not (empty / ".restoring").exists()
    assert swarmd_status(empty) == swarmd_status(worked_home)


def test_a_restore_that_was_killed_while_it_moved_is_done_again(
    backup_file, tmp_path, passphrase, monkeypatch
):
    (home := tmp_path / "home").mkdir()
    moved = []

    def rename(source, target, whole=os.rename):
        if Path(target).name == "genesis.json":
            raise KeyboardInterrupt  # as near to kill -9 as a test's own process can get ...
        moved.append(Path(target).name)
        whole(source, target)

    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # ... with nothing cleaned up
    with pytest.raises(KeyboardInterrupt):
        restore_backup(backup_file, home, lambda: passphrase)
    monkeypatch.undo()
    assert {"node.key", "journal.db"} <= set(moved) and not (home / "genesis.json").exists()
    with pytest.raises(LocalFault) as caught:
        Daemon(Settings(home))
    assert caught.value.code == "no-home"
    (foreign := home / "letters").write_text("of somebody else")
    held = tree(home)
    assert refusal(restore_backup, backup_file, home, lambda: passphrase).code == "home-exists"
    assert tree(home) == held
    foreign.unlink()
    restore_backup(backup_file, home, lambda: passphrase)
    assert {"node.key", "journal.db", "genesis.json"} <= set(os.listdir(home))
    assert refusal(restore_backup, backup_file, home, lambda: passphrase).code == "home-exists"


def test_no_hard_links_there(worked_home, tmp_path, cost, passphrase, monkeypatch):
    """A memory stick's file system."""

    def link(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    create_backup(worked_home, tmp_path / "b", passphrase, cost=cost)
    assert os.listdir(tmp_path) == ["b"]
    verify_backup(tmp_path / "b", lambda: passphrase)


def test_a_node_that_was_killed(worked_home, tmp_path, cost, passphrase):
    """What SQLite has not put in place yet, of the journal and the chain, is in the backup too."""
    home = tmp_path / "home"
    shutil.copytree(worked_home, home, ignore=shutil.ignore_patterns("run", "lock"))
    journal = Journal(home / "journal.db")
    journal.set_meta("said", b"last words")
    killed = tmp_path / "killed"
    shutil.copytree(home, killed)
    journal.close()
    assert (killed / "journal.db-wal").stat().st_size
    create_backup(killed, tmp_path / "b", passphrase, cost=cost)
    restore_backup(tmp_path / "b", tmp_path / "new", lambda: passphrase)
    with closing(Journal(tmp_path / "new" / "journal.db")) as found:
        assert found.meta("said") == b"last words"


def test_a_wrong_passphrase(backup_file, tmp_path):
    for call in (
        lambda: verify_backup(backup_file, lambda: b"wrong"),
        lambda: restore_backup(backup_file, tmp_path / "new", lambda: b"wrong"),
    ):
        assert refusal(call).code == "wrong-passphrase"
    assert os.listdir(tmp_path) == []


def test_damaged_files_leave_nothing_behind(backup_file, tmp_path, passphrase):
    data = backup_file.read_bytes()
    dice = random.Random(5)
    bad = tmp_path / "bad"
    spoilt = [data[: dice.randrange(len(data))] for _ in range(15)] + [b"", b"no backup at all" * 99]
    for at in dice.sample(range(len(data)), 25):
        spoilt.append(data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :])
    for each in spoilt:
        bad.write_bytes(each)
        fault = refusal(restore_backup, bad, tmp_path / "new", lambda: passphrase)
        assert fault.code in ("bad-backup", "wrong-passphrase")
        assert refusal(verify_backup, bad, lambda: passphrase).code == fault.code
        assert os.listdir(tmp_path) == ["bad"]
    assert refusal(verify_backup, tmp_path / "none", lambda: passphrase).code == "no-backup"


def test_a_damaged_journal_is_not_backed_up(worked_home, tmp_path, cost, passphrase):
    home = tmp_path / "home"
    shutil.copytree(worked_home, home, ignore=shutil.ignore_patterns("run", "lock"))
    with closing(sqlite3.connect(home / "journal.db", isolation_level=None)) as db:
        db.execute("update inputs set record = zeroblob(3) where id = 2")
    with pytest.raises(Exception) as caught:
        create_backup(home, tmp_path / "b", passphrase, cost=cost)
    assert caught.value.code == "bad-journal"
    assert sorted(os.listdir(tmp_path)) == ["home"]


@pytest.fixture
def no_room():
    """no_room(bytes): a block in which no file of this process grows beyond that; a write says EFBIG instead of ENOSPC."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda count: resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


def test_no_room(backup_file, worked_home, tmp_path, cost, passphrase, no_room):
    new = tmp_path / "new"
    for count in (100, 20_000, 60_000):
        no_room(count)
        codes = {
            refusal(create_backup, worked_home, tmp_path / "b", passphrase, cost=cost).code,
            refusal(restore_backup, backup_file, new, lambda: passphrase).code,
        }
        no_room(resource.RLIM_INFINITY)
        assert codes <= {"disk-full", "disk-error"}
        assert os.listdir(tmp_path) == []
        assert not (worked_home / SNAPSHOT_FOLDER).exists()
    restore_backup(backup_file, new, lambda: passphrase)


KILLED = """
import sys
from pathlib import Path
import nacl.pwhash.argon2id as a
from swarmd.node.backup.create import create_backup
from swarmd.node.backup.restore import restore_backup
from swarmd.node.backup.sealed import Cost
what, one, other = sys.argv[1:]
print("go", flush=True)
if what == "create":
    create_backup(Path(one), Path(other), b"passphrase", cost=Cost(a.OPSLIMIT_MIN, a.MEMLIMIT_MIN))
else:
    restore_backup(Path(one), Path(other), lambda: b"passphrase")
print("done", flush=True)
"""


@pytest.mark.parametrize("what", ("create", "restore"))
def test_killed_in_the_midst(what, worked_home, tmp_path, cost):
    """kill -9 leaves the whole thing or nothing, and the next attempt succeeds."""
    home, whole = tmp_path / "home", tmp_path / "whole"
    shutil.copytree(worked_home, home, ignore=shutil.ignore_patterns("run", "lock"))
    with closing(sqlite3.connect(home / "journal.db", isolation_level=None)) as db:
        db.execute("insert into blocks values (x'00', randomblob(20000000))")  # so that it takes a while
    create_backup(home, whole, b"passphrase", cost=cost)
    one, target = (home, tmp_path / "b") if what == "create" else (whole, tmp_path / "new")
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), what, str(one), str(target)]
    dice, killed = random.Random(6), 0
    for _ in range(8):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "go\n"
            time.sleep(dice.uniform(0.0, 0.35))
            process.kill()
            done = "done" in process.stdout.read()
        killed += not done
        if target.exists():
            if what == "create":
                verify_backup(target, lambda: b"passphrase")
                target.unlink()
            else:
                assert {"node.key", "genesis.json", "journal.db"} <= set(os.listdir(target))
                shutil.rmtree(target)
    assert killed
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    left = {"home", "whole", "killed.py", target.name}
    assert set(os.listdir(tmp_path)) == left
    assert not (home / SNAPSHOT_FOLDER).exists()
