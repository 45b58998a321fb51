"""The picture with blurred faces on the live page."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from browser import CHROMIUM, Page
from live_page import FRESH, Open
from page_world import World, serving, world
from waiting import eventually

pytestmark = CHROMIUM

CAMERA = "store/007/camera/007-cam1"
SHOWN = "!document.querySelector('canvas.picture').hidden"
LEFT_AND_RIGHT = """(() => { const c = document.querySelector('canvas.picture');
  return [4, c.width - 4].map((x) => [...c.getContext('2d').getImageData(x, 4, 1, 1).data]); })()"""


@pytest.fixture
def told() -> World:
    """A camera whose left half is red and whose right half is blue."""
    seen = world(1, 2)
    image = np.zeros((90, 120, 3), np.uint8)
    image[:, :60], image[:, 60:] = (0, 0, 255), (255, 0, 0)
    seen.picture = cv2.imencode(".jpg", image)[1].tobytes()
    seen.live.cameras[0].picture = True
    return seen


def turn_on(page: Page) -> None:
    page.wait("!document.querySelector('.look').hidden")
    page.evaluate("document.querySelector('.look input').focus()")
    page.press(" ")


def test_it_is_offered_where_the_config_allows_it_and_off_until_wanted(show: Open, told: World) -> None:
    with serving(told) as url:
        page = show(url, CAMERA)
        page.wait("!document.querySelector('.look').hidden")
        assert page.evaluate("document.querySelector('.look input').checked") is False
        page.goto(f"{url}/#store/007/camera/007-cam2")
        page.wait("document.querySelector('.camera.large').dataset.camera === '007-cam2'")
        assert page.evaluate("document.querySelector('.look').hidden")
        page.goto(f"{url}/#store/007")
        page.wait("document.querySelectorAll('.cameras .scene').length === 2")
        assert not page.evaluate("document.querySelector('.cameras :is(.look, canvas)')")
        assert asked(page) == 0


def test_it_lies_beneath_zones_and_dots(show: Open, told: World) -> None:
    with serving(told) as url:
        page = show(url, CAMERA)
        turn_on(page)
        page.wait(SHOWN)
        red, blue = page.evaluate(LEFT_AND_RIGHT)
        assert red[0] > 200 > 60 > red[2]
        assert blue[2] > 200 > 60 > blue[0]
        scene, picture = page.evaluate(
            "['.scene', '.scene canvas'].map((s) => { const b = document.querySelector(s).getBoundingClientRect();"
            " return [b.x, b.y, b.width, b.height]; })"
        )
        assert picture == pytest.approx(scene, abs=1)
        for above in (".scene .dot", ".scene polygon"):
            found = page.evaluate(f"document.querySelector('canvas').compareDocumentPosition({query(above)})")
            assert found & 4, "what follows is painted over it"
        assert "Of 14:30:05." in page.text(".look")  # Berlin
        page.call("Accessibility.enable")
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        seen = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]]
        assert ("image", "Live picture with blurred faces") in seen
        assert ("checkbox", "Blurred picture") in seen


def query(selector: str) -> str:
    return f"document.querySelector('{selector}')"


def asked(page: Page) -> int:
    """How many pictures were asked for until now."""
    page.evaluate("0")  # hear of all that was
    return sum("/picture?" in request for request in page.requests)


def asked_meanwhile(page: Page, told: World) -> int:
    """How many are asked for while the page is told of so many events that one who looks would ask twice."""
    before, enough = asked(page), told.events + 20
    eventually(lambda: told.events >= enough)
    return asked(page) - before


def test_it_is_new_each_second_and_asked_for_only_while_it_is_looked_at(show: Open, told: World) -> None:
    told.picture_s = 1.2
    answers: Any = "performance.getEntriesByType('resource').filter((r) => r.name.includes('/picture?'))"
    with serving(told) as url:
        page = show(url, CAMERA)
        turn_on(page)
        page.wait(f"{answers}.length >= 3")
        times = page.evaluate(f"{answers}.map((r) => [r.startTime, r.responseEnd])")
        assert all(ended <= began for (_, ended), (began, _) in pairwise(times))
        told.picture_s = 0
        page.hide()
        before = asked(page)
        assert asked_meanwhile(page, told) == 0
        page.hide(False)
        eventually(lambda: asked(page) > before)
        page.goto(f"{url}/#store/007")
        page.wait("!document.querySelector('.cameras').closest('section').hidden")
        assert asked_meanwhile(page, told) == 0
        page.goto(f"{url}/#{CAMERA}")
        page.wait(SHOWN)
        turn_on(page)  # off again
        page.wait(f"!({SHOWN})")


def test_it_says_why_there_is_none_and_shows_no_old_one(show: Open, told: World) -> None:
    picture, told.picture = told.picture, None
    said = "document.querySelector('.look .trouble').textContent"
    with serving(told) as url:
        page = show(url, CAMERA)
        turn_on(page)
        for _ in range(2):  # before there is one, and after there was
            told.picture = None
            page.wait(f"{said}.startsWith('No picture: camera 007-cam1 has no picture now; try again')")
            assert not page.evaluate(SHOWN)
            told.picture = picture
            page.wait(SHOWN)
            assert page.evaluate(said) == ""
        told.picture = b"no picture at all"
        page.wait(f"{said}.startsWith('No picture: what came cannot be shown')")
        assert not page.evaluate(SHOWN)
        told.picture = picture
        page.wait(SHOWN)
        told.live.cameras[0].picture = False
        page.wait(f"document.querySelector('.look').hidden && !({SHOWN})")
        told.live.cameras[0].picture = True
        page.wait("!document.querySelector('.look').hidden")
        assert page.evaluate("document.querySelector('.look input').checked") is False


def test_who_comes_back_sees_none_of_before(show: Open, told: World) -> None:
    with serving(told) as url:
        page = show(url, CAMERA)
        turn_on(page)
        page.wait(SHOWN)
        page.goto(f"{url}/#store/007")
        page.wait("!document.querySelector('.cameras').closest('section').hidden")
        told.picture_s = 60
        # The clock is set, rather than waited for.
        page.evaluate("void (performance.now = ((now) => () => now.call(performance) + 6000)(performance.now))")
        page.goto(f"{url}/#{CAMERA}")
        page.wait(f"!({SHOWN}) && document.querySelector('.look').innerText.includes('Waiting for the picture')")


def test_it_needs_the_token_that_the_figures_need(show: Open, told: World) -> None:
    told.token = "viewer-token"
    with serving(told) as url:
        page = show(url, CAMERA, wait="document.querySelector('dialog').open")
        page.type("viewer-token")
        page.press("Enter")
        page.wait(FRESH)
        turn_on(page)
        page.wait(SHOWN)
        assert not any("token" in r for r in page.requests)
