"""Completion scripts: accepted by their shells, and bash's offers what there is."""

import os
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
    installed(shell)
    script = tmp_path / "script"
    script.write_text(ran.out)
    done = subprocess.run([shell, check, str(script)], capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stderr) == (0, "")


EVERYWHERE = {"--home", "--json", "--quiet", "--no-color", "--help"}
LINES = pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("swarmd st", {"stake", "state", "statement", "stop", "status"}),
        (
            "swarmd need ",
            {"post", "list", "show", "graph", "watch"} | EVERYWHERE,
        ),
        ("swarmd need post --bud", {"--budget"}),
        ("swarmd --json need wa", {"watch"}),
        ("swarmd completion z", {"zsh"}),
        ("swarmd demo --k", {"--keep"}),
        ("swarmd bench mesh --no", {"--nodes", "--no-color"}),
        ("swarmd bench peers --ro", {"--rounds"}),
    ],
)


def installed(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")


@LINES
def test_fish_offers(swarmd: Callable[..., Any], tmp_path: Path, line: str, offered: set[str]) -> None:
    installed("fish")
    script = tmp_path / "script.fish"
    script.write_text(swarmd("completion fish").out + f"\ncomplete -C '{line}'\n")
    done = subprocess.run(
        ["fish", "--no-config", str(script)],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.stderr == ""
    # fish offers flags only where a dash has been typed.
    words = {offer.split("\t")[0] for offer in done.stdout.splitlines()} - {script.name}
    assert words == (offered if "-" in line.split(" ")[-1] else offered - EVERYWHERE)


@LINES
def test_zsh_offers(swarmd: Callable[..., Any], tmp_path: Path, line: str, offered: set[str]) -> None:
    installed("zsh")
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    # What the completion system would be given, printed; it filters by what is typed itself.
    script = (
        "compdef() { }\n_describe() { print -rl -- ${(P)4} }\n"
        + swarmd("completion zsh").out
        + f"\nwords=({quoted}); CURRENT={len(words)}; _swarmd"
    )
    done = subprocess.run(
        ["zsh", "-f", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=20
    )
    given = {offer.split(":")[0] for offer in done.stdout.splitlines()}
    assert {word for word in given if word.startswith(words[-1])} == offered, done.stderr


@LINES
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
