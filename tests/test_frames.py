"""A chunk is contiguous, and trimming it at a mark keeps exactly what lies above."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risa_ray.frames import DROP_CAUSES, Chunk, DropCause, FaceRow, Frame, Outcome, dropped, from_unix

START = datetime(2026, 11, 22, 9, tzinfo=UTC)


def outcome(seq: int, cause: DropCause | None = None) -> Outcome:
    return Outcome(seq, seq / 5, START + timedelta(seconds=seq / 5), 1e9 + seq / 5, cause)


def face(seq: int, index: int = 0) -> FaceRow:
    return FaceRow(
        frame_seq=seq, face_index=index, captured_at=START, pts=seq / 5, track_id="t", zone_ids=(), x1=0, y1=0, x2=9,
        y2=9, detector_score=1, face_px=9, yaw_deg=None, probabilities=(1.0,) + (0.0,) * 7, expression="neutral",
        abstain_reason=None, confidence=1, valence=0,
    )  # fmt: skip


def chunk(outcomes: list[Outcome], faces: list[FaceRow]) -> Chunk:
    return Chunk("store", "till", "session", "haar", "model@1", tuple(outcomes), tuple(faces))


@st.composite
def chunks(draw: st.DrawFn) -> Chunk:
    first = draw(st.integers(0, 50))
    causes = draw(st.lists(st.none() | st.sampled_from(DROP_CAUSES), min_size=1, max_size=12))
    outcomes = [outcome(first + i, cause) for i, cause in enumerate(causes)]
    counts = [draw(st.integers(0, 2)) if o.cause is None else 0 for o in outcomes]
    return chunk(outcomes, [face(o.frame_seq, i) for o, n in zip(outcomes, counts, strict=True) for i in range(n)])


@pytest.mark.parametrize("seqs", [[1, 3], [2, 1], [1, 1], [5, 6, 8]])
def test_a_chunk_with_a_gap_is_refused(seqs: list[int]) -> None:
    with pytest.raises(ValueError, match="session has a gap"):
        chunk([outcome(s) for s in seqs], [])


def test_an_empty_chunk_is_refused() -> None:
    with pytest.raises(ValueError, match="has no frame"):
        chunk([], [])


def test_faces_belong_to_analysed_frames() -> None:
    with pytest.raises(ValueError, match=r"faces of frames \[4\]"):
        chunk([outcome(2), outcome(3)], [face(3), face(4)])
    with pytest.raises(ValueError, match=r"faces of frames \[3\]"):
        chunk([outcome(2), outcome(3, "stale")], [face(2), face(3)])


@given(chunks(), st.integers(-1, 70))
def test_after_keeps_exactly_what_lies_above_the_mark(whole: Chunk, mark: int) -> None:
    rest = whole.after(mark)
    outcomes, faces = (rest.outcomes, rest.faces) if rest else ((), ())
    assert outcomes == tuple(o for o in whole.outcomes if o.frame_seq > mark)
    assert faces == tuple(f for f in whole.faces if f.frame_seq > mark)
    if rest:
        assert (rest.first_seq, rest.last_seq) == (max(whole.first_seq, mark + 1), whole.last_seq)
        assert (rest.store_id, rest.camera_id, rest.session_id) == (whole.store_id, whole.camera_id, whole.session_id)
        assert (rest.detector, rest.model_id) == (whole.detector, whole.model_id)


@given(chunks(), st.integers(-1, 70), st.integers(-1, 70))
def test_after_one_mark_and_another_is_after_the_higher(whole: Chunk, a: int, b: int) -> None:
    rest = whole.after(a)
    assert (rest.after(b) if rest else None) == whole.after(max(a, b))


@given(chunks())
def test_a_chunk_above_the_mark_is_handed_on_as_it_is(whole: Chunk) -> None:
    assert whole.after(whole.first_seq - 1) is whole
    assert whole.after(whole.last_seq) is None


def test_a_dropped_frame_keeps_its_place_and_times() -> None:
    frame = Frame("till", "session", 7, 1.4, START, 5.0, np.zeros((2, 2, 3), np.uint8))
    assert dropped(frame, "overrun") == Outcome(7, 1.4, START, 5.0, "overrun", 0)


def test_unix_seconds_become_aware_utc() -> None:
    assert from_unix(1_000_000_000.25) == datetime(2001, 9, 9, 1, 46, 40, 250_000, tzinfo=UTC)
    assert from_unix(0).utcoffset() == timedelta(0)
