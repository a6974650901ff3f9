"""The mistakes of somebody who meets swarmd for the first time: what each is told, and that it costs nothing.

A table a place: a folder without a node, a home that is damaged, a daemon that runs. The first words of what they are
told are those of docs/cli.md#what-it-says-when-something-is-wrong.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from swarmd.node.console.output import Output, stacked, table
from swarmd.node.home_lock import running_pid
from swarmd.node.keys import create_key, load_key
from swarmd.node.private_file import create_private
from swarmd.node.setup import init_home
from swarmd.protocol.faults import LocalFault

Swarmd = Callable[..., Any]
SWARMD = f"{sys.executable} -m swarmd.cli"
DID = "did:key:z6MkiqwceFBbuCZnAY3U7CtdFsToh4xHL1N9C7F9X239zFok"
CID = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
NO_AMOUNT = "write an amount of USDC such as 0.02"


def refused(ran: Any, code: int, says: str, fix: str) -> None:
    """A clear answer: this exit code, what is wrong, how to go on, nothing on stdout, and no traceback."""
    assert ran.code == code, (ran.code, ran.out, ran.err)
    assert says in ran.err and "Traceback" not in ran.err + ran.out, ran.err
    assert re.search(r"^  fix: .", ran.err, re.M) and fix in ran.err, ran.err


# A folder without a node ------------------------------------------------------------------------------------

WITHOUT_A_NODE = [
    ("nedd list", 2, "swarmd: no command 'nedd'", "did you mean need?"),
    ("need lst", 2, "swarmd need: no command 'lst'", "did you mean list?"),
    ("need list --limt 3", 2, "swarmd need list: no flag --limt", "did you mean --limit?"),
    ("need list", 3, "there is no node in", "swarmd up --init --detach"),
    ("up", 4, "does not exist", "swarmd up --init"),
    ("wait ready --timeout 0.1", 5, "was not ready within 0.1 s", "swarmd doctor"),
    ("logs", 4, "is not there", "journalctl"),
    ("wallet show", 4, "is no swarmd home", "swarmd init"),
    ("join nonsense", 4, "a ticket begins with swarm1", "swarmd invite"),
    ("join @/nowhere/ticket", 4, "No such file", "name a file"),
    ("need post x --budget nan", 2, "not an amount: 'nan'", NO_AMOUNT),
    ("need post x --budget -1", 2, "not an amount: '-1'", NO_AMOUNT),
    ("need post x --budget 1e30", 2, "not an amount: '1e30'", NO_AMOUNT),
    ("need post x --budget １", 2, "not an amount: '１'", NO_AMOUNT),
    ("need post x --budget 9" + "9" * 30, 2, "is more than the most allowed", NO_AMOUNT),
    ("need post x --budget 1 --timeout nan", 2, "nan is no time in seconds", "--help"),
    ("need post x --budget 1 --deadline 1e9", 2, "'1e9' is not a whole number", "--help"),
    ("need post x --budget 1 --text a=@/nowhere", 2, "cannot read /nowhere", "check the path"),
    ("need post --graph /dev/null", 2, "/dev/null is not JSON: it is empty", "docs/cli.md#a-plan"),
    ("escrow create --title x", 2, "it needs --amount", "--amount 50"),
    ("receipt verify /nowhere", 2, "/nowhere: No such file", "name a JSON file"),
    ("backup verify /dev/null", 4, "/dev/null is no backup of swarmd", "name a file"),
]


@pytest.mark.parametrize(("words", "code", "says", "fix"), WITHOUT_A_NODE)
def test_without_a_node(swarmd: Swarmd, home: Path, words: str, code: int, says: str, fix: str) -> None:
    refused(swarmd(words), code, says, fix)
    ran = swarmd(words, "--json")
    assert (ran.code, ran.err) == (code, "") and ran.json["error"]["fix"]
    assert not home.exists(), "nothing was made"


@pytest.mark.parametrize(
    "words", ["status", "init", "up --init --detach", "up", "down", "doctor", "content ls", "policy list", "replay", "logs"]
)  # fmt: skip
def test_a_home_that_is_a_file(swarmd: Swarmd, home: Path, words: str) -> None:
    home.write_text("a letter")
    refused(swarmd(words), 4, f"{home} is a file, and a node's home is a folder", "--home")
    assert home.read_text() == "a letter"


def test_no_place_for_a_home(swarmd: Swarmd, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "SWARMD_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    refused(swarmd("status"), 4, "HOME is not set", "set HOME or SWARMD_HOME, or pass --home DIR")


# A home that is damaged -------------------------------------------------------------------------------------


@pytest.fixture
def made(home: Path) -> Path:
    init_home(home)
    return home


DAMAGE: list[tuple[str, Callable[[Path], Any], int, str, str]] = [
    ("a key cut short", lambda home: os.truncate(home / "node.key", 20), 4, "holds 10 bytes, not 32", "swarmd backup restore"),
    ("an empty key", lambda home: os.truncate(home / "node.key", 0), 4, "holds 0 bytes, not 32", "swarmd backup restore"),
    ("no hex", lambda home: (home / "node.key").write_text("no key"), 4, "holds no key", "swarmd backup restore"),
    ("a key for all to read", lambda home: (home / "node.key").chmod(0o644), 4, "others can read", "chmod 600"),
    ("no key", lambda home: (home / "node.key").unlink(), 4, "its node.key is gone", "swarmd backup restore"),
    ("no genesis", lambda home: (home / "genesis.json").unlink(), 4, "genesis.json is missing", "swarmd init --genesis FILE"),
    ("no mesh", lambda home: (home / "genesis.json").write_text("{}"), 4, "genesis: fields missing", "take genesis.json anew"),
    ("a setting misspelt", lambda home: (home / "swarmd.toml").write_text("listn = []"), 2, "listn (from", "did you mean listen?"),
    ("a wrong type", lambda home: (home / "swarmd.toml").write_text("listen = 5"), 2, "must be a list of texts", "Default: listen = ["),
    ("no TOML", lambda home: (home / "swarmd.toml").write_text("listen = ["), 2, "is not TOML", "mend that line"),
    ("an address", lambda home: (home / "swarmd.toml").write_text('listen = ["1.2.3.4:1"]'), 4, "not a multiaddr: '1.2.3.4:1'", "such as /ip4/0.0.0.0/tcp/4001"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("damage", "code", "says", "fix"), [each[1:] for each in DAMAGE], ids=[d[0] for d in DAMAGE]
)
def test_a_damaged_home(
    swarmd: Swarmd, made: Path, damage: Callable[[Path], Any], code: int, says: str, fix: str
) -> None:
    """`config check` and `up` say the same. Up is not run for each: it loads the node, and the check is its own code."""
    damage(made)
    before = files(made)
    ran = swarmd("config check")
    bad = [line for line in ran.out.splitlines() if line.startswith("BAD")]
    assert ran.code == 1 and says in "\n".join(bad) and fix in ran.out, ran.out
    assert len(bad) == 1, "one trouble is said once"
    assert files(made) == before


def files(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.iterdir() if path.is_file()}


def test_a_damaged_home_does_not_start(swarmd_process: Swarmd, made: Path) -> None:
    _, damage, code, says, fix = DAMAGE[0]
    damage(made)
    refused(swarmd_process("up --no-api --listen /ip4/127.0.0.1/tcp/0"), code, says, fix)


def test_a_lost_key_is_not_hidden_by_a_new_one(swarmd: Swarmd, made: Path) -> None:
    (made / "node.key").unlink()
    for words in ("init --key-only", "init --fund me=5"):
        assert swarmd(words).code == 4 and not (made / "node.key").exists()
    (made / "genesis.json").unlink()
    (made / "journal.db").touch()
    refused(swarmd("init"), 4, "its node.key is gone", "swarmd backup restore")
    assert not (made / "node.key").exists() and not (made / "genesis.json").exists()


def test_a_second_init_says_how_to_go_on(swarmd: Swarmd, made: Path) -> None:
    refused(swarmd("init"), 4, "is a swarmd home already", "swarmd up --detach")


def test_a_key_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    """On a disk that takes nothing: the limit on the size of a file stands for it."""
    home = tmp_path / "home"
    command = ["bash", "-c", f"ulimit -f 0; exec {SWARMD} --home {home} init"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 4 and "Traceback" not in done.stderr and "fix: " in done.stderr, done.stderr
    assert list(home.iterdir()) == []
    own = create_key(home)
    assert load_key(home).did == own.did
    with pytest.raises(LocalFault, match="is there already"):
        create_key(home)
    with pytest.raises(FileExistsError):
        create_private(home / "node.key", b"another")
    assert load_key(home).did == own.did and [path.name for path in home.iterdir()] == ["node.key"]


# Streams and screens ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "code", "err"),
    [
        (f"{SWARMD} --version | true; exit ${{PIPESTATUS[0]}}", 0, ""),
        (f"{SWARMD} config show | head -1 >/dev/null; exit ${{PIPESTATUS[0]}}", 0, ""),
        (f"{SWARMD} --version > /dev/full", 4, "swarmd: cannot write: No space left on device"),
        (f"{SWARMD} --json config show > /dev/full", 4, "swarmd: cannot write: No space left on device"),
        (f"{SWARMD} need list <&- >&-", 3, "there is no node in"),
        (f"{SWARMD} settle add - <&-", 2, "-: it is not JSON"),
    ],
)
def test_streams_that_are_closed_or_full(home: Path, line: str, code: int, err: str) -> None:
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
    assert err in done.stderr and bool(done.stderr) == bool(err)


def test_a_table_that_has_no_room_is_shown_row_by_row() -> None:
    whole = {"no_wrap": True}
    rows = [("need-" + "x" * 32, "a title of some length", "FINALIZED", "-"), ("need-y", "b", "OPEN", "2026")]
    made = table([("need", whole), "title", ("state", whole), ("posted", whole)], rows)
    assert stacked(made, 120) is None
    out = Output()
    for width in (40, 60):
        out.console.width = width
        with out.console.capture() as captured:
            for row in stacked(made, width) or []:
                out.console.print(row)
        shown = [line.rstrip() for line in captured.get().splitlines()]
        assert shown[0] == rows[0][0], "an id can be copied"
        assert all(len(line) <= width for line in shown)
        text = " ".join(line.strip() for line in shown)
        assert "title a title of some length  state FINALIZED need-y" in text
        assert "title b  state OPEN  posted 2026" in text


# A daemon that runs -----------------------------------------------------------------------------------------

WITH_A_DAEMON = [
    ("up", 4, "runs on", "swarmd status"),
    ("up --detach", 4, "runs on", "swarmd status"),
    ("need show nope", 4, "'nope': no such need here", "swarmd need list"),
    ("need list --state done", 2, "no state of a need", "FINALIZED"),
    ("need post text.wordcount", 2, "what may it cost?", "--budget 1.00"),
    ("need post text.wordcount --budget 5000", 4, "the budget is 5000 USDC", "lower --budget"),
    ("need post 'no capability!' --budget 1", 4, "a capability such as text.wordcount", "need post --help"),
    ("need post text.wordcount --budget 1 --deadline 0", 4, "a deadline is 1 to", "--deadline 600"),
    ("need post text.wordcount --budget 1 --title " + "x" * 5_000, 4, "text of at most 256 bytes", "--help"),
    ("agent add x --capability a.b --price 1 -- no-such-program", 4, "no program", "whole path"),
    ("agent add '<script>' --capability a.b --price 1 -- true", 4, "not a name of an agent", "lower-case"),
    ("agent add ../../x --capability a.b --price 1 -- true", 4, "not a name of an agent", "lower-case"),
    ("agent add wc --capability a.b --price 1 -- true", 4, "there is an agent 'wc'", "--replace"),
    ("agent rm nope", 4, "no agent 'nope'", "registered are: wc"),
    ("agent stderr nope", 4, "no agent 'nope'", "registered are: wc"),
    ("transfer bob 1", 4, "not an Ed25519 did:key: 'bob'", "did:key:z6Mk"),
    (f"transfer {DID} 99999", 4, "99999 are asked for", "pay less"),
    (f"transfer {DID} 0", 2, "0 is no amount to pay", "more than 0"),
    ("deposit 5", 4, "5 USDC are needed, the account on the chain has 0", "swarmd wallet fund"),
    ("wallet create", 4, "takes a passphrase", "SWARMD_KEYSTORE_PASSPHRASE"),
    ("settle deploy", 2, "nobody is here to confirm it", "--yes"),
    ("channel pay nope 1", 4, "'nope' is no id in hex", "0x and 64 digits"),
    ("escrow show nope", 4, "no such escrow here", "swarmd escrow list"),
    ("escrow reputation bob", 4, "'bob'", "did:key:z6Mk"),
    ("token create x --scope root", 2, "no value 'root'", "read, operate, spend"),
    ("token create x --ttl -1", 2, "--ttl", "--help"),
    ("token revoke nope", 4, "no token 'nope'", "swarmd token list"),
    ("invite --addr 1.2.3.4:4001", 4, "not a multiaddr: '1.2.3.4:4001'", "/ip4/192.0.2.7/tcp/4001/p2p/"),
    ("invite --ttl 0", 2, "--ttl", "--help"),
    ("peers ban nope", 4, "'nope' is no peer id", "swarmd peers"),
    ("policy show nope", 4, "'nope' is no file, no capsule", "swarmd policy list"),
    ("policy capsule publish /nowhere", 4, "/nowhere: No such file", "swarmd policy capsule create"),
    ("content get ../../etc/passwd", 2, "not a base32 CIDv1", "a CID begins with baf"),
    ("content import /dev/null", 4, "it has no header", "CAR file"),
    ("wait ready --peers 9 --timeout 0.2", 5, "it has 0 of 9 peers", "swarmd doctor"),
    ("backup create /nowhere/x --passphrase-file /dev/null", 4, "the passphrase has 0 bytes", "8 at least"),
]


def test_a_daemon_bears_every_mistake(swarmd: Swarmd, live: Path) -> None:
    before = kept(swarmd)
    for words, code, says, fix in WITH_A_DAEMON:
        ran = swarmd(words)
        refused(ran, code, says, fix)
        assert "minor units" not in ran.err, "amounts are told in USDC"
    assert kept(swarmd) == before, "nothing is lost, and nothing is half done"
    assert running_pid(live) == int((live / "lock").read_text())


def kept(swarmd: Swarmd) -> list[Any]:
    """What a refused command must leave as it is."""
    lists = ("need list", "agent list", "token list", "escrow list", "balance", "content ls", "peers deny")
    return [swarmd(f"{words} --json").json for words in lists]


def test_a_daemon_of_which_the_home_is_another_users(swarmd: Swarmd, live: Path) -> None:
    if os.geteuid() == 0:
        drop = "setpriv --bounding-set=-dac_override,-dac_read_search "
    else:
        drop = ""
    (live / "run").chmod(0)
    try:
        done = subprocess.run(
            ["bash", "-c", f"{drop}{SWARMD} status"], capture_output=True, text=True, timeout=60
        )
    finally:
        (live / "run").chmod(0o700)
    assert done.returncode == 3 and "cannot be reached" in done.stderr and "fix: " in done.stderr
    assert swarmd("status").code == 0


AGENTS = {
    "crash": (
        "import sys; print('where is my model', file=sys.stderr); sys.exit(3)",
        "crashed: exit status 3",
    ),
    "garbage": ("print('no json')", "its output is not one JSON value"),
    "silent": ("pass", "no JSON value"),
    "nan": ("print('NaN')", "NaN is not JSON"),
    "dice": ("import os; print('\"' + os.urandom(8).hex() + '\"')", "our own run gave another result"),
}


def test_how_a_need_can_end_badly(
    swarmd: Swarmd, own_live: Path, as_in_a_terminal: Callable[[], None]
) -> None:
    """Agents that fail, a need that nobody can do: each says why, and the money comes back."""
    before = swarmd("balance --json").json["available"]
    for name, (program, why) in AGENTS.items():
        add = ("agent", "add", name, "--capability", f"t.{name}", "--price", "0.01")
        assert swarmd("", *add, "--", sys.executable, "-c", program).code == 0
        ran = swarmd(f"need post t.{name} --budget 0.5 --wait", "--title", "<script>\x1b[31m")
        assert ran.code == 1 and "state   REFUNDED" in ran.out and "\x1b" not in ran.out, ran.out
        assert why in ran.out.partition("reason")[2], ran.out
    assert swarmd("agent stderr crash").out == "where is my model\n"
    assert swarmd("balance --json").json["available"] == before

    ran = swarmd("need post nobody.does --budget 0.5 --wait --timeout 3")
    assert ran.code == 5 and "it goes on: swarmd need list" in ran.err
    assert "it waits for an agent that offers nobody.does for at most 0.5 USDC" in ran.err
    need = swarmd("need list -q --limit 1").out.strip()
    assert "waiting  an agent that offers nobody.does" in swarmd("need show", need).out
    assert "waiting for an agent that offers nobody.does" in swarmd("why", need).out

    waiting = subprocess.Popen(
        [sys.executable, "-m", "swarmd.cli", "need", "post", "nobody.does", "--budget", "0.1", "--wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=as_in_a_terminal,
    )
    assert waiting.stdout is not None
    assert "NEED" in waiting.stdout.readline()
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=20)
    assert (
        waiting.returncode == 130 and "it goes on: swarmd need watch need-" in err and "Traceback" not in err
    )


def test_the_documented_answers_are_those_there_are(repo: Path) -> None:
    """Each row of the table in docs/cli.md begins with what one of the mistakes above is told."""
    page = (repo / "docs" / "cli.md").read_text()
    section = page.partition("## What it says when something is wrong\n")[2].partition("\n## ")[0]
    shown = re.findall(r"^\| `([^`]+)`", section, re.M)
    assert len(shown) > 20
    said = [row[2] for row in (*WITHOUT_A_NODE, *WITH_A_DAEMON)] + [each[3] for each in DAMAGE]
    said += [why for _, why in AGENTS.values()] + [
        "cannot be reached",
        "is a file, and a node's home is a folder",
    ]
    said += ["it waits for an agent that offers nobody.does", "cannot write: No space left on device"]
    said += ["HOME is not set", "is a swarmd home already"]
    for text in shown:
        assert any(text in each or each in text for each in said), text


def test_a_document_of_a_mistake_is_json(swarmd: Swarmd, home: Path) -> None:
    found = json.loads(swarmd("--json need list").out)["error"]
    assert found["code"] == "daemon-not-running" and found["docs"].startswith("docs/")
