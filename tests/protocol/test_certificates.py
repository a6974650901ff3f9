"""Certificates alone: what they show, and every way of making one that shows nothing."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarmd.protocol.batch import batch_to_list, prove, sign_flush
from swarmd.protocol.cbor import Link, decode, encode_ordered
from swarmd.protocol.cids import cid_text, raw_cid
from swarmd.protocol.consensus.certificates import (
    CONTRADICTION,
    DECISION,
    RESULT,
    certificate_from_list,
    certify,
    closure,
    verify,
    verify_fork,
)
from swarmd.protocol.envelope import bucket_of, build
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.genesis import BFT
from swarmd.protocol.terms import Terms

pytestmark = [pytest.mark.property_id("P6"), pytest.mark.property_id("P7")]


class Notary:
    """Signs what people say, each envelope in a flush of its own or among others, and makes certificates of it."""

    def __init__(self, ballot, keys) -> None:
        self.ballot = ballot
        self.keys = keys
        self.key_of = {**ballot.names, ballot.owner: "own", ballot.worker: "w"}
        self.known = {each.id: each for each in (ballot.need, ballot.plan, ballot.rival)}

    def took(self, *envelopes):
        self.known.update((each.id, each) for each in envelopes)
        return envelopes

    def proof(self, envelope, *, mesh_id=None, signer="", beside=()):
        name = signer or self.key_of[envelope.sender]

        def sign(data):
            return self.keys(name).sign(data).signature

        group = [envelope, *beside]
        _, (batch,) = sign_flush(
            mesh_id or self.ballot.genesis.mesh_id,
            envelope.sender,
            [(0, bucket_of(envelope.thread), 0, bytes(32), group)],
            sign,
        )
        return prove(batch, 0)

    def certificate(self, what, *about):
        return certify(what, [each.id for each in about], (0,), self.known, self.proof)

    def verify(self, certificate):
        # Over the wire, as others get it.
        read = certificate_from_list(decode(encode_ordered(certificate.to_list())))
        return verify(Terms(self.ballot.genesis), read)

    def refused(self, certificate):
        with pytest.raises(RemoteFault) as caught:
            self.verify(certificate)
        return caught.value.code


@pytest.fixture
def notary(ballot, keys):
    return lambda **params: Notary(ballot(**params), keys)


def decided(one, count=3):
    """A DECIDE with `count` votes for the plan, which the notary knows."""
    ballot = one.ballot
    votes = one.took(*ballot.votes(ballot.plan, count))
    (decide,) = one.took(ballot.decide(ballot.proposer, ballot.plan, list(votes)))
    return decide, votes


# What they show.


def test_a_decision(notary):
    one = notary()
    decide, votes = decided(one)
    certificate = one.certificate(DECISION, decide)
    assert len(certificate.proofs) == 6  # need, plan, three votes, decide; not the rival
    shown = one.verify(certificate)
    assert (shown["need"], shown["decide"], shown["quorum"]) == (one.ballot.thread, cid_text(decide.id), 3)
    assert shown["voters"] == sorted(vote.sender for vote in votes)
    assert shown["committee"] == list(one.ballot.committee.members)
    assert shown["plan"] == {"t1": [[one.ballot.worker, 20_000]]}


def test_a_decision_in_mode_bft_takes_its_quorum(notary):
    one = notary(quorum_mode=BFT)
    decide, _ = decided(one, 5)
    assert one.verify(one.certificate(DECISION, decide))["quorum"] == 5


def test_a_decision_in_a_later_round_brings_the_skips_and_what_they_show(notary):
    one = notary()
    ballot = one.ballot
    first, second, third = ballot.committee.members[:3]
    (shown,) = one.took(ballot.vote(first, ballot.plan))

    def skip(who, *refs):
        body = {"verdict": "skip", "round": 1, "reason": ""}
        return ballot.envelope(who, "ATTEST_PLAN", body, [ballot.need.id, *refs])

    skips = one.took(skip(first, shown.id), skip(second), skip(third))
    again = {"round": 1, "lease_s": 60, "plan": ballot.plan.payload["plan"]}
    (repeated,) = one.took(
        ballot.envelope(second, "PROPOSE", again, [ballot.need.id, *(s.id for s in skips)])
    )
    votes = one.took(*ballot.votes(repeated, 3))
    (decide,) = one.took(ballot.decide(second, repeated, list(votes), round=1))
    certificate = one.certificate(DECISION, decide)
    assert (
        len(certificate.proofs) == 2 + 1 + 3 + 1 + 3 + 1
    )  # the vote that a skip shows, and what that was for
    found = one.verify(certificate)
    assert (found["round"], found["proposal"]) == (1, cid_text(ballot.plan.id)), "it keeps its first name"


def test_a_result(notary):
    one = notary()
    ballot = one.ballot
    decide, _ = decided(one)
    body = {"task": "t1", "attempt": 0, "lease_s": 60}
    (claim,) = one.took(ballot.envelope(ballot.worker, "CLAIM", body, [decide.id]))
    result = Link(raw_cid(b"result"))
    telemetry = {"wall_ms": 1, "cpu_ms": 1, "max_rss_kb": 1, "output_bytes": 6}
    done = {"task": "t1", "result": result, "size": 6, "telemetry": telemetry}
    (commit,) = one.took(ballot.envelope(ballot.worker, "COMMIT", done, [claim.id]))
    members = [did for did in ballot.names if did != ballot.owner]
    said = {"task": "t1", "verdict": "accept", "score": 100, "reason": ""}
    attests = one.took(*(ballot.envelope(did, "ATTEST", said, [commit.id]) for did in members))
    accepted = {"outcome": "accepted", "task": "t1", "result": result}
    refs = [commit.id, *(attest.id for attest in attests)]
    (final,) = one.took(ballot.envelope(ballot.proposer, "FINALIZE", accepted, refs))
    shown = one.verify(one.certificate(RESULT, final))
    assert (shown["worker"], shown["price"], shown["result"]) == (ballot.worker, 20_000, cid_text(result))
    assert len(shown["judges"]) == 5, "only those of the committee count"
    few = one.took(ballot.envelope(ballot.proposer, "FINALIZE", accepted, refs[:2]))
    assert one.refused(one.certificate(RESULT, *few)) == "void-statement"
    expired = {"outcome": "expired", "reason": "late"}
    after_ns = ballot.need.payload["deadline_ns"] + 61 * 10**9
    said = build(
        kind="FINALIZE", thread=ballot.thread, sender=ballot.owner, lamport=10_000, ts_ns=after_ns, epoch=0, payload=expired,
        refs=(ballot.need.id,), policy=bytes(32), eval_digest=bytes(32),
    )  # fmt: skip
    one.took(said)
    assert one.verify(one.certificate(RESULT, said))["outcome"] == "expired"


@pytest.mark.property_id("P1")
def test_a_contradiction(notary):
    one = notary()
    ballot = one.ballot
    liar, other = ballot.committee.members[1:3]
    first, second = one.took(ballot.vote(liar, ballot.plan), ballot.vote(liar, ballot.rival))
    shown = one.verify(one.certificate(CONTRADICTION, first, second))
    assert shown["who"] == liar
    assert [said["proposal"] for said in shown["said"]] == [
        cid_text(ballot.plan.id),
        cid_text(ballot.rival.id),
    ]
    shown = one.verify(one.certificate(CONTRADICTION, ballot.plan, ballot.rival))
    assert (shown["who"], [said["kind"] for said in shown["said"]]) == (
        ballot.proposer,
        ["PROPOSE", "PROPOSE"],
    )
    body = {"verdict": "skip", "round": 1, "reason": ""}
    (hides,) = one.took(ballot.envelope(liar, "ATTEST_PLAN", body, [ballot.need.id]))
    assert one.verify(one.certificate(CONTRADICTION, first, hides))["who"] == liar, "a skip that hides a vote"
    # What honest members may say.
    honest, skips = one.took(
        ballot.vote(other, ballot.plan), ballot.envelope(other, "ATTEST_PLAN", body, [ballot.need.id])
    )
    shows = ballot.envelope(other, "ATTEST_PLAN", body, [ballot.need.id, honest.id])
    one.took(shows)
    against = ballot.vote(other, ballot.rival, "reject")
    one.took(against)
    for pair in ((honest, shows), (honest, against), (first, honest), (honest, honest)):
        assert one.refused(one.certificate(CONTRADICTION, *pair)) == "no-contradiction"


def test_a_forked_chain(notary, keys):
    one = notary()
    ballot = one.ballot
    liar = ballot.committee.members[0]
    genesis = ballot.genesis

    def batch(*envelopes, seq=0, mesh_id=genesis.mesh_id):
        prev = bytes(32) if seq == 0 else b"p" * 32
        group = (0, bucket_of(ballot.thread), seq, prev, envelopes)
        _, (made,) = sign_flush(
            mesh_id, liar, [group], lambda data: keys(ballot.names[liar]).sign(data).signature
        )
        return batch_to_list(made)

    honest, forked = batch(ballot.plan), batch(ballot.rival)
    shown = verify_fork(genesis.mesh_id, honest, forked)
    assert (shown["who"], shown["seq"]) == (liar, 0)
    for pair in ((honest, honest), (honest, batch(ballot.rival, seq=1))):
        with pytest.raises(RemoteFault, match="no-contradiction"):
            verify_fork(genesis.mesh_id, *pair)
    with pytest.raises(RemoteFault, match="bad-signature"):
        verify_fork(genesis.mesh_id, honest, batch(ballot.rival, mesh_id=b"another mesh" + bytes(20)))


# What they do not show.


def with_statements(certificate, *proofs):
    return replace(certificate, proofs=tuple(proofs))


def test_too_few_repeated_or_others_votes(notary):
    one = notary()
    ballot = one.ballot
    votes = one.took(*ballot.votes(ballot.plan, 3))
    stranger = next(did for did in ballot.names if did not in ballot.committee.members)
    (outsider,) = one.took(ballot.vote(stranger, ballot.plan))
    (twice,) = one.took(ballot.vote(votes[0].sender, ballot.plan))
    (elsewhere,) = one.took(ballot.vote(ballot.committee.members[3], ballot.rival))
    (against,) = one.took(ballot.vote(ballot.committee.members[4], ballot.plan, "reject"))
    for third in (None, outsider, twice, elsewhere, against):
        chosen = [*votes[:2], *([third] if third else [])]
        (decide,) = one.took(ballot.decide(ballot.proposer, ballot.plan, chosen))
        assert one.refused(one.certificate(DECISION, decide)) == "void-statement"
    (outside,) = one.took(ballot.decide(stranger, ballot.plan, list(votes)))
    assert one.refused(one.certificate(DECISION, outside)) == "void-statement"
    for change in ({"k": 2}, {"round": 1}):
        (other,) = one.took(ballot.decide(ballot.proposer, ballot.plan, list(votes), **change))
        assert one.refused(one.certificate(DECISION, other)) == "void-statement"
    (good,) = one.took(ballot.decide(ballot.proposer, ballot.plan, list(votes)))
    certificate = one.certificate(DECISION, good)
    proofs = certificate.proofs
    assert one.refused(with_statements(certificate, *proofs, proofs[2])) == "repeated-statement"
    assert one.refused(with_statements(certificate, *proofs, one.proof(outsider))) == "unrelated-statement"
    for left_out in range(len(proofs)):
        rest = [proof for at, proof in enumerate(proofs) if at != left_out]
        assert one.refused(with_statements(certificate, *rest)) in ("missing-statement", "bad-certificate")


def test_forged_signatures(notary):
    one = notary()
    decide, votes = decided(one)
    certificate = one.certificate(DECISION, decide)
    at = next(i for i, proof in enumerate(certificate.proofs) if proof.raw == votes[1].raw)

    def with_proof(proof):
        proofs = list(certificate.proofs)
        proofs[at] = proof
        return with_statements(certificate, *proofs)

    true = certificate.proofs[at]
    assert one.refused(with_proof(one.proof(votes[1], signer="own"))) == "bad-signature", "another's key"
    assert one.refused(with_proof(one.proof(votes[1], mesh_id=b"m" * 32))) == "bad-signature", "another mesh"
    flipped = true.seal.signature[:-1] + bytes([true.seal.signature[-1] ^ 1])
    assert (
        one.refused(with_proof(replace(true, seal=replace(true.seal, signature=flipped)))) == "bad-signature"
    )
    swapped = replace(true, seal=one.proof(votes[0]).seal)
    assert one.refused(with_proof(swapped)) in ("bad-signature", "bad-proof")
    borrowed = replace(one.proof(votes[0]), raw=votes[1].raw)
    assert one.refused(with_proof(borrowed)) in ("bad-proof", "sender-mismatch")
    many = one.proof(votes[1], beside=[one.ballot.vote(votes[1].sender, one.ballot.plan) for _ in range(4)])
    assert one.verify(with_proof(many)), "from a batch of several, with a path"
    assert one.refused(with_proof(replace(many, path=many.path[:-1]))) == "bad-proof"
    assert one.refused(with_proof(replace(many, path=(b"0" * 32, *many.path[1:])))) == "bad-proof"
    assert one.refused(with_proof(replace(many, index=1))) == "bad-proof"
    assert one.refused(with_proof(replace(many, count=6))) == "bad-proof"


def test_of_other_terms_or_of_another_need(notary, ballot):
    one = notary()
    decide, _ = decided(one)
    certificate = one.certificate(DECISION, decide)
    for change in ({"alpha_permille": 400}, {"quorum_mode": BFT}, {"k_target": 4}):
        with pytest.raises(RemoteFault, match="bad-signature"):
            verify(Terms(ballot(**change).genesis), certificate)
    other = one.ballot
    other.thread = "need-" + "a" * 32
    stray = other.vote(other.proposer, other.plan)
    assert one.refused(with_statements(certificate, *certificate.proofs, one.proof(stray))) == "other-need"


def test_what_is_shown_must_be_there_and_of_its_kind(notary):
    one = notary()
    decide, votes = decided(one)
    certificate = one.certificate(DECISION, decide)
    assert one.refused(replace(certificate, about=(raw_cid(b"nothing"),))) == "missing-statement"
    assert one.refused(replace(certificate, what=RESULT)) == "bad-certificate"
    vote = one.certificate(DECISION, votes[0])
    assert one.refused(vote) == "bad-certificate"
    need = one.certificate(DECISION, one.ballot.need)
    assert one.refused(need) == "bad-certificate"
    with pytest.raises(LocalFault, match="incomplete"):
        closure({decide.id: decide}, [decide.id])


def test_of_an_epoch_whose_roster_is_not_known_or_not_its_own(notary):
    one = notary()
    decide, _ = decided(one)
    certificate = one.certificate(DECISION, decide)
    assert one.refused(replace(certificate, draws=(0, 3))) == "unknown-roster"
    assert one.refused(replace(certificate, draws=(1,))) == "bad-certificate"
    assert one.verify(certificate)["epoch"] == 0


def test_a_need_that_contradicts_itself(notary):
    one = notary()
    ballot = one.ballot
    payload = {**ballot.need.payload, "budget": 1}
    bad = ballot.envelope(ballot.owner, "NEED", payload, ())
    one.known = {bad.id: bad}
    assert one.refused(one.certificate(DECISION, bad)) == "void-statement"


SHAPES = [
    None, 7, [], {}, [DECISION], [DECISION, [], [0], []], [DECISION, [b""], [0], []], ["decree", [b"x"], [0], [[]]],
    [DECISION, [b"x", b"y"], [0], [[]]], [CONTRADICTION, [b"x"], [0], [[]]], [DECISION, ["x"], [0], [[]]], [DECISION, [b"x"], [0], [7]],
    [DECISION, [b"x"], [], [[]]], [DECISION, [b"x"], [1, 0], [[]]], [DECISION, [b"x"], [0, 0], [[]]], [DECISION, [b"x"], [-1], [[]]],
    [DECISION, [b"x"], ["0"], [[]]], [DECISION, [b"x"], 0, [[]]], [DECISION, [b"x"], [0], [[b"", 0, 0, [], b"", []]]],
    [DECISION, [b"x"], [0], [[b"", 0, 0, ["p"], b"", [b"", 0, 1, []]]]],
]  # fmt: skip


@pytest.mark.parametrize("value", SHAPES, ids=repr)
def test_what_is_no_certificate(value):
    with pytest.raises(RemoteFault) as caught:
        certificate_from_list(value)
    assert caught.value.code in ("bad-certificate", "bad-proof", "bad-seal")


@given(st.data())
def test_a_changed_byte_is_never_taken(ballot, keys, data):
    """Wherever it is changed: refused with a code, or it still decodes to the very same certificate."""
    one = Notary(ballot(), keys)
    decide, _ = decided(one)
    whole = encode_ordered(one.certificate(DECISION, decide).to_list())
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + bytes([whole[at] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[at + 1 :]
    with pytest.raises(RemoteFault):
        verify(Terms(one.ballot.genesis), certificate_from_list(decode(changed)))


def test_a_chain_of_many_takes_no_square_of_the_time(notary):
    """Lamports are the author's to choose; the order of checking is not."""
    one = notary()
    ballot = one.ballot
    member = ballot.committee.members[0]
    body = {"verdict": "skip", "round": 1, "reason": ""}
    chain = [ballot.need]
    for number in range(600):
        chain.append(
            build(
                kind="ATTEST_PLAN",
                thread=ballot.thread,
                sender=member,
                lamport=10_000 - number,
                ts_ns=ballot.now_ns,
                epoch=0,
                payload=body,
                refs=(chain[-1].id,),
                policy=bytes(32),
                eval_digest=bytes(32),
            )  # fmt: skip
        )
    one.took(*chain)
    assert one.refused(one.certificate(DECISION, chain[-1])) == "void-statement"
