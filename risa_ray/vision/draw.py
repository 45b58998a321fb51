"""Draws zones and faces into a picture, and makes faces unrecognisable. Every function returns a new picture."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from risa_ray.config import ZoneConfig
from risa_ray.frames import FaceRow, Image
from risa_ray.vision.zones import fixed_point

EXPRESSION_COLOURS = {
    "neutral": "#56B4E9",
    "happiness": "#F0E442",
    "surprise": "#E69F00",
    "sadness": "#0072B2",
    "anger": "#D55E00",
    "disgust": "#009E73",
    "fear": "#CC79A7",
    "contempt": "#882255",
    "unknown": "#DDDDDD",
}
"""A colour for each expression that colour-blind people can tell apart: Okabe and Ito (2008), wine from Tol (2021)."""

ZONE_COLOUR = "#33BBEE"
HIDDEN_ZONE_COLOUR = "#555555"
"""Of staff and mask zones, from which nothing is reported."""

_ZONE_OPACITY = 0.22
_BLUR_MARGIN = 0.2  # of the box, since detectors cut off chin and hair
_BLUR_CELLS = 6  # colours left across a blurred face; too few to make out eyes and mouth

Rectangle = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels, the last two exclusive."""
_Colour = tuple[int, int, int]


def draw_zones(image: Image, zones: Sequence[ZoneConfig]) -> Image:
    """The picture with translucent zones, each with its outline, name and kind.

    Args:
        image: RGB uint8 (H, W, 3); it is not changed.
        zones: with polygons in relative coordinates.
    """
    out = image.copy()
    height, width = out.shape[:2]
    shapes = [(fixed_point(z.polygon, width, height), _rgb(_zone_colour(z))) for z in zones]
    filled = out.copy()
    for (vertices, bits), colour in shapes:
        cv2.fillPoly(filled, [vertices], colour, lineType=cv2.LINE_AA, shift=bits)
    out = np.asarray(cv2.addWeighted(filled, _ZONE_OPACITY, out, 1 - _ZONE_OPACITY, 0), np.uint8)
    for (vertices, bits), colour in shapes:
        for stroke, width_of_it in _strokes(out, colour):
            cv2.polylines(out, [vertices], True, stroke, width_of_it, cv2.LINE_AA, shift=bits)

    taken: list[Rectangle] = []
    for zone, ((vertices, bits), _) in zip(zones, shapes, strict=True):
        corners = vertices / 2**bits
        x, y = corners[corners.sum(axis=1).argmin()]
        label = _label(f"{_drawable(zone.name) or zone.id} ({zone.kind})", _text_size(out))
        tall = label.shape[0]
        places = [(round(x), max(0, round(y)) + step * tall) for step in range(4)]
        taken.append(_put(out, label, places, _zone_colour(zone), taken))
    return out


def draw_faces(image: Image, faces: Sequence[FaceRow], numbers: dict[str, int], scale: float = 1.0) -> Image:
    """The picture with a box around each face, its track's number and its apparent expression.

    Args:
        image: RGB uint8 (H, W, 3); it is not changed.
        faces: the rows of this frame, in source pixels.
        numbers: track_id -> the short number it is shown by. Tracks seen for the first time are added with the next
            number, so that one dict kept through a video numbers people by first appearance.
        scale: source pixels per pixel of `image`, as in `Frame.scale`.
    """
    out = image.copy()
    boxes = [_whole((f.x1 / scale, f.y1 / scale, f.x2 / scale, f.y2 / scale)) for f in faces]
    for face, (x1, y1, x2, y2) in zip(faces, boxes, strict=True):
        for stroke, width in _strokes(out, _rgb(_face_colour(face))):
            cv2.rectangle(out, (x1, y1), (x2 - 1, y2 - 1), stroke, width)  # upright lines need no anti-aliasing

    taken = list(boxes)
    for face, box in zip(faces, boxes, strict=True):
        number = numbers.setdefault(face.track_id, len(numbers) + 1)
        label = _label(_face_text(face, number), _text_size(out))
        taken.append(_put(out, label, _around(box, label, _line_width(out)), _face_colour(face), taken))
    return out


def blur_faces(image: Image, boxes: npt.NDArray[np.float32]) -> Image:
    """The picture with its faces reduced to a few blurred patches of colour.

    Args:
        image: RGB uint8 (H, W, 3); it is not changed.
        boxes: (n, 4) x1, y1, x2, y2 in its pixels; parts outside the picture are ignored.
    """
    out = image.copy()
    height, width = out.shape[:2]
    for x1, y1, x2, y2 in np.asarray(boxes, np.float64).reshape(-1, 4):
        dx, dy = _BLUR_MARGIN * (x2 - x1), _BLUR_MARGIN * (y2 - y1)
        left, top, right, bottom = _whole((x1 - dx, y1 - dy, x2 + dx, y2 + dy))
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        if left >= right or top >= bottom:
            continue
        part = out[top:bottom, left:right]
        cells = (min(_BLUR_CELLS, right - left), min(_BLUR_CELLS, bottom - top))
        # averaging to cells throws the detail away for good; a blur alone could be sharpened again
        small = cv2.resize(part, cells, interpolation=cv2.INTER_AREA)
        out[top:bottom, left:right] = cv2.resize(small, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    return out


def _around(box: Rectangle, label: npt.NDArray[np.uint8], gap: int) -> list[tuple[int, int]]:
    """Places for a label (left, top), the best first: above the box, below, beside it, one line higher."""
    x1, y1, x2, y2 = box
    tall, wide = label.shape
    left, right, above, below = x1 - gap, x2 + gap, y1 - gap - tall, y2 + gap
    places = [(left, above), (right - wide, above), (left, below), (right - wide, below)]
    return [*places, (right, y1 - gap), (left - wide, y1 - gap), (left, above - tall), (right - wide, above - tall)]


def _face_text(face: FaceRow, number: int) -> str:
    if face.expression == "unknown":
        return f"#{number} unknown"
    return f"#{number} {face.expression} {face.confidence:.0%}"


def _face_colour(face: FaceRow) -> str:
    return EXPRESSION_COLOURS[face.expression]


def _zone_colour(zone: ZoneConfig) -> str:
    return HIDDEN_ZONE_COLOUR if zone.hidden else ZONE_COLOUR


def _rgb(colour: str) -> _Colour:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _on(colour: str) -> _Colour:
    """Black or white, whichever has the larger contrast on a colour (WCAG 2.2, relative luminance)."""
    channels = np.array(_rgb(colour)) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return (0, 0, 0) if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else (255, 255, 255)


def _whole(box: tuple[float, float, float, float]) -> Rectangle:
    return round(box[0]), round(box[1]), round(box[2]), round(box[3])


def _short_side(image: Image) -> int:
    return int(min(image.shape[:2]))


def _line_width(image: Image) -> int:
    return max(2, round(_short_side(image) / 320))


def _strokes(image: Image, colour: _Colour) -> list[tuple[_Colour, int]]:
    """Colour and width of the lines that make an outline, seen on a background of its own colour too."""
    width = _line_width(image)
    return [((0, 0, 0), width + 2 * max(1, width // 4)), (colour, width)]


def _text_size(image: Image) -> int:
    """Height of the letters' em in pixels: a 34th of the picture's shorter side, but never too small to read."""
    return max(13, round(_short_side(image) / 34))


def _drawable(name: str) -> str:
    """A name without its accents; empty when it has letters that the built-in font, ASCII only, cannot show."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return bare if bare.isascii() else ""


@lru_cache(maxsize=256)
def _label(text: str, size: int) -> npt.NDArray[np.uint8]:
    """Opacity uint8 (h, w) of a line of text with a margin around it."""
    # typed as either of two fonts; a size makes it the scalable one
    font = cast(ImageFont.FreeTypeFont, ImageFont.load_default(size))
    ascent, descent = font.getmetrics()
    margin = max(2, size // 4)
    canvas = Pillow.new("L", (round(font.getlength(text)) + 2 * margin, ascent + descent + margin))
    ImageDraw.Draw(canvas).text((margin, margin // 2), text, fill=255, font=font)
    return np.asarray(canvas)


def _put(
    out: Image,
    label: npt.NDArray[np.uint8],
    places: Sequence[tuple[int, int]],
    colour: str,
    taken: Sequence[Rectangle],
) -> Rectangle:
    """Write a label where it covers least of what is `taken`, the first of equal places (left, top); return where.

    Wherever that is, the label is moved to stay in the picture.
    """
    height, width = out.shape[:2]
    opacity = label[:height, :width]
    tall, wide = opacity.shape
    corners = [(min(max(x, 0), width - wide), min(max(y, 0), height - tall)) for x, y in places]
    spots = [(x, y, x + wide, y + tall) for x, y in corners]
    best = min(spots, key=lambda spot: sum(_overlap(spot, other) for other in taken))
    weight = opacity[..., None] / 255
    text = weight * _on(colour) + (1 - weight) * _rgb(colour)
    out[best[1] : best[3], best[0] : best[2]] = np.round(text).astype(np.uint8)
    return best


def _overlap(a: Rectangle, b: Rectangle) -> int:
    """Pixels that two rectangles share."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
