"""Payments of needs between the accounts of several nodes: bound, netted, signed by who pays, on chain exactly once."""

from dataclasses import replace
from hashlib import sha256

import pytest
from swarmd.node.chain.desk import SETTLEMENT, TOKEN
from swarmd.node.chain.evm_signatures import sign_digest
from swarmd.node.chain.settlement import verify_proof
from swarmd.node.settling.own import OWN_FILE, load_own
from swarmd.node.settling.wire import Refused
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.ledger.binding import Binding
from swarmd.protocol.ledger.netting import receipt_of, settlement_digest, settlement_domain

DEPOSIT = 1_000_000


def first_ask(world, name):
    """The first thing that a node asks when it settles all at once."""
    _, asks = world[name].mesh.advance(now_s=world.now_s, at_once=True)
    return asks


def test_what_needs_owe_moves_between_accounts_once(world):
    names = world.closed(1, ("ann", "bob", 700), ("bob", "cat", 500), ("cat", "ann", 100))
    world.settle("cat")  # bob and cat pay and are not debited: they consent before ann signs
    assert world.balances() == {"ann": DEPOSIT - 600, "bob": DEPOSIT + 200, "cat": DEPOSIT + 400}
    (event,) = world.settled_events()
    assert (event["count"], event["moved"]) == (3, 600)
    world.share_proofs()
    for party in world.parties.values():
        mine = [n for n in names if party.did in ((due := party.mesh.dues.get(n)).payer, due.payee)]
        for name in mine:
            proof = party.mesh.proof(name)
            assert verify_proof(party.mesh.desk, proof).id == name
            assert party.mesh.state_of(party.mesh.dues.get(name)) == "settled"
    world.settle("ann")
    world.settle("bob")
    assert len(world.settled_events()) == 1


def test_it_waits_for_enough_or_for_long_enough_and_takes_turns(make_world):
    world = make_world(min_receipts=3, deadline_s=100)
    turn = next(p for p in world.parties.values() if p.did == p.mesh.publisher(world.now_s))
    assert {p.mesh.publisher(world.now_s) for p in world.parties.values()} == {turn.did}
    world.closed(1, ("ann", "bob", 700), ("bob", "cat", 500))
    for name in world.names:
        world.settle(name, at_once=False)
    assert world.settled_events() == []
    world.closed(2, ("cat", "ann", 100))
    for name in world.names:
        world.settle(name, at_once=False)
    assert len(world.settled_events()) == 1  # three are enough, and one publishes
    world.share_proofs()
    world.closed(3, ("ann", "cat", 50))
    world.now_s += 100
    for name in world.names:
        world.settle(name, at_once=False)
    assert [event["count"] for event in world.settled_events()] == [3, 1]


def test_a_silent_debtor_is_left_out_and_the_rest_is_netted_again(world):
    world.closed(1, ("ann", "bob", 700), ("bob", "cat", 500), ("cat", "bob", 100))
    world["ann"].is_silent = True
    world.settle("cat")
    assert world.balances() == {"ann": DEPOSIT, "bob": DEPOSIT - 400, "cat": DEPOSIT + 400}
    assert world["cat"].mesh.status(world.now_s)["set_aside"] == {"silent": 1}
    world["ann"].is_silent = False
    world.settle("cat")
    assert world.balances()["ann"] == DEPOSIT  # it is asked again after a while, not at once
    world.now_s += 601
    world.settle("cat")
    assert world.balances() == {"ann": DEPOSIT - 700, "bob": DEPOSIT + 300, "cat": DEPOSIT + 400}


def test_a_receipt_is_in_one_epoch_that_can_count(world):
    (name,) = world.closed(1, ("ann", "bob", 700))
    (ask,) = first_ask(world, "bob")
    ann = world["ann"].mesh
    ann.sign(ask.proposal, ask.consents, author=world["bob"].did, now_s=world.now_s)
    (other,) = first_ask(world, "cat")
    with pytest.raises(Refused) as caught:
        ann.sign(other.proposal, other.consents, author=world["cat"].did, now_s=world.now_s)
    assert (caught.value.code, caught.value.receipts) == ("in-another-epoch", (name,))
    # Under the same name of the same publisher it may: of those the contract takes one.
    world.settle("bob")
    with pytest.raises(Refused) as caught:
        ann.sign(other.proposal, other.consents, author=world["cat"].did, now_s=world.now_s)
    assert caught.value.code == "already-settled"
    world.settle("cat")
    assert world.balances() == {"ann": DEPOSIT - 700, "bob": DEPOSIT + 700, "cat": DEPOSIT}


def test_a_receipt_is_free_again_when_its_epoch_cannot_come_any_more(world):
    world.closed(1, ("ann", "bob", 700))
    (ask,) = first_ask(world, "bob")
    ann = world["ann"].mesh
    ann.sign(ask.proposal, ask.consents, author=world["bob"].did, now_s=world.now_s)
    world.now_s = ask.proposal.deadline_s + 1
    (other,) = first_ask(world, "cat")
    with pytest.raises(Refused, match="in-another-epoch"):  # the chain's clock says when, not ours
        ann.sign(other.proposal, other.consents, author=world["cat"].did, now_s=world.now_s)
    world.pass_time(world.now_s)
    ann.sign(other.proposal, other.consents, author=world["cat"].did, now_s=world.now_s)


def proposals(world, ask):
    """What a publisher may try -> how it is refused."""
    proposal = ask.proposal
    receipt = receipt_of(proposal.leaves[0])

    def with_receipt(**change):
        return replace(proposal, leaves=(replace(receipt, **change).leaf(),))

    return {
        "wrong-chain": replace(proposal, chain_id=1),
        "other-contract": replace(proposal, contract=b"c" * 20),
        "bad-deadline": replace(proposal, deadline_s=world.now_s + 10 * 86_400),
        "not-publisher": replace(proposal, publisher=world["bob"].account),
        "bad-receipt": replace(proposal, leaves=(b"\xa0",)),
        "bad-proposal": replace(proposal, leaves=proposal.leaves * 2),
        "false-receipt": with_receipt(amount=receipt.amount + 1),
        "unknown-receipts": with_receipt(id=sha256(b"made up").digest()),
    }


def test_what_a_debtor_does_not_sign(world):
    world.closed(1, ("ann", "bob", 700))
    (ask,) = first_ask(world, "cat")
    cat = world["cat"].did
    for code, proposal in proposals(world, ask).items():
        with pytest.raises((Refused, RemoteFault)) as caught:
            world["ann"].mesh.sign(proposal, {}, author=cat, now_s=world.now_s)
        assert caught.value.code == code
    with pytest.raises(RemoteFault, match="not-publisher"):
        world["ann"].mesh.sign(ask.proposal, {}, author="did:key:zStranger", now_s=world.now_s)
    with pytest.raises(Refused, match="not-concerned"):
        world["cat"].mesh.sign(ask.proposal, {}, author=cat, now_s=world.now_s)
    world["ann"].mesh.sign(ask.proposal, {}, author=cat, now_s=world.now_s)  # nothing of all that was kept


def test_a_debtor_wants_the_consent_of_who_pays_without_being_debited(world):
    world.closed(1, ("ann", "bob", 700), ("bob", "cat", 500))
    (consent,) = first_ask(world, "cat")
    assert consent.payer == world["bob"].account
    cat, ann = world["cat"].did, world["ann"].mesh
    with pytest.raises(Refused, match="consents-missing"):
        ann.sign(consent.proposal, {}, author=cat, now_s=world.now_s)
    forged = {world["bob"].account: sign_digest(sha256(b"mallory").digest(), bytes(32))}
    with pytest.raises(RemoteFault, match="bad-signature"):
        ann.sign(consent.proposal, forged, author=cat, now_s=world.now_s)
    with pytest.raises(RemoteFault, match="bad-signature"):
        world["cat"].mesh.took(world["bob"].account, consent.root, next(iter(forged.values())))


def test_a_debtor_that_knows_less_is_left_out_with_that_alone(world):
    world.closed(1, ("ann", "bob", 700))
    world.closed(2, ("ann", "cat", 50), but=("ann",))
    world.settle("bob")
    assert world.balances() == {"ann": DEPOSIT - 700, "bob": DEPOSIT + 700, "cat": DEPOSIT}
    assert world["bob"].mesh.status(world.now_s)["set_aside"] == {"unknown-receipts": 1}


def test_what_a_debtor_may_withdraw_in_time_does_not_cover(world):
    """A debtor that withdraws before the settlement: what can be gone by the deadline is not counted on."""
    world.closed(1, ("ann", "bob", 700))
    ann = world["ann"].mesh.desk
    ann.request_withdrawal("all of it", DEPOSIT)
    ready_at_s = ann.view(SETTLEMENT, "withdrawalOf", ann.account)[1]
    world.now_s = ready_at_s - 60
    world.pass_time(world.now_s)
    waits, asks = world["bob"].mesh.advance(now_s=world.now_s, at_once=True)
    assert asks == [] and waits.startswith("deposits: ")
    assert world.settled_events() == []


def test_without_a_binding_nothing_is_asked(world):
    (world.folder / "ann" / OWN_FILE).unlink()
    world.closed(1, ("ann", "bob", 700))
    waits, asks = world["ann"].mesh.advance(now_s=world.now_s, at_once=True)
    assert (waits.partition(":")[0], asks) == ("binding", [])


def test_bindings_that_are_refused(world):
    ann, bob = world["ann"], world["bob"]
    binding = load_own(world.folder / "ann")
    other = load_own(world.folder / "bob")
    later = replace(binding, made_at_s=binding.made_at_s + 10)
    wrong = {
        "foreign-binding": (bob.did, binding),
        "other-chain": (ann.did, replace(later, chain_id=1)),
        "future-dated": (ann.did, replace(later, made_at_s=world.now_s + 100_000)),
        "bad-signature": (ann.did, later),  # signed for another time
    }
    for code, (did, shown) in wrong.items():
        assert world["cat"].mesh.learn([(did, shown)], now_s=world.now_s) == [(did, code)]
    stolen = Binding(
        ann.did,
        other.account,
        binding.chain_id,
        later.made_at_s,
        later.did_signature,
        other.account_signature,
    )
    assert world["cat"].mesh.learn([(ann.did, stolen)], now_s=world.now_s) == [(ann.did, "bad-signature")]
    # A newer one stands, and the older one shown again moves nothing.
    world.now_s += 100
    ann.mesh.bind(now_s=world.now_s)
    world.tell_bindings()
    assert world["cat"].mesh.learn([(ann.did, binding)], now_s=world.now_s) == [(ann.did, "stale-binding")]
    assert world["cat"].mesh.bindings.of(ann.did).made_at_s == world.now_s


def test_wrong_proofs_are_refused(world):
    (name,) = world.closed(1, ("ann", "bob", 700))
    world.settle("cat")
    (proof,) = world["cat"].mesh.proofs([name])
    receipt = receipt_of(proof.leaf)
    for wrong in (
        replace(proof, contract=b"c" * 20),
        replace(proof, leaf=replace(receipt, amount=701).leaf()),
        replace(proof, leaf=replace(receipt, memo="other").leaf()),
        replace(proof, chain_id=1),
    ):
        with pytest.raises(RemoteFault, match="bad-proof"):
            world["bob"].mesh.keep_proofs([wrong])
    assert world["bob"].mesh.keep_proofs([replace(proof, epoch=b"e" * 32)]) == 0  # not on chain
    with pytest.raises(LocalFault, match="not-settled"):
        world["bob"].mesh.proof(name)
    assert world["bob"].mesh.keep_proofs([proof]) == 1
    assert world["bob"].mesh.proof(name) == proof


ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def twin_of(signature):
    """The other signature of the same thing: high s, which everybody refuses."""
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([55 - signature[64]])


def test_signatures_with_a_high_s_or_for_another_chain_are_refused_here_and_on_the_chain(world):
    world.closed(1, ("ann", "bob", 700))
    (ask,) = first_ask(world, "cat")
    ann, cat = world["ann"], world["cat"]
    signature = ann.mesh.sign(ask.proposal, {}, author=cat.did, now_s=world.now_s)
    made = ask.proposal.netting()
    settled = (ask.proposal.publisher, ask.proposal.epoch, made, ask.proposal.deadline_s)
    elsewhere = settlement_digest(settlement_domain(1, ask.proposal.contract), *settled)
    other = ann.machine.signer.sign_digest(elsewhere)
    for wrong, why in ((twin_of(signature), "above half"), (other, "not signed by"), (b"", "has 65 bytes")):
        with pytest.raises(RemoteFault, match=why) as caught:
            cat.mesh.took(ann.account, ask.root, wrong)
        assert caught.value.code == "bad-signature"
        with pytest.raises(LocalFault, match="BadSignature"):
            cat.mesh.desk.send(
                wrong.hex(),
                SETTLEMENT,
                "settle",
                ask.proposal.epoch,
                made.root,
                made.count,
                [(m.account, m.amount) for m in made.debits],
                [(m.account, m.amount) for m in made.credits],
                ask.proposal.deadline_s,
                [wrong],
            )
    assert world.settled_events() == []
    world.settle("cat")
    assert len(world.settled_events()) == 1


def test_a_debtor_cannot_leave_between_its_signature_and_the_settlement(world):
    world.closed(1, ("ann", "bob", 700))
    (ask,) = first_ask(world, "cat")
    ann = world["ann"].mesh.desk
    world.ask(world["cat"], ask)  # ann has signed
    ann.request_withdrawal("all of it", DEPOSIT)
    with pytest.raises(LocalFault, match="NotReady"):
        ann.withdraw("at once")
    world.settle("cat")
    assert world.balances() == {"ann": DEPOSIT - 700, "bob": DEPOSIT + 700, "cat": DEPOSIT}
    world.pass_time(ann.view(SETTLEMENT, "withdrawalOf", ann.account)[1])
    assert ann.withdraw("later").state == "final"  # what is left
    assert world.balances()["ann"] == 0
    assert ann.view(TOKEN, "balanceOf", ann.account)[0] == DEPOSIT - 700


def test_the_same_epoch_again_moves_nothing(world):
    world.closed(1, ("ann", "bob", 700))
    world.settle("cat")
    (epoch,) = world["cat"].mesh.book.epochs()
    before = world.balances()
    again = ("settle", epoch.id, epoch.root, epoch.count, [], [], epoch.deadline_s, [])
    assert world["cat"].mesh.desk.send("again", SETTLEMENT, *again).state == "final"
    with pytest.raises(LocalFault, match="EpochConflict"):
        world["cat"].mesh.desk.send("another root", SETTLEMENT, *again[:2], b"r" * 32, *again[3:])
    assert world.balances() == before and len(world.settled_events()) == 1
