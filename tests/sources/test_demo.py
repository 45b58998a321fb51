from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from risa_ray.config import ZoneConfig, load_config
from risa_ray.errors import SourceError
from risa_ray.sources import Source
from risa_ray.sources.demo import DEMO_SECONDS, DEMO_ZONES, VIEWS, appearances, render

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "demo.yaml"


@pytest.mark.parametrize("view", VIEWS)
def test_a_moment_always_looks_the_same(view: str) -> None:
    first = render(view, 7.5)
    assert first.shape == (540, 960, 3)
    assert first.dtype == np.uint8
    render(view, 3.0)
    np.testing.assert_array_equal(render(view, 7.5), first)
    np.testing.assert_array_equal(render(view, 7.5 + DEMO_SECONDS), first)
    assert np.any(render(view, 7.5, seed=1) != first)


@pytest.mark.parametrize("view", VIEWS)
def test_every_face_in_full_view_is_found(view: str) -> None:
    finder = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    shown = found = 0
    names = set()
    for t in np.arange(3, 17, 2.0):
        picture = cv2.cvtColor(render(view, t), cv2.COLOR_RGB2GRAY)
        boxes = finder.detectMultiScale(picture, 1.1, 4, minSize=(60, 60))
        for person in appearances(view, t):
            x, y = person.face
            if 80 < x < 880 and 80 < y < 440:
                names.add(person.look.name)
                shown += 1
                found += any(bx < x < bx + w and by < y < by + h for bx, by, w, h in boxes)
    assert len(names) >= 3
    assert found >= 0.9 * shown


@pytest.mark.parametrize("view", VIEWS)
def test_people_come_to_every_zone(view: str) -> None:
    visited = set()
    for t in np.arange(0, DEMO_SECONDS, 0.5):
        for person in appearances(view, t):
            for zone in DEMO_ZONES[view]:
                polygon = np.array(zone["polygon"], np.float32) * (960, 540)
                if cv2.pointPolygonTest(polygon.astype(np.float32), person.face, False) >= 0:
                    visited.add((zone["kind"], person.look.name))
    assert {kind for kind, _ in visited} == {"entrance", "product", "service"}
    assert len({name for kind, name in visited if kind == "entrance"}) >= 3


def test_the_config_watches_the_scene_with_its_zones() -> None:
    cameras = [camera for _, camera in load_config(CONFIG).cameras()]
    assert [camera.source for camera in cameras] == ["demo:front", "demo:side"]
    for camera, view in zip(cameras, VIEWS, strict=True):
        assert camera.zones == tuple(ZoneConfig.model_validate(zone) for zone in DEMO_ZONES[view])


def test_the_demo_plays_in_real_time_and_ends(make_source: Callable[..., Source]) -> None:
    source = make_source("demo:side?seconds=0.5&fps=10&seed=3")
    source.check()
    pictures = list(source.pictures(lambda pts: True, 480))
    assert [p.pts for p in pictures] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert pictures[-1].arrived_at - pictures[0].arrived_at > 0.35
    assert (source.size(), source.live) == ((960, 540), True)
    assert pictures[0].scale == 2


@pytest.mark.parametrize(
    "source", ["demo:", "demo:back", "demo:front?speed=2", "demo:front?fps=fast", "demo:side?fps=0"]
)
def test_wrong_demo_sources_are_refused(source: str, make_source: Callable[..., Source]) -> None:
    with pytest.raises(SourceError, match="demo:"):
        make_source(source)
