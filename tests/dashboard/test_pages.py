"""Every page, in both themes and at phone width: it shows, nothing complains, axe finds nothing, nothing overflows."""

import json
import re
from contextlib import suppress
from typing import Any

import pytest
from playwright.sync_api import Error, Route, expect

PAGES = (
    "overview",
    "needs",
    "need",
    "escrows",
    "escrow",
    "review",
    "peers",
    "agents",
    "policy",
    "ledger",
    "analytics",
)
AXE = "() => axe.run(document, {resultTypes: ['violations']})"


@pytest.fixture
def place(request: pytest.FixtureRequest, mesh: Any, done_need: str, negotiated: str) -> str:
    """Where a page is."""
    return {"need": f"needs/{done_need}", "escrow": f"escrows/{negotiated}"}.get(request.param, request.param)


def violations(view: Any) -> list[str]:
    found = view.page.evaluate(AXE)["violations"]
    return [f"{each['id']}: {each['help']}: {[n['html'][:160] for n in each['nodes'][:3]]}" for each in found]


@pytest.mark.parametrize("place", PAGES, indirect=True)
def test_a_page_is_whole_in_both_themes_and_on_a_phone(view: Any, axe: str, place: str) -> None:
    view.go(place)
    assert view.page.locator("[role=alert]").count() == 0, view.page.locator("#main").inner_text()
    view.page.evaluate(axe)
    for theme in ("light", "dark"):
        view.page.evaluate("theme => document.documentElement.dataset.theme = theme", theme)
        assert violations(view) == [], theme
    assert not (wide := view.too_wide()), "\n".join(wide)
    view.page.set_viewport_size({"width": 360, "height": 740})
    expect(view.page.locator(".phone-bar")).to_be_visible()
    assert not (wide := view.too_wide()), "\n".join(wide)
    assert violations(view) == []
    view.check_promises()


# What this mesh has none of, as the daemon would tell it.
REVIEW_ITEM = {
    "urgency": "urgent", "code": "challenge", "title": "t", "detail": "d", "fix": "f", "need": "n", "task": "t", "who": "w",
    "at_ns": 1,
}  # fmt: skip
SAMPLES = {"/dashboard/review": {"items": [REVIEW_ITEM], "total": 1}}


def hostile(value: Any, text: str) -> Any:
    """The same document with hostile text wherever a peer or an agent could have put some."""
    if isinstance(value, dict):
        return {key: hostile(each, text) for key, each in value.items()}
    if isinstance(value, list):
        return [hostile(each, text) for each in value]
    return text + value if isinstance(value, str) else value


@pytest.mark.parametrize("place", PAGES, indirect=True)
def test_text_of_others_stays_text_on_every_page(view: Any, place: str) -> None:
    text = '<img src=x onerror="window.pwned=1"><svg onload="window.pwned=1"><script>window.pwned=1</script>'

    def change(route: Route) -> None:
        with suppress(Error):  # the page went on, or was closed, meanwhile
            answer = route.fetch()
            path = route.request.url.partition("?")[0].partition("/api/v1")[2]
            document = SAMPLES.get(path) or answer.json()
            route.fulfill(response=answer, body=json.dumps(hostile(document, text)))

    view.page.route(re.compile(r"/api/v1/(?!events)"), change)
    view.go(place)
    expect(view.page.locator("#main")).to_contain_text("<img src=x")
    assert view.page.locator("#app img, #app script, #app [onerror], #app [onload]").count() == 0
    assert view.page.evaluate("window.pwned") is None
    assert view.page.evaluate("window.violations || []") == []
    hrefs = view.page.evaluate("[...document.querySelectorAll('#app a')].map(a => a.getAttribute('href'))")
    assert hrefs and all(href.startswith("#") for href in hrefs)
    view.page.unroute_all(behavior="ignoreErrors")


def test_a_hostile_title_of_a_real_need_is_shown_as_it_is(view: Any, done_need: str) -> None:
    view.go(f"needs/{done_need}")
    assert view.page.locator("h1").inner_text().startswith('<img src=x onerror="window.pwned=1">')
    view.go("needs")
    expect(view.page.locator("td.title a").first).to_contain_text("<script>")
    view.check_promises()
