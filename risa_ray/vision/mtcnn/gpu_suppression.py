"""Greedy non-maximum suppression on a GPU: all boxes of all frames at once, with the result of one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from risa_ray.vision.mtcnn.pyramid import CELL, Level

_REACH = 2
"""Cells of one level this far apart, or less, may overlap by more than a half; others cannot. Sides are 11 / scale
pixels and cells 2 / scale apart, each rounded by less than one: at 3 the overlap is (5 + scale) / (17 - scale) at most,
and scale at most 1."""
_PAIRS = 100_000_000
"""Pairs of boxes, at some 24 bytes each, that are compared at a time."""


@dataclass(frozen=True)
class Boxes:
    """Boxes in several frames.

    Attributes:
        frame: int64 (n,), each one's.
        corners: float32 (n, 4), x1 y1 x2 y2.
    """

    frame: Tensor
    corners: Tensor

    def some(self, which: Tensor) -> Boxes:
        """Those of the numbers `which`."""
        return Boxes(self.frame[which], self.corners[which])


class Cells:
    """The cells of P-Net's answers on all levels, numbered one level after the other, row by row."""

    def __init__(self, levels: list[Level], device: torch.device) -> None:
        sizes = [((level.height - 1) // 2 - 4, (level.width - 1) // 2 - 4) for level in levels]
        self._rows, self._columns = torch.tensor(sizes, device=device).unbind(1)
        self._ends = (self._rows * self._columns).cumsum(0)
        self._scales = torch.tensor([level.scale for level in levels], dtype=torch.float32, device=device)

    def places(self, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Level, row and column of cells int64 (n,)."""
        level = torch.bucketize(cell, self._ends, right=True)
        columns = self._columns[level]
        within = cell - (self._ends - self._rows * self._columns)[level]
        return level, within // columns, within % columns

    def boxes(self, level: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """What cells see, float32 (..., 4) in pixels of the frame."""
        corner, scale = torch.stack([column, row], -1) * 2, self._scales[level][..., None]
        # In float32, as in facenet-pytorch.
        return torch.cat([((corner + 1) / scale).floor(), ((corner + CELL) / scale).floor()], -1)

    def near(self, level: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The 24 cells (n, 24) about each that it may overlap: whether there is one, its number, and its box."""
        steps = torch.arange(-_REACH, _REACH + 1, device=level.device)
        down, right = (d.flatten() for d in torch.meshgrid(steps, steps, indexing="ij"))
        others = [i for i in range(len(down)) if i != len(down) // 2]
        rows, columns = row[:, None] + down[others], column[:, None] + right[others]
        level = level[:, None]
        there = (rows >= 0) & (rows < self._rows[level]) & (columns >= 0) & (columns < self._columns[level])
        first = (self._ends - self._rows * self._columns)[level]
        number = torch.where(there, first + rows * self._columns[level] + columns, 0)
        return there, number, self.boxes(level.expand_as(rows), rows, columns)


def suppress_near(cells: Cells, scores: Tensor, frame: Tensor, cell: Tensor) -> Tensor:
    """Greedy suppression of candidates on their own level at an overlap of 0.5; which are kept, bool (n,).

    Args:
        scores: float32 (frames, cells).
        frame, cell: int64 (n,), the candidates.
    """
    places = cells.places(cell)
    there, near, boxes = cells.near(*places)
    frames = frame[:, None]
    mine, theirs = scores[frame, cell][:, None], scores[frames, near]
    before = there & ((theirs > mine) | ((theirs == mine) & (near < cell[:, None])))
    over = before & (overlap_of(cells.boxes(*places)[:, None], boxes) > 0.5)
    alive = torch.zeros_like(scores, dtype=torch.bool)
    alive[frame, cell] = True
    while True:
        kept = ~(over & alive[frames, near]).any(1)
        if torch.equal(kept, alive[frame, cell]):
            return kept
        alive[frame, cell] = kept


def suppress(boxes: Boxes, scores: Tensor, threshold: float, frames: int) -> Tensor:
    """Non-maximum suppression by intersection over union, frame by frame: numbers of the boxes kept.

    They come by frame and falling score, the first of equals first. `boxes` come by frame.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    order = order[torch.argsort(boxes.frame[order], stable=True)]
    frame = boxes.frame[order]
    counts = torch.bincount(frame, minlength=frames)
    place = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[frame]
    most = int(counts.max())
    corners = torch.zeros((frames, most, 4), device=order.device)
    there = torch.zeros((frames, most), dtype=torch.bool, device=order.device)
    corners[frame, place], there[frame, place] = boxes.corners[order], True
    several = max(1, _PAIRS // max(1, most**2))
    parts = zip(corners.split(several), there.split(several), strict=True)
    kept = torch.cat([greedy(overlap(part, part) > threshold, in_part) for part, in_part in parts])
    return order[kept[frame, place].nonzero()[:, 0]]


def greedy(over: Tensor, there: Tensor) -> Tensor:
    """What greedy suppression keeps of boxes that come by falling score.

    Whether a box is kept follows from those before it, so what is right for the first k boxes is right for one more
    after each round; rounds end as soon as one changes nothing, which is far sooner.

    Args:
        over: bool (..., n, n), whether two boxes overlap too much.
        there: bool (..., n), which of them there are.

    Returns:
        bool (..., n).
    """
    earlier = over.triu(1)
    kept = there
    while True:
        now = there & ~(earlier & kept[..., None]).any(-2)
        if torch.equal(now, kept):
            return kept
        kept = now


def overlap(a: Tensor, b: Tensor, of_smaller: bool = False) -> Tensor:
    """Overlap of each box (..., n, 4) with each of (..., m, 4): (..., n, m)."""
    return overlap_of(a[..., :, None, :], b[..., None, :, :], of_smaller)


def overlap_of(a: Tensor, b: Tensor, of_smaller: bool = False) -> Tensor:
    """Intersection over union; or the share of the smaller box, of whole pixels with both ends included."""
    one = 1 if of_smaller else 0
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2]) + one).clamp(min=0)
    common = sides[..., 0] * sides[..., 1]
    area_a, area_b = ((box[..., 2:] - box[..., :2] + one).prod(-1) for box in (a, b))
    return common / (torch.minimum(area_a, area_b) if of_smaller else area_a + area_b - common)
