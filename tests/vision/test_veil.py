"""The picture of the live page: who is in it is not to be recognised."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from risa_ray.config import ZoneConfig
from risa_ray.vision.detectors import create_detector
from risa_ray.vision.veil import SHOWN_WIDTH, SMALLEST_FACE, Boxes, veiled
from risa_ray.vision.zones import Zones

Pixels = npt.NDArray[np.uint8]
NOBODY: Boxes = np.empty((0, 4), np.float32)


def decoded(jpeg: bytes) -> Pixels:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def nobody(_: Pixels) -> Boxes:
    return NOBODY


def bare(image: Pixels) -> Pixels:
    """Nothing is hidden."""
    return image


def detail(image: Pixels, box: npt.NDArray[np.floating]) -> float:
    """How much a part of the picture varies from pixel to pixel."""
    x1, y1, x2, y2 = (round(float(v)) for v in box)
    part = cv2.cvtColor(image[max(0, y1) : y2, max(0, x1) : x2], cv2.COLOR_RGB2GRAY)
    return float(np.abs(cv2.Laplacian(part, cv2.CV_32F)).mean())


@pytest.mark.parametrize("name", ["group_6.jpg", "group_5.jpg", "portrait_1.jpg", "portrait_3.jpg"])
def test_every_face_that_is_found_loses_its_features(shared: Path, name: str) -> None:
    detector = create_detector("mtcnn", min_face_size=SMALLEST_FACE)
    image = np.asarray(cv2.cvtColor(cv2.imread(str(shared / "images" / name)), cv2.COLOR_BGR2RGB), np.uint8)
    found: list[Boxes] = []

    def find(small: Pixels) -> Boxes:
        found.append(detector.detect([small])[0].boxes / np.float32(small.shape[1]))
        return found[0] * np.float32(small.shape[1])

    shown = decoded(veiled(image, NOBODY, find, bare))
    assert shown.shape[1] == min(SHOWN_WIDTH, image.shape[1])
    plain = np.asarray(cv2.resize(image, shown.shape[1::-1], interpolation=cv2.INTER_AREA), np.uint8)
    assert len(found[0]) > 0
    for box in found[0] * shown.shape[1]:
        assert detail(shown, box) < detail(plain, box) / 2


def test_people_who_are_followed_are_blurred_although_no_face_is_found() -> None:
    image = np.random.default_rng(1).integers(0, 256, (270, 480, 3), np.uint8)
    box = np.array([[100, 60, 160, 140]], np.float32)
    shown = decoded(veiled(image, box, nobody, bare))
    beside = np.array([300, 60, 360, 140])
    assert detail(shown, box[0]) < detail(shown, beside) / 4


def test_a_wide_picture_is_reduced_with_its_boxes() -> None:
    image = np.random.default_rng(1).integers(0, 256, (1080, 1920, 3), np.uint8)
    searched: list[tuple[int, ...]] = []

    def find(small: Pixels) -> Boxes:
        searched.append(small.shape)
        return np.array([[700, 300, 800, 400]], np.float32)

    shown = decoded(veiled(image, np.array([[200, 200, 400, 500]], np.float32), find, bare))
    assert searched == [(540, 960, 3)]
    assert shown.shape == (270, SHOWN_WIDTH, 3)
    elsewhere = detail(shown, np.array([200, 50, 300, 120]))
    assert detail(shown, np.array([350, 150, 400, 200])) < elsewhere / 2
    assert detail(shown, np.array([50, 50, 100, 125])) < elsewhere / 2


def test_a_small_picture_is_searched_enlarged_and_shown_as_it_is() -> None:
    image = np.random.default_rng(1).integers(0, 256, (180, 320, 3), np.uint8)
    searched: list[tuple[int, ...]] = []

    def find(large: Pixels) -> Boxes:
        searched.append(large.shape)
        return np.array([[300, 150, 360, 240]], np.float32)

    shown = decoded(veiled(image, NOBODY, find, bare))
    assert searched == [(540, 960, 3)]
    assert shown.shape == (180, 320, 3)
    assert detail(shown, np.array([100, 50, 120, 80])) < detail(shown, np.array([200, 50, 220, 80])) / 4


def test_masks_and_staff_zones_are_black() -> None:
    zones = Zones(
        [
            ZoneConfig(id=kind, kind=kind, polygon=((x, 0), (x + 0.25, 0), (x + 0.25, 1), (x, 1)))
            for kind, x in (("mask", 0), ("staff", 0.25), ("product", 0.5))
        ]
    )
    image = np.full((270, 480, 3), 200, np.uint8)
    shown = decoded(veiled(image, NOBODY, nobody, zones.hide))
    assert shown[:, :230].max() < 10
    assert shown[:, 250:].min() > 190


def test_the_smallest_picture() -> None:
    assert decoded(veiled(np.zeros((1, 1, 3), np.uint8), NOBODY, nobody, bare)).shape == (1, 1, 3)
