"""CHALLENGE, the reviews of its committee, and INVALIDATE or FINALIZE `dismissed`: results are judged again (P3, adr/0026).

Who challenges a result stakes a bond on its being wrong. A committee without anybody who had a part in the result judges
it again, by running it again whatever its owner had asked for. If a quorum rejects it, it is as if it had never been
accepted: the next candidate takes over, and what was made from it falls with it.
"""

from base64 import b32encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from swarmd.protocol import limits
from swarmd.protocol.cbor import encode
from swarmd.protocol.consensus.committee import Committee
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.terms import Terms, in_bootstrap
from swarmd.protocol.work.facts import Challenge, Ending, Final, Review, Ruling
from swarmd.protocol.work.need import Need
from swarmd.protocol.work.void import Void, first, member

PENDING, UPHELD, DISMISSED, MOOT = "pending", "upheld", "dismissed", "moot"


def bond_id(challenger: str, bond: Mapping[str, Any], need: str, task: str, refs: Iterable[bytes]) -> str:
    """The escrow of a bond: of one entry (`seq`, `prev`, `amount`) of the challenger's account, for one result."""
    entry = [bond["seq"], bond["prev"], bond["amount"]]
    body = encode([challenger, entry, need, task, [bytes(ref) for ref in refs]])
    digest = sha256(b"swarmd/bond/1\0" + body).digest()
    return "bond-" + b32encode(digest[:20]).decode("ascii").lower()


def bond_of(envelope: Envelope) -> str:
    """The escrow that a CHALLENGE locks."""
    payload = envelope.payload
    return bond_id(envelope.sender, payload["bond"], envelope.thread, payload["task"], envelope.refs)


def bond_amount(genesis: Genesis, price: int) -> int:
    """Minor units to stake against a result of this price."""
    return max(limits.MIN_BOND, price * genesis.challenge_bond_permille // 1000)


def reward(terms: Terms, final: Final) -> int:
    """Minor units for who had this result reversed; twice that in bootstrap mode (seed 004, command 36)."""
    base = final.price * terms.genesis.challenge_reward_permille // 1000
    return 2 * base if in_bootstrap(terms, final.epoch) else base


def review_committee(
    terms: Terms, need: Need, final: Final, challenger: str, abstained: frozenset[str]
) -> Committee:
    """Who judges a challenged result again: nobody who had a part in it; without members if nobody is left.

    Challenges of one result meet one committee but for the challenger, so nobody can draw until it likes the draw.
    """
    part = {need.owner, final.worker, challenger, *final.judges} | abstained
    return terms.draw("challenge", need.id, final.task, final.epoch, (), frozenset(part))


def outcome(need: Need, challenge: Challenge) -> str:
    """upheld, dismissed, pending, or moot: somebody else had it reversed, or it fell with what it was made from."""
    ruling = need.rulings.get(need.invalid.get(challenge.commit, b""))
    if ruling is not None:
        return UPHELD if need.challenges[ruling.challenge].bond == challenge.bond else MOOT
    if any(need.challenges[r.challenge].bond == challenge.bond for r in need.rulings.values()):
        return DISMISSED
    return MOOT if challenge.commit in need.fallen else PENDING


def marks(need: Need) -> dict[str, set[bytes]]:
    """Who is to be slashed for results that were reversed, with the INVALIDATEs: workers, and judges who accepted though
    they had to run it again. Who looked at the form alone, as the owner had asked, did nothing wrong."""
    found: dict[str, set[bytes]] = {}
    for commit, ruling in need.invalid.items():
        found.setdefault(need.commits[commit].worker, set()).add(ruling)
        claim = need.claims[need.commits[commit].claim]
        if need.proposals[claim.proposal].specs[claim.task].verify["type"] != "reexec":
            continue
        for attest in need.attests.values():
            if attest.commit == commit and attest.verdict == "accept":
                found.setdefault(attest.judge, set()).add(ruling)
    return found


# The rules -----------------------------------------------------------------------------------------------


def challenge(terms: Terms, need: Need, envelope: Envelope) -> list[str] | None:
    final = first(envelope.refs, need.finals, "accepted result")
    payload = envelope.payload
    if final.task != payload["task"]:
        raise Void("the result is of another task")
    check(terms, need, final, envelope.sender, payload["bond"]["amount"])
    need.challenges[envelope.id] = Challenge(
        id=envelope.id,
        task=final.task,
        final=final.id,
        commit=final.commit,
        challenger=envelope.sender,
        bond=bond_of(envelope),
        reason=payload["reason"],
        evidence=tuple(bytes(cid) for cid in payload["evidence"]),
        lamport=envelope.lamport,
        ts_ns=envelope.ts_ns,
    )
    return []


def check(terms: Terms, need: Need, final: Final, challenger: str, amount: int) -> None:
    """Void unless `challenger` may challenge this result with a bond of `amount`."""
    if not need.window_s:
        raise Void("results of this need are paid at once and cannot be challenged")
    if challenger == final.worker:
        raise Void("the result is the challenger's own")
    wanted = bond_amount(terms.genesis, final.price)
    if amount != wanted:
        raise Void(f"the bond is {amount}; it must be {wanted} minor units")
    if not review_committee(terms, need, final, challenger, frozenset()).members:
        raise Void("no verifier is left who had no part in the result")


def review(terms: Terms, need: Need, envelope: Envelope) -> list[str] | None:
    """An ATTEST that refers to a challenge."""
    found: Challenge = first(envelope.refs, need.challenges, "challenge")
    payload = envelope.payload
    if payload["task"] != found.task:
        raise Void("the challenge is of another task")
    member(_reviewers(terms, need, envelope, found), envelope.sender)
    need.reviews[envelope.id] = Review(
        id=envelope.id,
        challenge=found.id,
        judge=envelope.sender,
        verdict=payload["verdict"],
        score=payload["score"],
        reason=payload["reason"],
        ts_ns=envelope.ts_ns,
    )
    return []


def _reviewers(terms: Terms, need: Need, envelope: Envelope, about: Challenge) -> Committee:
    gone = frozenset(
        review.judge
        for ref in envelope.refs
        if (review := need.reviews.get(ref)) is not None
        and review.challenge == about.id
        and review.verdict == "abstain"
    )
    return review_committee(terms, need, need.finals[about.final], about.challenger, gone)


def invalidate(terms: Terms, need: Need, envelope: Envelope) -> list[str] | None:
    ruling = _ruling(terms, need, envelope, "reject")
    commit = need.commits[need.challenges[ruling.challenge].commit]
    claim = need.claims[commit.claim]
    need.rulings[ruling.id] = ruling
    need.invalidate(commit.id, ruling)
    ending = Ending(
        id=envelope.id,
        proposal=claim.proposal,
        task=claim.task,
        attempt=claim.attempt,
        cause="invalidated",
        reason=need.reviews[ruling.reviews[0]].reason,
        sender=envelope.sender,
        ts_ns=envelope.ts_ns,
    )
    need.endings[ending.id] = ending
    need.by_task.setdefault(ending.task, []).append(ending)
    return None


def dismiss(terms: Terms, need: Need, envelope: Envelope) -> list[str] | None:
    ruling = _ruling(terms, need, envelope, "accept")
    need.rulings[ruling.id] = ruling
    return []


def _ruling(terms: Terms, need: Need, envelope: Envelope, verdict: str) -> Ruling:
    """What a quorum of the challenge's committee came to; Void without one."""
    about: Challenge = first(envelope.refs, need.challenges, "challenge")
    payload = envelope.payload
    if payload["task"] != about.task:
        raise Void("the challenge is of another task")
    drawn = _reviewers(terms, need, envelope, about)
    by_judge = {
        review.judge: ref
        for ref in envelope.refs
        if (review := need.reviews.get(ref)) is not None
        and review.challenge == about.id
        and review.verdict == verdict
        and review.judge in drawn.members
    }
    if not drawn.members or len(by_judge) < drawn.quorum:
        raise Void(f"{len(by_judge)} of the committee say {verdict}, {drawn.quorum} are needed")
    return Ruling(
        id=envelope.id,
        challenge=about.id,
        task=about.task,
        upheld=verdict == "reject",
        reason=payload["reason"],
        reviews=tuple(sorted(by_judge.values())),
        lamport=envelope.lamport,
        ts_ns=envelope.ts_ns,
        sender=envelope.sender,
    )
