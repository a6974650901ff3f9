"""`swarmd escrow`: what the words become on the socket, what people see, and one escrow of a real daemon from the shell."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

Swarmd = Callable[..., Any]
Canned = Callable[[Mapping[str, Any]], list[tuple[str, Any]]]
DID = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
CID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
SHOWN = {
    "escrow": "escrow-abc", "title": "a \x1b[31mred\x1b[0m title", "state": "disputed", "role": "buyer", "buyer": DID, "seller": None,
    "amount": "50", "held": "30", "paid": "19.9", "returned": "0", "fee": "0.1", "covered": True, "waits_for": ["dataset"],
    "priority": 35, "deadline_ns": 1, "reason": "", "final": False, "reputation": {"buyer": 66},
    "offers": [{"offer": CID, "by": DID, "amount": "50", "expires_ns": 1, "accepted_by": [DID], "note": "please"}],
    "milestones": [{"name": "draft", "amount": "20", "state": "paid", "because": "released by the buyer", "delivery": None}],
    "dispute": {"claims": [{"by": DID, "reason": "half", "evidence": [CID]}], "votes": [{"by": DID, "seller_bp": 7250, "reason": "ok"}]},
    "history": [{"id": CID, "at_ns": 1, "by": DID, "op": "release", "text": "", "void": "not the buyer"}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "op", "args"),
    [
        ("create --title t --amount 5 --seller D --review 2h --panel A --panel B --undecided 33.3 --key k", "create",
         {"title": "t", "amount": "5", "seller": "D", "review_s": 7200, "panel": ["A", "B"], "undecided_bp": 3330, "key": "k"}),
        ("create --title t --milestone a=1 --milestone b=2.5 --after data=D --deadline 3d --expires 90s", "create",
         {"title": "t", "milestones": [{"name": "a", "amount": "1"}, {"name": "b", "amount": "2.5"}],
          "after": [{"name": "data", "by": "D"}], "deadline_s": 259200, "expires_s": 90}),
        ("offer abcd --amount 6", "offer", {"escrow": "abcd", "amount": "6"}),
        ("counter abcd --note more", "counter", {"escrow": "abcd", "note": "more"}),
        ("accept abcd --offer X", "accept", {"escrow": "abcd", "offer": "X"}),
        ("fund abcd", "fund", {"escrow": "abcd"}),
        (f"submit abcd {CID} --milestone a", "submit", {"escrow": "abcd", "cid": CID, "milestone": "a"}),
        ("score abcd 92 --reason good", "score", {"escrow": "abcd", "score": 92, "reason": "good"}),
        ("ready abcd dataset", "ready", {"escrow": "abcd", "name": "dataset"}),
        ("release abcd --yes", "release", {"escrow": "abcd"}),
        ("milestone abcd a b", "release", {"escrow": "abcd", "milestones": ["a", "b"]}),
        ("dispute abcd --reason bad --evidence X", "dispute", {"escrow": "abcd", "reason": "bad", "evidence": ["X"]}),
        ("resolve abcd --seller-percent 72.5", "resolve", {"escrow": "abcd", "seller_bp": 7250}),
        ("refund abcd --yes", "refund", {"escrow": "abcd"}),
        ("show abcd", "show", {"escrow": "abcd"}),
    ],
)  # fmt: skip
def test_words_become_calls(
    swarmd: Swarmd, canned: Canned, words: str, op: str, args: dict[str, Any]
) -> None:
    calls = canned({f"escrow.{op}": SHOWN})
    ran = swarmd(f"escrow {words}")
    assert (ran.code, calls) == (0, [(f"escrow.{op}", args)]), ran.err
    assert "escrow-abc" in ran.out and "\x1b" not in ran.out
    assert swarmd(f"escrow {words} --json").json == SHOWN
    assert swarmd(f"escrow {words} -q").out == "escrow-abc\n"


def test_what_people_see(swarmd: Swarmd, canned: Canned) -> None:
    canned({"escrow.show": SHOWN, "escrow.list": {"escrows": [SHOWN], "total": 3}})
    text = swarmd("escrow show abcd").out
    for part in (
        "not final",
        "30 held, 19.9 paid",
        "whoever accepts",
        "dataset",
        "72.5 %",
        "without effect: not the buyer",
    ):
        assert part in text
    listed = swarmd("escrow list --state funded --all").out
    assert "escrow-abc" in listed and "1 of 3" in listed
    assert swarmd("escrow list -q").out == "escrow-abc\n"


def test_reputation(swarmd: Swarmd, canned: Canned) -> None:
    found = {"did": DID, "reputation": 75, "settled_well": 2, "settled_badly": 0, "stake": "100", "tier": "bronze",
             "fee_discount_percent": 50, "priority": 35}  # fmt: skip
    calls = canned({"escrow.reputation": found})
    assert "75 of 100" in swarmd(f"escrow reputation {DID}").out
    assert calls == [("escrow.reputation", {"did": DID})]
    assert swarmd("escrow reputation -q").out == "75\n"


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ("create --title t --milestone draft", 2, "write NAME=AMOUNT"),
        ("create --title t --after x=", 2, "write NAME=BY"),
        ("create --title t --spec @/nowhere", 4, "/nowhere"),
        ("submit abcd /nowhere/at-all", 4, "neither a CID nor a file"),
        ("score abcd 101", 2, "no score"),
        ("resolve abcd --seller-percent 101", 2, "no share"),
        ("dispute abcd", 2, "--reason"),
    ],
)
def test_words_that_make_no_sense(swarmd: Swarmd, home: Path, words: str, code: int, text: str) -> None:
    ran = swarmd(f"escrow {words}")
    assert ran.code == code and text in ran.err


def test_an_escrow_of_a_real_daemon(swarmd: Swarmd, live: Path, tmp_path: Path) -> None:
    spec = tmp_path / "spec.txt"
    spec.write_text("all of it, into French")
    made = swarmd(f"escrow create --title Manual --amount 1.5 --spec @{spec} --seller {DID} --json").json
    assert (made["terms"]["spec"], made["state"], made["role"]) == (
        "all of it, into French",
        "offered",
        "buyer",
    )
    name = made["escrow"]
    again = swarmd(f"escrow offer {name} --amount 1.25 --note last --json").json
    assert ([offer["amount"] for offer in again["offers"]], again["state"]) == (
        ["1.5", "1.25"],
        "negotiating",
    )
    ran = swarmd(f"escrow fund {name}")
    assert ran.code == 4 and "nobody has accepted" in ran.err
    ran = swarmd(f"escrow submit {name} {spec}")
    assert ran.code == 4 and "takes no submit" in ran.err
    assert name in swarmd("escrow list -q").out.split()
    assert swarmd(f"escrow refund {name} --yes --reason 'changed my mind' --json").json["state"] == "refunded"
    shown = swarmd(f"escrow show {name}").out
    assert "refunded" in shown and "changed my mind" in shown
    assert swarmd("escrow create --title t --amount 0.0000001").code == 2
    assert swarmd("escrow create --title t --amount 5 --seller bob").code == 4
