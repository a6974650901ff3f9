"""The state in a file beside the journal: a restart from it is a replay, and whatever does not fit is left aside."""

import itertools
import os
import pickle
import random
import shutil
import subprocess
import sys
import time
import zlib
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trio
from swarmd.node import resume
from swarmd.node.bench import history
from swarmd.node.bench.state_node import OpenGate
from swarmd.node.content.store import SqliteBlockStore
from swarmd.node.daemon import Daemon
from swarmd.node.journal import Journal
from swarmd.node.journaled import JournaledEngine
from swarmd.node.resume import ResumeFile, Resumer
from swarmd.node.runner import Runner
from swarmd.node.settings import Settings
from swarmd.node.setup import init_home
from swarmd.protocol.digest import state_digest
from swarmd.protocol.dumping import dump
from swarmd.protocol.inputs import Commanded
from swarmd.protocol.state import State

GENESIS = history.genesis()
ME = history.did_number(history.MEMBERS)
NEEDS = 12
LATER_NS = time.time_ns() + 10**12


class Node:
    """Somebody who is no verifier, over a real journal. `close` it."""

    def __init__(self, folder: Path, *, resumes: bool = True, clock_ns: Any = time.time_ns) -> None:
        self.journal = Journal(folder / "journal.db")
        self.file = ResumeFile(folder / resume.RESUME_FILE, GENESIS, ME)
        self.point = self.file.read(self.journal) if resumes else None
        core = JournaledEngine(
            genesis=GENESIS,
            me=ME,
            sign=lambda data: history.key_of(history.MEMBERS).sign(data).signature,
            journal=self.journal,
            gate=OpenGate(),
            blocks=SqliteBlockStore(self.journal.db),
            clock_ns=clock_ns,
            resume=self.file if resumes else None,
            new_state=lambda: State(GENESIS, ME),
        )
        self.runner = Runner(core, lambda out: None)

    def take(self, frames):
        for frame in frames:
            self.runner.offer_frame("peer", frame)
            self.runner.turn()

    def write(self):
        work = self.runner.resume_work()
        assert work is not None
        self.file.write(work)

    def seen(self):
        """All that a restart has to bring back."""
        runner = self.runner
        said = [each.id for each in runner.voice.unsealed]
        return state_digest(runner.state), dump(runner.state), dict(runner.chains.heads), said

    def close(self):
        self.journal.close()


@pytest.fixture(scope="module")
def frames():
    return [frame for frame, _ in history.History(window=8).flushes(NEEDS)]


def replayed(folder):
    node = Node(folder, resumes=False)
    seen = node.seen()
    node.close()
    return seen


@pytest.fixture(scope="module")
def made(tmp_path_factory, frames):
    """A journal with all frames but the last few, and a file that was written after half of them."""
    folder = tmp_path_factory.mktemp("half")
    node = Node(folder)
    node.take(frames[: len(frames) // 2])
    node.write()
    node.take(frames[len(frames) // 2 : -6])
    node.close()
    return folder


@pytest.fixture
def half(tmp_path, made):
    return shutil.copytree(made, tmp_path / "half")


def test_a_restart_from_the_file_is_a_replay_and_goes_on_as_one(half, frames):
    node = Node(half, clock_ns=lambda: LATER_NS)
    assert node.point is not None and 0 < node.point.upto < node.journal.last_input()[0]
    assert node.seen() == replayed(half)
    shutil.copytree(half, half / "other", ignore=shutil.ignore_patterns("other"))
    other = Node(half / "other", resumes=False, clock_ns=lambda: LATER_NS)
    assert node.runner.state.views.same(other.runner.state.views)
    for one in (node, other):
        one.take(frames[-6:])
    assert node.seen() == other.seen()
    assert len(node.runner.state.needs) == NEEDS
    node.close()
    other.close()


def test_its_work_is_what_turns_and_replays_took(half):
    whole, rest = Node(half, resumes=False), Node(half)
    assert whole.runner.replay_s() > 0
    assert len(list(rest.runner.inputs(rest.point.upto))) < len(list(whole.runner.inputs()))
    whole.close()
    rest.close()


@pytest.mark.parametrize("upto", [0.0, 0.001, 0.5, 0.999])
def test_a_torn_file_is_left_aside(half, upto):
    path = half / resume.RESUME_FILE
    os.truncate(path, int(path.stat().st_size * upto))
    node = Node(half)
    assert node.point is None and node.seen() == replayed(half)
    node.close()


def test_no_bit_of_it_can_turn_over(half):
    path, node = half / resume.RESUME_FILE, Node(half)
    whole = path.read_bytes()
    places = [*range(0, 200, 3), *random.Random(7).sample(range(200, len(whole)), 200)]
    for at in places:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        assert node.file.read(node.journal) is None, at
    path.write_bytes(whole)
    assert node.file.read(node.journal) is not None
    node.close()


def test_of_other_code_or_another_node_it_is_left_aside(half, monkeypatch):
    node, path = Node(half), half / resume.RESUME_FILE
    assert ResumeFile(path, GENESIS, history.did_number(0)).read(node.journal) is None
    monkeypatch.setattr(resume, "code_hash", lambda: bytes(32))
    assert ResumeFile(path, GENESIS, ME).read(node.journal) is None
    node.close()


def test_of_a_journal_that_went_another_way_it_is_left_aside(tmp_path, frames):
    """A backup from before it was written is put back, and the node hears something else then."""
    node = Node(tmp_path)
    node.take(frames[:4])
    node.close()
    shutil.copy(tmp_path / "journal.db", tmp_path / "backup.db")
    node = Node(tmp_path)
    node.take(frames[4:20])
    node.write()
    node.close()
    for left in tmp_path.glob("journal.db-*"):
        left.unlink()
    shutil.copy(tmp_path / "backup.db", tmp_path / "journal.db")
    node = Node(tmp_path)
    assert node.point is None
    node.take(frames[4:24])  # at other times: other records under the same numbers
    assert node.file.read(node.journal) is None
    assert node.seen() == replayed(tmp_path)
    node.close()


def test_what_a_checkpoint_let_go_of_it_does_not_bring_back(half):
    node = Node(half)
    node.journal.begin()
    node.journal.begin_anew(dump(node.runner.state), [])
    node.journal.commit()
    assert node.runner.resume_work() is None
    assert node.file.read(node.journal) is None
    node.close()


def test_a_file_that_would_run_something_is_refused(half):
    node, path = Node(half), half / resume.RESUME_FILE
    work = node.runner.resume_work()

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {half}/ran",)

    for value in (Evil(), (Evil(), []), (work.state, [Evil()])):
        body = zlib.compress(pickle.dumps(value))
        digest = node.file._sealed(work.record_hash, work.upto, body)
        head = resume._HEAD.pack(node.file._owner, node.file._code, work.record_hash, work.upto, digest)
        path.write_bytes(resume._MAGIC + head + body)
        assert node.file.read(node.journal) is None
    assert not (half / "ran").exists()
    node.close()


def test_what_was_said_and_not_sealed_is_said_after_it(bench, new_task):
    """Own envelopes: those that wait for a batch, and the needs that count for the limits on spending."""
    args = {"title": "t", "budget": 30_000, "deadline_s": 60, "tasks": [new_task("t1")], "inline": []}
    runner = bench.runner
    runner.tell(partial(Commanded, "need.post", args))
    bench.turn()
    runner.tell(partial(Commanded, "need.post", args))
    runner._window.flushed(time.time_ns() + 10**12)  # the flush window has just begun
    runner.turn()
    unsealed, spending = [each.id for each in runner.voice.unsealed], runner.voice.spending(runner.now_ns())
    assert unsealed
    file = ResumeFile(bench.home / resume.RESUME_FILE, bench.genesis, runner.me)
    file.write(runner.resume_work())
    point = file.read(bench.journal, check_everything=True)
    assert point is not None and point.state.check_everything
    assert state_digest(point.state) == state_digest(runner.state)
    runner.voice.restore(point.said, runner.chains)
    assert [each.id for each in runner.voice.unsealed] == unsealed
    assert runner.voice.spending(runner.now_ns()) == spending


# In the background -----------------------------------------------------------------------------------------


async def test_a_fork_writes_what_the_parent_had_at_that_moment(tmp_path, frames):
    node = Node(tmp_path)
    node.take(frames[:10])
    resumer = Resumer(node.file, node.runner.resume_work, node.runner.replay_s)
    then = node.seen()
    with trio.fail_after(60):
        assert await resumer.write_apart()
    node.take(frames[10:])
    point = node.file.read(node.journal)
    assert dump(point.state) == then[1] and resumer.written == 1
    assert not list(tmp_path.glob("*.part"))
    node.close()


async def test_where_it_cannot_be_written_the_daemon_goes_on(tmp_path, frames, caplog):
    node = Node(tmp_path)
    node.take(frames[:4])
    gone = ResumeFile(tmp_path / "gone" / resume.RESUME_FILE, GENESIS, ME)
    resumer = Resumer(gone, node.runner.resume_work, node.runner.replay_s)
    with trio.fail_after(60):
        assert not await resumer.write_apart()
    assert resumer.failed == 1 and "was not written" in caplog.text
    node.close()


async def test_nobody_is_left_when_it_is_cancelled(tmp_path, frames, monkeypatch):
    node = Node(tmp_path)
    node.take(frames[:4])
    monkeypatch.setattr(ResumeFile, "write", lambda self, work: time.sleep(600))
    resumer = Resumer(node.file, node.runner.resume_work, node.runner.replay_s)
    forked, real = [], resume._fork
    monkeypatch.setattr(resume, "_fork", lambda task: forked.append(real(task)) or forked[-1])
    with trio.fail_after(60), trio.move_on_after(0.2):
        await resumer.write_apart()
    [pid] = forked
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222  does not wait
    node.close()


@pytest.mark.parametrize(
    ("since_s", "last_s", "cost_s", "due"),
    [
        (0.1, 0.1, 0.0, False),  # not worth it
        (0.4, 0.3, 0.0, True),
        (3.0, 2.9, 1.0, True),  # quiet again
        (3.0, 1.0, 1.0, False),  # busy, and the last one cost too much for that
        (21.0, 1.0, 1.0, True),
    ],
)
def test_when_it_is_due(tmp_path, since_s, last_s, cost_s, due):
    resumer = Resumer(ResumeFile(tmp_path / "file", GENESIS, ME), lambda: None, lambda: since_s)
    resumer._last_s, resumer._cost_s = last_s, cost_s
    assert resumer.due() is due


KILLED = """
import sys, trio
from pathlib import Path
from typing import Any
sys.path.insert(0, {tests!r})
from test_resume import Node, Resumer, history
node = Node(Path({folder!r}))
resumer = Resumer(node.file, node.runner.resume_work, node.runner.replay_s)
frames = [frame for frame, _ in history.History(window=8).flushes({needs})]
async def main():
    for frame in frames:
        node.take([frame])
        await resumer.write_apart()
        print("written", flush=True)
trio.run(main)
"""


def test_kill_9_at_any_moment_is_harmless(tmp_path):
    dice = random.Random(os.urandom(8))
    program = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path), needs=NEEDS)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        for _ in itertools.islice(process.stdout, dice.randrange(1, 12)):
            pass
        time.sleep(dice.random() * 0.05)
        process.kill()
        process.wait()
        process.stdout.close()
        node = Node(tmp_path)
        assert node.point is not None
        assert node.seen() == replayed(tmp_path)
        node.close()


def test_what_an_earlier_life_had_begun_is_removed(tmp_path):
    file = ResumeFile(tmp_path / resume.RESUME_FILE, GENESIS, ME)
    (tmp_path / f"{resume.RESUME_FILE}.77.part").write_bytes(b"torn")
    file.clean_up()
    assert list(tmp_path.iterdir()) == []


def test_a_daemon_leaves_it_at_an_orderly_stop_and_begins_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "MIN_WORK_S", 0.0)
    init_home(tmp_path)
    daemon = Daemon(Settings(tmp_path, lease_ttl_s=77))
    daemon.runner.turn()
    daemon.close()
    left = state_digest(daemon.runner.state)
    assert (tmp_path / resume.RESUME_FILE).stat().st_mode & 0o777 == 0o600
    daemon = Daemon(Settings(tmp_path, lease_ttl_s=77))
    try:
        assert list(daemon.runner.inputs()) and daemon.runner.journal.last_input()
        assert daemon.runner.core._begin().upto == daemon.runner.journal.last_input()[0]
        assert state_digest(daemon.runner.state) == left
    finally:
        daemon.close()


def test_the_code_hash_is_over_every_source_of_the_core(tmp_path, monkeypatch):
    before = resume.code_hash()
    copy = tmp_path / "protocol"
    shutil.copytree(Path(resume.swarmd.protocol.__path__[0]), copy)
    monkeypatch.setattr(resume.swarmd.protocol, "__path__", [str(copy)])
    assert resume.code_hash() == before
    with (copy / "work" / "need.py").open("a") as file:
        file.write("#")
    assert resume.code_hash() != before and len(before) == len(sha256().digest())
