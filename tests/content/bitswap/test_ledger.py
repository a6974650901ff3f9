"""Whose turn it is: equal shares for equals, more for who gave, less for who misbehaved, and nobody starves."""

from collections import Counter

import pytest
from swarmd.node.content.bitswap import ledger as ledger_module
from swarmd.node.content.bitswap.ledger import MAX_WANTS_PER_PEER, Ledgers
from swarmd.protocol.cids import raw_cid

BLOCK = 262_144


def cids(peer: str, count: int, start: int = 0) -> list[bytes]:
    return [raw_cid(f"{peer}{number}".encode()) for number in range(start, start + count)]


def want(ledgers: Ledgers, peer: str, count: int) -> None:
    for cid in cids(peer, count):
        assert ledgers.want(peer, cid)


def serve(ledgers: Ledgers, turns: int, size: int = BLOCK) -> Counter[str]:
    """So many turns of one block each; bytes by peer."""
    given: Counter[str] = Counter()
    for _ in range(turns):
        peer = ledgers.next()
        if peer is None:
            break
        ledgers.of(peer).ready.popitem(last=False)
        ledgers.sent(peer, 1, size)
        given[peer] += size
    return given


def test_equals_get_equal_shares_however_much_they_want():
    ledgers = Ledgers()
    want(ledgers, "greedy", 1_000)
    want(ledgers, "modest", 50)
    given = serve(ledgers, 80)
    assert given["greedy"] == given["modest"] == 40 * BLOCK


def test_who_gave_gets_more_and_who_misbehaved_less():
    ledgers = Ledgers(lambda peer: 0.25 if peer == "greylisted" else 1.0)
    for peer in ("giver", "taker", "greylisted"):
        want(ledgers, peer, 1_000)
    ledgers.received("giver", 1 << 40)
    given = serve(ledgers, 600)
    assert 3.8 < given["giver"] / given["taker"] < 4.2
    assert 3.8 < given["taker"] / given["greylisted"] < 4.2
    assert ledgers.of("giver").weight == 4.0 and ledgers.of("taker").weight == 1.0


def test_nobody_saves_up_turns_by_silence():
    ledgers = Ledgers()
    want(ledgers, "early", 500)
    serve(ledgers, 300)
    want(ledgers, "late", 500)
    given = serve(ledgers, 100)
    assert abs(given["early"] - given["late"]) <= 2 * BLOCK
    want(ledgers, "new", 10)
    assert serve(ledgers, 9)["new"] >= 2 * BLOCK, "a newcomer is served at once"


def test_one_message_at_a_time_to_a_peer():
    ledgers = Ledgers()
    want(ledgers, "a", 2)
    ledgers.of("a").busy = True
    assert ledgers.next() is None
    ledgers.of("a").busy = False
    assert ledgers.next() == "a"


def test_wants_are_bounded_and_forgotten():
    ledgers = Ledgers()
    want(ledgers, "a", MAX_WANTS_PER_PEER - 1)
    assert ledgers.wait("a", raw_cid(b"waits"), have_only=True)
    assert not ledgers.want("a", raw_cid(b"more")) and not ledgers.wait("a", raw_cid(b"m"), have_only=False)
    assert ledgers.of("a").refused == 2 and ledgers.of("a").wants == MAX_WANTS_PER_PEER
    assert ledgers.want("a", cids("a", 1)[0]), "it is wanted already"
    assert ledgers.cancel("a", cids("a", 1)[0]) and not ledgers.cancel("a", cids("a", 1)[0])
    assert ledgers.cancel("a", raw_cid(b"waits")) and not ledgers.cancel("nobody", raw_cid(b"x"))
    ledgers.sent("a", 3, 30)
    ledgers.leave("a")
    assert (ledgers.of("a").wants, ledgers.of("a").sent_bytes, ledgers.of("a").sent_blocks) == (0, 30, 3)


def test_a_want_of_the_block_outlasts_one_of_have():
    ledgers = Ledgers()
    cid = raw_cid(b"x")
    ledgers.wait("a", cid, have_only=True)
    assert ledgers.of("a").waiting[cid] is True
    ledgers.wait("a", cid, have_only=False)
    ledgers.wait("a", cid, have_only=True)
    assert ledgers.of("a").waiting[cid] is False
    ledgers.want("a", cid)
    assert not ledgers.of("a").waiting and list(ledgers.of("a").ready) == [cid]


def test_ledgers_of_idle_peers_make_way(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ledger_module, "MAX_LEDGERS", 10)
    ledgers = Ledgers()
    want(ledgers, "busy", 1)
    for number in range(50):
        ledgers.of(f"idle {number}")
    names = [peer for peer, _ in ledgers]
    assert len(names) == 10 and "busy" in names and "idle 49" in names
