"""Escrows in the engine: commands, envelopes in any order, the ledger, checkpoints that close, fees, stakes, reputation."""

import random

import pytest
from swarmd.protocol import dumping
from swarmd.protocol.checkpoint.packing import pack
from swarmd.protocol.checkpoint.snapshot import Packed
from swarmd.protocol.checkpoint.unpacking import unpack
from swarmd.protocol.cids import raw_cid
from swarmd.protocol.digest import mesh_digest, state_digest
from swarmd.protocol.effects import Report
from swarmd.protocol.engine import step
from swarmd.protocol.envelope import build
from swarmd.protocol.escrow.fees import FEES
from swarmd.protocol.escrow.ids import escrow_thread
from swarmd.protocol.escrow.money import money_of
from swarmd.protocol.escrow.record import Fixed
from swarmd.protocol.escrow.taking import MAX_SAID_BY_STRANGER
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.inputs import Admitted, Authored, Commanded
from swarmd.protocol.state import State

USDC = 1_000_000
BALANCE = 10 * USDC
NAMES = ("ann", "bob", "cee", "dan", "eve")


@pytest.fixture
def house(rooms):
    return lambda names=NAMES, **params: House(*rooms(names, verifiers=["ann", "bob", "cee"], **params))


class House:
    """A mesh of engines, its checkpoints, and one escrow."""

    def __init__(self, mesh, room):
        self.mesh, self.room = mesh, room
        self.thread = ""

    def did(self, name):
        return self.mesh.nodes[name].did

    def terms(self, **change):
        return {
            "title": "a translation",
            "spec": "",
            "amount": 4 * USDC,
            "milestones": [{"name": "all", "amount": 4 * USDC}],
            "deadline_s": 3_600,
            "review_s": 600,
            "scorers": [],
            "score_quorum": 0,
            "panel": [self.did(name) for name in ("cee", "dan", "eve")],
            "quorum": 2,
            "panel_s": 600,
            "undecided_bp": 5_000,
            "after": [],
            "seller": self.did("bob"),
            **change,
        }

    def do(self, who, op, **args):
        if op != "create":
            args = {"escrow": self.thread, **args}
        node = self.mesh.nodes[who]
        self.mesh.feed(node, Commanded(f"escrow.{op}", args, self.mesh.now_ns))
        if op == "create":
            self.thread = node.said[-1].thread
        self.room.settle()
        return node.said[-1]

    def refused(self, who, op, code="escrow-refused", **args):
        before = state_digest(self.mesh.nodes[who].state)
        with pytest.raises(LocalFault) as caught:
            self.do(who, op, **args)
        assert caught.value.code == code
        assert state_digest(self.mesh.nodes[who].state) == before
        return caught.value.message

    def create(self, who="ann", key="", **change):
        return self.do(who, "create", terms=self.terms(**change), expires_s=600, key=key)

    def funded(self, **change):
        self.create(**change)
        self.do("bob", "accept", offer=b"")
        return self.do("ann", "fund", seller="")

    def submit(self, milestone=""):
        return self.do("bob", "submit", milestone=milestone, deliverable=raw_cid(b"French"), note="")

    def state(self, who="ann"):
        return self.mesh.nodes[who].state

    def deal(self, who="ann"):
        return self.state(who).escrows.records[self.thread].deal

    def ended(self, who="ann"):
        return self.state(who).escrows.ended[self.thread]

    def money(self, name, who="cee"):
        account = self.state(who).ledger.account(self.did(name))
        return account.available, account.locked

    def agree(self):
        alive = [node for node in self.mesh.nodes.values() if node.alive]
        assert len({mesh_digest(node.state) for node in alive}) == 1
        for node in alive:
            node.state.ledger.check_all()


@pytest.mark.property_id("P9")
def test_from_offer_to_release_and_the_checkpoint_that_settles_it(house):
    h = house()
    h.create()
    h.do("bob", "accept", offer=b"")
    assert h.money("ann") == (BALANCE, 0)
    h.do("ann", "fund", seller="")
    assert (h.deal("eve").state, h.money("ann")) == ("funded", (6 * USDC, 4 * USDC))
    h.submit()
    h.do("ann", "release", milestones=[])
    h.agree()
    # At once, but for the fee: that waits for the checkpoint, which knows what the seller's stake takes off it.
    assert h.deal("eve").state == "released"
    assert (h.money("bob"), h.money("ann")) == ((BALANCE + 3_980_000, 0), (6 * USDC, 20_000))
    h.room.end_epoch()
    h.agree()
    assert h.thread not in h.state().escrows.records
    ended = h.ended("dan")
    assert (ended.outcome, ended.paid, ended.fee, ended.returned) == ("released", 3_980_000, 20_000, 0)
    assert (h.money("ann"), h.money("bob")) == ((6 * USDC, 0), (BALANCE + 3_980_000, 0))
    assert h.state().ledger.account(FEES).available == 20_000
    assert h.state().escrows.standings == {h.did("ann"): (1, 0), h.did("bob"): (1, 0)}
    assert not h.state().escrows.purses


def test_what_is_wrong_is_refused_with_the_reason_and_changes_nothing(house):
    h = house()
    assert h.refused("ann", "accept", "unknown-escrow", offer=b"") == "no escrow  here"
    h.create()
    assert h.refused("eve", "accept", "no-offer", offer=b"")
    assert h.refused("ann", "fund", "no-acceptance", seller="")
    h.do("bob", "accept", offer=b"")
    assert "accepted before" in h.refused("bob", "accept", offer=b"")
    assert "takes no submit" in h.refused("bob", "submit", milestone="", deliverable=raw_cid(b"x"), note="")
    h.do("ann", "fund", seller="")
    assert "takes no fund" in h.refused("ann", "fund", seller="")
    assert "not the buyer" in h.refused("bob", "release", milestones=[])
    h.do("ann", "release", milestones=[])
    assert "takes no release" in h.refused("ann", "release", milestones=[])
    assert "takes no refund" in h.refused("bob", "refund", reason="")
    assert h.money("bob")[0] == BALANCE + 3_980_000
    h.room.end_epoch()
    h.refused("ann", "release", "escrow-ended", milestones=[])
    h.agree()


@pytest.mark.parametrize(
    ("amount", "code"),
    [(BALANCE + 1, "insufficient-funds"), (-1, "bad-args"), (0.5, "bad-args"), (1 << 63, "bad-args")],
)
def test_amounts_that_nobody_has(house, amount, code):
    h = house()
    terms = {"amount": amount, "milestones": [{"name": "all", "amount": amount}]}
    if code == "bad-args":
        with pytest.raises(LocalFault) as caught:
            h.create(**terms)
        assert caught.value.code == code
        return
    h.create(**terms)
    h.do("bob", "accept", offer=b"")
    h.refused("ann", "fund", code, seller="")
    assert h.money("ann") == (BALANCE, 0)


def test_a_key_makes_one_escrow(house):
    h = house()
    h.create(key="order 7")
    assert h.refused("ann", "create", "escrow-exists", terms=h.terms(), expires_s=600, key="order 7")
    first = h.thread
    h.create(key="order 8")
    assert h.thread != first


def test_a_dispute_that_a_panel_splits(house):
    h = house()
    h.funded()
    h.submit()
    h.do("ann", "dispute", reason="half is missing", evidence=[raw_cid(b"a scan")])
    assert "not a member" in h.refused("bob", "resolve", seller_bp=10_000, reason="")
    h.do("cee", "resolve", seller_bp=7_500, reason="")
    h.do("dan", "resolve", seller_bp=7_500, reason="")
    assert h.deal("eve").state == "resolved"
    assert (h.money("bob"), h.money("ann")) == ((BALANCE + 2_985_000, 0), (7 * USDC, 15_000))
    h.room.end_epoch()
    h.agree()
    assert (h.ended().paid, h.ended().returned, h.ended().fee) == (2_985_000, USDC, 15_000)
    assert h.state().escrows.standings == {h.did("ann"): (0, 1)}
    account = h.state().ledger.account(h.did("ann"))
    assert (account.available, account.spent, account.earned) == (7 * USDC, 3 * USDC, 0)


def test_time_passes_by_checkpoints_alone(house):
    h = house()
    h.funded(review_s=60)
    h.submit()
    h.mesh.tick(500)
    h.room.settle()
    assert h.deal().state == "submitted"
    for _ in range(3):
        if h.thread in h.state().escrows.records:
            h.room.end_epoch()
            h.agree()
    assert (h.ended().outcome, h.ended().paid) == ("released", 3_980_000)


def test_what_is_not_delivered_returns_and_what_was_never_funded_ends(house):
    h = house()
    h.funded(deadline_s=120)
    late, h.thread = h.thread, ""
    h.create()
    offered = h.thread
    for _ in range(12):
        h.room.end_epoch()
    h.agree()
    ended = h.state("dan").escrows.ended
    assert (ended[late].outcome, ended[late].returned, ended[late].fee) == ("expired", 4 * USDC, 0)
    assert (ended[offered].outcome, ended[offered].amount) == ("expired", 4 * USDC)
    assert h.money("ann") == (BALANCE, 0)
    assert h.state().escrows.standings == {h.did("bob"): (0, 1)}


def test_a_stake_takes_its_part_off_the_fee_at_the_checkpoint(rooms):
    mesh, room = rooms(
        NAMES, verifiers=["ann", "bob", "cee"], verifier_stake=100 * USDC, balance=1_000 * USDC
    )
    h = House(mesh, room)
    mesh.feed(mesh.nodes["bob"], Commanded("verifier.join", {"amount": 100 * USDC}, mesh.now_ns))
    room.settle()
    h.funded()
    h.submit()
    h.do("ann", "release", milestones=[])
    assert h.money("bob")[0] == 903_980_000
    room.end_epoch()
    h.agree()
    assert (h.ended().paid, h.ended().fee, h.ended().discount) == (3_990_000, 10_000, 10_000)
    assert (h.money("bob")[0], h.state().ledger.account(FEES).available) == (903_990_000, 10_000)


@pytest.mark.property_id("P2")
@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_delivery_comes_to_one_state(house, seed):
    h = house()
    dice = random.Random(seed)
    h.funded(
        milestones=[{"name": "a", "amount": USDC}, {"name": "b", "amount": 3 * USDC}],
        scorers=[h.did("eve")],
        score_quorum=1,
        panel=[h.did("cee")],
        quorum=1,
    )
    h.submit("a")
    h.do("eve", "score", milestone="a", score=90, reason="")
    # All at once, nobody hearing the others.
    for who, op, args in (
        ("ann", "release", {"milestones": ["b"]}),
        ("bob", "refund", {"reason": ""}),
        ("bob", "submit", {"milestone": "b", "deliverable": raw_cid(b"b"), "note": ""}),
        ("ann", "dispute", {"reason": "no", "evidence": []}),
    ):
        if dice.random() < 0.75:
            node = h.mesh.nodes[who]
            try:
                h.mesh.feed(node, Commanded("escrow." + op, {"escrow": h.thread, **args}, h.mesh.now_ns))
            except LocalFault:
                assert who == "ann" or op == "submit"  # it had given up, or released, itself
    h.room.settle()
    h.agree()
    said = [e for node in h.mesh.nodes.values() for e in node.said if e.kind == "ESCROW"]
    for _ in range(4):
        dice.shuffle(said)
        fresh = State(h.mesh.genesis, h.did("dan"), check_everything=True)
        for envelope in said:
            step(fresh, Admitted((envelope,), {}, h.mesh.now_ns))
            fresh.ledger.check_all()
        assert mesh_digest(fresh) == mesh_digest(h.state("dan"))
        found = fresh.escrows.records[h.thread].deal
        assert (found.state, found.void) == (h.deal("dan").state, h.deal("dan").void)
    h.room.end_epoch()
    h.agree()


def test_a_snapshot_is_the_same_after_packing_and_a_newcomer_goes_on_from_it(house):
    h = house()
    h.funded(milestones=[{"name": "a", "amount": USDC}, {"name": "b", "amount": 3 * USDC}])
    h.submit("a")
    h.do("ann", "release", milestones=["a"])
    h.room.end_epoch()
    snapshot = h.room.snapshots[h.room.adopted["ann"]]
    assert h.thread in snapshot.escrows.open
    packed = pack(snapshot)
    again = unpack(Packed(packed.head, packed.parts))
    assert pack(again) == packed and again.escrows == snapshot.escrows
    # What a node had before and what a newcomer takes from the snapshot go on alike.
    h.do("ann", "release", milestones=["b"])
    h.agree()
    h.room.end_epoch()
    h.agree()
    assert h.ended().paid == 3_980_000


def test_a_snapshot_with_a_forged_escrow_is_refused(house):
    h = house()
    h.funded()
    h.room.end_epoch()
    snapshot = h.room.snapshots[h.room.adopted["ann"]]
    steps = snapshot.escrows.open[h.thread].steps
    for forged in (steps[1:], (*steps, steps[0])):
        snapshot.escrows.open[h.thread] = Fixed(forged)
        with pytest.raises(RemoteFault) as caught:
            unpack(pack(snapshot))
        assert caught.value.code == "bad-snapshot"


@pytest.mark.property_id("P2")
def test_a_dump_and_its_load_are_one_state(house):
    h = house()
    h.funded()
    h.submit()
    h.room.end_epoch()
    h.do("ann", "dispute", reason="half", evidence=[])
    for name in NAMES:
        state = h.state(name)
        loaded = dumping.load(h.mesh.genesis, state.me, dumping.dump(state), check_everything=True)
        assert state_digest(loaded) == state_digest(state)
        deal = loaded.escrows.records[h.thread].deal
        assert (deal.state, deal.steps) == (h.deal(name).state, h.deal(name).steps)


# What nobody honest says -----------------------------------------------------------------------------------


def say(h, author, payload, thread, refs=(), lamport=None):
    envelope = author.envelope(
        "ESCROW",
        payload,
        thread=thread,
        refs=tuple(refs),
        ts_ns=h.mesh.now_ns,
        lamport=lamport or 10_000 + author.lamport,
    )
    reports = []
    for node in h.mesh.nodes.values():
        out = step(node.state, Admitted((envelope,), {}, h.mesh.now_ns))
        reports += [effect.code for effect in out if isinstance(effect, Report)]
    return envelope, set(reports)


@pytest.mark.property_id("P10")
def test_strangers_and_nonsense_are_charged_and_leave_no_trace(house, author_of):
    h = house()
    h.funded()
    gus = author_of("gus")
    before = mesh_digest(h.state())
    created = next(e for e in h.mesh.nodes["ann"].said if e.payload.get("op") == "create")
    body = created.payload
    assert say(h, gus, body, h.thread)[1] == set()  # in the thread, as a word that is void
    elsewhere = escrow_thread(h.did("ann"), b"x" * 16)
    assert say(h, gus, {**body, "nonce": b"x" * 16}, elsewhere)[1] == {"misplaced-escrow"}
    mine = escrow_thread(gus.did, bytes(16))
    bad = {**body, "nonce": bytes(16), "terms": {**body["terms"], "amount": 1}}
    assert say(h, gus, bad, mine)[1] == {"void-escrow"}
    heartbeat = gus.envelope("POOL", {"op": "heartbeat"}, thread=h.thread, ts_ns=h.mesh.now_ns, lamport=9_999)
    out = step(h.state(), Admitted((heartbeat,), {}, h.mesh.now_ns))
    assert [effect.code for effect in out if isinstance(effect, Report)] == ["void-pool"]
    assert mine not in h.state().escrows.records
    assert before != mesh_digest(h.state())  # the void word is on record
    fund = h.deal().fund
    for _ in range(MAX_SAID_BY_STRANGER - 1):
        assert say(h, gus, {"op": "release", "milestones": []}, h.thread, [fund])[1] == set()
    assert say(h, gus, {"op": "release", "milestones": []}, h.thread, [fund])[1] == {"escrow-flood"}
    assert h.deal().state == "funded"
    h.agree()


@pytest.mark.property_id("P9")
def test_a_fund_that_no_escrow_claims_is_locked_and_returned_by_the_checkpoint(house):
    h = house()
    h.create()
    ann = h.mesh.nodes["ann"]
    accepted = h.do("bob", "accept", offer=b"")
    state = ann.state
    wrong = {"op": "fund", "amount": USDC, "fund": {"seq": state.own_seq, "prev": state.own_head}}
    out = []
    state.draft(out, h.thread, "ESCROW", wrong, (accepted.id,))
    [draft] = out
    said = build(
        kind=draft.kind, thread=draft.thread, sender=ann.did, lamport=draft.lamport, ts_ns=draft.ts_ns, epoch=draft.epoch,
        payload=dict(draft.payload), refs=draft.refs, policy=bytes(32), eval_digest=bytes(32), trace=draft.trace,
    )  # fmt: skip
    ann.said.append(said)
    for node in h.mesh.nodes.values():
        given = Authored(said, h.mesh.now_ns) if node is ann else Admitted((said,), {}, h.mesh.now_ns)
        h.mesh.feed(node, given)
    assert "the terms say" in h.deal("bob").void[said.id]
    assert h.money("ann") == (BALANCE - USDC, USDC)
    h.agree()
    h.do("ann", "fund", seller="")  # the chain of the account goes on
    assert h.money("ann") == (BALANCE - 5 * USDC, 5 * USDC)
    h.room.end_epoch()
    h.agree()
    assert h.money("ann") == (BALANCE - 4 * USDC, 4 * USDC)
    assert money_of(h.state("bob"), h.deal("bob")).held == 4 * USDC


def test_late_words_about_a_closed_escrow_move_nothing(house, author_of):
    h = house()
    fund = h.funded()
    h.do("ann", "release", milestones=[])
    h.room.end_epoch()
    before, fenced = mesh_digest(h.state()), h.state().fenced
    bob = author_of("bob")
    say(h, bob, {"op": "refund", "reason": ""}, h.thread, [fund.id], lamport=5)
    assert (mesh_digest(h.state()), h.state().fenced) == (before, fenced + 1)


def test_effects_wait_for_their_causes(house):
    h = house()
    h.funded()
    h.submit()
    said = [e for node in h.mesh.nodes.values() for e in node.said if e.kind == "ESCROW"]
    said.sort(key=lambda e: -e.lamport)
    fresh = State(h.mesh.genesis, h.did("dan"), check_everything=True)
    for envelope in said:
        step(fresh, Admitted((envelope,), {}, h.mesh.now_ns))
    assert not fresh.parked and mesh_digest(fresh) == mesh_digest(h.state("dan"))


@pytest.mark.property_id("P2")
def test_a_void_word_of_a_cut_gets_no_second_chance_where_it_comes_late(house):
    """It was void at its place; alone, after what the checkpoint fixed, it would count."""
    h = house()
    h.funded()
    h.do("ann", "dispute", reason="none of it", evidence=[])
    bob = h.mesh.nodes["bob"]
    early = build(
        kind="ESCROW", thread=h.thread, sender=bob.did, lamport=bob.state.lamport + 1, ts_ns=h.mesh.now_ns, epoch=0,
        payload={"op": "resolve", "seller_bp": 0, "reason": ""}, refs=(h.deal().fund,), policy=bytes(32),
        eval_digest=bytes(32),
    )  # fmt: skip
    bob.said.append(early)
    h.mesh.feed(bob, Authored(early, h.mesh.now_ns))
    for name in ("ann", "cee", "dan"):  # eve does not hear it in time
        h.mesh.feed(h.mesh.nodes[name], Admitted((early,), {}, h.mesh.now_ns))
    h.room.end_epoch()
    assert early.id in h.state("eve").escrows.records[h.thread].fixed.spent
    h.mesh.feed(h.mesh.nodes["eve"], Admitted((early,), {}, h.mesh.now_ns))
    h.agree()
    assert not h.state("eve").escrows.records[h.thread].said
