"""Documents of commands about what the node has on record: checkpoints, state, replays."""

from collections.abc import Mapping

from swarmd.node.console.documents.shapes import (
    ANY,
    AT_NS,
    COUNT,
    DID,
    HEX,
    NEED,
    NUMBER,
    TEXT,
    YES,
    Schema,
    count,
    either,
    many,
    maybe,
    more,
    named,
    nullable,
    record,
    report,
    row,
    yes,
)

TIERS = record(
    keep_epochs=COUNT,
    warm=record(batches=COUNT, bytes=COUNT),
    cold=record(batches=COUNT, bytes=COUNT, oldest_epoch=nullable(COUNT), blocks=COUNT),
)
CHECKPOINT_STATUS = record(
    epoch=COUNT,
    state=HEX,
    signatures=COUNT,
    since_ns=AT_NS,
    epoch_s=NUMBER,
    fenced=count("envelopes that came too late, without effect"),
    orphaned=named(many(HEX)),
    ballot=nullable(
        record(round=COUNT, proposals=COUNT, votes=COUNT, refused=many(TEXT)), "about the end of this epoch"
    ),
    last_made=either(
        record(
            epoch=COUNT,
            state=HEX,
            root=HEX,
            ops=COUNT,
            open=COUNT,
            closed=COUNT,
            accounts=COUNT,
            bytes=COUNT,
            took_ms=NUMBER,
            apart=yes("made in a process of its own"),
        ),
        record(),
    ),
    tiers=TIERS,
)
_CHECKPOINT = record(epoch=COUNT, state=HEX, prev=HEX, root=HEX, ops=COUNT, signatures=COUNT)
_REPLAYED = record(
    inputs=COUNT,
    envelopes=COUNT,
    needs=COUNT,
    finalized=named(many(TEXT), "need -> CIDs of its results"),
    mesh_digest=HEX,
    state_digest=HEX,
)
_DIFFERENCE = record(count=COUNT, shown=many(row(TEXT, ANY, ANY), "[of what, in the log, in the archive]"))
_ARCHIVED_TASK = record(task=TEXT, state=TEXT, parents=many(TEXT), spec=ANY, annotations=named(ANY))

DOCUMENTS: Mapping[str, Schema] = {
    "checkpoint list": more(CHECKPOINT_STATUS, checkpoints=many(_CHECKPOINT)),
    "checkpoint show": more(
        _CHECKPOINT,
        proposer=DID,
        round=COUNT,
        at_ns=AT_NS,
        signers=many(DID),
        roster=many(DID),
        next_roster=many(DID),
        whole=YES,
    ),
    "checkpoint export": record(epoch=COUNT, file=TEXT, bytes=COUNT),
    "checkpoint verify": either(
        record(
            valid=YES,
            epoch=COUNT,
            state=HEX,
            signers=many(DID),
            accounts=COUNT,
            open=COUNT,
            closed=COUNT,
        ),
        record(valid=YES, code=TEXT, reason=TEXT),
    ),
    "checkpoint advance": record(epoch=COUNT),
    "checkpoint retrieve": record(need=NEED, epoch=COUNT, outcome=TEXT, state=TEXT, warm=COUNT, cold=COUNT),
    "state show": either(
        record(
            state_digest=HEX,
            mesh_digest=HEX,
            epoch=COUNT,
            needs=COUNT,
            batches=COUNT,
            chains=COUNT,
            authors=COUNT,
            journal=record(schema=COUNT, inputs=COUNT, bytes=COUNT),
            replica=report("the Automerge replica, if there is one", state=TEXT),
        ),
        record(archive=TEXT, threads=many(record(thread=TEXT, tasks=COUNT, edges=COUNT))),
        record(archive=TEXT, thread=TEXT, tasks=many(_ARCHIVED_TASK)),
    ),
    "state export": record(
        folder=TEXT,
        format=COUNT,
        kind=TEXT,
        mesh=TEXT,
        key=TEXT,
        value=TEXT,
        documents=many(
            record(
                file=TEXT,
                bytes=COUNT,
                sha256=HEX,
                changes=COUNT,
                heads=many(HEX),
                epoch=COUNT,
                buckets=many(COUNT),
                batches=COUNT,
                envelopes=COUNT,
            )
        ),
    ),
    "state import": record(
        archive=TEXT,
        ops=COUNT,
        threads=COUNT,
        documents=COUNT,
        differences=maybe(
            record(tasks=_DIFFERENCE, states=_DIFFERENCE, edges=_DIFFERENCE, annotations=_DIFFERENCE)
        ),
        verified=maybe(YES),
    ),
    "replay": more(
        _REPLAYED,
        same=nullable(YES, "null: there is nothing to compare with"),
        reordered=maybe(record(seed=COUNT, mesh_digest=HEX)),
    ),
    "incident capture": more(_REPLAYED, bundle=TEXT, version=TEXT, did=DID),
}
