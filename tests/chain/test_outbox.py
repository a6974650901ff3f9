"""The outbox against a real chain, with faults put between the two: each request ends on chain exactly once."""

import sqlite3

import pytest
from swarmd.node.chain.client import Call, Fees, Rejected
from swarmd.node.chain.outbox import Outbox, pack_anchor, unpack_anchor
from swarmd.node.chain.requests import ANCHOR
from swarmd.protocol.faults import CorruptState, LocalFault


class Wire:
    """The way to the chain. Delegates to the real one; a test cuts or bends it."""

    def __init__(self, evm):
        self.evm = evm
        self.down = False
        self.hide_receipts = False
        self.bid = None

    def __getattr__(self, name):
        return getattr(self.evm, name)

    def fees(self):
        return self.bid or self.evm.fees()

    def send_raw(self, raw):
        if self.down:
            raise ConnectionError("the way to the chain is cut")
        return self.evm.send_raw(raw)

    def receipts(self, tx_hashes):
        return [None] * len(tx_hashes) if self.hide_receipts else self.evm.receipts(tx_hashes)


class Desk:
    """An outbox at a bench, driven by hand."""

    def __init__(self, bench, name="outbox.sqlite"):
        self.bench = bench
        self.wire = Wire(bench.evm)
        self.path = bench.folder / name
        self.outbox = Outbox(self.path)
        self.outbox.bind(bench.evm, bench.signer.account)

    def build(self, request):
        root, count = unpack_anchor(request.payload)
        return Call(
            self.bench.contract, self.bench.codec.encode_call("anchor", request.key, root, count), 100_000
        )

    def explain(self, request, receipt):
        root, count = unpack_anchor(request.payload)
        return self.bench.error_of("anchor", request.key, root, count)[0]

    def submit(self, anchor_id, root, count=1):
        return self.outbox.submit(ANCHOR, anchor_id, pack_anchor(root, count))

    def push(self, limit=64):
        return self.outbox.push(self.wire, self.bench.signer, self.build, kind=ANCHOR, limit=limit)

    def pull(self, confirmations=0):
        return self.outbox.pull(
            self.wire, self.bench.signer.account, self.explain, confirmations=confirmations
        )

    def state(self, anchor_id):
        request = self.outbox.get(ANCHOR, anchor_id)
        return request.label if request else "unknown"

    def crash(self):
        """Let go of everything in memory, the pool of the chain too, and open the files again."""
        self.outbox.close()
        self.bench.reopen()
        self.wire = Wire(self.bench.evm)
        self.outbox = Outbox(self.path)
        self.outbox.bind(self.bench.evm, self.bench.signer.account)

    def times_on_chain(self, anchor_id):
        return sum(event["id"] == anchor_id for event in self.bench.anchored_events())


@pytest.fixture
def desk(bench):
    made = Desk(bench)
    yield made
    made.outbox.close()


def test_a_request_goes_through_its_states(desk, digest):
    assert desk.state(digest(1)) == "unknown"
    assert desk.submit(digest(1), digest("root")) is True
    assert desk.state(digest(1)) == "queued"
    assert desk.outbox.pending() == 1
    assert desk.push() == []
    assert desk.state(digest(1)) == "sent"
    assert desk.pull() == 0
    desk.bench.evm.mine()
    assert desk.pull(confirmations=2) == 1
    assert desk.state(digest(1)) == "mined"
    for n in range(2):
        assert desk.pull(confirmations=2) == 0
        desk.bench.anchor(digest(("elsewhere", n)), digest("root"), 1)
    assert desk.pull(confirmations=2) == 1
    assert desk.state(digest(1)) == "final"
    assert desk.outbox.pending() == 0
    assert desk.outbox.counts() == {"queued": 0, "signed": 0, "sent": 0, "mined": 0, "final": 1, "failed": 0}
    assert desk.times_on_chain(digest(1)) == 1


def test_asking_again_changes_nothing_in_any_state(desk, digest):
    assert desk.submit(digest(1), digest("root")) is True
    for step in (desk.push, desk.bench.evm.mine, desk.pull):
        assert desk.submit(digest(1), digest("root")) is False
        step()
    assert desk.submit(digest(1), digest("root")) is False
    assert desk.push() == []
    assert desk.bench.evm.mine() == 0
    assert desk.bench.evm.nonce(desk.bench.signer.account) == 2


def test_one_id_for_two_contents_is_refused(desk, digest):
    desk.submit(digest(1), digest("root"))
    for root, count in [(digest("other"), 1), (digest("root"), 2)]:
        with pytest.raises(LocalFault, match="outbox-conflict"):
            desk.submit(digest(1), root, count)
    assert desk.outbox.pending() == 1


def test_many_share_a_block_in_the_order_asked(desk, digest):
    for n in range(10):
        desk.submit(digest(n), digest("root"))
    desk.push(limit=7)
    assert desk.bench.evm.mine() == 7
    desk.pull()
    assert [desk.state(digest(n)) for n in range(10)] == ["final"] * 7 + ["queued"] * 3
    told = desk.outbox.unnotified(ANCHOR, 5)
    assert [request.key for request in told] == [digest(n) for n in range(5)]
    desk.outbox.mark_notified(request.seq for request in told)
    assert [request.key for request in desk.outbox.unnotified(ANCHOR, 5)] == [digest(5), digest(6)]


def test_a_crash_between_signing_and_sending_sends_the_same_bytes(desk, digest):
    desk.submit(digest(1), digest("root"))
    desk.wire.down = True
    with pytest.raises(ConnectionError):
        desk.push()
    signed = desk.outbox.get(ANCHOR, digest(1))
    assert signed.state == "signed"
    desk.crash()
    desk.push()
    desk.bench.evm.mine()
    desk.pull()
    final = desk.outbox.get(ANCHOR, digest(1))
    assert (final.state, final.tx_hash, final.nonce) == ("final", signed.tx_hash, signed.nonce)
    assert desk.times_on_chain(digest(1)) == 1


def test_a_crash_after_sending_loses_the_pool_and_nothing_else(desk, digest):
    desk.submit(digest(1), digest("root"))
    desk.push()
    desk.crash()
    assert desk.bench.evm.mine() == 0
    desk.pull()
    desk.push()
    assert desk.bench.evm.mine() == 1
    desk.pull()
    assert desk.state(digest(1)) == "final"
    assert desk.times_on_chain(digest(1)) == 1


def test_a_crash_after_mining_learns_it_from_the_receipt(desk, digest):
    desk.submit(digest(1), digest("root"))
    desk.push()
    desk.bench.evm.mine()
    desk.crash()
    assert desk.push() == []  # the chain says it knows it: not an error
    assert desk.pull() == 1
    assert desk.state(digest(1)) == "final"
    assert desk.bench.evm.nonce(desk.bench.signer.account) == 2


def test_a_nonce_taken_by_another_transaction_is_replaced(desk, digest):
    desk.submit(digest(1), digest("root"))
    desk.submit(digest(2), digest("root"))
    desk.wire.down = True
    with pytest.raises(ConnectionError):
        desk.push()
    desk.bench.anchor(digest("a stranger to the outbox"), digest("root"), 1)
    desk.wire.down = False
    assert desk.push() == []
    desk.bench.evm.mine()
    assert desk.pull() == 2
    assert [desk.state(digest(n)) for n in (1, 2)] == ["queued", "final"]
    assert "was used by another transaction" in desk.outbox.get(ANCHOR, digest(1)).reason
    desk.push()
    desk.bench.evm.mine()
    desk.pull()
    assert [desk.times_on_chain(digest(n)) for n in (1, 2)] == [1, 1]
    assert desk.outbox.get(ANCHOR, digest(1)).reason == ""


def test_a_block_that_a_reorg_took_is_waited_for_again(desk, digest):
    desk.submit(digest(1), digest("root"))
    desk.push()
    desk.bench.evm.mine()
    desk.pull(confirmations=5)
    assert desk.state(digest(1)) == "mined"
    desk.wire.hide_receipts = True
    assert desk.pull(confirmations=5) == 1
    assert desk.state(digest(1)) == "sent"
    desk.wire.hide_receipts = False
    assert desk.push() == []
    assert desk.pull(confirmations=0) == 1
    assert desk.state(digest(1)) == "final"


def test_a_refusal_is_kept_for_the_operator_and_tried_again(desk, digest):
    desk.submit(digest(1), digest("root"))
    desk.submit(digest(2), digest("root"))
    desk.wire.bid = Fees(1, 1)
    assert [error.code for error in desk.push()] == ["fee-too-low"]
    assert desk.outbox.get(ANCHOR, digest(1)).reason.startswith("fee-too-low: 1, the base is ")
    assert desk.outbox.counts()["signed"] == 2
    assert [error.code for error in desk.push()] == ["fee-too-low"]
    assert desk.bench.evm.mine() == 0


def test_what_the_contract_refuses_fails_with_the_name_of_its_error(desk, digest):
    desk.bench.anchor(digest(1), digest("somebody else's root"), 1)
    desk.submit(digest(1), digest("root"))
    desk.push()
    desk.bench.evm.mine()
    assert desk.pull() == 1
    assert desk.state(digest(1)) == "failed:AnchorConflict"
    assert desk.outbox.pending() == 0
    assert desk.outbox.unnotified(ANCHOR, 10) == []


def test_a_lost_outbox_file_costs_gas_and_nothing_else(desk, digest):
    desk.submit(digest(1), digest("root"))
    desk.push()
    desk.bench.evm.mine()
    desk.pull()
    other = Desk(desk.bench, "another.sqlite")
    other.submit(digest(1), digest("root"))
    other.push()
    desk.bench.evm.mine()
    other.pull()
    assert other.state(digest(1)) == "final"
    assert other.times_on_chain(digest(1)) == 1
    other.outbox.close()


def test_an_outbox_stays_with_its_chain_and_account(desk):
    with pytest.raises(CorruptState, match="outbox-of-another-chain"):
        desk.outbox.bind(desk.bench.evm, b"\1" * 20)
    desk.outbox.bind(desk.bench.evm, desk.bench.signer.account)


def test_a_broken_or_newer_file_is_named(tmp_path):
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"not a database, surely " * 100)
    with pytest.raises(CorruptState, match="bad-outbox-file"):
        Outbox(broken)
    newer = tmp_path / "newer.sqlite"
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(LocalFault, match="outbox-version"):
        Outbox(newer)


def test_counts_survive_reopening(desk, digest):
    for n in range(5):
        desk.submit(digest(n), digest("root"))
    desk.push(limit=3)
    desk.bench.evm.mine()
    desk.pull()
    before = desk.outbox.counts()
    assert (before["final"], before["queued"]) == (3, 2)
    desk.crash()
    assert desk.outbox.counts() == before


def test_refusals_of_the_chain_are_exceptions_with_a_code():
    assert str(Rejected("nonce-too-low", "1, the next is 2")) == "nonce-too-low: 1, the next is 2"
