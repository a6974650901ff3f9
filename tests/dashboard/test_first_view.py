"""What the first view needs comes in one round: one script and one stylesheet, made of what is in js/ and css/."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response
from swarmd.node.api.pages import Files, Pages

STATIC = Path("node") / "dashboard" / "static"


def test_the_index_names_one_script_and_one_stylesheet_beside_what_is_early(repo: Path) -> None:
    index = (repo / STATIC / "index.html").read_text("utf-8")
    assert re.findall(r'src="([^"]+)"', index) == ["/js/early.js", "/app.js"]
    assert re.findall(r'<link rel="stylesheet" href="([^"]+)">', index) == ["/app.css"]


def test_what_the_browser_loads_is_made_of_the_parts_as_they_are_now(
    repo: Path, esbuild: Path, tmp_path: Path
) -> None:
    """`make dashboard` after a change."""
    static = repo / STATIC
    assert esbuild.is_file()  # or make would fetch it
    subprocess.run(["make", "-s", "dashboard", f"MADE={tmp_path}"], cwd=repo, check=True, timeout=60)
    for name in ("app.js", "app.css"):
        assert (static / name).read_text("utf-8") == (tmp_path / name).read_text("utf-8"), name


def test_what_is_asked_for_early_does_not_wait_for_a_stylesheet(repo: Path) -> None:
    """A script waits for the stylesheets before it."""
    index = (repo / STATIC / "index.html").read_text("utf-8")
    assert 0 < index.index('src="/js/early.js"') < index.index('rel="stylesheet"')


@pytest.mark.parametrize(
    ("method", "path", "here"),
    [
        ("GET", "/", True),
        ("GET", "/index.html", True),
        ("GET", "/app.js", True),
        ("GET", "/js/app.js", True),
        ("HEAD", "/js/app.js", False),
        ("POST", "/js/app.js", False),
        ("GET", "/needs", False),  # a place in the dashboard: no file's name
        ("GET", "/js/../js/app.js", False),
        ("GET", "//js/app.js", False),
        ("GET", "/js", False),
        ("GET", "", True),
        ("GET", "/api/v1/status", False),
    ],
)
async def test_files_do_not_go_through_the_routes(repo: Path, method: str, path: str, here: bool) -> None:
    sent: list[Any] = []

    async def others(scope: Any, receive: Any, send: Any) -> None:
        await Response(status_code=299)(scope, receive, send)

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
    scope |= {"scheme": "http", "server": ("127.0.0.1", 1), "root_path": ""}
    await Files(Pages(repo / STATIC), others)(scope, receive, send)
    assert sent[0]["status"] == (200 if here else 299)
    assert bool(sent[1]["body"]) == here
