"""The live page in a real browser, before a real server that tells of invented stores."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
import requests
from browser import CHROMIUM, Browser, Page, browser
from page_world import K, alert, figures, serving, world

from risa_ray.serving import models

pytestmark = CHROMIUM

MINUS, NONE = "\u2212", "\u2013"
FRESH = """document.documentElement.dataset.live === 'fresh'
  && [...document.querySelectorAll('#main table, #main article, #empty')].some((n) => n.checkVisibility())"""
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
def show(chromium: Browser) -> Iterator[Open]:
    """Opens a page; at the end none may have said an error, or asked another host for anything."""
    pages: list[tuple[Page, str]] = []

    def _open(url: str, fragment: str = "", wait: str = FRESH, **window: Any) -> Page:
        page = chromium.page()
        if window:
            page.emulate(**({"width": 1280, "height": 900} | window))
        pages.append((page, url))
        page.goto(f"{url}/#{fragment}")
        page.wait(wait)
        return page

    yield _open
    for page, url in pages:
        assert not page.errors
        assert not [f for f in page.failed if not urlparse(f).path.startswith("/v1/")]
        assert {urlparse(r).netloc for r in page.requests} == {urlparse(url).netloc}
        page.call("Page.close")


def cell(store: str, camera: str, zone: str, column: str) -> str:
    return f'[data-camera="{camera}"] [data-zone="{zone}"] [data-label="{column}"] .figure'


def signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", MINUS)


def module(page: Page, name: str, expression: str) -> Any:
    """The value of an expression over a module's exports, `m`."""
    return page.evaluate(f"import('/page/{name}.js').then((m) => {expression})")


# --- what it shows ----------------------------------------------------------------------------------------------------


def test_figures_are_those_sent(show: Open) -> None:
    told = world(2)
    with serving(told) as url:
        page = show(url, "store/008")
        (store,) = (s for s in told.stores if s.store_id == "008")
        page.wait("document.querySelectorAll('tr[data-zone]').length === 8")
        for camera in store.cameras:
            for zone in (z for z in camera.zones if z.kind != "staff"):
                (sent,) = (
                    f for f in told.live.figures if f.camera_id == camera.camera_id and f.zone_id == zone.zone_id
                )
                at = (store.store_id, camera.camera_id, zone.zone_id)
                assert page.text(cell(*at, "People")) == str(sent.people_now)
                net = f"< {K}" if sent.net_sentiment is None else signed(sent.net_sentiment)
                assert page.text(cell(*at, "Net sentiment")) == net
                unknown = f"< {K}" if sent.unknown_share is None else f"{round(sent.unknown_share * 100)} %"
                assert page.text(cell(*at, "Unknown")) == unknown
                if zone.kind == "queue":
                    assert page.text(cell(*at, "Queue")) == f"{sent.queue_length:.1f}"
        places = page.evaluate("[...document.querySelectorAll('[data-camera]')].map((n) => n.dataset.camera)")
        assert places == [c.camera_id for c in store.cameras]


def test_what_the_floor_hides_is_never_zero(show: Open) -> None:
    told = world(1, 1)
    camera = told.stores[0].cameras[0]
    shown = [figures(f.store_id, f.camera_id, f.zone_id, 3, people=3) for f in told.live.figures]
    told.live.figures = shown
    for person in told.live.people:
        person.expression = None
    with serving(told) as url:
        page = show(url)
        for zone in ("entrance", "promo"):
            at = ("007", camera.camera_id, zone)
            assert page.text(cell(*at, "People")) == "3"
            assert page.text(cell(*at, "Net sentiment")) == f"< {K}"
            assert page.text(cell(*at, "Unknown")) == f"< {K}"
        assert page.text(".tiles .mood .figure") == f"< {K}"
        assert "fewer than 10 people" in page.text('[data-zone="entrance"] .mood .hidden')
        assert "not told of fewer than 10 people" in page.text(".said")
        letters = page.evaluate("[...document.querySelectorAll('.scene .dot')].map((n) => n.textContent)")
        assert set(letters) == {"?"}
        for status in ("no_mood", "mood_suppressed"):
            for f in told.live.figures:
                f.status = status  # type: ignore[assignment]
            wanted = {"no_mood": NONE, "mood_suppressed": f"< {K}"}[status]
            page.wait(f"document.querySelector('[data-zone=entrance] .number .figure').textContent === '{wanted}'")


def test_dots_stand_where_faces_are_and_say_their_apparent_expression(show: Open) -> None:
    told = world(1, 1)
    camera = told.stores[0].cameras[0].camera_id
    told.live.people = [
        models.PersonNow(
            store_id="007", camera_id=camera, number=n, x=x, y=y, size=0.15, zone_ids=[], expression=expression
        )
        for n, x, y, expression in [(1, 0.25, 0.5, "happiness"), (2, 0.75, 0.2, None)]
    ]
    middle = """(() => { const s = document.querySelector('.scene').getBoundingClientRect();
      return [...document.querySelectorAll('.scene .dot')].map((n) => { const d = n.getBoundingClientRect();
        return [n.textContent, (d.x + d.width / 2 - s.x) / s.width, (d.y + d.height / 2 - s.y) / s.height]; }) })()"""
    with serving(told) as url:
        page = show(url, still=True)
        (ha, x1, y1), (unknown, x2, y2) = page.evaluate(middle)
        assert (ha, unknown) == ("Ha", "?")
        assert (x1, y1, x2, y2) == pytest.approx((0.25, 0.5, 0.75, 0.2), abs=0.01)
        assert page.evaluate("getComputedStyle(document.querySelector('.scene .dot')).transitionDuration") == "0s"
        told.live.people[0].x = 0.5
        page.wait(f"Math.abs({middle}[0][1] - 0.5) < 0.01")
        told.live.people.clear()
        page.wait("document.querySelector('.nobody').textContent === 'nobody in view'")


def test_the_state_of_it_all_is_told_in_one_line(show: Open) -> None:
    told = world(2)
    with serving(told) as url:
        page = show(url)
        page.wait("document.querySelector('#headline').textContent === 'All well'")
        assert page.text("#totals").startswith("2 stores · 6 of 6 cameras deliver · ")
        camera = told.live.cameras[4]
        camera.state, camera.note = "backing_off", "connection refused"
        page.wait("document.querySelector('#headline').textContent === '1 thing needs attention'")
        item = page.text(".attention li")
        assert "Coffee aisle · Airport: no connection" in item
        assert "connection refused" in item
        assert "Check its power and network" in item
        assert page.evaluate("document.title") == "(1) RISA live"
        assert page.text('[data-store="008"] .badge') == "1 to see to"
        assert page.text('[data-store="007"] .badge') == "all well"
        camera.state, camera.note = "live", ""
        camera.dropped = {"overrun": 100}
        page.wait("document.querySelector('.attention li')?.innerText.includes('of its pictures are dropped')")
        camera.dropped = {}
        told.hour = models.HourNow(
            at=datetime.now(UTC),
            minutes=[],
            queues=[
                models.QueueHour(
                    store_id="008",
                    camera_id="008-cam3",
                    zone_id="queue",
                    wait_p50_s=240,
                    wait_p95_s=500,
                    service_level=0.3,
                    status="ok",
                )
            ],
        )
        page.wait("document.querySelector('.attention li')?.innerText.includes('long waits')")
        told.live.runs[0].trouble = "the disk is full"
        page.wait("document.querySelector('.attention li')?.innerText.includes('the disk is full')")
        assert page.evaluate("document.querySelector('#state').dataset.level") == "critical"


def test_no_run_and_no_camera_are_not_taken_for_peace(show: Open) -> None:
    told = world(1, 0)
    with serving(told) as url:
        page = show(url)
        assert "has no cameras" in page.text("#empty")
        told.live.runs, told.live.revision = [], "2"
        page.wait("document.querySelector('#headline').textContent === 'No job is running'")
        assert "risa stream" in page.text("#empty")
        told.stores, told.live.revision = [], "3"
        page.wait("!document.querySelector('#main section:not(#state):not([hidden])')")


def test_times_are_those_of_the_store(show: Open) -> None:
    told = world(2)
    fired = alert(told, "a1")
    fired.fired_at = datetime(2026, 7, 1, 16, 30, tzinfo=UTC)
    with serving(told) as url:
        page = show(url, "store/008")
        assert "12:30" in page.text(".attention .place")  # New York in summer
        assert page.text("#clock").endswith("in America/New_York")


def test_names_are_text_whatever_they_say(show: Open) -> None:
    told = world(2)
    evil = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>\'"`'
    for store in told.stores:
        store.name = evil
        for camera in store.cameras:
            camera.name = evil
            for zone in camera.zones:
                zone.name, zone.tags = evil, [evil]
    alert(told, "a1", text=evil).deliveries.append(models.Delivery(channel=evil, state="failed", error=evil))
    told.live.cameras[0].note = evil
    told.live.runs[0].chain = evil
    with serving(told) as url:
        page = show(url)
        for fragment in ("store/008", "store/008/camera/008-cam3", ""):
            page.goto(f"{url}/#{fragment}")
            page.wait(FRESH)
            page.wait("document.querySelector('.attention .title').textContent.includes('onerror')")
            assert page.evaluate("[document.querySelectorAll('main img, main script').length, window.hit]") == [0, None]


# --- alerts -----------------------------------------------------------------------------------------------------------


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


# --- the connection ---------------------------------------------------------------------------------------------------


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


# --- places, filters, size --------------------------------------------------------------------------------------------


def test_every_place_has_an_address_with_its_filters(show: Open) -> None:
    told = world(3)
    with serving(told) as url:
        page = show(url)
        assert page.evaluate("document.querySelectorAll('tr[data-store]').length") == 3
        page.evaluate("document.querySelector('[data-store=\"008\"] a').click()")
        page.wait("location.hash === '#store/008' && document.querySelectorAll('[data-camera]').length === 3")
        page.evaluate("document.querySelector('[data-camera=\"008-cam3\"] a').click()")
        page.wait("document.querySelector('.camera.large')?.dataset.camera === '008-cam3'")
        assert page.text("#crumbs").split("\n") == ["All stores", "Airport", "Till"]
        page.goto(f"{url}/#store/007")
        page.wait("!!document.querySelector('#kind option[value=queue]')")
        page.evaluate("document.querySelector('#kind').value = 'queue'")
        page.evaluate("document.querySelector('.filters').dispatchEvent(new Event('input'))")
        page.wait("location.hash === '#store/007?kind=queue'")
        shown = "[...document.querySelectorAll('.cameras tr[data-zone]')].map((n) => n.dataset.zone)"
        page.wait(f"JSON.stringify({shown}) === '[\"queue\"]'")
        page.reload()
        page.wait(f"JSON.stringify({shown}) === '[\"queue\"]'")
        page.goto(f"{url}/#?find=HARB")
        page.wait("!document.querySelector('table.stores') || document.querySelector('table.stores').hidden")
        page.goto(f"{url}/#?find=market")
        page.wait("document.querySelectorAll('tr[data-store]').length === 1")
        page.goto(f"{url}/#store/nowhere")
        page.wait("document.querySelector('#empty').textContent.includes('no such store')")


def test_an_update_changes_figures_and_not_the_page(show: Open) -> None:
    told = world(1)
    with serving(told) as url:
        page = show(url, "store/007")
        page.wait("document.querySelectorAll('tr[data-zone]').length === 8")
        page.evaluate(
            """window.changes = []; new MutationObserver((all) => changes.push(...all.filter((m) =>
            [...m.addedNodes, ...m.removedNodes].some((n) => n.nodeType === 1)).map((m) => m.target.className)))
            .observe(document.body, {subtree: true, childList: true})"""
        )
        page.evaluate("document.querySelector('[data-camera=\"007-cam2\"] a').focus()")
        for f in told.live.figures:
            f.people_now += 11
        wanted = str(next(f for f in told.live.figures if f.zone_id == "coffee").people_now)
        selector = json.dumps(cell("007", "007-cam2", "coffee", "People"))
        page.wait(f"document.querySelector({selector}).textContent === '{wanted}'")
        assert page.evaluate("changes") == []
        assert page.evaluate("document.activeElement.textContent") == "Coffee aisle"


def test_of_200_cameras_those_in_sight_are_drawn(show: Open) -> None:
    told = world(1, 200, 6)
    told.every_s = 0.5
    with serving(told) as url:
        page = show(url)
        page.wait("document.querySelectorAll('[data-camera]').length === 200")
        page.wait("document.querySelectorAll('.scene').length")
        assert page.evaluate("document.querySelectorAll('.scene').length") < 20
        last = "document.querySelector('[data-camera=\"007-cam200\"]')"
        assert page.evaluate(f"{last}.querySelector('.badge').innerText.trim()") == "live"
        page.evaluate(f"{last}.scrollIntoView()")
        page.wait(f"{last}.querySelectorAll('tr[data-zone]').length === 6")
        page.wait(f"{last}.querySelector('.figure').textContent !== ''")
        page.wait("!document.querySelector('[data-camera=\"007-cam1\"] .scene')")


@pytest.mark.parametrize("fragment", ["", "store/008", "store/008/camera/008-cam3"])
@pytest.mark.parametrize("dark", [False, True])
def test_it_can_be_read_at_any_width_in_both_themes(show: Open, fragment: str, dark: bool) -> None:
    told = world(2)
    told.stores[1].name = "Averyveryverylongnameofastorewithoutanyspace"
    alert(told, "a1")
    alert(told, "a2", "warning")
    alert(told, "a3", "info")
    told.live.cameras[3].state, told.live.cameras[4].state = "broken", "connecting"
    with serving(told) as url:
        page = show(url, fragment, width=360, height=740, dark=dark)
        page.wait("document.querySelectorAll('.attention li').length > 2")
        for width in (360, 730, 1010, 1280):
            page.emulate(width, 900, dark=dark)
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.evaluate(
                "[...document.querySelectorAll('.camera')].every((n) => n.scrollWidth <= n.clientWidth)"
            )
            assert page.evaluate(CONTRASTS) == []


CONTRASTS = """(() => {
  const parse = (c) => { const n = c.match(/[\\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (c) => { const l = c.slice(0, 3).map((v) => linear(v / 255));
    return 0.2126 * l[0] + 0.7152 * l[1] + 0.0722 * l[2]; };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const own = (n) => parse(getComputedStyle(n).backgroundColor);
  const ground = (n) => n ? over(own(n), ground(n.parentElement)) : [255, 255, 255, 1];
  const found = [];
  for (const n of document.querySelectorAll('body *')) {
    const words = [...n.childNodes].some((c) => c.nodeType === 3 && c.data.trim());
    if (!words || !n.checkVisibility() || n.closest('.hidden, .skip, noscript')) continue;
    const style = getComputedStyle(n);
    const [a, b] = [light(parse(style.color)), light(ground(n))].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) found.push([n.className, n.textContent, (a + 0.05) / (b + 0.05)]);
  }
  return found;
})()"""
"""Texts whose contrast is less than WCAG 2.2 AA asks for (1.4.3)."""


def test_it_makes_sense_without_being_seen(show: Open) -> None:
    told = world(2)
    alert(told, "a1")
    with serving(told) as url:
        for width in (1280, 360):
            page = show(url, "store/008", width=width)
            page.wait("!!document.querySelector('tr[data-zone=promo]')")
            page.call("Accessibility.enable")
            nodes = page.call("Accessibility.getFullAXTree")["nodes"]
            seen = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]]
            roles = {role for role, _ in seen}
            assert {"banner", "main", "navigation", "search", "contentinfo", "table", "status", "alert"} <= roles
            assert ("heading", "RISA live example") in seen
            assert ("columnheader", "Net sentiment") in seen
            assert ("rowheader", "Promotion product: promo") in seen
            assert ("button", "Acknowledge: Open another till") in seen
            assert all(name for role, name in seen if role in ("button", "link", "searchbox", "combobox", "checkbox"))


def test_the_theme_can_be_chosen_and_is_remembered(show: Open) -> None:
    with serving(world(1)) as url:
        page = show(url)
        scheme = "getComputedStyle(document.documentElement).colorScheme"
        assert page.evaluate(scheme) == "light"
        page.evaluate("document.querySelector('#theme').value = 'dark'")
        page.evaluate("document.querySelector('#theme').dispatchEvent(new Event('change'))")
        assert page.evaluate(scheme) == "dark"
        page.reload()
        page.wait(FRESH)
        assert page.evaluate(f"[{scheme}, document.querySelector('#theme').value]") == ["dark", "dark"]


def test_the_chart_shows_the_hour(show: Open) -> None:
    told = world(1, 1)
    assert told.hour is not None
    start = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
    about: dict[str, Any] = {"store_id": "007", "camera_id": "007-cam1", "zone_id": None}
    sent = [
        (60, 20, -0.5, "ok"),
        (59, 20, 0.0, "ok"),
        (30, None, None, "suppressed"),
        (20, 20, 0.25, "ok"),
        (1, None, None, "low_coverage"),
    ]
    minutes = [
        models.MinuteMood(**about, minute=start - timedelta(minutes=ago), tracks=n, net_sentiment=net, status=status)
        for ago, n, net, status in sent
    ]
    told.hour = models.HourNow(at=start, queues=[], minutes=minutes)
    with serving(told) as url:
        page = show(url)
        page.wait("document.querySelector('.chart.large .line').getAttribute('d')")
        drawn = page.evaluate(
            "['line', 'few'].map((c) => document.querySelector(`.chart.large .${c}`).getAttribute('d'))"
        )
        assert drawn == ["M0.5 1.500L1.5 1.000M40.5 0.750h0", "M30.1 1.94h.8"]
        said = f"3 minutes of the last hour: lowest {MINUS}0.50, highest +0.25, latest +0.25"
        assert page.text(".chart.large .hidden") == said
        assert page.text(".chart.large .times").split() == ["13:00", "13:30", "14:00"]  # Berlin


# --- its modules ------------------------------------------------------------------------------------------------------


def test_events_are_parsed_wherever_they_are_cut(show: Open) -> None:
    stream = ": hello\n\nretry: 250\nevent: live\ndata: {}\n\ndata: a\r\ndata:b\r\n\r\n"
    stream += "event: x\n\nid: 1\rdata: ü\r\rdata: half"
    wanted = [{"type": "live", "data": "{}"}, {"type": "message", "data": "a\nb"}, {"type": "message", "data": "ü"}]
    with serving(world(1)) as url:
        page = show(url)
        cuts = f"""((text) => Array.from({{length: text.length}}, (_, size) => {{
          const retries = []; const parser = new m.Parser((ms) => retries.push(ms)); const events = [];
          for (let i = 0; i < text.length; i += size + 1) events.push(...parser.push(text.slice(i, i + size + 1)));
          return JSON.stringify([events, retries]); }}))({json.dumps(stream)})"""
        assert {json.dumps(json.loads(c)) for c in module(page, "sse", cuts)} == {json.dumps([wanted, [250]])}


def test_addresses_are_read_as_they_are_written(show: Open) -> None:
    places = [
        {"store": None, "camera": None, "filters": {}},
        {"store": "007", "camera": None, "filters": {"kind": "queue", "find": "a b&c"}},
        {"store": "a/b", "camera": "ü?#", "filters": {}},
    ]
    with serving(world(1)) as url:
        page = show(url)
        assert module(page, "route", f"{json.dumps(places)}.map((p) => m.parse(m.href(p)))") == places
        assert module(page, "route", "m.parse('#store/%zz').store") == "%zz"


def test_an_arrow_points_only_where_the_difference_is_more_than_chance(show: Open) -> None:
    minutes = """Array.from({length: 15}, (_, i) => ({tracks: 10, net_sentiment: 0.1,
      minute: new Date(Date.parse('2026-07-01T12:00Z') - (i + 2) * 60000)}))"""
    ask = "m.trend({status: 'ok', ci: %s}, %s, '2026-07-01T12:00Z')?.way ?? null"
    with serving(world(1)) as url:
        page = show(url)
        for ci, way in (("[0.2, 0.4]", "up"), ("[-0.4, 0]", "down"), ("[0, 0.2]", "steady"), ("null", None)):
            assert module(page, "model", ask % (ci, minutes)) == way
        assert module(page, "model", ask % ("[0.2, 0.4]", f"{minutes}.slice(0, 4)")) is None


def test_figures_of_several_cameras_are_over_all_their_people(show: Open) -> None:
    cameras = [
        figures("007", "a", None, 40, people=5, net=0.5),
        figures("007", "b", None, 20, people=2, net=-0.5),
        figures("007", "c", None, 3, people=1),
    ]
    sent = json.dumps([c.model_dump(mode="json") for c in cameras])
    with serving(world(1)) as url:
        page = show(url)
        pooled = module(page, "model", f"m.pooled({sent})")
        with_mood = sum(c.with_mood or 0 for c in cameras)
        net = sum((c.positive or 0) - (c.negative or 0) for c in cameras) / with_mood
        assert (pooled["people_now"], pooled["with_mood"]) == (8, with_mood)
        assert pooled["net_sentiment"] == pytest.approx(net)
        only_few = module(page, "model", f"m.pooled({sent}.slice(2))")
        assert (only_few["status"], only_few["net_sentiment"]) == ("suppressed", None)


# --- its files --------------------------------------------------------------------------------------------------------


def test_it_is_small_its_own_and_typed(show: Open) -> None:
    with serving(world(1)) as url:
        page = show(url)
        loaded = {path: size for u, size in page.weight.items() if not (path := urlparse(u).path).startswith("/v1/")}
        assert {"/", "/page/app.js", "/page/page.css"} <= set(loaded)
        assert sum(loaded.values()) <= 150_000
        # What index.html does not name ahead is loaded one after the other.
        ahead = set(
            page.evaluate("[...document.querySelectorAll('[rel=modulepreload]')].map((n) => new URL(n.href).pathname)")
        )
        assert {p for p in loaded if p.endswith(".js")} - ahead == {"/page/app.js", "/page/theme.js"}
        types = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
        for name in ("", "page/page.css", "page/app.js", "page/icon.svg"):
            answer = requests.get(f"{url}/{name}", timeout=10)
            assert answer.headers["content-type"].startswith(types[name.rpartition(".")[2] or "html"])
            assert answer.headers["cache-control"] == "no-cache"
            again = requests.get(f"{url}/{name}", headers={"If-None-Match": answer.headers["etag"]}, timeout=10)
            assert again.status_code == 304
        for name in ("nothing.js", "..%2Froutes_page.py", "%2e%2e"):
            assert requests.get(f"{url}/page/{name}", timeout=10).status_code in (400, 404)


def test_no_word_says_what_somebody_feels() -> None:
    folder = Path(models.__file__).parent / "page"
    texts = "".join(path.read_text(encoding="utf-8") for path in folder.iterdir())
    assert "apparent expression" in texts
    assert "which is not what somebody feels" in texts
    assert not {w for w in ("emotion", "unhappy", "angry", "feels sad") if w in texts.lower()}
    assert not {
        w
        for w in ("innerHTML", "outerHTML", "insertAdjacentHTML", "http://", "https://")
        if w in texts.replace("http://www.w3.org/", "")
    }
