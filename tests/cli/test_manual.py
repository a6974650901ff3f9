"""The manual pages: one a command, of the parser itself, and groff has nothing to complain about."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from swarmd.cli import build_parser
from swarmd.node.console.completion import walk

Swarmd = Callable[..., Any]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from swarmd.cli import main

    folder = tmp_path_factory.mktemp("man")
    assert main(["man", "--quiet", "--output", str(folder / "man1")]) == 0
    return {path.stem: path for path in (folder / "man1").iterdir()}


def test_each_command_has_a_page(pages: dict[str, Path]) -> None:
    assert set(pages) == {"-".join(("swarmd", *node.words)) for node in walk(build_parser())}


def test_groff_takes_them_all_without_a_warning(pages: dict[str, Path]) -> None:
    groff = shutil.which("groff")
    if groff is None:
        if os.environ.get("CI"):
            pytest.fail("groff is not installed")
        pytest.skip("groff is not installed: apt-get install groff-base")
    command = [groff, "-man", "-ww", "-Tutf8", "-P-c", "-P-b", "-P-u", *map(str, sorted(pages.values()))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert "swarmd need post" in done.stdout and "EXIT STATUS" in done.stdout


def test_a_page_says_what_the_help_says(pages: dict[str, Path]) -> None:
    text = pages["swarmd-wait-need"].read_text()
    for part in (
        "wait until a need is in a state",
        "\\-\\-state STATE",
        "\\-\\-timeout S",
        ".B 130",
        "swarmd wait need",
    ):
        assert part.replace("-", "\\-") in text or part in text
    assert "swarmd\\-wait\\-ready\\fR(1)" in text
    assert ".BR swarmd\\-wait\\-need (1)" in pages["swarmd-wait"].read_text()


def test_where_they_cannot_be_written(swarmd: Swarmd, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = swarmd("man --output", str(tmp_path / "file" / "man1"))
    assert ran.code == 4 and "another folder" in ran.err
    assert swarmd("man").code == 2
    ran = swarmd("man --json --output", str(tmp_path / "man1"))
    assert "swarmd.1" in ran.json["pages"] and ran.json["folder"] == str(tmp_path / "man1")
