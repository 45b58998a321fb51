"""The tracker keeps people apart and together, at every frame rate, and never changes what it was given."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risa_ray.vision.tracker import TrackerConfig, TrackerState, expected, start, track_id, update

Frame = tuple[float, list[tuple[float, ...]], list[float]]
"""pts, boxes, scores."""
Path2D = Callable[[float], tuple[float, float] | None]
SIZE = 60.0


def box(x: float, y: float, height: float = SIZE) -> tuple[float, ...]:
    return (x - 0.4 * height, y - height / 2, x + 0.4 * height, y + height / 2)


def run(frames: Sequence[Frame], config: TrackerConfig | None = None, state: TrackerState | None = None,
        first: int = 0) -> tuple[TrackerState, list[list[int]]]:  # fmt: skip
    state = start("session", 0) if state is None else state
    numbers = []
    for seq, (pts, boxes, scores) in enumerate(frames, first):
        state, ordinals = update(
            state, seq, pts, np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32),
            config or TrackerConfig(),
        )  # fmt: skip
        numbers.append(ordinals.tolist())
    return state, numbers


def film(paths: Sequence[Path2D], times: Sequence[float], jitter: float = 0.0) -> list[Frame]:
    rng = np.random.default_rng(1)
    frames = []
    for t in times:
        seen = [p for path in paths if (p := path(t)) is not None]
        boxes = [tuple(np.array(box(*p)) + rng.normal(0, jitter * SIZE, 4)) for p in seen]
        frames.append((t, boxes, [0.99] * len(boxes)))
    return frames


def same(a: TrackerState, b: TrackerState) -> bool:
    return pickle.dumps(a) == pickle.dumps(b)


@pytest.mark.parametrize("fps", [1, 2, 5, 12, 30, 60])
@pytest.mark.parametrize("speed", [0.0, 1.0, 4.0])
def test_a_walking_face_keeps_its_track_at_every_frame_rate(fps: int, speed: float) -> None:
    times = np.arange(0, 6, 1 / fps)
    frames = film([lambda t: (100 + speed * SIZE * t, 300)], times, jitter=0.03)
    _, numbers = run(frames, TrackerConfig.for_fps(fps))
    assert numbers == [[0]] * len(frames)


def test_a_walking_face_keeps_its_track_at_irregular_intervals() -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.5, 60))
    _, numbers = run(film([lambda t: (3 * SIZE * t, 100 + 20 * t)], times, jitter=0.03))
    assert numbers == [[0]] * 60


@pytest.mark.parametrize("fps", [3, 5, 10, 30])
@pytest.mark.parametrize("speed", [2.0, 4.0])
def test_people_who_cross_keep_their_tracks(fps: int, speed: float) -> None:
    def going(t: float) -> tuple[float, float]:
        return 100 + speed * SIZE * t, 300

    def coming(t: float) -> tuple[float, float]:
        return 1180 - speed * SIZE * t, 320

    def along(t: float) -> tuple[float, float]:
        return 640, 100 + speed / 2 * SIZE * t

    _, numbers = run(film([going, coming, along], np.arange(0, 4, 1 / fps), jitter=0.03), TrackerConfig.for_fps(fps))
    assert numbers == [[0, 1, 2]] * len(numbers)


def test_a_person_hidden_by_another_while_they_cross_comes_back() -> None:
    def front(t: float) -> tuple[float, float]:
        return 100 + 2 * SIZE * t, 300

    def behind(t: float) -> tuple[float, float] | None:
        x = 700 - 2 * SIZE * t
        return None if abs(x - front(t)[0]) < SIZE else (x, 305)

    frames = film([front, behind], np.arange(0, 5, 1 / 15), jitter=0.02)
    _, numbers = run(frames)
    assert any(len(n) == 1 for n in numbers)
    assert all(n in ([0, 1], [0]) for n in numbers)


def test_a_face_missed_for_some_frames_keeps_its_track() -> None:
    _, numbers = run(film([lambda t: None if 1 < t < 1.7 else (100 + SIZE * t, 200)], np.arange(0, 3, 0.04)))
    assert [] in numbers
    assert all(n in ([], [0]) for n in numbers)


def test_a_face_that_comes_back_after_the_maximum_age_is_a_new_track() -> None:
    _, numbers = run(film([lambda t: None if 1 < t < 2.2 else (300, 200)], np.arange(0, 3, 0.1)))
    assert numbers[0] == [0]
    assert numbers[-1] == [1]


def test_a_lost_track_is_forgotten_from_the_state() -> None:
    state, _ = run([(0.0, [box(300, 200)], [0.99]), (0.9, [], [])])
    assert len(state.tracks) == 1
    state, _ = run([(1.1, [], [])], state=state, first=2)
    assert len(state.tracks) == 0
    assert state.next_ordinal == 1


def test_nobody_is_followed_over_a_hole_in_the_stream() -> None:
    _, numbers = run([(0.0, [box(300, 200)], [0.99]), (2.5, [box(300, 200)], [0.99])])
    assert numbers == [[0], [1]]


def test_a_dropped_frame_is_only_a_longer_interval() -> None:
    state, _ = run([(0.0, [box(300, 200)], [0.99])])
    _, numbers = run([(0.3, [box(310, 200)], [0.99])], state=state, first=9)
    assert numbers == [[0]]


def test_two_faces_in_opposite_corners_are_not_one_person() -> None:
    _, numbers = run([(0.0, [box(100, 100)], [0.99]), (0.1, [box(900, 600)], [0.99])])
    assert numbers == [[0], [1]]


def test_a_face_much_larger_is_another_person() -> None:
    _, numbers = run([(0.0, [box(300, 300, 30)], [0.99]), (0.1, [box(300, 300, 200)], [0.99])])
    assert numbers == [[0], [1]]


def test_a_false_double_box_does_not_take_the_track() -> None:
    rng = np.random.default_rng(2)
    frames: list[Frame] = []
    for k in range(60):
        x = 200 + 5 * k
        boxes, scores = [box(x, 300)], [0.97]
        if k % 7 in (3, 4):
            boxes, scores = [box(x + 6, 306, 0.7 * SIZE), box(x, 300)], [0.98, 0.97]
        shaken = [tuple(np.array(b) + rng.normal(0, 1.5, 4)) for b in boxes]
        frames.append((k / 15, shaken, scores))
    _, numbers = run(frames)
    assert {n[-1] for n in numbers} == {0}


def test_an_abrupt_movement_at_a_high_frame_rate_keeps_the_track() -> None:
    frames = film([lambda t: (300, 200) if t < 1 else (330, 225)], np.arange(0, 2, 1 / 30))
    _, numbers = run(frames)
    assert numbers == [[0]] * len(frames)


def test_low_scores_only_get_the_tracks_that_high_scores_left() -> None:
    before: Frame = (0.0, [box(300, 200)], [0.99])
    near, nearer = box(312, 200), box(301, 200)
    _, numbers = run([before, (0.1, [nearer, near], [0.6, 0.99])])
    assert numbers[1] == [1, 0]
    _, numbers = run([before, (0.1, [nearer, near], [0.99, 0.99])])
    assert numbers[1] == [0, 1]


def test_low_scores_keep_a_track_alive_and_start_one() -> None:
    frames: list[Frame] = [(0.1 * k, [box(300 + 4 * k, 200)], [0.3]) for k in range(30)]
    _, numbers = run(frames)
    assert numbers == [[0]] * 30


def test_a_walking_face_is_expected_where_it_goes() -> None:
    state, _ = run(film([lambda t: (100 + 120 * t, 200 - 30 * t)], np.arange(0, 1, 0.1)))
    (there,) = expected(state, 1.2, TrackerConfig())
    np.testing.assert_allclose(there, box(100 + 120 * 1.2, 200 - 30 * 1.2), atol=6)
    assert len(expected(state, 1.2 + 2 * TrackerConfig().max_gap_s, TrackerConfig())) == 0
    assert expected(start("session", 0), 0.0, TrackerConfig()).shape == (0, 4)


def test_the_same_input_gives_the_same_result_and_leaves_the_state_as_it_was() -> None:
    frames = film([lambda t: (100 + 50 * t, 300), lambda t: (500 - 50 * t, 280)], np.arange(0, 2, 0.1), jitter=0.05)
    state, _ = run(frames)
    before = pickle.dumps(state)
    boxes = np.array([box(200, 300), box(390, 280)], np.float32)
    boxes.setflags(write=False)
    once = update(state, 50, 2.0, boxes, np.ones(2, np.float32), TrackerConfig())
    again = update(state, 50, 2.0, boxes, np.ones(2, np.float32), TrackerConfig())
    assert pickle.dumps(state) == before
    assert same(once[0], again[0])
    assert np.array_equal(once[1], again[1])
    with pytest.raises(ValueError, match="read-only"):
        state.tracks.value[0] = 0


@pytest.mark.parametrize("seq", [3, 2, 0])
def test_frames_out_of_order_are_refused(seq: int) -> None:
    state, _ = run([(0.1 * k, [], []) for k in range(4)])
    with pytest.raises(ValueError, match=f"frame {seq} comes after frame 3"):
        update(state, seq, 1.0, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), TrackerConfig())


@pytest.mark.parametrize(
    ("boxes", "scores", "pts"),
    [
        (np.zeros((2, 4)), np.zeros(1), 0.0),
        (np.zeros((1, 5)), np.zeros(1), 0.0),
        (np.full((1, 4), np.nan), np.zeros(1), 0.0),
        (np.zeros((1, 4)), np.zeros(1), float("inf")),
    ],
)
def test_unusable_detections_are_refused(
    boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], pts: float
) -> None:
    with pytest.raises(ValueError, match=r"expected boxes|must be finite"):
        update(start("s", 0), 0, pts, boxes, scores, TrackerConfig())


def test_a_clock_that_jumps_back_stands_still() -> None:
    _, numbers = run([(900.0, [box(300, 200)], [0.99]), (3.0, [box(301, 200)], [0.99]), (3.1, [], []), (4.2, [], []),
                      (4.3, [box(301, 200)], [0.99])])  # fmt: skip
    assert numbers == [[0], [0], [], [], [1]]


def test_slow_sampling_lets_a_face_miss_one_frame() -> None:
    faces = [(1.04 * k, [] if k == 2 else [box(300, 200)], [] if k == 2 else [0.99]) for k in range(5)]
    _, numbers = run(faces, TrackerConfig.for_fps(1))
    assert numbers == [[0], [0], [], [0], [0]]
    assert TrackerConfig.for_fps(None) == TrackerConfig.for_fps(30) == TrackerConfig()


def test_track_ids_are_unique_across_sessions_epochs_and_ordinals() -> None:
    ids = {track_id(s, e, o) for s in ("cam-1", "cam-2", "c" * 200) for e in range(12) for o in range(120)}
    assert len(ids) == 3 * 12 * 120
    assert all(len(i) == 16 and int(i, 16) >= 0 for i in ids)
    assert track_id("cam-1", 0, 7) == track_id("cam-1", 0, 7)


_number = st.floats(0, 1000, width=32)
_detection = st.tuples(_number, _number, st.floats(0, 300, width=32), st.floats(0, 300, width=32), st.floats(0, 1))
_frames = st.lists(st.tuples(st.floats(0, 1.2), st.lists(_detection, max_size=5)), min_size=1, max_size=12)


def _film_of(steps: list[tuple[float, list[tuple[float, ...]]]]) -> list[Frame]:
    times = np.cumsum([dt for dt, _ in steps])
    return [
        (float(t), [(x, y, x + w, y + h) for x, y, w, h, _ in found], [d[4] for d in found])
        for t, (_, found) in zip(times, steps, strict=True)
    ]


@settings(deadline=None, max_examples=60)
@given(_frames)
def test_numbers_are_unique_in_a_frame_start_in_order_and_never_come_back_once_forgotten(
    steps: list[tuple[float, list[tuple[float, ...]]]],
) -> None:
    state, forgotten, known = start("s", 0), set[int](), set[int]()
    for seq, frame in enumerate(_film_of(steps)):
        before = state.next_ordinal
        state, [numbers] = run([frame], state=state, first=seq)
        assert len(numbers) == len(frame[1]) == len(set(numbers))
        assert [n for n in numbers if n >= before] == list(range(before, state.next_ordinal))
        assert not forgotten & set(numbers)
        assert set(numbers) <= set(state.tracks.ordinals.tolist())
        known |= set(numbers)
        forgotten = known - set(state.tracks.ordinals.tolist())
        assert np.isfinite(state.tracks.value).all()
        assert (state.tracks.var_value > 0).all()


@settings(deadline=None, max_examples=40)
@given(_frames, st.data())
def test_chunk_boundaries_do_not_matter(
    steps: list[tuple[float, list[tuple[float, ...]]]], data: st.DataObject
) -> None:
    frames = _film_of(steps)
    whole, numbers = run(frames)
    cut = data.draw(st.integers(0, len(frames)))
    first, left = run(frames[:cut])
    second, right = run(frames[cut:], state=pickle.loads(pickle.dumps(first)), first=cut)
    assert left + right == numbers
    assert same(whole, second)


def test_one_face_on_real_video_is_one_track(shared: Path) -> None:
    haar = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    video = cv2.VideoCapture(str(shared / "video" / "single_face.mp4"))
    frames: list[Frame] = []
    for k in range(72):
        ok, picture = video.read()
        assert ok
        if k % 3 == 0:
            found = haar.detectMultiScale(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), 1.1, 5, minSize=(40, 40))
            frames.append((k / 30, [(x, y, x + w, y + h) for x, y, w, h in found], [1.0] * len(found)))
    _, numbers = run(frames)
    counts = Counter(n for frame in numbers for n in frame)
    assert counts.most_common(1)[0][1] == len(frames)
