"""The three real detectors keep one contract, on real pictures."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import skimage.data
import torch
from facenet_pytorch import MTCNN
from hypothesis import given, settings
from hypothesis import strategies as st

from risa_ray.errors import InputError
from risa_ray.vision import create_detector
from risa_ray.vision.detectors import DETECTORS, Detector, Faces, yaw_degrees

Picture = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]
NAMES = sorted(DETECTORS)
FACE_CENTRE = (222, 115)
"""Where the astronaut's face is, in pixels."""


@cache
def detector(name: str, min_face_size: int = 60) -> Detector:
    if name == "dlib":
        pytest.importorskip("dlib")
    return create_detector(name, min_face_size=min_face_size)


@cache
def portrait() -> Picture:
    return np.asarray(skimage.data.astronaut())[:256].copy()


def read(path: Path, width: int) -> Picture:
    picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    return np.asarray(
        cv2.resize(picture, (width, round(width * len(picture) / picture.shape[1])), interpolation=cv2.INTER_AREA)
    )


def check_contract(faces: Faces, with_landmarks: bool) -> None:
    n = len(faces)
    assert faces.boxes.shape == (n, 4)
    assert faces.scores.shape == (n,)
    assert faces.boxes.dtype == faces.scores.dtype == np.float32
    assert (faces.boxes[:, 2:] > faces.boxes[:, :2]).all()
    assert ((faces.scores >= 0) & (faces.scores <= 1)).all()
    assert (np.diff(faces.scores) <= 0).all(), "by falling score"
    if with_landmarks:
        assert faces.landmarks is not None
        assert faces.landmarks.shape == (n, 5, 2)
        assert faces.landmarks.dtype == np.float32
    else:
        assert faces.landmarks is None


def same(a: Faces, b: Faces) -> None:
    np.testing.assert_array_equal(a.boxes, b.boxes)
    np.testing.assert_array_equal(a.scores, b.scores)
    if a.landmarks is not None and b.landmarks is not None:
        np.testing.assert_array_equal(a.landmarks, b.landmarks)


@pytest.mark.parametrize("name", NAMES)
def test_a_face_is_found_where_it_is(name: str) -> None:
    found = detector(name).detect([portrait()])
    assert len(found) == 1
    check_contract(found[0], name == "mtcnn")
    x1, y1, x2, y2 = found[0].boxes[0]
    assert abs((x1 + x2) / 2 - FACE_CENTRE[0]) < 20
    assert abs((y1 + y2) / 2 - FACE_CENTRE[1]) < 20
    assert 60 <= min(x2 - x1, y2 - y1) < 140


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("picture", ["coffee", "chelsea", "rocket"])
def test_no_face_gives_no_rows(name: str, picture: str) -> None:
    (faces,) = detector(name).detect([np.asarray(getattr(skimage.data, picture)())])
    assert len(faces) == 0
    check_contract(faces, name == "mtcnn")


@pytest.mark.parametrize("name", NAMES)
def test_frames_of_mixed_sizes_are_answered_one_by_one(name: str) -> None:
    frames = [portrait(), np.zeros((1, 1, 3), np.uint8), portrait()[:200, 100:400], np.zeros((70, 500, 3), np.uint8)]
    found = detector(name).detect(frames)
    assert [len(f) for f in found] == [1, 0, 1, 0]
    for frame, faces in zip(frames, found, strict=True):
        check_contract(faces, name == "mtcnn")
        same(faces, detector(name).detect([frame])[0])


@pytest.mark.parametrize("name", NAMES)
def test_no_frame_gives_an_empty_list(name: str) -> None:
    assert detector(name).detect([]) == []


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 255), st.booleans())
def test_frames_of_any_size_are_taken(name: str, height: int, width: int, seed: int, noise: bool) -> None:
    frame = (
        np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        if noise
        else np.full((height, width, 3), seed, np.uint8)
    )
    (faces,) = detector(name, 12 if name == "mtcnn" else 40).detect([frame])
    check_contract(faces, name == "mtcnn")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((80, 80), np.uint8),
        np.zeros((80, 80, 1), np.uint8),
        np.zeros((80, 80, 4), np.uint8),
        np.zeros((80, 80, 3), np.float32),
        [[0, 0, 0]],
    ],
    ids=["grey", "grey with axis", "alpha", "float", "list"],
)
def test_what_is_not_rgb_uint8_is_refused(name: str, frame: Picture) -> None:
    with pytest.raises(ValueError, match=r"RGB uint8 of shape \(height, width, 3\), not \w+"):
        detector(name).detect([portrait(), frame])


@pytest.mark.parametrize("name", NAMES)
def test_read_only_and_non_contiguous_frames_are_taken_and_left_alone(name: str) -> None:
    plain = portrait()
    locked = plain.copy()
    locked.setflags(write=False)
    strided = np.repeat(np.repeat(plain, 2, 0), 2, 1)[::2, ::2]
    assert not strided.flags.c_contiguous
    before = strided.copy()
    found = detector(name).detect([plain, locked, strided])
    same(found[0], found[1])
    same(found[0], found[2])
    np.testing.assert_array_equal(strided, before)


@pytest.mark.parametrize("name", NAMES)
def test_a_mirrored_picture_gives_mirrored_boxes(name: str) -> None:
    (faces,), (mirrored,) = (detector(name).detect([p]) for p in (portrait(), portrait()[:, ::-1]))
    width = portrait().shape[1]
    x1, y1, x2, y2 = mirrored.boxes[0]
    np.testing.assert_allclose([width - x2, y1, width - x1, y2], faces.boxes[0], atol=12)


def reference(frame: Picture, min_face_size: int) -> tuple[Doubles, Doubles, Doubles]:
    boxes, scores, points = MTCNN(keep_all=True, min_face_size=min_face_size).detect(frame, landmarks=True)
    boxes, scores, points = (np.asarray(a, np.float64) for a in (boxes, scores, points))  # from arrays of objects
    order = np.argsort(-scores, kind="stable")
    return boxes[order], scores[order], points[order]


def assert_equals_facenet(frame: Picture, min_face_size: int, faces: int) -> None:
    (found,) = detector("mtcnn", min_face_size).detect([frame])
    boxes, scores, points = reference(frame, min_face_size)
    assert len(found) == len(boxes) == faces
    np.testing.assert_allclose(found.boxes, boxes, atol=1e-3)
    np.testing.assert_allclose(found.scores, scores, atol=1e-6)
    np.testing.assert_allclose(found.landmarks, points, atol=1e-3)


def test_mtcnn_is_that_of_facenet_pytorch() -> None:
    assert_equals_facenet(portrait(), 60, faces=1)


def test_mtcnn_is_that_of_facenet_pytorch_in_a_crowd(shared: Path) -> None:
    assert_equals_facenet(read(shared / "images/group_6.jpg", 800), 30, faces=6)


@pytest.mark.parametrize(
    ("picture", "count"),
    [("group_6.jpg", 6), ("group_5.jpg", 5), ("portrait_1.jpg", 1), ("portrait_2.jpg", 1), ("portrait_3.jpg", 1)],
)
def test_mtcnn_counts_the_faces_of_real_pictures(shared: Path, picture: str, count: int) -> None:
    frame = read(shared / "images" / picture, 800 if picture.startswith("group") else 480)
    (faces,) = detector("mtcnn", 30).detect([frame])
    assert len(faces) == count
    check_contract(faces, True)
    assert faces.landmarks is not None
    for box, (left, right, nose, *mouth) in zip(faces.boxes, faces.landmarks, strict=True):
        assert left[0] < right[0], "left and right as seen in the picture"
        assert max(left[1], right[1]) < nose[1] < min(m[1] for m in mouth)
        assert (nose > box[:2]).all()
        assert (nose < box[2:]).all()


def test_mirroring_flips_the_sign_of_yaw(shared: Path) -> None:
    frame = read(shared / "images/group_6.jpg", 800)
    plain, mirrored = detector("mtcnn", 30).detect([frame, frame[:, ::-1]])
    centres, flipped = plain.boxes[:, [0, 2]].mean(1), frame.shape[1] - mirrored.boxes[:, [0, 2]].mean(1)
    order = np.abs(centres[:, None] - flipped).argmin(1)
    assert sorted(order) == list(range(6))
    yaws = np.array(yaw_degrees(plain.landmarks), float)
    np.testing.assert_allclose(np.array(yaw_degrees(mirrored.landmarks), float)[order], -yaws, atol=8)
    assert np.abs(yaws).max() > 12, "somebody looks aside, so that the sign is seen"


def head(yaw: float, roll: float = 0.0, size: float = 60.0) -> npt.NDArray[np.float32]:
    """Five landmarks (1, 5, 2) of a head seen from far: eyes in a plane, the nose tip 0.55 eye distances before it."""
    depth = np.array([0.0, 0.0, 0.55, 0.0, 0.0])
    x, y = np.array([-0.5, 0.5, 0.0, -0.4, 0.4]), np.array([0.0, 0.0, 0.6, 1.1, 1.1])
    x = x * np.cos(np.radians(yaw)) + depth * np.sin(np.radians(yaw))
    c, s = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    return (np.stack([c * x - s * y, s * x + c * y], 1)[None] * size + 200).astype(np.float32)


@given(st.floats(-70, 70), st.floats(10, 300))
def test_yaw_is_that_of_a_turned_head(yaw: float, size: float) -> None:
    assert yaw_degrees(head(yaw, size=size)) == [pytest.approx(yaw, abs=0.2)]


@given(st.floats(-60, 60))
def test_yaw_is_odd(yaw: float) -> None:
    (right,), (left,) = yaw_degrees(head(yaw)), yaw_degrees(head(-yaw))
    assert right == pytest.approx(-(left or 0.0), abs=0.05)


def test_yaw_is_positive_when_the_nose_points_to_the_right_of_the_picture() -> None:
    (yaw,) = yaw_degrees(head(30))
    assert yaw is not None
    assert yaw > 0
    assert head(30)[0, 2, 0] > head(0)[0, 2, 0]


@given(st.floats(-60, 60))
def test_yaw_of_a_frontal_face_stays_small_when_the_head_rolls(roll: float) -> None:
    assert yaw_degrees(head(0, roll)) == [pytest.approx(0, abs=0.1)]


def test_yaw_without_landmarks_or_with_both_eyes_in_one_point() -> None:
    assert yaw_degrees(None) == []
    assert yaw_degrees(np.zeros((0, 5, 2), np.float32)) == []
    assert yaw_degrees(np.zeros((2, 5, 2), np.float32)) == [None, None]


@pytest.mark.parametrize("name", ["haar", "dlib"])  # MTCNN asks for the size only in its first, coarse stage
def test_smaller_faces_than_asked_for_are_not_found(name: str) -> None:
    (faces,) = detector(name, 200).detect([portrait()])
    assert len(faces) == 0


def test_wrong_settings_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="unknown detector 'yolo'; choose one of mtcnn, haar, dlib"):
        create_detector("yolo")
    with pytest.raises(InputError, match="min_face_size 11 is too small; the least is 12 pixels"):
        create_detector("haar", min_face_size=11)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_that_is_not_there_is_refused_and_auto_falls_back(name: str) -> None:
    with pytest.raises(InputError, match=r"device 'cuda': no GPU is usable here; use 'cpu' or 'auto'"):
        create_detector(name, device="cuda")
    if name != "dlib":
        assert create_detector(name, device="auto").name == name
