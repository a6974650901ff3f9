"""Documents of `swarmd policy`."""

from collections.abc import Mapping

from swarmd.node.console.documents.shapes import (
    ANY,
    AT_NS,
    CID,
    COUNT,
    COUNTS,
    DID,
    HEX,
    TEXT,
    YES,
    Schema,
    either,
    many,
    maybe,
    named,
    nullable,
    record,
    row,
    text,
)

_VERDICT = record(allow=YES, reasons=many(TEXT))
_FLIPS = many(
    record(id=TEXT, kind=TEXT, need=TEXT, sender=DID, at_ns=AT_NS, was=_VERDICT, would=_VERDICT),
    "what would be decided otherwise",
)
_CAPSULE = record(file=TEXT, cid=CID, name=TEXT, author=DID, signed=YES, cases=COUNT, wasm_hash=HEX)
_HELD = record(cid=CID, name=TEXT, author=DID, state=TEXT, made_ns=AT_NS)

DOCUMENTS: Mapping[str, Schema] = {
    "policy list": record(
        active=text("the CID of a capsule, or nothing: the configured policy"),
        former=many(TEXT),
        pending=nullable(record(cid=CID, at_lamport=COUNT)),
        stored=many(_HELD),
        offered=many(ANY),
        shipped=many(TEXT),
        configured=TEXT,
        policy_hash=maybe(HEX),
        configured_hash=maybe(HEX),
        lamport=maybe(COUNT),
        gates=maybe(COUNTS),
    ),
    "policy show": record(
        name=TEXT,
        origin=TEXT,
        policy_hash=HEX,
        wasm_hash=HEX,
        wasm_bytes=COUNT,
        data_hash=HEX,
        data=named(ANY, "what the policy's author made of it"),
        engine=TEXT,
        gas_limit=COUNT,
        gas_max=COUNT,
        cid=maybe(CID),
        author=maybe(DID),
        signed=maybe(YES),
        cases=maybe(COUNT),
        made_ns=maybe(AT_NS),
    ),
    "policy build": record(
        policy=TEXT,
        wasm=TEXT,
        wasm_hash=HEX,
        policy_hash=HEX,
        uses=many(TEXT),
        tests=TEXT,
        warning=TEXT,
    ),
    "policy test": either(
        record(
            policy=TEXT,
            samples=COUNT,
            wrong=many(record(sample=TEXT, was=many(TEXT), would=many(TEXT))),
        ),
        record(envelopes=COUNT, flips=_FLIPS, other_reasons=COUNT, gas_max=COUNT, gas_limit=COUNT),
    ),
    "policy eval": record(
        allow=YES, reasons=many(TEXT), obligations=many(ANY), gas=COUNT, digest=HEX, policy_hash=HEX
    ),
    "policy diff": record(
        same_wasm=YES,
        data=many(record(path=TEXT, was=ANY, would=ANY)),
        inputs=COUNT,
        answers=many(record(input=TEXT, was=many(TEXT), would=many(TEXT))),
        gas_max=row(COUNT, COUNT),
        flips=maybe(_FLIPS),
    ),
    "policy capsule create": _CAPSULE,
    "policy capsule sign": _CAPSULE,
    "policy capsule verify": record(
        cid=CID, author=DID, ok=YES, checks=many(record(name=TEXT, ok=YES, message=TEXT))
    ),
    "policy capsule publish": record(cid=CID),
    "policy capsule fetch": record(cid=CID),
    "policy capsule activate": record(cid=CID, at_lamport=COUNT, lamport=COUNT),
    "policy capsule rollback": record(
        cid=text("now in force; nothing: the configured policy"),
        cancelled=text("the switch that was called off, or nothing"),
    ),
}
