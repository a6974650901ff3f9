"""Using it: keys, search, the plan that moves, what is said when nobody answers or nobody is logged in."""

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import expect


def test_it_can_be_used_with_the_keyboard_alone(view: Any, done_need: str) -> None:
    keys, page = view.page.keyboard, view.page
    page.reload()
    view.settled()
    keys.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    keys.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    keys.type("gn")
    expect(page.locator("h1")).to_have_text("Needs")
    expect(page.locator("#main")).to_be_focused()
    keys.press("/")
    expect(page.locator("#search")).to_be_focused()
    keys.type("pwned")
    expect(page).to_have_url(re.compile("q=pwned"))
    expect(page.locator("#search")).to_have_value("pwned")
    keys.press("Escape")
    keys.press("?")
    expect(page.locator("dialog#keys")).to_be_visible()
    keys.press("Escape")
    expect(page.locator("dialog#keys")).to_be_hidden()
    page.locator("td.title a").first.focus()
    keys.press("Enter")
    view.settled()
    task = page.locator(".node[data-task=second]")
    task.focus()
    keys.press("Enter")
    expect(page.locator(".plan .task h3")).to_have_text("second")
    expect(page.locator(".plan .task")).to_contain_text("text.wordcount")
    page.locator(".step summary").first.focus()
    keys.press("Enter")
    expect(page.locator(".step details[open]")).to_contain_text("checked just now: it holds")
    view.check_promises()


def test_nothing_that_is_typed_is_lost(view: Any, done_need: str) -> None:
    """From the first moment of the page, and at the pace at which it takes words into its address."""
    page, words = view.page, "by and by pwned"
    for delay_ms in (0, 205, 230):
        page.goto("about:blank")
        view.go("needs")
        page.evaluate(
            """new Promise((done) => {
              const look = () => {
                const field = document.getElementById("search");
                if (!field) return requestAnimationFrame(look);
                field.focus();
                done();
              };
              look();
            })"""
        )
        page.keyboard.type(words, delay=delay_ms)
        expect(page.locator("#search")).to_have_value(words)
        expect(page).to_have_url(re.compile("q=" + words.replace(" ", r"\+")))
    page.locator("#main").get_by_role("link", name="Show all needs").click()
    expect(page.locator("#search")).to_have_value("")


def test_the_theme_is_the_system_s_until_one_is_chosen_and_then_kept(view: Any) -> None:
    page, theme = view.page, "document.documentElement.dataset.theme"
    page.emulate_media(color_scheme="dark")
    page.reload()
    view.settled()
    assert page.evaluate(theme) == "dark"
    page.keyboard.press("t")
    assert page.evaluate(theme) == "light"
    page.reload()
    view.settled()
    assert page.evaluate(theme) == "light"


def test_a_phone_has_a_menu(view: Any) -> None:
    page = view.page
    page.set_viewport_size({"width": 360, "height": 740})
    expect(page.locator(".side")).to_be_hidden()
    page.get_by_role("button", name="Menu", exact=True).click()
    page.get_by_role("link", name="Peers", exact=True).click()
    expect(page.locator("h1")).to_have_text("Peers")
    expect(page.locator(".side")).to_be_hidden()


def test_needs_are_found_by_title_state_and_owner(view: Any, mesh: Any) -> None:
    view.go("needs?q=pwned&state=finalized&mine=1")
    expect(view.page.locator("tbody tr")).to_have_count(1)
    view.go("needs?q=nothing-like-that")
    expect(view.page.locator(".empty")).to_contain_text("No need fits")
    view.go("needs?state=expired")
    expect(view.page.locator(".empty")).to_contain_text("No need fits")


def test_the_plan_moves_while_the_work_goes_on(view: Any, mesh: Any, hold: Callable[[], None]) -> None:
    held = {"id": "held", "capability": "test.hold", "input": {"x": {"json": 1}}}
    after = {
        "id": "after",
        "capability": "text.wordcount",
        "input": {"text": {"text": "a b"}},
        "after": ["held"],
    }
    need = mesh.post("it moves", held, after)
    view.go(f"needs/{need}")
    view.page.evaluate("window.same = true")
    expect(view.page.locator(".node[data-task=held]")).to_have_attribute("data-state", "CLAIMED")
    assert view.page.locator(".edge").count() == 1
    hold()
    expect(view.page.locator(".node[data-task=after]")).to_have_attribute("data-state", "FINALIZED")
    expect(view.page.locator("h1 .badge")).to_have_text("Finalized")
    assert view.page.evaluate("window.same") is True, "without loading the page again"
    expect(view.page.locator(".chain .kind.done")).to_have_count(2)
    marks = view.page.locator(".chain .kind")
    widths = marks.evaluate_all("all => all.map((each) => each.getBoundingClientRect().width)")
    assert len(widths) > 8 and max(widths) < 130, "a mark is a mark, whatever other styles its name may hit"
    view.check_promises()


def test_a_negotiation_is_read_as_a_thread(view: Any, negotiated: str) -> None:
    view.go("escrows")
    view.page.get_by_role("link", name="Translate the manual").click()
    said = view.page.locator(".say")
    expect(said).to_have_count(2)
    expect(said.nth(0)).to_contain_text("5.00 USDC")
    expect(said.nth(1)).to_contain_text("5.00 → 6.00 USDC")
    expect(said.nth(1)).to_contain_text("accepted")
    expect(said.nth(1)).to_contain_text('<img src=x onerror="window.pwned=1">')
    expect(view.page.locator(".steps .now")).to_have_text("Funded")
    view.check_promises()


def test_a_need_that_is_not_there_is_said_with_the_fix(view: Any) -> None:
    view.go("needs/need-zzzzzzzz")
    expect(view.page.get_by_role("alert")).to_contain_text("no such need here")
    expect(view.page.get_by_role("alert")).to_contain_text("swarmd need list")
    view.go("nowhere")
    expect(view.page.locator("#main")).to_contain_text("There is nothing here")


def test_who_is_not_logged_in_is_told_how(anonymous: Any) -> None:
    anonymous.page.goto(anonymous.origin + "/")
    expect(anonymous.page.locator("#main")).to_contain_text("Log in from the command line")
    expect(anonymous.page.locator("#main code")).to_have_text("swarmd dashboard")
    assert not anonymous.strangers


def test_a_login_link_works_once(anonymous: Any, mesh: Any) -> None:
    link = mesh.login()
    anonymous.page.goto(link)
    anonymous.settled()
    assert "code=" not in anonymous.page.url
    anonymous.page.context.clear_cookies()
    anonymous.page.goto(link)
    assert "login-expired" in anonymous.page.content()


def test_a_session_that_ended_is_said(view: Any) -> None:
    cookies = view.page.context.cookies()
    view.page.context.clear_cookies()
    view.page.context.add_cookies([{**cookie, "value": "x" * 43} for cookie in cookies])
    view.page.reload()
    expect(view.page.locator("#main")).to_contain_text("Your session has ended")


def test_when_the_daemon_goes_it_is_said_and_the_page_comes_back_by_itself(view: Any) -> None:
    """As a browser sees it: nothing answers any more, then it does again."""
    page = view.page
    expect(page.locator(".tile")).not_to_have_count(0)
    page.context.set_offline(True)
    page.evaluate("location.hash = '#/ledger'")
    expect(page.get_by_role("alert").first).to_contain_text("The daemon does not answer.")
    expect(page.get_by_role("alert").first).to_contain_text("swarmd up")
    page.context.set_offline(False)
    expect(page.get_by_text("The daemon does not answer.")).to_have_count(0)
    expect(page.locator(".tile").first).to_contain_text("Available")
