"""swarmd invite and swarmd join, with real daemons: two homes become one mesh by one line of text."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from swarmd.bootstrap.swarmkey import KEY_FILE, load_psk, new_psk, write_psk
from swarmd.bootstrap.tickets import parse_ticket
from swarmd.node.joining import check_genesis, genesis_answer
from swarmd.node.setup import found_mesh
from swarmd.protocol.faults import LocalFault

LOCAL = "/ip4/127.0.0.1/tcp/0"


def until(true: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline_s, "not in time"
        time.sleep(0.05)


@pytest.mark.parametrize("private", [False, True])
def test_a_ticket_makes_two_hosts_one_mesh_that_finds_itself_again(host, private: bool) -> None:
    one, other = host("one"), host("other")
    made = one.run("init", "--name", "lab", *(["--private"] if private else []))
    one.up("--listen", LOCAL, "--no-mdns")
    invited = one.run("invite")
    assert invited["private"] is private and invited["loopback_only"]
    ticket = other.home.with_suffix(".ticket")
    ticket.write_text(invited["ticket"])
    joined = other.run("join", f"@{ticket}", "--listen", LOCAL)
    assert joined["mesh"] == made["mesh"] and joined["private"] is private
    assert (one.home / "genesis.json").read_text() == (other.home / "genesis.json").read_text()
    for name in ("node.key", "peers.json", *([KEY_FILE] if private else [])):
        assert (other.home / name).stat().st_mode & 0o077 == 0
    other.up("--no-mdns")
    until(lambda: one.ready["peer_id"] in other.peers() and other.ready["peer_id"] in one.peers())
    if not private:
        return
    # The inviter comes back elsewhere and knows the other only from its book of peers.
    one.stop()
    one.up("--listen", LOCAL, "--no-mdns")
    until(lambda: other.ready["peer_id"] in one.peers())


def test_a_join_that_fails_leaves_nothing_behind(host, tmp_path: Path) -> None:
    one, other = host("one"), host("other")
    one.run("init", "--name", "lab")
    one.up("--listen", LOCAL, "--no-mdns")
    ticket = one.run("invite")["ticket"]
    one.stop()
    error = other.run("join", ticket, code=4)["error"]
    assert error["code"] == "inviter-unreachable" and "--genesis" in error["fix"]
    assert not other.home.exists()
    # Another genesis than that of the ticket is refused, the right one is taken from a file too.
    third = host("third")
    third.run("init", "--name", "elsewhere")
    error = other.run("join", ticket, "--genesis", str(third.home / "genesis.json"), code=4)["error"]
    assert error["code"] == "other-genesis" and not other.home.exists()
    other.run("join", ticket, "--genesis", str(one.home / "genesis.json"))
    assert other.run("join", ticket, code=4)["error"]["code"] == "home-exists"
    assert other.run("join", ticket + "2", code=4)["error"]["code"] == "bad-ticket"


def test_a_half_made_home_can_join_again(host) -> None:
    one, other = host("one"), host("other")
    one.run("init", "--name", "lab", "--private")
    one.up("--listen", LOCAL, "--no-mdns")
    ticket = one.run("invite")["ticket"]
    did = other.run("init", "--key-only")["did"]
    write_psk(other.home, new_psk())
    assert other.run("join", ticket)["did"] == did
    assert load_psk(other.home) == load_psk(one.home)


def test_addresses_of_a_ticket_are_the_operators_if_he_names_them(host) -> None:
    one = host("one")
    one.run("init")
    one.up("--listen", LOCAL, "--no-mdns")
    found = one.run("invite", "--addr", "/dns4/mesh.example.org/tcp/4001", "--ttl", "1")
    peer_id = one.ready["peer_id"]
    assert found["addrs"] == [f"/dns4/mesh.example.org/tcp/4001/p2p/{peer_id}"]
    ticket = parse_ticket(found["ticket"], time.time())
    assert list(ticket.addrs) == found["addrs"]
    assert 3_500 < ticket.expires_s - time.time() <= 3_600
    for bad in ("/ip4/1.2.3.4/udp/1", "nonsense", f"/ip4/1.2.3.4/tcp/1/p2p/{peer_id[:-1]}1"):
        assert one.run("invite", "--addr", bad, code=4)["error"]["code"] == "bad-address"


def test_a_genesis_is_what_its_hash_says(key) -> None:
    genesis = found_mesh("lab", [key(1).did], {key(1).did: 5})
    raw = genesis_answer(genesis)
    assert check_genesis(raw, genesis.mesh_name) == genesis
    with pytest.raises(LocalFault, match="other-genesis"):
        check_genesis(raw + b"\0", genesis.mesh_name)


def test_a_broken_book_costs_nothing(host) -> None:
    one = host("one")
    one.run("init")
    (one.home / "peers.json").write_text('{"peers": [{"source": "list"}')
    one.up("--listen", LOCAL, "--no-mdns")
    one.stop()
    assert (one.home / "peers.bad").exists() and "cannot be read" in one.log()


def test_a_list_that_a_verifier_signed_leads_to_the_mesh(host) -> None:
    one, two = host("one"), host("two")
    one.run("init", "--name", "lab")
    two.run("init", "--genesis", str(one.home / "genesis.json"))
    addr = one.up("--listen", LOCAL, "--no-mdns")["addrs"][0]
    assert two.run("seeds", "sign", addr, code=4)["error"]["code"] == "not-a-verifier"
    seeds = two.home / "seeds.json"
    seeds.write_text(json.dumps(one.run("seeds", "sign", addr)))
    assert two.run("seeds", "check", str(seeds)) == {"addrs": [addr]}
    two.up("--listen", LOCAL, "--no-mdns", "--bootstrap", "seeds.json")
    until(lambda: one.ready["peer_id"] in two.peers())
    assert two.ask("net")["lists"] == {"seeds.json": ""}
    seeds.write_text(seeds.read_text().replace("127.0.0.1", "127.0.0.2"))
    assert two.run("seeds", "check", str(seeds), code=4)["error"]["code"] == "bad-list"
