"""The command line itself: help, examples, errors, flags in any place, quick to answer."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from swarmd.cli import build_parser, main, parse
from swarmd.node.console.completion import walk
from swarmd.node.console.outcome import MEANING, UsageFault

COMMANDS = [" ".join(node.words) for node in walk(build_parser())]
LEAVES = [" ".join(node.words) for node in walk(build_parser()) if not node.commands]


def test_the_commands_that_there_are() -> None:
    assert set(LEAVES) == {
        *(
            "init",
            "up",
            "stop",
            "status",
            "sync",
            "balance",
            "invite",
            "join",
            "why",
            "demo",
            "bench mesh",
            "bench gossip",
            "topic watch",
            "version",
            "completion",
            "schema",
            "ids",
            "dashboard",
        ),
        *("api status", "token create", "token list", "token revoke"),
        *("peers list", "peers score", "peers ban", "peers unban", "peers allow", "peers deny"),
        *("need post", "need list", "need show", "need graph", "need watch", "task list", "challenge"),
        *("agent add", "agent list", "agent rm", "agent on", "agent off", "agent stderr"),
        *(
            "config show",
            "config check",
            "seeds sign",
            "seeds check",
            "doctor net",
            "doctor content",
            "doctor chain",
        ),
        *("backup create", "backup verify", "backup restore", "backup recover", "backup speak"),
        *(f"content {name}" for name in ("add", "get", "ls", "pin", "unpin", "stat", "gc", "verify")),
        *(
            f"content {name}"
            for name in ("export", "import", "migrate", "group list", "group add", "group rm")
        ),
        "bench content",
        *(f"verifier {name}" for name in ("list", "join", "leave", "attest")),
        *("state show", "state import", "state export"),
        *("analytics", "metrics"),
        *(f"checkpoint {name}" for name in ("list", "show", "export", "verify", "advance", "retrieve")),
        *(f"consensus {name}" for name in ("status", "roster", "epoch", "explain")),
        *(f"consensus {name}" for name in ("evidence", "export", "verify")),
        *("proof root", "proof make", "proof verify"),
        *("replay", "incident capture", "chaos run", "sim run", "sim scale"),
        *(f"policy {name}" for name in ("list", "show", "build", "test", "eval", "diff")),
        *(f"policy capsule {name}" for name in ("create", "sign", "verify", "publish")),
        *(f"policy capsule {name}" for name in ("fetch", "activate", "rollback")),
        *(f"escrow {name}" for name in ("create", "offer", "counter", "accept", "fund", "submit", "score")),
        *(f"escrow {name}" for name in ("ready", "release", "milestone", "refund", "dispute", "resolve")),
        *(f"escrow {name}" for name in ("show", "list", "reputation")),
        *(f"wallet {name}" for name in ("show", "address", "create", "import", "fund", "bind", "bound")),
        *(f"stake {name}" for name in ("show", "add", "unbond", "withdraw", "slash")),
        *(f"settle {name}" for name in ("status", "now", "add", "deposit", "withdraw", "deploy")),
        *("transfer", "deposit", "withdraw", "statement"),
        *("receipt show", "receipt verify", "invoice list", "invoice show", "invoice limits"),
        *(f"channel {name}" for name in ("open", "pay", "receive", "topup", "claim", "close", "list")),
        *("down", "logs", "wait ready", "wait need", "bugreport", "man", "top"),
        *(f"service {name}" for name in ("install", "uninstall", "status")),
        "bench money",
        "bench all",
        "bench compare",
        "bench policy",
        "bench api",
        "bench start",
        "bench dashboard",
        "bench decide",
        "bench growth",
        "bench idle",
        "bench curves",
        "bench heal",
        "bench hour",
        "bench peers",
        "bench state",
    }


def examples(help_text: str) -> Iterator[list[str]]:
    """The swarmd commands of the help's example, without what the shell does around them."""
    text = help_text[help_text.index("\nexample:\n") :].split("\n\n")[0]
    for part in re.split(r"\n  |&&|\||<\(|\)", text):
        words = shlex.split(part) if part.count("'") % 2 == 0 else []
        if words[:1] == ["swarmd"]:
            yield words[1:]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_and_shows_an_example_that_parses(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    description = text.split("\n\n")[1]
    assert description[0].isupper() and description.endswith(".")
    found = list(examples(text))
    assert found
    for words in found:
        assert ":run_" in parse(build_parser(), words).run
    assert any(words[: len(command.split())] == command.split() for words in found)


def test_no_command_shows_the_help(swarmd: Callable[..., Any]) -> None:
    ran = swarmd("")
    assert (ran.code, ran.out) == (2, "")
    assert "usage: swarmd" in ran.err and "exit codes:" in ran.err


@pytest.mark.parametrize(
    ("words", "message", "fix"),
    [
        ("statsu", "no command 'statsu'", "did you mean status?"),
        ("need psot x", "no command 'psot'", "did you mean post?"),
        ("frobnicate", "no command", "see swarmd --help for all"),
        ("status --jsno", "swarmd status: no flag --jsno", "did you mean --json?"),
        ("status --xyzzy", "swarmd status: no flag --xyzzy", "see swarmd status --help"),
        ("--hoem /a status", "no flag --hoem", "did you mean --home?"),
        ("verifier join 1", "swarmd verifier join: too many words: 1", "see swarmd verifier join --help"),
        ("need", "swarmd need: which COMMAND?", "one of: post, list, show, graph, watch"),
        ("agent add x", "swarmd agent add: it needs --capability, --price", "such as: swarmd agent add wc"),
        ("need list --limit x", "--limit: 'x' is not a whole number from 1", "see swarmd need list --help"),
        ("need post x --timeout x", "--timeout: 'x' is not a time in seconds", "see swarmd need post"),
        ("escrow score a b", "'b' is not a score from 0 to 100", "see swarmd escrow score"),
        ("need post x --deadline soon --budget 1", "--deadline", "see swarmd need post --help"),
        ("need list --limit 0", "--limit", "see swarmd need list --help"),
        ("need watch x --timeout -1", "--timeout", "see swarmd need watch --help"),
        ("status -- x", "nothing may follow --", "see swarmd status --help"),
        ("completion tcsh", "no value 'tcsh'", "there are: bash, zsh, fish"),
    ],
)
def test_a_wrong_line_names_the_fix(swarmd: Callable[..., Any], words: str, message: str, fix: str) -> None:
    ran = swarmd(words)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err and f"fix: {fix}" in ran.err
    # For a program the same, as JSON on stdout.
    ran = swarmd("--json " + words)
    assert (ran.code, ran.err) == (2, "")
    assert ran.json["error"]["code"] == "usage"
    assert message in ran.json["error"]["message"] and fix in ran.json["error"]["fix"]


@pytest.mark.parametrize("words", ["sim run", "sim scale", "demo", "bench mesh", "chaos run"])
def test_common_flags_hold_for_commands_that_bring_their_own(words: str) -> None:
    assert parse(build_parser(), f"--json {words}".split()).json is True
    assert parse(build_parser(), f"{words} --json".split()).json is True
    assert parse(build_parser(), words.split()).json is False


@pytest.mark.parametrize(
    "words", ["--home /a --json -q status", "status --home /a --json -q", "-q status --json --home /a"]
)
def test_common_flags_stand_before_or_after_the_command(words: str) -> None:
    args = parse(build_parser(), words.split())
    assert (args.home, args.json, args.quiet, args.no_color) == ("/a", True, True, False)


def test_what_follows_two_dashes_is_the_agents_command_untouched() -> None:
    line = "agent add wc --capability a --price 1 -- python x.py --json --home /b -- -q"
    args = parse(build_parser(), line.split())
    assert args.command == "python x.py --json --home /b -- -q".split()
    assert (args.name, args.json, args.home) == ("wc", False, None)


def test_flags_are_not_guessed_from_their_beginning() -> None:
    with pytest.raises(UsageFault):
        parse(build_parser(), "need list --lim 3".split())


def test_the_documented_exit_codes_are_those_there_are(repo: Path) -> None:
    text = (repo / "docs" / "cli.md").read_text()
    documented = {int(code): meaning for code, meaning in re.findall(r"^\| (\d+) \| (.+?) \|$", text, re.M)}
    assert documented == MEANING


def test_the_documented_commands_are_those_there_are(repo: Path) -> None:
    text = (repo / "docs" / "cli.md").read_text()
    assert set(re.findall(r"^\| `swarmd ([a-z ]+?)(?: [A-Z\[-][^`]*)?` \|", text, re.M)) == set(LEAVES)


# How long it takes ------------------------------------------------------------------------------------------


def imported(words: str, home: Path) -> set[str]:
    """The modules that a run of the command loads."""
    program = (
        "import sys, runpy\n"
        "try: runpy.run_module('swarmd.cli', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "sys.stderr.write('\\n'.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words.split()],
        env={"HOME": str(home), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=30,
    )
    return set(done.stderr.splitlines())


def test_saying_the_version_loads_next_to_nothing(tmp_path: Path) -> None:
    assert not {"rich", "trio", "libp2p", "web3", "cbor2"} & imported("--version", tmp_path)


def test_asking_the_daemon_loads_none_of_the_node(tmp_path: Path) -> None:
    assert not {"trio", "libp2p", "web3", "wasmtime", "sqlite3"} & imported("status", tmp_path)
