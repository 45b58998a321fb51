from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risa_ray.config import CameraConfig
from risa_ray.frames import Frame, Outcome
from risa_ray.sources import Sampler, Source, read_frames

START = datetime(2026, 3, 14, 8, 15, tzinfo=UTC)


@given(st.lists(st.floats(0, 1000), max_size=80).map(sorted), st.floats(0.1, 60))
def test_at_most_one_picture_per_slot_and_none_missed(times: list[float], fps: float) -> None:
    sampler = Sampler(fps)
    kept = [t for t in times if sampler(t)]
    slots = [int(t * fps + 1e-6) for t in times]
    assert [int(t * fps + 1e-6) for t in kept] == sorted(set(slots))


@pytest.mark.parametrize(("source_fps", "fps", "kept"), [(30, 5, 50), (25, 10, 100), (10, 10, 100), (15, 30, 150)])
def test_the_rate_is_met_on_regular_streams(source_fps: int, fps: float, kept: int) -> None:
    sampler = Sampler(fps)
    assert sum(sampler(i / source_fps) for i in range(10 * source_fps)) == kept


def test_without_a_rate_every_picture_is_kept() -> None:
    assert all(map(Sampler(None), [0.0, 0.0, 0.1]))


def _items(source: Source, path: Path, after_seq: int = -1, **settings: float) -> list[Frame | Outcome]:
    camera = CameraConfig.model_validate({"id": "cam", "source": str(path), **settings})
    return list(read_frames(source, camera, "s1", START, after_seq))


def _frames(source: Source, path: Path, after_seq: int = -1, **settings: float) -> list[Frame]:
    items = _items(source, path, after_seq, **settings)
    frames = [i for i in items if isinstance(i, Frame)]
    assert len(frames) == len(items)
    return frames


def test_frames_of_a_file(clip: Path, make_source: Callable[..., Source]) -> None:
    frames = _frames(make_source(clip), clip, sampling_fps=5, max_width=160)
    assert [f.frame_seq for f in frames] == list(range(20))
    assert [f.pts for f in frames] == pytest.approx([i / 5 for i in range(20)])
    assert all(f.captured_at == START + timedelta(seconds=f.pts) for f in frames)
    assert {(f.camera_id, f.session_id, f.scale, f.image.shape) for f in frames} == {("cam", "s1", 2.0, (90, 160, 3))}
    assert not frames[0].image.flags.writeable
    assert frames[0].image.flags.c_contiguous


@pytest.mark.parametrize("after", [-1, 0, 7, 19, 50])
def test_resuming_gives_the_same_frames_under_the_same_numbers(
    after: int, clip: Path, make_source: Callable[..., Source]
) -> None:
    whole = _frames(make_source(clip), clip, sampling_fps=5)
    rest = _frames(make_source(clip), clip, after, sampling_fps=5)
    assert [(f.frame_seq, f.pts) for f in rest] == [(f.frame_seq, f.pts) for f in whole if f.frame_seq > after]
    for a, b in zip(rest, whole[after + 1 :], strict=True):
        np.testing.assert_array_equal(a.image, b.image)


def test_an_unreadable_picture_is_numbered_and_dropped_with_its_cause(
    tmp_path: Path, make_source: Callable[..., Source]
) -> None:
    for index in range(5):
        (tmp_path / f"{index}.ppm").write_bytes(b"P6 2 2 255 " + bytes([index]) * 12)
    (tmp_path / "1.ppm").write_bytes(b"not a picture")
    whole = _items(make_source(tmp_path), tmp_path)
    assert [(f.frame_seq, f.pts) for f in whole] == [(i, i) for i in range(5)]
    assert [int(f.image[0, 0, 0]) for f in whole if isinstance(f, Frame)] == [0, 2, 3, 4]
    lost = whole[1]
    assert isinstance(lost, Outcome)
    assert (lost.cause, lost.captured_at, lost.faces) == ("decode_error", START + timedelta(seconds=1), 0)
    for after in range(-1, 5):
        rest = _items(make_source(tmp_path), tmp_path, after)
        assert [(type(f), f.frame_seq, f.pts) for f in rest] == [
            (type(f), f.frame_seq, f.pts) for f in whole[after + 1 :]
        ]


def test_live_frames_carry_the_time_of_their_arrival(make_source: Callable[..., Source]) -> None:
    before = datetime.now(UTC)
    frames = _frames(make_source("demo:front?seconds=0.4&fps=10"), Path("unused"))
    assert [f.frame_seq for f in frames] == [0, 1, 2, 3]
    assert before - timedelta(seconds=1) < frames[0].captured_at <= datetime.now(UTC)
    assert frames[-1].captured_at.timestamp() == pytest.approx(frames[-1].arrived_at, abs=1e-5)
