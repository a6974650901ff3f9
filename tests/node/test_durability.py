"""A commit that is waited for in a thread: the loop goes on, and nothing is said before it is on disk (P9)."""

import os
import threading

import pytest
import trio
from swarmd.node import durability
from swarmd.node import journal as journal_module
from swarmd.node.durability import SLOW_S
from swarmd.node.journal import Journal
from swarmd.protocol.faults import CorruptState, LocalFault
from swarmd.protocol.inputs import Commanded

pytestmark = pytest.mark.property_id("P9")
FULL = 2


@pytest.fixture
def post(bench, new_task):
    def post():
        args = {"title": "mine", "budget": 50_000, "deadline_s": 60, "tasks": [new_task("t1")], "inline": []}
        return bench.runner.tell(lambda at_ns: Commanded("need.post", args, at_ns), reply=True)

    return post


class SlowDisk:
    """Every sync takes until it is let go."""

    def __init__(self):
        self.syncs = 0
        self.began = threading.Event()
        self.go = threading.Event()
        self.fault: OSError | None = None

    def sync(self, fd):
        os.fstat(fd)  # OSError if it is not open
        self.syncs += 1
        self.began.set()
        assert self.go.wait(10.0)
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def disk(bench, monkeypatch):
    slow = SlowDisk()
    monkeypatch.setattr(journal_module, "SYNC", slow.sync)
    bench.runner.disk.took(100 * SLOW_S)
    assert bench.runner.disk.is_slow
    yield slow
    slow.go.set()


def test_a_log_that_cannot_be_opened_is_the_disks_fault(tmp_path, monkeypatch):
    path = tmp_path / "journal.db"

    def refuse(name, flags):
        raise PermissionError(13, "Permission denied", name)

    with monkeypatch.context() as changed:
        changed.setattr(journal_module.os, "open", refuse)
        with pytest.raises(LocalFault, match="journal.db-wal: Permission denied") as fault:
            Journal(path)
    assert fault.value.code == "disk-error" and "readable and writable" in fault.value.fix
    Journal(path).close()  # nothing was left open, or half made


def test_only_the_turns_commits_do_not_wait_for_the_disk(tmp_path):
    journal = Journal(tmp_path / "journal.db")

    def level():
        return journal.db.execute("pragma synchronous").fetchone()[0]

    assert level() == FULL
    journal.begin(sync_later=True)
    assert level() == FULL - 1
    journal.set_meta("a", b"1")
    journal.commit()
    assert level() == FULL
    journal.begin(sync_later=True)
    journal.rollback()
    assert level() == FULL
    with journal.whole():
        assert level() == FULL
    journal.sync()
    journal.close()
    journal.close()


async def test_nothing_is_said_before_it_is_on_disk_and_the_loop_goes_on(bench, post, disk):
    seen = []
    bench.runner.watchers.append(seen.append)
    asked = trio.Event()

    async def ask_as_a_peer_would():
        await bench.runner.disk.settled()
        asked.set()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.runner.run)
            reply = post()
            assert await trio.to_thread.run_sync(disk.began.wait, 30.0)
            nursery.start_soon(ask_as_a_peer_would)
            await trio.testing.wait_all_tasks_blocked()
            assert bench.runner.state.needs  # committed; what follows is not
            assert not (reply.done.is_set() or bench.outs or seen or asked.is_set())
            disk.go.set()
            need = await reply.wait()
            await asked.wait()
            assert bench.outs[0].replies == [reply]
            assert need in {envelope.thread for envelope in seen}
            nursery.cancel_scope.cancel()
    bench.reopen()
    assert need in bench.runner.state.needs


async def test_what_is_only_heard_waits_for_the_next_that_is_said(bench, author, post, disk, monkeypatch):
    """One fsync for both; and before a peer is answered, at once."""
    monkeypatch.setattr(durability, "LAZY_S", 3_600.0)
    seen = []
    bench.runner.watchers.append(seen.append)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.runner.run)
            heard = author.need()
            bench.runner.offer_frame("peer", author.batch(heard)[0])
            await trio.testing.wait_all_tasks_blocked()
            assert heard in seen and heard.thread in bench.runner.state.needs
            assert not disk.began.is_set()
            disk.go.set()
            await bench.runner.disk.settled()
            assert disk.began.is_set() and disk.syncs == 1

            bench.runner.offer_frame("peer", author.batch(author.need(60_000))[0])
            await trio.testing.wait_all_tasks_blocked()
            assert disk.syncs == 1
            reply = post()
            await reply.wait()
            synced = disk.syncs
            await bench.runner.disk.settled()
            assert disk.syncs == synced > 1
            nursery.cancel_scope.cancel()


async def test_what_is_only_heard_does_not_wait_for_ever(bench, author, disk, monkeypatch):
    monkeypatch.setattr(durability, "LAZY_S", 0.01)
    disk.go.set()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.runner.run)
            bench.runner.offer_frame("peer", author.batch(author.need())[0])
            assert await trio.to_thread.run_sync(disk.began.wait, 30.0)
            nursery.cancel_scope.cancel()


async def test_on_a_machine_that_is_behind_every_turn_waits(bench, author, disk, monkeypatch):
    monkeypatch.setattr(durability, "LAZY_S", 3_600.0)
    disk.go.set()
    bench.runner._window.rang(12_000_000)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.runner.run)
            bench.runner.offer_frame("peer", author.batch(author.need())[0])
            assert await trio.to_thread.run_sync(disk.began.wait, 30.0)
            nursery.cancel_scope.cancel()


async def test_a_stop_during_the_wait_says_nothing_more_and_a_restart_has_it(bench, post, disk):
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.runner.run)
            reply = post()
            assert await trio.to_thread.run_sync(disk.began.wait, 30.0)
            nursery.cancel_scope.cancel()
            disk.go.set()
    assert not (reply.done.is_set() or bench.outs)
    bench.reopen()
    assert len(bench.runner.state.needs) == 1


async def test_a_disk_that_fails_ends_the_daemon_and_nothing_is_said(bench, post, disk):
    disk.fault = OSError(5, "Input/output error")
    disk.go.set()
    reply = post()
    with trio.fail_after(60), pytest.raises(CorruptState, match="the disk did not take it") as caught:
        await bench.runner.run()
    assert caught.value.code == "bad-journal"
    assert not (reply.done.is_set() or bench.outs)


async def test_a_disk_that_is_quick_again_is_waited_for_in_the_loop(bench, post, monkeypatch):
    in_threads = []
    monkeypatch.setattr(journal_module, "SYNC", lambda _: in_threads.append(threading.get_ident()))
    bench.runner.disk.took(12 * SLOW_S)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.runner.run)
            while bench.runner.disk.is_slow:
                await post().wait()
            nursery.cancel_scope.cancel()
    assert 0 < len(in_threads) < 10
    assert threading.get_ident() not in in_threads
