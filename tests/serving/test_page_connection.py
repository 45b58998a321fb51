"""The live page when servers and jobs come and go."""

from __future__ import annotations

from browser import CHROMIUM
from live_page import Open
from page_world import serving, world

pytestmark = CHROMIUM


def test_a_server_that_goes_is_told_and_found_again(show: Open) -> None:
    told = world(1)
    with serving(told) as url:
        page = show(url)
        page.wait("document.querySelectorAll('.scene .dot').length")
    page.wait("document.documentElement.dataset.live === 'old'")
    page.wait("document.querySelector('#stale').textContent.startsWith('NOT LIVE for ')")
    assert page.text("#headline") == "Not live"
    assert page.text("#age").endswith("old")
    assert page.evaluate("document.title") == "(not live) RISA live"
    assert page.evaluate("document.querySelector('#urgent').textContent") == "The figures are not live any more."
    dot = "getComputedStyle(document.querySelector('.scene .dot')).display"
    assert page.evaluate(dot) == "none"
    # A minute later figures of the last minute say nothing any more. The clock is set, rather than waited for.
    page.evaluate("void (Date.now = ((now) => () => now() + 61000)(Date.now))")
    page.wait("document.documentElement.dataset.live === 'void'")
    assert page.evaluate("getComputedStyle(document.querySelector('.figure')).visibility") == "hidden"
    with serving(told, int(url.rpartition(":")[2])):
        page.wait("document.documentElement.dataset.live === 'fresh'")
        assert page.evaluate("document.querySelector('#stale').hidden")
        assert page.evaluate("document.querySelector('#said').textContent") == "The figures are live again."
        page.wait("document.querySelector('#headline').textContent === 'All well'")


def test_a_job_that_hangs_behind_a_server_that_does_not_is_not_live(show: Open) -> None:
    told = world(1)
    with serving(told) as url:
        page = show(url)
        told.live.runs[0].silent_s = 12.0
        page.wait("document.documentElement.dataset.live === 'old'")
        assert "no new figures come" in page.text("#stale")
        assert "the job does not answer" in page.text(".attention li")


def test_stores_that_change_are_followed(show: Open) -> None:
    told = world(2)
    with serving(told) as url:
        page = show(url)
        told.stores[1].name, told.live.revision = "Central Station", "2"
        page.wait("document.querySelector('[data-store=\"008\"] a').textContent === 'Central Station'")
