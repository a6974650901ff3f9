"""Namespaces of this machine: made, cut, slowed, removed; and what is said where that cannot be."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
from swarmd.node.chaos import machine, netns, run
from swarmd.node.chaos.machine import preflight, refusals
from swarmd.node.chaos.nemeses import NEMESES
from swarmd.node.chaos.netns import PREFIX, Impairment, Net
from swarmd.protocol.faults import LocalFault

SERVE = """
import socket
server = socket.create_server(("", 4001))
print("ready", flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(connection.recv(1))
    connection.close()
"""
ASK = """
import socket, sys, time
began = time.monotonic()
try:
    with socket.create_connection((sys.argv[1], 4001), timeout=1.0) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
    print(time.monotonic() - began)
except OSError:
    print("inf")
"""


def took_s(net, one, other):
    """How long a connection and an answer take from one node to another; infinity if there is none."""
    done = subprocess.run(
        [*net.within(one), sys.executable, "-c", ASK, net.address(other)],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return float(done.stdout)


def quickest_s(net, one, other):
    """The same, the best of five: a busy machine may keep one waiting that no link does."""
    return min(took_s(net, one, other) for _ in range(5))


def namespaces():
    listed = subprocess.run(["ip", "netns"], capture_output=True, text=True, timeout=10).stdout
    return [line.split()[0] for line in listed.splitlines() if line.startswith(PREFIX)]


@pytest.fixture
def net(doable, request):
    doable(request.param)
    made = Net(3, seed=1)
    servers = []
    try:
        made.up(slow=request.param == "slow")
        for node in range(3):
            command = [*made.within(node), sys.executable, "-c", SERVE]
            servers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        for server in servers:
            assert server.stdout.readline() == "ready\n"
        yield made
    finally:
        made.down()
        for server in servers:
            assert server.wait(10) == -signal.SIGKILL
            server.stdout.close()
    assert not [name for name in namespaces() if name.startswith(made.run)]


@pytest.mark.parametrize("net", ["partition"], indirect=True)
def test_a_cut_is_one_way_if_it_is_meant_so(net):
    assert took_s(net, 0, 1) < 1
    net.cut([(0, 1), (2, 1)])
    assert took_s(net, 0, 1) == took_s(net, 1, 0) == float("inf")  # what answers does not come through either
    assert took_s(net, 0, 2) < 1
    net.cut([(0, 2)])
    assert took_s(net, 0, 1) < 1 and took_s(net, 2, 0) == float("inf")
    net.cut([])
    assert took_s(net, 2, 0) < 1


@pytest.mark.parametrize("net", ["slow"], indirect=True)
def test_links_are_slowed_and_healed(net):
    """By netem or, where the kernel has none, by our own wire."""
    assert net.slow_by in ("netem", "wire")
    net.slow({1: Impairment(delay_ms=60.0)})
    # Three ways there and back of one slow link: what connects, what asks, what answers.
    assert 0.24 <= quickest_s(net, 0, 1) < 1
    assert quickest_s(net, 0, 2) < 0.2
    net.slow({1: Impairment(loss_percent=100.0)})
    assert took_s(net, 0, 1) == float("inf")
    net.slow({1: Impairment(delay_ms=20.0, jitter_ms=10.0, duplicate_percent=50.0, reorder_percent=30.0)})
    assert quickest_s(net, 0, 1) < 1
    net.slow({})
    assert quickest_s(net, 0, 1) < 0.2


def test_tc_understands_what_we_ask_of_netem():
    """It reads the words before it asks the kernel, which need not have netem."""
    if shutil.which("tc") is None:
        pytest.skip("tc is not installed: apt-get install iproute2")
    words = Impairment(12.5, 3.25, 1.5, 2.5, 25.0).netem()
    assert "12.5ms" in words and "25%" in words
    for given, ok in ((words, True), ([*words, "nonsense", "1"], False)):
        done = subprocess.run(
            ["tc", "qdisc", "replace", "dev", "no-such-device", "root", "netem", *given],
            capture_output=True,
            text=True,
            timeout=10,
        )
        assert ("Usage" not in done.stderr and "What is" not in done.stderr) == ok, done.stderr


def test_an_impairment_says_what_it_is():
    assert str(Impairment(12.5, 3.0, 1.5)) == "delay 12.5ms, jitter 3ms, loss 1.5%"


def test_what_a_killed_run_left_is_cleaned(doable, tmp_path, monkeypatch):
    doable("kill")
    monkeypatch.setattr(run.tempfile, "gettempdir", lambda: str(tmp_path))
    made = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, subprocess, sys\n"
            "from swarmd.node.chaos.netns import Net\n"
            "net = Net(1); net.up(slow=False)\n"
            "quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}\n"
            "subprocess.Popen([*net.within(0), 'sleep', '600'], **quiet)\n"
            "print(net.run, flush=True); os._exit(0)",
        ],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    name = made.stdout.strip()
    mine = Net(1)
    # What runs of others left is not this test's to remove.
    alive = netns.alive
    ours = (name, mine.run)
    monkeypatch.setattr(netns, "alive", lambda each: not each.startswith(ours) or alive(each))
    left = tmp_path / f"{name}-abc"
    kept = tmp_path / f"{name}-def"
    going_on = tmp_path / f"{mine.run}-ghi"
    other = tmp_path / f"{PREFIX}what-is-this"
    for folder in (left, kept, going_on, other):
        folder.mkdir()
    (kept / run.REPORT_FILE).write_text("{}")
    mine.up(slow=False)
    try:
        removed = run.clean()
        assert {f"{name}-hub", f"{name}-0"} <= set(removed["namespaces"])
        assert removed["homes"] == [str(left)]
        assert sorted(tmp_path.iterdir()) == sorted([kept, going_on, other])
        assert not [each for each in namespaces() if each.startswith(name)]
        assert f"{mine.run}-hub" in namespaces()
    finally:
        mine.down()


def test_a_name_without_a_run_is_nobodys_to_clean():
    assert netns.alive("swarmd-chaos-demo") and netns.alive("other")
    assert not netns.alive(f"{PREFIX}{os.getpid()}-1-hub")


@pytest.mark.parametrize(
    ("change", "code", "fix"),
    [
        ({"euid": 1000}, "not-root", "run it with sudo"),
        ({"platform": "darwin"}, "not-linux", "run it in a Linux VM"),
        (
            {"missing": ("ip", "nft", "tc"), "library": ""},
            "missing-tools",
            "Debian: apt-get install iproute2 libfaketime nftables",
        ),
        ({"missing": (), "library": ""}, "missing-tools", "Debian: apt-get install libfaketime"),
    ],
)
def test_it_says_what_it_lacks(monkeypatch, change, code, fix):
    missing = change.get("missing", ())
    monkeypatch.setattr(machine.sys, "platform", change.get("platform", "linux"))
    monkeypatch.setattr(machine.os, "geteuid", lambda: change.get("euid", 0))
    monkeypatch.setattr(machine.shutil, "which", lambda tool: None if tool in missing else f"/sbin/{tool}")
    monkeypatch.setattr(machine, "faketime_library", lambda: change.get("library", "/lib/x.so"))
    with pytest.raises(LocalFault) as caught:
        preflight(["partition", "slow", "kill", "skew"])
    assert (caught.value.code, caught.value.fix) == (code, fix)


def test_only_what_is_asked_for_is_needed(monkeypatch):
    monkeypatch.setattr(machine.sys, "platform", "linux")
    monkeypatch.setattr(machine.os, "geteuid", lambda: 0)
    monkeypatch.setattr(machine.shutil, "which", lambda tool: "/sbin/ip" if tool == "ip" else None)
    monkeypatch.setattr(machine, "faketime_library", lambda: "")
    preflight(["kill", "stop"])


def test_a_clock_that_does_not_move_is_noticed(doable, monkeypatch):
    doable("skew")
    monkeypatch.setattr(machine, "faketime_settings", lambda clock: {})
    assert refusals(["skew"])["skew"].code == "faketime-failed"


def test_what_the_kernel_refuses_is_said_for_each_nemesis(monkeypatch, tmp_path):
    """As in a container that may not: every ip fails."""
    ip = tmp_path / "ip"
    ip.write_text("#!/bin/sh\necho 'Operation not permitted' >&2\nexit 1\n")
    ip.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(machine, "preflight", lambda nemeses: None)
    refused = refusals(NEMESES)
    assert set(refused) == set(NEMESES)
    for fault in refused.values():
        assert fault.code == "netns-failed" and "Operation not permitted" in fault.message
        assert "CAP_NET_ADMIN" in fault.fix
