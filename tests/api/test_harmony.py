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
