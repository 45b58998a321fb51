"""Face detectors behind one contract: MTCNN, Haar cascades (OpenCV) and HOG (dlib)."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import cv2.data
import numpy as np
import numpy.typing as npt
import torch

from risa_ray.errors import InputError
from risa_ray.frames import Image
from risa_ray.vision.mtcnn.boxes import Floats, Found
from risa_ray.vision.mtcnn.stages import StageClock
from risa_ray.vision.workers import Workers


@dataclass(frozen=True, slots=True)
class Faces:
    """The faces of one frame, by falling score.

    Attributes:
        boxes: float32 (n, 4), x1 y1 x2 y2 in pixels; they may reach beyond the picture.
        scores: float32 (n,) in 0..1; a probability for MTCNN, a monotone score for the others.
        landmarks: float32 (n, 5, 2), left eye, right eye, nose, left and right mouth corner as seen in the picture;
            None with detectors that give none.
    """

    boxes: Floats
    scores: Floats
    landmarks: Floats | None

    def __len__(self) -> int:
        return len(self.boxes)


class Detector(Protocol):
    """Finds faces; a detector is used by one thread at a time."""

    name: str

    def detect(self, frames: Sequence[Image]) -> list[Faces]:
        """The faces of each frame (RGB uint8 (H, W, 3), sizes may differ); an empty list for no frame.

        Raises:
            ValueError: a frame is not RGB uint8 (H, W, 3).
        """
        ...

    def refine(self, frames: Sequence[Image], expected: Sequence[Floats]) -> list[Faces]:
        """The faces of each frame about where they are expected, boxes float32 (n, 4) a frame; no others.

        A detector that has no cheaper way to find them looks for all there are.

        Raises:
            ValueError: as `detect`.
        """
        ...


def _checked(frame: Image) -> Image:
    if not (isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3):
        got = f"{getattr(frame, 'dtype', type(frame).__name__)} {getattr(frame, 'shape', '')}".strip()
        raise ValueError(f"a frame must be RGB uint8 of shape (height, width, 3), not {got}")
    return np.ascontiguousarray(frame)


def _sorted(boxes: npt.ArrayLike, scores: npt.ArrayLike, landmarks: npt.ArrayLike | None) -> Faces:
    b, s = np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(scores, np.float32).reshape(-1)
    order = np.lexsort((b[:, 0], -s))
    points = None if landmarks is None else np.asarray(landmarks, np.float32).reshape(-1, 5, 2)[order]
    return Faces(b[order], s[order], points)


class _SearchesAll(ABC):
    """A detector without a cheaper way to find faces again."""

    @abstractmethod
    def detect(self, frames: Sequence[Image]) -> list[Faces]: ...

    def refine(self, frames: Sequence[Image], expected: Sequence[Floats]) -> list[Faces]:
        del expected
        return self.detect(frames)


class _MtcnnEngine(Protocol):
    clock: StageClock

    def detect(self, frames: Sequence[Image]) -> list[Found]: ...

    def refine(self, frames: Sequence[Image], expected: Sequence[Floats]) -> list[Found]: ...


class MtcnnDetector:
    """MTCNN (Zhang et al. 2016) in engines of our own with facenet-pytorch's weights and boxes."""

    name = "mtcnn"

    def __init__(self, device: str, min_face_size: int, threads: int) -> None:
        self._engine: _MtcnnEngine
        if device == "cpu":
            # Compiling takes seconds, which other detectors need not wait for.
            from risa_ray.vision.mtcnn.cpu import CpuMtcnn

            self._engine = CpuMtcnn(min_face_size, threads)
        else:
            from risa_ray.vision.mtcnn.gpu import GpuMtcnn

            self._engine = GpuMtcnn(min_face_size, threads, device)

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Seconds spent in each of the three stages since the start."""
        return self._engine.clock.seconds

    def detect(self, frames: Sequence[Image]) -> list[Faces]:
        return [_sorted(*found) for found in self._engine.detect([_checked(f) for f in frames])]

    def refine(self, frames: Sequence[Image], expected: Sequence[Floats]) -> list[Faces]:
        return [_sorted(*found) for found in self._engine.refine([_checked(f) for f in frames], expected)]


class HaarDetector(_SearchesAll):
    """Viola-Jones with OpenCV's frontal-face cascade; a fast alternative without landmarks.

    The score is a logistic of the cascade's level weight: it orders faces, it is no probability.
    """

    name = "haar"

    def __init__(self, device: str, min_face_size: int, threads: int) -> None:
        del device
        self._min = (min_face_size, min_face_size)
        self._workers = Workers(threads)
        self._local = threading.local()

    def detect(self, frames: Sequence[Image]) -> list[Faces]:
        return self._workers.map(self._one, [_checked(f) for f in frames])

    def _one(self, frame: Image) -> Faces:
        if min(frame.shape[:2]) < 24:  # the cascade's own window
            return _sorted([], [], None)
        grey = cv2.equalizeHist(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
        boxes, _, weights = self._cascade().detectMultiScale3(
            grey, scaleFactor=1.1, minNeighbors=5, minSize=self._min, outputRejectLevels=True
        )
        xywh = np.asarray(boxes, np.float32).reshape(-1, 4)
        scores = 1 / (1 + np.exp(-np.asarray(weights, np.float32).reshape(-1)))
        return _sorted(np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]), scores, None)

    def _cascade(self) -> cv2.CascadeClassifier:
        """This thread's own: a cascade is not made for several threads at once."""
        if not hasattr(self._local, "cascade"):
            path = cv2.data.haarcascades + "haarcascade_frontalface_default.xml"
            self._local.cascade = cv2.CascadeClassifier(path)
        cascade: cv2.CascadeClassifier = self._local.cascade
        return cascade


class DlibDetector(_SearchesAll):
    """dlib's HOG frontal detector (Dalal and Triggs 2005; King 2009), without landmarks.

    It finds faces of 80 pixels and more, so the picture is resized until the smallest wanted face has 80. The score
    is a logistic of dlib's: it orders faces, it is no probability.
    """

    name = "dlib"
    _window = 80

    def __init__(self, device: str, min_face_size: int, threads: int) -> None:
        del device, threads  # dlib keeps the interpreter's lock
        try:
            import dlib
        except ImportError:
            raise InputError("detector dlib: dlib is not installed; install the extra 'dlib' or choose mtcnn") from None
        self._detect = dlib.get_frontal_face_detector()
        self._scale = self._window / min_face_size

    def detect(self, frames: Sequence[Image]) -> list[Faces]:
        return [self._one(_checked(f)) for f in frames]

    def _one(self, frame: Image) -> Faces:
        height, width = frame.shape[:2]
        size = (max(1, round(width * self._scale)), max(1, round(height * self._scale)))
        if min(size) < self._window:
            return _sorted([], [], None)
        shrinking = self._scale < 1
        resized = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
        rectangles, scores, _ = self._detect.run(resized, 0, 0.0)
        boxes = [(r.left(), r.top(), r.right() + 1, r.bottom() + 1) for r in rectangles]
        return _sorted(
            np.asarray(boxes, np.float32).reshape(-1, 4) / self._scale, 1 / (1 + np.exp(-np.asarray(scores))), None
        )


DETECTORS: dict[str, Callable[[str, int, int], Detector]] = {
    "mtcnn": MtcnnDetector,
    "haar": HaarDetector,
    "dlib": DlibDetector,
}


def create_detector(name: str, *, device: str = "cpu", min_face_size: int = 20, threads: int | None = None) -> Detector:
    """A detector by name.

    Args:
        name: "mtcnn", "haar" or "dlib".
        device: "cpu" or a torch device such as "cuda"; Haar and dlib always use the CPU.
        min_face_size: shorter side of the smallest face looked for, in pixels; MTCNN takes it as a coarse hint and
            may find faces of half the size.
        threads: of the detector on a CPU, and that feed a GPU; torch's number by default.

    Raises:
        InputError: the name is unknown, the size is below 12 pixels, or the device is not there.
    """
    if name not in DETECTORS:
        raise InputError(f"unknown detector {name!r}; choose one of {', '.join(DETECTORS)}")
    if min_face_size < 12:
        raise InputError(f"min_face_size {min_face_size} is too small; the least is 12 pixels")
    return DETECTORS[name](resolve_device(device), min_face_size, threads or torch.get_num_threads())


def resolve_device(device: str) -> str:
    """ "auto" becomes "cuda" where there is one, else "cpu".

    Raises:
        InputError: there is no such device, or no such GPU here.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        wanted = torch.device(device)
        device = "cpu" if wanted.type == "cpu" else device
    except RuntimeError:
        raise InputError(f"device {device!r}: no such device; use 'cpu', 'cuda', 'cuda:1' or 'auto'") from None
    there = torch.cuda.device_count()
    if wanted.type != "cpu" and (wanted.index or 0) >= there:
        raise InputError(f"device {device!r}: {'no such' if there else 'no'} GPU is usable here; use 'cpu' or 'auto'")
    return device


_NOSE_DEPTH = 0.55
"""How far the nose tip stands before the eyes, in inter-ocular distances: a rough figure for an adult head, chosen, not
measured; the yaw is an estimate."""


def yaw_degrees(landmarks: Floats | None) -> list[float | None]:
    """Head yaw in degrees from the five landmarks, positive when the nose points to the picture's right.

    The nose's sideways shift from the middle of the eyes, along the line through them, over the eyes' distance is
    depth x tan(yaw) under a weak-perspective head. None without landmarks or with eyes in one point.
    """
    if landmarks is None:
        return []
    yaws: list[float | None] = []
    for left, right, nose, *_ in np.asarray(landmarks, np.float64):
        axis = right - left
        distance2: Any = axis @ axis
        if distance2 < 1e-6:
            yaws.append(None)
            continue
        shift = float((nose - (left + right) / 2) @ axis / distance2)
        yaws.append(float(np.degrees(np.arctan(shift / _NOSE_DEPTH))))
    return yaws
