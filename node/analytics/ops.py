"""What analytics says to operators and programs: the local operation `analytics`."""

from collections import Counter
from typing import Any, Final

from swarmd.node.analytics.service import Analytics
from swarmd.node.analytics.tally import HOUR_S, LATENCIES, MAX_HOURS, OTHER, Totals
from swarmd.node.local_api import Op
from swarmd.node.runner import Runner
from swarmd.node.telemetry.histogram import Histogram
from swarmd.node.transport.local import LocalCall
from swarmd.node.views import money
from swarmd.protocol.didkey import public_key_of
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.limits import S_NS

MAX_ROWS: Final = 1_000
_PERCENTILES: Final = (50, 95, 99)


def analytics_ops(analytics: Analytics, runner: Runner) -> dict[str, Op]:
    async def answer(call: LocalCall) -> Any:
        """{limit = 20, hours = 24}: rows of the tables, and how far back the hours go."""
        limit, hours = call.args.get("limit", 20), call.args.get("hours", 24)
        for name, value, most in (("limit", limit, MAX_ROWS), ("hours", hours, MAX_HOURS)):
            if type(value) is not int or not 1 <= value <= most:
                raise LocalFault("bad-args", f"{name} is a number from 1 to {most}")
        return report(analytics, runner, limit=limit, hours=hours)

    async def agent(call: LocalCall) -> Any:
        """{did = our own}: one line of the leaderboard, whoever it is."""
        did = call.args.get("did", runner.me)
        try:
            public_key_of(did if isinstance(did, str) else "")
        except RemoteFault as fault:
            raise LocalFault(fault.code, fault.message) from None
        return _agent(runner, did, analytics.totals().agents.get(did, Counter()))

    return {"analytics": answer, "analytics.agent": agent}


def report(analytics: Analytics, runner: Runner, *, limit: int, hours: int) -> dict[str, Any]:
    """Everything, as plain maps. Rates 0 to 1 (None of nothing), latencies in ms, amounts as `views.money`."""
    totals = analytics.totals()
    counts = totals.counts
    ended = sum(counts[name] for name in ("finalized", "refunded", "expired"))
    return {
        "behind_s": round(analytics.behind_s(), 3),
        "level": analytics.level,
        "needs": {name: counts[name] for name in ("needs", "open", "finalized", "refunded", "expired")},
        "escrow": {
            "success_rate": _share(counts["finalized"], ended),
            **{name: money(counts[name]) for name in ("budget", "paid", "returned")},
        },
        "tasks": {name: counts[name] for name in ("accepted", "failed")},
        "challenges": {"made": counts["challenges"], "upheld": counts["challenges_upheld"]},
        "latency": {name: _percentiles(totals.latencies[name]) for name in LATENCIES},
        "capabilities": _capabilities(totals, limit),
        "leaderboard": leaderboard(totals, runner, limit),
        "hours": _hours(totals, runner.now_ns() // (HOUR_S * S_NS), hours),
        "me": _agent(runner, runner.me, totals.agents.get(runner.me, Counter())),
    }


def leaderboard(totals: Totals, runner: Runner, limit: int) -> list[dict[str, Any]]:
    """Those who worked, best reputation first; of equal ones who did more. `rank` counts from 1."""
    rows = [
        _agent(runner, did, counts)
        for did, counts in totals.agents.items()
        if did != OTHER and counts["accepted"] + counts["failed"] > 0
    ]
    rows.sort(key=lambda row: (-row["reputation"], -row["accepted"], -row["earned"]["minor"], row["did"]))
    return [{"rank": rank, **row} for rank, row in enumerate(rows[:limit], 1)]


def _agent(runner: Runner, did: str, counts: Counter[str]) -> dict[str, Any]:
    return {
        "did": did,
        "reputation": runner.state.rates(did),
        "accepted": counts["accepted"],
        "failed": counts["failed"],
        "earned": money(counts["earned"]),
        "posted": counts["posted"],
        "spent": money(counts["spent"]),
    }


def _capabilities(totals: Totals, limit: int) -> list[dict[str, Any]]:
    rows = sorted(totals.capabilities.items(), key=lambda each: (-each[1]["accepted"], each[0]))
    return [
        {
            "capability": name,
            "accepted": counts["accepted"],
            "failed": counts["failed"],
            "success_rate": _share(counts["accepted"], counts["accepted"] + counts["failed"]),
            "paid": money(counts["paid"]),
        }
        for name, counts in rows[:limit]
    ]


def _hours(totals: Totals, now_hour: int, hours: int) -> list[dict[str, Any]]:
    """Each of the last `hours`, oldest first, those in which nothing happened too. By when needs were posted."""
    found = []
    for hour in range(now_hour - hours + 1, now_hour + 1):
        counts = totals.hours.get(hour, Counter())
        found.append(
            {
                "from_s": hour * HOUR_S,
                "needs": counts["needs"],
                "ended": counts["ended"],
                "finalized": counts["finalized"],
                "paid": money(counts["paid"]),
            }
        )
    return found


def _percentiles(latency: Histogram) -> dict[str, float]:
    return {
        "count": latency.count(),
        **{f"p{each}": round(latency.percentile(each / 100), 2) for each in _PERCENTILES},
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
