"""Addresses, filters and sizes of the live page; who reads it in the dark, on a phone, or by ear."""

from __future__ import annotations

import json

import pytest
from browser import CHROMIUM
from live_page import FRESH, Open, cell
from page_world import alert, serving, world

pytestmark = CHROMIUM


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
        page.evaluate(  # at once, as a choice is: what is drawn between the two would take it back
            "document.querySelector('#kind').value = 'queue',"
            " document.querySelector('.filters').dispatchEvent(new Event('input'))"
        )
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
