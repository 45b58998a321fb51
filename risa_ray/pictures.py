"""Picture files as people have them: which endings, and how one is opened."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


def upright(opened: Image.Image) -> Image.Image:
    """An opened picture as its EXIF turns it, with at most 8 bits a channel."""
    turned = ImageOps.exif_transpose(opened)
    if turned.mode.startswith("I"):  # 16 bits: Pillow would clip them to white
        return Image.fromarray((np.asarray(turned, np.uint32) >> 8).astype(np.uint8))
    return turned
