"""The site builds strictly, asks no other host for anything, and its reference is of this very code."""

import html
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from swarmd.cli import build_parser
from swarmd.node.api.app import declared
from swarmd.node.config import NAMES
from swarmd.node.console.completion import walk
from swarmd.node.console.documents import DOCUMENTS
from swarmd.node.console.reference import pages
from swarmd.node.console.schema_text import rows
from swarmd.protocol.kinds import KINDS

# What a browser fetches by itself; a link that a reader follows is another matter.
FETCHED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href")}
NOT_FETCHED = {"canonical", "next", "prev", "edit"}


class Fetches(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if dict(attrs).get("rel") not in NOT_FETCHED:
            self.found += [value or "" for name, value in attrs if (tag, name) in FETCHED]


@pytest.fixture(scope="module")
def site(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "mkdocs",
        "build",
        "--quiet",
        "--strict",
        "--site-dir",
        str(folder),
    ]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    found = list(site.rglob("*.html"))
    assert len(found) > 60
    for page in found:
        fetches = Fetches()
        text = page.read_text("utf-8")
        fetches.feed(text)
        assert fetches.found and not [each for each in fetches.found if "//" in each], page
        assert 'class="mermaid"' not in text, "the theme would fetch mermaid: draw it as text or SVG"
    assert not [path for path in site.rglob("*.css") if "url(http" in path.read_text("utf-8")]


def test_every_page_is_there(site: Path, repo: Path) -> None:
    for page in (repo / "docs").rglob("*.md"):
        assert (site / page.relative_to(repo / "docs")).with_suffix(".html").exists(), page
    for name in (
        "index",
        *(f"reference/{each}" for each in ("api", "commands", "documents", "errors", "kinds", "settings")),
    ):
        assert (site / f"{name}.html").exists()


def test_the_reference_has_all_of_the_code(repo: Path) -> None:
    found = pages(build_parser(), repo)
    commands = found["reference/commands.md"].splitlines()
    for node in walk(build_parser()):
        if node.words:
            depth = "##" if len(node.words) == 1 else "###"
            assert f"{depth} swarmd {' '.join(node.words)}" in commands
    for name in NAMES:
        assert f"| `{name}` | `SWARMD_{name.upper()}` |" in found["reference/settings.md"]
    for kind in KINDS:
        assert f"\n## {kind}\n" in found["reference/kinds.md"]
    documents = found["reference/documents.md"]
    for name in DOCUMENTS:
        assert f"\n## swarmd {name}\n" in documents
    assert "| `needs[].created_ns` | integer | nanoseconds since 1970 |" in documents
    assert json.loads(found["reference/documents.json"])["commands"].keys() == DOCUMENTS.keys()
    errors = found["reference/errors.md"]
    for row in (
        "| `daemon-not-running` | the caller's: nothing was changed | 3 |",
        "| `bad-config` | the caller's: nothing was changed | 2 |",
        "| `bad-payload` | a peer's: refused, and scored | 4 |",
        "| `bad-journal` | this node's own disk or state: the daemon stops | 6 |",
    ):
        assert row in errors


def test_the_reference_has_the_whole_api(site: Path, repo: Path) -> None:
    """That it is what a running node serves: tests/api/test_schema.py."""
    document = declared()
    written = pages(build_parser(), repo)["reference/api.md"]
    shown = html.unescape((site / "reference" / "api.html").read_text("utf-8"))
    operations = [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]
    assert len(operations) > 90
    for method, path in operations:
        assert f"\n### {method} {path}\n" in written
        assert f">{method} {path}<" in shown, "the heading is whole"
    for name in document["components"]["schemas"]:
        assert f"\n### {name} {{#schema-{name.lower()}}}\n" in written
        assert f'id="schema-{name.lower()}"' in shown
    assert json.loads((site / "reference" / "openapi.json").read_text("utf-8")) == document


def test_a_schema_in_words() -> None:
    def link(ref: str) -> str:
        return f"<{ref}>"

    within = {"type": "object", "properties": {"at_ns": {"type": "integer", "description": "when"}}}
    schema = {
        "type": "object",
        "properties": {
            "need": {"type": "string", "minLength": 1, "maxLength": 9},
            "steps": {"type": "array", "items": {**within, "required": ["at_ns"]}},
            "by": {"anyOf": [{"$ref": "did"}, {"type": "null"}]},
            "state": {"enum": ["OPEN", None]},
            "counts": {"type": "object", "additionalProperties": {"type": ["null", "integer"]}},
            "pair": {"type": "array", "prefixItems": [{"const": 1}, {}]},
        },
        "required": ["need", "steps"],
    }
    assert list(rows(schema, link)) == [
        ("need", "string", "at least 1 and at most 9 characters"),
        ("steps", "list of object", ""),
        ("steps[].at_ns", "integer", "when"),
        ("by?", "<did> or null", ""),
        ("state?", "`OPEN` or null", ""),
        ("counts?", "object: name to integer or null", ""),
        ("pair?", "list (`1`, anything)", ""),
    ]
