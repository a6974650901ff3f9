"""/metrics and the analytics of the API: for friends only, and as a real Prometheus takes them."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

Problem = Callable[[httpx.Response], tuple[int, str]]


def test_metrics_are_for_who_may_read(served: Any, problem: Problem) -> None:
    with served.client(None) as stranger:
        assert problem(stranger.get("/metrics")) == (401, "no-token")
        assert problem(stranger.get("/metrics", headers={"Authorization": "Bearer x"})) == (401, "no-token")
    with served.client() as client:
        found = client.get("/metrics")
    assert found.status_code == 200
    assert found.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "swarmd_build_info{" in found.text


def test_promtool_has_nothing_against_them(served: Any) -> None:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    with served.client() as client:
        text = client.get("/metrics").text
    checked = subprocess.run(
        [found, "check", "metrics"], input=text, capture_output=True, text=True, timeout=30
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_real_prometheus_scrapes_them(served: Any, tmp_path: Path, repo: Path) -> None:
    """With the very files of docs/ops; only target, token and pace are ours."""
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("prometheus is not installed (Debian: prometheus)")
    (tmp_path / "swarmd.token").write_text(served.tokens["read"] + "\n")
    config = (repo / "docs/ops/prometheus.yml").read_text()
    target = served.url.partition("://")[2]
    assert "127.0.0.1:4280" in config
    (tmp_path / "prometheus.yml").write_text(
        config.replace("127.0.0.1:4280", target).replace("_interval: 15s", "_interval: 1s")
    )
    shutil.copy(repo / "docs/ops/alerts.yml", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = [
        f"--web.listen-address=127.0.0.1:{port}",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
    ]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen([prometheus, *flags], cwd=tmp_path, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=5) as client:

            def ask(path: str, **params: str) -> Any:
                try:
                    answer = client.get(f"/api/v1/{path}", params=params)
                except httpx.TransportError:
                    return {}  # it begins
                return answer.json().get("data", {}) if answer.status_code == 200 else {}

            def until(true: Callable[[], Any], what: str) -> Any:
                ends_s = time.monotonic() + 30
                while not (found := true()):
                    assert time.monotonic() < ends_s, f"{what}: {(tmp_path / 'log').read_text()[-3000:]}"
                    time.sleep(0.2)
                return found

            up = until(lambda: ask("query", query='up{job="swarmd"} == 1').get("result"), "it is scraped")
            assert up[0]["metric"]["instance"] == target
            info = until(lambda: ask("query", query="swarmd_build_info").get("result"), "it is stored")
            assert info[0]["metric"]["version"] == served.ask("version")["version"]
            ratio = "swarmd_turn_duration_seconds_count / swarmd_turns_total"
            assert until(lambda: ask("query", query=ratio).get("result"), "numbers")[0]["value"][1] == "1"
            types = {name: found[0]["type"] for name, found in ask("metadata").items()}
            assert types["swarmd_turns_total"] == "counter"
            assert types["swarmd_turn_duration_seconds"] == "histogram"
            until(
                lambda: (
                    (groups := ask("rules").get("groups"))
                    and all(rule["health"] == "ok" for rule in groups[0]["rules"])
                ),
                "all alerts are evaluated",
            )
            targets = ask("targets")["activeTargets"]
            assert [each["lastError"] for each in targets] == [""]
    finally:
        process.terminate()
        process.wait(20)


def test_analytics(served: Any, problem: Problem) -> None:
    with served.client() as client:
        overview = client.get("/api/v1/harmony/analytics/overview", params={"hours": 48, "limit": 3}).json()
        assert len(overview["hours"]) == 48 and len(overview["leaderboard"]) <= 3
        board = client.get("/api/v1/harmony/analytics/leaderboard").json()
        assert set(board) == {"leaderboard", "behind_s"}
        me = client.get("/api/v1/harmony/analytics/user").json()
        assert me["did"] == served.ask("status")["did"] and 0 <= me["reputation"] <= 100
        assert me == client.get("/api/v1/harmony/analytics/user", params={"did": me["did"]}).json()
        bad = client.get("/api/v1/harmony/analytics/user", params={"did": "did:web:x"})
        assert problem(bad) == (422, "bad-did")
        assert problem(client.get("/api/v1/harmony/analytics/overview", params={"limit": 0}))[0] == 422
    with served.client(None) as stranger:
        assert problem(stranger.get("/api/v1/harmony/analytics/overview")) == (401, "no-token")


def test_analytics_keeps_to_its_schema(served: Any) -> None:
    """FastAPI does not check what a JSONResponse holds; its model does, here."""
    from swarmd.node.api.figures import Analytics

    Analytics.model_validate(json.loads(json.dumps(served.ask("analytics"))))
