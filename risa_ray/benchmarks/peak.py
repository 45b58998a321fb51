"""Memory that a detector takes for one frame, measured in a process of its own."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch

from risa_ray.frames import Image
from risa_ray.sources.demo import render
from risa_ray.vision.detectors import Faces


class Finder(Protocol):
    """What finds faces."""

    def detect(self, frames: list[Image]) -> list[Faces]: ...


def peak_mib(create: Callable[[], Finder], device: str, size: tuple[int, int], threads: int) -> float | None:
    """MiB above the loaded and warm detector while it looks at the demo's scene in a size (width, height).

    On a CPU resident memory; on a GPU what torch has allocated there.

    Args:
        create: makes the detector; picklable.
        threads: of torch and OpenCV.

    Returns:
        None where the process was killed, as for want of memory, or the system keeps no account.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as alone:
        try:
            return alone.submit(_peak, create, device, size, threads).result()
        except (BrokenProcessPool, OSError, torch.OutOfMemoryError):
            return None


def _peak(create: Callable[[], Finder], device: str, size: tuple[int, int], threads: int) -> float:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    detector = create()
    scene = render("front", 1.0)
    frame = np.asarray(cv2.resize(scene, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    detector.detect([scene])
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        detector.detect([frame])
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is resident
    before = _kib("VmRSS")
    detector.detect([frame])
    return (_kib("VmHWM") - before) / 1024


def _kib(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])
