"""Tickets: what one says is what the other reads, and nothing that was changed is read."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.bootstrap import tickets
from swarmd.bootstrap.addresses import did_of_peer, peer_id_of, peer_of
from swarmd.protocol.cids import cid_text, dag_cbor_cid
from swarmd.protocol.didkey import public_key_of
from swarmd.protocol.faults import LocalFault

MESH = cid_text(dag_cbor_cid(b"a genesis"))
NOW_S = 1_800_000_000


def make(key, *, ttl_s: int = 60, psk: bytes | None = None, addrs: list[str] | None = None) -> str:
    own = f"/p2p/{peer_id_of(public_key_of(key.did))}"
    places = addrs or ["/ip4/192.0.2.7/tcp/4001", "/ip6/2001:db8::1/tcp/4001", "/dns4/mesh.example.org/tcp/1"]
    return tickets.issue(key.did, MESH, "lab", [a + own for a in places], NOW_S + ttl_s, key.sign, psk)


@pytest.mark.parametrize("psk", [None, bytes(range(32))])
def test_a_ticket_is_read_as_it_was_written(key, psk) -> None:
    one = key(1)
    text = make(one, psk=psk)
    ticket = tickets.parse_ticket(f"  {text[:40]}\n{text[40:]}\n", NOW_S)
    assert (ticket.inviter, ticket.mesh, ticket.name, ticket.psk) == (one.did, MESH, "lab", psk)
    assert [peer_of(addr) for addr in ticket.addrs] == [peer_id_of(public_key_of(one.did))] * 3
    assert ticket.addrs[0].startswith("/ip4/192.0.2.7/tcp/4001/p2p/")
    assert len(text) < 420, "it has to fit into a chat message"
    assert psk is None or psk.hex() not in repr(ticket)


def test_a_ticket_may_lead_through_a_relay_and_to_others(key) -> None:
    own, relay = (peer_id_of(public_key_of(key(n).did)) for n in (1, 2))
    addrs = [
        f"/ip4/192.0.2.9/tcp/4001/p2p/{relay}/p2p-circuit/p2p/{own}",
        f"/ip4/192.0.2.9/tcp/4001/p2p/{relay}",
    ]
    text = tickets.issue(key(1).did, MESH, "lab", addrs, NOW_S + 1, key(1).sign)
    assert list(tickets.parse_ticket(text, NOW_S).addrs) == addrs
    assert did_of_peer(relay) == key(2).did


def test_one_changed_character_makes_it_no_ticket(key) -> None:
    text = make(key(1))
    body = text.removeprefix(tickets.PREFIX)
    for at in range(0, len(body), 7):
        other = "2" if body[at] != "2" else "3"
        with pytest.raises(LocalFault) as caught:
            tickets.parse_ticket(tickets.PREFIX + body[:at] + other + body[at + 1 :], NOW_S)
        assert caught.value.code == "bad-ticket" and caught.value.fix
    for cut in (0, 1, len(body) // 2, len(body) - 1):
        with pytest.raises(LocalFault, match="bad-ticket"):
            tickets.parse_ticket(tickets.PREFIX + body[:cut], NOW_S)


def test_a_ticket_signed_by_another_than_its_inviter_is_none(key) -> None:
    addr = f"/ip4/192.0.2.7/tcp/1/p2p/{peer_id_of(public_key_of(key(1).did))}"
    text = tickets.issue(key(1).did, MESH, "lab", [addr], NOW_S + 60, key(2).sign)
    with pytest.raises(LocalFault, match="not signed by its inviter"):
        tickets.parse_ticket(text, NOW_S)


def test_an_old_ticket_says_so(key) -> None:
    text = make(key(1), ttl_s=60)
    assert tickets.parse_ticket(text, NOW_S + 59)
    with pytest.raises(LocalFault) as caught:
        tickets.parse_ticket(text, NOW_S + 61)
    assert caught.value.code == "ticket-expired" and "clock" in caught.value.fix


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda b: tickets.PREFIX + b.hex())))
def test_rubbish_is_refused_in_words(text: str) -> None:
    with pytest.raises(LocalFault, match="bad-ticket"):
        tickets.parse_ticket(text, NOW_S)
