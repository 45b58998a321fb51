"""The sizes in which MTCNN looks at a frame."""

from __future__ import annotations

from dataclasses import dataclass

CELL = 12
"""Side in pixels of what one cell of P-Net's answer sees."""
FACTOR = 0.709
"""From one level to the next; its square is about a half."""


@dataclass(frozen=True)
class Level:
    """One level of an image pyramid: its scale, and its size in pixels."""

    scale: float
    height: int
    width: int


def pyramid(height: int, width: int, min_face_size: int) -> list[Level]:
    """The levels of a frame, finest first; none when no face of that size fits in."""
    scale = CELL / min_face_size
    least = min(height, width) * scale
    levels = []
    while least >= CELL:
        levels.append(Level(scale, int(height * scale + 1), int(width * scale + 1)))
        scale, least = scale * FACTOR, least * FACTOR
    return levels
