"""`swarmd top`: the screen of a real daemon, driven by keys, and what it does when the daemon is gone."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from swarmd.cli import build_parser, parse
from swarmd.node.console import top
from swarmd.node.console.context import Context
from swarmd.node.console.output import Output

Swarmd = Callable[..., Any]
EVIL = "\x1b]0;owned\x07[red]\u202e"


@pytest.fixture
def feed(live: Path) -> top.Feed:
    parser = build_parser()
    return top.Feed(Context(parse(parser, ["--home", str(live), "top"]), Output(), {}, parser))


def drive(feed: Any, script: Callable[[Any], Awaitable[None]], interval_s: float = 30.0) -> None:
    """Run the app on a screen that nobody sees; `script` gets Textual's pilot. Its failures are raised here."""
    from swarmd.node.console.top_app import Top

    failed: list[BaseException] = []

    async def pilot(driver: Any) -> None:
        try:
            await script(driver)
        except BaseException as error:
            failed.append(error)
        finally:
            driver.app.exit(0)

    Top(feed, interval_s).run(headless=True, size=(160, 50), auto_pilot=pilot)
    if failed:
        raise failed[0]


async def settled(driver: Any, ready: Callable[[], bool]) -> None:
    for _ in range(200):
        if ready():
            return
        await driver.pause(0.05)
    raise AssertionError("the screen did not come to show it")


def cells(app: Any, table: str) -> list[list[str]]:
    found = app.query_one(f"#{table}")
    return [[str(cell) for cell in found.get_row_at(row)] for row in range(found.row_count)]


def test_the_screen_shows_the_node_and_why(swarmd: Swarmd, feed: top.Feed) -> None:
    posted = swarmd(
        "need post text.wordcount --budget 1 --wait --json --title topped", "--text", "text=a b a"
    )
    need = posted.json["need"]

    async def script(driver: Any) -> None:
        app = driver.app
        await settled(driver, lambda: app.query_one("#needs").row_count > 0)
        rows = cells(app, "needs")
        assert rows[0][:3] == [need, "FINALIZED", "1/1"] and rows[0][5] == "topped"
        assert [row[0] for row in cells(app, "agents")] == ["wc"]
        assert {"available", "chain"} <= {row[0] for row in cells(app, "money")}
        assert {"frames dropped", "policy"} <= {row[0] for row in cells(app, "gates")}
        assert cells(app, "peers") == []
        assert "solo" in app.headline_text() and not app.query_one("#head").has_class("bad")
        await driver.press("p")
        assert "PAUSED" in app.headline_text()
        app.query_one("#needs").focus()
        await driver.press("home", "enter")
        await settled(driver, lambda: len(app.screen_stack) == 2)
        shown = "\n".join(app.screen.lines)
        assert need in shown and "FINALIZE" in shown and "✓" in shown and "✗" not in shown
        await driver.press("escape")
        await settled(driver, lambda: len(app.screen_stack) == 1)
        await driver.press("tab", "q")

    drive(feed, script)


def test_it_comes_back_when_the_daemon_does(feed: top.Feed) -> None:
    class Flaky:
        """The daemon is away at first."""

        def __init__(self) -> None:
            self.asked = 0

        def snapshot(self) -> top.Snapshot:
            self.asked += 1
            return (
                feed.snapshot() if self.asked > 1 else top.Snapshot(fault="no daemon answers  fix: swarmd up")
            )

        def close(self) -> None:
            feed.close()

    async def script(driver: Any) -> None:
        app = driver.app
        await settled(driver, lambda: app.query_one("#head").has_class("bad"))
        assert "swarmd up" in app.headline_text()
        await driver.press("r")
        await settled(driver, lambda: not app.query_one("#head").has_class("bad"))
        assert "solo" in app.headline_text()

    drive(Flaky(), script)


def test_without_a_daemon_the_feed_says_the_fix(home: Path) -> None:
    parser = build_parser()
    feed = top.Feed(Context(parse(parser, ["--home", str(home), "top"]), Output(), {}, parser))
    assert f"swarmd --home {home} up --init" in feed.snapshot().fault
    assert "there is no node in" in feed.why("need-aaaa")[0]


def test_without_a_terminal_it_says_it_once(swarmd: Swarmd, live: Path) -> None:
    ran = swarmd("top")
    assert ran.code == 0 and "wc" in ran.out and "frames dropped" in ran.out
    ran = swarmd("top --json")
    assert set(ran.json) == {"status", "peers", "needs", "agents", "balance"}


def test_what_peers_wrote_cannot_write_to_the_terminal() -> None:
    need = {"need": "n", "state": "OPEN", "done": 0, "tasks": 1, "budget": "1", "paid": "0", "title": EVIL, "waiting_for": [EVIL]}  # fmt: skip
    agent = {"name": "a", "enabled": True, "available": False, "running": 0, "concurrency": 1, "done": 0, "failed": {EVIL: 1}, "capabilities": []}  # fmt: skip
    seen = top.Snapshot(needs=[need], agents=[agent])
    for row in (*top.need_rows(seen), *top.agent_rows(seen)):
        assert all(cell.isprintable() for cell in row)
