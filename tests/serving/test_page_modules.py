"""The scripts of the live page by themselves, and its files."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlparse

import pytest
import requests
from browser import CHROMIUM
from live_page import Open, module
from page_world import figures, serving, world

from risa_ray.serving import models

pytestmark = CHROMIUM


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
    hour = """{since: Date.parse('2026-07-01T11:00Z'), tracks: Array(60).fill(10),
      net_sentiment: Array.from({length: 60}, (_, i) => i >= 45 && i < %d ? 0.1 : i < 45 ? 0.9 : null)}"""
    ask = "m.trend({status: 'ok', ci: %s}, %s, '2026-07-01T12:00:20Z')?.way ?? null"
    with serving(world(1)) as url:
        page = show(url)
        for ci, way in (("[0.2, 0.4]", "up"), ("[-0.4, 0]", "down"), ("[0, 0.2]", "steady"), ("null", None)):
            assert module(page, "model", ask % (ci, hour % 60)) == way
        assert module(page, "model", ask % ("[0.2, 0.4]", hour % 49)) is None
        assert module(page, "model", ask % ("[0.2, 0.4]", "undefined")) is None


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


def test_who_was_away_does_not_blame_the_tables(show: Open) -> None:
    ask = """(() => { const page = new m.Model(); const nobody = {cameras: [], figures: [], people: []};
      const at = (minute) => new Date(Date.UTC(2026, 6, 1) + minute * 60000).toISOString();
      return %s.map(([live, hour]) => { page.setLive({...nobody, at: at(live)});
        if (hour !== null) page.setHour({at: at(hour), since: at(hour - 60), moods: [], queues: []});
        return [Boolean(page.hour), page.silentS / 60]; }); })()"""
    stayed = [[0, 0], [1, None], [2, None], [3, None], [4, None], [5, None], [6, None], [7, 7]]
    was_away = [[0, 0], [480, None], [481, None], [482, None], [483, None], [484, None], [485, None], [486, None]]
    with serving(world(1)) as url:
        page = show(url)
        heard = module(page, "model", ask % json.dumps(stayed))
        assert heard == [[True, 0]] * 6 + [[False, 6], [True, 0]]
        assert module(page, "model", ask % json.dumps(was_away)) == [[True, 0]] + [[False, 0]] * 6 + [[False, 486]]
        assert module(page, "model", ask % "[[0, null], [1, null], [9, null]]") == [[False, 0]] * 3


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
