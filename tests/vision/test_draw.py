"""Drawings show what they should, where they should, and leave the picture they were given alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risa_ray.config import ZoneConfig
from risa_ray.frames import FaceRow
from risa_ray.vision.draw import EXPRESSION_COLOURS, blur_faces, draw_faces, draw_zones
from risa_ray.vision.expressions import EXPRESSIONS

FACE = FaceRow(
    frame_seq=0, face_index=0, captured_at=datetime(2026, 1, 1, tzinfo=UTC), pts=0.0, track_id="a", zone_ids=(),
    x1=300.0, y1=200.0, x2=360.0, y2=280.0, detector_score=0.99, face_px=60.0, yaw_deg=None,
    probabilities=(0.0,) * 8, expression="happiness", abstain_reason=None, confidence=0.87, valence=0.8,
)  # fmt: skip
SQUARE = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))


def blank(height: int = 480, width: int = 640, grey: int = 90) -> npt.NDArray[np.uint8]:
    image = np.full((height, width, 3), grey, np.uint8)
    image.setflags(write=False)
    return image


def rgb(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def changed(before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return (before != after).any(axis=2)


def luminance(colour: str) -> float:
    c = np.array(rgb(colour)) / 255
    return float(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722))


def test_a_face_has_a_box_in_the_colour_of_its_expression_and_a_label_above() -> None:
    image = blank()
    drawn = draw_faces(image, [FACE], {})
    assert drawn.dtype == np.uint8
    assert drawn.shape == image.shape
    assert (image == 90).all()
    yellow = rgb(EXPRESSION_COLOURS["happiness"])
    assert drawn[240, 300].tolist() == yellow
    assert drawn[279, 330].tolist() == yellow
    assert not changed(image, drawn)[215:265, 315:345].any(), "the face itself stays visible"
    label = drawn[180:197, 300:400].reshape(-1, 3).tolist()
    assert label.count(yellow) > len(label) / 3
    assert [0, 0, 0] in label, "dark letters on a light fill"


def test_boxes_in_source_pixels_come_back_to_a_reduced_picture() -> None:
    half = draw_faces(blank(240, 320), [FACE], {}, scale=2.0)
    assert half[120, 150].tolist() == rgb(EXPRESSION_COLOURS["happiness"])
    rows, columns = np.nonzero(changed(blank(240, 320), half))
    assert rows.max() < 145
    assert columns.min() > 140


def test_people_are_numbered_by_first_appearance_through_a_video() -> None:
    numbers: dict[str, int] = {}
    draw_faces(blank(), [FACE, replace(FACE, track_id="b", x1=100.0, x2=160.0)], numbers)
    draw_faces(blank(), [replace(FACE, track_id="c"), replace(FACE, track_id="b")], numbers)
    assert numbers == {"a": 1, "b": 2, "c": 3}
    one, two = (draw_faces(blank(), [FACE], {"a": n}) for n in (1, 2))
    assert changed(one, two).any(), "the number is shown"


def test_an_unknown_expression_shows_no_confidence() -> None:
    unknown = replace(FACE, expression="unknown", abstain_reason="low_confidence")
    a, b = (draw_faces(blank(), [replace(unknown, confidence=c)], {}) for c in (0.2, 0.4))
    assert (a == b).all()


@pytest.mark.parametrize(("height", "width"), [(480, 854), (2160, 3840), (1080, 608)])
def test_lines_and_letters_grow_with_the_picture(height: int, width: int) -> None:
    face = replace(FACE, x1=0.4 * width, x2=0.5 * width, y1=0.4 * height, y2=0.4 * height + 0.1 * width)
    drawn = changed(blank(height, width), draw_faces(blank(height, width), [face], {}))
    row = drawn[round(0.4 * height + 0.05 * width), : round(0.45 * width)]
    column = drawn[: round(0.4 * height) - 2, round(0.4 * width) + 3]
    assert max(3, min(height, width) / 400) <= row.sum() <= max(6, min(height, width) / 150)
    assert max(14, min(height, width) / 34) <= column.sum() <= min(height, width) / 15


@settings(deadline=None, max_examples=40)
@given(st.tuples(st.integers(-50, 650), st.integers(-50, 490)), st.integers(1, 500), st.sampled_from(EXPRESSIONS))
def test_the_label_is_in_the_picture_wherever_the_face_is(corner: tuple[int, int], size: int, expression: str) -> None:
    (x, y), image = corner, blank()
    face = replace(FACE, x1=float(x), y1=float(y), x2=float(x + size), y2=float(y + size), expression=expression)
    drawn = draw_faces(image, [face], {})
    fill = (drawn == rgb(EXPRESSION_COLOURS[expression])).all(axis=2)
    assert fill.sum() > 600, "all of a label's area, less its letters"


def test_labels_of_neighbours_cover_neither_each_other_nor_the_faces() -> None:
    image = blank()
    faces = [replace(FACE, track_id=t, x1=x, x2=x + 50, expression=e)
             for t, x, e in [("a", 200.0, "fear"), ("b", 255.0, "anger"), ("c", 310.0, "disgust")]]  # fmt: skip
    together = draw_faces(image, faces, {})
    for n, face in enumerate(faces, 1):
        alone = draw_faces(image, [face], {face.track_id: n})
        colour = rgb(EXPRESSION_COLOURS[face.expression])
        shown = [int((p == colour).all(axis=2).sum()) for p in (alone, together)]
        assert shown[1] >= 0.97 * shown[0]
        inner = (slice(206, 274), slice(round(face.x1) + 6, round(face.x2) - 6))
        assert (together[inner] == 90).all()


@pytest.mark.parametrize("shape", [(10, 10), (1, 1), (5, 300)])
def test_a_tiny_picture_is_drawn_as_far_as_it_goes(shape: tuple[int, int]) -> None:
    zone = ZoneConfig(id="z", kind="product", polygon=SQUARE)
    assert draw_faces(draw_zones(blank(*shape), [zone]), [FACE], {}).shape == (*shape, 3)


def test_there_is_a_colour_for_every_expression() -> None:
    assert list(EXPRESSION_COLOURS) == [*EXPRESSIONS, "unknown"]


@pytest.mark.parametrize(
    "matrix",
    [
        pytest.param(np.eye(3), id="normal"),
        pytest.param(
            [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
            id="protanopia",
        ),
        pytest.param(
            [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
            id="deuteranopia",
        ),
        pytest.param(
            [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
            id="tritanopia",
        ),
    ],
)
def test_colour_blind_people_can_tell_the_colours_apart(matrix: npt.NDArray[np.float64]) -> None:
    """Simulated after Machado et al. 2009; a difference of 15 in CIE Lab is several times what is just noticeable."""
    srgb = np.array([rgb(c) for c in EXPRESSION_COLOURS.values()]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.asarray(matrix).T, 0, 1)
    shown = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = cv2.cvtColor(shown[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0]
    assert min(np.linalg.norm(a - b) for a, b in combinations(lab, 2)) > 15


def test_letters_stand_out_from_their_fill() -> None:
    """WCAG 2.2 asks for a contrast of 4.5 between letters and their background."""
    for expression, colour in EXPRESSION_COLOURS.items():
        drawn = draw_faces(blank(), [replace(FACE, expression=expression)], {})
        label = drawn[182:195, 300:360].reshape(-1, 3).tolist()
        letters = max(([0, 0, 0], [255, 255, 255]), key=label.count)
        light = luminance("#ffffff") if letters == [255, 255, 255] else 0.0
        darker, lighter = sorted((light, luminance(colour)))
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_zones_are_translucent_and_named() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    before = image.copy()
    drawn = draw_zones(image, [ZoneConfig(id="shelf", kind="product", name="Käse", polygon=SQUARE)])
    assert (image == before).all()
    inside = (slice(200, 340), slice(200, 440))
    assert changed(image, drawn)[inside].mean() > 0.95
    seen = np.corrcoef(image[inside].ravel().astype(float), drawn[inside].ravel().astype(float))[0, 1]
    assert seen > 0.9, "the picture shows through"
    assert not changed(image, drawn)[:110].any()
    assert not changed(image, drawn)[:, :150].any()
    other = draw_zones(image, [ZoneConfig(id="shelf", kind="product", name="Wein", polygon=SQUARE)])
    assert changed(drawn, other).any()


@pytest.mark.parametrize(("name", "shown"), [("Käse", "Kase"), ("チーズ", ""), ("", "")])
def test_names_the_font_cannot_show_are_shown_without_accents_or_by_id(name: str, shown: str) -> None:
    named = draw_zones(blank(), [ZoneConfig(id="z1", kind="product", name=name, polygon=SQUARE)])
    plain = draw_zones(blank(), [ZoneConfig(id="z1", kind="product", name=shown, polygon=SQUARE)])
    assert (named == plain).all()


def test_staff_and_mask_zones_look_different() -> None:
    product, staff = (draw_zones(blank(), [ZoneConfig(id="z", kind=k, polygon=SQUARE)]) for k in ("product", "staff"))
    assert (product[240, 320] != staff[240, 320]).any()


def test_blurred_faces_keep_no_detail_and_the_rest_stays() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (200, 300, 3), dtype=np.uint8)
    image.setflags(write=False)
    blurred = blur_faces(image, np.array([[100, 50, 160, 130]], np.float32))
    assert not np.shares_memory(image, blurred)
    outside = np.ones((200, 300), bool)
    outside[34:146, 88:172] = False
    assert (blurred[outside] == image[outside]).all()
    face = blurred[50:130, 100:160].astype(int)
    assert np.abs(np.diff(face, axis=0)).max() < 10
    assert np.abs(np.diff(face, axis=1)).max() < 10


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(*[st.floats(-400, 400, width=32)] * 4), max_size=4))
def test_boxes_anywhere_can_be_blurred(boxes: list[tuple[float, float, float, float]]) -> None:
    image = blank(60, 80)
    assert blur_faces(image, np.array(boxes, np.float32).reshape(-1, 4)).shape == image.shape


def test_no_face_is_found_in_a_blurred_portrait(shared: Path) -> None:
    haar = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    video = cv2.VideoCapture(str(shared / "video" / "single_face.mp4"))
    ok, picture = video.read()
    assert ok

    def faces(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        found = haar.detectMultiScale(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), 1.1, 5, minSize=(40, 40))
        return np.array([(x, y, x + w, y + h) for x, y, w, h in found], np.float32).reshape(-1, 4)

    assert len(faces(picture)) == 1
    assert len(faces(blur_faces(picture, faces(picture)))) == 0
