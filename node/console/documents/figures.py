"""Documents of commands that measure and try things: analytics, the demo, benchmarks, chaos and the simulator."""

from collections.abc import Mapping

from swarmd.node.console.documents.shapes import (
    ANY,
    AT_S,
    CID,
    COUNT,
    DID,
    DURATION_S,
    HEX,
    NEED,
    NUMBER,
    TEXT,
    TX,
    USDC,
    YES,
    Schema,
    either,
    many,
    maybe,
    more,
    named,
    nullable,
    record,
    report,
)

_MONEY = record(usdc=USDC, minor=COUNT)
_SPANS = record(count=COUNT, p50=nullable(NUMBER), p95=nullable(NUMBER), p99=nullable(NUMBER))
_OWNER = record(
    did=DID, reputation=COUNT, accepted=COUNT, failed=COUNT, earned=_MONEY, posted=COUNT, spent=_MONEY
)
# What they measure changes with what there is to measure, so only its form is said; docs/performance.md says what is what.
_FIGURES: Schema = named(ANY, "figures by name; the end of a name is its unit")
DOCUMENTS: Mapping[str, Schema] = {
    "analytics": record(
        behind_s=DURATION_S,
        level=YES,
        needs=record(needs=COUNT, open=COUNT, finalized=COUNT, refunded=COUNT, expired=COUNT),
        escrow=record(success_rate=nullable(NUMBER), budget=_MONEY, paid=_MONEY, returned=_MONEY),
        tasks=record(accepted=COUNT, failed=COUNT),
        challenges=record(made=COUNT, upheld=COUNT),
        latency=record(decide_ms=_SPANS, execute_ms=_SPANS, finalize_ms=_SPANS),
        capabilities=many(
            record(capability=TEXT, accepted=COUNT, failed=COUNT, success_rate=nullable(NUMBER), paid=_MONEY)
        ),
        leaderboard=many(more(_OWNER, rank=COUNT)),
        hours=many(record(from_s=AT_S, needs=COUNT, ended=COUNT, finalized=COUNT, paid=_MONEY)),
        me=either(_OWNER, record()),
    ),
    "demo": record(
        ok=YES,
        need=NEED,
        state=TEXT,
        result_cid=nullable(CID),
        words=nullable(COUNT),
        decide_ms=nullable(NUMBER),
        finalize_ms=nullable(NUMBER),
        paid=named(USDC),
        returned=nullable(USDC),
        anchor_tx=nullable(TX),
        nodes_agree=YES,
        state_digest=HEX,
        checks=named(YES),
        stages_ms=named(NUMBER),
    ),
    "bench": _FIGURES,  # each of them
    "chaos run": either(
        report("what was done to the mesh, and what held", seed=COUNT, violations=many(ANY)),
        # --check: what this machine refuses; --clean: what was removed
        named(nullable(record(code=TEXT, message=TEXT, fix=TEXT))),
        named(many(TEXT)),
    ),
    "sim run": report(
        "what was simulated, and what held of it",
        seed=COUNT,
        violations=many(ANY),
        reproduce=maybe(TEXT),
        shrunk=maybe(ANY),
    ),
    "sim scale": report("sizes of a swarm, and what each costs", figures=maybe(many(ANY))),
}
