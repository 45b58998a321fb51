"""Pictures that exercise every level of a pyramid."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt


def noise(height: int, width: int, seed: int) -> npt.NDArray[np.uint8]:
    """Random patches, so that every level of a pyramid has something to show."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 9 + 1, width // 9 + 1, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
