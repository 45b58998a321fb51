"""From a face picture to what the network reads, the same in training and in use."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

Bytes = npt.NDArray[np.uint8]


def normalise(faces: Tensor) -> Tensor:
    """Faces float (n, channels, H, W) in 0..255 to zero mean and unit deviation per picture; ours have one channel.

    Removing each picture's brightness and contrast leaves less of the store's light to the network.
    """
    mean = faces.mean((2, 3), keepdim=True)
    deviation = faces.std((2, 3), keepdim=True, unbiased=False)
    return (faces - mean) / (deviation + 8)


def resize(picture: Bytes, side: int) -> Bytes:
    """A square picture uint8 (s, s) or (s, s, 3) at another side; shrinking averages, so that nothing aliases."""
    interpolation = cv2.INTER_AREA if len(picture) > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (side, side), interpolation=interpolation), np.uint8)


def fit(faces: Bytes, side: int, grey: bool) -> Bytes:
    """Square faces, grey uint8 (n, s, s) or RGB (n, s, s, 3), as a model wants them.

    Returns:
        uint8 (n, side, side), or (n, side, side, 3) unless `grey`.

    Raises:
        ValueError: the faces are of another type or shape.
    """
    shape = faces.shape
    if faces.dtype != np.uint8 or len(shape) not in (3, 4) or shape[1] != shape[2] or shape[3:] not in ((), (3,)):
        raise ValueError(f"faces must be uint8 (n, s, s) or (n, s, s, 3), not {faces.dtype} {shape}")
    if grey and len(shape) == 4:
        faces = np.stack([cv2.cvtColor(np.ascontiguousarray(f), cv2.COLOR_RGB2GRAY) for f in faces])
    elif not grey and len(shape) == 3:
        faces = np.repeat(faces[..., None], 3, -1)
    return faces if shape[1] == side else np.stack([resize(np.ascontiguousarray(f), side) for f in faces])
