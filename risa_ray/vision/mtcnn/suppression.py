"""Non-maximum suppression on a CPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from risa_ray.vision.mtcnn.boxes import Floats
from risa_ray.vision.mtcnn.compiled import compiled

Ints = npt.NDArray[np.int64]


@compiled
def suppress(boxes: Floats, order: Ints, threshold: float, of_smaller: bool) -> Ints:
    """Greedy non-maximum suppression.

    Args:
        boxes: (n, 4), x1 y1 x2 y2.
        order: their numbers, the most probable first.
        threshold: the largest overlap that two kept boxes may have.
        of_smaller: overlap is the share of the smaller box, of whole pixels with both ends included, as in
            facenet-pytorch's last step; otherwise intersection over union, as in torchvision.

    Returns:
        Numbers of the boxes kept, in that order.
    """
    n = len(order)
    one = np.float32(1 if of_smaller else 0)
    x1, y1, x2, y2 = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    area = np.empty(n, np.float32)
    for i in range(n):
        x1[i], y1[i], x2[i], y2[i] = boxes[order[i]]
        area[i] = (x2[i] - x1[i] + one) * (y2[i] - y1[i] + one)
    out = np.zeros(n, np.uint8)
    kept = np.empty(n, np.int64)
    count = 0
    zero = np.float32(0)
    for i in range(n):
        if out[i]:
            continue
        kept[count] = order[i]
        count += 1
        for j in range(i + 1, n):
            wide = max(zero, min(x2[i], x2[j]) - max(x1[i], x1[j]) + one)
            high = max(zero, min(y2[i], y2[j]) - max(y1[i], y1[j]) + one)
            common = wide * high
            whole = min(area[i], area[j]) if of_smaller else area[i] + area[j] - common
            out[j] |= np.float64(common / whole) > threshold
    return kept[:count].copy()
