from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risa_ray.sources.clock import StreamClock, parse_creation_time, steady, time_in_name

BERLIN = ZoneInfo("Europe/Berlin")
STAMPS = st.lists(st.none() | st.floats(-1e6, 1e6), max_size=60)


@given(STAMPS)
def test_time_starts_at_zero_and_never_goes_backward(stamps: list[float | None]) -> None:
    clock = StreamClock(0.04)
    times = [clock(s) for s in stamps]
    assert times == sorted(times)
    assert times[:1] in ([], [0.0])


@given(st.floats(-1e4, 1e4), st.lists(st.floats(0, 10), min_size=1, max_size=30))
def test_regular_stamps_are_only_shifted(start: float, gaps: list[float]) -> None:
    clock, stamp, stamps = StreamClock(0.04), start, []
    for gap in gaps:
        stamps.append(stamp)
        stamp += gap
    assert [clock(s) for s in stamps] == pytest.approx([s - start for s in stamps], abs=1e-6)


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([5.0, None, None, 5.3], [0.0, 0.1, 0.2, 0.3]),
        ([None, 7.0, 7.1], [0.0, 0.1, 0.2]),
        ([0.0, 0.1, 0.05, 0.2], [0.0, 0.1, 0.1, 0.2]),  # jitter
        ([0.0, 9.0, 0.0, 0.1], [0.0, 9.0, 9.1, 9.2]),  # a second recording behind the first
        ([0.0, 0.1, 3600.0], [0.0, 0.1, 3600.0]),  # a gap in the recording stays one
    ],
)
def test_missing_and_backward_stamps(stamps: list[float | None], times: list[float]) -> None:
    clock = StreamClock(0.1)
    assert [clock(s) for s in stamps] == pytest.approx(times)


@given(STAMPS)
def test_steady_time_keeps_every_item_in_order(stamps: list[float | None]) -> None:
    timed = list(steady(((s, i) for i, s in enumerate(stamps)), 0.04))
    assert [item for _, item in timed] == list(range(len(stamps)))
    times = [time for time, _ in timed]
    assert times == sorted(times)
    assert times[:1] in ([], [0.0])


@given(st.integers(1, 30), st.integers(1, 30), st.floats(1.5, 1e9))
def test_one_wild_stamp_moves_no_other_frame(before: int, after: int, leap: float) -> None:
    right = [i * 0.04 for i in range(before + 1 + after)]
    wild = [*right[:before], right[before] + leap, *right[before + 1 :]]
    times = [time for time, _ in steady(((s, None) for s in wild), 0.04)]
    assert times == pytest.approx(right, abs=1e-6)


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        ([0.0, 0.1, 3600.0, 3600.1], [0.0, 0.1, 3600.0, 3600.1]),  # a gap in the recording stays one
        ([0.0, 0.1, 3600.0], [0.0, 0.1, 3600.0]),
        ([0.0, 0.1, 3600.0, None, 0.4], [0.0, 0.1, 0.2, 0.3, 0.4]),
        ([8.0, 8.1, 0.0, 0.1], [0.0, 0.1, 0.2, 0.3]),  # a second recording behind the first
        ([0.0, 5.0, 10.0, 15.0], [0.0, 5.0, 10.0, 15.0]),  # a stream slower than it says
        ([0.0, 500.0, 900.0, 0.1, 0.2], [0.0, 500.0, 900.0, 900.1, 900.2]),  # two leaps on end are believed
    ],
)
def test_gaps_leaps_and_restarts(stamps: list[float | None], times: list[float]) -> None:
    assert [t for t, _ in steady(((s, None) for s in stamps), 0.1)] == pytest.approx(times)


def test_only_a_leap_is_held_back() -> None:
    given_so_far: list[float] = []

    def stamped() -> Iterator[tuple[float, None]]:
        for stamp in (0.0, 0.1, 60.0, 60.1, 60.2):
            given_so_far.append(stamp)
            yield stamp, None

    seen = [(time, len(given_so_far)) for time, _ in steady(stamped(), 0.1)]
    assert [count for _, count in seen] == [1, 2, 4, 4, 5]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cam1_20260314_091500", datetime(2026, 3, 14, 8, 15, tzinfo=UTC)),
        ("2026-03-14_09-15-00", datetime(2026, 3, 14, 8, 15, tzinfo=UTC)),
        ("20260714T091500Z-part2", datetime(2026, 7, 14, 9, 15, tzinfo=UTC)),
        ("NVR_ch3_main_20260714091500_20260714101500", datetime(2026, 7, 14, 7, 15, tzinfo=UTC)),
        ("serial_20269914_091500", None),
        ("store 12 camera 4", None),
        ("cam_99991231_235959", None),
        ("unix_1773476100123", None),
    ],
)
def test_time_in_a_recorders_file_name(name: str, expected: datetime | None) -> None:
    assert time_in_name(name, BERLIN) == expected


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2099, 1, 1)), st.sampled_from(["%Y%m%d_%H%M%S", "%Y-%m-%d_%H-%M-%S"])
)
def test_any_time_is_found_in_either_style(time: datetime, style: str) -> None:
    found = time_in_name(f"cam7_{time.strftime(style)}_x", ZoneInfo("UTC"))
    assert found == time.replace(microsecond=0, tzinfo=UTC)


def test_a_recorder_that_never_set_its_clock_is_not_believed() -> None:
    assert parse_creation_time("1970-01-01T00:00:00.000000Z") is None
    assert parse_creation_time("not a time") is None
    assert parse_creation_time("2026-03-14T09:15:00Z") == datetime(2026, 3, 14, 9, 15, tzinfo=UTC)
