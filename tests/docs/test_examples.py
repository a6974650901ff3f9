"""Every ```python block of the docs runs, alone, and every link and file the docs and comments name is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
NAMED = re.compile(r"\bdocs/[a-zA-Z0-9_/.-]+\.md\b")
EXAMPLE_TIMEOUT_S = 60


def blocks() -> list[tuple[str, str]]:
    """(page and place, code) of each python block."""
    return [
        (f"{page.relative_to(ROOT)}-{number}", found.group(1))
        for page in PAGES
        for number, found in enumerate(BLOCK.finditer(page.read_text("utf-8")), 1)
    ]


@pytest.mark.parametrize("code", [pytest.param(code, id=place) for place, code in blocks()])
def test_the_example_runs(code: str, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(code)
    env = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**env, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=EXAMPLE_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_its_links_lead_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text("utf-8")) if "://" not in link]
    assert not [link for link in links if not (page.parent / link).exists()]


def test_the_pages_that_comments_name_are_there() -> None:
    rooms = ("node", "protocol", "bootstrap", "simulations", "policies", "contracts", "tests", "docs", ".ci")
    missing = {}
    for room in rooms:
        for path in (ROOT / room).rglob("*"):
            if path.suffix not in (".py", ".md", ".rego", ".sol", ".js", ".sh", "") or not path.is_file():
                continue
            if {"node_modules", "__pycache__"} & set(path.parts):
                continue
            for name in NAMED.findall(path.read_text("utf-8", "replace")):
                if not (ROOT / name).exists():
                    missing[name] = str(path.relative_to(ROOT))
    assert not missing
