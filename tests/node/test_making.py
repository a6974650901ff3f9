"""Snapshots of the journal, made in the daemon and in a process of their own."""

import logging
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trio
from swarmd.node.bench import history
from swarmd.node.bench.state_node import OpenGate, StateNode
from swarmd.node.checkpoint import apart, making
from swarmd.node.checkpoint.making import Incomplete, Overtaken, Snapshots
from swarmd.node.checkpoint.records import Records
from swarmd.protocol.checkpoint.making import choose_cut

NEVER = 10**9


@pytest.fixture
def node(tmp_path):
    """A node with the history of sixty needs; more of it comes by `more`."""
    node = StateNode(tmp_path, history.MEMBERS, OpenGate())
    said = history.History()
    node.more = lambda needs: node.take([frame for frame, _ in said.flushes(needs)])
    node.said = said
    node.more(60)
    with closing(node.journal):
        yield node


def snapshots(node, apart_from):
    return Snapshots(node.genesis, node.journal, Records(node.journal), apart_from)


def cut_of(node, base=None):
    return choose_cut(node.said.heads(), base, 1)


async def test_both_ways_make_the_same(node):
    here, there = snapshots(node, NEVER), snapshots(node, 1)
    cut = cut_of(node)
    made = await here.make(cut)
    assert not here.apart
    node.journal.db.execute("delete from parts")
    again = await there.make(cut)
    assert there.apart
    assert (again.state, again.head, dict(again.parts)) == (made.state, made.head, dict(made.parts))
    assert await there.load(made.state) == await here.load(made.state)
    assert Records(node.journal).packed(made.state) == made  # and it is kept


async def test_it_is_made_on_the_one_before(node):
    records = Records(node.journal)
    first = Snapshots(node.genesis, node.journal, records, NEVER)
    made = await first.make(cut_of(node))
    node.more(20)
    results = []
    for apart_from in (NEVER, 1):
        maker = Snapshots(node.genesis, node.journal, BasedOn(node.journal, made.state), apart_from)
        results.append(await maker.make(cut_of(node, await maker.base())))
        assert maker.apart == (apart_from == 1)
    assert results[0] == results[1] != made


class BasedOn(Records):
    """Records whose last adopted snapshot is this one."""

    def __init__(self, journal, state):
        super().__init__(journal)
        self.state = state

    @property
    def base(self):
        return self.state


async def test_the_folder_that_the_daemon_runs_in_has_no_say(node, tmp_path, monkeypatch):
    (tmp_path / "cbor2.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    maker = snapshots(node, 1)
    await maker.make(cut_of(node))
    assert maker.apart


async def test_it_goes_on_here_if_the_process_fails(node, monkeypatch, caplog):
    monkeypatch.setattr(apart, "_WORKER", "swarmd.no_such_module")
    maker = snapshots(node, 1)
    with caplog.at_level(logging.WARNING, "swarmd.checkpoint"):
        made = await maker.make(cut_of(node))
    assert not maker.apart and Records(node.journal).packed(made.state) == made
    assert "not made in a process of its own" in caplog.text and "no_such_module" in caplog.text
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert await maker.make(cut_of(node)) == made


async def test_what_the_journal_lacks_is_named(node):
    node.journal.db.execute(
        "delete from batches where seq = 0 and bucket in (select min(bucket) from batches)"
    )
    for apart_from in (NEVER, 1):
        with pytest.raises(Incomplete):
            await snapshots(node, apart_from).make(cut_of(node))


async def test_it_ends_when_another_is_adopted(node, monkeypatch):
    records = BasedOn(node.journal, making.NO_SNAPSHOT)
    maker = Snapshots(node.genesis, node.journal, records, 1)
    started = trio.Event()
    run_process = trio.run_process

    async def slow(command, **options):
        started.set()
        return await run_process(["sleep", "60"], **{**options, "stdin": b""})

    monkeypatch.setattr(apart.trio, "run_process", slow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(adopt, started, records)
        with trio.fail_after(20), pytest.raises(Overtaken):
            await maker.make(cut_of(node))


async def adopt(started, records):
    await started.wait()
    records.state = bytes(32)[:-1] + b"\1"


def test_a_journal_for_reading_changes_nothing(node, tmp_path):
    before = sorted((path.name, path.stat().st_size) for path in tmp_path.iterdir())
    with closing(making.Journal(Path(tmp_path / "journal.db"), only_reads=True)) as other:
        assert list(other.heads()) == list(node.journal.heads())
        with pytest.raises(Exception, match="readonly"):
            other.db.execute("delete from batches")
    assert sorted((path.name, path.stat().st_size) for path in tmp_path.iterdir()) == before
