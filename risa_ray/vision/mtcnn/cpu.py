"""MTCNN on a CPU: its networks in compiled loops, the work shared by threads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from risa_ray.frames import Image
from risa_ray.vision.mtcnn.boxes import THRESHOLDS, Floats, Found, around, moved, squared
from risa_ray.vision.mtcnn.kernels import cut, propose, winograd
from risa_ray.vision.mtcnn.pyramid import CELL, Level, pyramid
from risa_ray.vision.mtcnn.refiners import Refiner, onet, rnet
from risa_ray.vision.mtcnn.stages import StageClock
from risa_ray.vision.mtcnn.suppression import suppress
from risa_ray.vision.workers import Workers


class CpuMtcnn:
    """The three stages; used by one caller at a time, who waits while `threads` of them work."""

    def __init__(self, min_face_size: int, threads: int) -> None:
        self._min_face_size = min_face_size
        self._weights, self._rnet, self._onet = _pnet(), rnet(), onet()
        self._workers, self._alone = Workers(threads), Workers(1)
        self.clock = StageClock()

    def detect(self, frames: Sequence[Image]) -> list[Found]:
        """The faces of each frame, RGB uint8 (H, W, 3), contiguous.

        Several frames are a thread's work each, which gains the most; a frame that is alone is cut in strips.
        """
        if len(frames) == 1:
            return [self._one(frames[0], self._workers)]
        return self._workers.map(lambda frame: self._one(frame, self._alone), frames)

    def refine(self, frames: Sequence[Image], expected: Sequence[Floats]) -> list[Found]:
        """The faces of each frame about the boxes (n, 4) where they are expected; the first stage is left out."""

        def one(job: tuple[Image, Floats], share: Workers) -> Found:
            frame, boxes = _locked(job[0]), around(job[1])
            boxes, moves, scores = self._screen(frame, boxes, share)
            # Moved before they are compared: R-Net moves all squares about a face to it, and few are left.
            boxes = moved(boxes, moves)
            return self._locate(frame, squared(boxes[_by_union(boxes, scores, 0.7)]), share)

        jobs = list(zip(frames, expected, strict=True))
        if len(jobs) == 1:
            return [one(jobs[0], self._workers)]
        return self._workers.map(lambda job: one(job, self._alone), jobs)

    def _one(self, frame: Image, share: Workers) -> Found:
        frame = _locked(frame)
        with self.clock.time("propose"):
            squares = self._propose(frame, share)
        boxes, moves, scores = self._screen(frame, squares, share)
        pick = _by_union(boxes, scores, 0.7)
        return self._locate(frame, squared(moved(boxes[pick], moves[pick])), share)

    def _propose(self, frame: Image, share: Workers) -> Floats:
        """First stage: squares (n, 4) that may hold a face."""
        levels = pyramid(frame.shape[0], frame.shape[1], self._min_face_size)
        jobs = [(number, *rows) for number, level in enumerate(levels) for rows in _strips(level)]
        threshold = THRESHOLDS[0]

        def work(job: tuple[int, int, int]) -> Floats:
            number, top, bottom = job
            level = levels[number]
            return propose(frame, level.height, level.width, top, bottom, threshold, *self._weights)

        found: list[list[Floats]] = [[] for _ in levels]
        for (number, *_), cells in zip(jobs, share.map(work, jobs), strict=True):
            found[number].append(cells)
        if not levels:
            return np.empty((0, 4), np.float32)
        kept = [_boxes_of(np.concatenate(cells), level) for cells, level in zip(found, levels, strict=True)]
        boxes, scores, moves = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        pick = _by_union(boxes, scores, 0.7)
        boxes, moves = boxes[pick], moves[pick]
        sides = boxes[:, 2:] - boxes[:, :2]
        return squared(boxes + moves * np.concatenate([sides, sides], 1))

    def _screen(self, frame: Image, boxes: Floats, share: Workers) -> tuple[Floats, Floats, Floats]:
        """Second stage: the squares (n, 4) that R-Net takes for faces, how it moves them, and their probabilities."""
        with self.clock.time("screen"):
            boxes, seen = _see(frame, boxes, self._rnet, share)
        keep = seen[:, 0] > np.float32(THRESHOLDS[1])
        return boxes[keep], seen[keep, 1:5], seen[keep, 0]

    def _locate(self, frame: Image, boxes: Floats, share: Workers) -> Found:
        """Third stage: the faces in squares (n, 4)."""
        with self.clock.time("locate"):
            boxes, seen = _see(frame, boxes, self._onet, share)
        keep = seen[:, 0] > np.float32(THRESHOLDS[2])
        boxes, scores, moves, points = boxes[keep], seen[keep, 0], seen[keep, 1:5], seen[keep, 5:]
        sides = boxes[:, 2:] - boxes[:, :2] + 1
        landmarks = np.stack(
            [sides[:, :1] * points[:, :5] + boxes[:, :1] - 1, sides[:, 1:] * points[:, 5:] + boxes[:, 1:2] - 1], 2
        )
        boxes = moved(boxes, moves)
        # As in facenet-pytorch, down to which of two equally probable boxes comes first.
        pick = suppress(boxes, np.argsort(scores)[::-1].copy(), 0.7, True)
        return boxes[pick], scores[pick], landmarks[pick]


def _locked(frame: Image) -> Image:
    """Numba compiles for pictures that may be written to and for others apart; one of the two is enough."""
    frame = frame.view()
    frame.flags.writeable = False
    return frame


def _see(frame: Image, boxes: Floats, network: Refiner, share: Workers) -> tuple[Floats, Floats]:
    """The boxes of which anything lies in the frame, and a network's answers to what is in them."""
    height, width = frame.shape[:2]
    ends = boxes.astype(np.int64)  # towards zero; the first pixel is number 1, as in Matlab
    begins = np.maximum(ends[:, :2], 1) - 1
    ends = np.minimum(ends[:, 2:], (width, height))
    inside = (ends > begins).all(1)
    pixels = np.concatenate([begins, ends], 1)[inside]
    # As many parts for each thread, and all of like size, so that none waits for another.
    rounds = -(-len(pixels) // (network.batch * share.threads))
    parts = [part for part in np.array_split(pixels, max(1, rounds * share.threads)) if len(part)]
    answers = share.map(lambda part: network(cut(frame, part, network.side)), parts)
    return boxes[inside], np.concatenate([np.empty((0, 15), np.float32), *answers])


_STRIP = 100_000
"""Pixels of a level that make one job: some milliseconds."""


def _strips(level: Level) -> list[tuple[int, int]]:
    """The rows of P-Net's answer in parts of like work."""
    rows = (level.height - 1) // 2 - 4
    parts = min(rows, level.height * level.width // _STRIP + 1)
    edges = [rows * i // parts for i in range(parts + 1)]
    return list(pairwise(edges))


def _boxes_of(cells: Floats, level: Level) -> tuple[Floats, Floats, Floats]:
    """Boxes, scores and moves of P-Net's cells on one level, overlaps suppressed; in float32, as in facenet-pytorch."""
    scale = np.float32(level.scale)
    begin = np.floor((cells[:, :2] * 2 + 1) / scale)
    end = np.floor((cells[:, :2] * 2 + CELL) / scale)
    boxes = np.concatenate([begin, end], 1)
    pick = _by_union(boxes, cells[:, 2], 0.5)
    return boxes[pick], cells[pick, 2], cells[pick, 3:]


def _by_union(boxes: Floats, scores: Floats, threshold: float) -> npt.NDArray[np.int64]:
    """Non-maximum suppression as in torchvision: by intersection over union, the first of equals first."""
    return suppress(boxes, np.argsort(-scores, kind="stable"), threshold, False)


@cache
def _pnet() -> tuple[Floats, ...]:
    """P-Net's weights as `propose` takes them; that, `cut` and `suppress` have run once then, and are compiled."""
    from facenet_pytorch.models.mtcnn import PNet

    state = {name: value.numpy() for name, value in PNet().state_dict().items()}
    score, score_bias = state["conv4_1.weight"][:, :, 0, 0], state["conv4_1.bias"]
    heads = np.concatenate([score[1:] - score[:1], state["conv4_2.weight"][:, :, 0, 0]])
    head_bias = np.concatenate([score_bias[1:] - score_bias[:1], state["conv4_2.bias"]])
    for name in ("conv2.weight", "conv3.weight"):
        state[name] = winograd(state[name])
    layers = [state[name] for i in "123" for name in (f"conv{i}.weight", f"conv{i}.bias", f"prelu{i}.weight")]
    weights = tuple(np.ascontiguousarray(a, np.float32) for a in (*layers, heads, head_bias))
    blank = _locked(np.zeros((CELL, CELL, 3), np.uint8))
    _boxes_of(propose(blank, CELL, CELL, 0, 1, THRESHOLDS[0], *weights), Level(1.0, CELL, CELL))
    cut(blank, np.array([[0, 0, CELL, CELL]]), CELL)
    return weights
