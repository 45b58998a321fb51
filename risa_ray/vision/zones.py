"""Which zones of a camera's picture a face is in, and the blacking out of privacy masks."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from risa_ray.config import Point, ZoneConfig
from risa_ray.frames import Image

_ON_EDGE = 1e-9  # relative distance from an edge up to which a point lies on it; far below a pixel
_SUBPIXEL_BITS = 8


class Zones:
    """The zones of one camera. A face belongs to a zone when its box centre lies in it, the border included.

    Args:
        zones: with polygons in relative picture coordinates (0..1).
    """

    def __init__(self, zones: Sequence[ZoneConfig]) -> None:
        self._shown = [(z.id, _vertices(z.polygon)) for z in zones if not z.hidden]
        self._staff = [_vertices(z.polygon) for z in zones if z.kind == "staff"]
        self._masks = [z.polygon for z in zones if z.kind == "mask"]
        self._hidden = [z.polygon for z in zones if z.hidden]
        self._kept: npt.NDArray[np.uint8] | None = None

    def zone_ids(self, boxes: npt.NDArray[np.float32], width: int, height: int) -> list[tuple[str, ...]]:
        """The ids of the zones that each box is in, in the config's order; staff and mask zones are left out.

        Args:
            boxes: (n, 4) x1, y1, x2, y2 in pixels of a picture of `width` x `height`.
        """
        centres = _centres(boxes, width, height)
        inside = [(zone_id, contains(vertices, centres)) for zone_id, vertices in self._shown]
        return [tuple(zone_id for zone_id, hits in inside if hits[i]) for i in range(len(centres))]

    def in_staff(self, boxes: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.bool_]:
        """bool (n,): whether the centre of each box (n, 4), as for `zone_ids`, lies in a staff zone."""
        centres = _centres(boxes, width, height)
        hits = np.zeros(len(centres), np.bool_)
        for vertices in self._staff:
            hits |= contains(vertices, centres)
        return hits

    def mask(self, image: Image) -> Image:
        """The picture (H, W, 3) with the mask zones, and a pixel around them, black.

        The result is read-only, and the same object as `image` when the camera has no mask zone.
        """
        if not self._masks:
            return image
        height, width = image.shape[:2]
        if self._kept is None or self._kept.shape != (height, width):
            self._kept = _outside(self._masks, width, height)
        masked: Image = np.asarray(cv2.bitwise_and(image, image, mask=self._kept), np.uint8)
        masked.setflags(write=False)
        return masked

    def hide(self, image: Image) -> Image:
        """A new picture (H, W, 3) with masks and staff zones, and a pixel around them, black: one that people see."""
        if not self._hidden:
            return image.copy()
        kept = _outside(self._hidden, image.shape[1], image.shape[0])
        return np.asarray(cv2.bitwise_and(image, image, mask=kept), np.uint8)


def contains(vertices: npt.NDArray[np.float64], points: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """bool (n,): whether points (n, 2) lie in the simple polygon of vertices (v, 2) or on its border.

    The even-odd rule over the edges that a ray to the right crosses (Shimrat 1962, CACM algorithm 112).
    """
    a, b = vertices, np.roll(vertices, -1, axis=0)
    edge, to_point = b - a, points[:, None, :] - a
    cross = edge[:, 0] * to_point[..., 1] - edge[:, 1] * to_point[..., 0]

    # an edge counts from its lower end on and up to, but not at, its upper end: a vertex is never crossed twice
    spans = (a[:, 1] <= points[:, None, 1]) != (b[:, 1] <= points[:, None, 1])
    right_of_point = (cross > 0) == (edge[:, 1] > 0)
    odd = (spans & right_of_point).sum(axis=1) % 2 == 1

    squared = np.maximum((edge**2).sum(axis=1), np.finfo(np.float64).tiny)
    along = np.clip((to_point * edge).sum(axis=2) / squared, 0, 1)
    distance = np.linalg.norm(to_point - along[..., None] * edge, axis=2)
    return np.asarray(odd | (distance <= _ON_EDGE).any(axis=1), np.bool_)


def fixed_point(polygon: Sequence[Point], width: int, height: int) -> tuple[npt.NDArray[np.int32], int]:
    """A relative polygon as OpenCV draws it: int32 (v, 2) fixed-point pixels, and the number of fraction bits."""
    # the picture's left edge is half a pixel left of the first pixel's centre, where OpenCV has its zero
    pixels = _vertices(polygon) * (width, height) - 0.5
    return np.round(pixels * 2**_SUBPIXEL_BITS).astype(np.int32), _SUBPIXEL_BITS


def _vertices(polygon: Sequence[Point]) -> npt.NDArray[np.float64]:
    return np.array(polygon, np.float64)


def _centres(boxes: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.float64]:
    """Relative centres (n, 2) of boxes (n, 4)."""
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.asarray((corners[:, :2] + corners[:, 2:]) / (2 * width, 2 * height), np.float64)


def _outside(polygons: Sequence[Sequence[Point]], width: int, height: int) -> npt.NDArray[np.uint8]:
    """uint8 (height, width): 0 in the polygons and up to a pixel around them, 255 elsewhere."""
    kept = np.full((height, width), 255, np.uint8)
    for polygon in polygons:
        vertices, bits = fixed_point(polygon, width, height)
        cv2.fillPoly(kept, [vertices], 0, lineType=cv2.LINE_8, shift=bits)
    # OpenCV rounds slanted borders either way; nothing of a masked place may show, so a pixel more
    return np.asarray(cv2.erode(kept, np.ones((3, 3), np.uint8)), np.uint8)
