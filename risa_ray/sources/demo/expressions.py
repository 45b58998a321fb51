"""Apparent expressions painted onto the portrait by smooth warping.

Positions are pixels of `skimage.data.astronaut()`, measured by hand. The portrait smiles with the teeth shown; every
other expression is a displacement of that picture, in the spirit of the action units of Ekman and Friesen's Facial
Action Coding System (1978): mouth corners, lips, jaw, inner and outer brows, lids.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]

CROP = (140, 4, 308, 200)
"""x0, y0, x1, y1 of the head in the portrait."""
FACE_CENTRE = (224.0, 120.0)
FACE_WIDTH = 90.0
SCALE = 1.75
"""Sprite pixels per portrait pixel."""

_MOUTH = (224.0, 140.0)
_MOUTH_HALF_WIDTH = 21.5
_EYES = ((203.5, 101.0), (246.5, 103.0))
_BROWS_IN = ((211.0, 92.0), (241.0, 93.0))
_BROWS_OUT = ((195.0, 89.0), (257.0, 93.5))
_BROW_LINES = (
    ((188, 91), (192, 89), (197, 88), (203, 89), (209, 91), (214, 93)),
    ((238, 94), (242, 93), (247, 92), (253, 92), (259, 94), (263, 96)),
)
_FOLDS = (((209, 123), (203, 130), (197, 135), (195, 139)), ((237, 123), (243, 130), (250, 136), (251, 142)))
_CREASES = (((222, 86), (221, 92), (222, 96)), ((230, 86), (231, 92), (230, 96)))


class Expression(NamedTuple):
    """How far the portrait's face is moved; zeros leave its smile. Lengths in pixels of the portrait."""

    closed: float = 0.0  # lips: 0 teeth shown, 1 shut
    open: float = 0.0  # height of the open mouth
    corner: float = 0.0  # mouth corners down
    narrow: float = 0.0  # share by which the mouth is narrower
    brow_in: float = 0.0  # inner ends of the brows up
    brow_out: float = 0.0  # outer ends of the brows up
    squeeze: float = 0.0  # brows drawn together
    eyes: float = 0.0  # lids: above 0 wide, below 0 narrowed
    crease: float = 0.0  # furrow between the brows, 0 to 1
    relaxed: float = 0.0  # cheeks: 1 smooths the folds of the smile


SCRIPTED: dict[str, Expression] = {
    "happiness": Expression(),
    "neutral": Expression(closed=1, corner=13, narrow=0.44, brow_out=1, eyes=0.1, relaxed=0.8),
    "sadness": Expression(
        closed=1, corner=15, narrow=0.18, brow_in=4.5, brow_out=-4.5, squeeze=4, eyes=-0.22, relaxed=0.9
    ),
    "surprise": Expression(closed=0.8, open=19, corner=10, narrow=0.46, brow_in=7, brow_out=6, eyes=0.15, relaxed=0.95),
    "anger": Expression(
        closed=1, corner=14.5, narrow=0.24, brow_in=-7.5, brow_out=4, squeeze=2.8, eyes=0.16, crease=0.8, relaxed=0.55
    ),
}


def blend(a: Expression, b: Expression, share: float) -> Expression:
    """From `a` (share 0) to `b` (share 1)."""
    if share >= 1:
        return b
    return Expression(*(p + (q - p) * share for p, q in zip(a, b, strict=True)))


def _grid() -> tuple[Field, Field]:
    x0, y0, x1, y1 = CROP
    columns = np.arange(round((x1 - x0) * SCALE), dtype=np.float32) / SCALE + x0
    rows = np.arange(round((y1 - y0) * SCALE), dtype=np.float32) / SCALE + y0
    x, y = np.meshgrid(columns, rows)
    return x.astype(np.float32), y.astype(np.float32)


_X, _Y = _grid()


def _bump(centre: tuple[float, float], sigma_x: float, sigma_y: float) -> Field:
    return np.exp(-(((_X - centre[0]) / sigma_x) ** 2) - ((_Y - centre[1]) / sigma_y) ** 2).astype(np.float32)


def _strokes(lines: tuple[tuple[tuple[int, int], ...], ...], width: float, blur: float) -> Field:
    mask = np.zeros(_X.shape, np.float32)
    for line in lines:
        points = ((np.array(line, np.float32) - CROP[:2]) * SCALE).round().astype(np.int32)
        cv2.polylines(mask, [points], False, 1.0, max(1, round(width * SCALE)), cv2.LINE_AA)
    return cv2.GaussianBlur(mask, (0, 0), blur * SCALE).astype(np.float32)


def _ramp(value: Field, low: float, high: float) -> Field:
    t: Field = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


_BROW_BUMPS_IN = tuple(_bump(p, 11, 8) for p in _BROWS_IN)
_BROW_BUMPS_OUT = tuple(_bump(p, 11, 8) for p in _BROWS_OUT)
_EYE_BUMPS = tuple(_bump(p, 13, 9) for p in _EYES)
_BEND = (
    (np.clip(np.abs(_X - _MOUTH[0]) / _MOUTH_HALF_WIDTH, 0, 1.3) ** 2 - 0.3)
    * (1 - _ramp(np.abs(_X - _MOUTH[0]), 22, 40))
    * np.exp(-(((_Y - 145) / 15) ** 2))
).astype(np.float32)
_MOUTH_AREA = _bump((224, 144), 30, 17)
_FACE_AREA = _bump((224, 118), 44, 60)
_BROW_MASK = _strokes(_BROW_LINES, 1.6, 0.8)
_FOLD_MASK = np.clip(_strokes(_FOLDS, 4, 2.2) * 1.3, 0, 1)
_CREASE_MASK = _strokes(_CREASES, 0.9, 0.6)


def _upper_face(e: Expression) -> tuple[Field, Field]:
    """Displacement (x, y) of brows, lids and mouth corners."""
    dx = np.zeros_like(_X)
    dy = np.zeros_like(_Y)
    for side, bump in zip((1, -1), _BROW_BUMPS_IN, strict=True):
        dx += side * e.squeeze * bump
        dy -= e.brow_in * bump
    for bump in _BROW_BUMPS_OUT:
        dy -= e.brow_out * bump
    for (_, y), bump in zip(_EYES, _EYE_BUMPS, strict=True):
        dy += e.eyes * (_Y - y) * bump
    dy += e.corner * _BEND
    dx -= e.narrow * (_X - _MOUTH[0]) * _MOUTH_AREA
    return dx, dy


def _lips(e: Expression, x: Field, y: Field) -> tuple[Field, Field, Field]:
    """Source row of each place around the mouth, the mouth's dark inside (0..1), and the line between shut lips."""
    arch = np.clip(1 - ((x - _MOUTH[0]) / _MOUTH_HALF_WIDTH) ** 2, 0, 1)
    corner = _MOUTH[1] + 0.028 * (x - _MOUTH[0])
    upper, lower = corner + 3.9 * arch, corner + 9.0 * arch**0.8
    shut = corner + 5.2 * arch
    new_upper = upper + e.closed * (shut - upper) - 0.22 * e.open * arch
    new_lower = lower + e.closed * (shut - lower) + 0.78 * e.open * arch**0.6
    above = y - (new_upper - upper) * (1 - _ramp(new_upper - y, 3, 15))
    # the jaw goes down with an open mouth; the neck stays
    reach = 1 - (0.45 * _ramp(y - new_lower, 5, 26) + 0.55 * _ramp(y, 176, 200))
    below = y - (new_lower - lower) * reach
    within = np.minimum(upper + (y - new_upper), lower - 0.5)
    source = np.where(y < new_upper, above, np.where(y > new_lower, below, within))
    inside = _ramp(y - new_upper, 0, 3) * _ramp(new_lower - y, -0.6, 1.2) * min(1.0, e.open / 5) * (arch > 0)
    seam = np.exp(-(((y - new_upper) / 0.8) ** 2)) * np.sqrt(arch) * e.closed * max(0.0, 1 - e.open / 3)
    return source.astype(np.float32), inside.astype(np.float32), seam.astype(np.float32)


def apply(head: npt.NDArray[np.float32], smooth: npt.NDArray[np.float32], e: Expression, turn: float) -> Field:
    """Paint an expression.

    Args:
        head: RGBA float32 (H, W, 4) in 0..255, not premultiplied, the crop `CROP` at `SCALE`.
        smooth: the same head without fine lines, float32 (H, W, 4).
        turn: pixels of the portrait by which the inner face is shifted, as when the head turns.

    Returns:
        RGBA float32 (H, W, 4).
    """
    dx, dy = _upper_face(e)
    x = _X - dx - turn * _FACE_AREA
    y, inside, seam = _lips(e, x, _Y - dy)
    columns, rows = (x - CROP[0]) * SCALE, (y - CROP[1]) * SCALE

    def moved(layer: npt.NDArray[np.float32]) -> Field:
        return cv2.remap(layer, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)  # type: ignore[return-value]

    relaxed = (_FOLD_MASK * e.relaxed)[..., None]
    out = moved(head * (1 - relaxed) + smooth * relaxed)
    frown = max(0.0, -e.brow_in) / 6
    dark = 0.35 * moved(_BROW_MASK) * (1 + frown) + 0.35 * e.crease * moved(_CREASE_MASK) + 0.5 * seam
    out[..., :3] *= 1 - np.clip(dark, 0, 0.8)[..., None] * np.array((0.85, 1.0, 1.0), np.float32)
    out[..., :3] += (np.array((62, 22, 24), np.float32) - out[..., :3]) * inside[..., None]
    return out
