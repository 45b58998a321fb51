"""MTCNN on a GPU: a batch of frames stays on the card from the pixels to the last network's answers.

Area resampling takes differences of one table of running sums (a summed-area table, Crow 1984; Viola and Jones 2001),
which serves all levels of the pyramid and all crops. Suppression is the greedy one, done in parallel: nothing is done
once per candidate. Torch tells no device apart here, so the same code runs, slowly, on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from risa_ray.frames import Image
from risa_ray.vision.mtcnn.boxes import THRESHOLDS, Floats, Found, around
from risa_ray.vision.mtcnn.pyramid import CELL, Level, pyramid
from risa_ray.vision.mtcnn.stages import StageClock
from risa_ray.vision.workers import Workers

_BYTES = 4 * 2**30
"""On the card, for the frames that are looked at together."""
_TABLE, _FINEST = 42, 104
"""Bytes that a pixel of a frame takes while its table is made, and a pixel of the finest level while P-Net runs."""
_PAIRS = 100_000_000
"""Pairs of boxes, at some 24 bytes each, that are compared at a time."""
_RNET_BATCH, _ONET_BATCH = 8192, 2048
_REACH = 2
"""Cells of one level this far apart, or less, may overlap by more than a half; others cannot. Sides are 11 / scale
pixels and cells 2 / scale apart, each rounded by less than one: at 3 the overlap is (5 + scale) / (17 - scale) at most,
and scale at most 1."""


@contextmanager
def _in_float32() -> Iterator[None]:
    """TF32, torch's default for convolutions, would round what enters them to 10 bits."""
    kinds: tuple[Any, ...] = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    before = [kind.fp32_precision for kind in kinds]
    try:
        for kind in kinds:
            kind.fp32_precision = "ieee"
        yield
    finally:
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision


class GpuMtcnn:
    """The three stages; used by one caller at a time.

    Args:
        threads: that copy frames to where the card fetches them.
        device: of torch.
    """

    def __init__(self, min_face_size: int, threads: int, device: str) -> None:
        self._min_face_size = min_face_size
        self._device = torch.device(device)
        self._pnet, self._rnet, self._onet = _networks(device)
        self._workers = Workers(threads)
        self.clock = StageClock()

    def detect(self, frames: Sequence[Image]) -> list[Found]:
        """The faces of each frame, RGB uint8 (H, W, 3), contiguous; those of one size are looked at together."""
        return self._in_batches(frames, None)

    def refine(self, frames: Sequence[Image], expected: Sequence[Floats]) -> list[Found]:
        """The faces of each frame about the boxes (n, 4) where they are expected; the first stage is left out."""
        return self._in_batches(frames, expected)

    def _in_batches(self, frames: Sequence[Image], expected: Sequence[Floats] | None) -> list[Found]:
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for number, frame in enumerate(frames):
            # Nothing that is expected is nothing to do.
            if frame.size and (expected is None or len(expected[number])):
                by_shape.setdefault(frame.shape, []).append(number)
        found: dict[int, Found] = {}
        for (height, width, _), numbers in by_shape.items():
            several = self._at_a_time(height, width)
            for first in range(0, len(numbers), several):
                part = numbers[first : first + several]
                boxes = None if expected is None else [expected[i] for i in part]
                found.update(zip(part, self._batch([frames[i] for i in part], boxes), strict=True))
        return [found.get(number) or _distinct(torch.empty(0, 15)) for number in range(len(frames))]

    def _at_a_time(self, height: int, width: int) -> int:
        finest = [level.height * level.width for level in pyramid(height, width, self._min_face_size)[:1]]
        return max(1, _BYTES // (_TABLE * height * width + _FINEST * sum(finest)))

    def _batch(self, frames: list[Image], expected: list[Floats] | None) -> list[Found]:
        with torch.inference_mode(), _in_float32():
            boxes, batch = self._anywhere(frames) if expected is None else self._about(frames, expected)
            with self.clock.time("locate"):
                return self._locate(batch, _Boxes(boxes.frame, _squared(boxes.corners)))

    def _anywhere(self, frames: list[Image]) -> tuple[_Boxes, _Batch]:
        """First and second stage."""
        with self.clock.time("propose"):
            batch = _Batch(self._uploaded(frames))
            squares = self._propose(batch)
        with self.clock.time("screen"):
            boxes, moves, scores = self._screen(batch, squares)
            pick = _suppress(boxes, scores, 0.7, batch.frames)
            boxes = boxes.some(pick)
            return _Boxes(boxes.frame, _moved(boxes.corners, moves[pick])), batch

    def _about(self, frames: list[Image], expected: list[Floats]) -> tuple[_Boxes, _Batch]:
        """Second stage alone, on squares about where faces are expected."""
        with self.clock.time("screen"):
            batch = _Batch(self._uploaded(frames))
            boxes, moves, scores = self._screen(batch, self._boxes([around(several) for several in expected]))
            # Moved before they are compared: R-Net moves all squares about a face to it, and few are left.
            boxes = _Boxes(boxes.frame, _moved(boxes.corners, moves))
            return boxes.some(_suppress(boxes, scores, 0.7, batch.frames)), batch

    def _uploaded(self, frames: list[Image]) -> Tensor:
        """The frames on the card, uint8 (n, H, W, 3)."""
        pinned = self._device.type != "cpu"  # a card fetches from there by itself
        staged = torch.empty((len(frames), *frames[0].shape), dtype=torch.uint8, pin_memory=pinned)
        room = staged.numpy()
        self._workers.map(lambda number: np.copyto(room[number], frames[number]), range(len(frames)))
        return staged.to(self._device, non_blocking=True)

    def _boxes(self, frames: list[Floats]) -> _Boxes:
        counts = [len(boxes) for boxes in frames]
        frame = torch.repeat_interleave(torch.arange(len(frames)), torch.tensor(counts))
        return _Boxes(frame.to(self._device), torch.from_numpy(np.concatenate(frames)).to(self._device))

    def _propose(self, batch: _Batch) -> _Boxes:
        """First stage: squares that may hold a face."""
        levels = pyramid(batch.height, batch.width, self._min_face_size)
        if not levels:
            return self._boxes([np.empty((0, 4), np.float32)] * batch.frames)
        answers = [self._pnet(batch.level(level)) for level in levels]
        moves = torch.cat([move.flatten(2) for move, _ in answers], 2)
        scores = torch.cat([score[:, 1].flatten(1) for _, score in answers], 1)
        cells = _Cells(levels, self._device)
        frame, cell = (scores >= THRESHOLDS[0]).nonzero(as_tuple=True)
        # Candidates of a level come by frame, row and column, as in facenet-pytorch, which settles ties.
        kept = _suppress_near(cells, scores, frame, cell).nonzero()[:, 0]
        frame, cell = frame[kept], cell[kept]
        corners = cells.boxes(*cells.places(cell))
        pick = _suppress(_Boxes(frame, corners), scores[frame, cell], 0.7, batch.frames)
        frame, cell, corners = frame[pick], cell[pick], corners[pick]
        sides = corners[:, 2:] - corners[:, :2]
        return _Boxes(frame, _squared(corners + moves[frame, :, cell] * torch.cat([sides, sides], 1)))

    def _screen(self, batch: _Batch, boxes: _Boxes) -> tuple[_Boxes, Tensor, Tensor]:
        """Second stage: the squares that R-Net takes for faces, how it moves them, and their probabilities."""
        inside, (moves, scores) = batch.see(boxes, self._rnet, 24, _RNET_BATCH)
        keep = (inside & (scores[:, 1] > THRESHOLDS[1])).nonzero()[:, 0]
        return boxes.some(keep), moves[keep], scores[keep, 1]

    def _locate(self, batch: _Batch, boxes: _Boxes) -> list[Found]:
        """Third stage: the faces in squares, by frame."""
        inside, (moves, points, scores) = batch.see(boxes, self._onet, 48, _ONET_BATCH)
        keep = (inside & (scores[:, 1] > THRESHOLDS[2])).nonzero()[:, 0]
        corners, moves, points = boxes.corners[keep], moves[keep], points[keep]
        sides = corners[:, 2:] - corners[:, :2] + 1
        landmarks = torch.stack(
            [sides[:, :1] * points[:, :5] + corners[:, :1] - 1, sides[:, 1:] * points[:, 5:] + corners[:, 1:2] - 1], 2
        )
        columns = [boxes.frame[keep][:, None], scores[keep, 1:], _moved(corners, moves), landmarks.flatten(1)]
        rows = torch.cat(columns, 1).cpu()
        return [_distinct(rows[rows[:, 0] == frame, 1:]) for frame in range(batch.frames)]


def _distinct(rows: Tensor) -> Found:
    """The faces of a frame, rows of probability, box and landmarks (n, 15), without those found twice."""
    # As in facenet-pytorch, down to which of two equally probable boxes comes first.
    rows = rows[np.argsort(rows[:, 0].numpy())[::-1].copy()]
    corners = rows[:, 1:5]
    kept = _greedy(_overlap(corners, corners, of_smaller=True) > 0.7, torch.ones(len(rows), dtype=torch.bool))
    rows = rows[kept]
    return rows[:, 1:5].numpy(), rows[:, 0].numpy(), rows[:, 5:].reshape(-1, 5, 2).numpy()


@dataclass(frozen=True)
class _Boxes:
    """Boxes in several frames.

    Attributes:
        frame: int64 (n,), each one's.
        corners: float32 (n, 4), x1 y1 x2 y2.
    """

    frame: Tensor
    corners: Tensor

    def some(self, which: Tensor) -> _Boxes:
        """Those of the numbers `which`."""
        return _Boxes(self.frame[which], self.corners[which])


class _Batch:
    """Frames of one size as a table of running sums.

    Args:
        frames: uint8 (n, H, W, 3).
    """

    def __init__(self, frames: Tensor) -> None:
        self.frames, self.height, self.width, _ = frames.shape
        planes = frames.permute(0, 3, 1, 2).contiguous()
        # A window's sum is a difference, right even where the sums have wrapped around.
        self._sums = torch.zeros(
            (self.frames, 3, self.height + 1, self.width + 1), dtype=torch.int32, device=frames.device
        )
        self._sums[:, :, 1:, 1:] = planes.cumsum(3, dtype=torch.int32).cumsum(2, dtype=torch.int32)

    def level(self, level: Level) -> Tensor:
        """A level of the pyramid as P-Net takes it, float32 (n, 3, h, w): (mean - 127.5) / 128."""
        top, bottom = self._windows(self.height, level.height)
        left, right = self._windows(self.width, level.width)
        rows = self._sums[:, :, bottom] - self._sums[:, :, top]
        sums = rows[..., right] - rows[..., left]
        return _normal(sums, (bottom - top)[:, None] * (right - left))

    def _windows(self, size: int, parts: int) -> tuple[Tensor, Tensor]:
        """Where the windows of adaptive average pooling begin and end; they may overlap."""
        edges = torch.arange(parts + 1, device=self._sums.device) * size
        return edges[:-1] // parts, -(-edges[1:] // parts)

    def see(self, boxes: _Boxes, network: nn.Module, side: int, at_a_time: int) -> tuple[Tensor, list[Tensor]]:
        """Which boxes (n,) have anything in their frame, and a network's answers to what is in them."""
        limit = torch.tensor([self.width, self.height], device=self._sums.device)
        ends = boxes.corners.long()  # towards zero; the first pixel is number 1, as in Matlab
        begins = torch.minimum(ends[:, :2].clamp(min=1) - 1, limit)
        ends = torch.minimum(ends[:, 2:].clamp(min=0), limit)
        inside = (ends > begins).all(1)
        ends = torch.maximum(ends, begins)
        answers = []
        for first in range(0, max(1, len(begins)), at_a_time):
            part = slice(first, first + at_a_time)
            pictures = self._cut(boxes.frame[part], begins[part], ends[part], side)
            # A few sizes of batches: the card plans its work for each size anew, and keeps the plans.
            blank = pictures.new_zeros((_round_up(len(pictures)) - len(pictures), 3, side, side))
            answers.append([answer[: len(pictures)] for answer in network(torch.cat([pictures, blank]))])
        return inside, [torch.cat(several) for several in zip(*answers, strict=True)]

    def _cut(self, frame: Tensor, begins: Tensor, ends: Tensor, side: int) -> Tensor:
        """Parts of the frames, area-resampled to squares as the networks take them, float32 (n, 3, side, side).

        Args:
            frame: (n,).
            begins, ends: (n, 2), x and y in pixels within the frame; what is empty gives nothing of use.
        """
        step, size = torch.arange(side, device=frame.device), (ends - begins)[..., None]
        first = begins[..., None] + step * size // side
        last = begins[..., None] - (-(step + 1) * size // side)
        (left, top), (right, bottom) = first.unbind(1), last.unbind(1)
        n, plane = frame[:, None, None, None], torch.arange(3, device=frame.device)[None, :, None, None]

        def sums(y: Tensor, x: Tensor) -> Tensor:
            return self._sums[n, plane, y[:, None, :, None], x[:, None, None, :]]

        counts = (bottom - top)[:, None, :, None] * (right - left)[:, None, None, :]
        return _normal(sums(bottom, right) - sums(top, right) - sums(bottom, left) + sums(top, left), counts)


def _normal(sums: Tensor, counts: Tensor) -> Tensor:
    return (sums / counts.clamp(min=1) - 127.5) * 0.0078125


def _round_up(count: int) -> int:
    """The next power of two, from 512 on the next multiple of 256; 1 at least."""
    return -(-count // 256) * 256 if count > 256 else 1 << max(0, count - 1).bit_length()


class _Cells:
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


def _suppress_near(cells: _Cells, scores: Tensor, frame: Tensor, cell: Tensor) -> Tensor:
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
    over = before & (_overlap_of(cells.boxes(*places)[:, None], boxes) > 0.5)
    alive = torch.zeros_like(scores, dtype=torch.bool)
    alive[frame, cell] = True
    while True:
        kept = ~(over & alive[frames, near]).any(1)
        if torch.equal(kept, alive[frame, cell]):
            return kept
        alive[frame, cell] = kept


def _suppress(boxes: _Boxes, scores: Tensor, threshold: float, frames: int) -> Tensor:
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
    kept = torch.cat([_greedy(_overlap(part, part) > threshold, in_part) for part, in_part in parts])
    return order[kept[frame, place].nonzero()[:, 0]]


def _greedy(over: Tensor, there: Tensor) -> Tensor:
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


def _overlap(a: Tensor, b: Tensor, of_smaller: bool = False) -> Tensor:
    """Overlap of each box (..., n, 4) with each of (..., m, 4): (..., n, m)."""
    return _overlap_of(a[..., :, None, :], b[..., None, :, :], of_smaller)


def _overlap_of(a: Tensor, b: Tensor, of_smaller: bool = False) -> Tensor:
    """Intersection over union; or the share of the smaller box, of whole pixels with both ends included."""
    one = 1 if of_smaller else 0
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2]) + one).clamp(min=0)
    common = sides[..., 0] * sides[..., 1]
    area_a, area_b = ((box[..., 2:] - box[..., :2] + one).prod(-1) for box in (a, b))
    return common / (torch.minimum(area_a, area_b) if of_smaller else area_a + area_b - common)


def _squared(boxes: Tensor) -> Tensor:
    """As `boxes.squared`."""
    sides = boxes[:, 2:] - boxes[:, :2]
    longest = sides.amax(1, keepdim=True)
    begin = boxes[:, :2] + sides * 0.5 - longest * 0.5
    return torch.cat([begin, begin + longest], 1)


def _moved(boxes: Tensor, moves: Tensor) -> Tensor:
    """As `boxes.moved`."""
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    return boxes + moves * torch.cat([sides, sides], 1)


@cache
def _networks(device: str) -> tuple[nn.Module, nn.Module, nn.Module]:
    from facenet_pytorch.models.mtcnn import ONet, PNet, RNet

    pnet, rnet, onet = (network().eval().requires_grad_(False).to(device) for network in (PNet, RNet, ONet))
    return pnet, rnet, onet
