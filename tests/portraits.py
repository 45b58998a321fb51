"""A picture with two real faces, and a search for what is left of it."""

from __future__ import annotations

import re
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
import skimage.data

Picture = npt.NDArray[np.uint8]
LEFT_HALF = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
SIZE = (480, 640)


def _pattern() -> Picture:
    """Noise that repeats every 32 pixels: any piece of any row is known by its bytes."""
    tile = np.random.default_rng(7).integers(90, 160, (32, 32, 3), np.uint8)
    return np.tile(tile, (SIZE[0] // 32, SIZE[1] // 32, 1))


def _portrait() -> Picture:
    """A face in the public domain."""
    return np.asarray(skimage.data.astronaut()[20:220, 130:320], np.uint8)


def scene(step: int) -> Picture:
    """A face in the left half and one in the right half, which move a little, on the pattern."""
    picture = _pattern()
    face = _portrait()
    h, w = face.shape[:2]
    for x in (60 + 4 * step, 390 - 4 * step):
        picture[120 : 120 + h, x : x + w] = face
    return picture


def pictures_in(data: bytes) -> list[str]:
    """What a file holds of pictures: encoded ones that can be decoded, and raw pixels of the scene."""
    found = []
    for name, magic in (("JPEG", b"\xff\xd8\xff"), ("PNG", b"\x89PNG\r\n\x1a\n"), ("WebP", b"RIFF")):
        for at in (m.start() for m in re.finditer(re.escape(magic), data)):
            if name == "WebP" and data[at + 8 : at + 12] != b"WEBP":
                continue
            if cv2.imdecode(np.frombuffer(data[at:], np.uint8), cv2.IMREAD_UNCHANGED) is not None:
                found.append(name)
    found += [f"raw {name}" for name, piece in _pieces() if piece in data]
    return found


@cache
def _pieces() -> tuple[tuple[str, bytes], ...]:
    """Bytes that only a part of the scene's pixels can be, in the usual orders: 20 pixels of a row each."""
    pieces = []
    for what, area in (("pattern", _pattern()[:32]), ("face", _portrait()[60:120:6, 50:100])):
        for order, channels in (("RGB", area), ("BGR", area[..., ::-1])):
            pieces += [(f"{what} {order}", np.ascontiguousarray(row[4:24]).tobytes()) for row in channels]
        grey = np.asarray(cv2.cvtColor(np.ascontiguousarray(area), cv2.COLOR_RGB2GRAY))
        pieces += [(f"{what} grey", row[4:24].tobytes()) for row in grey]
        planes = np.ascontiguousarray(area.transpose(2, 0, 1))
        pieces += [(f"{what} plane", row[4:24].tobytes()) for plane in planes for row in plane]
        floats = (area / np.float32(255)).astype(np.float32)
        pieces += [(f"{what} float", np.ascontiguousarray(row[4:24]).tobytes()) for row in floats]
    return tuple(pieces)
