"""A picture of a camera in which nobody is to be recognised, for the live page where the config allows it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from risa_ray.frames import Image
from risa_ray.vision.draw import blur_faces

SEARCHED_WIDTH = 960
SMALLEST_FACE = 20
"""In pixels of the searched picture, a width of 960. Smaller faces are not sought: they are 10 pixels when shown."""
SHOWN_WIDTH = 480
_QUALITY = 75

Boxes = npt.NDArray[np.float32]


def veiled(image: Image, known: Boxes, find: Callable[[Image], Boxes]) -> bytes:
    """A JPEG, at most 480 pixels wide, with every face reduced to patches of colour (`draw.blur_faces`).

    Blurred are the faces that are found in this very picture, at a smaller size than the analysis may look for, and
    those that are expected there because they were followed until now. A face that turned away before it was ever
    found stays; the small size is what is left to hide it.

    Args:
        image: RGB uint8 (H, W, 3), masks already black; it is not changed.
        known: boxes float32 (n, 4) in its pixels, of everybody followed, staff too.
        find: boxes of the faces of a picture, down to `SMALLEST_FACE`.
    """
    small = _at_most(image, SEARCHED_WIDTH)
    scale = small.shape[1] / image.shape[1]
    boxes = np.vstack((find(small).reshape(-1, 4), known.reshape(-1, 4) * scale))
    shown = _at_most(blur_faces(small, boxes), SHOWN_WIDTH)
    done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(shown, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise ValueError(f"a picture of shape {image.shape} cannot be encoded")
    return jpeg.tobytes()


def _at_most(image: Image, width: int) -> Image:
    """The picture, reduced where it is wider."""
    if image.shape[1] <= width:
        return image
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
