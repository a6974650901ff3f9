"""What bounds peers, part by part: rates, memory, lists, scores on disk, the pool."""

import sqlite3
from collections import Counter
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.rcmgr import Direction
from swarmd.node.transport.p2p.access import AccessList, parse_entry, parse_peer_id
from swarmd.node.transport.p2p.budget import Budget
from swarmd.node.transport.p2p.config import P2PLimits
from swarmd.node.transport.p2p.host import place_of
from swarmd.node.transport.p2p.peer_store import PEERS_FILE, PeerStore
from swarmd.node.transport.p2p.pool import Pool
from swarmd.node.transport.p2p.rates import Bucket, Meter
from swarmd.node.transport.p2p.scores import ScoreBook
from swarmd.protocol.didkey import did_of
from swarmd.protocol.faults import LocalFault

pytestmark = pytest.mark.property_id("P10")


def peer(number: int) -> ID:
    return ID.from_pubkey(create_new_key_pair(number.to_bytes(32, "big")).public_key)


# Rates -----------------------------------------------------------------------------------------------------


def test_a_bucket_lets_a_burst_through_then_the_rate():
    now_s = [0.0]
    bucket = Bucket(10, 5, clock=lambda: now_s[0])
    assert [bucket.take() for _ in range(7)] == pytest.approx([0, 0, 0, 0, 0, 0.1, 0.2])
    assert not bucket.try_take() and bucket.heavy()
    now_s[0] = 1.0
    assert bucket.full() and bucket.try_take(5) and not bucket.try_take()


async def test_who_exceeds_the_rate_waits_and_nothing_is_dropped(autojump_clock):
    counters: Counter[str] = Counter()
    meter = Meter("frames", (10, 10), (1_000, 1_000), counters)
    began_s = trio.current_time()
    for _ in range(60):
        await meter.take("a")
    assert trio.current_time() - began_s == pytest.approx(5.0)
    assert counters == {"throttled-frames": 50}
    assert await meter.take("b") == 0.0, "others do not wait"


async def test_over_the_limit_of_all_only_heavy_users_wait(autojump_clock):
    meter = Meter("frames", (100, 100), (10, 60), Counter())
    for _ in range(59):
        assert await meter.take("flood") == 0.0
    assert await meter.take("flood", 3) > 0
    assert await meter.take("quiet") == 0.0


async def test_greylisted_peers_have_a_quarter_of_the_rate(autojump_clock):
    meter = Meter(
        "frames", (10, 1), (1_000, 1_000), Counter(), lambda peer_id: 0.25 if peer_id == "grey" else 1.0
    )
    assert [await meter.take("good") for _ in range(2)] == pytest.approx([0, 0.1])
    assert [await meter.take("grey") for _ in range(2)] == pytest.approx([0, 0.4])


# Memory ----------------------------------------------------------------------------------------------------


async def test_who_holds_most_is_shed_and_reading_pauses_until_there_is_room(autojump_clock):
    shed: list[ID] = []
    budget = Budget(100, shed.append)
    a, b = peer(1), peer(2)
    budget.hold(a, 40)
    budget.hold(b, 59)
    assert not shed and not budget.full
    budget.hold(a, 2)
    budget.hold(a, 1)
    assert shed == [b] and budget.full and budget.peak_bytes == 102
    async with trio.open_nursery() as nursery:
        nursery.start_soon(budget.room)
        await trio.testing.wait_all_tasks_blocked()
        budget.hold(b, -59)
    assert budget.total_bytes == 43 and budget.of(b) == 0 and shed == [b]
    # One that does not let go when told must not stop everybody: the next one is told.
    budget.hold(a, 100)
    began_s = trio.current_time()
    budget.hold(b, 30)
    await budget.room()
    assert trio.current_time() - began_s <= 1.1
    await trio.sleep(1)
    await budget.room()
    assert shed == [b, a, b]


# Lists -----------------------------------------------------------------------------------------------------


def test_a_peer_has_one_spelling():
    did = did_of(create_new_key_pair(bytes(32)).public_key.to_bytes())
    assert parse_peer_id(did) == parse_entry(did) == str(peer(0)) == parse_peer_id(str(peer(0)))
    assert parse_entry("192.0.2.7/24") == "192.0.2.0/24" and parse_entry("2001:DB8::1") == "2001:db8::1/128"
    for bad in (
        "",
        "x",
        "10.0.0.0/33",
        "300.1.1.1",
        "did:key:zzz",
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
    ):
        with pytest.raises(LocalFault, match="bad-peer-id"):
            parse_entry(bad)


def test_a_peers_own_entry_goes_before_its_networks_and_the_narrower_network_holds():
    one, other = str(peer(1)), str(peer(2))
    lists = AccessList(["10.0.0.0/8"], ["10.1.0.0/16"])
    assert lists.verdict(one, "10.1.2.3") == "deny" and lists.verdict(one, "10.2.2.3") == "allow"
    assert lists.verdict(one, "::ffff:10.1.2.3") == "deny" and lists.verdict(one, "192.0.2.1") is None
    assert lists.ip_denied("10.1.2.3") and not lists.ip_denied("10.2.2.3")
    lists.set(one, "allow")
    assert lists.verdict(one, "10.1.2.3") == "allow" and lists.verdict(other, "10.1.2.3") == "deny"
    assert not lists.ip_denied("10.1.2.3"), "the allowed one may be there"
    with pytest.raises(LocalFault, match="in-config"):
        lists.set("10.1.0.0/16", None)
    lists.set(one, None)
    assert [row["origin"] for row in lists.rows()] == ["config", "config"]


def test_places():
    assert place_of("2001:db8:1:2:3::4") == "2001:db8:1:2::/64"
    assert place_of("::ffff:192.0.2.1") == place_of("192.0.2.1") == "192.0.2.1"
    assert place_of("fe80::1%eth0") == "fe80::/64" and place_of("nonsense") == "nonsense"


# Scores ----------------------------------------------------------------------------------------------------


def test_slow_and_missing_answers_lower_the_score_but_never_deny():
    book = ScoreBook(P2PLimits())
    for _ in range(200):
        assert book.trust("p") == 1.0
        book.observe("p", True, 2_500.0)
        book.observe("q", False)
        book.observe("r", True, 3.0)
    assert 0.75 < book.score("p") < 0.85 and 0.55 < book.score("q") < 0.65 and book.score("r") == 1.0
    assert {book.state(name) for name in "pqr"} == {"good"} and book.known() == []


def test_good_conduct_shortens_the_next_denial():
    now_s = [1_000.0]
    book = ScoreBook(P2PLimits(deny_min_s=60, denial_forgotten_s=1_000), clock=lambda: now_s[0])
    for expected_s in (60, 120, 240):
        while not book.charge("p", "bad-protobuf"):
            pass
        assert book.denied_for_s("p") == expected_s
        now_s[0] += expected_s
    now_s[0] += 2_500  # forgets two of three
    while not book.charge("p", "bad-protobuf"):
        pass
    assert book.denied_for_s("p") == 120
    assert book.forgive("p") and not book.forgive("p") and book.score("p") == 1.0


def test_standings_and_lists_outlive_the_process(tmp_path):
    store = PeerStore(tmp_path / PEERS_FILE)
    book = ScoreBook(P2PLimits())
    for name in ("bad", "worse"):
        book.charge(name, "bad-protobuf")
    book.deny("worse", 3_600, "operator")
    book.observe("fine", True, 3.0)
    changed, dropped = book.take_changes()
    assert {record.peer_id for record in changed} == {"bad", "worse"} and dropped == ["fine"]
    assert store.save(changed, dropped) and book.take_changes() == ([], [])
    store.set_access("10.0.0.0/8", "deny")
    store.set_access("x", "allow")
    store.set_access("x", None)
    store.close()

    again = PeerStore(tmp_path / PEERS_FILE)
    records, lists = again.load()
    later = ScoreBook(P2PLimits())
    later.restore(records)
    assert lists == {"10.0.0.0/8": "deny"}
    assert later.score("bad") == pytest.approx(book.score("bad"), abs=0.01)
    assert later.faults("bad") == {"bad-protobuf": 1}
    standing = later.standing("worse")
    assert (standing.state, standing.reason) == (
        "denied",
        "operator",
    ) and 3_500 < standing.denied_for_s <= 3_600
    later.forgive("worse")
    assert again.save(*later.take_changes()) and [r.peer_id for r in again.load()[0]] == ["bad"]
    again.close()


def test_a_disk_that_takes_no_writes_costs_no_score(tmp_path):
    store = PeerStore(tmp_path / PEERS_FILE)
    book = ScoreBook(P2PLimits())
    book.charge("p", "bad-protobuf")
    changed, dropped = book.take_changes()
    other = sqlite3.connect(tmp_path / PEERS_FILE, isolation_level=None)
    other.execute("begin exclusive")
    store._db.execute("pragma busy_timeout = 0")
    assert not store.save(changed, dropped)
    with pytest.raises(LocalFault, match="nothing was changed"):
        store.set_access("10.0.0.0/8", "deny")
    book.put_back(changed, dropped)
    other.execute("rollback")
    other.close()
    assert store.save(*book.take_changes())
    assert [record.peer_id for record in store.load()[0]] == ["p"] and store.load()[1] == {}
    store.close()


# The pool --------------------------------------------------------------------------------------------------


@dataclass
class Conn:
    """What the pool looks at of a connection."""

    peer_id: ID
    ip: str
    direction: Direction = Direction.INBOUND
    is_closed: bool = False

    @property
    def muxed_conn(self):
        return self

    def get_remote_address(self):
        return (self.ip, 4_001)


@dataclass
class House:
    """Connections as a session has them."""

    conns: list[Conn] = field(default_factory=list)
    useless: set[ID] = field(default_factory=set)
    cut: list[str] = field(default_factory=list)

    def all(self):
        return self.conns

    def useful(self, peer_id):
        return peer_id not in self.useless

    def age_s(self, peer_id):
        return 1_000.0

    def up(self):
        return [conn.peer_id for conn in self.conns if conn.peer_id not in self.useless]

    def cut_off(self, peer_id, why):
        self.cut.append(peer_id)


LIMITS = P2PLimits(
    max_connections=8, outbound_part=0.25, max_connections_per_ip=3, target_peers=2, rotate_interval_s=10
)


def make_pool(
    house: House, *, spare: bool = True, keep: frozenset[ID] = frozenset(), access: AccessList | None = None
):
    scores = ScoreBook(LIMITS)
    return Pool(LIMITS, scores, access or AccessList(), lambda: spare, keep, house), scores


async def test_strangers_cannot_take_the_slots_of_our_own_dials():
    house = House([Conn(peer(i), f"10.0.{i}.1") for i in range(6)])
    pool, _ = make_pool(house)
    assert pool.admits(peer(50), "10.9.9.9", inbound=True) == "refused-pool-full" and house.cut == []
    assert pool.admits(peer(50), "10.9.9.9", inbound=False) is None
    assert pool.admits(peer(0), "10.0.0.1", inbound=True) is None, "another connection of one we have"


async def test_one_place_has_only_so_many():
    house = House([Conn(peer(i), f"2001:db8::{i}") for i in range(3)])
    pool, _ = make_pool(house)
    assert pool.admits(peer(50), "2001:db8::99", inbound=True) == "refused-connections-of-ip"
    assert pool.admits(peer(50), "2001:db8:0:1::99", inbound=True) is None


async def test_when_full_the_useless_and_the_greylisted_make_way():
    house = House([Conn(peer(i), f"10.0.{i}.1") for i in range(6)])
    pool, scores = make_pool(house)
    scores.charge(str(peer(3)), "bad-protobuf")  # greylisted: 0.5
    assert pool.admits(peer(50), "10.9.9.9", inbound=True) is None and house.cut == [str(peer(3))]
    house.useless.add(peer(4))
    assert pool.admits(peer(51), "10.9.9.9", inbound=True) is None and house.cut[1:] == [str(peer(4))]


async def test_whom_the_operator_wants_always_gets_in():
    wanted, allowed = peer(60), peer(61)
    house = House([Conn(peer(i), f"10.0.{i}.1") for i in range(8)])
    access = AccessList([str(allowed)], ["10.66.0.0/16"])
    pool, scores = make_pool(house, keep=frozenset({wanted}), access=access)
    for name in (wanted, allowed):
        house.cut.clear()
        assert pool.admits(name, "10.9.9.9", inbound=True) is None and len(house.cut) == 1
    while not scores.charge(str(allowed), "bad-protobuf"):
        pass
    assert pool.admits(allowed, "10.66.1.1", inbound=True) is None
    assert pool.admits(peer(62), "10.66.1.1", inbound=True) == "refused-denied"
    assert (
        pool.knocks("10.66.1.1") is None
        and make_pool(House(), access=AccessList(deny=["10.66.0.0/16"]))[0].knocks("10.66.1.1")
        == "refused-denied-ip"
    )


async def test_a_banned_peer_is_refused_until_it_has_served_its_time():
    pool, scores = make_pool(House())
    scores.deny(str(peer(1)), 60, "operator")
    assert pool.admits(peer(1), None, inbound=True) == "refused-banned"
    scores.forgive(str(peer(1)))
    assert pool.admits(peer(1), None, inbound=True) is None
    assert pool.admits(ID(b"\x12\x20" + bytes(32)), None, inbound=True) == "refused-key-type"


async def test_the_worst_peer_is_exchanged_when_there_is_another(autojump_clock, nursery):
    house = House([Conn(peer(i), f"10.0.{i}.1") for i in range(2)])
    pool, scores = make_pool(house, spare=False)
    for _ in range(100):
        scores.observe(str(peer(1)), False)  # answers nothing: 0.6
    scores.charge(str(peer(1)), "odd")
    assert scores.score(str(peer(1))) < LIMITS.rotate_below < scores.score(str(peer(0)))
    nursery.start_soon(pool.tend)
    await trio.sleep(60)
    assert house.cut == [], "nobody to take its place"
    house.conns.append(Conn(peer(2), "10.0.2.1"))  # more than we want
    await trio.sleep(15)
    assert house.cut[0] == str(peer(1)) and pool.rests(peer(1)) and not pool.rests(peer(0))
    del house.conns[1]
    await trio.sleep(60)
    assert set(house.cut) == {str(peer(1))} and not pool.rests(peer(1))
