"""Completion scripts: accepted by their shells, and bash's offers what there is."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from swarmd.cli import build_parser
from swarmd.node.console.completion import walk
from swarmd.node.console.grammar.tools import ID_KINDS
from swarmd.node.console.ids import KINDS


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
        ("swarmd up --de", {"--detach"}),
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


@pytest.fixture
def posted(swarmd: Callable[..., Any], live: Path) -> str:
    """A need of the running daemon."""
    need: str = swarmd("need post text.wordcount --budget 1 --wait --json", "--text", "text=the cat").json[
        "need"
    ]
    return need


def completed(shell: str, script: str, line: str, folder: Path) -> set[str]:
    """What `shell` offers for `line`; swarmd itself is on its PATH, and nothing more is in its folder."""
    installed(shell)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "HOME": str(folder)}
    file = folder / "script"
    file.write_text(f"{script}\ncomplete -C '{line}'\n" if shell == "fish" else script)
    typed = f"words=({_quoted(line)}); CURRENT={line.count(' ') + 1}"
    commands = {
        "bash": ["bash", "-c", f"source {file}\n{_BASH.format(line=line)}"],
        "zsh": ["zsh", "-f", "-c", f"{_ZSH}source {file}\n{typed}; _swarmd"],
        "fish": ["fish", "--no-config", str(file)],
    }
    done = subprocess.run(commands[shell], cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    ends = r"(?<!\\):" if shell == "zsh" else "\t"  # of what is offered: a hint follows
    return {re.split(ends, each)[0].replace("\\:", ":") for each in done.stdout.splitlines()}


_BASH = """
COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; COMP_WORDBREAKS=$' \\t\\n"><=;|&(:'
_swarmd; printf '%s\\n' "${{COMPREPLY[@]}}"
"""
_ZSH = "compdef() { }\n_describe() { print -rl -- ${(P)4} }\n"


def _quoted(line: str) -> str:
    return " ".join(f"'{word}'" for word in line.split(" "))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_ids_are_those_of_the_daemon(
    swarmd: Callable[..., Any], live: Path, tmp_path: Path, posted: str, shell: str
) -> None:
    script = swarmd(f"completion {shell}").out
    me = swarmd("status --json").json["did"]
    assert posted in completed(shell, script, "swarmd need show need-", tmp_path)
    assert posted in completed(shell, script, "swarmd task list --need ", tmp_path)
    assert "wc" in completed(shell, script, "swarmd agent off w", tmp_path)
    assert "text.wordcount" in completed(shell, script, "swarmd need post text.w", tmp_path)
    # bash wants only what comes after the last colon.
    rest = me.rpartition(":")[2] if shell == "bash" else me
    assert rest in completed(shell, script, f"swarmd transfer {me[:-20]}", tmp_path)
    assert rest in completed(shell, script, f"swarmd escrow create --seller {me[:-20]}", tmp_path)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_without_a_daemon_no_id_is_offered(
    swarmd: Callable[..., Any], live: Path, tmp_path: Path, posted: str, shell: str
) -> None:
    script = swarmd(f"completion {shell}").out
    (tmp_path / "elsewhere").mkdir()
    assert posted in completed(shell, script, f"swarmd --home {live} need show need-", tmp_path)
    offered = completed(shell, script, f"swarmd --home {tmp_path}/elsewhere need show need-", tmp_path)
    assert not {each for each in offered if each.startswith("need-")}


def test_ids(swarmd: Callable[..., Any], live: Path, posted: str, tmp_path: Path) -> None:
    for kind in KINDS:
        ran = swarmd(f"ids {kind} --json")
        assert ran.code == 0
        if kind in ("needs", "dids", "agents", "capabilities"):
            assert ran.json["ids"], kind
    assert posted in swarmd("ids needs -q").out.splitlines()
    assert f"{posted}\tFINALIZED text.wordcount" in swarmd("ids needs").out.splitlines()
    ran = swarmd("ids needs", "--home", str(tmp_path))
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert ID_KINDS == tuple(KINDS)
    kinds = {kind for node in walk(build_parser()) for kind in (node.ids, *dict(node.flag_ids).values())}
    assert kinds == {"", *KINDS}
