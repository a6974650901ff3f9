"""Epochs on real chains: netted, signed by each debtor, published once, confirmed, proved; whatever happens between."""

import json
import random
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from swarmd.node.chain.account import LocalSigner
from swarmd.node.chain.anchoring import AnchorMachine, Terms, open_embedded
from swarmd.node.chain.client import FeePolicy, Unavailable
from swarmd.node.chain.desk import SETTLEMENT, TOKEN, Desk
from swarmd.node.chain.evm_signatures import address_of, sign_digest
from swarmd.node.chain.outbox import Outbox
from swarmd.node.chain.rpc import RpcChain
from swarmd.node.chain.settlement import Settlements, verify_proof
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.ledger.netting import PaymentReceipt

NOW_S = 1_800_000_000
PARTIES = {address_of(key): key for key in (sha256(b"party%d" % n).digest() for n in range(8))}
DEPTH = 3


def payments(count, seed=1, parties=tuple(PARTIES), most=1_000):
    rng = random.Random(seed)
    made = []
    for n in range(count):
        payer, payee = rng.sample(list(parties), 2)
        made.append(
            PaymentReceipt(sha256(b"%d/%d" % (seed, n)).digest(), payer, payee, rng.randint(1, most), f"{n}")
        )
    return made


@pytest.fixture
def desk(tmp_path):
    outbox = Outbox(tmp_path / "outbox.sqlite")
    machine = open_embedded(tmp_path, 1337, outbox)
    yield Desk(machine)
    outbox.close()
    machine.close()


@pytest.fixture
def book(tmp_path):
    made = Settlements(tmp_path / "settlement.sqlite", min_receipts=10, deadline_s=60)
    yield made
    made.close()


def fund(desk, amount, parties=tuple(PARTIES)):
    desk.fund(f"all {amount}", amount * len(parties))
    for account in parties:
        desk.deposit(f"{account.hex()} {amount}", amount, account)


def balances(desk):
    return {account: desk.view(SETTLEMENT, "balanceOf", account)[0] for account in PARTIES}


def moved(receipts):
    found = dict.fromkeys(PARTIES, 0)
    for receipt in receipts:
        found[receipt.payer] -= receipt.amount
        found[receipt.payee] += receipt.amount
    return found


def test_an_epoch_is_settled_and_each_payee_can_show_it(desk, book):
    fund(desk, 100_000)
    receipts = payments(40)
    before = balances(desk)
    assert book.add(receipts, now_s=NOW_S) == 40
    assert book.add(receipts, now_s=NOW_S) == 0
    assert book.tick(desk, now_s=NOW_S, keys=PARTIES) == "submitted"
    desk.machine.tick()
    assert book.tick(desk, now_s=NOW_S, keys=PARTIES) == ""
    (epoch,) = book.epochs()
    assert (epoch.state, epoch.count) == ("settled", 40)
    after = balances(desk)
    assert {who: after[who] - before[who] for who in PARTIES} == moved(receipts)
    for receipt in receipts:
        assert verify_proof(desk, book.proof(desk, receipt.id)) == receipt


def test_it_waits_for_enough_or_for_long_enough(desk, book):
    fund(desk, 100_000)
    book.add(payments(9), now_s=NOW_S)
    assert book.tick(desk, now_s=NOW_S + 59, keys=PARTIES) == ""
    assert book.epochs() == []
    assert book.tick(desk, now_s=NOW_S + 60, keys=PARTIES) == "submitted"
    assert book.epochs()[0].count == 9


def test_now_means_now(desk, book):
    fund(desk, 100_000)
    book.add(payments(1), now_s=NOW_S)
    assert book.tick(desk, now_s=NOW_S, at_once=True, keys=PARTIES) == "submitted"


def test_without_every_debtors_signature_nothing_is_sent(desk, book):
    fund(desk, 100_000)
    book.add(payments(40), now_s=NOW_S)
    assert book.tick(desk, now_s=NOW_S).startswith("signatures: ")
    (epoch,) = book.epochs()
    digest, missing = book.to_sign(desk, epoch)
    stranger = sha256(b"stranger").digest()
    with pytest.raises(RemoteFault, match="bad-signature"):
        book.sign(desk, epoch, missing[0], sign_digest(stranger, digest))
    for debtor in missing:
        assert book.tick(desk, now_s=NOW_S).startswith("signatures: ")
        book.sign(desk, epoch, debtor, sign_digest(PARTIES[debtor], digest))
    assert book.tick(desk, now_s=NOW_S) == "submitted"


def test_an_epoch_that_is_not_signed_in_time_lets_its_receipts_go(desk, book):
    fund(desk, 100_000)
    book.add(payments(40), now_s=NOW_S)
    book.tick(desk, now_s=NOW_S)
    (epoch,) = book.epochs()
    book.tick(desk, now_s=epoch.deadline_s + 1, keys={})
    assert [e.document()["state"] for e in book.epochs()][-1] == "failed:unsigned"
    assert book.tick(desk, now_s=epoch.deadline_s + 2, keys=PARTIES) == "submitted"
    desk.machine.tick()
    book.tick(desk, now_s=epoch.deadline_s + 3)
    assert [e.state for e in book.epochs()] == ["settled", "failed"]
    assert book.waiting()[0] == 0


def test_a_debtor_that_left_in_between_costs_the_others_nothing(desk, book):
    """Signed and covered, then the deposit is gone: the epoch reverts as a whole and is netted anew without it."""
    fund(desk, 100_000)
    poor, rich = list(PARTIES)[:2]
    key = PARTIES[poor]
    mine = [PaymentReceipt(sha256(b"x").digest(), poor, rich, 90_000, "")]
    book.add([*mine, *payments(20, parties=list(PARTIES)[1:])], now_s=NOW_S)
    # The embedded chain mines at once, so the debtor is drained by another settlement between signing and sending.
    book.propose(desk, now_s=NOW_S)
    (epoch,) = book.epochs()
    digest, missing = book.to_sign(desk, epoch)
    for debtor in missing:
        book.sign(desk, epoch, debtor, sign_digest(PARTIES[debtor], digest))
    other = Settlements(desk.machine.outbox._db.execute("PRAGMA database_list").fetchone()[2] + ".other")
    other.add([PaymentReceipt(sha256(b"y").digest(), poor, rich, 50_000, "")], now_s=NOW_S)
    other.tick(desk, now_s=NOW_S, at_once=True, keys={poor: key})
    desk.machine.tick()
    other.tick(desk, now_s=NOW_S)
    other.close()
    assert book.tick(desk, now_s=NOW_S) == "submitted"
    desk.machine.tick()
    assert book.tick(desk, now_s=NOW_S, keys=PARTIES) == "submitted"
    assert book.epochs()[1].document()["state"] == "failed:InsufficientBalance"
    desk.machine.tick()
    assert book.tick(desk, now_s=NOW_S, keys=PARTIES) in (
        "",
        "deposits: 1 receipts wait for deposits of their payers",
    )
    assert book.epochs()[0].state == "settled"
    assert book.waiting()[0] == 1
    with pytest.raises(LocalFault, match="not-settled"):
        book.proof(desk, mine[0].id)


def test_receipts_without_deposits_wait_by_name(desk, book):
    book.add(payments(40), now_s=NOW_S)
    assert book.tick(desk, now_s=NOW_S, keys=PARTIES).startswith("deposits: ")
    assert book.waiting()[0] == 40


def test_an_id_with_two_contents_is_refused_and_nothing_of_the_lot_is_taken(book):
    first, second = payments(2)
    book.add([first], now_s=NOW_S)
    with pytest.raises(LocalFault, match="receipt-conflict"):
        book.add([second, replace(first, amount=first.amount + 1)], now_s=NOW_S)
    assert book.waiting()[0] == 1


def test_forged_proofs_are_refused_by_name(desk, book):
    fund(desk, 100_000)
    receipts = payments(20)
    book.add(receipts, now_s=NOW_S)
    with pytest.raises(LocalFault, match="not-settled"):
        book.proof(desk, receipts[0].id)
    book.tick(desk, now_s=NOW_S, keys=PARTIES)
    desk.machine.tick()
    book.tick(desk, now_s=NOW_S)
    good = book.proof(desk, receipts[0].id)
    rich = replace(receipts[0], amount=receipts[0].amount + 1)
    for forged, code in [
        (replace(good, leaf=rich.leaf()), "proof-wrong"),
        (replace(good, index=good.index + 1), "proof-wrong"),
        (replace(good, count=good.count + 1), "proof-wrong"),
        (replace(good, epoch=bytes(32)), "not-on-chain"),
        (replace(good, publisher=b"\1" * 20), "not-on-chain"),
        (replace(good, contract=b"\1" * 20), "no-contract"),
        (replace(good, chain_id=1), "wrong-chain"),
    ]:
        with pytest.raises(LocalFault) as caught:
            verify_proof(desk, forged)
        assert caught.value.code == code
    with pytest.raises(LocalFault, match="no-receipt"):
        book.proof(desk, bytes(32))


def test_a_lost_outbox_is_made_good_from_the_chain(desk, book, tmp_path):
    fund(desk, 100_000)
    book.add(payments(40), now_s=NOW_S)
    book.tick(desk, now_s=NOW_S, keys=PARTIES)
    desk.machine.tick()
    before = balances(desk)
    addresses = {name: desk.contract(name) for name in (TOKEN, SETTLEMENT)}
    fresh = Outbox(tmp_path / "fresh.sqlite")
    machine = AnchorMachine(desk.machine.client, desk.machine.signer, fresh, Terms(contracts=addresses))
    assert book.tick(Desk(machine), now_s=NOW_S) == ""
    assert book.epochs()[0].state == "settled"
    assert balances(desk) == before
    fresh.close()


class Shore:
    """A desk over anvil, with the contracts deployed, that can be crashed."""

    def __init__(self, anvil, folder):
        self.anvil, self.folder = anvil, folder
        self.addresses = {}
        self.open()
        for name in (TOKEN, SETTLEMENT):
            for _ in range(3 * DEPTH):
                if address := self.desk.deploy(name):
                    break
                self.turn()
            self.addresses[name] = address
        self.crash()
        for step in (lambda: fund_far(self.desk),) * 60:
            try:
                step()
                if self.outbox.pending() == 0:
                    break
            except LocalFault as fault:
                assert fault.code in ("approving", "not-enough-tokens")
            self.turn()

    def open(self):
        self.client = RpcChain([self.anvil.url], self.anvil.CHAIN_ID)
        self.outbox = Outbox(self.folder / "outbox.sqlite")
        terms = Terms(DEPTH, FeePolicy(500 * 10**9), self.addresses, False)
        machine = AnchorMachine(self.client, LocalSigner(self.anvil.KEY), self.outbox, terms)
        self.desk = Desk(machine)
        self.book = Settlements(self.folder / "settlement.sqlite", min_receipts=10)

    def crash(self):
        self.outbox.close()
        self.book.close()
        self.open()

    def turn(self):
        self.client.refresh()
        self.desk.machine.tick()
        self.anvil.mine()


def fund_far(desk):
    desk.fund("all", 10**6 * len(PARTIES))
    for account in PARTIES:
        desk.deposit(account.hex(), 10**6, account)


def test_payments_are_settled_once_through_reorgs_crashes_and_outages(anvil, tmp_path):
    """Each payment exactly once and sums equal to the last unit, on a chain that forgets and a process that dies."""
    shore = Shore(anvil, tmp_path)
    start = balances(shore.desk)
    assert set(start.values()) == {10**6}
    rng = random.Random(8)
    receipts = payments(240, seed=8)
    fed = 0
    states = set()
    for _ in range(400):
        if fed < len(receipts) and rng.random() < 0.5:
            shore.book.add(receipts[fed : fed + 20], now_s=NOW_S)
            fed += 20
        try:
            if rng.random() < 0.1:
                shore.client.endpoints[0].web3.provider.endpoint_uri = "http://127.0.0.1:1"  # the way is cut
            states.add(shore.book.tick(shore.desk, now_s=NOW_S, keys=PARTIES))
            shore.turn()
        except Unavailable as error:
            assert error.code == "rpc-down"
            shore.client.endpoints[0].web3.provider.endpoint_uri = anvil.url
            anvil.mine()
        if rng.random() < 0.15:
            anvil.reorg(rng.randint(1, DEPTH))
        if rng.random() < 0.15:
            shore.crash()
        if fed == len(receipts) and shore.book.status()["settled"] == len(receipts):
            break
    assert shore.book.status()["settled"] == len(receipts), shore.book.status()
    assert "delivered-unconfirmed" in states
    after = balances(shore.desk)
    assert {who: after[who] - start[who] for who in PARTIES} == moved(receipts)
    codec = shore.desk.machine.codec(SETTLEMENT)
    logs = shore.client.logs(
        shore.addresses[SETTLEMENT], codec.topic("Settled"), first_block=0, last_block=shore.client.head()
    )
    events = [codec.decode_event("Settled", log.topics, log.data) for log in logs]
    assert sum(event["count"] for event in events) == len(receipts)
    assert len({event["epoch"] for event in events}) == len(events)
    for receipt in rng.sample(receipts, 10):
        assert verify_proof(shore.desk, shore.book.proof(shore.desk, receipt.id)) == receipt
    shore.outbox.close()
    shore.book.close()


def test_settled_once_by_a_process_that_is_killed_again_and_again(anvil, tmp_path):
    """Real SIGKILLs, reorgs of depth <= k and an endpoint that hangs (soak.py); by hand with 10,000 payments."""
    script = Path(__file__).with_name("soak.py")
    command = [sys.executable, str(script), str(tmp_path), anvil.url, str(anvil._process.pid), "2000", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert result["kills"] >= 8 and result["reorgs"] > 0 and result["failed"] == 0
    assert (result["sums_equal"], result["settled_on_chain"], result["epochs_once"]) == (True, 2_000, True)
