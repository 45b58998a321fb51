"""What a run says of now."""

from __future__ import annotations

from dataclasses import replace

from live.helpers_live import chain, chunk, face, outcome

from risa_ray.streaming.reader import ReaderStatus
from risa_ray.streaming.scene import Scene


def test_a_file_that_is_over_has_nobody_in_view() -> None:
    scene = Scene(chain(), "run1", {})
    scene.add(replace(chunk([outcome(0, 0.0)], [face(0, 0.0)]), size=(100.0, 50.0)))
    for state, people in (("live", 1), ("complete", 0), ("live", 1), ("broken", 0)):
        scene.told({"front": ReaderStatus("front", "007", state)}, {})
        assert len(scene.live("").people) == people
    assert scene.live("").aspects == {"front": 2.0}


def test_only_the_analyzer_that_was_told_is_asked_for_pictures() -> None:
    scene = Scene(chain(), "run1", {})
    assert scene.analyzer_of("front") is None
    scene.told({}, {"front": "its handle"})
    assert scene.analyzer_of("front") == "its handle"
    scene.told({}, {})
    assert scene.analyzer_of("front") is None
