"""The dashboard as its user sees it: a real Chromium, real daemons, the link that `swarmd dashboard` prints."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright
from swarmd.node.cluster import Cluster, Member
from swarmd.node.home import socket_path
from swarmd.node.transport.local_client import LocalClient
from swarmd.protocol.faults import LocalFault

ARGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
HOSTILE = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>\'"&{{7*7}}'
# What keeps a promise of the page from being broken in silence.
WATCH = """
addEventListener("securitypolicyviolation", (e) => {
  (window.violations ||= []).push(e.violatedDirective + " " + e.blockedURI);
});
"""
TOO_WIDE = """() => {
  const room = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= room) return [];
  return [...document.querySelectorAll("#app *")].filter((each) => each.getBoundingClientRect().right > room + 0.5)
    .map((each) => `${each.outerHTML.slice(0, 140)} in ${each.parentElement.outerHTML.slice(0, 700)}`);
}"""
TIMEOUT_MS = 15_000
expect.set_options(timeout=TIMEOUT_MS)
BALANCE = 100_000_000


def _without(what: str, how: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{what} is not there: {how}")
    pytest.skip(f"{what} is not there: {how}")


class Served(Cluster):
    """Daemons of one mesh, of which the first serves its API and dashboard."""

    def command(self, member: Member, *up: str) -> list[str]:
        found = super().command(member, *up)
        if member is self.members[0]:
            found.remove("--no-api")
        return found

    @property
    def owner(self) -> Member:
        return self.members[0]

    def ask(self, op: str, **args: Any) -> Any:
        with LocalClient(socket_path(self.owner.home), timeout_s=30) as client:
            return client.call(op, args)

    def add_agent(self, name: str, capability: str, script: Path, *more: str) -> None:
        agent = {
            "name": name,
            "kind": "command",
            "capabilities": [{"name": capability, "price": "0.02"}],
            "argv": [sys.executable, "-I", str(script), *more],
        }
        self.ask("agent.add", agent=agent, base="/")

    def post(self, title: str, *tasks: dict[str, Any], budget: str = "0.50") -> str:
        return str(
            self.ask("need.post", spec={"title": title, "budget": budget, "tasks": list(tasks)})["need"]
        )

    def login(self) -> str:
        return str(self.ask("api.login", scopes=["read"])["url"])

    def get(self, path: str, **params: Any) -> httpx.Response:
        """A read of the API, with a token."""
        token = self.ask("token.create", name="t", scopes=["read"])["token"]
        try:
            with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=20) as client:
                return client.get(self.ask("api.status")["url"] + "/api/v1/dashboard/" + path, params=params)
        finally:
            self.ask("token.revoke", token="t")


def count_task(name: str, text: str, *after: str) -> dict[str, Any]:
    return {
        "id": name,
        "capability": "text.wordcount",
        "input": {"text": {"text": text}},
        "after": list(after),
    }


@pytest.fixture(scope="package")
def mesh(tmp_path_factory: pytest.TempPathFactory, repo: Path) -> Iterator[Served]:
    """Two daemons: alice decides and works alone, bob is a peer. One need has been done, its title is hostile."""
    found = Served(
        tmp_path_factory.mktemp("dashboard"),
        ("alice", "bob"),
        verifiers=("alice",),
        balance=BALANCE,
        mesh="dash",
    )
    try:
        found.start_all()
        found.add_agent("wc", "text.wordcount", repo / "node" / "demo" / "agents" / "wordcount.py")
        need = found.post(HOSTILE, count_task("first", "one two"), count_task("second", "three", "first"))
        found.ask("need.wait", need=need)
        yield found
    finally:
        codes = found.stop_all()
    assert set(codes) == {0}


@pytest.fixture(scope="package")
def done_need(mesh: Served) -> str:
    return str(mesh.ask("need.list", state="FINALIZED")["needs"][-1]["need"])


@pytest.fixture(scope="package")
def negotiated(mesh: Served) -> str:
    """An escrow of alice's: bob countered, she agreed and locked the money."""
    bob = mesh.members[1]
    made = mesh.ask("escrow.create", title="Translate the manual", amount="5", seller=bob.did)["escrow"]
    _until(lambda: _shown(bob, made), "the offer")
    parts = [{"name": "draft", "amount": "2"}, {"name": "print", "amount": "4"}]
    bob.call("escrow.counter", escrow=made, milestones=parts, note=HOSTILE)
    _until(lambda: len(_shown(mesh.owner, made).get("offers", ())) == 2, "the counter-offer")
    mesh.ask("escrow.accept", escrow=made)
    mesh.ask("escrow.fund", escrow=made)
    return str(made)


def _shown(member: Member, escrow: str) -> dict[str, Any]:
    try:
        return dict(member.call("escrow.show", escrow=escrow))
    except LocalFault:
        return {}


def _until(true: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, f"waited too long for {what}"
        time.sleep(0.05)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Closed after this package: its event loop must not be there when trio's tests run."""
    chromium = shutil.which("chromium")
    if chromium is None:
        _without("chromium", "apt-get install chromium")
    starting = sync_playwright()
    playwright = starting.__enter__()
    try:
        found = playwright.chromium.launch(executable_path=chromium, args=list(ARGS))
        yield found
        found.close()
    finally:
        starting.__exit__(None, None, None)


@pytest.fixture(scope="package")
def axe(repo: Path) -> str:
    script = repo / "tests" / "dashboard" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        _without("axe-core", "run make interop")
    return script.read_text("utf-8")


@pytest.fixture(scope="package")
def esbuild(repo: Path) -> Path:
    program = repo / "tests" / "dashboard" / "axe" / "node_modules" / ".bin" / "esbuild"
    if not program.exists():
        _without("esbuild", "run make interop")
    return program


class View:
    """A page of the browser, and everything it complained of."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(TIMEOUT_MS)
        self.origin = origin
        self.errors: list[str] = []
        self.strangers: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda asked: self._on_request(asked.url))

    def _on_console(self, said: ConsoleMessage) -> None:
        if said.type == "error":
            self.errors.append(said.text)

    def _on_request(self, url: str) -> None:
        if not url.startswith(self.origin + "/"):
            self.strangers.append(url)

    def go(self, place: str) -> None:
        """To a place of the dashboard, and until it has no loading state any more."""
        self.page.goto(f"{self.origin}/#/{place}")
        self.settled()

    def settled(self) -> None:
        expect(self.page.locator("#main h1")).to_have_count(1)
        expect(self.page.locator(".skeleton")).to_have_count(0)

    def check_promises(self) -> None:
        """No error, no request to elsewhere, nothing that the policy of the page had to stop, no foreign script."""
        assert not self.errors
        assert not self.strangers
        assert self.page.evaluate("window.violations || []") == []
        assert self.page.evaluate("window.pwned") is None

    def too_wide(self) -> list[str]:
        """What reaches over the right edge of the screen, if the page can be scrolled sideways at all."""
        return list(self.page.evaluate(TOO_WIDE))


@pytest.fixture
def anonymous(browser: Browser, mesh: Served) -> Iterator[View]:
    """Nobody is logged in."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.add_init_script(WATCH)
    yield View(context, mesh.ask("api.status")["url"])
    with suppress(Exception):  # the browser may have closed it with its last page
        context.close()


@pytest.fixture
def view(anonymous: View, mesh: Served) -> View:
    """Logged in, by a link."""
    anonymous.page.goto(mesh.login())
    anonymous.settled()
    return anonymous


@pytest.fixture(scope="package")
def hold(mesh: Served, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], None]:
    """An agent `test.hold` that works until the returned function is called."""
    folder = tmp_path_factory.mktemp("hold")
    script, flag = folder / "hold.py", folder / "go"
    script.write_text(
        "import json, os, sys, time\n"
        "json.load(sys.stdin)\n"
        f"while not os.path.exists({str(flag)!r}):\n    time.sleep(0.02)\n"
        "print(json.dumps({'held': True}))\n"
    )
    mesh.add_agent("hold", "test.hold", script)
    return flag.touch
