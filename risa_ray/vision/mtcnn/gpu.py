"""MTCNN on a GPU: a batch of frames stays on the card from the pixels to the last network's answers.

Nothing is done once per candidate. Torch tells no device apart here, so the same code runs, slowly, on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from risa_ray.frames import Image
from risa_ray.vision.mtcnn.boxes import THRESHOLDS, Floats, Found, around
from risa_ray.vision.mtcnn.gpu_batch import Batch
from risa_ray.vision.mtcnn.gpu_suppression import Boxes, Cells, greedy, overlap, suppress, suppress_near
from risa_ray.vision.mtcnn.pyramid import pyramid
from risa_ray.vision.mtcnn.stages import StageClock
from risa_ray.vision.workers import Workers

_BYTES = 4 * 2**30
"""On the card, for the frames that are looked at together."""
_TABLE, _FINEST = 42, 104
"""Bytes that a pixel of a frame takes while its table is made, and a pixel of the finest level while P-Net runs."""
_RNET_BATCH, _ONET_BATCH = 8192, 2048


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
                return self._locate(batch, Boxes(boxes.frame, _squared(boxes.corners)))

    def _anywhere(self, frames: list[Image]) -> tuple[Boxes, Batch]:
        """First and second stage."""
        with self.clock.time("propose"):
            batch = Batch(self._uploaded(frames))
            squares = self._propose(batch)
        with self.clock.time("screen"):
            boxes, moves, scores = self._screen(batch, squares)
            pick = suppress(boxes, scores, 0.7, batch.frames)
            boxes = boxes.some(pick)
            return Boxes(boxes.frame, _moved(boxes.corners, moves[pick])), batch

    def _about(self, frames: list[Image], expected: list[Floats]) -> tuple[Boxes, Batch]:
        """Second stage alone, on squares about where faces are expected."""
        with self.clock.time("screen"):
            batch = Batch(self._uploaded(frames))
            boxes, moves, scores = self._screen(batch, self._boxes([around(several) for several in expected]))
            # Moved before they are compared: R-Net moves all squares about a face to it, and few are left.
            boxes = Boxes(boxes.frame, _moved(boxes.corners, moves))
            return boxes.some(suppress(boxes, scores, 0.7, batch.frames)), batch

    def _uploaded(self, frames: list[Image]) -> Tensor:
        """The frames on the card, uint8 (n, H, W, 3)."""
        pinned = self._device.type != "cpu"  # a card fetches from there by itself
        staged = torch.empty((len(frames), *frames[0].shape), dtype=torch.uint8, pin_memory=pinned)
        room = staged.numpy()
        self._workers.map(lambda number: np.copyto(room[number], frames[number]), range(len(frames)))
        return staged.to(self._device, non_blocking=True)

    def _boxes(self, frames: list[Floats]) -> Boxes:
        counts = [len(boxes) for boxes in frames]
        frame = torch.repeat_interleave(torch.arange(len(frames)), torch.tensor(counts))
        return Boxes(frame.to(self._device), torch.from_numpy(np.concatenate(frames)).to(self._device))

    def _propose(self, batch: Batch) -> Boxes:
        """First stage: squares that may hold a face."""
        levels = pyramid(batch.height, batch.width, self._min_face_size)
        if not levels:
            return self._boxes([np.empty((0, 4), np.float32)] * batch.frames)
        answers = [self._pnet(batch.level(level)) for level in levels]
        moves = torch.cat([move.flatten(2) for move, _ in answers], 2)
        scores = torch.cat([score[:, 1].flatten(1) for _, score in answers], 1)
        cells = Cells(levels, self._device)
        frame, cell = (scores >= THRESHOLDS[0]).nonzero(as_tuple=True)
        # Candidates of a level come by frame, row and column, as in facenet-pytorch, which settles ties.
        kept = suppress_near(cells, scores, frame, cell).nonzero()[:, 0]
        frame, cell = frame[kept], cell[kept]
        corners = cells.boxes(*cells.places(cell))
        pick = suppress(Boxes(frame, corners), scores[frame, cell], 0.7, batch.frames)
        frame, cell, corners = frame[pick], cell[pick], corners[pick]
        sides = corners[:, 2:] - corners[:, :2]
        return Boxes(frame, _squared(corners + moves[frame, :, cell] * torch.cat([sides, sides], 1)))

    def _screen(self, batch: Batch, boxes: Boxes) -> tuple[Boxes, Tensor, Tensor]:
        """Second stage: the squares that R-Net takes for faces, how it moves them, and their probabilities."""
        inside, (moves, scores) = batch.see(boxes, self._rnet, 24, _RNET_BATCH)
        keep = (inside & (scores[:, 1] > THRESHOLDS[1])).nonzero()[:, 0]
        return boxes.some(keep), moves[keep], scores[keep, 1]

    def _locate(self, batch: Batch, boxes: Boxes) -> list[Found]:
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
    kept = greedy(overlap(corners, corners, of_smaller=True) > 0.7, torch.ones(len(rows), dtype=torch.bool))
    rows = rows[kept]
    return rows[:, 1:5].numpy(), rows[:, 0].numpy(), rows[:, 5:].reshape(-1, 5, 2).numpy()


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
