"""The chain port over a real JSON-RPC node: finality, reorgs, bids, pauses, endpoints, each failure under its name."""

from hashlib import sha256

import pytest
from swarmd.contracts import load_artifact
from swarmd.node.chain.account import LocalSigner
from swarmd.node.chain.anchoring import AnchorMachine, Terms, pack_call
from swarmd.node.chain.client import Call, FeePolicy, Fees, Rejected, Reverted, Unavailable
from swarmd.node.chain.outbox import Outbox, pack_anchor
from swarmd.node.chain.requests import ANCHOR, CALL
from swarmd.node.chain.rpc import RpcChain, refusal_code
from swarmd.node.chain.watcher import Watcher
from swarmd.protocol.faults import CorruptState, LocalFault

GWEI = 10**9
DEPTH = 3


def digest(value):
    return sha256(repr(value).encode()).digest()


class Port:
    """A machine over anvil, driven by hand."""

    def __init__(self, anvil, folder, *, policy=None, confirmations=DEPTH, name="outbox.sqlite"):
        self.anvil = anvil
        self.path = folder / name
        self.terms = Terms(confirmations, policy or FeePolicy(100 * GWEI, 3), {}, False)
        self.signer = LocalSigner(anvil.KEY)
        self.open()

    def open(self):
        self.client = RpcChain([self.anvil.url], self.anvil.CHAIN_ID)
        self.outbox = Outbox(self.path)
        self.machine = AnchorMachine(self.client, self.signer, self.outbox, self.terms)

    def ready(self):
        assert self.machine.deploy() != ""
        for _ in range(DEPTH + 1):
            self.anvil.mine()
        assert self.machine.deploy() == ""
        return self

    def submit(self, *names):
        for name in names:
            self.outbox.submit(ANCHOR, digest(name), pack_anchor(digest(("root", name)), 1))

    def state(self, name):
        return self.outbox.get(ANCHOR, digest(name)).label

    def tick(self):
        self.client.refresh()
        return self.machine.tick()

    def settle(self, rounds=40):
        """Rounds and blocks until nothing is pending."""
        for _ in range(rounds):
            self.tick()
            if self.outbox.pending() == 0:
                return
            self.anvil.mine()
        raise AssertionError(self.outbox.counts())

    def anchored(self):
        codec = self.machine.codec("SettlementAnchor")
        logs = self.client.logs(
            self.machine.contract, codec.topic("Anchored"), first_block=0, last_block=self.client.head()
        )
        return [codec.decode_event("Anchored", log.topics, log.data)["id"] for log in logs]

    def close(self):
        self.outbox.close()


@pytest.fixture
def port(anvil, tmp_path):
    made = Port(anvil, tmp_path).ready()
    yield made
    made.close()


def test_a_request_is_final_at_its_depth_and_not_before(port):
    port.submit(1)
    assert port.tick() == ""
    assert port.state(1) == "sent"
    port.anvil.mine()
    for _ in range(DEPTH):
        port.tick()
        assert port.state(1) == "mined"
        port.anvil.mine()
    port.tick()
    assert port.state(1) == "final"
    assert port.machine.root_of(digest(1)) == digest(("root", 1))


def test_what_a_reorg_drops_is_sent_again_and_ends_on_chain_once(port):
    names = list(range(20))
    for name in names:
        port.submit(name)
        port.tick()
        if name % 7 == 6:
            port.anvil.mine()
    port.anvil.mine()
    port.tick()
    assert {port.state(name) for name in names} <= {"mined", "sent", "final"}
    before = len(port.anchored())
    port.anvil.reorg(DEPTH)
    assert len(port.anchored()) < before
    port.settle()
    assert sorted(port.anchored()) == sorted(map(digest, names))
    assert {port.state(name) for name in names} == {"final"}


def test_after_a_crash_the_same_bytes_go_out(port):
    port.submit(1)
    port.tick()
    sent = port.outbox.get(ANCHOR, digest(1))
    port.anvil.rpc("anvil_dropAllTransactions")
    port.close()
    port.open()
    port.machine.deploy()
    port.tick()
    assert port.outbox.get(ANCHOR, digest(1)).tx_hash == sent.tx_hash
    port.settle()
    assert port.anchored() == [digest(1)]


def test_a_bid_that_is_too_low_is_raised_by_an_eighth_at_least(port):
    port.submit(1)
    port.tick()
    first = port.outbox.get(ANCHOR, digest(1)).tx_hash
    old = port.anvil.rpc("eth_getTransactionByHash", "0x" + first.hex())
    for _ in range(3):  # blocks too dear for it
        port.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(5 * GWEI))
        port.anvil.mine()
        port.tick()
    assert port.state(1) == "sent"
    second = port.outbox.get(ANCHOR, digest(1)).tx_hash
    assert second != first
    new = port.anvil.rpc("eth_getTransactionByHash", "0x" + second.hex())
    for field in ("maxFeePerGas", "maxPriorityFeePerGas"):
        assert int(new[field], 16) * 8 >= int(old[field], 16) * 9
    assert new["nonce"] == old["nonce"]
    port.settle()
    assert port.anchored() == [digest(1)]


def test_the_older_bid_may_win_after_all(port):
    port.submit(1)
    port.tick()
    first = port.outbox.get(ANCHOR, digest(1)).tx_hash
    with_bids = [first]
    port.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(5 * GWEI))
    for _ in range(3):
        port.anvil.mine()
        port.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(5 * GWEI))
    port.tick()
    with_bids.append(port.outbox.get(ANCHOR, digest(1)).tx_hash)
    raw = port.outbox._db.execute("SELECT raw FROM attempt WHERE tx_hash=?", (first,)).fetchone()[0]
    port.anvil.rpc("anvil_dropAllTransactions")
    port.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(GWEI // 10))
    port.client.send_raw(raw)
    port.anvil.mine()
    port.settle()
    assert port.outbox.get(ANCHOR, digest(1)).tx_hash == first
    assert port.anchored() == [digest(1)]


def test_a_cap_on_fees_pauses_by_name(anvil, tmp_path):
    port = Port(anvil, tmp_path).ready()
    port.machine.terms = Terms(DEPTH, FeePolicy(2 * GWEI, 2), {}, False)
    anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(50 * GWEI))
    anvil.mine()
    port.submit(1)
    assert port.tick().startswith("fee-above-cap: ")
    assert port.state(1) == "queued"
    anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    anvil.mine()
    assert port.tick() == ""
    # Signed within the cap; then gas becomes too dear for what the cap allows to bid.
    said = ""
    for _ in range(8):
        anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(60 * GWEI))
        anvil.mine()
        said = port.tick() or said
    assert said.startswith("stuck: ") and "waits since block" in said
    assert port.machine.trouble == "stuck"
    anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    port.settle()
    assert port.anchored() == [digest(1)]
    port.close()


def test_an_empty_account_pauses_by_name_and_goes_on_when_it_is_funded(port):
    address = "0x" + port.signer.account.hex()
    port.anvil.rpc("anvil_setBalance", address, hex(10**12))
    port.submit(1, 2)
    assert port.tick().startswith("out-of-gas: ")
    assert (port.state(1), port.machine.trouble) == ("queued", "out-of-gas")
    assert port.tick().startswith("out-of-gas: ")  # no storm, no lost nonce
    port.anvil.rpc("anvil_setBalance", address, hex(10**18))
    assert port.tick() == ""
    port.settle()
    assert sorted(port.anchored()) == sorted([digest(1), digest(2)])


def test_a_stranger_on_the_account_costs_a_nonce_and_nothing_else(port):
    port.submit(1)
    nonce = port.client.nonce(port.signer.account)
    raw, _ = port.signer.sign(
        Call(port.signer.account, b"", 30_000),
        nonce=nonce,
        fees=Fees(50 * GWEI, 5 * GWEI),
        chain_id=port.anvil.CHAIN_ID,
    )
    port.outbox.push(port.client, port.signer, port.machine.build, limit=8)
    port.anvil.rpc("anvil_dropAllTransactions")
    port.client.send_raw(raw)
    port.anvil.mine()
    port.settle()
    assert port.anchored() == [digest(1)]
    assert port.outbox.get(ANCHOR, digest(1)).nonce == nonce + 1


def test_a_reverted_call_fails_with_the_name_of_its_error(port):
    root, other = digest("root"), digest("other")
    codec = port.machine.codec("SettlementAnchor")
    for key, value in ((b"1" * 32, root), (b"2" * 32, other)):
        data = codec.encode_call("anchor", b"i" * 32, value, 1)
        port.outbox.submit(CALL, key, pack_call(port.machine.contract, data, 100_000))
    port.settle()
    assert port.outbox.get(CALL, b"1" * 32).label == "final"
    assert port.outbox.get(CALL, b"2" * 32).label == "failed:AnchorConflict"
    with pytest.raises(Reverted):
        port.client.call(port.machine.contract, data, sender=port.signer.account)


def test_a_transaction_for_another_chain_is_refused(port):
    fees = port.client.fees()
    raw, _ = port.signer.sign(
        Call(port.signer.account, b"", 30_000),
        nonce=port.client.nonce(port.signer.account),
        fees=fees,
        chain_id=1,
    )
    with pytest.raises(Rejected) as caught:
        port.client.send_raw(raw)
    assert caught.value.code == "wrong-chain-id"


def test_endpoints_are_chosen_by_chain_and_head(make_anvil):
    slow, fast, foreign = make_anvil(), make_anvil(), make_anvil(chain_id=5)
    fast.mine(10)
    dead = "http://127.0.0.1:1/secret-key"
    client = RpcChain([dead, slow.url, foreign.url, fast.url], 31_337)
    client.refresh()
    reports = [endpoint.report() for endpoint in client.endpoints]
    assert [each["state"] for each in reports] == ["down", "behind", "wrong-chain", "ok"]
    assert "secret-key" not in reports[0]["url"]
    assert client.head() == 10
    slow.mine(8)
    client.refresh()
    assert client.head() == 8  # near enough, and first in the list
    fast.stop()
    slow.stop()
    with pytest.raises(Unavailable) as caught:
        client.head()
    assert caught.value.code == "rpc-down"
    with pytest.raises(Unavailable) as caught:
        RpcChain([foreign.url], 31_337).refresh()
    assert caught.value.code == "wrong-chain"


def test_an_old_head_is_behind(anvil):
    client = RpcChain([anvil.url], anvil.CHAIN_ID, max_head_age_s=3_600)
    client.refresh()
    anvil.mine()
    stale = RpcChain([anvil.url], anvil.CHAIN_ID, max_head_age_s=1e-9)
    with pytest.raises(Unavailable) as caught:
        stale.refresh()
    assert caught.value.code == "behind"
    assert stale.endpoints[0].report()["state"] == "behind"


@pytest.mark.parametrize("url", ["", "ftp://host", "localhost:8545"])
def test_an_endpoint_is_a_url(url):
    with pytest.raises(LocalFault, match="bad-rpc-url"):
        RpcChain([url], 1)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("already known", "already-known"),
        ("transaction already imported", "already-known"),
        ("nonce too low: next nonce 5, tx nonce 4", "nonce-too-low"),
        ("replacement transaction underpriced", "replacement-underpriced"),
        ("insufficient funds for gas * price + value: balance 0", "insufficient-funds"),
        ("max fee per gas less than block base fee: address 0x", "fee-too-low"),
        ("something new", "rejected"),
    ],
)
def test_nodes_say_one_thing_in_many_ways(said, code):
    assert refusal_code(said) == code


def test_the_watcher_records_confirmed_events_once(port, tmp_path):
    codec = port.machine.codec("SettlementAnchor")
    watcher = Watcher(tmp_path / "events.sqlite", port.machine.contract, codec, confirmations=DEPTH)
    port.submit(1)
    port.tick()
    port.anvil.mine()
    assert watcher.step(port.client) == 0
    port.anvil.reorg(1)  # what was not confirmed may go and come again
    port.tick()
    port.settle()
    assert watcher.step(port.client) == 1
    assert watcher.step(port.client) == 0
    (event,) = watcher.events("Anchored")
    assert event.fields["id"] == "0x" + digest(1).hex()
    watcher.close()
    again = Watcher(tmp_path / "events.sqlite", port.machine.contract, codec, confirmations=DEPTH)
    assert again.step(port.client) == 0
    assert len(again.events("Anchored")) == 1
    port.anvil.reorg(DEPTH + 2)
    port.anvil.mine(3)
    with pytest.raises(CorruptState, match="deep-reorg"):
        again.step(port.client)
    again.close()


def test_the_contract_that_is_named_must_be_the_one_that_ships(port, tmp_path):
    code = load_artifact("TestUSD")
    assert code.bytecode
    terms = Terms(DEPTH, FeePolicy(100 * GWEI), {"SettlementAnchor": bytes(20)}, False)
    outbox = Outbox(tmp_path / "second.sqlite")
    machine = AnchorMachine(port.client, port.signer, outbox, terms)
    with pytest.raises(CorruptState, match="contract-missing"):
        machine.deploy()
    outbox.close()
