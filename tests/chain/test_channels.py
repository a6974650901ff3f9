"""Channels on the embedded chain: two desks, vouchers between them, a watchtower for a payee that is away."""

import time
from dataclasses import replace
from hashlib import sha256

import nacl.exceptions
import nacl.signing
import pytest
from swarmd.node.chain.account import LocalSigner
from swarmd.node.chain.anchoring import AnchorMachine, Terms, open_embedded
from swarmd.node.chain.channels import CHALLENGE_S, Channels
from swarmd.node.chain.desk import CHANNELS, STAKES, TOKEN, Desk, parse_address
from swarmd.node.chain.evm_signatures import address_of, recover, sign_digest
from swarmd.node.chain.outbox import Outbox
from swarmd.protocol.didkey import did_of
from swarmd.protocol.faults import Fault, LocalFault, RemoteFault
from swarmd.protocol.ledger.binding import Binding, check_binding

PAYEE = sha256(b"payee").digest()


@pytest.fixture
def payer(tmp_path):
    outbox = Outbox(tmp_path / "outbox.sqlite")
    machine = open_embedded(tmp_path, 1337, outbox)
    desk = Desk(machine)
    desk.fund("mine", 10_000)
    yield desk
    outbox.close()
    machine.close()


@pytest.fixture
def payee(payer, tmp_path, bench_gas):
    """Another account on the same chain."""
    bench_gas(payer, PAYEE)
    outbox = Outbox(tmp_path / "payee.sqlite")
    addresses = {name: payer.contract(name) for name in (TOKEN, CHANNELS)}
    machine = AnchorMachine(payer.machine.client, LocalSigner(PAYEE), outbox, Terms(contracts=addresses))
    yield Desk(machine)
    outbox.close()


@pytest.fixture
def bench_gas():
    def give(desk, key):
        from eth_account import Account

        machine = desk.machine
        signed = machine.signer._account.sign_transaction(
            {
                "type": 2,
                "chainId": machine.client.chain_id,
                "nonce": machine.client.nonce(desk.account),
                "to": Account.from_key(key).address,
                "value": 10**18,
                "gas": 21_000,
                "maxFeePerGas": machine.client.fees().max_fee_wei,
                "maxPriorityFeePerGas": 1,
            }
        )
        machine.client.send_raw(bytes(signed.raw_transaction))
        machine.client.advance()

    return give


@pytest.fixture
def books(tmp_path):
    made = Channels(tmp_path / "a.sqlite"), Channels(tmp_path / "b.sqlite")
    yield made
    for each in made:
        each.close()


def now():
    return int(time.time())


def tokens(desk, account):
    return desk.view(TOKEN, "balanceOf", account)[0]


def test_a_channel_lives_and_ends(payer, payee, books):
    ours, theirs = books
    channel, sent = ours.open(payer, payee.account, 1_000, bytes(32), CHALLENGE_S)
    assert sent.state == "final"
    first, second = ours.pay(payer, channel, 100), ours.pay(payer, channel, 250)
    assert theirs.receive(payee, second, now_s=now()) == 350  # the later is worth both
    with pytest.raises(RemoteFault, match="stale-voucher"):
        theirs.receive(payee, first, now_s=now())
    assert theirs.claim(payee, channel).state == "final"
    assert tokens(payer, payee.account) == 350
    with pytest.raises(LocalFault, match="nothing-to-claim"):
        theirs.claim(payee, channel)
    assert ours.top_up(payer, "more", channel, 500).state == "final"
    with pytest.raises(LocalFault, match="exceeds-deposit"):
        ours.pay(payer, channel, 1_151)
    assert theirs.receive(payee, ours.pay(payer, channel, 1_150), now_s=now()) == 1_150
    assert theirs.end(payee, channel, now_s=now())[0] == "close"
    assert tokens(payer, payee.account) == 1_500
    assert [entry["state"] for entry in theirs.listing(payee)] == ["closed"]
    for refused in (
        lambda: ours.pay(payer, channel, 1),
        lambda: ours.end(payer, channel, now_s=now()),
        lambda: theirs.receive(payee, second, now_s=now()),
    ):
        with pytest.raises(Fault) as caught:
            refused()
        assert caught.value.code in ("channel-not-open", "channel-closed")


def test_a_watchtower_saves_a_payee_that_is_away(payer, payee, books, tmp_path):
    ours, tower = books
    channel, _ = ours.open(payer, payee.account, 1_000, bytes(32), CHALLENGE_S)
    voucher = ours.pay(payer, channel, 400)
    assert tower.receive(payer, voucher, now_s=now(), watch=True) == 400
    assert tower.watch(payer) == []
    assert ours.end(payer, channel, now_s=now())[0] == "startClose"
    with pytest.raises(LocalFault, match="challenge-runs"):
        ours.end(payer, channel, now_s=now())
    assert tower.watch(payer) == [channel]
    assert tower.watch(payer) == []
    assert tokens(payer, payee.account) == 400


def test_a_payer_that_crashed_never_signs_for_less(payer, payee, books, tmp_path):
    ours, theirs = books
    channel, _ = ours.open(payer, payee.account, 1_000, bytes(32), CHALLENGE_S)
    ours.pay(payer, channel, 300)
    again = Channels(tmp_path / "a.sqlite")
    assert again.pay(payer, channel, 1).cumulative == 301
    again.close()


def test_strangers_and_nonsense_are_refused_by_name(payer, payee, books):
    ours, theirs = books
    channel, _ = ours.open(payer, payee.account, 1_000, bytes(32), CHALLENGE_S)
    voucher = ours.pay(payer, channel, 10)
    with pytest.raises(RemoteFault, match="not-payee"):
        theirs.receive(payer, voucher, now_s=now())
    with pytest.raises(LocalFault, match="no-channel"):
        theirs.receive(payee, replace(voucher, channel=bytes(32)), now_s=now())
    with pytest.raises(RemoteFault, match="bad-signature"):
        theirs.receive(payee, replace(voucher, cumulative=20), now_s=now())
    with pytest.raises(LocalFault, match="no-channel"):
        theirs.pay(payee, channel, 1)
    with pytest.raises(LocalFault, match="not-enough-tokens"):
        ours.open(payer, payee.account, 10**9, sha256(b"2").digest(), CHALLENGE_S)
    with pytest.raises(LocalFault, match="refused-on-chain: open: BadChallengePeriod"):
        ours.open(payer, payee.account, 10, sha256(b"2").digest(), 1)


def test_a_call_that_was_done_is_not_refused_for_want_of_money(payer):
    assert payer.stake("all", 10_000).state == "final"
    assert payer.stake("all", 10_000).state == "final"
    with pytest.raises(LocalFault, match="not-enough-tokens"):
        payer.stake("more", 1)


def test_stakes(payer):
    assert payer.stake("first", 500).state == "final"
    assert payer.stake("first", 500).state == "final"  # one key, one stake
    assert payer.stake_of()["bonded"] == 500
    assert payer.unbond("out", 200).state == "final"
    assert (payer.stake_of()["bonded"], payer.stake_of()["unbonding"]) == (300, 200)
    with pytest.raises(LocalFault, match="refused-on-chain: withdraw: NotReady"):
        payer.withdraw_stake("too early")
    with pytest.raises(LocalFault, match="refused-on-chain: unbond: NotEnoughStake"):
        payer.unbond("more", 301)
    assert list(payer.view(STAKES, "roster")[0]) == ["0x" + payer.account.hex()]


def test_addresses_are_checked():
    good = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    assert parse_address(good).hex() == good[2:].lower()
    assert parse_address(good.lower()) == parse_address(good)
    for bad in (good.replace("f39F", "F39F"), good[:-1], good[2:], "0x" + "g" * 40, ""):
        with pytest.raises(LocalFault, match="bad-address"):
            parse_address(bad)


def verify_ed25519(key, data, signature):
    try:
        nacl.signing.VerifyKey(key).verify(data, signature)
        return True
    except nacl.exceptions.BadSignatureError:
        return False


def test_a_did_and_an_account_bind_each_other_or_nothing():
    node = nacl.signing.SigningKey(bytes(32))
    bare = Binding(did_of(bytes(node.verify_key)), address_of(PAYEE), 1337, 1_800_000_000)
    both = replace(
        bare,
        did_signature=node.sign(bare.for_did()).signature,
        account_signature=sign_digest(PAYEE, bare.digest()),
    )
    check_binding(both, recover, verify_ed25519)
    thief = sha256(b"thief").digest()
    other = nacl.signing.SigningKey(b"\1" * 32)
    for forged in (
        bare,
        replace(both, did_signature=b""),
        replace(both, account_signature=b""),
        replace(both, account=address_of(thief)),
        replace(both, account_signature=sign_digest(thief, bare.digest())),
        replace(both, did=did_of(bytes(other.verify_key))),
        replace(both, did_signature=other.sign(bare.for_did()).signature),
        replace(both, chain_id=1),
        replace(both, made_at_s=0),
        replace(both, did="did:key:nonsense"),
    ):
        with pytest.raises(RemoteFault):
            check_binding(forged, recover, verify_ed25519)
