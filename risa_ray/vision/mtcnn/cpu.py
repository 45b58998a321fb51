"""MTCNN on a CPU: P-Net in compiled loops, R-Net and O-Net in OpenVINO, the work shared by threads."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from risa_ray.frames import Image
from risa_ray.vision.mtcnn.kernels import cut, propose, suppress
from risa_ray.vision.workers import Workers

Floats = npt.NDArray[np.float32]
Found = tuple[Floats, Floats, Floats]
"""Boxes (n, 4), probabilities (n,) and landmarks (n, 5, 2)."""

THRESHOLDS = (0.6, 0.7, 0.7)
"""Least probability after P-Net, R-Net and O-Net."""
FACTOR = 0.709
"""From one level of the pyramid to the next; its square is a half."""
_CELL = 12
"""Side of what one cell of P-Net's answer sees."""


@dataclass(frozen=True)
class Level:
    """One level of an image pyramid: its scale, and its size in pixels."""

    scale: float
    height: int
    width: int


def pyramid(height: int, width: int, min_face_size: int) -> list[Level]:
    """The levels of a frame, finest first; none when no face of that size fits in."""
    scale = _CELL / min_face_size
    least = min(height, width) * scale
    levels = []
    while least >= _CELL:
        levels.append(Level(scale, int(height * scale + 1), int(width * scale + 1)))
        scale, least = scale * FACTOR, least * FACTOR
    return levels


class CpuMtcnn:
    """The three stages; used by one caller at a time, who waits while `threads` of them work."""

    def __init__(self, min_face_size: int, threads: int) -> None:
        self._min_face_size = min_face_size
        self._weights, self._rnet, self._onet = _networks()
        self._workers, self._alone = Workers(threads), Workers(1)

    def detect(self, frames: Sequence[Image]) -> list[Found]:
        """The faces of each frame, RGB uint8 (H, W, 3), contiguous.

        Several frames are a thread's work each, which gains the most; a frame that is alone is cut in strips.
        """
        if len(frames) == 1:
            return [self._one(frames[0], self._workers)]
        return self._workers.map(lambda frame: self._one(frame, self._alone), frames)

    def _one(self, frame: Image, share: Workers) -> Found:
        # Numba compiles for pictures that may be written to and for others apart; one of the two is enough.
        frame = frame.view()
        frame.flags.writeable = False
        return self._verify(frame, self._propose(frame, share), share)

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
        kept = [
            _boxes_of(np.concatenate(cells), level) for cells, level in zip(found, levels, strict=True) if len(cells)
        ]
        if not kept:
            return np.empty((0, 4), np.float32)
        boxes, scores, moves = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        pick = suppress(boxes, scores, 0.7, False)
        boxes, moves = boxes[pick], moves[pick]
        sides = boxes[:, 2:] - boxes[:, :2]
        return _squared(boxes + moves * np.concatenate([sides, sides], 1))

    def _verify(self, frame: Image, boxes: Floats, share: Workers) -> Found:
        """Second and third stage."""
        boxes, (moves, scores) = _see(frame, boxes, self._rnet, share)
        keep = scores[:, 1] > np.float32(THRESHOLDS[1])
        boxes, scores, moves = boxes[keep], scores[keep, 1], moves[keep]
        pick = suppress(boxes, scores, 0.7, False)
        boxes = _squared(_moved(boxes[pick], moves[pick]))

        boxes, (moves, points, scores) = _see(frame, boxes, self._onet, share)
        keep = scores[:, 1] > np.float32(THRESHOLDS[2])
        boxes, scores, moves, points = boxes[keep], scores[keep, 1], moves[keep], points[keep]
        sides = boxes[:, 2:] - boxes[:, :2] + 1
        landmarks = np.stack(
            [sides[:, :1] * points[:, :5] + boxes[:, :1] - 1, sides[:, 1:] * points[:, 5:] + boxes[:, 1:2] - 1], 2
        )
        boxes = _moved(boxes, moves)
        pick = suppress(boxes, scores, 0.7, True)
        return boxes[pick], scores[pick], landmarks[pick]


def _see(frame: Image, boxes: Floats, network: _Network, share: Workers) -> tuple[Floats, list[Floats]]:
    """The boxes of which anything lies in the frame, and a network's answers to what is in them."""
    height, width = frame.shape[:2]
    ends = boxes.astype(np.int64)  # towards zero; the first pixel is number 1, as in Matlab
    begins = np.maximum(ends[:, :2], 1) - 1
    ends = np.minimum(ends[:, 2:], (width, height))
    inside = (ends > begins).all(1)
    pixels = np.concatenate([begins, ends], 1)[inside]
    parts = [pixels[i : i + network.batch] for i in range(0, len(pixels), network.batch)]
    answers = share.map(lambda part: network(cut(frame, part, network.side)), parts) or [network.nothing]
    return boxes[inside], [np.concatenate(several) for several in zip(*answers, strict=True)]


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
    end = np.floor((cells[:, :2] * 2 + _CELL) / scale)
    boxes = np.concatenate([begin, end], 1)
    pick = suppress(boxes, cells[:, 2].copy(), 0.5, False)
    return boxes[pick], cells[pick, 2], cells[pick, 3:]


def _squared(boxes: Floats) -> Floats:
    """Squares about the same centres, as long as the longer side."""
    sides = boxes[:, 2:] - boxes[:, :2]
    longest = sides.max(1, keepdims=True)
    begin = boxes[:, :2] + sides * np.float32(0.5) - longest * np.float32(0.5)
    squares: Floats = np.concatenate([begin, begin + longest], 1)
    return squares


def _moved(boxes: Floats, moves: Floats) -> Floats:
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    moved: Floats = boxes + moves * np.concatenate([sides, sides], 1)
    return moved


class _Network:
    """R-Net or O-Net, for pictures of side `side`, `batch` of them at a time; several threads may call it."""

    def __init__(self, module: Any, side: int, batch: int) -> None:
        import openvino
        import torch

        self.side, self.batch = side, batch
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # as for the expression model
            model = openvino.convert_model(module, example_input=torch.zeros(1, 3, side, side))
        model.reshape([-1, 3, side, side])
        # A stream of one thread for every thread that may call.
        streams = str(os.cpu_count() or 1)
        self._compiled = openvino.Core().compile_model(
            model,
            "CPU",
            {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": streams, "NUM_STREAMS": streams},
        )
        self._free: list[Any] = []
        widths = [int(output.partial_shape[1].get_length()) for output in model.outputs]
        self.nothing = [np.empty((0, width), np.float32) for width in widths]

    def __call__(self, pictures: Floats) -> list[Floats]:
        try:
            request = self._free.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        answer = request.infer([pictures])
        result = [np.array(answer[i], np.float32) for i in range(len(self.nothing))]
        self._free.append(request)
        return result


@cache
def _networks() -> tuple[tuple[Floats, ...], _Network, _Network]:
    """P-Net's weights as `propose` takes them, R-Net and O-Net; once a process."""
    from facenet_pytorch.models.mtcnn import ONet, PNet, RNet

    state = {name: value.numpy() for name, value in PNet().state_dict().items()}
    score, score_bias = state["conv4_1.weight"][:, :, 0, 0], state["conv4_1.bias"]
    heads = np.concatenate([score[1:] - score[:1], state["conv4_2.weight"][:, :, 0, 0]])
    head_bias = np.concatenate([score_bias[1:] - score_bias[:1], state["conv4_2.bias"]])
    layers = [state[name] for i in "123" for name in (f"conv{i}.weight", f"conv{i}.bias", f"prelu{i}.weight")]
    weights = tuple(np.ascontiguousarray(a, np.float32) for a in (*layers, heads, head_bias))
    return weights, _Network(RNet().eval(), 24, 64), _Network(ONet().eval(), 48, 16)
