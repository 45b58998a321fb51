"""From a face picture to what the network reads, the same in training and in use."""

from __future__ import annotations

from torch import Tensor


def normalise(faces: Tensor) -> Tensor:
    """Grey faces float (n, 1, H, W) in 0..255 to zero mean and unit deviation per picture.

    Removing each picture's brightness and contrast leaves less of the store's light to the network.
    """
    mean = faces.mean((2, 3), keepdim=True)
    deviation = faces.std((2, 3), keepdim=True, unbiased=False)
    return (faces - mean) / (deviation + 8)
