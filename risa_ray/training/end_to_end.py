"""Given faces put back into larger scenes, found by a detector, cut out and classified as in use.

A FER-2013 picture is a face already cut out, loosely. In use the classifier gets what a detector's box cuts out, so
its accuracy on given pictures promises nothing until both are compared on the same faces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from risa_ray.frames import Image
from risa_ray.training.metrics import accuracy
from risa_ray.vision.detectors import Detector

Floats = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]

SIDE = 120
"""Side in pixels of a pasted picture; its face is about as large as that of somebody at a counter."""
GAP = 72
"""Least distance in pixels between pictures, and to the scene's edge: no crop reaches a neighbour."""
COLUMNS, ROWS = 4, 3
MIN_FACE_SIZE = 40
"""What the detector is asked for, in pixels: the default of `risa stream`."""
_SCENES_AT_ONCE = 4


class Classifier(Protocol):
    """The part of ExpressionClassifier that is used here."""

    def predict(self, frames: list[Image], boxes: list[Floats]) -> list[Floats]: ...


@dataclass(frozen=True)
class Found:
    """What became of n pictures.

    `found` bool (n,); `probabilities` float32 (found, 8) of those found, in order; `widened` the same with boxes that
    are this many times as wide and high about their centre.
    """

    found: npt.NDArray[np.bool_]
    probabilities: Floats
    widened: dict[float, Floats]


def scene(pictures: Pictures, seed: int) -> tuple[Image, npt.NDArray[np.int64]]:
    """One scene with up to COLUMNS x ROWS pictures on a smooth, faintly grained background.

    Args:
        pictures: uint8 (n, H, W), grey; each is enlarged to SIDE (bicubic).
        seed: of the background.

    Returns:
        RGB uint8 (H, W, 3), and where each picture is: int64 (n, 4), x1 y1 x2 y2.

    Raises:
        ValueError: there are more pictures than places.
    """
    if len(pictures) > COLUMNS * ROWS:
        raise ValueError(f"{len(pictures)} pictures, but {COLUMNS * ROWS} places")
    canvas = _background(COLUMNS * (SIDE + GAP) + GAP, ROWS * (SIDE + GAP) + GAP, np.random.default_rng(seed))
    places = np.empty((len(pictures), 4), np.int64)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, COLUMNS)
        x, y = GAP + column * (SIDE + GAP), GAP + row * (SIDE + GAP)
        large = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        canvas[y : y + SIDE, x : x + SIDE] = large[..., None]
        places[number] = x, y, x + SIDE, y + SIDE
    return canvas, places


def _background(width: int, height: int, random: np.random.Generator) -> Image:
    coarse = random.uniform(70, 180, (height // 90, width // 90, 1)) + random.uniform(-12, 12, 3)
    smooth = cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    grain = random.normal(0, 3, (height, width, 1))
    return np.asarray((smooth + grain).round().clip(0, 255), np.uint8)


def find_and_classify(
    pictures: Pictures,
    detector: Detector,
    classifier: Classifier,
    *,
    seed: int = 0,
    widen: Sequence[float] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Found:
    """Paste, detect, crop and classify pictures, uint8 (n, H, W), grey.

    A picture is found when the centre of a box lies where it was pasted; of several such boxes the best-scored
    counts. Scenes depend on the seed and the order of the pictures only.

    Args:
        widen: factors by which the boxes are made larger, each giving another answer.
        progress: called with pictures done and in all.
    """
    per_scene = COLUMNS * ROWS
    found: list[npt.NDArray[np.bool_]] = []
    probabilities: dict[float, list[Floats]] = {factor: [] for factor in (1.0, *widen)}
    for start in range(0, len(pictures), per_scene * _SCENES_AT_ONCE):
        several = pictures[start : start + per_scene * _SCENES_AT_ONCE]
        made = [
            scene(several[first : first + per_scene], seed + (start + first) // per_scene)
            for first in range(0, len(several), per_scene)
        ]
        frames = [frame for frame, _ in made]
        boxes = []
        for faces, (_, places) in zip(detector.detect(frames), made, strict=True):
            best = _best_boxes(faces.boxes, places)
            found.append(best >= 0)
            boxes.append(faces.boxes[best[best >= 0]])
        for factor, answers in probabilities.items():
            answers.extend(classifier.predict(frames, [_widened(several, factor) for several in boxes]))
        if progress is not None:
            progress(start + len(several), len(pictures))
    if not found:
        nothing = np.empty((0, 8), np.float32)
        return Found(np.empty(0, np.bool_), nothing, dict.fromkeys(widen, nothing))
    whole = {factor: np.concatenate(answers) for factor, answers in probabilities.items()}
    return Found(np.concatenate(found), whole[1.0], {factor: whole[factor] for factor in widen})


def _widened(boxes: Floats, factor: float) -> Floats:
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * factor
    return np.concatenate([centre - half, centre + half], 1).astype(np.float32)


def _best_boxes(boxes: Floats, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Number of the first box (they come by falling score) with its centre in each place, -1 where there is none."""
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    x1, y1, x2, y2 = (edge[:, None] for edge in places.T)
    inside = (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
    if not len(boxes):
        return np.full(len(places), -1, np.int64)
    return np.asarray(np.where(inside.any(1), inside.argmax(1), -1), np.int64)


def end_to_end_figures(result: Found, given: Floats, truth: npt.NDArray[np.int64], crop_scale: float) -> dict[str, Any]:
    """The detector's recall, and the accuracy on the found faces with the detector's crop and with the given one.

    Args:
        given: probabilities (n, 8) of the given crops.
        truth: (n,), numbers of expressions.
        crop_scale: the classifier's.

    Returns:
        n_found, detector_recall, end_to_end_accuracy and given_crop_accuracy, the last three as [value, low, high];
        the accuracies are None when nothing was found. by_crop_scale: end_to_end_accuracy by the crop scale, as text,
        that the boxes were widened to.
    """
    found = result.found
    answers = {crop_scale: result.probabilities} | {crop_scale * f: p for f, p in result.widened.items()}
    return {
        "n_found": int(found.sum()),
        "detector_recall": accuracy(found),
        "end_to_end_accuracy": accuracy(result.probabilities.argmax(1) == truth[found]),
        "given_crop_accuracy": accuracy(given.argmax(1)[found] == truth[found]),
        "by_crop_scale": {f"{s:.2f}": accuracy(answers[s].argmax(1) == truth[found]) for s in sorted(answers)},
    }
