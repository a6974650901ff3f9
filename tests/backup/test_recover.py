"""A journal that is lost: it is noticed, nothing is made worse, and what is left is kept."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from swarmd.node.backup.create import create_backup
from swarmd.node.backup.recover import recover
from swarmd.node.daemon import Daemon
from swarmd.node.journal import RESTORED_KEY, Journal
from swarmd.node.keys import create_key
from swarmd.node.own_journal import SPOKEN_FILE
from swarmd.node.settings import Settings
from swarmd.node.setup import init_home
from swarmd.protocol.faults import CorruptState, LocalFault


@pytest.fixture
async def home(tmp_path: Path, run_live, post_need) -> Path:
    """Of a node that has spoken."""
    folder = tmp_path / "home"
    init_home(folder)

    async def work(client) -> None:
        await post_need(client)

    await run_live(folder, work)
    assert (folder / SPOKEN_FILE).stat().st_mode & 0o777 == 0o600
    return folder


def cut(path: Path, to: int) -> None:
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    os.truncate(path, to)


def overwrite(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(4_096)
        file.write(os.urandom(16_384))


LOST = {
    "gone": (lambda path: path.unlink(), "it is gone"),
    "cut to nothing": (lambda path: cut(path, 0), "it is empty"),
    "cut in the middle": (lambda path: cut(path, path.stat().st_size // 2), ""),
    "overwritten": (overwrite, ""),
    "no database": (lambda path: path.write_bytes(b"no database" * 999), "not a database"),
}


@pytest.mark.parametrize("name", LOST)
async def test_a_node_without_its_journal_does_not_start(
    home: Path, name: str, cost, passphrase, tmp_path
) -> None:
    damage, says = LOST[name]
    journal = home / "journal.db"
    damage(journal)
    before = journal.read_bytes() if journal.exists() else None
    lost = name in ("gone", "cut to nothing")
    if lost or name == "no database":
        for _ in range(2):  # the first attempt leaves nothing that the second would take for a journal
            with pytest.raises(LocalFault if lost else CorruptState) as caught:
                Daemon(Settings(home)).close()
            assert caught.value.code == ("journal-lost" if lost else "bad-journal")
            assert "swarmd backup recover" in caught.value.fix
    if lost:
        with pytest.raises(LocalFault) as refused:
            create_backup(home, tmp_path / "b", passphrase, cost=cost)
        assert refused.value.code == "journal-lost" and not (tmp_path / "b").exists()

    found = recover(home)
    assert found.damage and says in found.damage
    assert found.aside is not None and found.aside.parent == home
    if before is not None:
        assert (found.aside / "journal.db").read_bytes() == before
    assert [each for each in os.listdir(home) if each.startswith("journal.db")] == ["journal.db"]
    with closing(Journal(journal)) as anew:
        assert anew.meta("did") == found.did.encode() and anew.meta(RESTORED_KEY)
    with closing(Daemon(Settings(home))) as daemon:
        assert daemon.runner.silent and daemon.silence.status()["needed"] == 1


async def test_a_journal_that_is_whole_is_left_alone(home: Path) -> None:
    before = (home / "journal.db").read_bytes()
    with pytest.raises(LocalFault) as caught:
        recover(home)
    assert caught.value.code == "journal-whole"
    assert (home / "journal.db").read_bytes() == before and not any(
        each.startswith("lost-") for each in os.listdir(home)
    )


async def test_the_journal_of_another_key_is_left_alone(home: Path) -> None:
    (home / "node.key").unlink()
    create_key(home)
    with pytest.raises(LocalFault) as caught:
        recover(home)
    assert caught.value.code == "other-key" and not any(each.startswith("lost-") for each in os.listdir(home))


async def test_killed_at_any_step_it_can_be_done_again(home: Path, monkeypatch, tmp_path) -> None:
    """What it does to the folder are renames: each of them is the last one in turn."""
    (home / "journal.db").write_bytes(b"")
    rename, steps = os.rename, 0

    class Killed(BaseException):
        pass

    for last in range(20):
        folder = tmp_path / f"killed-{last}"
        shutil.copytree(home, folder)
        left = last

        def few(source, target) -> None:
            nonlocal left
            if not left:
                raise Killed
            left -= 1
            rename(source, target)

        with monkeypatch.context() as changed:
            changed.setattr(os, "rename", few)
            try:
                recover(folder)
            except Killed:
                steps += 1
            else:
                break
        with pytest.raises(LocalFault, match="has spoken"):
            Daemon(Settings(folder)).close()
        assert recover(folder).did
        with closing(Daemon(Settings(folder))) as daemon:
            assert daemon.runner.silent
    assert steps >= 2


async def test_a_node_that_never_spoke_starts_without_a_journal(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    init_home(folder)
    with closing(Daemon(Settings(folder))) as daemon:
        assert not daemon.runner.silent
    with closing(sqlite3.connect(folder / "journal.db")) as db:
        assert db.execute("select value from meta where key = 'did'").fetchone()
