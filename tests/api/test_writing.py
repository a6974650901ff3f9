"""What tokens with the scopes operate and spend change, and what happens when a request comes twice."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

Problem = Callable[[httpx.Response], tuple[int, str]]
SPEC = {
    "title": "count",
    "budget": "0.10",
    "tasks": [{"id": "count", "capability": "text.wordcount", "input": {"text": {"text": "one two three"}}}],
}


def test_a_need_is_posted_done_and_explained(served: Any) -> None:
    with served.client("spend") as client:
        posted = client.post("/api/v1/needs", json=SPEC)
        assert posted.status_code == 201
        need = posted.json()["need"]
        assert posted.headers["location"] == f"/api/v1/needs/{need}"
        waited = client.get(f"/api/v1/needs/{need}/wait", params={"timeout_s": 20}).json()
        assert waited["ended"] and waited["state"] == "FINALIZED"
        shown = client.get(f"/api/v1/needs/{need}").json()
        assert shown["paid"] == "0.02" and shown["values"]["count"]
        why = client.get(f"/api/v1/needs/{need}/why").json()
        assert {"NEED", "DECIDE", "FINALIZE"} <= {step["kind"] for step in why["steps"]}
        thread = client.get(f"/api/v1/threads/{need}", params={"limit": 2}).json()
        assert thread["next"] == 2 and thread["total"] >= len(why["steps"]) and len(thread["envelopes"]) == 2
        rest = client.get(f"/api/v1/threads/{need}", params={"after": 2}).json()
        ids = [row["id"] for row in (*thread["envelopes"], *rest["envelopes"])]
        assert ids == [step["id"] for step in why["steps"]] and rest["next"] is None
        assert client.get(f"/api/v1/threads/{need}/root").json()["count"] == thread["total"]
        assert client.get(f"/api/v1/threads/{need}/proof", params={"envelope": "NEED"}).json()["car"]
        assert client.get(f"/api/v1/needs/{need}/graph").json()["tasks"][0]["task"] == "count"
        assert client.get("/api/v1/tasks", params={"need": need}).json()["tasks"][0]["state"] == "FINALIZED"
        assert client.get(f"/api/v1/consensus/needs/{need}").status_code == 200
        assert client.get(f"/api/v1/consensus/needs/{need}/certificate").status_code == 200


def test_waiting_ends_with_the_time_given(served: Any) -> None:
    spec = {**SPEC, "tasks": [{"capability": "nobody.does.this"}]}
    need = served.ask("need.post", spec=spec)["need"]
    with served.client() as client:
        found = client.get(f"/api/v1/needs/{need}/wait", params={"timeout_s": 0.1}).json()
    assert found == {"ended": False, "need": need}


def test_a_request_with_its_key_is_done_once(served: Any, problem: Problem) -> None:
    before = served.ask("need.list")["total"]
    with served.client(
        "spend",
    ) as client:
        headers = {"Idempotency-Key": "abc"}
        first = client.post("/api/v1/needs", json=SPEC, headers=headers)
        again = client.post("/api/v1/needs", json=SPEC, headers=headers)
        other = client.post("/api/v1/needs", json={**SPEC, "title": "other"}, headers=headers)
    assert first.json() == again.json() and first.status_code == again.status_code == 201
    assert problem(other) == (409, "key-reused")
    assert served.ask("need.list")["total"] == before + 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/needs", SPEC),
        ("POST", "/api/v1/wallet/fund", {"amount": "1"}),
        ("POST", "/api/v1/settlement/run", None),
        ("POST", "/api/v1/channels", {"payee": "0x" + "11" * 20, "amount": "1"}),
        ("POST", "/api/v1/verifiers/leave", {}),
    ],
)
def test_spending_needs_its_scope(served: Any, problem: Problem, method: str, path: str, body: Any) -> None:
    for scope in ("read", "operate"):
        with served.client(scope) as client:
            answer = client.request(method, path, json=body)
        assert problem(answer) == (403, "no-scope")
        assert "spend" in answer.json()["fix"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/v1/sync"), ("DELETE", "/api/v1/agents/wc"), ("POST", "/api/v1/content")],
)
def test_operating_needs_its_scope(served: Any, problem: Problem, method: str, path: str) -> None:
    for scope in ("read", "spend"):
        with served.client(scope) as client:
            assert problem(client.request(method, path)) == (403, "no-scope")
    assert [agent["name"] for agent in served.ask("agent.list")] == ["wc"]


def test_agents_are_switched_and_no_program_comes_in_by_http(served: Any, problem: Problem) -> None:
    with served.client("operate") as client:
        assert client.post("/api/v1/agents/wc/disable").json()["enabled"] is False
        assert client.post("/api/v1/agents/wc/enable").json()["enabled"] is True
        assert client.get("/api/v1/agents/wc/stderr").json().keys() == {"stderr"}
        assert problem(client.post("/api/v1/agents", json={"argv": ["/bin/sh"]})) == (405, "wrong-method")
        assert problem(client.post("/api/v1/agents/nobody/enable")) == (404, "no-such-agent")


def test_peers_are_banned_and_let_in(served: Any, problem: Problem) -> None:
    peer = "12D3KooWGRUVh5YEpWPaZz9rGjQRSkmnyzJPcSpwWVKJyTvZjqeL"
    with served.client("operate") as client:
        assert (
            client.put(f"/api/v1/peers/{peer}/ban", json={"for_s": 60, "reason": "test"}).json()["for_s"]
            == 60
        )
        assert client.get("/api/v1/peers/scores", params={"peer": peer}).status_code == 200
        assert client.delete(f"/api/v1/peers/{peer}/ban").status_code == 200
        allowed = client.put("/api/v1/peers/access", json={"entry": peer, "verdict": "allow"}).json()
        assert any(row["entry"] == peer for row in allowed["entries"])
        client.put("/api/v1/peers/access", json={"entry": peer, "verdict": "none"})
        assert problem(client.put("/api/v1/peers/nobody/ban", json={})) == (422, "bad-peer-id")


def test_a_file_goes_in_and_comes_out(served: Any, problem: Problem) -> None:
    data = bytes(range(256)) * 4_096  # 1 MiB
    with served.client("operate") as client:
        added = client.post(
            "/api/v1/content", params={"name": "mine"}, content=iter([data[:70_000], data[70_000:]])
        )
        assert added.status_code == 201 and added.json()["size"] == len(data)
        cid = added.json()["cid"]
        got = client.get(f"/api/v1/content/{cid}")
        assert got.content == data
        assert got.headers["content-type"] == "application/octet-stream"
        assert got.headers["content-disposition"].startswith("attachment")
        assert "sandbox" in got.headers["content-security-policy"]
        assert cid in [pin["cid"] for pin in client.get("/api/v1/content/pins").json()["pins"]]
        assert client.delete(f"/api/v1/content/pins/{cid}").json() == {"unpinned": True}
        assert client.put(f"/api/v1/content/pins/{cid}", json={}).json()["cid"] == cid
        assert client.get("/api/v1/content").json()["blocks"] > 0
        assert problem(client.get("/api/v1/content/..%2f..%2fkey")) == (404, "not-found")
        assert problem(client.get("/api/v1/content/notacid"))[0] == 422


def test_money_on_the_chain(served: Any, problem: Problem) -> None:
    with served.client("spend") as client:
        assert client.get("/api/v1/ledger/balance").json()["did"] == served.ask("status")["did"]
        assert client.get("/api/v1/wallet").status_code == 200
        assert client.get("/api/v1/settlement").json()["epochs"] == []
        assert client.get("/api/v1/channels").status_code == 200
        assert problem(client.get("/api/v1/ledger/balance", params={"did": "did:key:no"}))[0] == 422
        assert problem(client.post("/api/v1/settlement/deposits", json={"amount": "-1"})) == (
            422,
            "bad-amount",
        )
        assert problem(client.post("/api/v1/settlement/deposits", json={"amount": 1})) == (422, "bad-request")
        funded = client.post("/api/v1/wallet/fund", json={"amount": "5"}, headers={"Idempotency-Key": "f1"})
        assert funded.status_code == 200, funded.text


@pytest.mark.parametrize(
    "path",
    [
        *("state", "net", "policy", "consensus", "consensus/roster", "consensus/epoch", "consensus/evidence"),
        *("verifiers", "checkpoints", "tasks", "peers/access", "stakes", "session"),
    ],
)
def test_every_room_answers(served: Any, path: str) -> None:
    with served.client() as client:
        found = client.get(f"/api/v1/{path}")
    assert found.status_code == 200 and isinstance(found.json(), dict)
