"""Documents of commands about money in the mesh."""

from collections.abc import Mapping

from swarmd.node.console.documents.shapes import (
    AT_NS,
    COUNT,
    DID,
    NEED,
    TEXT,
    TX,
    USDC,
    Schema,
    count,
    either,
    many,
    more,
    named,
    nullable,
    one_of,
    record,
    text,
)

BALANCE = record(
    did=DID,
    available=USDC,
    pending=USDC,
    locked=USDC,
    earned=USDC,
    spent=USDC,
    minor=record(available={"type": "integer"}, pending=COUNT, locked=COUNT, earned=COUNT, spent=COUNT),
    entries=COUNT,
    reputation=COUNT,
    double_spends=COUNT,
)
# Once a checkpoint is done with it, only that is known.
_GONE = record(
    key=text("asking again with it goes on where it stood"), name=TEXT, state=one_of("final"), why=TEXT
)
_PAYMENT = record(
    {
        "key": text("asking again with it goes on where it stood"),
        "name": TEXT,
        "op": one_of("transfer", "withdraw"),
        "from": DID,
        "to": text("a did:key, or an account on the chain"),
        "amount": USDC,
        "seq": COUNT,
        "memo": TEXT,
        "state": one_of("waiting", "final", "held", "paid"),
        "why": text("what it waits for, or nothing"),
    }
)
_SPENT = record(spent=nullable(USDC), limit=nullable(USDC))
_INVOICE = record(need=NEED, title=TEXT, owner=DID, state=TEXT, budget=USDC, charged=USDC)

DOCUMENTS: Mapping[str, Schema] = {
    "balance": BALANCE,
    "transfer": either(_PAYMENT, _GONE),
    "withdraw": either(_PAYMENT, _GONE),
    "deposit": record(key=TEXT, state=TEXT, tx=nullable(TX), why=text("what it waits for, or nothing")),
    "statement": record(
        did=DID,
        balance=USDC,
        moves=many(
            record(
                n=COUNT,
                at_ns=AT_NS,
                what=TEXT,
                name=TEXT,
                other=text("the other side, or nothing"),
                memo=TEXT,
                amount=USDC,
                balance=USDC,
            )
        ),
        next=nullable(count("for --before: where older ones go on")),
    ),
    "invoice list": record(
        invoices=many(more(_INVOICE, owner=TEXT, budget=TEXT, charged=TEXT)), next=nullable(TEXT)
    ),
    "invoice show": more(
        _INVOICE,
        agent=TEXT,
        held=USDC,
        returned=USDC,
        anchor=TEXT,
        lines=many(
            record(
                task=TEXT,
                capability=TEXT,
                charged_by=TEXT,
                amount=USDC,
                result=text("a CID, or nothing"),
                receipt=TEXT,
                settlement=TEXT,
            )
        ),
    ),
    "invoice limits": record(
        per_need=nullable(USDC), day=_SPENT, agents=named(_SPENT), capabilities=named(_SPENT)
    ),
}
