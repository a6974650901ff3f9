"""Documents of commands about the mesh: how it decides, and who its verifiers are."""

from collections.abc import Mapping

from swarmd.node.console.documents.shapes import (
    ANY,
    AT_NS,
    CID,
    COUNT,
    COUNTS,
    DID,
    HEX,
    NEED,
    NUMBER,
    TEXT,
    USDC,
    YES,
    Schema,
    count,
    either,
    many,
    maybe,
    more,
    named,
    nullable,
    one_of,
    record,
    row,
    text,
)

BOOTSTRAP = record(
    on=YES,
    next=YES,
    active=COUNT,
    threshold=COUNT,
    missing=COUNT,
    stable_s=COUNT,
    left_s=count("so much more of it, then it ends"),
)
POOL_COUNTS = record(waiting=COUNT, active=COUNT, jailed=COUNT, leaving=COUNT, expelled=COUNT)
VERIFIER = record(
    did=DID,
    me=YES,
    state=one_of("joining", "waiting", "active", "jailed", "leaving", "expelled"),
    since=nullable(count("the epoch of its seat")),
    seen=nullable(count("the epoch in which it took part last")),
    until=nullable(count("the epoch in which that ends")),
    founder=YES,
    stake=USDC,
    in_roster=YES,
    in_next_roster=YES,
    weight=COUNT,
    attested_until=nullable(COUNT),
    misses=COUNT,
    reason=TEXT,
    pending=many(one_of("join", "leave", "quote"), "said, and not in a checkpoint yet"),
)
PLACE = either(VERIFIER, record(state=one_of("none")))

_TERMS = record(
    k=COUNT,
    members=COUNT,
    quorum=count("so many of them decide"),
    liars_borne=COUNT,
    silent_borne=COUNT,
)
_DECISION = record(decide=CID, proposal=CID, decider=DID, epoch=COUNT, lamport=COUNT, votes=COUNT, wins=YES)
# A certificate, as a file has it: what `consensus verify` and other software read (docs/certificates.md).
_CERTIFICATE = record(
    format=TEXT,
    mesh=CID,
    genesis=named(ANY),
    what=TEXT,
    about=maybe(many(TEXT)),
    draws=maybe(many(COUNT)),
    rosters=maybe(named(ANY)),
    proofs=maybe(many(TEXT)),
    checkpoints=maybe(TEXT),
    batches=maybe(many(TEXT)),
    envelopes=maybe(many(TEXT)),
)
_PLAN = named(many(row(DID, count("minor units"))), "task -> [worker, price], the first choice first")
_SHOWN = record(verified=YES, mesh=CID, what=TEXT, epoch=COUNT)
_RESULT = more(
    _SHOWN, need=NEED, finalize=CID, at_ns=AT_NS, outcome=TEXT, task=text("or nothing: all of the need")
)
# What a certificate shows, by what it is of.
_VERIFIED = either(
    more(
        _SHOWN,
        need=NEED,
        decide=CID,
        decider=DID,
        at_ns=AT_NS,
        plan=_PLAN,
        proposal=CID,
        round=COUNT,
        quorum=COUNT,
        committee=many(DID),
        voters=many(DID),
    ),
    more(_RESULT, worker=DID, price=count("minor units"), result=CID, judges=many(DID)),
    more(_RESULT, reason=TEXT),
    more(
        _SHOWN,
        need=NEED,
        who=DID,
        said=many(
            record(
                kind=TEXT,
                id=CID,
                at_ns=AT_NS,
                verdict=maybe(TEXT),
                round=COUNT,
                proposal=maybe(CID),
            )
        ),
    ),
    more(_SHOWN, who=DID, bucket=COUNT, seq=COUNT, said=many(many(TEXT))),
    record(
        {
            "verified": YES,
            "mesh": CID,
            "what": TEXT,
            "who": DID,
            "as": TEXT,
            "account": DID,
            "seq": COUNT,
            "said": many(CID),
        }
    ),
    record(verified=YES, code=TEXT, why=TEXT),
)

DOCUMENTS: Mapping[str, Schema] = {
    "verifier list": record(
        epoch=COUNT,
        stake=USDC,
        counts=POOL_COUNTS,
        slashed=USDC,
        bootstrap=BOOTSTRAP,
        verifiers=many(VERIFIER),
    ),
    "verifier join": PLACE,
    "verifier leave": PLACE,
    "verifier attest": record(epoch=COUNT, data=HEX, verifies=many(TEXT)),
    "consensus status": record(
        epoch=COUNT,
        quorum_mode=TEXT,
        arbiter=named(ANY, "`kind`, `state` and what it counts"),
        roster=COUNT,
        seen=COUNT,
        member=YES,
        plan=_TERMS,
        result=_TERMS,
        bootstrap=BOOTSTRAP,
        needs=record({"undecided": COUNT, "waiting": many(record({"need": NEED, "for": TEXT}))}),
        refused=record(frames=COUNTS, void=COUNTS),
        evidence=COUNT,
    ),
    "consensus roster": record(
        epoch=COUNT,
        size=COUNT,
        digest=HEX,
        verifiers=many(
            record(
                did=DID,
                me=YES,
                weight=COUNT,
                connected=YES,
                seen_ns=AT_NS,
                fresh=YES,
                reputation=COUNT,
                contradictions=COUNT,
                forked=YES,
            )
        ),
    ),
    "consensus epoch": record(
        epoch=COUNT, roster=COUNT, digest=HEX, fixed_by=one_of("genesis", "checkpoint"), mesh=CID
    ),
    "consensus explain": record(
        need=NEED,
        state=TEXT,
        waiting_for=TEXT,
        epoch=COUNT,
        draws=many(COUNT),
        quorum_mode=TEXT,
        quorum=COUNT,
        liars_borne=COUNT,
        committee=many(
            record(
                rank=COUNT,
                did=DID,
                me=YES,
                votes=many(record(round=COUNT, proposal=CID)),
                skipped_to=nullable(COUNT),
                contradicted_itself=YES,
            )
        ),
        rounds=many(
            record(
                round=COUNT,
                proposer=DID,
                skips=many(DID),
                proposals=many(record(proposal=CID, plan=CID, votes=many(DID))),
            )
        ),
        decisions=many(_DECISION),
        arbitrated=nullable(CID),
        why=text("in words, why it stands so"),
        next_round=nullable(record(round=COUNT, in_s=NUMBER)),
        void=many(record(kind=TEXT, sender=DID, reason=TEXT, id=CID)),
        arbiter_record=maybe(nullable(named(ANY))),
        arbiter_answered=maybe(YES),
    ),
    "consensus evidence": record(evidence=many(record(what=TEXT, who=DID, need=text("or nothing"), at=TEXT))),
    "consensus export": either(_CERTIFICATE, record(file=TEXT, what=TEXT, bytes=COUNT)),
    "consensus verify": _VERIFIED,
    "topic watch": record(
        topic=TEXT, at_ns=AT_NS, kind=TEXT, task=TEXT, sender=DID, text=TEXT, state=text("of its need, then")
    ),
}
