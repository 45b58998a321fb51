"""What the stages of MTCNN do with boxes, in NumPy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Found = tuple[Floats, Floats, Floats]
"""The faces of a frame: boxes (n, 4), probabilities (n,) and landmarks (n, 5, 2)."""

THRESHOLDS = (0.6, 0.7, 0.7)
"""Least probability after P-Net, R-Net and O-Net."""

_SHIFT, _GROWTH = 0.2, 1.3
"""How far about its box a face is looked for, in sides and as a factor; chosen by recall on video."""
_SHIFTS = ((-_SHIFT, 0), (_SHIFT, 0), (0, -_SHIFT), (0, _SHIFT))
_GROWTHS = ((_GROWTH - 1) / 2, (1 / _GROWTH - 1) / 2)


def squared(boxes: Floats) -> Floats:
    """Squares about the same centres, as long as the longer side."""
    sides = boxes[:, 2:] - boxes[:, :2]
    longest = sides.max(1, keepdims=True)
    begin = boxes[:, :2] + sides * np.float32(0.5) - longest * np.float32(0.5)
    squares: Floats = np.concatenate([begin, begin + longest], 1)
    return squares


def moved(boxes: Floats, moves: Floats) -> Floats:
    """Boxes (n, 4) moved as R-Net and O-Net say, moves (n, 4) in sides."""
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    at: Floats = boxes + moves * np.concatenate([sides, sides], 1)
    return at


def around(boxes: Floats) -> Floats:
    """Squares (7 n, 4) about boxes (n, 4) where faces are expected: as they are, shifted four ways, smaller, larger."""
    squares = squared(boxes.astype(np.float32))
    side = (squares[:, 2:] - squares[:, :2])[:, :1]
    shifted = [squares + side * np.array([x, y, x, y], np.float32) for x, y in _SHIFTS]
    grown = [squares + side * np.array([-g, -g, g, g], np.float32) for g in _GROWTHS]
    return np.concatenate([squares, *shifted, *grown])
