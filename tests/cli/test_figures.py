"""`swarmd analytics` and `swarmd metrics`: against answers of a socket, and of a real daemon."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

MONEY = {"usdc": "1.5", "minor": 1_500_000}
SPAN = {"count": 3, "p50": 12.5, "p95": 30.0, "p99": 31.0}
DID = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
FOUND = {
    "behind_s": 0.0,
    "level": True,
    "needs": {"needs": 4, "open": 0, "finalized": 3, "refunded": 1, "expired": 0},
    "escrow": {"success_rate": 0.75, "budget": MONEY, "paid": MONEY, "returned": MONEY},
    "tasks": {"accepted": 3, "failed": 1},
    "challenges": {"made": 0, "upheld": 0},
    "latency": {"decide_ms": SPAN, "execute_ms": SPAN, "finalize_ms": {**SPAN, "count": 0}},
    "capabilities": [
        {"capability": "evil\x1b[2J", "accepted": 3, "failed": 0, "success_rate": 1.0, "paid": MONEY}
    ],
    "leaderboard": [
        {
            "rank": 1, "did": DID, "reputation": 80, "accepted": 3, "failed": 0,
            "earned": MONEY, "posted": 0, "spent": MONEY,
        }
    ],
    "hours": [],
    "me": {},
}  # fmt: skip


def test_it_says_what_came_of_the_needs(swarmd: Callable[..., Any], canned: Callable[..., Any]) -> None:
    calls = canned({"analytics": FOUND})
    shown = swarmd("analytics")
    assert shown.code == 0 and "\x1b" not in shown.out
    for part in ("75.0 %", "4: 0 open, 3 finalized", "p50 12.5", "z6Mkha…a2doK", r"evil\x1b[2J"):
        assert part in shown.out, part
    assert "in all" not in shown.out  # nothing was measured
    assert swarmd("analytics --json --limit 5 --hours 48").json == FOUND
    assert swarmd("analytics --quiet").out == "75.0 %\n"
    assert calls[1] == ("analytics", {"limit": 5, "hours": 48})


def test_without_a_daemon(swarmd: Callable[..., Any], home: Path) -> None:
    for command in ("analytics", "metrics"):
        ran = swarmd(command)
        assert ran.code == 3 and "swarmd up" in ran.err


def test_bad_numbers_are_refused(swarmd: Callable[..., Any], live: Path) -> None:
    assert swarmd("analytics --limit 0").code == 2
    refused = swarmd("analytics --limit 5000")
    assert refused.code == 4 and "1000" in refused.err


def test_of_a_real_daemon(swarmd: Callable[..., Any], live: Path) -> None:
    found = json.loads(swarmd("analytics --json").out)
    assert set(found) == set(FOUND)
    assert len(found["hours"]) == 24
    text = swarmd("metrics").out
    assert "# TYPE swarmd_turns_total counter" in text and text.endswith("\n")
    assert swarmd("metrics --json").json["text"].startswith("# HELP swarmd_")
