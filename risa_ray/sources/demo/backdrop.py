"""The drawn store of the demo scene: a wall, a door, a shelf, a floor, and a desk in front."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFilter, ImageFont

from risa_ray.frames import Image

WIDTH, HEIGHT = 960, 540
_FINE = 2
_FLOOR = 405

Box = tuple[float, float, float, float]
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Theme:
    """Where things stand in one view (x of the left edges) and how they are lit."""

    door: int
    shelf: int
    desk: int
    title: str
    wall: tuple[Colour, Colour]
    floor: tuple[Colour, Colour]
    light: tuple[float, float, float]
    seed: int


THEMES = {
    "front": Theme(
        28, 262, 690, "COFFEE & TEA", ((238, 230, 216), (216, 203, 184)), ((176, 146, 112), (120, 92, 66)),
        (1.02, 1.0, 0.96), 5,
    ),
    "side": Theme(
        752, 312, -16, "FRESH & NEW", ((222, 230, 232), (190, 204, 208)), ((150, 152, 150), (96, 100, 102)),
        (0.94, 0.98, 1.05), 11,
    ),
}  # fmt: skip

_PACKS: tuple[Colour, ...] = (
    (196, 76, 62), (228, 164, 60), (72, 134, 120), (58, 92, 150), (150, 92, 134), (236, 214, 170), (108, 150, 76),
    (92, 62, 48), (222, 122, 90), (122, 170, 196),
)  # fmt: skip


class _Canvas:
    """Drawing in picture coordinates on a finer grid."""

    def __init__(self, image: PilImage.Image) -> None:
        self.image = image
        self._draw = ImageDraw.Draw(image)

    def box(self, box: Box, fill: Colour, radius: float = 0, outline: Colour | None = None) -> None:
        scaled = tuple(v * _FINE for v in box)
        self._draw.rounded_rectangle(scaled, radius * _FINE, fill=fill, outline=outline, width=_FINE)

    def line(self, a: tuple[float, float], b: tuple[float, float], fill: Colour, width: float = 1) -> None:
        self._draw.line([v * _FINE for v in (*a, *b)], fill=fill, width=round(width * _FINE))

    def ellipse(self, box: Box, fill: Colour) -> None:
        self._draw.ellipse([v * _FINE for v in box], fill=fill)

    def text(self, at: tuple[float, float], text: str, size: float, fill: Colour) -> None:
        font = ImageFont.load_default(size * _FINE)
        self._draw.text((at[0] * _FINE, at[1] * _FINE), text, font=font, fill=fill, anchor="mm")


def _gradient(top: Colour, bottom: Colour, rows: int, columns: int) -> npt.NDArray[np.float32]:
    share = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    column = np.array(top, np.float32) * (1 - share) + np.array(bottom, np.float32) * share
    return np.repeat(column, columns, axis=1)


def _room(theme: Theme) -> PilImage.Image:
    wall = _gradient(*theme.wall, _FLOOR * _FINE, WIDTH * _FINE)
    floor = _gradient(*theme.floor, (HEIGHT - _FLOOR) * _FINE, WIDTH * _FINE)
    canvas = _Canvas(PilImage.fromarray(np.vstack([wall, floor]).astype(np.uint8)))
    joint: Colour = (
        round(theme.floor[1][0] * 0.92), round(theme.floor[1][1] * 0.92), round(theme.floor[1][2] * 0.92)
    )  # fmt: skip
    for x in range(-1400, 2400, 110):
        canvas.line((480 + (x - 480) * 0.45, _FLOOR), (x, HEIGHT), joint)
    for y in (418, 438, 466, 504):
        canvas.line((0, y), (WIDTH, y), joint)
    canvas.box((0, _FLOOR - 7, WIDTH, _FLOOR), (118, 104, 90))
    for x in range(60, WIDTH, 300):
        canvas.box((x, 14, x + 210, 22), (255, 253, 244), 4)
    return canvas.image


def _door(canvas: _Canvas, x: float) -> None:
    canvas.box((x, 78, x + 176, _FLOOR + 4), (82, 88, 92), 3)
    canvas.box((x + 8, 86, x + 168, _FLOOR), (206, 226, 232))
    canvas.box((x + 8, 300, x + 168, _FLOOR), (184, 194, 186))
    for left, top, tone in ((14, 196, 172), (58, 168, 160), (112, 206, 180)):
        canvas.box((x + left, top, x + left + 42, 320), (tone, tone + 10, tone + 18))
    canvas.ellipse((x + 20, 236, x + 74, 318), (142, 178, 132))
    canvas.ellipse((x + 104, 252, x + 160, 326), (126, 166, 122))
    canvas.box((x + 85, 86, x + 91, _FLOOR), (82, 88, 92))
    canvas.box((x + 74, 236, x + 79, 292), (226, 226, 222), 2)
    canvas.box((x + 97, 236, x + 102, 292), (226, 226, 222), 2)
    canvas.box((x + 22, 42, x + 154, 68), (46, 110, 92), 5)
    canvas.text((x + 88, 55), "ENTRANCE", 15, (246, 250, 246))


def _shelf(canvas: _Canvas, x: float, theme: Theme) -> None:
    rng = np.random.default_rng(theme.seed)
    canvas.box((x, 84, x + 372, _FLOOR + 8), (120, 88, 60), 3)
    canvas.box((x + 8, 92, x + 364, _FLOOR + 2), (86, 64, 46))
    for board in (170, 248, 326, 404):
        left = x + 14.0
        while left < x + 350:
            width = float(rng.integers(16, 38))
            if left + width > x + 358:
                break
            top = board - float(rng.integers(38, 66))
            colour = _PACKS[int(rng.integers(len(_PACKS)))]
            _pack(canvas, (left, top, left + width, board), colour, int(rng.integers(3)))
            left += width + float(rng.integers(1, 5))
        canvas.box((x + 6, board, x + 366, board + 8), (156, 118, 82))
        for tag in range(24, 350, 58):
            canvas.box((x + tag, board + 1, x + tag + 20, board + 7), (246, 244, 236))
    canvas.box((x + 76, 38, x + 296, 74), (150, 58, 48) if theme.seed == 5 else (52, 92, 132), 6)
    canvas.text((x + 186, 56), theme.title, 20, (252, 246, 236))


def _pack(canvas: _Canvas, box: Box, colour: Colour, kind: int) -> None:
    left, top, right, bottom = box
    canvas.box(box, colour, 2, outline=(70, 56, 48))
    middle = (top + bottom) / 2
    if kind == 0:
        canvas.box((left + 3, middle - 8, right - 3, middle + 6), (248, 242, 228))
    elif kind == 1:
        canvas.ellipse((left + 4, middle - 9, right - 4, middle + 9), (250, 232, 196))
    else:
        canvas.box((left, top + 8, right, top + 14), (248, 242, 228))
    canvas.line((left + 4, bottom - 8), (right - 4, bottom - 8), (60, 48, 42))


def _service_wall(canvas: _Canvas, x: float) -> None:
    canvas.box((x, 84, x + 286, _FLOOR), (168, 140, 110), 3)
    for slat in range(0, 286, 22):
        canvas.line((x + slat, 86), (x + slat, _FLOOR - 8), (150, 122, 94), 1.5)
    canvas.box((x + 70, 38, x + 216, 74), (44, 76, 118), 6)
    canvas.text((x + 143, 56), "SERVICE", 20, (248, 250, 252))
    canvas.box((x + 18, 104, x + 96, 158), (244, 240, 230), 2, outline=(120, 96, 72))
    canvas.ellipse((x + 40, 112, x + 76, 148), (214, 120, 76))
    canvas.box((x + 196, 104, x + 272, 158), (244, 240, 230), 2, outline=(120, 96, 72))
    canvas.text((x + 234, 122), "returns", 11, (90, 80, 70))
    canvas.text((x + 234, 140), "& advice", 11, (90, 80, 70))


@cache
def backdrop(view: str) -> Image:
    """The store behind the people: RGB uint8 (540, 960, 3)."""
    theme = THEMES[view]
    canvas = _Canvas(_room(theme))
    _door(canvas, theme.door)
    _service_wall(canvas, theme.desk)
    _shelf(canvas, theme.shelf, theme)
    soft = canvas.image.filter(ImageFilter.GaussianBlur(2.2))  # the camera focuses on the people
    small = cv2.resize(np.asarray(soft), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32)
    lit: Image = np.clip(small * shading(view), 0, 255).astype(np.uint8)
    return lit


@cache
def counter(view: str) -> npt.NDArray[np.uint8]:
    """The desk in front of the people: premultiplied RGBA uint8 (540, 960, 4)."""
    x = THEMES[view].desk
    canvas = _Canvas(PilImage.new("RGBA", (WIDTH * _FINE, HEIGHT * _FINE)))
    canvas.box((x + 2, 442, x + 300, 560), (134, 96, 62))
    for slat in range(16, 300, 40):
        canvas.line((x + slat, 452), (x + slat, 540), (112, 78, 48), 2)
    canvas.box((x - 8, 428, x + 310, 446), (226, 214, 196), 4)
    canvas.box((x + 196, 366, x + 272, 416), (44, 48, 54), 4)
    canvas.box((x + 202, 371, x + 266, 410), (96, 122, 140), 2)
    canvas.box((x + 228, 414, x + 240, 430), (44, 48, 54))
    canvas.box((x + 22, 400, x + 46, 430), (196, 108, 72), 3)
    for dx, dy in ((-12, -20), (0, -30), (12, -20), (-5, -26), (7, -27)):
        canvas.ellipse((x + 28 + dx, 384 + dy / 2, x + 42 + dx, 408 + dy / 3), (76 + dx, 132 + dy, 78))
    fine = np.asarray(canvas.image).astype(np.float32)
    layer: npt.NDArray[Any] = cv2.GaussianBlur(
        cv2.resize(fine, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), (0, 0), 0.8
    )
    layer[..., :3] *= shading(view)
    rounded: npt.NDArray[np.uint8] = np.clip(layer, 0, 255).astype(np.uint8)
    return rounded


@cache
def shading(view: str) -> npt.NDArray[np.float32]:
    """The light of a view, dimmer towards the corners of the picture: float32 (540, 960, 3)."""
    x, y = np.meshgrid(np.linspace(-1, 1, WIDTH, dtype=np.float32), np.linspace(-1, 1, HEIGHT, dtype=np.float32))
    vignette = 1 - 0.16 * np.clip(x**2 + y**2 - 0.5, 0, None)
    light: npt.NDArray[np.float32] = vignette[..., None] * np.array(THEMES[view].light, np.float32)
    return light
