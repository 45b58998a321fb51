"""The analysis is a pure function of frames and state: how runs are cut and grouped changes nothing.

Real detectors and a small network look at a real face (public domain) that is moved over a plain picture.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import astuple, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import skimage.data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from risa_ray.config import CameraConfig, ZoneConfig, ZoneKind
from risa_ray.frames import Chunk, FaceRow, Frame, Outcome, dropped
from risa_ray.vision.analyze import Analyzer, CameraSetup, CameraState

Picture = npt.NDArray[np.uint8]
Place = tuple[int, int, float]
"""Centre x and y of a face, and its size as a factor."""
START = datetime(2026, 11, 22, 9, tzinfo=UTC)
WIDTH, HEIGHT = 320, 200
FPS = 5


@cache
def _analyzer(model: Path) -> Analyzer:
    return Analyzer.load(str(model), max_batch=4)


@pytest.fixture(scope="module")
def analyzer(tiny_model: Path) -> Analyzer:
    return _analyzer(tiny_model)


@cache
def face(size: float) -> Picture:
    patch = skimage.data.astronaut()[20:220, 130:320]
    return np.asarray(cv2.resize(patch, None, fx=0.45 * size, fy=0.45 * size, interpolation=cv2.INTER_AREA))


def picture(places: Sequence[Place]) -> Picture:
    shade = np.linspace(40, 220, WIDTH).astype(np.uint8)  # on one grey, equalising the histogram hides the face
    canvas = np.ascontiguousarray(np.broadcast_to(shade[None, :, None], (HEIGHT, WIDTH, 3)))
    for x, y, size in places:
        patch = face(size)
        h, w = patch.shape[:2]
        top, left = y - h // 2, x - w // 2
        canvas[top : top + h, left : left + w] = patch
    canvas.setflags(write=False)
    return canvas


def frame(seq: int, places: Sequence[Place], camera: str = "till", scale: float = 1.0) -> Frame:
    pts = seq / FPS
    at = START + timedelta(seconds=pts)
    return Frame(camera, f"{camera}-session", seq, pts, at, at.timestamp(), picture(places), scale)


def walk(frames: int, camera: str = "till") -> list[Frame]:
    """A face that crosses the picture, and a larger one that stands for the second half."""
    return [
        frame(s, [(60 + 8 * s, 60, 1.0)] + ([(250, 130, 1.3)] if s >= frames // 2 else []), camera)
        for s in range(frames)
    ]


def zone(name: str, kind: ZoneKind, x1: float, y1: float, x2: float, y2: float) -> ZoneConfig:
    return ZoneConfig(id=name, kind=kind, polygon=((x1, y1), (x2, y1), (x2, y2), (x1, y2)))


def setup(*zones: ZoneConfig, camera: str = "till", detector: str = "haar", detect_every: int = 1) -> CameraSetup:
    raw = {"id": camera, "source": "x.mp4", "sampling_fps": FPS, "detector": detector, "min_face_size": 30}
    given = raw | {"zones": zones, "detect_every": detect_every}
    return CameraSetup.of("store", CameraConfig.model_validate(given))


def fresh(camera: str = "till", epoch: int = 0) -> CameraState:
    return CameraState.start(f"{camera}-session", epoch)


def in_parts(
    analyzer: Analyzer, run: Sequence[Frame | Outcome], cuts: Sequence[int], where: CameraSetup
) -> tuple[list[Chunk], CameraState]:
    state, chunks = fresh(where.camera_id), []
    edges = [0, *cuts, len(run)]
    for a, b in pairwise(edges):
        chunk, state = analyzer.analyze(run[a:b], where, state)
        chunks.append(chunk)
    return chunks, state


def rows(chunks: Sequence[Chunk]) -> list[FaceRow]:
    return [f for c in chunks for f in c.faces]


def same_rows(a: Sequence[FaceRow], b: Sequence[FaceRow]) -> None:
    def exact(r: FaceRow) -> tuple[object, ...]:
        return astuple(replace(r, probabilities=(), confidence=0.0, valence=0.0))

    assert [exact(r) for r in a] == [exact(r) for r in b]
    for r, s in zip(a, b, strict=True):
        np.testing.assert_allclose((*r.probabilities, r.valence), (*s.probabilities, s.valence), atol=1e-5)


def same_state(a: CameraState, b: CameraState) -> bool:
    return pickle.dumps(a) == pickle.dumps(b)


def test_a_chunk_tells_what_was_seen(analyzer: Analyzer) -> None:
    run = walk(6)
    chunk, _ = analyzer.analyze(run, setup(zone("left", "product", 0, 0, 0.27, 1)), fresh())
    assert (chunk.store_id, chunk.camera_id, chunk.session_id) == ("store", "till", "till-session")
    assert (chunk.detector, chunk.model_id) == ("haar", analyzer.model_id)
    assert [o.faces for o in chunk.outcomes] == [1, 1, 1, 2, 2, 2]
    for item, outcome in zip(run, chunk.outcomes, strict=True):
        assert outcome == Outcome(item.frame_seq, item.pts, item.captured_at, item.arrived_at, None, outcome.faces)
    walker = [f for f in chunk.faces if f.y1 < 60]
    assert len({f.track_id for f in walker}) == 1
    assert len({f.track_id for f in chunk.faces}) == 2
    for f in walker:
        place = 60 + 8 * f.frame_seq
        assert abs((f.x1 + f.x2) / 2 - place) < 8
        assert f.zone_ids == (("left",) if (f.x1 + f.x2) / 2 <= 0.27 * WIDTH else ())
        assert f.captured_at == START + timedelta(seconds=f.frame_seq / FPS)
        assert f.face_px == pytest.approx(min(f.x2 - f.x1, f.y2 - f.y1))
        assert sum(f.probabilities) == pytest.approx(1, abs=1e-5)
        assert f.confidence == pytest.approx(max(f.probabilities))
        assert f.yaw_deg is None
    assert {f.zone_ids for f in walker} == {("left",), ()}


def test_a_detector_with_landmarks_gives_yaw(analyzer: Analyzer) -> None:
    chunk, _ = analyzer.analyze([frame(0, [(160, 100, 1.5)])], setup(detector="mtcnn"), fresh())
    (row,) = chunk.faces
    assert row.yaw_deg is not None
    assert abs(row.yaw_deg) < 15


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(1, 8)), st.sets(st.integers(0, 8), max_size=3))
def test_how_a_run_is_cut_changes_nothing(analyzer: Analyzer, cuts: set[int], lost: set[int]) -> None:
    run = [dropped(f, "overrun") if f.frame_seq in lost else f for f in walk(9)]
    (whole,), end = in_parts(analyzer, run, [], setup(zone("desk", "staff", 0.65, 0, 1, 1)))
    parts, parts_end = in_parts(analyzer, run, sorted(cuts), setup(zone("desk", "staff", 0.65, 0, 1, 1)))
    assert tuple(o for c in parts for o in c.outcomes) == whole.outcomes
    same_rows(rows(parts), whole.faces)
    assert same_state(end, parts_end)


def test_between_full_detections_known_faces_are_followed_and_new_ones_found_at_the_next(analyzer: Analyzer) -> None:
    run = walk(12)  # the second face comes with frame 6
    every, state = analyzer.analyze(run, setup(detector="mtcnn"), fresh())
    some, other = analyzer.analyze(run, setup(detector="mtcnn", detect_every=4), fresh())
    assert [o.faces for o in every.outcomes] == [1] * 6 + [2] * 6
    # Searched are 0 (somebody new), 2, 6 (somebody new), 8.
    assert [o.faces for o in some.outcomes] == [1] * 6 + [2] * 6
    assert (state.search.last_seq, other.search.last_seq) == (11, 8)
    assert len({f.track_id for f in some.faces}) == 2
    there = {(f.frame_seq, f.track_id): f for f in every.faces}
    for f in some.faces:
        same = there[f.frame_seq, f.track_id]
        np.testing.assert_allclose((f.x1, f.y1, f.x2, f.y2), (same.x1, same.y1, same.x2, same.y2), atol=6)
        assert f.yaw_deg is not None


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(1, 11)), st.sets(st.integers(0, 11), max_size=5))
def test_how_a_run_is_cut_changes_nothing_between_full_detections_either(
    analyzer: Analyzer, cuts: set[int], lost: set[int]
) -> None:
    run = [dropped(f, "overrun") if f.frame_seq in lost else f for f in walk(12)]
    where = setup(detector="mtcnn", detect_every=3)
    whole, end = in_parts(analyzer, run, [], where)
    parts, state = in_parts(analyzer, run, sorted(cuts), where)
    same_rows(rows(whole), rows(parts))
    assert same_state(end, state)


def test_cameras_refined_together_are_as_each_alone(analyzer: Analyzer) -> None:
    works = [
        (walk(n, name), setup(camera=name, detector="mtcnn", detect_every=k), fresh(name))
        for name, n, k in (("a", 7, 3), ("b", 4, 1), ("c", 5, 2))
    ]
    for (chunk, state), work in zip(analyzer.analyze_many(works), works, strict=True):
        alone, end = analyzer.analyze(*work)
        same_rows(chunk.faces, alone.faces)
        assert same_state(state, end)


def test_cameras_together_are_as_each_alone(analyzer: Analyzer) -> None:
    front, door, empty = walk(5), walk(7, "door")[2:], [frame(0, [], "yard")]
    works = [
        (front, setup(), fresh()),
        (door, setup(zone("dark", "mask", 0.5, 0.4, 1, 1), camera="door"), fresh("door", 2)),
        (empty, setup(camera="yard", detector="mtcnn"), fresh("yard")),
        ([dropped(f, "stale") for f in walk(2, "roof")], setup(camera="roof"), fresh("roof")),
    ]
    together = analyzer.analyze_many(works)
    for work, (chunk, state) in zip(works, together, strict=True):
        alone, alone_state = analyzer.analyze(*work)
        assert chunk.outcomes == alone.outcomes
        same_rows(chunk.faces, alone.faces)
        assert same_state(state, alone_state)
    assert [len(c.faces) for c, _ in together] == [8, 5, 0, 0]
    assert len({f.track_id for c, _ in together for f in c.faces}) == 3


def test_no_camera_no_chunk(analyzer: Analyzer) -> None:
    assert analyzer.analyze_many([]) == []


def test_dropped_frames_stay_in_place_and_break_no_track(analyzer: Analyzer) -> None:
    run: list[Frame | Outcome] = list(walk(6))
    for seq, cause in ((0, "stale"), (2, "decode_error"), (5, "overrun")):
        item = run[seq]
        assert isinstance(item, Frame)
        run[seq] = dropped(item, cause)  # type: ignore[arg-type]
    chunk, _ = analyzer.analyze(run, setup(), fresh())
    assert [o.cause for o in chunk.outcomes] == ["stale", None, "decode_error", None, None, "overrun"]
    assert [chunk.outcomes[i] for i in (0, 2, 5)] == [run[i] for i in (0, 2, 5)]
    assert [f.frame_seq for f in chunk.faces] == [1, 3, 3, 4, 4]
    assert len({f.track_id for f in chunk.faces if f.y1 < 60}) == 1


def test_a_run_of_drops_only_leaves_the_state(analyzer: Analyzer) -> None:
    state = fresh()
    chunk, after = analyzer.analyze([dropped(f, "stale") for f in walk(3)], setup(), state)
    assert [o.cause for o in chunk.outcomes] == ["stale"] * 3
    assert chunk.faces == ()
    assert same_state(state, after)


def test_a_call_made_again_gives_the_same(analyzer: Analyzer) -> None:
    where = setup(zone("desk", "staff", 0.65, 0, 1, 1))
    _, state = analyzer.analyze(walk(8)[:4], where, fresh())
    before, pixels = pickle.dumps(state), walk(8)[5].image.copy()
    run = walk(8)[4:]
    one, end = analyzer.analyze(run, where, state)
    other, other_end = analyzer.analyze(run, where, state)
    assert pickle.dumps(state) == before
    np.testing.assert_array_equal(run[1].image, pixels)
    assert one.outcomes == other.outcomes
    same_rows(one.faces, other.faces)
    assert same_state(end, other_end)
    same_rows(analyzer.analyze(run, where, pickle.loads(before))[0].faces, one.faces)


def test_a_new_epoch_gives_new_tracks(analyzer: Analyzer) -> None:
    run = walk(3)
    ids = [{f.track_id for f in analyzer.analyze(run, setup(), fresh(epoch=e))[0].faces} for e in (0, 3)]
    assert ids[0].isdisjoint(ids[1])


def test_masked_faces_are_not_seen(analyzer: Analyzer) -> None:
    run = [frame(s, [(70, 60, 1.0), (250, 100, 1.3)]) for s in range(2)]
    assert [o.faces for o in analyzer.analyze(run, setup(), fresh())[0].outcomes] == [2, 2]
    chunk, _ = analyzer.analyze(run, setup(zone("window", "mask", 0.7, 0.35, 0.9, 0.75)), fresh())
    assert [o.faces for o in chunk.outcomes] == [1, 1]
    assert all(f.x2 < WIDTH / 2 for f in chunk.faces)


DESK = zone("desk", "staff", 0.6, 0, 1, 1)


def test_faces_in_a_staff_zone_give_no_rows(analyzer: Analyzer) -> None:
    run = [frame(s, [(70, 60, 1.0), (250, 100, 1.3)]) for s in range(3)]
    chunk, _ = analyzer.analyze(run, setup(DESK), fresh())
    assert [o.faces for o in chunk.outcomes] == [1, 1, 1]
    assert [f.face_index for f in chunk.faces] == [0, 0, 0], "numbered after staff is left out"
    assert all(f.x2 < 0.6 * WIDTH and "desk" not in f.zone_ids for f in chunk.faces)


def crossing(stay: int) -> list[Frame]:
    """A face that stands at the desk for so many frames and then walks out to the left."""
    return [frame(s, [(230 - 14 * max(0, s - stay + 1), 100, 1.0)]) for s in range(stay + 8)]


def test_whoever_stayed_in_a_staff_zone_is_left_out_from_then_on(analyzer: Analyzer) -> None:
    seen_without_zone, _ = analyzer.analyze(crossing(8), setup(), fresh())
    assert len({f.track_id for f in seen_without_zone.faces}) == 1, "one person followed all the way"
    chunk, _ = analyzer.analyze(crossing(8), setup(DESK), fresh())
    assert chunk.faces == ()
    assert {o.faces for o in chunk.outcomes} == {0}


def test_whoever_only_crosses_a_staff_zone_is_seen_outside_of_it(analyzer: Analyzer) -> None:
    chunk, _ = analyzer.analyze(crossing(2), setup(DESK), fresh())
    assert len({f.track_id for f in chunk.faces}) == 1
    assert [f.frame_seq for f in chunk.faces] == list(range(chunk.faces[0].frame_seq, 10))


def test_coming_back_to_the_desk_starts_the_second_anew(analyzer: Analyzer) -> None:
    # 0.6 s at the desk, out, 0.6 s at the desk, out: never a second in one piece
    xs = [215, 215, 215, 215, 170, 170, 215, 215, 215, 215, 170, 150]
    chunk, _ = analyzer.analyze([frame(s, [(x, 100, 1.0)]) for s, x in enumerate(xs)], setup(DESK), fresh())
    assert [f.frame_seq for f in chunk.faces] == [4, 5, 10, 11]


def test_forgotten_staff_takes_no_memory(analyzer: Analyzer) -> None:
    gone = [frame(s, []) for s in range(16, 30)]
    _, state = analyzer.analyze(crossing(8), setup(DESK), fresh())
    assert len(state.staff) == 1
    _, state = analyzer.analyze(gone, setup(DESK), state)
    assert (state.staff, state.staff_since) == (frozenset(), ())


def test_faces_are_numbered_by_score_then_place(analyzer: Analyzer) -> None:
    places = [(50, 60, 1.0), (150, 60, 1.2), (250, 120, 1.4), (60, 150, 0.9)]
    chunk, _ = analyzer.analyze([frame(0, places)], setup(), fresh())
    assert [f.face_index for f in chunk.faces] == list(range(len(chunk.faces)))
    assert len(chunk.faces) == len(places)
    order = [(-f.detector_score, f.x1) for f in chunk.faces]
    assert order == sorted(order)


def test_scale_maps_boxes_to_source_pixels(analyzer: Analyzer) -> None:
    where = setup(zone("left", "product", 0, 0, 0.5, 1))
    places = [(70, 60, 1.0)]
    (plain,), (scaled,) = (analyzer.analyze([frame(0, places, scale=s)], where, fresh())[0].faces for s in (1.0, 2.5))
    for key in ("x1", "y1", "x2", "y2", "face_px"):
        assert getattr(scaled, key) == pytest.approx(2.5 * getattr(plain, key))
    assert scaled.zone_ids == plain.zone_ids == ("left",)
    assert (scaled.expression, scaled.abstain_reason) == (plain.expression, plain.abstain_reason)
    assert scaled.probabilities == pytest.approx(plain.probabilities)


def test_wrong_runs_are_refused(analyzer: Analyzer) -> None:
    run = walk(4)
    with pytest.raises(ValueError, match="camera till has no frame"):
        analyzer.analyze([], setup(), fresh())
    with pytest.raises(ValueError, match="has a gap"):
        analyzer.analyze([run[0], run[2]], setup(), fresh())
    _, state = analyzer.analyze(run, setup(), fresh())
    for behind in (run[2:], [dropped(run[3], "stale")]):
        with pytest.raises(ValueError, match=r"frame \d comes after frame 3"):
            analyzer.analyze(behind, setup(), state)


def test_times_per_stage_add_up(tiny_model: Path) -> None:
    analyzer = Analyzer.load(str(tiny_model))
    analyzer.analyze([*walk(2), dropped(frame(2, []), "stale")], setup(), fresh())
    assert analyzer.times.frames == 2
    assert min(analyzer.times.detect, analyzer.times.track, analyzer.times.classify) > 0


def test_real_video_has_the_same_rows_however_it_is_cut(analyzer: Analyzer, shared: Path) -> None:
    capture = cv2.VideoCapture(str(shared / "video/single_face.mp4"))
    run = []
    for seq in range(12):
        picture = np.ascontiguousarray(capture.read()[1][..., ::-1])
        run.append(replace(frame(seq, []), image=picture, pts=seq / 30))
    (whole,), _ = in_parts(analyzer, run, [], setup())
    parts, _ = in_parts(analyzer, run, [1, 5, 6, 10], setup())
    assert len({f.track_id for f in whole.faces}) == 1
    assert sum(o.faces > 0 for o in whole.outcomes) >= 11
    same_rows(rows(parts), whole.faces)
