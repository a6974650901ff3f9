"""The verbs of a need's life and the schema of each payload.

Fifteen kinds are the seed's (004, command 41), POOL (adr/0025), MONEY (adr/0028) and ESCROW (adr/0029) are ours. A payload that
does not fit is a RemoteFault `bad-payload`.
"""

import re
from collections.abc import Mapping
from typing import Any

from swarmd.protocol import limits, schema
from swarmd.protocol.escrow import payloads as escrow_payloads
from swarmd.protocol.faults import RemoteFault

NEED = "NEED"
PROPOSE = "PROPOSE"
CLAIM = "CLAIM"
COMMIT = "COMMIT"
ATTEST = "ATTEST"
DECIDE = "DECIDE"
FINALIZE = "FINALIZE"
YIELD = "YIELD"
RELEASE = "RELEASE"
UPDATE_PLAN = "UPDATE_PLAN"
ATTEST_PLAN = "ATTEST_PLAN"
CHALLENGE = "CHALLENGE"
INVALIDATE = "INVALIDATE"
RECONCILE = "RECONCILE"
CHECKPOINT = "CHECKPOINT"
POOL = "POOL"
MONEY = "MONEY"
ESCROW = "ESCROW"

TASK_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
CAPABILITY = r"[a-z0-9][a-z0-9._-]{0,63}"
NEED_ID = r"need-[a-z2-7]{32}"
# What an envelope is about: a need, the ballot that ends an epoch, an account, an escrow, or a verifier's place in the pool.
THREAD_ID = r"(?:need|epoch|pool|acct|escrow)-[a-z2-7]{32}"
# What most are about; of one length, and looked for at a look (heads.py).
WORK_ID = r"(?:need|acct)-[a-z2-7]{32}"


def is_need_id(text: str) -> bool:
    """Has it the form of a need's id?"""
    return re.fullmatch(NEED_ID, text) is not None


_task = schema.pattern(TASK_ID, "a task id: letters, digits, '.', '_', '-', at most 64")
_task_or_need = schema.pattern(f"(?:{TASK_ID})?", "a task id, or nothing for the need itself")
_name = schema.pattern(TASK_ID, "a name: letters, digits, '.', '_', '-', at most 64")
_capability = schema.pattern(CAPABILITY, "a capability such as text.wordcount")
_amount = schema.uint(limits.MAX_AMOUNT)
_reason = schema.text(512)
_time = schema.uint((1 << 63) - 1)
_attempt = schema.uint(limits.MAX_CANDIDATES - 1)
_lease = schema.uint(limits.MAX_LEASE_S)

_spend = {
    "seq": schema.uint(1 << 62),
    "prev": schema.blob(32, 32),
    "amount": _amount,
    "key": schema.text(64),  # the owner's idempotency key
    "memo": schema.text(256),
}
_entry = schema.triple(schema.did, schema.uint(1 << 62), schema.blob(32, 32))
_fund = schema.record({"seq": schema.uint(1 << 62), "prev": schema.blob(32, 32)})

_binding = schema.any_of(
    {
        "cid": schema.record({"cid": schema.link, "as": schema.one_of("json", "text", "bytes")}),
        "task": schema.record({"task": _task, "pointer": schema.text(512)}),
    }
)
_verify = schema.tagged(
    "type",
    {
        "reexec": schema.record({"type": schema.one_of("reexec")}),
        "schema": schema.record({"type": schema.one_of("schema"), "schema": schema.link}),
        "command": schema.record({"type": schema.one_of("command"), "name": _name}),
    },
)
task_spec = schema.record(
    {
        "id": _task,
        "capability": _capability,
        "max_price": _amount,
        "input": schema.map_of(_name, _binding, 0, 64),
        "verify": _verify,
    },
    {"after": schema.list_of(_task, 0, 48)},
)
_plan_op = schema.tagged(
    "op",
    {
        "ADD_TASK": schema.record({"op": schema.one_of("ADD_TASK"), "task": task_spec}),
        "LINK": schema.record({"op": schema.one_of("LINK"), "parent": _task, "child": _task}),
        "STATE": schema.record({"op": schema.one_of("STATE"), "task": _task, "state": schema.text(32)}),
        "ANNOTATE": schema.record(
            {"op": schema.one_of("ANNOTATE"), "task": _task_or_need, "key": _name, "value": schema.scalar}
        ),
    },
)
_telemetry = schema.record(
    {
        "wall_ms": schema.uint(1 << 40),
        "cpu_ms": schema.uint(1 << 40),
        "max_rss_kb": schema.uint(1 << 40),
        "output_bytes": schema.uint(1 << 40),
    }
)

SCHEMAS: Mapping[str, schema.Check] = {
    NEED: schema.record(
        {
            "title": schema.text(256),
            "budget": _amount,
            "deadline_ns": _time,
            "fund": _fund,
            "tasks": schema.list_of(task_spec, 1, limits.MAX_TASKS_PER_NEED),
        },
        {
            "inline": schema.list_of(schema.blob(0, limits.MAX_INLINE_BYTES), 0, 16),
            "agent": _name,  # for which of its owner's agents it is posted
            "pay": schema.one_of("at_once"),  # results are not held for a challenge window
        },
    ),
    PROPOSE: schema.record(
        {
            "round": schema.uint(1 << 16),
            "lease_s": _lease,
            "plan": schema.map_of(
                _task,
                schema.list_of(schema.pair(schema.did, _amount), 1, limits.MAX_CANDIDATES),
                1,
                limits.MAX_TASKS_PER_NEED,
            ),
        }
    ),
    ATTEST_PLAN: schema.tagged(
        "verdict",
        {
            "accept": schema.record({"verdict": schema.one_of("accept"), "reason": _reason}),
            "reject": schema.record({"verdict": schema.one_of("reject"), "reason": _reason}),
            # To the next proposer: nothing below `round` gets my vote any more.
            "skip": schema.record(
                {"verdict": schema.one_of("skip"), "round": schema.uint(1 << 16), "reason": _reason}
            ),
        },
    ),
    DECIDE: schema.record({"round": schema.uint(1 << 16), "k": schema.uint(255)}),
    CLAIM: schema.record({"task": _task, "attempt": _attempt, "lease_s": _lease}),
    COMMIT: schema.record(
        {
            "task": _task,
            "result": schema.link,
            "size": schema.uint(limits.MAX_CONTENT_BYTES),
            "telemetry": _telemetry,
        },
        {"inline": schema.blob(0, limits.MAX_INLINE_BYTES)},
    ),
    ATTEST: schema.record(
        {
            "task": _task,
            "verdict": schema.one_of("accept", "reject", "abstain"),
            "score": schema.uint(100),
            "reason": _reason,
        }
    ),
    FINALIZE: schema.tagged(
        "outcome",
        {
            "accepted": schema.record(
                {"outcome": schema.one_of("accepted"), "task": _task, "result": schema.link}
            ),
            "refunded": schema.record(
                {"outcome": schema.one_of("refunded"), "task": _task, "reason": _reason}
            ),
            "expired": schema.record({"outcome": schema.one_of("expired"), "reason": _reason}),
            # A challenge has ended: who judged the result again find it right.
            "dismissed": schema.record(
                {"outcome": schema.one_of("dismissed"), "task": _task, "reason": _reason}
            ),
        },
    ),
    YIELD: schema.record({"task": _task, "attempt": _attempt, "reason": _reason}),
    RELEASE: schema.record(
        {"task": _task, "attempt": _attempt, "cause": schema.one_of("expired", "unclaimed", "rejected")}
    ),
    UPDATE_PLAN: schema.record({"ops": schema.list_of(_plan_op, 1, 256)}),
    CHALLENGE: schema.record(
        {
            "task": _task,
            "reason": _reason,
            "evidence": schema.list_of(schema.link, 0, 16),
            "bond": schema.record(
                {"seq": schema.uint(1 << 62), "prev": schema.blob(32, 32), "amount": _amount}
            ),
        }
    ),
    INVALIDATE: schema.record({"task": _task, "reason": _reason}),
    RECONCILE: schema.record(
        {"epoch": schema.uint(1 << 62), "orphaned": schema.list_of(schema.link, 0, 1024)}
    ),
    CHECKPOINT: schema.record(
        {
            "epoch": schema.uint(1 << 62),  # the one that it opens
            "round": schema.uint(1 << 16),
            "root": schema.blob(32, 32),
            "state": schema.blob(32, 32),
        }
    ),
    POOL: schema.tagged(
        "op",
        {
            "join": schema.record({"op": schema.one_of("join"), "amount": _amount, "fund": _fund}),
            "heartbeat": schema.record({"op": schema.one_of("heartbeat")}),
            "leave": schema.record({"op": schema.one_of("leave"), "reason": _reason}),
            "quote": schema.record(
                {
                    "op": schema.one_of("quote"),
                    "form": _name,
                    "quote": schema.blob(1, limits.MAX_QUOTE_BYTES),
                }
            ),
            "vouch": schema.record(
                {
                    "op": schema.one_of("vouch"),
                    "subject": schema.did,
                    "quote": schema.blob(32, 32),  # its SHA-256
                    "verdict": schema.one_of("accept", "reject"),
                    "reason": _reason,
                }
            ),
        },
    ),
    MONEY: schema.tagged(
        "op",
        {
            "transfer": schema.record({**_spend, "op": schema.one_of("transfer"), "to": schema.did}),
            "withdraw": schema.record({**_spend, "op": schema.one_of("withdraw"), "to": schema.blob(20, 20)}),
            # Members of the committee sign entries: [owner, seq, hash].
            "confirm": schema.record(
                {"op": schema.one_of("confirm"), "entries": schema.list_of(_entry, 1, limits.MAX_CONFIRMED)}
            ),
            # An event on the chain is a deposit of the sender's; `signature` is the account's, over their binding.
            "claim": schema.record(
                {
                    "op": schema.one_of("claim"),
                    "chain_id": _time,
                    "contract": schema.blob(20, 20),
                    "tx": schema.blob(32, 32),
                    "log": schema.uint(1 << 32),
                    "account": schema.blob(20, 20),
                    "made_at_s": schema.uint(1 << 40),
                    "signature": schema.blob(65, 65),
                }
            ),
            # A withdrawal was paid: the receipt that says so is in an epoch that `publisher` settled.
            "payout": schema.record(
                {
                    "op": schema.one_of("payout"),
                    "entry": schema.blob(32, 32),
                    "chain_id": _time,
                    "contract": schema.blob(20, 20),
                    "publisher": schema.blob(20, 20),
                    "epoch": schema.blob(32, 32),
                    "leaf": schema.blob(1, 1_024),
                    "index": schema.uint(1 << 32),
                    "count": schema.uint(1 << 32),
                    "path": schema.list_of(schema.blob(32, 32), 0, 32),
                }
            ),
            "attest": schema.record(
                {
                    "op": schema.one_of("attest"),
                    "subject": schema.blob(32, 32),
                    "what": schema.one_of("deposit", "payout"),
                    "to": schema.text(128),
                    "amount": _amount,
                }
            ),
        },
    ),
    ESCROW: escrow_payloads.ESCROW,
}
KINDS = tuple(SCHEMAS)


def check_payload(kind: str, payload: Any) -> None:
    """RemoteFault `unknown-kind` or `bad-payload` unless `payload` fits `kind`."""
    check = SCHEMAS.get(kind) if type(kind) is str else None
    if check is None:
        raise RemoteFault("unknown-kind", str(kind)[:64])
    check(payload, kind)
