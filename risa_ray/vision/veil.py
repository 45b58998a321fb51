"""A picture of a camera in which nobody is to be recognised, for the live page where the config allows it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from risa_ray.frames import Image
from risa_ray.vision.draw import blur_faces

SEARCHED_WIDTH = 960
"""Of the picture in which faces are sought; a smaller one is enlarged."""
_ENLARGED = 3
SMALLEST_FACE = 20
"""In its pixels. Smaller faces are not sought: they are 10 pixels at most when shown."""
SHOWN_WIDTH = 480
_QUALITY = 75

Boxes = npt.NDArray[np.float32]


def veiled(image: Image, known: Boxes, find: Callable[[Image], Boxes], hide: Callable[[Image], Image]) -> bytes:
    """A JPEG, at most 480 pixels wide, with every face reduced to patches of colour (`draw.blur_faces`).

    Blurred are the faces that are found in this very picture, at a smaller size than the analysis may look for, and
    those that are expected there because they were followed until now. A face that turned away before it was ever
    found stays; the small size is what is left to hide it.

    Args:
        image: RGB uint8 (H, W, 3); it is not changed.
        known: boxes float32 (n, 4) in its pixels, of everybody followed, staff too.
        find: boxes of the faces of a picture, down to `SMALLEST_FACE`.
        hide: blackens what nobody is to see, after the faces: half of one may lie beside it.
    """
    width = min(SEARCHED_WIDTH, _ENLARGED * image.shape[1])
    searched = _of_width(image, width)
    scale = width / image.shape[1]
    boxes = np.vstack((find(searched).reshape(-1, 4), known.reshape(-1, 4) * scale))
    shown = hide(_of_width(blur_faces(searched, boxes), min(SHOWN_WIDTH, image.shape[1])))
    done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(shown, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise ValueError(f"a picture of shape {image.shape} cannot be encoded")
    return jpeg.tobytes()


def _of_width(image: Image, width: int) -> Image:
    """The picture, reduced or enlarged."""
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    how = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)
