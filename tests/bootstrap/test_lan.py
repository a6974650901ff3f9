"""Real daemons on a network of their own: they find each other without being told anything."""

import time
from collections.abc import Callable

FOUND_WITHIN_S = 5.0
ATTEMPTS = 3
ALL_FOUND_WITHIN_S = 10.0


def seconds_until(true: Callable[[], bool], timeout_s: float = 30.0) -> float:
    began_s = time.monotonic()
    while not true():
        assert time.monotonic() < began_s + timeout_s, "not in time"
        time.sleep(0.02)
    return time.monotonic() - began_s


def test_two_daemons_without_flags_find_each_other_and_not_another_mesh(lan, host) -> None:
    net = lan(3)
    one, two, stranger = (host(f"h{n}", net.within(n)) for n in range(3))
    one.run("init", "--name", "lab")
    two.run("init", "--genesis", str(one.home / "genesis.json"))
    stranger.run("init", "--name", "elsewhere")
    stranger.up()
    times_s = []
    # What is promised is promised for a machine that has the time: of a busy one the best attempt counts.
    for _ in range(ATTEMPTS):
        for each in (one, two):
            (each.home / "peers.json").unlink(missing_ok=True)
            each.start()
        for each in (one, two):
            each.wait_ready()
        times_s.append(seconds_until(lambda: two.ready["peer_id"] in one.peers() and len(two.peers()) == 1))
        if times_s[-1] < FOUND_WITHIN_S:
            break
        one.stop()
        two.stop()
    assert min(times_s) < FOUND_WITHIN_S, times_s
    assert stranger.peers() == set()
    assert one.peers() == {two.ready["peer_id"]}


def test_who_knows_one_node_finds_all_through_the_dht(lan, host) -> None:
    net = lan(4)
    hosts = [host(f"h{n}", net.within(n)) for n in range(4)]
    hosts[0].run("init", "--name", "lab")
    for each in hosts[1:]:
        each.run("init", "--genesis", str(hosts[0].home / "genesis.json"))
    boot = hosts[0].up("--no-mdns")["addrs"][0]
    for each in hosts[1:3]:
        each.start("--no-mdns", "--bootstrap", boot)
    for each in hosts[1:3]:
        each.wait_ready()
    seconds_until(lambda: all(len(each.peers()) == 2 for each in hosts[:3]))
    last = hosts[3]
    last.up("--no-mdns", "--bootstrap", boot)
    others = {other.ready["peer_id"] for other in hosts[1:3]}

    def told_by_the_dht() -> set[str]:
        return {known["peer_id"] for known in last.ask("net")["book"] if "dht" in known["heard_from"]}

    took_s = seconds_until(lambda: len(last.peers()) == 3 and others <= told_by_the_dht())
    assert took_s < ALL_FOUND_WITHIN_S
