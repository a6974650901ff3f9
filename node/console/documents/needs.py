"""Documents of commands about needs and their tasks."""

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
    TX,
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
    text,
)
from swarmd.protocol.work.need_states import ENDS, STAGES

STATE = one_of(*STAGES, *ENDS)
NEED_ROW = record(
    need=NEED,
    title=TEXT,
    state=STATE,
    owner=DID,
    budget=USDC,
    paid=USDC,
    tasks=COUNT,
    done=count("of its tasks"),
    created_ns=AT_NS,
    waiting_for=TEXT,
)
# As lists have it: also one that a checkpoint closed, of which a node that came later knows little more than its id.
NEED_LISTED = more(
    NEED_ROW,
    owner=text("a did:key, or nothing if it is not known any more"),
    budget=text("USDC, or nothing if it is not known any more"),
    paid=text("USDC, or nothing if it is not known any more"),
    closed_by_epoch=maybe(count("the checkpoint of this epoch closed it")),
)
TASK = record(
    task=TEXT,
    capability=TEXT,
    state=one_of("OPEN", "DECIDED", "CLAIMED", "COMMITTED", "FINALIZED", "FAILED", "REFUNDED", "EXPIRED"),
    worker=text("a did:key, or nothing while there is none"),
    price=USDC,
    attempt=COUNT,
    result=text("a CID, or nothing while there is none"),
    after=many(TEXT, "tasks that come before it"),
    telemetry=named(NUMBER, "what its worker measured"),
    judges=many(record(judge=DID, verdict=TEXT, score=COUNT, reason=TEXT)),
    ended=many(record(attempt=COUNT, cause=TEXT, reason=TEXT), "attempts that failed"),
)
MONEY = record(
    state=TEXT,
    amount=USDC,
    held=USDC,
    returned=USDC,
    paid=many(record(task=TEXT, worker=DID, amount=USDC)),
)
NO_MONEY = record(state=one_of("none"))
ANCHOR = nullable(
    record(
        tx_hash=TX,
        block=COUNT,
        root=HEX,
        chain_id=COUNT,
        contract=TEXT,
        receipts=COUNT,
    ),
    "null until it is on the chain",
)
CHALLENGE = record(
    challenge=CID,
    task=TEXT,
    challenger=DID,
    reason=TEXT,
    evidence=many(CID),
    at_ns=AT_NS,
    outcome=one_of("pending", "upheld", "dismissed", "moot"),
    bond=text("USDC, or nothing once a checkpoint is done with it"),
    bond_state=TEXT,
    worker=DID,
    result=CID,
    reviews=many(record(judge=DID, verdict=TEXT, score=COUNT, reason=TEXT)),
)
NEED_DETAIL = more(
    NEED_ROW,
    tasks=many(TASK),
    deadline_ns=AT_NS,
    reason=TEXT,
    escrow=either(MONEY, NO_MONEY),
    held=USDC,
    challenges=many(CHALLENGE),
    decide_ms=nullable(NUMBER),
    plans_decided=COUNT,
    finalize_ms=nullable(NUMBER),
    result=named(CID, "task -> its result, of tasks that no other comes after"),
    values=maybe(named(ANY, "task -> what is in its result")),
    anchor=ANCHOR,
    anchor_note=nullable(TEXT),
)
EVENT = record(at_ns=AT_NS, kind=TEXT, task=TEXT, sender=DID, text=TEXT, state=TEXT)
STEP = record(
    at_ns=AT_NS,
    kind=TEXT,
    id=text("a CID; nothing for what is damaged"),
    sender=DID,
    task=TEXT,
    lamport=COUNT,
    text=TEXT,
    refs=many(CID),
    gate=nullable(record(allow=YES, reasons=many(TEXT), gas=COUNT, policy=HEX)),
    author_policy=maybe(HEX),
    verified=YES,
    void=nullable(TEXT),
    trace=TEXT,
)
_RELATIVES = many(TEXT)
_PROOF = record(
    root=CID,
    thread=NEED,
    envelope=CID,
    index=COUNT,
    count=COUNT,
    kind=TEXT,
    sender=DID,
    lamport=COUNT,
    ts_ns=AT_NS,
    mesh=TEXT,
)

DOCUMENTS: Mapping[str, Schema] = {
    "need post": either(record(need=NEED), NEED_DETAIL),
    "need list": record(needs=many(NEED_LISTED), total=COUNT, next=nullable(TEXT)),
    "need show": NEED_DETAIL,
    "need graph": either(
        record(
            need=NEED,
            tasks=many(record(task=TEXT, state=TEXT, parents=_RELATIVES, children=_RELATIVES)),
        ),
        record(
            need=NEED,
            task=TEXT,
            parents=_RELATIVES,
            children=_RELATIVES,
            ancestors=_RELATIVES,
            descendants=_RELATIVES,
        ),
    ),
    "need watch": either(record(event=EVENT), record(result=NEED_DETAIL)),
    "task list": record(tasks=many(more(TASK, need=NEED)), counts=COUNTS),
    "challenge": more(CHALLENGE, need=NEED),
    "why": record(
        need=NEED,
        title=TEXT,
        state=STATE,
        reason=TEXT,
        waiting_for=TEXT,
        steps=many(STEP),
        money=either(more(MONEY, due=USDC), more(NO_MONEY, due=USDC)),
        challenges=many(CHALLENGE),
        anchor=ANCHOR,
        anchor_note=nullable(TEXT),
    ),
    "proof root": record(thread=NEED, root=CID, count=COUNT, pages=COUNT),
    "proof make": more(_PROOF, file=TEXT, bytes=COUNT),
    "proof verify": either(more(_PROOF, holds=YES), record(holds=YES, code=TEXT, reason=TEXT)),
}
