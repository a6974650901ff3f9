"""Completion scripts: accepted by their shells, and bash's offers what there is."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(("shell", "check"), [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")])
def test_the_shell_accepts_it(swarmd: Callable[..., Any], tmp_path: Path, shell: str, check: str) -> None:
    ran = swarmd(f"completion {shell}")
    assert ran.code == 0 and "need" in ran.out
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "script"
    script.write_text(ran.out)
    done = subprocess.run([shell, check, str(script)], capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("swarmd st", {"stop", "status"}),
        (
            "swarmd need ",
            {"post", "list", "show", "watch", "--home", "--json", "--quiet", "--no-color", "--help"},
        ),
        ("swarmd need post --bud", {"--budget"}),
        ("swarmd --json need wa", {"watch"}),
        ("swarmd completion z", {"zsh"}),
        ("swarmd demo --k", {"--keep"}),
        ("swarmd bench mesh --no", {"--nodes", "--no-color"}),
    ],
)
def test_bash_offers(swarmd: Callable[..., Any], tmp_path: Path, line: str, offered: set[str]) -> None:
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    script = (
        swarmd("completion bash").out
        + f"\nCOMP_WORDS=({quoted}) COMP_CWORD={len(words) - 1}; _swarmd; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=10)
    assert set(done.stdout.split()) == offered, done.stderr


def test_bash_offers_files_where_there_are_no_words(swarmd: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "plan.json").touch()
    script = swarmd("completion bash").out + (
        "\nCOMP_WORDS=(swarmd need post --graph pl) COMP_CWORD=4; _swarmd; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=10)
    assert done.stdout.strip() == "plan.json"
