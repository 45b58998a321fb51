"""Telling a reader that keeps up from one that is behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from risa_ray.sources.backlog import Backlog


class Camera:
    """Pictures every `interval_s`, the first of them `waiting` already; each read takes `work_s` to be dealt with."""

    def __init__(self, interval_s: float, work_s: float, waiting: int = 0) -> None:
        self.now = 1000.0
        self.interval_s, self.work_s, self.waiting = interval_s, work_s, waiting
        self.backlog = Backlog(lambda: self.now)

    def packets(self) -> Iterator[float]:
        due = self.now - self.waiting * self.interval_s
        while True:
            self.now = max(self.now + 1e-4, due)
            yield due
            due += self.interval_s

    def ages(self, pictures: int, passed_over_s: float = 1e-4) -> list[float]:
        """The age of each picture when it is read; those read while behind cost hardly anything."""
        ages = []
        for due in self.backlog.watch(self.packets()):
            ages.append(self.now - due)
            self.now += passed_over_s if self.backlog.behind else self.work_s
            if len(ages) == pictures:
                return ages
        return ages


def test_a_reader_that_keeps_up_is_never_behind() -> None:
    camera = Camera(interval_s=0.04, work_s=0.036)
    for _ in range(20):
        camera.ages(20)
        assert not camera.backlog.behind


def test_delay_stays_bounded_however_slow_the_reader() -> None:
    for work_s in (0.041, 0.05, 0.2, 1.0):
        ages = Camera(interval_s=0.04, work_s=work_s).ages(5000)
        assert max(ages) < 2.5 + work_s, work_s


def test_a_burst_at_the_start_is_no_backlog() -> None:
    camera = Camera(interval_s=0.04, work_s=0.01, waiting=25)
    camera.ages(100)
    assert not camera.backlog.behind


@pytest.mark.parametrize("fps", [1, 0.2])
def test_slow_cameras_are_waited_for(fps: float) -> None:
    camera = Camera(interval_s=1 / fps, work_s=0.5 / fps)
    camera.ages(30)
    assert not camera.backlog.behind
