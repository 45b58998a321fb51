"""The states of a camera."""

from __future__ import annotations

import pytest
from clock import Clock

from risa_ray.streaming.lifecycle import (
    CAMERA_STATES,
    ENDED,
    LONGEST_S,
    REFUSED_S,
    BackOff,
    CameraState,
    IllegalTransitionError,
    Lifecycle,
)  # fmt: skip


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def camera(clock: Clock) -> Lifecycle:
    return Lifecycle(stall_timeout_s=5, clock=clock)


def test_a_camera_stalls_is_heard_again_and_is_lost_in_the_end(camera: Lifecycle, clock: Clock) -> None:
    camera.heard()
    seen = []
    for clock.now in [4.9, 5.1, 9.9, 10.1]:
        seen.append((camera.state, camera.lost))
    assert seen == [("live", False), ("stalled", False), ("stalled", False), ("stalled", True)]
    camera.heard()
    assert (camera.state, camera.lost, camera.stalls, camera.connections) == ("live", False, 1, 1)


def test_a_connection_that_never_comes_about_is_given_up(camera: Lifecycle, clock: Clock) -> None:
    clock.now = 19.0
    assert not camera.lost
    clock.now = 21.0
    assert camera.lost


def test_every_connection_counts(camera: Lifecycle) -> None:
    for _ in range(3):
        camera.heard()
        camera.heard()
        camera.go("backing_off")
        camera.go("connecting")
    assert camera.connections == 3


def test_while_we_make_it_wait_a_camera_is_not_silent(camera: Lifecycle, clock: Clock) -> None:
    camera.heard()
    camera.hold()
    clock.now = 100.0
    assert (camera.state, camera.lost) == ("live", False)
    camera.release()
    clock.now = 104.0
    assert camera.state == "live"
    clock.now = 106.0
    assert camera.state == "stalled"


@pytest.mark.parametrize("ended", sorted(ENDED - {"broken"}))
def test_nothing_comes_after_the_end(camera: Lifecycle, ended: CameraState) -> None:
    camera.heard()
    camera.go(ended)
    for state in CAMERA_STATES:
        if state != ended:
            with pytest.raises(IllegalTransitionError, match=f"is {ended} cannot become {state}"):
                camera.go(state)


def test_a_camera_that_backs_off_is_not_live_before_it_is_connected(camera: Lifecycle) -> None:
    camera.go("backing_off")
    with pytest.raises(IllegalTransitionError):
        camera.heard()


def test_attempts_come_further_and_further_apart_but_never_far() -> None:
    back_off = BackOff(jitter=lambda: 1.0)
    waits = [back_off.next_s(0, refused=False) for _ in range(8)]
    assert waits == sorted(waits)
    assert waits[0] <= 1
    assert waits[-1] == LONGEST_S


def test_a_good_connection_is_made_again_soon_and_one_that_flaps_is_not() -> None:
    back_off = BackOff(jitter=lambda: 1.0)
    for _ in range(8):
        back_off.next_s(1.0, refused=False)
    assert back_off.next_s(1.0, refused=False) == LONGEST_S
    assert back_off.next_s(60.0, refused=False) < 1


def test_after_a_refusal_a_minute_passes() -> None:
    assert BackOff().next_s(0, refused=True) == REFUSED_S == 60


def test_cameras_do_not_come_back_all_at_once() -> None:
    waits = {BackOff().next_s(0, refused=False) for _ in range(20)}
    assert len(waits) > 10
