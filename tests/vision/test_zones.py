"""Faces are told to the right zones, and masked pixels are gone."""

from __future__ import annotations

import math
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risa_ray.config import ZoneConfig, ZoneKind
from risa_ray.vision.zones import Zones, contains, fixed_point

Corner = tuple[float, float]


def zone(name: str, kind: ZoneKind, *polygon: Corner) -> ZoneConfig:
    return ZoneConfig(id=name, kind=kind, polygon=polygon)


def rectangle(name: str, kind: ZoneKind, x1: float, y1: float, x2: float, y2: float) -> ZoneConfig:
    return zone(name, kind, (x1, y1), (x2, y1), (x2, y2), (x1, y2))


ZONES = Zones(
    [
        rectangle("shelf", "product", 0.25, 0, 1, 0.5),
        rectangle("door", "entrance", 0, 0, 0.5, 1),
        rectangle("till", "staff", 0.75, 0.5, 1, 1),
        rectangle("street", "mask", 0, 0, 0.125, 0.125),
    ]
)


def at(*centres: Corner) -> np.ndarray:
    return np.array([(x - 10, y - 20, x + 10, y + 20) for x, y in centres], np.float32)


def test_a_face_is_in_every_zone_that_its_centre_lies_in_in_the_order_of_the_config() -> None:
    boxes = at((160, 80), (600, 80), (40, 400), (400, 400))
    assert ZONES.zone_ids(boxes, 640, 480) == [("shelf", "door"), ("shelf",), ("door",), ()]


def test_staff_and_mask_zones_are_never_reported() -> None:
    boxes = at((600, 400), (5, 300), (10, 10))
    assert ZONES.zone_ids(boxes, 640, 480) == [(), ("door",), ("door",)]
    assert ZONES.in_staff(boxes, 640, 480).tolist() == [True, False, False]


def test_zones_scale_with_the_picture() -> None:
    assert ZONES.zone_ids(at((160, 80)) * 3, 1920, 1440) == ZONES.zone_ids(at((160, 80)), 640, 480)


def test_the_border_belongs_to_the_zone_on_both_sides() -> None:
    left, right = rectangle("left", "product", 0, 0, 0.5, 1), rectangle("right", "product", 0.5, 0, 1, 1)
    assert Zones([left, right]).zone_ids(at((320, 240), (0, 0), (640, 480)), 640, 480) == [
        ("left", "right"), ("left",), ("right",),
    ]  # fmt: skip


def test_no_faces_and_no_zones() -> None:
    nobody = np.zeros((0, 4), np.float32)
    assert ZONES.zone_ids(nobody, 640, 480) == []
    assert ZONES.in_staff(nobody, 640, 480).shape == (0,)
    assert Zones([]).zone_ids(at((5, 5)), 640, 480) == [()]
    assert Zones([]).in_staff(at((5, 5)), 640, 480).tolist() == [False]


def _inside(polygon: list[Corner], point: Corner) -> bool:
    """Exact: on an edge, or with a winding number that is not 0 (the sum of the angles the edges are seen under)."""
    px, py = map(Fraction, point)
    turns = 0.0
    for (ax, ay), (bx, by) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        ux, uy, vx, vy = Fraction(ax) - px, Fraction(ay) - py, Fraction(bx) - px, Fraction(by) - py
        cross, dot = ux * vy - uy * vx, ux * vx + uy * vy
        if cross == 0 and dot <= 0:
            return True
        turns += math.atan2(cross, dot)
    return abs(turns) > math.pi


@st.composite
def _polygons(draw: st.DrawFn) -> list[Corner]:
    """Simple polygons on a grid of 1/32: star-shaped about a point, so corners in order of angle never cross."""
    grid = st.integers(-16, 16).map(lambda i: i / 32)
    corners = draw(st.lists(st.tuples(grid, grid).filter(lambda c: c != (0, 0)), min_size=3, max_size=9))
    by_angle = {math.atan2(y, x): (x, y) for x, y in corners}
    angles = sorted(by_angle)
    return [(0.5 + by_angle[a][0], 0.5 + by_angle[a][1]) for a in angles]


@settings(deadline=None)
@given(_polygons(), st.lists(st.tuples(st.integers(0, 64), st.integers(0, 64)), min_size=1, max_size=30))
def test_points_are_inside_as_by_the_winding_number(polygon: list[Corner], grid: list[tuple[int, int]]) -> None:
    points = [(x / 64, y / 64) for x, y in grid] + polygon
    if len(polygon) < 3:
        return
    expected = [_inside(polygon, p) for p in points]
    assert contains(np.array(polygon), np.array(points)).tolist() == expected


@settings(deadline=None)
@given(_polygons(), st.floats(0, 1), st.integers(0, 8))
def test_points_on_the_border_are_inside(polygon: list[Corner], along: float, edge: int) -> None:
    if not polygon:
        return
    (ax, ay), (bx, by) = polygon[edge % len(polygon)], polygon[(edge + 1) % len(polygon)]
    point = np.array([[ax + along * (bx - ax), ay + along * (by - ay)]])
    assert contains(np.array(polygon), point).tolist() == [True]


def test_a_camera_without_a_mask_keeps_its_pictures() -> None:
    image = np.full((48, 64, 3), 200, np.uint8)
    assert Zones([rectangle("till", "staff", 0, 0, 1, 1)]).mask(image) is image


def test_a_mask_blacks_out_its_pixels_and_no_others() -> None:
    polygon = ((0.1, 0.2), (0.8, 0.1), (0.6, 0.9))
    zones = Zones([zone("window", "mask", *polygon)])
    for height, width in [(48, 64), (333, 500)]:
        image = np.full((height, width, 3), 200, np.uint8)
        image.setflags(write=False)
        masked = zones.mask(image)
        assert (image == 200).all()
        assert not masked.flags.writeable
        y, x = np.mgrid[:height, :width]
        centres = np.stack(((x + 0.5) / width, (y + 0.5) / height), axis=-1).reshape(-1, 2)
        inside = contains(np.array(polygon), centres).reshape(height, width)
        assert (masked[inside] == 0).all()
        near = cv2.dilate(inside.astype(np.uint8), np.ones((5, 5), np.uint8)) == 1
        assert (masked[~near] == 200).all()


def test_a_mask_of_the_whole_picture_leaves_nothing() -> None:
    image = np.full((37, 53, 3), 200, np.uint8)
    assert not Zones([rectangle("all", "mask", 0, 0, 1, 1)]).mask(image).any()


def test_masks_that_overlap_both_count() -> None:
    zones = Zones([rectangle("a", "mask", 0, 0, 0.6, 1), rectangle("b", "mask", 0.4, 0, 1, 1)])
    assert not zones.mask(np.full((20, 30, 3), 200, np.uint8)).any()


@pytest.mark.parametrize("width", [64, 3840])
def test_polygons_are_drawn_to_the_picture_s_edges(width: int) -> None:
    vertices, bits = fixed_point(((0, 0), (1, 0), (1, 1)), width, 48)
    assert vertices.dtype == np.int32
    assert (vertices / 2**bits).tolist() == [[-0.5, -0.5], [width - 0.5, -0.5], [width - 0.5, 47.5]]
