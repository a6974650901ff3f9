"""Escrows over HTTP, at the seed's paths."""

from collections.abc import Callable
from typing import Any

import httpx
from swarmd.protocol.didkey import did_of

Problem = Callable[[httpx.Response], tuple[int, str]]
SELLER = did_of(b"\x07" * 32)


def test_an_escrow_is_proposed_shown_and_ended(served: Any, problem: Problem) -> None:
    with served.client("spend") as client:
        terms = {"title": "a logo", "amount": "3.00", "seller": SELLER, "deadline_s": 3_600}
        key = {"Idempotency-Key": "logo"}
        made = client.post("/api/v1/harmony/escrow/create", json=terms, headers=key)
        assert made.status_code == 201, made.text
        name = made.json()["escrow"]
        assert made.headers["location"].endswith(name)
        assert client.post("/api/v1/harmony/escrow/create", json=terms, headers=key).json()["escrow"] == name
        shown = client.get(f"/api/v1/harmony/escrow/{name}").json()
        assert shown["escrow"] == name and shown["title"] == "a logo"
        assert name in [row["escrow"] for row in client.get("/api/v1/harmony/escrow").json()["escrows"]]
        # Its seller has not delivered, and is somebody else.
        refused = client.post("/api/v1/harmony/escrow/release", json={"escrow": name})
        assert problem(refused)[0] in (403, 409, 422), refused.text
        assert problem(client.get("/api/v1/harmony/escrow/nothing"))[0] == 404
        assert client.get("/api/v1/harmony/reputation").json()["did"]


def test_what_is_wrong_with_terms_is_said(served: Any, problem: Problem) -> None:
    with served.client("spend") as client:
        for wrong in ({}, {"title": "x", "amount": 3}, {"title": "x", "amount": "1", "selller": SELLER}):
            assert problem(client.post("/api/v1/harmony/escrow/create", json=wrong)) == (422, "bad-request")
        nobody = {"title": "x", "amount": "1", "seller": "did:key:nobody"}
        assert problem(client.post("/api/v1/harmony/escrow/create", json=nobody)) == (422, "bad-args")
    with served.client("operate") as client:
        answer = client.post("/api/v1/harmony/escrow/create", json={"title": "x", "amount": "1"})
        assert problem(answer) == (403, "no-scope")


def test_a_payment_in_the_mesh_is_made_once(served: Any, problem: Problem) -> None:
    with served.client("spend") as client:
        before = client.get("/api/v1/harmony/whisperer/balance").json()
        pay = {"to": SELLER, "amount": "0.50", "memo": "thanks"}
        key = {"Idempotency-Key": "pay-1"}
        first = client.post("/api/v1/harmony/whisperer/transfer", json=pay, headers=key)
        assert first.status_code == 200, first.text
        again = client.post("/api/v1/harmony/whisperer/transfer", json=pay, headers=key)
        assert again.json()["name"] == first.json()["name"] and first.json()["state"] == "final"
        after = client.get("/api/v1/harmony/whisperer/balance").json()
        assert before["minor"]["available"] - after["minor"]["available"] == 500_000
        name = first.json()["name"]
        assert client.get(f"/api/v1/harmony/whisperer/transfers/{name}").json()["state"] == "final"
        moves = client.get("/api/v1/harmony/whisperer/statement").json()["moves"]
        assert name in [move["name"] for move in moves]
        wrong = client.post("/api/v1/harmony/whisperer/transfer", json={**pay, "to": "nobody"})
        assert problem(wrong)[0] == 422
        assert problem(client.get("/api/v1/harmony/whisperer/transfers/pay-none")) == (
            404,
            "no-such-transfer",
        )
    with served.client("operate") as client:
        refused = client.post("/api/v1/harmony/whisperer/transfer", json=pay)
        assert problem(refused) == (403, "no-scope")
