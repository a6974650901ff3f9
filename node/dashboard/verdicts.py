"""What the policy said lately of what came in, read back from the journal."""

from collections import Counter
from typing import Any

from swarmd.node.journal import Journal
from swarmd.node.why import describe
from swarmd.protocol.cids import cid_text


def verdict_page(journal: Journal, *, denied: bool, before: int | None, limit: int) -> dict[str, Any]:
    """{"verdicts", "next", "reasons"}: verdicts on envelopes that were taken in, the latest first.

    `before`: the `next` of the page before; None where the record ends. A page looks at a bounded part of the
    journal, so one of denials alone may be short, or empty, and still have a next. `reasons`: how often each reason is
    on this page.
    """
    rows: list[dict[str, Any]] = []
    last: int | None = before
    for row, batch, verdicts in journal.judged(before, MAX_BATCHES):
        last = row
        policy, gas, refused = verdicts
        reasons = dict(refused)
        for index, envelope in enumerate(batch.envelopes):
            if index >= len(gas) or (denied and index not in reasons):
                continue
            rows.append(
                {
                    "at_ns": envelope.ts_ns,
                    "kind": envelope.kind,
                    "id": cid_text(envelope.id),
                    "sender": envelope.sender,
                    "need": envelope.thread,
                    "task": str(envelope.payload.get("task", "")),
                    "text": describe(envelope),
                    "allow": index not in reasons,
                    "reasons": list(reasons.get(index, ())),
                    "gas": gas[index],
                    "policy": policy.hex(),
                }
            )
        if len(rows) >= limit:
            break
    else:
        last = None if last is None or not journal.judged_before(last) else last
    counted = Counter(reason for row in rows for reason in row["reasons"])
    return {"verdicts": rows, "next": last, "reasons": dict(counted.most_common(20))}


MAX_BATCHES = 400
