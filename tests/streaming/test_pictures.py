"""Pictures are drawn only while somebody looks, and only where the config allows it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from risa_ray.config import CameraConfig
from risa_ray.frames import Frame, Outcome, Run
from risa_ray.streaming import pictures
from risa_ray.streaming.pictures import Pictures
from risa_ray.vision.analyze import CameraSetup

START = datetime(2026, 11, 24, tzinfo=UTC)
DOOR = CameraSetup.of("007", CameraConfig(id="door", source="a.mp4", blurred_picture=True))
ANY: Any = None
"""A state, which is handed on as it is."""


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pictures, "time", clock)
    return clock


def run(seq: int) -> Run:
    at = START + timedelta(seconds=seq)
    return [Frame("door", "s", seq, float(seq), at, 0.0, np.zeros((4, 4, 3), np.uint8))]


def named(frame: Frame, *_: Any) -> bytes:
    return str(frame.frame_seq).encode()


def test_nothing_is_drawn_until_somebody_asks(clock: Clock) -> None:
    shown = Pictures(named)
    shown.see(run(0), DOOR, ANY)
    assert shown.ask("door") is None
    shown.see(run(1), DOOR, ANY)
    picture = shown.ask("door")
    assert picture is not None
    assert (picture.jpeg, picture.captured_at) == (b"1", START + timedelta(seconds=1))
    assert shown.ask("till") is None


def test_a_second_lies_between_two_pictures_of_a_camera(clock: Clock) -> None:
    shown = Pictures(named)
    shown.ask("door")
    for seq in range(5):
        shown.see(run(seq), DOOR, ANY)
        clock.now += 0.3
    picture = shown.ask("door")
    assert picture is not None
    assert picture.jpeg == b"4"


def test_pictures_take_a_tenth_of_the_time(clock: Clock) -> None:
    drawn = []

    def slowly(frame: Frame, *_: Any) -> bytes:
        clock.now += 0.5
        drawn.append(frame.frame_seq)
        return b""

    shown = Pictures(slowly)
    for seq in range(200):
        shown.ask("door")
        shown.see(run(seq), DOOR, ANY)
        clock.now += 0.1
    # 20 s without the drawing, a picture of half a second in every 5.
    assert len(drawn) == 5


def test_cameras_take_turns_however_long_a_drawing_takes(clock: Clock) -> None:
    drawn = []

    def slowly(frame: Frame, setup: CameraSetup, _: Any) -> bytes:
        clock.now += 0.25
        drawn.append(setup.camera_id)
        return b""

    shown = Pictures(slowly)
    cameras = [replace(DOOR, camera_id=name) for name in ("a", "b", "c")]
    for seq in range(300):
        for camera in cameras:
            shown.ask(camera.camera_id)
            shown.see(run(seq), camera, ANY)
        shown.ask("silent")
        clock.now += 0.1
    assert [drawn.count(name) for name in "abc"] == pytest.approx([len(drawn) / 3] * 3, abs=1)
    assert len(drawn) > 9


def test_an_old_picture_is_not_shown(clock: Clock) -> None:
    shown = Pictures(named)
    shown.ask("door")
    shown.see(run(0), DOOR, ANY)
    for _ in range(14):
        clock.now += 1
        assert shown.ask("door") is not None
    clock.now += 2
    assert shown.ask("door") is None, "its camera sends nothing"


def test_what_a_config_allows_no_more_is_gone(clock: Clock) -> None:
    shown = Pictures(named)
    shown.ask("door")
    shown.see(run(0), DOOR, ANY)
    shown.see(run(1), replace(DOOR, blurred_picture=False), ANY)
    assert shown.ask("door") is None


def test_what_nobody_looks_at_any_more_is_forgotten(clock: Clock) -> None:
    shown = Pictures(named)
    shown.ask("door")
    shown.see(run(0), DOOR, ANY)
    clock.now += pictures.WANTED_S + 0.1
    shown.see(run(1), DOOR, ANY)
    assert shown.ask("door") is None


def test_a_camera_whose_config_allows_none_has_none(clock: Clock) -> None:
    shown = Pictures(named)
    shown.ask("door")
    shown.see(run(0), replace(DOOR, blurred_picture=False), ANY)
    assert shown.ask("door") is None


def test_a_run_without_an_analysed_frame_and_a_drawing_that_fails_leave_none(clock: Clock) -> None:
    def fail(*_: Any) -> bytes:
        raise ValueError("no such picture")

    for draw, seen in ((named, [Outcome(0, 0.0, START, 0.0, "stale")]), (fail, run(0))):
        shown = Pictures(draw)
        shown.ask("door")
        shown.see(seen, DOOR, ANY)
        assert shown.ask("door") is None
