"""What cannot be shown ends nothing, and keeps nobody else from seeing."""

from __future__ import annotations

import errno
from typing import Any, cast

import pytest
from clock import Clock

from risa_ray.streaming.driver import Snapshot
from risa_ray.streaming.shown import Shown

SNAPSHOT = cast(Snapshot, object())


class View:
    """Fails as it is told to."""

    def __init__(self) -> None:
        self.seen, self.error = 0, cast("BaseException | None", None)

    def __call__(self, snapshot: Any) -> None:
        if self.error is not None:
            raise self.error
        self.seen += 1


def test_a_full_disk_under_one_view_is_tried_again_later() -> None:
    clock, full, other = Clock(0.0), View(), View()
    shown = Shown(full, other, clock=clock)
    full.error = OSError(errno.ENOSPC, "No space left on device")
    shown(SNAPSHOT)
    full.error = None
    shown(SNAPSHOT)
    assert (full.seen, other.seen) == (0, 2), "not at once"
    clock.now = 61
    shown(SNAPSHOT)
    assert (full.seen, other.seen) == (1, 3)


@pytest.mark.parametrize("error", [BrokenPipeError(), SystemExit(1)])
def test_nobody_shows_what_nobody_reads(error: BaseException) -> None:
    clock, gone, other = Clock(0.0), View(), View()
    shown = Shown(gone, other, clock=clock)
    gone.error = error
    shown(SNAPSHOT)
    gone.error, clock.now = None, 1e9
    shown(SNAPSHOT)
    assert (gone.seen, other.seen) == (0, 2)


def test_a_second_interrupt_ends_the_run() -> None:
    view = View()
    view.error = SystemExit(130)
    with pytest.raises(SystemExit):
        Shown(view)(SNAPSHOT)
