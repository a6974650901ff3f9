"""The command `swarmd bench dashboard`: how long a browser waits for the first view of a node with a long history.

A real daemon with so many needs on disk and in memory, and Chromium, which loads everything anew each time: nothing is in
its cache. The page says itself when it shows what the node told it (`first-view`), counted from the navigation.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio
from swarmd.node.bench import history
from swarmd.node.bench.percentiles import percentiles
from swarmd.node.bench.state_node import StateNode, base_gate
from swarmd.node.console.outcome import FAILED, OK
from swarmd.node.console.output import Output, facts
from swarmd.node.home import socket_path
from swarmd.node.keys import KEY_FILE
from swarmd.node.process_usage import cpu_seconds
from swarmd.node.setup import GENESIS_FILE, write_genesis
from swarmd.node.transport.local_client import LocalClient
from swarmd.protocol.faults import LocalFault

GOAL_MS = 300.0
READS = 100
_START_S = 300.0
_VIEW_MS = 60_000
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
_MARKED = "performance.getEntriesByName('first-view').length > 0"


def main(needs: int, runs: int, out: Output) -> int:
    """0 if the median first view is within GOAL_MS."""
    figures = measure(needs, runs, out)
    if out.as_json:
        out.document(figures)
    else:
        reads = [
            (name, f"p50 {each['p50_ms']} ms, p95 {each['p95_ms']} ms")
            for name, each in figures["reads"].items()
        ]
        view = figures["first_view"]
        said = f"p50 {view['p50_ms']} ms, p95 {view['p95_ms']} ms (goal {view['goal_ms']:g} ms)"
        cpu = f"daemon {view['daemon_cpu_ms']} ms of CPU, the page's tasks {view['page_tasks_ms']} ms"
        rows = [("needs", needs), ("first view", said), ("of that", cpu), *reads]
        out.print(facts([*rows, ("load", figures["load_average"])]))
    return OK if figures["first_view"]["p50_ms"] <= GOAL_MS else FAILED


def measure(needs: int, runs: int, out: Output) -> dict[str, Any]:
    """LocalFault `no-chromium`, `no-playwright` before anything is begun."""
    chromium = _chromium()
    with tempfile.TemporaryDirectory(prefix="swarmd-dashboard-") as folder:
        home = Path(folder)
        out.progress(f"a history of {needs} needs")
        _fill(home, needs)
        out.progress("the daemon starts")
        with _daemon(home) as (ask, pid):
            views, cpu = _first_views(chromium, ask, pid, runs)
            reads = _reads(ask, needs)
    return {
        "needs": needs,
        "runs": runs,
        "load_average": round(os.getloadavg()[0], 2),
        "first_view": {**percentiles(views, 1), "goal_ms": GOAL_MS, **cpu},
        "reads": {name: percentiles(took, 1) for name, took in reads.items()},
    }


def _chromium() -> str:
    found = shutil.which("chromium")
    if found is None:
        raise LocalFault("no-chromium", "there is no chromium here", fix="apt-get install chromium")
    try:
        import playwright  # noqa: F401 (a dependency of development, not of the node)
    except ImportError:
        raise LocalFault("no-playwright", "playwright drives the browser", fix="make setup") from None
    return found


def _fill(home: Path, needs: int) -> None:
    """A home whose node, no verifier, has heard of them all."""
    home.chmod(0o700)
    number = history.MEMBERS
    key = home / KEY_FILE
    key.touch(0o600)
    key.write_text(bytes(history.key_of(number)).hex() + "\n", "ascii")
    write_genesis(home / GENESIS_FILE, history.genesis())
    frames = history.kept_frames(needs * history.TASKS_PER_NEED)
    ops = needs * history.TASKS_PER_NEED * history.OPS_PER_TASK

    async def load() -> None:
        node = StateNode(home, number, base_gate())
        await node.load(history.read_frames(frames), ops)
        node.journal.close()

    trio.run(load)


Ask = Callable[..., Any]


@contextmanager
def _daemon(home: Path) -> Iterator[tuple[Ask, int]]:
    command = [sys.executable, "-m", "swarmd.cli", "--home", str(home), "--json", "up", "--no-mdns"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("SWARMD_")}
    with open(home / "log", "wb") as log:
        daemon = subprocess.Popen(
            [*command, "--listen", "/ip4/127.0.0.1/tcp/0"], stdout=subprocess.PIPE, stderr=log, env=env
        )
    try:
        assert daemon.stdout is not None
        ready = json.loads(daemon.stdout.readline() or b"{}")
        if ready.get("event") != "ready":
            raise LocalFault("daemon-failed", (home / "log").read_text("utf-8", "replace")[-2_000:])

        def ask(op: str, **args: Any) -> Any:
            with LocalClient(socket_path(home), timeout_s=_START_S) as client:
                return client.call(op, args)

        yield ask, daemon.pid
    finally:
        daemon.terminate()
        daemon.wait(30)
        assert daemon.stdout is not None
        daemon.stdout.close()


def _first_views(chromium: str, ask: Ask, pid: int, runs: int) -> tuple[list[float], dict[str, float]]:
    """Milliseconds from the navigation to what the node says being on the page, each in a profile of its own. And what
    of it the daemon computes (CPU time, with what else it does meanwhile), and how long the page's own tasks took: where
    others are busy, the clock says more about them."""
    from playwright.sync_api import sync_playwright

    took, page_s, daemon_s = [], 0.0, 0.0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(_FLAGS))
        for number in range(runs + 1):
            login = ask("api.login", scopes=["read"])["url"]
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            context.request.get(login, max_redirects=0)  # the cookie, and nothing of the page
            page = context.new_page()
            metrics = context.new_cdp_session(page)
            metrics.send("Performance.enable")
            before_s = cpu_seconds(pid)
            page.goto(login.partition("/login")[0] + "/")
            page.locator(".tile").first.wait_for(timeout=_VIEW_MS)
            while not page.evaluate(_MARKED):
                page.wait_for_timeout(10)
            if number:  # the first warms both sides up
                took.append(float(page.evaluate("performance.getEntriesByName('first-view')[0].startTime")))
                daemon_s += cpu_seconds(pid) - before_s
                named = {
                    each["name"]: each["value"] for each in metrics.send("Performance.getMetrics")["metrics"]
                }
                page_s += named["TaskDuration"]
            context.close()
        browser.close()
    return took, {
        "daemon_cpu_ms": round(1e3 * daemon_s / runs, 1),
        "page_tasks_ms": round(1e3 * page_s / runs, 1),
    }


def _reads(ask: Ask, needs: int) -> dict[str, list[float]]:
    """Milliseconds of what pages read, over HTTP from one client."""
    import httpx

    token = ask("token.create", name="bench", scopes=["read"])["token"]
    paths = {
        "overview": "overview",
        "needs, first page": "needs?limit=50",
        "needs, last page": f"needs?limit=50&offset={max(0, needs - 50)}",
        "needs, searched": "needs?limit=50&q=nothing-like-it",
        "ledger": "statement?limit=25",
        "review": "review",
    }
    url = ask("api.status")["url"] + "/api/v1/dashboard/"
    took: dict[str, list[float]] = {}
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
        for name, path in paths.items():
            found = took[name] = []
            for _ in range(READS):
                began = time.perf_counter()
                client.get(url + path).raise_for_status()
                found.append(1e3 * (time.perf_counter() - began))
                time.sleep(0.005)  # within the rate of one token
    return took
