"""The replica follows the journal, is the same on all nodes, and can be lost at any time."""

import os
import random
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import automerge.core as automerge
import pytest
import trio
from swarmd.node.journal import Journal
from swarmd.node.setup import init_home
from swarmd.node.state import REPLICA_DIVERGED, documents
from swarmd.node.state.export import export_automerge
from swarmd.node.state.folder import read_folder
from swarmd.node.state.replica import IDLE_S, Batches, Replica, new_copy
from swarmd.node.state.replica_host import STORE_FILE, ReplicaHost
from swarmd.protocol.cids import cid_text
from swarmd.protocol.faults import CorruptState, LocalFault

Heads = dict[str, frozenset[bytes]]


def heads_of(journal: Path) -> Heads:
    """What the journal gives, made in one go."""
    batches = Batches(journal)
    found = {}
    for place in batches.places(batches.newest()):
        copy = new_copy(place)
        for row, batch in batches.of(place, 0, batches.newest()):
            copy.add(row, batch)
        copy.flush()
        found[copy.document.name] = frozenset(copy.document.heads)
    batches.close()
    return found


def heads_saved(store: Path) -> Heads:
    """What the saved documents have, read with Automerge alone."""
    with closing(sqlite3.connect(store)) as db:
        rows = db.execute("select epoch, grp, saved from docs").fetchall()
    return {
        f"{epoch:06d}-{group:02d}": frozenset(map(bytes, automerge.Document.load(saved).get_heads()))
        for epoch, group, saved in rows
    }


def test_every_envelope_is_there_under_its_id(batches, record, tmp_path):
    said = batches(60)
    reader = Batches(record(tmp_path / "j", said))
    found = {}
    for place in reader.places(reader.newest()):
        copy = new_copy(place)
        for row, batch in reader.of(place, 0, reader.newest()):
            copy.add(row, batch)
        copy.flush()
        found |= dict(copy.document.items())
    reader.close()
    assert found == {cid_text(e.id): e.raw for batch in said for e in batch.envelopes}


def test_all_orders_give_all_nodes_the_same_documents(batches, reorder, record, tmp_path):
    said = batches(120)
    expected = heads_of(record(tmp_path / "one", said))
    for seed in range(4):
        journal = tmp_path / f"j{seed}"
        order, at, dice = reorder(said, seed), 0, random.Random(seed)
        record(journal, [])
        store = tmp_path / f"s{seed}"
        while at < len(order):
            # Bit by bit, now and then by a process that begins anew.
            replica = Replica(journal, store)
            for _ in range(3):
                step = dice.randrange(1, 30)
                record(journal, order[at : at + step])
                at += step
                replica.follow()
            assert replica.held() == min(at, len(order))
            replica.close()
        assert heads_saved(store) == expected == heads_of(journal)


def test_an_envelope_that_comes_twice_is_there_once(new_writer, record, tmp_path):
    """An author may do that. Automerge would keep both under one key, and get slow."""
    writer = new_writer("twice")
    one, two = writer.envelope(1), writer.envelope(1)
    said = [
        writer.batch(one),
        writer.batch(one, two, one),
        writer.batch(two),
        writer.batch(writer.envelope(1)),
    ]
    for name, parts in (("whole", [said]), ("parts", [[batch] for batch in said])):
        replica_of = Replica(record(tmp_path / name, []), tmp_path / f"{name}.db")
        for part in parts:
            record(tmp_path / name, part)
            replica_of.follow()
        [copy] = replica_of.open.values()
        assert (copy.document.size(), copy.batches, copy.document.changes) == (3, 4, 3)
        replica_of.close()
    assert (
        heads_saved(tmp_path / "whole.db")
        == heads_saved(tmp_path / "parts.db")
        == heads_of(tmp_path / "whole")
    )


def test_documents_are_by_epoch_and_group_and_closed_when_idle(batches, record, tmp_path):
    now = [0.0]
    journal = record(tmp_path / "j", batches(40))
    replica = Replica(journal, tmp_path / "s", lambda: now[0])
    replica.follow()
    old = set(replica.open)
    assert {epoch for epoch, _ in old} == {0} and len(old) > 3
    now[0] += IDLE_S / 2
    record(journal, batches(10, epoch=1))
    replica.follow()
    new = set(replica.open) - old
    assert {epoch for epoch, _ in new} == {1}
    now[0] += IDLE_S / 2
    replica.close_idle()
    assert set(replica.open) == new
    now[0] += IDLE_S
    replica.close_idle()
    assert replica.open == {}
    # A start loads what has missed something, and nothing else.
    replica.close()
    again = Replica(journal, tmp_path / "s")
    again.follow()
    assert again.open == {} and again.held() == 50
    again.close()
    assert heads_saved(tmp_path / "s") == heads_of(journal)


@pytest.fixture
def followed(batches, record, tmp_path):
    """(journal, store) of a replica that is closed, and the batches."""
    said = batches(80)
    journal, store = record(tmp_path / "j", said[:60]), tmp_path / "s"
    replica = Replica(journal, store)
    replica.follow()
    replica.close()
    return journal, store, said


def spoil_blob(db):
    db.execute("update docs set saved = zeroblob(100)")


def spoil_ends(db):
    db.execute("update ends set change = zeroblob(32)")


def spoil_position(db):
    db.execute("update docs set position = position + 7")


def forget_docs(db):
    db.execute("delete from docs")


def another_version(db):
    db.execute("pragma user_version = 99")


@pytest.mark.parametrize("spoil", (spoil_blob, spoil_ends, spoil_position, forget_docs, another_version))
def test_a_damaged_store_is_made_anew(followed, record, spoil):
    journal, store, said = followed
    with closing(sqlite3.connect(store)) as db, db:
        spoil(db)
    record(journal, said[60:])
    replica = Replica(journal, store)
    replica.follow()
    fresh = heads_of(journal)
    # Those that nothing came for are looked at when something does.
    loaded = {copy.document.name: frozenset(copy.document.heads) for copy in replica.open.values()}
    assert loaded and loaded == {name: fresh[name] for name in loaded}
    assert (replica.rebuilt, replica.held()) == (0, 80)
    replica.close()


def test_a_store_that_is_no_database(followed):
    journal, store, _ = followed
    store.write_bytes(b"garbage" * 1_000)
    replica = Replica(journal, store)
    replica.follow()
    replica.close()
    assert heads_saved(store) == heads_of(journal)


def test_another_journal_in_its_place(followed, batches, record, tmp_path):
    """A home restored from an older backup: rows have other meanings."""
    _, store, _ = followed
    journal = record(tmp_path / "other", batches(90, seed=9))
    replica = Replica(journal, store)
    replica.follow()
    replica.close()
    assert heads_saved(store) == heads_of(journal)


def test_a_document_that_diverges_is_made_once_more_and_no_further(followed, record, monkeypatch):
    journal, store, said = followed
    record(journal, said[60:])
    replica = Replica(journal, store)
    broken = [1]

    def apply(self, changes, prevs, whole=documents.Document.apply):
        whole(self, changes, prevs)
        if changes and broken[0]:
            broken[0] -= 1
            raise CorruptState("replica-diverged", "as if")

    monkeypatch.setattr(documents.Document, "apply", apply)
    replica.follow()
    assert replica.rebuilt == 1
    replica.close()
    shutil.copy(store, store.with_name("copy"))
    broken[0] = 100
    store.unlink()
    with pytest.raises(CorruptState):
        Replica(journal, store).follow()


def test_a_damaged_batch_stops_it(followed):
    journal, store, _ = followed
    with closing(sqlite3.connect(journal)) as db, db:
        db.execute("update batches set body = zeroblob(9) where rowid = 5")
    store.unlink()
    with pytest.raises(CorruptState) as caught:
        Replica(journal, store).follow()
    assert caught.value.code == "bad-journal"


# Its process -----------------------------------------------------------------------------------------------


@pytest.fixture
def host(nursery, tmp_path):
    """host(total, **options) -> a ReplicaHost that runs on tmp_path/home."""

    async def start(total, **options) -> ReplicaHost:
        made = ReplicaHost(tmp_path / "home", lambda: total, **options)
        nursery.start_soon(made.run)
        return made

    return start


async def until(true, host: ReplicaHost) -> None:
    with trio.move_on_after(20):
        while not true():  # noqa: ASYNC110
            await trio.sleep(0.02)
        return
    pytest.fail(str(host.status()))


async def test_its_process_follows_and_survives_a_kill(batches, record, tmp_path, host):
    said = batches(60)
    journal = record(tmp_path / "home" / "journal.db", said[:30])
    found = await host(60)
    await until(lambda: found.status()["state"] == "following", found)
    assert found.status()["behind"] == 30
    record(journal, said[30:40])
    found.poke()
    await until(lambda: found.status()["behind"] == 20, found)
    assert found.status()["rss_bytes"] > 1 << 20
    os.kill(found._process.pid, signal.SIGKILL)
    record(journal, said[40:])
    found.poke()
    await until(lambda: found.status()["behind"] == 0, found)
    assert found.starts == 2 and found.status()["error"] == ""


async def test_it_saves_when_the_daemon_ends(batches, record, tmp_path):
    journal = record(tmp_path / "home" / "journal.db", batches(40))
    host = ReplicaHost(tmp_path / "home", lambda: 40)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.run)
            await until(lambda: host.status().get("behind") == 0, host)
            nursery.cancel_scope.cancel()
    assert host._process.returncode == 0
    assert heads_saved(tmp_path / "home" / STORE_FILE) == heads_of(journal)


async def test_a_damaged_journal_fails_it_for_good(batches, record, tmp_path, host):
    journal = record(tmp_path / "home" / "journal.db", batches(10))
    with closing(sqlite3.connect(journal)) as db, db:
        db.execute("update batches set body = zeroblob(9) where rowid = 5")
    found = await host(10)
    await until(lambda: found.status()["state"] == "failed", found)
    assert "bad-journal" in found.status()["error"]
    assert found._process.returncode == REPLICA_DIVERGED


@pytest.mark.parametrize(
    ("code", "says"),
    (
        ("import time; time.sleep(60)", "silent"),
        ("print('no JSON', flush=True); import time; time.sleep(60)", "no sense"),
        ("import sys; sys.exit(7)", "ended with 7"),
        ("import os; os.abort()", "ended with -6"),
        ("x = bytearray(1 << 40)", "ended with 1"),
    ),
)
async def test_whatever_it_does_the_daemon_goes_on(tmp_path, host, code, says):
    (tmp_path / "home").mkdir()
    found = await host(5, watchdog_s=0.3 if "sleep" in code else 30, command=[sys.executable, "-c", code])
    await until(lambda: says in found.error, found)
    assert found.status()["state"] == "starting" and found.status()["behind"] == 5
    await until(lambda: found.starts >= 2, found)


async def test_it_keeps_to_its_memory(batches, record, tmp_path, host):
    record(tmp_path / "home" / "journal.db", batches(20))
    found = await host(20, memory_bytes=24 << 20)
    await until(lambda: found.error, found)
    assert found.status()["state"] == "starting"


# Exports ---------------------------------------------------------------------------------------------------


def test_an_export_is_what_the_replica_has(batches, record, tmp_path):
    home = tmp_path / "home"
    init_home(home)
    with pytest.raises(LocalFault) as caught:
        export_automerge(home, tmp_path / "out")
    assert caught.value.code == "no-journal"
    said = batches(60)
    record(home / "journal.db", said)
    found = export_automerge(home, tmp_path / "out")
    assert sum(row["batches"] for row in found["documents"]) == 60
    index, exported = read_folder(tmp_path / "out")
    assert index == found
    assert {d.name: frozenset(d.heads) for d in exported} == heads_of(home / "journal.db")
    with pytest.raises(LocalFault) as caught:
        export_automerge(home, tmp_path / "out")
    assert caught.value.code == "folder-exists"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "out"]


def test_the_journal_is_only_read(batches, record, tmp_path):
    journal = record(tmp_path / "j", batches(5))
    before = journal.read_bytes()
    replica = Replica(journal, tmp_path / "s")
    replica.follow()
    with pytest.raises(sqlite3.OperationalError):
        replica.batches.db.execute("delete from batches")
    replica.close()
    assert journal.read_bytes() == before
    with closing(Journal(journal)) as again:
        assert sum(1 for _ in again.heads()) == len({(b.author, b.bucket) for b in batches(5)})
