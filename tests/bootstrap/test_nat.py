"""Real daemons behind real NATs: network namespaces, with nftables masquerading between.

host A 192.168.1.2 - router A 10.99.0.2 -+
                                         +- bridge - relay 10.99.0.1
host B 192.168.2.2 - router B 10.99.0.3 -+
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from swarmd.node.chaos.netns import Net

LISTEN = "/ip4/0.0.0.0/tcp/4001"
# A home router: what was not asked for from inside is dropped, also what is meant for the router itself.
RULES = """
table ip nat {{
  chain postrouting {{ type nat hook postrouting priority 100; oifname "eth0" masquerade {flags}; }}
}}
table ip filter {{
  chain input {{
    type filter hook input priority 0; policy drop;
    iifname "lo" accept; iifname "inside" accept; ct state established,related accept;
  }}
  chain forward {{
    type filter hook forward priority 0; policy drop;
    iifname "inside" accept; ct state established,related accept;
  }}
}}
"""


def run(*argv: str, given: str | None = None) -> None:
    done = subprocess.run(argv, input=given, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, (argv, done.stderr)


class Nat:
    """A host behind the router in the namespace `router` of the net."""

    def __init__(self, net: Net, router: int) -> None:
        self.name = f"{net.run}-behind{router}"  # a name that `clean` of the chaos tools knows too
        self.router = net.namespace(router)
        self._number = router

    def up(self, flags: str) -> None:
        run("ip", "netns", "add", self.name)
        pair = ("type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "-n", self.router, "link", "add", "inside", *pair)
        inner = f"192.168.{self._number}"
        for where, device, address in (
            (self.router, "inside", f"{inner}.1"),
            (self.name, "eth0", f"{inner}.2"),
        ):
            run("ip", "-n", where, "addr", "add", f"{address}/24", "dev", device)
            run("ip", "-n", where, "link", "set", device, "up")
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        run("ip", "-n", self.name, "route", "add", "default", "via", f"{inner}.1")
        forward = [*self._in(self.router), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]
        if subprocess.run(forward, capture_output=True).returncode != 0:
            pytest.skip("this machine does not let a namespace forward packets (/proc/sys is read-only)")
        run(*self._in(self.router), "nft", "-f", "-", given=RULES.format(flags=flags))

    def _in(self, namespace: str) -> list[str]:
        return ["ip", "netns", "exec", namespace]

    @property
    def within(self) -> list[str]:
        return self._in(self.name)

    def down(self) -> None:
        listed = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True)
        for pid in listed.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)


@pytest.fixture
def behind() -> Iterator[Callable[[Net, int, str], Nat]]:
    made: list[Nat] = []

    def make(net: Net, router: int, flags: str) -> Nat:
        nat = Nat(net, router)
        made.append(nat)
        nat.up(flags)
        return nat

    yield make
    for nat in made:
        nat.down()


def until(true: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline_s, f"not in time: {what}"
        time.sleep(0.1)


@pytest.mark.parametrize("flags, direct", [("", True), ("fully-random", False)])
def test_hosts_behind_nats_reach_each_other(lan, host, behind, flags: str, direct: bool) -> None:
    """Through a relay at first, in place of which comes a direct connection where both NATs keep ports."""
    net = lan(3)
    relay = host("relay", net.within(0))
    relay.run("init", "--name", "lab")
    first = relay.up("--listen", LISTEN, "--no-mdns")["addrs"]
    boot = next(addr for addr in first if "/10.99.0.1/" in addr)
    hidden = []
    for router in (1, 2):
        one = host(f"behind{router}", behind(net, router, flags).within)
        one.run("init", "--genesis", str(relay.home / "genesis.json"))
        one.start("--listen", LISTEN, "--no-mdns", "--bootstrap", boot, "--log-level", "debug")
        hidden.append(one)
    for one in hidden:
        one.wait_ready()
    a, b = hidden

    def addrs(one, far) -> list[str]:
        peers = {peer["peer_id"]: peer["addrs"] for peer in one.ask("peers")["peers"]}
        return list(peers.get(far.ready["peer_id"], []))

    def reach(one) -> dict:
        return dict(one.ask("net")["reach"])

    until(lambda: all(reach(one)["nat"] == "private" for one in hidden), "AutoNAT sees the NATs")
    assert reach(relay)["nat"] == "public"
    until(lambda: all(reach(one)["relays"] == [relay.ready["peer_id"]] for one in hidden), "reservations")
    until(lambda: addrs(a, b) and addrs(b, a), "A and B are connected")
    if direct:

        def is_direct() -> bool:
            found = [*addrs(a, b), *addrs(b, a)]
            return bool(found) and not any("p2p-circuit" in addr for addr in found)

        until(is_direct, "a direct connection in place of the relayed one")
    else:
        until(lambda: sum(reach(one)["hole_punching"].get("relayed", 0) for one in hidden), "DCUtR gives up")
        assert all("p2p-circuit" in addr for addr in [*addrs(a, b), *addrs(b, a)])
        assert reach(relay)["serving"]["circuits"] == 1
    # What they are connected for works over it.
    for one in hidden:
        until(lambda host=one: host.ask("sync")["asked"] == 2, "requests to both others are answered")
    if direct:
        found = a.run("doctor", "net")
        reachability = next(check for check in found["checks"] if check["name"] == "reachability")
        assert reachability["ok"] and "relays" in reachability["message"]
