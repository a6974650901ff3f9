"""What commands that move money, escrows, verifiers and epochs write with --json, of two real daemons in one mesh.

tests/conftest.py holds each document against its schema; the asserts here say only that the command did its work, so
that what is checked is an answer and not a refusal.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Swarmd = Callable[..., Any]
STRANGER = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
PEER = "12D3KooWSahP5pFRCEfaziPEba7urXGeif6T1y8jmodzdFUvzBHj"
PAYEE = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
PASSPHRASE = "correct horse battery staple"


class Pair:
    """Two homes of one mesh, their daemons running: `one` founded it and decides, `two` joined by a ticket."""

    def __init__(self, folder: Path) -> None:
        self.one, self.two = folder / "one", folder / "two"
        self._folder = folder
        self._daemons: dict[Path, subprocess.Popen[bytes]] = {}
        self.ready: dict[Path, Any] = {}

    @property
    def env(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith("SWARMD_")}

    def command(self, home: Path, *words: str) -> list[str]:
        return [sys.executable, "-m", "swarmd.cli", "--home", str(home), "--json", *words]

    def up(self, home: Path, *words: str) -> None:
        with open(self._folder / f"{home.name}.log", "ab") as log:
            daemon = subprocess.Popen(
                self.command(home, "up", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0", *words),
                env=self.env,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._daemons[home] = daemon
        assert daemon.stdout is not None
        self.ready[home] = json.loads(daemon.stdout.readline() or b"{}")
        assert self.ready[home].get("event") == "ready", (self._folder / f"{home.name}.log").read_text()

    def ended(self, home: Path) -> int:
        daemon = self._daemons.pop(home)
        code = daemon.wait(30)
        assert daemon.stdout is not None
        daemon.stdout.close()
        return code

    def end(self) -> None:
        for home, daemon in list(self._daemons.items()):
            daemon.terminate()
            self.ended(home)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, repo: Path) -> Iterator[Pair]:
    made = Pair(tmp_path_factory.mktemp("pair"))

    def run(home: Path, *words: str) -> Any:
        done = subprocess.run(
            made.command(home, *words), env=made.env, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    try:
        run(made.one, "init", "--challenge-window", "600")
        made.up(made.one)
        run(made.two, "join", run(made.one, "invite")["ticket"])
        made.up(made.two, "--no-api")
        agent = str(repo / "node" / "demo" / "agents" / "wordcount.py")
        add = ["agent", "add", "wc", "--capability", "text.wordcount", "--price", "0.02"]
        for home in (made.two, made.one):  # who runs it, and who as the only verifier runs it again
            run(home, *add, "--", sys.executable, "-I", agent)
        run(made.one, "wait", "ready", "--peers", "1")
        _until(lambda: run(made.one, "status")["offers"])
        yield made
    finally:
        made.end()


@pytest.fixture
def one(swarmd: Swarmd, pair: Pair) -> Callable[..., Any]:
    """`one("transfer", ...)`: the document of a command at the founder's node that does its work."""
    return lambda *words, code=0: _done(swarmd, pair.one, words, code)


@pytest.fixture
def two(swarmd: Swarmd, pair: Pair) -> Callable[..., Any]:
    return lambda *words, code=0: _done(swarmd, pair.two, words, code)


def _done(swarmd: Swarmd, home: Path, words: tuple[str, ...], code: int) -> Any:
    ran = swarmd("--json", "--home", str(home), *words)
    assert ran.code == code, (words, ran.out, ran.err)
    return ran.json


def _until(what: Callable[[], Any], limit_s: float = 60.0) -> Any:
    """What it is once it is true; commands are asked, so there is no event to wait for."""
    end = time.monotonic() + limit_s
    while not (found := what()):
        assert time.monotonic() < end, "not in time"
        time.sleep(0.1)
    return found


def test_money_in_the_mesh(one: Swarmd, two: Swarmd, pair: Pair) -> None:
    other = pair.ready[pair.two]["did"]
    sent = one("transfer", other, "100", "--key", "t1", "--memo", "for later")
    assert sent["state"] == "final"
    assert _until(lambda: two("statement")["moves"])[0]["amount"] == "100"
    assert one("statement", "--limit", "1")["next"] is not None
    assert one("transfer", other, "1", "--wait", "0s")["key"]
    one("wallet", "fund", "100")
    assert one("deposit", "5", "--key", "d1")["state"] == "credited"
    assert one("withdraw", "1", "--to", PAYEE)["state"] in ("held", "paid")


def test_money_on_the_chain(one: Swarmd) -> None:
    one("wallet", "fund", "100")
    assert one("stake", "add", "5")["bonded"] == "5"
    assert one("stake", "unbond", "2", "--yes")["bonded"] == "3"
    assert "error" in one("stake", "withdraw", code=4)
    one("wallet", "bind")
    assert one("wallet", "bound")["bound"][0]["me"] is True
    one("settle", "deposit", "5")
    one("settle", "withdraw", "1")
    one("settle", "deploy", "--yes")
    channel = one("channel", "open", PAYEE, "3")["channel"]
    one("channel", "topup", channel, "1")
    one("channel", "close", channel, "--yes")
    assert one("channel", "list")["channels"]
    assert one("doctor", "chain")["checks"]


def test_needs_their_invoices_and_the_end_of_an_epoch(one: Swarmd, pair: Pair, tmp_path: Path) -> None:
    watch = pair.command(pair.one, "topic", "watch", "--count", "3", "--timeout", "50")
    with subprocess.Popen(watch, env=pair.env, stdout=subprocess.PIPE, text=True) as watching:
        post = ("need", "post", "text.wordcount", "--budget", "1", "--text", "text=the cat", "--wait")
        # Posted until the watcher, of whose beginning nothing tells, has heard enough.
        need = _until(lambda: one(*post)["need"] if watching.poll() is None else "done")
        while watching.poll() is None:
            need = one(*post)["need"]
        assert watching.stdout is not None
        heard = watching.stdout.read()
    assert len(heard.splitlines()) == 3
    need = one(*post)["need"]
    assert one("invoice", "list")["invoices"][0]["need"] == need
    assert one("invoice", "show", need)["held"] == "1"  # until its challenge window has ended
    assert "per_need" in one("invoice", "limits")
    # No verifier is left to judge it again; tests/daemon challenges where there is one.
    assert "error" in one("challenge", need, "--reason", "it counts wrong", code=4)
    begun = one("checkpoint", "advance")["epoch"]
    assert one("checkpoint", "export", str(tmp_path / "e.ckpt"))["epoch"] == begun
    assert one("checkpoint", "verify", str(tmp_path / "e.ckpt"))["valid"] is True


TERMS = ("--title", "Manual", "--spec", "all of it")


@pytest.fixture
def agreed(one: Swarmd, two: Swarmd, pair: Pair) -> Callable[..., str]:
    """agreed("--amount", "5", ...): the id of a funded escrow; `one` buys, `two` sells."""

    def make(*terms: str) -> str:
        seller = pair.ready[pair.two]["did"]
        name: str = one("escrow", "create", *TERMS, "--seller", seller, *terms)["escrow"]
        _until(lambda: any(row["escrow"] == name for row in two("escrow", "list")["escrows"]))
        two("escrow", "accept", name)
        _until(lambda: one("escrow", "show", name)["state"] == "accepted")
        assert one("escrow", "fund", name)["state"] == "funded"
        _until(lambda: two("escrow", "show", name)["state"] == "funded")
        return name

    return make


def test_an_escrow_in_parts(
    one: Swarmd, two: Swarmd, pair: Pair, agreed: Callable[..., str], tmp_path: Path
) -> None:
    me = pair.ready[pair.one]["did"]
    name = one("escrow", "create", *TERMS, "--amount", "5")["escrow"]
    assert one("escrow", "offer", name, "--amount", "6")["offers"][-1]["amount"] == "6"
    _until(lambda: any(row["escrow"] == name for row in two("escrow", "list", "--all")["escrows"]))
    assert (
        two("escrow", "counter", name, "--amount", "7", "--note", "more work")["offers"][-1]["note"]
        == "more work"
    )
    assert one("escrow", "refund", name, "--yes", "--reason", "no")["state"] == "refunded"
    name = agreed(
        "--milestone",
        "a=1",
        "--milestone",
        "b=2",
        "--milestone",
        "c=3",
        "--scorer",
        STRANGER,
        "--after",
        f"data={me}",
    )
    one("escrow", "ready", name, "data")
    (tmp_path / "part").write_text("a part")
    _until(lambda: not two("escrow", "show", name)["waits_for"])
    for part in "abc":
        two("escrow", "submit", name, str(tmp_path / "part"), "--milestone", part)
    _until(lambda: one("escrow", "show", name)["state"] == "submitted")
    # Only a scorer may, which here is nobody's node.
    assert "error" in one("escrow", "score", name, "92", "--milestone", "a", code=4)
    one("escrow", "milestone", name, "b")
    assert one("escrow", "release", name, "--yes")["paid"]
    assert one("escrow", "reputation")["did"] == me


def test_an_escrow_in_dispute(one: Swarmd, two: Swarmd, agreed: Callable[..., str]) -> None:
    name = agreed("--amount", "5", "--panel", STRANGER)
    assert one("escrow", "dispute", name, "--reason", "half is missing")["dispute"]["claims"]
    # Only the panel may, which here is nobody's node.
    assert "error" in two("escrow", "resolve", name, "--seller-percent", "70", code=4)


def test_verifiers_peers_tokens_and_the_dashboard(one: Swarmd, two: Swarmd) -> None:
    two("verifier", "join")
    assert one("verifier", "attest")["data"]
    assert one("verifier", "leave", "--yes")
    assert one("peers", "ban", PEER, "--for", "1h")
    assert one("peers", "unban", PEER)
    assert one("token", "create", "me")["token"].startswith("swt_")
    assert one("token", "revoke", "me")
    assert one("dashboard")["url"].startswith("http://127.0.0.1:")
    two("content", "group", "add", "lab", STRANGER)
    assert two("content", "group", "rm", "lab", STRANGER)["members"] == []


def test_homes_without_a_daemon(
    swarmd: Swarmd, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWARMD_KEYSTORE_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("SWARMD_BACKUP_PASSPHRASE", PASSPHRASE)
    fresh, home = str(tmp_path / "fresh"), str(tmp_path / "restored")
    key = tmp_path / "key"
    key.write_text("11" * 32)
    assert swarmd("init --json", "--home", fresh).code == 0
    assert swarmd("wallet create --json", "--home", fresh).json["address"].startswith("0x")
    assert swarmd("wallet import --json", str(key), "--home", str(tmp_path / "other")).json["keystore"]
    signed = swarmd("seeds sign --json /ip4/192.0.2.7/tcp/4001", "--home", str(pair.one)).json
    (tmp_path / "seeds").write_text(json.dumps(signed))
    swarmd("seeds check --json", str(tmp_path / "seeds"), "--home", str(pair.one))
    backup = str(tmp_path / "node.backup")
    assert swarmd("backup create --json", backup, "--home", str(pair.two)).code == 0
    assert swarmd("backup restore --json", backup, "--home", home).code == 0


def test_the_end(swarmd: Swarmd, pair: Pair) -> None:
    ran = swarmd("stop --json", "--home", str(pair.one))
    assert ran.code == 0 and pair.ended(pair.one) == 0
