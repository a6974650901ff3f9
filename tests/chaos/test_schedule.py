"""Schedules follow from their seed alone, keep their promises, and are done as they say."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import trio
from swarmd.node.chaos import nemeses
from swarmd.node.chaos.hosts import MAX_DEATHS, ChaosHosts
from swarmd.node.chaos.nemeses import MAX_SKEW_S, NEMESES, schedule
from swarmd.node.chaos.netns import Impairment
from swarmd.node.cluster import Member
from swarmd.node.transport.p2p.session import MeshSession
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.limits import MAX_FUTURE_NS

SHOW = "from swarmd.node.chaos.nemeses import *; print(schedule(11, 90.0, 4, NEMESES))"


def test_a_seed_gives_one_schedule_in_every_process():
    shown = {
        subprocess.run(
            [sys.executable, "-c", SHOW],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
        for hash_seed in ("0", "1")
    }
    assert shown == {f"{schedule(11, 90.0, 4, NEMESES)}\n"}
    assert schedule(12, 90.0, 4, NEMESES) != schedule(11, 90.0, 4, NEMESES)


def test_leaving_a_nemesis_out_moves_no_other():
    both = schedule(5, 120.0, 3, ["kill", "slow"])
    assert [fault for fault in both if fault.kind == "kill"] == schedule(5, 120.0, 3, ["kill"])


@pytest.mark.parametrize("duration_s", [5.0, 24.0, 60.0, 600.0])
@pytest.mark.parametrize("nodes", [2, 3, 5])
def test_every_kind_happens_within_the_time_and_never_overlaps_itself(duration_s, nodes):
    for seed in range(20):
        faults = schedule(seed, duration_s, nodes, NEMESES)
        assert {fault.kind for fault in faults} == set(NEMESES)
        assert faults == sorted(faults, key=lambda fault: (fault.at_s, fault.kind))
        for kind in NEMESES:
            ends_s = 0.0
            for fault in [fault for fault in faults if fault.kind == kind]:
                assert fault.at_s >= ends_s
                ends_s = fault.at_s + fault.for_s
                assert ends_s <= duration_s + 0.002
                assert fault.text()


def test_partitions_part_and_some_hear_one_way():
    shapes = set()
    for seed in range(30):
        for fault in schedule(seed, 60.0, 4, ["partition"]):
            one, other = set(fault.what["one"]), set(fault.what["other"])
            assert one and other and not one & other
            ways = set(fault.what["ways"])
            assert {(a, b) for a in one for b in other} <= ways
            assert (fault.what["shape"] == "deaf") == (not {(b, a) for a, b in ways} & ways)
            assert one | other | set(fault.what["middle"]) == set(range(4))
            shapes.add(fault.what["shape"])
    assert shapes == {"halves", "deaf", "bridge"}


def test_clocks_stay_within_what_nodes_forgive_each_other():
    offsets = [
        offset_s
        for seed in range(50)
        for fault in schedule(seed, 60.0, 3, ["skew"])
        for offset_s in fault.what["offsets_s"]
    ]
    assert min(offsets) < -5 and max(offsets) > 5
    assert max(offsets) - min(offsets) <= 2 * MAX_SKEW_S < MAX_FUTURE_NS / 1e9


def test_an_unknown_nemesis_is_refused():
    with pytest.raises(LocalFault, match="no nemesis 'kil'"):
        schedule(1, 10.0, 3, ["kil"])


class Recorder:
    """Hosts that only note what is done to them."""

    def __init__(self):
        self.done = []

    def cut(self, ways):
        self.done.append(("cut", len(list(ways)) > 0))

    def slow(self, links):
        assert all(isinstance(each, Impairment) for each in links.values())
        self.done.append(("slow", len(links) > 0))

    def kill(self, node):
        self.done.append(("kill", node))

    async def restart(self, node):
        self.done.append(("restart", node))

    def pause(self, node):
        self.done.append(("pause", node))

    def resume(self, node):
        self.done.append(("resume", node))

    def skew(self, node, offset_s):
        self.done.append(("skew", node, offset_s))


async def test_what_is_done_is_undone(autojump_clock):
    for seed in range(10):
        hosts = Recorder()
        faults = schedule(seed, 120.0, 3, NEMESES)
        log = []
        began_s = trio.current_time()
        await nemeses.inflict(
            hosts,
            faults,
            lambda fault, do, log=log, began_s=began_s: log.append(
                (trio.current_time() - began_s, fault, do)
            ),
        )
        assert [fault for _, fault, do in log if do == "start"] == faults
        stopped = [fault for _, fault, do in log if do == "stop"]
        assert sorted(stopped, key=lambda fault: (fault.at_s, fault.kind)) == faults
        for at_s, fault, do in log:
            assert at_s == pytest.approx(fault.at_s + (fault.for_s if do == "stop" else 0), abs=0.01)
        count = [each[:2] for each in hosts.done].count
        for do, undo in (("kill", "restart"), ("pause", "resume")):
            assert [count((do, node)) for node in range(3)] == [count((undo, node)) for node in range(3)]
        assert count(("cut", True)) == count(("cut", False)) > 0
        assert count(("slow", True)) == count(("slow", False)) > 0
        for node in range(3):
            jumps = [each[2] for each in hosts.done if each[:2] == ("skew", node)]
            assert not jumps or jumps[-1] == 0.0


async def test_a_daemon_that_does_not_come_up_is_given_up_in_the_end():
    """Each try is a death in the verdict; the run goes on without it."""

    class Broken:
        def __init__(self):
            self.members = [None]
            self.starts = 0

        def start(self, member):
            self.starts += 1

        def wait_ready(self, member):
            raise LocalFault("daemon-failed", "its journal is torn")

    hosts = ChaosHosts(Broken())
    hosts._down.add(0)
    with trio.fail_after(10):
        await hosts.restart(0)
    assert hosts.cluster.starts == len(hosts.deaths) == MAX_DEATHS
    assert set(hosts.deaths) == {"node 0 did not come up again: its journal is torn"}


def test_accusations_are_read_from_what_sessions_log(tmp_path, caplog):
    """Of a stopped node one may well say that it reads nothing; not that it lies."""

    class Connected:
        def get_connections(self, target):
            return [target]

        async def close_peer(self, target):
            pass

    class Later:
        def start_soon(self, *_):
            pass

    session = object.__new__(MeshSession)
    session._nursery, session._swarm = Later(), Connected()
    caplog.set_level("INFO")
    for code in ("equivocation", "reads-nothing", "silent", "rotated out with score 0.10"):
        session.cut_off("12D3KooWB2EXBHjdG4vKy9JgZiHLjZLhchoSpg2Y9nqvAPTgYFbV", code)
    (tmp_path / "daemon.log").write_text(caplog.text)
    member = Member("node-0", tmp_path, "did:key:x")
    hosts = ChaosHosts(SimpleNamespace(members=[member]))
    said = "node-0 cut off 12D3KooWB2EXBHjdG4vKy9JgZiHLjZLhchoSpg2Y9nqvAPTgYFbV: equivocation"
    assert hosts.accusations() == [said]
