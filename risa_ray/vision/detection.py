"""Detection over the frames of many cameras: grouped by detector, batched on a GPU, spread over the cores of a CPU."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from risa_ray.frames import Image
from risa_ray.vision.detectors import Detector, Faces, create_detector

DetectorKey = tuple[str, int]
"""Name and min_face_size."""


class DetectorPool:
    """The detectors of one process.

    On a CPU each frame is one thread's work, `threads` frames at a time: MTCNN's many small operations gain less from
    being split (1.2 to 1.6 x on two cores) than frames from being dealt out (1.8 to 1.9 x).
    On a GPU frames go in batches.

    Args:
        device: "cpu" or a torch device.
        max_batch: frames in one call on a GPU.
        threads: frames at a time on a CPU.
    """

    def __init__(self, device: str, max_batch: int, threads: int) -> None:
        self._device = device
        self._threads = threads
        self._max_batch = max_batch
        self._local = threading.local()
        self._pool = (
            ThreadPoolExecutor(threads, "detect", initializer=_one_thread) if device == "cpu" and threads > 1 else None
        )

    def detect(self, keys: Sequence[DetectorKey], images: Sequence[Image]) -> list[Faces]:
        """The faces of each image (RGB uint8 (H, W, 3)), found by the detector that its key names."""
        if self._pool is not None and len(images) > 1:
            return list(self._pool.map(self._one, keys, images))
        if self._pool is not None and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)  # a lone frame gets all of them; torch counts them per calling thread
        groups: dict[DetectorKey, list[int]] = {}
        for index, key in enumerate(keys):
            groups.setdefault(key, []).append(index)
        found: dict[int, Faces] = {}
        for key, indices in groups.items():
            for at in range(0, len(indices), self._max_batch):
                part = indices[at : at + self._max_batch]
                found.update(zip(part, self._detector(key).detect([images[i] for i in part]), strict=True))
        return [found[i] for i in range(len(images))]

    def _one(self, key: DetectorKey, image: Image) -> Faces:
        return self._detector(key).detect([image])[0]

    def _detector(self, key: DetectorKey) -> Detector:
        """This thread's own: detectors are not made for several threads at once."""
        known: dict[DetectorKey, Detector] = self._local.__dict__.setdefault("detectors", {})
        if key not in known:
            known[key] = create_detector(key[0], device=self._device, min_face_size=key[1])
        return known[key]


def _one_thread() -> None:
    torch.set_num_threads(1)
