"""Journals of older swarmds go forward, step by step; those of newer ones are refused, and not touched."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from swarmd.node import migrations
from swarmd.node.journal import Journal
from swarmd.protocol.faults import CorruptState, LocalFault

# As the first version made its files.
FIRST = """
create table if not exists meta (key text primary key, value blob) without rowid;
create table if not exists inputs (id integer primary key, record blob not null);
create table if not exists authors (id integer primary key, did text not null unique);
create table if not exists batches (
  author integer not null, epoch integer not null, bucket integer not null, seq integer not null,
  hash blob not null, lamport integer not null, ts_ns integer not null, body blob not null,
  primary key (author, epoch, bucket, seq));
create index if not exists batches_by_bucket on batches (bucket);
create table if not exists outbox (id text primary key, record blob not null) without rowid;
create table if not exists proofs (
  id integer primary key, what text not null, author integer not null, record blob not null, unique (what, author));
insert into meta values ('schema_version', cast('1' as blob)), ('did', cast('me' as blob));
insert into inputs (record) values (x'01'), (x'02');
insert into authors values (1, 'did:key:a');
insert into batches values (1, 0, 7, 0, x'aa', 5, 6, x'bb');
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "old.db", isolation_level=None)) as db:
        db.executescript(FIRST)
    return tmp_path / "old.db"


def shape(path: Path) -> dict[str, list]:
    with closing(sqlite3.connect(path)) as db:
        tables = [
            name for (name,) in db.execute("select name from sqlite_master where type = 'table' order by 1")
        ]
        return {name: db.execute(f"pragma table_info({name})").fetchall() for name in tables}


def test_the_first_becomes_the_newest(old, tmp_path):
    with closing(Journal(old)) as journal:
        assert journal.meta("schema_version") == str(migrations.NEWEST).encode()
        assert journal.meta("did") == b"me"
        assert list(journal.inputs()) == [b"\x01", b"\x02"]
        assert [(chain, head.seq, head.hash) for chain, head in journal.heads()] == [
            (("did:key:a", 0, 7), 0, b"\xaa")
        ]
        assert journal.verdicts(("did:key:a", 0, 7, 0)) is None
    with closing(Journal(tmp_path / "new.db")):
        pass
    assert shape(old) == shape(tmp_path / "new.db")
    with closing(Journal(old)) as again:
        assert list(again.inputs()) == [b"\x01", b"\x02"]


def test_a_step_that_breaks_off_leaves_the_version_before(old, monkeypatch):
    before = shape(old)
    monkeypatch.setattr(migrations, "STEPS", {2: f"{migrations.STEPS[2]} insert into nowhere values (1);"})
    with pytest.raises(CorruptState):
        Journal(old)
    assert shape(old) == before
    monkeypatch.undo()
    with closing(Journal(old)) as journal:
        assert journal.meta("schema_version") == str(migrations.NEWEST).encode()


@pytest.mark.parametrize("version", (migrations.NEWEST + 1, 10_000))
def test_a_newer_one_is_refused_and_not_touched(old, version):
    with closing(sqlite3.connect(old, isolation_level=None)) as db:
        db.execute("update meta set value = ? where key = 'schema_version'", (str(version).encode(),))
    data = old.read_bytes()
    with pytest.raises(LocalFault) as caught:
        Journal(old)
    assert caught.value.code == "newer-journal"
    assert str(version) in caught.value.message and "newer" in caught.value.fix
    assert old.read_bytes() == data
    assert sorted(path.name for path in old.parent.iterdir()) == ["old.db"]


@pytest.mark.parametrize("value", (b"0", b"-3", b"x", b""))
def test_a_version_that_there_never_was(old, value):
    with closing(sqlite3.connect(old, isolation_level=None)) as db:
        db.execute("update meta set value = ? where key = 'schema_version'", (value,))
    with pytest.raises(CorruptState) as caught:
        Journal(old)
    assert caught.value.code == "bad-journal"


def test_every_version_has_its_step():
    assert sorted(migrations.STEPS) == list(range(migrations.OLDEST + 1, migrations.NEWEST + 1))
