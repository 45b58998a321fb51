"""Alerts and tokens on the live page."""

from __future__ import annotations

from browser import CHROMIUM, Page
from live_page import FRESH, Open
from page_world import alert, serving, world

pytestmark = CHROMIUM


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the element with this accessible name has the focus."""
    for _ in range(60):
        page.press("Tab")
        if page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.textContent") == name:
            return
    raise AssertionError(f"{name} cannot be reached by keyboard")


def test_an_alert_appears_and_is_acknowledged_by_keyboard(show: Open) -> None:
    told = world(2)
    with serving(told) as url:
        page = show(url)
        alert(told, "a1")
        page.wait("document.querySelector('#urgent').textContent.includes('Open another till')")
        text = page.text(".attention li")
        assert "People now 9 (above 6, 14 people in 1 min)" in text
        assert "Queue · Till · Airport" in text
        alert(told, "a2", "warning", "Apparent expressions at the desk have turned")
        page.wait("document.querySelectorAll('.attention .items:first-of-type li').length === 2")
        tab_to(page, "Acknowledge: Open another till")
        page.press("Enter")
        page.wait(
            "document.querySelector('.attention details:last-of-type')?.textContent.includes('Open another till')"
        )
        assert told.acknowledged == ["a1"]
        assert "by till-tablet" in page.evaluate(
            "document.querySelector('.attention details:last-of-type').textContent"
        )
        # The focus goes to the next one rather than to nowhere.
        assert page.evaluate("document.activeElement.ariaLabel").endswith("at the desk have turned")
        page.press(" ")
        page.wait("document.querySelector('#headline').textContent === 'All well'")
        assert told.acknowledged == ["a1", "a2"]


def test_who_may_not_acknowledge_is_told_what_it_takes(show: Open) -> None:
    told = world(1)
    told.operator = "operator-token"
    alert(told, "a1")
    with serving(told) as url:
        page = show(url)
        page.evaluate("document.querySelector('.attention button').click()")
        page.wait("document.querySelector('.answer').textContent.includes(\"operator's token is needed\")")
        assert told.acknowledged == []
        page.evaluate("document.querySelector('.attention .do .plain').click()")
        page.type("operator-token")
        page.press("Enter")
        page.wait("!document.querySelector('dialog').open")
        page.evaluate("document.querySelector('.attention button').click()")
        page.wait("document.querySelector('#headline').textContent === 'All well'")
        assert told.acknowledged == ["a1"]


def test_a_token_is_asked_for_once(show: Open) -> None:
    told = world(1)
    told.token = "viewer-token"
    with serving(told) as url:
        page = show(url, wait="document.querySelector('dialog').open")
        page.type("a wrong one")
        page.press("Enter")
        page.wait("document.querySelector('dialog').open && !document.querySelector('#token').value")
        assert "ask whoever runs the server" in page.text("#why-token")
        page.type("viewer-token")
        page.press("Enter")
        page.wait(FRESH)
        page.reload()
        page.wait(FRESH)
        assert not page.evaluate("document.querySelector('dialog').open")
        assert not any("token" in r for r in page.requests)
