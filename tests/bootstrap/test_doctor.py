"""swarmd doctor net: what is wrong is named, with what to do about it; the daemon may be up or down."""

import socket
import time
from collections.abc import Callable

import pytest

LOCAL = "/ip4/127.0.0.1/tcp/0"


def until(true: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline_s, "not in time"
        time.sleep(0.05)


def checks(found: dict) -> dict[str, dict]:
    return {check["name"]: check for check in found["checks"]}


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_doctor_names_each_dial_with_its_error_and_the_fix(host, closed_port: int) -> None:
    one, two, stranger, private = host("one"), host("two"), host("stranger"), host("private")
    one.run("init", "--name", "lab")
    two.run("init", "--genesis", str(one.home / "genesis.json"))
    stranger.run("init", "--name", "elsewhere")
    private.run("init", "--name", "closed", "--private")
    for each in (one, stranger, private):
        each.start("--listen", LOCAL, "--no-mdns")
    for each in (one, stranger, private):
        each.wait_ready()
    own, other, closed = (each.ready["addrs"][0] for each in (one, stranger, private))
    dead = f"/ip4/127.0.0.1/tcp/{closed_port}/p2p/{one.ready['peer_id']}"
    somebody = other.replace(stranger.ready["peer_id"], one.ready["peer_id"])
    words = {
        own: "",
        dead: "nothing listens there",
        other: "another mesh",
        somebody: "another node answers",
        closed: "no handshake",
        "/dns4/nowhere.invalid/tcp/1/p2p/" + one.ready["peer_id"]: "no address",
    }
    config = [f'listen = ["{LOCAL}"]', "mdns = false", f"peers = {list(words)}"]
    (two.home / "swarmd.toml").write_text("\n".join(config).replace("'", '"'))
    for daemon in ("down", "up"):
        if daemon == "up":
            two.up()
            until(lambda: bool(two.peers()))
        found = two.run("doctor", "net", code=1)
        assert found["daemon"] == daemon and not found["ok"]
        dials = {dial["addr"]: dial for dial in found["dials"]}
        assert dials[own]["ok"] and dials[own]["peer_id"] == one.ready["peer_id"]
        for addr, error in words.items():
            # Once connected, other addresses of that peer are not dialed.
            if error and not dials[addr]["ok"]:
                assert error in dials[addr]["error"] and dials[addr]["fix"], dials[addr]
        assert not dials[other]["ok"] and not dials[closed]["ok"]
        named = checks(found)
        assert named["listening"]["ok"] is False and "0.0.0.0" in named["listening"]["fix"]
        assert named["peers"]["ok"] and named["clock"]["ok"] and named["DHT"]["ok"]
        assert abs(found["clock_skew_s"][one.ready["peer_id"]]) < 5
        assert named["reachability"]["ok"] and found["reach"]["nat"] == "public"
    for each in (one, stranger, private):
        assert each.ask("version")


def test_the_doctor_says_why_there_are_no_peers(host) -> None:
    alone = host("alone")
    alone.run("init")
    config = [f'listen = ["{LOCAL}"]', "mdns = false", 'bootstrap = ["seeds.txt"]']
    (alone.home / "swarmd.toml").write_text("\n".join(config))
    found = alone.run("doctor", "net", code=1)
    named = checks(found)
    assert "told of no other" in named["peers"]["message"] and "ticket" in named["peers"]["fix"]
    assert named["bootstrap seeds.txt"]["ok"] is False and named["mDNS"]["message"] == "off"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config[0] = f'listen = ["/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}"]'
        (alone.home / "swarmd.toml").write_text("\n".join(config))
        assert checks(alone.run("doctor", "net", code=1))["listen"]["ok"] is False
