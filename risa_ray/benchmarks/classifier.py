"""What reading a face costs against finding it."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch

from risa_ray.benchmarks.machine import machine
from risa_ray.sources.demo import render
from risa_ray.vision import ExpressionClassifier, create_detector

_SIZE = (640, 360)
_WARM_UP = 3


def bench_classifier(model: str, faces: int, repeats: int, threads: int, min_face_size: int) -> dict[str, Any]:
    """Milliseconds per face in a batch, beside one MTCNN pass over a 640x360 picture, in turns.

    The faces are cut out already; the scene has three people.
    """
    before = machine()
    torch.set_num_threads(threads)
    classifier = ExpressionClassifier.load(model, threads=threads)
    detector = create_detector("mtcnn", min_face_size=min_face_size)
    picture = np.asarray(cv2.resize(render("front", 1.0), _SIZE, interpolation=cv2.INTER_AREA), np.uint8)
    crops = np.random.default_rng(0).integers(0, 256, (faces, 48, 48), np.uint8)
    read, found = [], []
    for turn in range(_WARM_UP + repeats):
        seconds = _seconds(lambda: classifier.probabilities(crops)), _seconds(lambda: detector.detect([picture]))
        if turn >= _WARM_UP:
            read.append(1000 * seconds[0] / faces)
            found.append(1000 * seconds[1])
    return {
        "what": "classifier",
        "model_id": classifier.model_id,
        "faces": faces,
        "min_face_size": min_face_size,
        "threads": threads,
        "ms_per_face": median(read),
        "ms_per_mtcnn_pass": median(found),
        "ratio": median(r / f for r, f in zip(read, found, strict=True)),
        "machine": before,
    }


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
