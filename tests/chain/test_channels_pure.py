"""Vouchers and netting: the pure half, held against the contracts' own digests, with all that a peer could send."""

import random
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarmd.contracts import load_artifact
from swarmd.node.chain.client import Call
from swarmd.node.chain.codec import ContractCodec
from swarmd.node.chain.embedded import contract_address
from swarmd.node.chain.evm_signatures import address_of, recover, sign_digest
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.ledger.channels import (
    Channel,
    Voucher,
    accept,
    channel_domain,
    channel_id,
    next_cumulative,
    voucher_digest,
)
from swarmd.protocol.ledger.netting import (
    Movement,
    PaymentReceipt,
    ReceiptProof,
    net,
    proofs,
    receipt_of,
    settlement_digest,
    settlement_domain,
)
from swarmd.protocol.merkle import root_from_proof

PAYER, PAYEE, THIEF = (sha256(name).digest() for name in (b"payer", b"payee", b"thief"))
CONTRACT = b"\xc0" * 20
DOMAIN = channel_domain(31_337, CONTRACT)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def channel(**changes):
    payer, payee = address_of(PAYER), address_of(PAYEE)
    made = Channel(DOMAIN, channel_id(31_337, CONTRACT, payer, payee, bytes(32)), payer, payee, deposit=1_000)
    return replace(made, **changes)


def voucher(cumulative, *, key=PAYER, of=None, **changes):
    of = of or channel()
    signature = sign_digest(key, voucher_digest(of.domain, of.id, cumulative))
    return replace(Voucher(31_337, CONTRACT, of.id, cumulative, signature), **changes)


def deploy(bench, name, *arguments):
    codec = ContractCodec(load_artifact(name))
    code = load_artifact(name).bytecode + codec.encode_constructor(*arguments)
    address = contract_address(bench.signer.account, bench.evm.nonce(bench.signer.account))
    assert bench.transact(Call(None, code, 4_000_000)).succeeded
    return codec, address


def view(bench, codec, address, name, *arguments):
    (found,) = codec.decode_result(name, bench.evm.call(address, codec.encode_call(name, *arguments)))
    return found


def test_digests_and_ids_are_those_of_the_contracts(bench):
    codec, address = deploy(bench, "PaymentChannel", CONTRACT)
    payer, payee, salt = address_of(PAYER), address_of(PAYEE), sha256(b"salt").digest()
    made = channel_id(bench.chain_id, address, payer, payee, salt)
    assert view(bench, codec, address, "idOf", payer, payee, salt) == made
    digest = voucher_digest(channel_domain(bench.chain_id, address), made, 123_456)
    assert view(bench, codec, address, "voucherDigest", made, 123_456) == digest

    codec, address = deploy(bench, "Settlement", CONTRACT, 3_600)
    netting = net(payments(40, 7))
    epoch = sha256(b"epoch").digest()
    arguments = (
        payer,
        epoch,
        netting.root,
        netting.count,
        [(m.account, m.amount) for m in netting.debits],
        [(m.account, m.amount) for m in netting.credits],
        2_000_000_000,
    )
    ours = settlement_digest(settlement_domain(bench.chain_id, address), payer, epoch, netting, 2_000_000_000)
    assert view(bench, codec, address, "settlementDigest", *arguments) == ours


def test_each_voucher_pays_what_it_is_above_the_last():
    state, paid = accept(channel(), voucher(100), recover, now_s=0)
    assert (paid, state.paid, state.unclaimed) == (100, 100, 100)
    state, paid = accept(state, voucher(250), recover, now_s=0)
    assert (paid, state.paid) == (150, 250)
    state = replace(state, claimed=250)
    assert state.unclaimed == 0
    with pytest.raises(RemoteFault, match="stale-voucher"):
        accept(state, voucher(250), recover, now_s=0)


def high_s(signature):
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


@pytest.mark.parametrize(
    ("code", "state", "sent"),
    [
        ("bad-signature", {}, lambda: voucher(100, key=THIEF)),
        ("bad-signature", {}, lambda: replace(voucher(100), cumulative=200)),
        ("bad-signature", {}, lambda: replace(v := voucher(100), signature=high_s(v.signature))),
        ("bad-signature", {}, lambda: voucher(100, signature=bytes(65))),
        ("bad-signature", {}, lambda: voucher(100, signature=b"\x01" * 64 + b"\x1b")),
        ("bad-signature", {}, lambda: voucher(100, signature=b"")),
        ("wrong-channel", {}, lambda: voucher(100, chain_id=1)),
        ("wrong-channel", {}, lambda: voucher(100, contract=b"\1" * 20)),
        ("wrong-channel", {}, lambda: voucher(100, channel=b"\1" * 32)),
        ("exceeds-deposit", {}, lambda: voucher(1_001)),
        ("channel-closed", {"is_closed": True}, lambda: voucher(100)),
        ("channel-closing", {"closes_at_s": 1_060}, lambda: voucher(100)),
        ("stale-voucher", {"claimed": 100}, lambda: voucher(100)),
    ],
)
def test_bad_vouchers_are_refused_by_name(code, state, sent):
    with pytest.raises(RemoteFault) as caught:
        accept(channel(**state), sent(), recover, now_s=1_000, margin_s=60)
    assert caught.value.code == code


def test_a_high_s_signature_is_of_the_payer_and_refused_all_the_same():
    good = voucher(100)
    digest = voucher_digest(DOMAIN, good.channel, 100)
    assert recover(digest, high_s(good.signature)) == address_of(PAYER)


def test_a_voucher_that_comes_in_time_is_taken_while_closing():
    assert accept(channel(closes_at_s=2_000), voucher(100), recover, now_s=1_000, margin_s=60)[1] == 100


@given(st.binary(max_size=600))
def test_no_bytes_from_a_peer_are_more_than_a_fault(data):
    with pytest.raises(RemoteFault):
        accept(channel(), Voucher.from_bytes(data), recover, now_s=0)


@given(st.binary(min_size=65, max_size=65), st.binary(min_size=32, max_size=32))
def test_recovery_never_raises(signature, digest):
    found = recover(digest, signature)
    assert found is None or len(found) == 20


def test_a_voucher_survives_its_way():
    sent = voucher(77)
    assert Voucher.from_bytes(sent.to_bytes()) == sent
    with pytest.raises(RemoteFault, match="bad-voucher"):
        Voucher.from_bytes(replace(sent, cumulative=0).to_bytes())


def test_a_payer_signs_for_no_more_than_the_deposit():
    assert next_cumulative(channel(claimed=50), 100, 900) == 1_000
    for amount, code in ((901, "exceeds-deposit"), (0, "bad-amount"), (-1, "bad-amount")):
        with pytest.raises(LocalFault, match=code):
            next_cumulative(channel(claimed=50), 100, amount)
    with pytest.raises(LocalFault, match="channel-not-open"):
        next_cumulative(channel(closes_at_s=9), 0, 1)


# Netting


def account(number):
    return sha256(b"party%d" % number).digest()[:20]


def payments(count, parties, seed=1, most=1_000):
    rng = random.Random(seed)
    made = []
    for n in range(count):
        payer, payee = rng.sample(range(parties), 2)
        memo = f"payment {n}"
        receipt_id = sha256(b"%d/%d" % (seed, n)).digest()
        made.append(PaymentReceipt(receipt_id, account(payer), account(payee), rng.randint(1, most), memo))
    return made


def totals(receipts):
    found = {}
    for receipt in receipts:
        found[receipt.payer] = found.get(receipt.payer, 0) - receipt.amount
        found[receipt.payee] = found.get(receipt.payee, 0) + receipt.amount
    return {who: amount for who, amount in found.items() if amount}


@given(st.integers(1, 120), st.integers(2, 12), st.integers(0, 1_000))
def test_what_moves_is_what_the_receipts_say(count, parties, seed):
    receipts = payments(count, parties, seed)
    made = net(receipts)
    moved = {m.account: -m.amount for m in made.debits} | {m.account: m.amount for m in made.credits}
    assert moved == totals(receipts)
    assert sum(m.amount for m in made.debits) == sum(m.amount for m in made.credits)
    for movements in (made.debits, made.credits):
        accounts = [m.account for m in movements]
        assert accounts == sorted(set(accounts))
    for index, (receipt, path) in enumerate(zip(made.receipts, proofs(made), strict=True)):
        assert root_from_proof(receipt.leaf(), index, made.count, path) == made.root


@given(st.integers(1, 80), st.integers(2, 8), st.integers(0, 1_000), st.integers(0, 2_000))
def test_a_debtor_without_a_deposit_waits_and_nobody_else_does_not(count, parties, seed, deposit):
    receipts = payments(count, parties, seed)
    deposits = {account(n): deposit * n for n in range(parties)}
    try:
        made = net(receipts, deposits)
    except LocalFault as fault:
        assert fault.code == "nothing-to-settle"
        return
    assert sorted([*made.receipts, *made.deferred], key=lambda r: r.id) == sorted(
        receipts, key=lambda r: r.id
    )
    assert all(m.amount <= deposits[m.account] for m in made.debits)


def test_settling_twice_and_nothing_are_refused():
    receipts = payments(3, 3)
    with pytest.raises(LocalFault, match="duplicate-receipt"):
        net([*receipts, receipts[0]])
    with pytest.raises(LocalFault, match="nothing-to-settle"):
        net([])
    with pytest.raises(LocalFault, match="nothing-to-settle"):
        net(receipts, {})


@pytest.mark.parametrize("amount", [0, -1, 1.5, True, 1 << 63, "7"])
def test_an_amount_is_a_positive_whole_number(amount):
    with pytest.raises(LocalFault, match="bad-receipt"):
        PaymentReceipt(bytes(32), account(1), account(2), amount)


def test_a_receipt_survives_its_way_and_a_forged_leaf_does_not():
    receipt = payments(1, 2)[0]
    assert receipt_of(receipt.leaf()) == receipt
    for leaf in (b"", b"\xa0", receipt.leaf() + b"\0", receipt.leaf()[:-1], b"\x80"):
        with pytest.raises(RemoteFault):
            receipt_of(leaf)
    with pytest.raises(LocalFault, match="bad-receipt"):
        PaymentReceipt(bytes(32), account(1), account(1), 1)


def test_a_proof_of_another_shape_leads_nowhere():
    made = net(payments(5, 3))
    path = proofs(made)[2]
    good = ReceiptProof(1, CONTRACT, account(1), bytes(32), made.receipts[2].leaf(), 2, 5, path)
    assert good.root() == made.root
    assert replace(good, index=9).root() is None
    assert replace(good, path=path[:-1]).root() is None
    assert replace(good, leaf=made.receipts[3].leaf()).root() != made.root
    assert Movement(account(1), 1) != Movement(account(1), 2)
