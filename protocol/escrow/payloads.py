"""The schema of an ESCROW payload, one shape an op. Imported by kinds.py, so it may import neither that nor envelopes."""

from swarmd.protocol import limits, schema

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
MAX_MILESTONES = 32
MAX_SCORERS = 15
MAX_PANEL = 31
MAX_AWAITED = 32
ALL_BP = 10_000  # basis points: the whole

_name = schema.pattern(NAME, "a name: letters, digits, '.', '_', '-', at most 64")
_amount = schema.uint(limits.MAX_AMOUNT)
_text = schema.text(512)
_time = schema.uint((1 << 63) - 1)
_span_s = schema.uint(limits.MAX_DEADLINE_S)

terms = schema.record(
    {
        "title": schema.text(256),
        "spec": schema.text(4_096),
        "amount": _amount,
        "milestones": schema.list_of(schema.record({"name": _name, "amount": _amount}), 1, MAX_MILESTONES),
        "deadline_ns": _time,
        "review_s": _span_s,
        "scorers": schema.list_of(schema.did, 0, MAX_SCORERS),
        "score_quorum": schema.uint(MAX_SCORERS),
        "panel": schema.list_of(schema.did, 0, MAX_PANEL),
        "quorum": schema.uint(MAX_PANEL),
        "panel_s": _span_s,
        "undecided_bp": schema.uint(ALL_BP),
        "after": schema.list_of(schema.record({"name": _name, "by": schema.did}), 0, MAX_AWAITED),
    },
    {"seller": schema.did},  # absent: whoever accepts, and the buyer chooses among them by funding one
)

ESCROW = schema.tagged(
    "op",
    {
        "create": schema.record(
            {
                "op": schema.one_of("create"),
                "nonce": schema.blob(16, 16),
                "terms": terms,
                "expires_ns": _time,
            }
        ),
        "offer": schema.record(
            {"op": schema.one_of("offer"), "terms": terms, "expires_ns": _time, "note": _text}
        ),
        "accept": schema.record({"op": schema.one_of("accept")}),
        "fund": schema.record(
            {
                "op": schema.one_of("fund"),
                "amount": _amount,
                "fund": schema.record({"seq": schema.uint(1 << 62), "prev": schema.blob(32, 32)}),
            }
        ),
        "ready": schema.record({"op": schema.one_of("ready"), "name": _name}),
        "submit": schema.record(
            {
                "op": schema.one_of("submit"),
                "milestone": _name,
                "deliverable": schema.link,
                "note": _text,
            }
        ),
        "score": schema.record({"op": schema.one_of("score"), "score": schema.uint(100), "reason": _text}),
        # Which milestones; none: all that are open.
        "release": schema.record(
            {"op": schema.one_of("release"), "milestones": schema.list_of(_name, 0, MAX_MILESTONES)}
        ),
        "dispute": schema.record(
            {"op": schema.one_of("dispute"), "reason": _text, "evidence": schema.list_of(schema.link, 0, 16)}
        ),
        # A member of the panel: what of the open milestones the seller gets, in basis points.
        "resolve": schema.record(
            {"op": schema.one_of("resolve"), "seller_bp": schema.uint(ALL_BP), "reason": _text}
        ),
        "refund": schema.record({"op": schema.one_of("refund"), "reason": _text}),
    },
)
