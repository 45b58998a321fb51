"""Detection over the frames of many cameras, grouped by detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from risa_ray.frames import Image
from risa_ray.vision.detectors import Detector, Faces, create_detector

DetectorKey = tuple[str, int]
"""Name and min_face_size."""


class DetectorPool:
    """The detectors of one process.

    Args:
        device: "cpu" or a torch device.
        max_batch: frames in one call on a GPU.
        threads: as `create_detector`.
    """

    def __init__(self, device: str, max_batch: int, threads: int) -> None:
        self._device = device
        self._threads = threads
        self._max_batch = max_batch
        self._detectors: dict[DetectorKey, Detector] = {}

    def detect(self, keys: Sequence[DetectorKey], images: Sequence[Image]) -> list[Faces]:
        """The faces of each image (RGB uint8 (H, W, 3)), found by the detector that its key names."""
        return self._by_key(keys, lambda detector, part: detector.detect([images[i] for i in part]))

    def refine(
        self, keys: Sequence[DetectorKey], images: Sequence[Image], expected: Sequence[npt.NDArray[np.float32]]
    ) -> list[Faces]:
        """The faces of each image about where they are expected, boxes (n, 4) an image."""
        return self._by_key(
            keys, lambda detector, part: detector.refine([images[i] for i in part], [expected[i] for i in part])
        )

    def _by_key(self, keys: Sequence[DetectorKey], find: Callable[[Detector, list[int]], list[Faces]]) -> list[Faces]:
        groups: dict[DetectorKey, list[int]] = {}
        for index, key in enumerate(keys):
            groups.setdefault(key, []).append(index)
        found: dict[int, Faces] = {}
        for key, indices in groups.items():
            # On a CPU the detector deals all there is out to its threads.
            most = len(indices) if self._device == "cpu" else self._max_batch
            for at in range(0, len(indices), most):
                part = indices[at : at + most]
                found.update(zip(part, find(self._detector(key), part), strict=True))
        return [found[i] for i in range(len(keys))]

    def _detector(self, key: DetectorKey) -> Detector:
        if key not in self._detectors:
            name, size = key
            self._detectors[key] = create_detector(name, device=self._device, min_face_size=size, threads=self._threads)
        return self._detectors[key]
