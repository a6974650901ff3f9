"""A stake is taken on the chain by evidence that a quorum of verifiers has checked: once, and for nothing else."""

import base64
import json
import time
from dataclasses import replace

import pytest
from swarmd.node.chain.desk import STAKES, TOKEN, UNBONDING_S
from swarmd.node.chain.evm_signatures import sign_digest
from swarmd.node.settling import slashing
from swarmd.node.settling.wire import Refused, parse_charge
from swarmd.protocol.batch import GENESIS_PREV, batch_to_list, sign_flush
from swarmd.protocol.cbor import encode_ordered
from swarmd.protocol.envelope import bucket_of, build, need_id
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.genesis import Genesis

STAKE = 1_000_000


@pytest.fixture
def court(world):
    """The world with a registry whose roster is all three, two of them a quorum; ann has a stake."""
    parties = world.parties.values()
    accounts = sorted(party.account for party in parties)
    token = world.bank.contract(TOKEN)
    machine = world.bank.machine
    registry = machine.install(STAKES, token, world.bank.account, UNBONDING_S, accounts, 2)
    for party in parties:
        party.machine.terms.contracts[STAKES] = registry
    world.bank.fund("for ann's stake", STAKE, world["ann"].account)
    assert world["ann"].mesh.desk.stake("all", STAKE).state == "final"
    return world


@pytest.fixture
def genesis(world):
    roster = tuple(sorted(party.did for party in world.parties.values()))
    return Genesis("court", roster, {}, verifier_stake=400_000)


def fork_of(genesis, party, seq=0, texts=("one", "other")):
    """A certificate that convicts `party`: two batches it signed for one place of its chain."""
    thread = need_id(party.did, 0)
    batches = []
    for text in texts:
        envelope = build(
            kind="YIELD",
            thread=thread,
            sender=party.did,
            lamport=1,
            ts_ns=time.time_ns(),
            epoch=0,
            refs=(),
            policy=bytes(32),
            eval_digest=bytes(32),
            payload={"task": "t1", "attempt": 0, "reason": text},
        )
        prev = GENESIS_PREV if seq == 0 else b"p" * 32
        group = (0, bucket_of(thread), seq, prev, [envelope])
        batches += sign_flush(genesis.mesh_id, party.did, [group], party.identity.sign)[1]
    return {
        "format": "swarmd-certificate/1",
        "mesh": genesis.mesh_name,
        "genesis": genesis.to_map(),
        "what": "fork",
        "batches": [base64.b64encode(encode_ordered(batch_to_list(each))).decode() for each in batches],
    }


def charged(court, genesis, document, by="bob"):
    mesh = court[by].mesh
    charge = mesh.charge(json.dumps(document).encode())
    return charge, mesh.judge(genesis, charge)


def stake_of(court, name):
    return court["bob"].mesh.desk.stake_of(court[name].account)["bonded"]


def test_a_quorum_takes_the_stake_of_who_signed_two_histories_once(court, genesis):
    charge, verdict = charged(court, genesis, fork_of(genesis, court["ann"]))
    assert (verdict.who, verdict.amount) == (court["ann"].did, 400_000)
    votes = {}
    for name in ("bob", "cat"):
        with pytest.raises(LocalFault, match="quorum-missed"):
            court["bob"].mesh.slash(verdict, votes)
        vote = court[name].mesh.vote(genesis, parse_charge(charge.to_map()))
        slashing.check_vote(verdict, court[name].account, vote)
        votes[court[name].account] = vote
    assert court["bob"].mesh.slash(verdict, votes)["state"] == "final"
    assert stake_of(court, "ann") == STAKE - 400_000
    assert court["bob"].mesh.slash(verdict, votes)["state"] == "final"  # asked again, done once
    assert stake_of(court, "ann") == STAKE - 400_000
    # Another pair of histories for the same place is the same offence.
    with pytest.raises(Refused, match="already-punished"):
        charged(court, genesis, fork_of(genesis, court["ann"], texts=("third", "fourth")))
    with pytest.raises(LocalFault, match="AlreadyPunished"):
        court["cat"].mesh.slash(verdict, votes)
    charge, other = charged(court, genesis, fork_of(genesis, court["ann"], seq=1))
    assert other.offence != verdict.offence


def test_votes_that_are_not_the_verifiers_do_not_count(court, genesis):
    charge, verdict = charged(court, genesis, fork_of(genesis, court["ann"]))
    stranger = sign_digest(b"\x07" * 32, verdict.digest)
    with pytest.raises(RemoteFault, match="bad-signature"):
        slashing.check_vote(verdict, court["cat"].account, stranger)
    vote = court["cat"].mesh.vote(genesis, charge)
    high = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 - int.from_bytes(
        vote[32:64], "big"
    )
    twin = vote[:32] + high.to_bytes(32, "big") + bytes([55 - vote[64]])
    with pytest.raises(RemoteFault, match="above half"):
        slashing.check_vote(verdict, court["cat"].account, twin)
    bob = court["bob"].mesh.vote(genesis, charge)
    for votes, why in (
        ({court["bob"].account: bob, court["cat"].account: stranger}, "NotVerifier|SignersUnordered"),
        ({court["bob"].account: bob, court["cat"].account: twin}, "ECDSAInvalidSignatureS|reverted|refused"),
        ({court["bob"].account: bob, court["cat"].account: bob}, "SignersUnordered"),
    ):
        with pytest.raises(LocalFault, match=why):
            court["bob"].mesh.slash(verdict, votes)
    assert stake_of(court, "ann") == STAKE


def test_charges_that_a_verifier_does_not_sign(court, genesis):
    document = fork_of(genesis, court["ann"])
    charge, _ = charged(court, genesis, document)
    cat = court["cat"].mesh
    (one, _) = document["batches"]
    for wrong, code in (
        ({**document, "batches": [one, one]}, None),
        ({**document, "mesh": "other"}, "other-mesh"),
        ({**document, "batches": [one]}, "bad-certificate"),
        ({"format": "none"}, "bad-certificate"),
        ([], "bad-certificate"),
    ):
        with pytest.raises(RemoteFault) as caught:
            cat.vote(genesis, replace(charge, evidence=json.dumps(wrong).encode()))
        assert code in (None, caught.value.code)
    with pytest.raises(RemoteFault):
        cat.vote(genesis, replace(charge, evidence=b"{"))
    for wrong, code in (
        (replace(charge, chain_id=1), "wrong-chain"),
        (replace(charge, contract=b"c" * 20), "other-contract"),
        (replace(charge, roster_epoch=1), "other-roster"),
    ):
        with pytest.raises(Refused) as refused:
            cat.vote(genesis, wrong)
        assert refused.value.code == code


def test_who_has_no_stake_and_who_is_not_bound(court, genesis):
    charge, verdict = charged(court, genesis, fork_of(genesis, court["cat"]))
    votes = {court[name].account: court[name].mesh.vote(genesis, charge) for name in ("ann", "bob")}
    with pytest.raises(LocalFault, match="nothing-at-stake"):
        court["bob"].mesh.slash(verdict, votes)
    stranger = replace(court["cat"], identity=type(court["cat"].identity)(*_fresh()))
    with pytest.raises(Refused, match="unbound-offender"):
        charged(court, genesis, fork_of(genesis, stranger))


def _fresh():
    import nacl.signing
    from swarmd.protocol.didkey import did_of

    key = nacl.signing.SigningKey.generate()
    return did_of(bytes(key.verify_key)), bytes(key), key
