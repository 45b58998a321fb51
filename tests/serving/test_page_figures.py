"""What the live page shows, in a real browser, before a real server that tells of invented stores."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from browser import CHROMIUM
from live_page import FRESH, MINUS, NONE, Open, cell, lasting, signed
from page_world import K, alert, figures, serving, world

from risa_ray.serving import models

pytestmark = CHROMIUM


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
                    assert page.text(cell(*at, "Longest wait")) == lasting(sent.longest_wait_s)
        places = page.evaluate("[...document.querySelectorAll('[data-camera]')].map((n) => n.dataset.camera)")
        assert places == [c.camera_id for c in store.cameras]


def test_a_wait_over_the_target_is_marked(show: Open) -> None:
    told = world(1)
    (queue,) = (f for f in told.live.figures if f.zone_id == "queue")
    shown = json.dumps(cell("007", "007-cam3", "queue", "Longest wait"))
    with serving(told) as url:
        page = show(url)
        for waited, words, late in ((200, "3 min 20 s !", True), (180, "3 min", False), (0, "0 s", False)):
            queue.longest_wait_s = waited
            page.wait(f"document.querySelector({shown})?.textContent === '{words}'")
            cells = page.evaluate(
                f"[document.querySelector({shown}), document.querySelector('.tiles div:nth-child(4) .figure')]"
                ".map((n) => [n.textContent, 'late' in n.parentElement.dataset])"
            )
            assert cells == [[words, late]] * 2
            needed = page.evaluate("[...document.querySelectorAll('.attention li')].map((n) => n.innerText).join()")
            assert ("has been here for 3 min 20 s; the target is 3 min" in needed) is late
            why = page.evaluate(f"document.querySelector({shown}).parentElement.title")
            assert why.startswith("over the target: ") is late
            assert why.endswith("the target is 3 min" if waited else "nobody waits")


def test_waits_say_which_hour_they_are_of(show: Open) -> None:
    told = world(1)
    began = datetime(2026, 7, 1, 13, 0, tzinfo=ZoneInfo("Europe/Berlin"))
    place = '[data-zone="queue"] [data-label="Median wait"]'
    waited = f"""[...document.querySelectorAll('{place} :is(.figure, .kind)')].map((n) => n.textContent).join(' ')"""

    def tell(minutes: float, **queue: Any) -> None:
        assert told.hour is not None
        hour = told.hour.model_copy(deep=True)
        told.clock = hour.at = began + timedelta(minutes=minutes)
        hour.queues[0] = hour.queues[0].model_copy(update={"hour_local": began} | queue)
        told.hour = hour

    with serving(told) as url:
        page = show(url)
        tell(59, wait_p50_s=100)
        page.wait(f"{waited} === '1 min 40 s since 13:00'")
        tell(61)
        page.wait(f"{waited} === '1 min 40 s 13:00 to 14:00'")
        tell(61, wait_p50_s=200)
        page.wait(f"{waited} === '3 min 20 s ! 13:00 to 14:00'")
        item = "document.querySelector('.attention li')?.innerText"
        page.wait(f"{item}.includes('3 min 20 s or longer (13:00 to 14:00)')")
        assert page.evaluate(item).split("\n")[1].startswith("Queue · Till · Riverside")
        tell(61, zone_id=None)
        page.wait(f"document.querySelector('{place} .told').title.includes('in all queues of this camera')")
        page.wait(f"{item}.includes('Till · Riverside') && !{item}.includes('Queue ·')")
        tell(61, wait_p50_s=None, status="low_coverage")
        page.wait(f"{waited} === '{NONE} 13:00 to 14:00'")


def test_scenes_have_the_shape_of_the_camera_picture(show: Open) -> None:
    told = world(1, 1)
    (camera,) = told.live.cameras
    shape = "(() => { const n = document.querySelector('.scene'); return n.clientWidth / n.clientHeight; })()"
    with serving(told) as url:
        for fragment in ("store/007", "store/007/camera/007-cam1"):
            page = show(url, fragment)
            for aspect in (4 / 3, 9 / 16, None, 2.4):
                camera.aspect = aspect
                page.wait(f"Math.abs({shape} - {aspect or 16 / 9}) < 0.02")
                for width in (1280, 360):
                    page.emulate(width, 700)
                    page.wait(f"Math.abs({shape} - {aspect or 16 / 9}) < 0.02")
                    assert page.evaluate("document.querySelector('.scene').clientHeight") <= 700
                    assert page.evaluate("document.documentElement.scrollWidth") == width


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
        assert told.hour is not None
        hour = told.hour.model_copy(deep=True)
        (queue,) = (q for q in hour.queues if q.store_id == "008")
        queue.wait_p50_s = 240
        told.hour = hour
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


def test_the_chart_shows_the_hour(show: Open) -> None:
    told = world(1, 1)
    nothing: list[Any] = [None] * 60
    mood = models.HourMood(
        store_id="007", camera_id="007-cam1", zone_id=None, tracks=[*nothing], net_sentiment=[*nothing], hidden={}
    )
    for minute, net in ((0, -0.5), (1, 0.0), (40, 0.25)):
        mood.tracks[minute], mood.net_sentiment[minute] = 20, net
    mood.hidden = {"suppressed": [30], "low_coverage": [59]}
    start = datetime(2026, 7, 1, 11, 0, tzinfo=UTC)
    told.clock = start + timedelta(hours=1, seconds=20)
    told.hour = models.HourNow(at=told.clock, since=start, moods=[mood], queues=[])
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
        assert page.text(".camera .facts .chart .hidden") == said
        assert page.text('[data-zone="entrance"] .chart .hidden') == "no figures in the last hour"


LINES = """[...document.querySelectorAll('.chart .line')].filter((n) => n.checkVisibility() && n.getAttribute('d'))"""
"""The charts in which there is a line."""


@pytest.mark.parametrize("fragment", ["", "store/007", "store/007/camera/007-cam3"])
def test_an_hour_is_let_go_once_the_tables_tell_none_any_more(show: Open, fragment: str) -> None:
    told = world(2)
    hour = told.hour
    assert hour is not None
    told.clock = hour.at = datetime(2026, 7, 1, 12, 5, tzinfo=UTC)
    hour.since = hour.at - timedelta(hours=1)
    (queue,) = (q for q in hour.queues if q.store_id == "007")
    queue.wait_p50_s, queue.hour_local = 240, hour.at.replace(minute=0)
    needed = "[...document.querySelectorAll('.attention li')].map((n) => n.innerText).join()"
    headline = "document.querySelector('#headline').textContent"
    lost = f"{needed}.includes('The tables do not answer') && {headline} === '1 thing needs attention'"
    with serving(told) as url:
        page = show(url, fragment)
        page.wait(f"{needed}.includes('long waits') && {LINES}.length")
        for minutes in range(1, 7):
            shown = minutes < 6
            told.clock = hour.at + timedelta(minutes=minutes)
            told.live.runs[0].chain = f"after {minutes} min"
            page.wait(f"document.querySelector('#chain').textContent === 'after {minutes} min'")
            assert page.evaluate(f"[{needed}.includes('long waits'), {LINES}.length > 0]") == [shown, shown]
            assert page.evaluate(lost) is not shown
        why = "nothing heard from the tables since 14:05" if fragment else ""  # Berlin
        charts = page.evaluate(
            "[...document.querySelectorAll('.chart')].filter((n) => n.checkVisibility())"
            ".map((n) => [n.title, n.querySelector('.nothing').textContent, n.className])"
        )
        assert charts
        for title, words, name in charts:
            assert title.startswith("nothing heard from the tables since ")
            assert why in title
            assert words == (title if "large" in name else NONE)
        if fragment:
            waited = '[data-zone="queue"] [data-label="Median wait"]'
            assert page.text(f"{waited} .figure") == NONE
            assert page.evaluate(f"document.querySelector('{waited} .told').title") == why
            assert page.text(f"{waited} .kind") == ""
            assert page.evaluate(f"{needed}.includes('told nothing for 6 min')")
        told.hour = hour.model_copy(update={"at": told.clock})
        page.wait(f"{needed}.includes('long waits') && !{needed}.includes('tables') && {LINES}.length")


def test_before_the_tables_have_told_the_page_says_so(show: Open) -> None:
    told = world(1)
    told.hour = None
    with serving(told) as url:
        page = show(url)
        assert page.text(".chart.large .nothing") == "nothing heard from the tables yet"
        assert page.text('[data-zone="queue"] [data-label="Last hour"] .nothing') == NONE
        assert page.evaluate("document.querySelector('#headline').textContent") == "All well"
