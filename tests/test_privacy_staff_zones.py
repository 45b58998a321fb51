"""The classifier is watched at its door: it never receives a face of a staff zone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PilImage
from portraits import LEFT_HALF, Picture, scene

from risa_ray.config import CameraConfig
from risa_ray.frames import FaceRow, Frame
from risa_ray.sources import create_source
from risa_ray.sources.reading import read_frames
from risa_ray.vision import classifier as classifier_module
from risa_ray.vision.analyze import Analyzer, CameraSetup, CameraState
from risa_ray.vision.classifier import ExpressionClassifier


def in_left_half(row: FaceRow, width: float) -> bool:
    return (row.x1 + row.x2) / 2 <= width / 2


@cache
def _analyzer() -> Analyzer:
    return Analyzer.load("default", threads=1)


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float, float]]:
    """What the classifier gets while the test runs: per crop the centre of its box, and the width of its picture."""
    seen: list[tuple[float, float, float]] = []
    cut, predict = classifier_module.crop_face, ExpressionClassifier.predict

    def centre(image: Picture, box: npt.ArrayLike) -> tuple[float, float, float]:
        x1, y1, x2, y2 = (float(v) for v in np.asarray(box).reshape(4))
        return (x1 + x2) / 2, (y1 + y2) / 2, float(image.shape[1])

    def watched_cut(image: Picture, box: npt.NDArray[np.float32], *rest: Any) -> Any:
        seen.append(centre(image, box))
        return cut(image, box, *rest)

    def watched_predict(self: Any, images: Sequence[Picture], boxes: Sequence[npt.ArrayLike]) -> Any:
        for image, several in zip(images, boxes, strict=True):
            seen.extend(centre(image, box) for box in np.asarray(several).reshape(-1, 4))
        return predict(self, images, boxes)

    monkeypatch.setattr(classifier_module, "crop_face", watched_cut)
    monkeypatch.setattr(ExpressionClassifier, "predict", watched_predict)
    return seen


def analysed(run: Sequence[Frame], detector: str, staff: bool, **camera: Any) -> list[FaceRow]:
    zones = [{"id": "desk", "kind": "staff", "polygon": LEFT_HALF}] if staff else []
    raw = {"id": "till", "source": "x", "detector": detector, "min_face_size": 40, "zones": zones} | camera
    setup = CameraSetup.of("store", CameraConfig.model_validate(raw))
    state, faces = CameraState.start("session", 0), list[FaceRow]()
    for at in range(0, len(run), 3):
        chunk, state = _analyzer().analyze(run[at : at + 3], setup, state)
        faces += chunk.faces
        assert sum(o.faces for o in chunk.outcomes) == len(chunk.faces), "not even counted"
    return faces


def assert_staff_is_left_out(
    run: Sequence[Frame], received: list[tuple[float, float, float]], detector: str, **camera: Any
) -> None:
    width = run[0].image.shape[1] * run[0].scale
    control = analysed(run, detector, staff=False, **camera)
    assert any(in_left_half(row, width) for row in control), "the faces are there, and found"
    assert any(not in_left_half(row, width) for row in control)
    assert any(x <= w / 2 for x, _, w in received), "and the classifier gets them where there is no staff zone"
    received.clear()
    kept = analysed(run, detector, staff=True, **camera)
    assert kept, "customers are seen"
    assert received
    assert not [1 for x, _, w in received if x <= w / 2], "no crop of a staff zone reaches the classifier"
    assert not [row for row in kept if in_left_half(row, width)]
    assert not [row for row in kept if "desk" in row.zone_ids]
    assert {(r.frame_seq, r.x1, r.y1) for r in kept} <= {(r.frame_seq, r.x1, r.y1) for r in control}


def frames(pictures: Sequence[Picture]) -> list[Frame]:
    at = datetime(2026, 11, 22, 9, tzinfo=UTC)
    return [Frame("till", "session", i, i / 5, at, 0.0, picture) for i, picture in enumerate(pictures)]


@pytest.mark.parametrize(("detector", "every"), [("mtcnn", 1), ("mtcnn", 3), ("haar", 1)])
def test_the_classifier_never_receives_a_face_of_a_staff_zone(
    detector: str, every: int, received: list[tuple[float, float, float]]
) -> None:
    assert_staff_is_left_out(frames([scene(i) for i in range(6)]), received, detector, detect_every=every)


@pytest.mark.parametrize("name", ["images/group_5.jpg", "images/group_6.jpg"])
def test_nor_in_pictures_of_real_groups(name: str, shared: Path, received: list[tuple[float, float, float]]) -> None:
    picture = np.asarray(PilImage.open(shared / name).convert("RGB"))
    assert_staff_is_left_out(frames([picture]), received, "mtcnn")


@pytest.mark.parametrize("every", [1, 4])
def test_nor_in_a_video_of_a_crowd(every: int, shared: Path, received: list[tuple[float, float, float]]) -> None:
    raw = {"id": "till", "source": str(shared / "video" / "arcade_1080p.mp4"), "max_width": 960, "sampling_fps": 2.5}
    camera = CameraConfig.model_validate(raw)
    start = datetime(2026, 11, 22, 9, tzinfo=UTC)
    read = list(read_frames(create_source(camera, UTC), camera, "session", start))  # type: ignore[arg-type]
    run = [item for item in read if isinstance(item, Frame)]
    assert run[0].scale == 2
    assert_staff_is_left_out(run, received, "mtcnn", min_face_size=24, detect_every=every)
