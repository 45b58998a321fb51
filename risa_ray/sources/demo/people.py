"""The invented people of the demo scene: one public-domain portrait, with other hair, skin, clothes and proportions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import cv2
import numpy as np
import numpy.typing as npt
from skimage.data import astronaut

from risa_ray.sources.demo.expressions import CROP, FACE_CENTRE, SCALE, Expression, apply

Layer = npt.NDArray[np.uint8]
"""RGBA uint8, premultiplied."""
Pixels = npt.NDArray[np.float32]
Outline = tuple[tuple[float, float], ...]
Colour = tuple[int, int, int]

Light = tuple[float, float, float]
Box = tuple[int, int, int, int]

BEHIND: Box = (140, 90, 308, 275)
FRONT: Box = (84, 165, 364, 640)
"""x0, y0, x1, y1 of what lies behind and in front of the head, in pixels of the portrait."""

_HEAD_OUTLINE = (
    (192, 180), (189, 168), (187, 155), (183, 143), (177, 132), (171, 123), (162, 114), (158, 104), (156, 90),
    (157, 78), (160, 69), (168, 60), (178, 52), (191, 43), (195, 33), (204, 25), (216, 20), (230, 18), (247, 20),
    (262, 27), (275, 36), (285, 46), (292, 60), (297, 75), (298, 88), (296, 102), (291, 114), (282, 124),
    (274, 132), (264, 134), (260, 146), (257, 159), (253, 170), (252, 182), (240, 186), (216, 184),
)  # fmt: skip
_SHORT_HAIR_OUTLINE = (
    *_HEAD_OUTLINE[:5], (172, 124), (170, 112), (169, 98), (168, 84), (169, 70), (175, 57), (184, 47), (194, 38),
    (206, 31), (218, 27), (230, 25), (246, 27), (259, 33), (270, 43), (278, 56), (282, 70), (284, 86), (283, 102),
    (280, 116), (276, 126), (272, 132), *_HEAD_OUTLINE[-7:],
)  # fmt: skip
_LONG_HAIR_OUTLINE = (
    (160, 100), (154, 150), (150, 195), (158, 236), (186, 246), (262, 246), (290, 236), (300, 195), (297, 150),
    (290, 100),
)  # fmt: skip
_SKIN_OUTLINE = (
    (172, 131), (180, 118), (181, 108), (184, 96), (186, 82), (191, 74), (204, 76), (220, 77), (236, 79), (250, 83),
    (263, 88), (268, 94), (270, 108), (271, 122), (278, 133), (266, 148), (258, 172), (257, 192), (186, 192),
    (180, 145),
)  # fmt: skip
_BEARD_OUTLINE = (
    (182, 128), (188, 130), (196, 142), (204, 137), (214, 134), (224, 137), (234, 135), (245, 138), (254, 144),
    (264, 130), (268, 130), (262, 162), (248, 178), (228, 184), (208, 181), (192, 170), (184, 150),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Look:
    """How a person looks; None keeps the portrait's own."""

    name: str
    top: Colour
    trousers: Colour
    hair: Colour | None = None
    skin: tuple[float, float, float] = (1.0, 1.0, 1.0)
    shirt: Colour | None = None
    long_hair: bool = False
    short_hair: bool = False
    beard: float = 0.0
    glasses: bool = False
    mirrored: bool = False
    width: float = 1.0


LOOKS = (
    Look("Mia", top=(38, 128, 126), trousers=(52, 58, 82), shirt=(238, 234, 224), width=0.98),
    Look(
        "Noah", top=(64, 84, 128), trousers=(58, 54, 52), hair=(66, 48, 36), beard=0.3, short_hair=True, mirrored=True,
        width=1.03,
    ),
    Look(
        "Ada", top=(186, 66, 74), trousers=(44, 44, 56), hair=(112, 60, 38), skin=(0.93, 0.84, 0.76), long_hair=True,
        width=0.95,
    ),
    Look(
        "Leo", top=(112, 124, 92), trousers=(76, 66, 58), hair=(150, 147, 146), skin=(1.02, 0.96, 0.93), glasses=True,
        shirt=(226, 230, 236), mirrored=True, width=1.06,
    ),
)  # fmt: skip


def _polygon(outline: Outline, box: Box, blur: float) -> Pixels:
    mask = np.zeros((round((box[3] - box[1]) * SCALE), round((box[2] - box[0]) * SCALE)), np.float32)
    points = ((np.array(outline, np.float32) - box[:2]) * SCALE * 16).round().astype(np.int32)
    cv2.fillPoly(mask, [points], 1.0, cv2.LINE_AA, shift=4)
    return cv2.GaussianBlur(mask, (0, 0), blur * SCALE).astype(np.float32)


@cache
def _head(look: Look) -> tuple[Pixels, Pixels]:
    """The smiling head of a person, and the same without fine lines: RGBA float32 in 0..255."""
    x0, y0, x1, y1 = CROP
    portrait: npt.NDArray[np.uint8] = astronaut()  # type: ignore[no-untyped-call]
    large = cv2.resize(portrait[y0:y1, x0:x1], None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    rgb: Pixels = large.astype(np.float32)
    skin = _polygon(_SKIN_OUTLINE, CROP, 1.5)[..., None]
    light = cv2.cvtColor(rgb / 255, cv2.COLOR_RGB2GRAY)[..., None]
    if look.hair is not None:
        # saturating, so that the bright backdrop between the hairs is not dyed into a halo
        recoloured = np.array(look.hair, np.float32) * (1.75 * light / (light + 0.32))
        rgb = rgb * skin + recoloured * (1 - skin)
    rgb = rgb * (1 - skin) + rgb * np.array(look.skin, np.float32) * skin
    if look.beard:
        # lips and teeth keep their colour
        lips = cv2.GaussianBlur(_ellipse((224, 146), (21, 9)), (0, 0), 1.5 * SCALE)
        beard = _polygon(_BEARD_OUTLINE, CROP, 3) * (1 - lips) * look.beard
        rgb *= 1 - beard[..., None] * np.array((0.55, 0.66, 0.72), np.float32)
    rgb = np.clip(rgb + 0.3 * (rgb - cv2.GaussianBlur(rgb, (0, 0), 1.6)), 0, 255)
    outline = _SHORT_HAIR_OUTLINE if look.short_hair else _HEAD_OUTLINE
    alpha = _polygon(outline, CROP, 0.9)[..., None] * 255
    smooth = cv2.GaussianBlur(rgb, (0, 0), 6.5)
    return np.concatenate([rgb, alpha], axis=2), np.concatenate([smooth, alpha], axis=2)


def _ellipse(centre: tuple[float, float], axes: tuple[float, float]) -> Pixels:
    mask = np.zeros((round((CROP[3] - CROP[1]) * SCALE), round((CROP[2] - CROP[0]) * SCALE)), np.float32)
    at = tuple(round((c - o) * SCALE) for c, o in zip(centre, CROP, strict=False))
    cv2.ellipse(mask, at, tuple(round(a * SCALE) for a in axes), 0, 0, 360, 1.0, -1, cv2.LINE_AA)
    return mask


def _draw_glasses(head: Pixels, turn: float) -> None:
    def at(x: float, y: float) -> tuple[int, int]:
        return round((x + turn - CROP[0]) * SCALE), round((y - CROP[1]) * SCALE)

    mask = np.zeros(head.shape[:2], np.float32)
    for x, y in ((203, 104), (247, 106)):
        cv2.ellipse(mask, at(x, y), (round(16 * SCALE), round(12 * SCALE)), 0, 0, 360, 1.0, 2, cv2.LINE_AA)
    for a, b in (((219, 102), (231, 103)), ((187, 101), (179, 98)), ((263, 103), (272, 101))):
        cv2.line(mask, at(*a), at(*b), 1.0, 2, cv2.LINE_AA)
    head[..., :3] += (np.array((70, 58, 54), np.float32) - head[..., :3]) * (0.85 * mask[..., None])


@cache
def body_layers(look: Look, light: Light) -> tuple[Layer, Layer]:
    """What lies behind the head (long hair, neck) over `BEHIND`, and in front of it (clothes) over `FRONT`."""
    back, front = _Sheet(BEHIND), _Sheet(FRONT)
    if look.long_hair:
        hair = tuple(0.8 * c for c in look.hair or (120, 90, 60))
        back.paint(_LONG_HAIR_OUTLINE, hair, shade=0.6)
    neck = tuple(c * s for c, s in zip((206, 170, 138), look.skin, strict=True))
    back.paint(((190, 165), (254, 165), (258, 200), (282, 214), (224, 262), (166, 214), (188, 200)), neck)
    for flip in (1, -1):
        leg = ((222, 400), (306, 400), (312, 640), (232, 640))
        front.paint(_mirror(leg, flip), look.trousers, shade=0.5)
        hand = ((104, 462), (101, 488), (108, 508), (122, 508), (131, 488), (131, 464))
        front.paint(_mirror(hand, flip), neck, shade=0.3)
        arm = ((134, 216), (118, 262), (107, 340), (99, 470), (134, 476), (146, 400), (158, 300), (160, 230))
        front.paint(_mirror(arm, flip), tuple(0.9 * c for c in look.top), shade=0.5)
    low = 236 if look.shirt else 204
    collar = ((188, 179), (196, 192), (224, low), (252, 192), (260, 179))
    sides = ((288, 198), (312, 208), (322, 226), (316, 300), (308, 360), (310, 440))
    torso = (*_mirror(sides, -1)[::-1], *collar, *sides)
    front.paint(torso, look.top, shade=0.45)
    if look.shirt:
        back.paint(((184, 186), (224, 214), (264, 186), (270, 260), (178, 260)), look.shirt)
        for y in range(262, 440, 44):
            front.paint(tuple((224 + x, y + z) for x, z in ((-3, 0), (0, -3), (3, 0), (0, 3))), (236, 228, 210))
    return _finish(back.pixels, light), _finish(front.pixels, light)


def _mirror(outline: Outline, flip: int) -> Outline:
    return tuple((FACE_CENTRE[0] + flip * (x - FACE_CENTRE[0]), y) for x, y in outline)


class _Sheet:
    """RGBA float32 pixels over a box of the portrait, to be painted on."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self.pixels = np.zeros((round((box[3] - box[1]) * SCALE), round((box[2] - box[0]) * SCALE), 4), np.float32)

    def paint(self, outline: Outline, colour: tuple[float, ...], shade: float = 0.0) -> None:
        """Fill an outline with soft corners, darker by `shade` towards its edges, and with a few wide folds."""
        mask = np.clip(_polygon(outline, self._box, 3.2) * 2.4 - 0.7, 0, 1)
        height, width = mask.shape
        grain = np.random.default_rng(3).normal(size=(height // 110 + 2, width // 40 + 2)).astype(np.float32)
        folds = cv2.GaussianBlur(cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC), (0, 0), 6)
        inside = np.clip(cv2.GaussianBlur(mask, (0, 0), 20) * 2 - 1, 0, 1)
        across = np.linspace(1.06, 0.94, width, dtype=np.float32)
        tone = (1 - shade * (1 - inside)) * (1 + 0.16 * shade * folds) * across
        paint = np.array(colour, np.float32) * tone[..., None]
        self.pixels[..., :3] += (paint - self.pixels[..., :3]) * mask[..., None]
        self.pixels[..., 3] += (255 - self.pixels[..., 3]) * mask


def _finish(layer: Pixels, light: Light) -> Layer:
    """Light, premultiply and round."""
    rgb = np.clip(layer[..., :3] * np.array(light, np.float32), 0, 255) * (layer[..., 3:] / 255)
    return np.concatenate([rgb, layer[..., 3:]], axis=2).round().clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=256)
def head_layer(look: Look, light: Light, expression: Expression, turn: float) -> Layer:
    """A person's head with an expression, over the box `CROP`."""
    head, smooth = _head(look)
    painted = apply(head, smooth, expression, turn)
    if look.glasses:
        _draw_glasses(painted, turn)
    return _finish(painted, light)


def placement(look: Look, box: Box, face: tuple[float, float], size: float, tilt: float) -> Pixels:
    """Affine map (2, 3) from a layer over `box` to a picture in which the face has centre `face` and width `size`.

    Args:
        tilt: degrees, clockwise.
    """
    zoom = size / 90.0
    angle = np.deg2rad(tilt)
    across = zoom * look.width * (-1 if look.mirrored else 1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([across, zoom]) / SCALE
    origin = (np.array(FACE_CENTRE) - box[:2]) * SCALE
    shift = np.array(face) - linear @ origin
    return np.column_stack([linear, shift]).astype(np.float32)
