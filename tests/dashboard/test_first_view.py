"""What the first view needs comes in one round: no module is found only when another one has come."""

import re
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response
from swarmd.node.api.pages import Files, Pages

STATIC = Path("node") / "dashboard" / "static"
_IMPORT = re.compile(r"""^(?:import|export)\s[^;]*?["'](\.[^"']+)["'];""", re.MULTILINE)


def needed(module: Path, found: set[Path]) -> set[Path]:
    if module not in found:
        found.add(module)
        for name in _IMPORT.findall(module.read_text("utf-8")):
            needed((module.parent / name).resolve(), found)
    return found


def test_the_index_names_each_module_of_the_first_view(repo: Path) -> None:
    folder = (repo / STATIC).resolve()
    index = (folder / "index.html").read_text("utf-8")
    preloaded = re.findall(r'<link rel="modulepreload" href="/([^"]+)">', index)
    modules = needed(folder / "js" / "app.js", set())
    assert {*preloaded, "js/app.js"} == {each.relative_to(folder).as_posix() for each in modules}
    assert len(preloaded) == len(set(preloaded)) == len(modules) - 1 > 5


def test_what_is_asked_for_early_does_not_wait_for_a_stylesheet(repo: Path) -> None:
    """A script waits for the stylesheets before it."""
    index = (repo / STATIC / "index.html").read_text("utf-8")
    assert 0 < index.index('src="/js/early.js"') < index.index('rel="stylesheet"')


@pytest.mark.parametrize(
    ("method", "path", "here"),
    [
        ("GET", "/", True),
        ("GET", "/index.html", True),
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
