"""What a token with the scope read sees."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

Problem = Callable[[httpx.Response], tuple[int, str]]
SPEC = {
    "budget": "0.10",
    "tasks": [{"id": "count", "capability": "text.wordcount", "input": {"text": {"text": "one two"}}}],
}


def test_the_status_is_what_the_socket_says(served: Any) -> None:
    with served.client() as client:
        found = client.get("/api/v1/status")
    assert found.status_code == 200
    told = served.ask("status")
    assert {name: found.json()[name] for name in ("did", "peer_id", "mesh")} == {
        name: told[name] for name in ("did", "peer_id", "mesh")
    }
    assert found.json()["api"]["url"] == served.url
    assert found.headers["cache-control"] == "no-store"


def test_needs_come_in_pages_that_miss_none_and_repeat_none(served: Any) -> None:
    posted = [served.ask("need.post", spec={**SPEC, "title": f"n{n}"})["need"] for n in range(5)]
    seen: list[str] = []
    cursor = None
    with served.client() as client:
        while True:
            page = client.get(
                "/api/v1/needs", params={"limit": 2, **({"cursor": cursor} if cursor else {})}
            ).json()
            assert len(page["needs"]) <= 2 and page["total"] >= 5
            seen += [row["need"] for row in page["needs"]]
            cursor = page["next"]
            if cursor is None:
                break
        shown = client.get(f"/api/v1/needs/{posted[0]}").json()
    assert seen == list(dict.fromkeys(seen)) and len(seen) == page["total"]
    assert [need for need in seen if need in posted] == posted[::-1]
    assert shown["title"] == "n0" and [task["task"] for task in shown["tasks"]] == ["count"]


@pytest.mark.parametrize("cursor", ["x", "e30=x", "bnVsbA==", "eyJnaXZlbiI6IC0xfQ=="])
def test_a_cursor_that_is_none_is_refused(served: Any, problem: Problem, cursor: str) -> None:
    with served.client() as client:
        assert problem(client.get("/api/v1/needs", params={"cursor": cursor})) == (422, "bad-cursor")


def test_agents_and_peers(served: Any) -> None:
    with served.client() as client:
        agents, peers = client.get("/api/v1/agents").json(), client.get("/api/v1/peers").json()
    assert [agent["name"] for agent in agents["agents"]] == ["wc"]
    assert peers["peers"] == [] and peers["pool"]["connections"] == 0


@pytest.mark.parametrize("path", ["/api/v1/needs/need-nowhere", "/api/v1/nowhere", "/api/"])
def test_what_is_not_there_is_404(served: Any, problem: Problem, path: str) -> None:
    with served.client() as client:
        status, code = problem(client.get(path))
    assert status == 404 and code in ("unknown-need", "not-found")


@pytest.mark.parametrize("path", ["/api/v1/status", "/api/v1/nowhere", "/api/v1/needs"])
def test_nothing_is_told_without_a_token(served: Any, problem: Problem, path: str) -> None:
    with served.client(None) as client:
        answer = client.get(path)
    assert problem(answer) == (401, "no-token") and answer.headers["www-authenticate"].startswith("Bearer")


def test_the_document_is_public_and_says_what_each_route_asks_for(served: Any) -> None:
    with served.client(None) as client:
        document = client.get("/openapi.json").json()
        assert client.get("/healthz").json() == {"status": "ok"}
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            assert said["x-scope"] in ("read", "operate", "spend"), (method, path)
            assert {"401", "403", "422", "429"} <= said["responses"].keys()
            assert said["security"]
