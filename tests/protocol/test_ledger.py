"""The ledger: incremental equals rebuilt, money is conserved after each step, double spends have one outcome (P9)."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from swarmd.protocol.envelope import need_id
from swarmd.protocol.faults import CorruptState
from swarmd.protocol.ledger.accounts import GENESIS_HEAD, Account, Entry, Ledger, fund_entry

pytestmark = pytest.mark.property_id("P9")
OWNERS = ("ann", "bob", "cid")


def picture(ledger):
    """All that follows from the facts; accounts that were only looked at do not count."""
    accounts = {did: account for did, account in ledger.accounts.items() if account != Account()}
    escrows = {need: escrow for need, escrow in ledger.escrows.items() if escrow.state != "waiting"}
    waiting = {need for need, escrow in ledger.escrows.items() if escrow.state == "waiting"}
    return accounts, escrows, waiting, ledger.double_spends


@dataclass
class Facts:
    """A world's facts: opening balances, entries (with forks), and for each need what it was said to have come to."""

    opening: dict[str, int]
    entries: list[Entry]
    settlements: list[tuple[str, dict[str, tuple[str, int]], str | None]]

    def final(self):
        return {need: (payments, closing) for need, payments, closing in self.settlements}


def draw_facts(data):
    opening = {owner: data.draw(st.integers(0, 300)) for owner in OWNERS}
    entries = []
    settlements = []
    for owner in OWNERS:
        heads = [GENESIS_HEAD]
        for seq in range(data.draw(st.integers(0, 4))):
            need = need_id(owner, seq)
            # One entry in the honest case; a double spender signs two or three, on any head it made before.
            amounts = data.draw(
                st.lists(
                    st.integers(0, 200),
                    min_size=1,
                    max_size=data.draw(st.sampled_from([1, 1, 1, 3])),
                    unique=True,
                )
            )
            made = [
                fund_entry(owner, seq, data.draw(st.sampled_from(heads)), need, amount) for amount in amounts
            ]
            entries.extend(made)
            heads = [entry.hash for entry in made]
            settlements.extend(draw_settlements(data, need, min(amounts)))
    return Facts(opening, entries, settlements)


def draw_settlements(data, need, budget):
    """What a node says about a need over time: payments that grow, then maybe another decision, then a closing."""
    said = []
    for _ in range(data.draw(st.sampled_from([1, 1, 2]))):
        left, payments = budget, {}
        for task in ("t1", "t2", "t3")[: data.draw(st.integers(0, 3))]:
            price = data.draw(st.integers(0, left))
            left -= price
            payments[task] = (data.draw(st.sampled_from((*OWNERS, "worker"))), price)
            said.append((need, dict(payments), None))
        said.append(
            (need, dict(payments), data.draw(st.sampled_from([None, "released", "refunded", "expired"])))
        )
    return said


def apply(ledger, fact):
    if isinstance(fact, Entry):
        ledger.add_entry(fact)
    else:
        need, payments, closing = fact
        ledger.settle(need, payments, closing)


def interleaved(data, facts):
    """A delivery: entries in any order and repeated, what is said of one need in its order."""
    queues = [[entry] for entry in facts.entries] + [[entry] for entry in facts.entries[:2]]
    by_need = {}
    for settlement in facts.settlements:
        by_need.setdefault(settlement[0], []).append(settlement)
    queues.extend(by_need.values())
    queues = [list(queue) for queue in queues]
    dice = data.draw(st.randoms(use_true_random=False))
    while queues:
        queue = dice.choice(queues)
        yield queue.pop(0)
        queues = [queue for queue in queues if queue]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_order_of_facts_gives_one_ledger(data):
    """And that is the ledger derived from the facts at once; conserved and never negative after each step."""
    facts = draw_facts(data)
    whole = Ledger(facts.opening)
    for entry in facts.entries:
        whole.add_entry(entry)
    for need, (payments, closing) in facts.final().items():
        whole.settle(need, payments, closing)
    whole.rebuild()
    whole.check_all()
    for _ in range(2):
        ledger = Ledger(facts.opening)
        for fact in interleaved(data, facts):
            apply(ledger, fact)
            ledger.check_all()
        assert picture(ledger) == picture(whole)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_incremental_equals_rebuilt_after_each_step(data):
    facts = draw_facts(data)
    ledger = Ledger(facts.opening)
    for fact in interleaved(data, facts):
        apply(ledger, fact)
        now = picture(ledger)
        ledger.rebuild()
        assert picture(ledger) == now


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_each_funding_is_news_once_it_happens(data):
    """The engine attends to a need when its money is there; a rebuild in between must not swallow that."""
    facts = draw_facts(data)
    ledger = Ledger(facts.opening)
    heard = set()
    for fact in interleaved(data, facts):
        before = {need for need, escrow in ledger.escrows.items() if escrow.state != "waiting"}
        apply(ledger, fact)
        after = {need for need, escrow in ledger.escrows.items() if escrow.state != "waiting"}
        assert after - before <= set(ledger.newly_funded)
        if data.draw(st.booleans()):
            heard.update(ledger.newly_funded)
            ledger.newly_funded.clear()
    heard.update(ledger.newly_funded)
    assert {need for need, escrow in ledger.escrows.items() if escrow.state != "waiting"} <= heard


class LedgerMachine(RuleBasedStateMachine):
    """One ledger through everything a mesh can say about money, checked against its own rebuild at each step."""

    @initialize(balances=st.lists(st.integers(0, 100), min_size=3, max_size=3))
    def open(self, balances):
        self.ledger = Ledger(dict(zip(OWNERS, balances, strict=True)))
        self.supply = sum(balances)
        self.heads = {owner: [(0, GENESIS_HEAD)] for owner in OWNERS}
        self.budgets = {}

    @rule(owner=st.sampled_from(OWNERS), amount=st.integers(0, 60), at=st.integers(0, 10))
    def spend(self, owner, amount, at):
        """Extend any head the owner ever had: the last is honest, any other forks."""
        seq, prev = self.heads[owner][-1 - at % min(len(self.heads[owner]), 3)]
        need = need_id(owner, seq)
        entry = fund_entry(owner, seq, prev, need, max(amount, self.paid_of(need)))
        self.heads[owner].append((seq + 1, entry.hash))
        self.budgets[need] = min(entry.amount, self.budgets.get(need, entry.amount))
        self.ledger.add_entry(entry)

    def paid_of(self, need):
        return sum(amount for _, amount in self.ledger.payments.get(need, {}).values())

    @rule(data=st.data(), closing=st.sampled_from([None, "released", "refunded", "expired"]))
    def settle(self, data, closing):
        if not self.budgets:
            return
        need = data.draw(st.sampled_from(sorted(self.budgets)))
        left, payments = self.budgets[need], {}
        for task in data.draw(st.sets(st.sampled_from(["t1", "t2"]))):
            price = data.draw(st.integers(0, left))
            left -= price
            payments[task] = (data.draw(st.sampled_from((*OWNERS, "worker"))), price)
        self.ledger.settle(need, payments, closing)

    @invariant()
    def money_is_conserved(self):
        if not hasattr(self, "ledger"):
            return
        self.ledger.check_all()
        assert sum(a.available + a.locked for a in self.ledger.accounts.values()) == self.supply
        assert all(min(a.available, a.locked, a.earned, a.spent) >= 0 for a in self.ledger.accounts.values())
        for escrow in self.ledger.escrows.values():
            if escrow.state != "waiting":
                assert (
                    escrow.held + escrow.returned + sum(amount for _, amount in escrow.paid.values())
                    == escrow.amount
                )

    @invariant()
    def rebuilding_changes_nothing(self):
        if hasattr(self, "ledger"):
            now = picture(self.ledger)
            self.ledger.rebuild()
            assert picture(self.ledger) == now


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


# By example ------------------------------------------------------------------------------------------------


def funded(opening, *amounts):
    """A ledger and ann's entries of these amounts, applied."""
    ledger = Ledger(opening)
    entries = []
    for seq, amount in enumerate(amounts):
        entries.append(
            fund_entry("ann", seq, entries[-1].hash if entries else GENESIS_HEAD, f"need-{seq}", amount)
        )
        ledger.add_entry(entries[-1])
    return ledger, entries


def test_an_escrow_from_funding_to_release():
    ledger, _ = funded({"ann": 100}, 70)
    assert (ledger.account("ann").available, ledger.account("ann").locked) == (30, 70)
    assert ledger.escrows["need-0"].state == "funded"
    ledger.settle("need-0", {"t1": ("bob", 20)}, None)
    assert (ledger.account("bob").available, ledger.account("bob").earned) == (20, 20)
    assert ledger.escrows["need-0"].held == 50
    ledger.settle("need-0", {"t1": ("bob", 20), "t2": ("cid", 30)}, "released")
    ann, escrow = ledger.account("ann"), ledger.escrows["need-0"]
    assert (ann.available, ann.locked, ann.spent) == (50, 0, 50)
    assert (escrow.state, escrow.held, escrow.returned) == ("released", 0, 20)
    assert escrow.paid == {"t1": ("bob", 20), "t2": ("cid", 30)}
    ledger.check_all()


@pytest.mark.parametrize("closing", ["refunded", "expired"])
def test_what_is_not_earned_comes_back(closing):
    ledger, _ = funded({"ann": 100}, 70)
    ledger.settle("need-0", {"t1": ("bob", 20)}, closing)
    assert (ledger.account("ann").available, ledger.account("ann").locked) == (80, 0)
    assert ledger.escrows["need-0"].state == closing


def test_an_entry_waits_for_money_and_those_behind_it_too():
    ledger, _ = funded({"ann": 50, "bob": 100}, 70, 10)
    assert [ledger.escrows[f"need-{i}"].state for i in range(2)] == ["waiting", "waiting"]
    ledger.settle("need-bob", {"t1": ("ann", 20)}, None)  # said before bob's money is there
    ledger.add_entry(fund_entry("bob", 0, GENESIS_HEAD, "need-bob", 20))
    assert [ledger.escrows[f"need-{i}"].state for i in range(2)] == ["funded", "waiting"]
    ledger.settle("need-0", {}, "refunded")
    assert [ledger.escrows[f"need-{i}"].state for i in range(2)] == ["refunded", "funded"]
    ledger.check_all()


@pytest.mark.parametrize("swap", [False, True])
def test_a_double_spend_ends_alike_everywhere(swap):
    """Two entries with one seq: the smaller hash stands, the other never applies, both are kept as proof."""
    ledger = Ledger({"ann": 100})
    pair = [
        fund_entry("ann", 0, GENESIS_HEAD, "need-x", 100),
        fund_entry("ann", 0, GENESIS_HEAD, "need-y", 100),
    ]
    small, large = sorted(pair, key=lambda entry: entry.hash)
    follower = fund_entry("ann", 1, large.hash, "need-z", 0)
    for entry in (large, follower, small) if swap else (small, large, follower):
        ledger.add_entry(entry)
        ledger.check_all()
    assert ledger.escrows[small.need].state == "funded"
    assert ledger.escrows[large.need].state == "waiting"
    assert ledger.escrows["need-z"].state == "waiting"
    assert ledger.double_spends == {("ann", 0): (small.hash, large.hash)}
    assert ledger.account("ann").available == 0


def test_what_the_loser_of_a_double_spend_paid_is_taken_back():
    """Even if the payee had spent it on: its own entry waits again, and nothing is ever negative."""
    pair = [
        fund_entry("ann", 0, GENESIS_HEAD, "need-x", 100),
        fund_entry("ann", 0, GENESIS_HEAD, "need-y", 100),
    ]
    small, large = sorted(pair, key=lambda entry: entry.hash)
    ledger = Ledger({"ann": 100})
    ledger.add_entry(large)
    ledger.settle(large.need, {"t1": ("bob", 100)}, None)
    ledger.add_entry(fund_entry("bob", 0, GENESIS_HEAD, "need-bob", 60))
    assert ledger.escrows["need-bob"].state == "funded"
    ledger.add_entry(small)
    ledger.check_all()
    assert ledger.escrows["need-bob"].state == "waiting"
    assert ledger.account("bob") == Account()


def test_a_later_stronger_decision_moves_the_money():
    ledger, _ = funded({"ann": 100}, 70)
    ledger.settle("need-0", {"t1": ("bob", 20)}, "released")
    ledger.settle("need-0", {"t1": ("cid", 30)}, None)
    ledger.check_all()
    assert (ledger.account("bob").earned, ledger.account("cid").earned) == (0, 30)
    assert (ledger.escrows["need-0"].state, ledger.escrows["need-0"].held) == ("funded", 40)


def test_breaches_are_found():
    """The checks see what they are for."""
    ledger, _ = funded({"ann": 100}, 70)
    ledger.account("ann").available += 1
    with pytest.raises(CorruptState, match="money-not-conserved"):
        ledger.check_all()
    ledger.account("ann").available -= 1
    ledger.account("ann").locked -= 1
    with pytest.raises(CorruptState, match="escrow-mismatch"):
        ledger.check_all()
    ledger.account("bob").available = -1
    with pytest.raises(CorruptState, match="negative-account"):
        ledger.check(["bob"])
    ledger, _ = funded({"ann": 100}, 70)
    with pytest.raises(CorruptState, match="escrow-overdrawn"):
        ledger.settle("need-0", {"t1": ("bob", 71)}, None)


def test_an_entry_hash_covers_all_of_it():
    entries = {
        fund_entry(*fields).hash
        for fields in [
            ("ann", 0, GENESIS_HEAD, "n", 1), ("bob", 0, GENESIS_HEAD, "n", 1), ("ann", 1, GENESIS_HEAD, "n", 1),
            ("ann", 0, b"p" * 32, "n", 1), ("ann", 0, GENESIS_HEAD, "m", 1), ("ann", 0, GENESIS_HEAD, "n", 2),
        ]
    }  # fmt: skip
    assert len(entries) == 6
