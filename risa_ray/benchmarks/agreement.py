"""How far two detectors find the same faces."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torchvision.ops import box_iou

from risa_ray.vision.detectors import Faces


def overlaps(a: Faces, b: Faces) -> npt.NDArray[np.float32]:
    """Intersection over union of every box of one with every box of the other."""
    return np.asarray(box_iou(torch.from_numpy(a.boxes), torch.from_numpy(b.boxes)).numpy(), np.float32)


def agreement(found: list[Faces], reference: list[Faces]) -> tuple[float, float]:
    """Recall and precision at IoU 0.5; each is 1 where there is nothing to find, or to be wrong about."""
    hit = right = 0
    for faces, truth in zip(found, reference, strict=True):
        near = overlaps(faces, truth) >= 0.5
        hit += int(near.any(0).sum())
        right += int(near.any(1).sum())
    wanted, given = sum(map(len, reference)), sum(map(len, found))
    return hit / wanted if wanted else 1.0, right / given if given else 1.0


def keeps_contract(faces: Faces, reference: Faces) -> bool:
    """Whether faces are the reference's as the exact engine promises.

    Every reference box with a probability of 0.9 and more has one with IoU >= 0.95, a probability within 0.02 and
    landmarks within a pixel; and there is no other box with a probability of 0.95 and more.
    """
    if faces.landmarks is None or reference.landmarks is None:
        return False
    near = overlaps(faces, reference)
    for index in np.flatnonzero(reference.scores >= 0.9):
        if not len(faces):
            return False
        match = int(near[:, index].argmax())
        moved = np.abs(faces.landmarks[match] - reference.landmarks[index]).max()
        if near[match, index] < 0.95 or abs(faces.scores[match] - reference.scores[index]) > 0.02 or moved > 1:
            return False
    sure = faces.scores >= 0.95
    return bool((near.max(1, initial=0)[sure] >= 0.95).all())
