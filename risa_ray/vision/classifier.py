"""The expression classifier: face crops in, calibrated probabilities and a decision out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from risa_ray.errors import InputError
from risa_ray.frames import Image
from risa_ray.vision.cpu_runtime import compile_for_cpu, from_torch
from risa_ray.vision.detectors import resolve_device, yaw_degrees
from risa_ray.vision.expressions import EXPRESSIONS
from risa_ray.vision.model_file import SECOND_HEAD, ModelSettings, is_onnx, model_id, model_path, read_own_settings
from risa_ray.vision.network import FACE_SIZE, ExpressionNet
from risa_ray.vision.onnx_file import OnnxSettings
from risa_ray.vision.onnx_model import OnnxModel
from risa_ray.vision.preprocess import fit, normalise, resize

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_AT_ONCE = 256
"""Faces in one call of a network at most, so that an evaluation of thousands keeps its memory."""


@dataclass(frozen=True, slots=True)
class Decision:
    """An apparent expression, or 'unknown' with the reason for abstaining."""

    expression: str
    confidence: float
    abstain_reason: str | None


class _Served(nn.Module):
    """What runs in production: the network on a picture and its mirror image, averaged, as probabilities."""

    def __init__(self, network: ExpressionNet, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, faces: Tensor) -> Tensor:
        x = normalise(faces)
        logits = (self.network(x) + self.network(x.flip(3))) / 2
        return torch.softmax(logits / self.temperature, dim=1)


class _Model(Protocol):
    """What gives probabilities to faces of `side` pixels, grey or RGB."""

    @property
    def side(self) -> int: ...
    @property
    def grey(self) -> bool: ...
    @property
    def second_head(self) -> Callable[[Bytes], Floats] | None: ...
    def probabilities(self, faces: Bytes) -> Floats: ...


class _OwnModel:
    """A network of RISA's: on CPUs in OpenVINO, on GPUs in torch; its second head in torch everywhere."""

    side, grey = FACE_SIZE, True

    def __init__(self, network: ExpressionNet, temperature: float, device: str, threads: int) -> None:
        served = _Served(network, temperature).eval().to(device)
        self._infer = _openvino(served, threads) if device == "cpu" else _torch(served, device)
        self.second_head = self._second_head(network, device) if network.label_head is not None else None

    def probabilities(self, faces: Bytes) -> Floats:
        return self._infer(_as_input(faces))

    @staticmethod
    def _second_head(network: ExpressionNet, device: str) -> Callable[[Bytes], Floats]:
        def both_ways(faces: Tensor) -> Tensor:
            x = normalise(faces)
            return torch.softmax((network.both_heads(x)[1] + network.both_heads(x.flip(3))[1]) / 2, dim=1)

        infer = _torch(both_ways, device)
        return lambda faces: infer(_as_input(faces))


class ExpressionClassifier:
    """Reads the apparent expression of faces, with a model of RISA's or one that the user brings as ONNX."""

    def __init__(self, model: _Model, settings: ModelSettings | OnnxSettings, model_id: str) -> None:
        self._model = model
        self.settings = settings
        self.model_id = model_id

    @classmethod
    def load(cls, name: str, *, device: str = "cpu", threads: int | None = None) -> ExpressionClassifier:
        """Load a model by its name under models/, or by the path of a .safetensors or .onnx file.

        Args:
            device: "cpu", "auto" or a torch device. An ONNX model runs on the CPU whatever the device.
            threads: on a CPU; torch's number by default.

        Raises:
            InputError: there is no such model, the file is none that RISA reads, or an ONNX file does not fit the
                YAML beside it.
        """
        path, device, threads = model_path(name), resolve_device(device), threads or torch.get_num_threads()
        if is_onnx(path):
            foreign = OnnxModel(path, threads)
            return cls(foreign, foreign.settings, model_id(path))
        network, settings, digest = read_model(name)
        return cls(_OwnModel(network, settings.temperature, device, threads), settings, digest)

    def predict(self, frames: Sequence[Image], boxes: Sequence[npt.ArrayLike]) -> list[Floats]:
        """Probabilities of the eight expressions for the faces of each frame.

        Args:
            frames: RGB uint8 (H, W, 3) each.
            boxes: per frame (n, 4) x1 y1 x2 y2 in pixels.

        Returns:
            Per frame float32 (n, 8) in the order of EXPRESSIONS, calibrated; rows sum to 1.

        Raises:
            ValueError: there are not as many box arrays as frames.
        """
        per_frame = [np.asarray(b, np.float32).reshape(-1, 4) for b in boxes]
        if len(per_frame) != len(frames):
            raise ValueError(f"{len(frames)} frames but boxes for {len(per_frame)}")
        side, grey = self._model.side, self._model.grey
        crops = [
            crop_face(frame, box, self.settings.crop_scale, side, grey)
            for frame, several in zip(frames, per_frame, strict=True)
            for box in several
        ]
        if not crops:
            return [np.empty((0, len(EXPRESSIONS)), np.float32) for _ in per_frame]
        return np.split(self.probabilities(np.stack(crops)), np.cumsum([len(b) for b in per_frame])[:-1])

    def probabilities(self, faces: Bytes) -> Floats:
        """Probabilities of the eight expressions for faces that are cut out already.

        Args:
            faces: grey uint8 (n, s, s) or RGB uint8 (n, s, s, 3), cut as `crop_face` does; resized where s is not the
                side of the model's input.

        Returns:
            float32 (n, 8), as `predict`.

        Raises:
            ValueError: the faces are of another type or shape.
        """
        return self._in_parts(self._model.probabilities, faces, len(EXPRESSIONS))

    def label_probabilities(self, faces: Bytes) -> Floats | None:
        """Probabilities of the original FER-2013 labels from the second head, for evaluation; not calibrated.

        Args:
            faces: as `probabilities`.

        Returns:
            float32 (n, 7) in the order of `training.data.FER2013_LABELS`, averaged over the face and its mirror
            image; rows sum to 1. None for a model without a second head.

        Raises:
            ValueError: as `probabilities`.
        """
        second_head = self._model.second_head
        return None if second_head is None else self._in_parts(second_head, faces, SECOND_HEAD)

    def _in_parts(self, function: Callable[[Bytes], Floats], faces: Bytes, classes: int) -> Floats:
        if not len(faces):
            return np.empty((0, classes), np.float32)
        fitted = fit(faces, self._model.side, self._model.grey)
        return np.concatenate([function(fitted[i : i + _AT_ONCE]) for i in range(0, len(fitted), _AT_ONCE)])

    def decide(self, probabilities: Floats, face_px: float, landmarks: npt.ArrayLike | None) -> Decision:
        """The apparent expression of one face, or `unknown` with the reason.

        Args:
            probabilities: (8,), of `predict`.
            face_px: shorter side of the face in the analysed picture.
            landmarks: (5, 2), the face's points as `Faces.landmarks` has them, in pixels; None where the detector
                gives none.
        """
        best = int(np.argmax(probabilities))
        confidence = float(probabilities[best])
        yaw = None if landmarks is None else yaw_degrees(np.asarray(landmarks, np.float32)[None])[0]
        reason = None
        if face_px < self.settings.min_face_px:
            reason = "too_small"
        elif yaw is not None and abs(yaw) > self.settings.max_yaw_deg:
            reason = "turned_away"
        elif not confidence >= self.settings.min_confidence:
            reason = "low_confidence"
        return Decision("unknown" if reason else EXPRESSIONS[best], confidence, reason)


def crop_face(frame: Image, box: npt.ArrayLike, crop_scale: float, size: int = FACE_SIZE, grey: bool = True) -> Bytes:
    """The square picture around a box; beyond the frame's edge the edge repeats.

    Args:
        frame: RGB uint8 (H, W, 3).
        box: x1 y1 x2 y2 in pixels.
        crop_scale: side of the square over the geometric mean of the box's sides.
        size: side of the result, in pixels.

    Returns:
        uint8 (size, size), or RGB (size, size, 3) unless `grey`.
    """
    x1, y1, x2, y2 = np.asarray(box, np.float64)
    side = max(2, round(crop_scale * float(np.sqrt(max(x2 - x1, 1) * max(y2 - y1, 1)))))
    left, top = round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)
    height, width = frame.shape[:2]
    if top >= 0 and left >= 0 and top + side <= height and left + side <= width:
        patch = frame[top : top + side, left : left + side]
    else:
        rows = np.clip(np.arange(top, top + side), 0, height - 1)
        columns = np.clip(np.arange(left, left + side), 0, width - 1)
        patch = frame[np.ix_(rows, columns)]
    patch = np.ascontiguousarray(patch)
    return resize(np.asarray(cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY), np.uint8) if grey else patch, size)


def read_model(name: str) -> tuple[ExpressionNet, ModelSettings, str]:
    """The network, settings and id (name and digest of the file) of a model that RISA made.

    Weights stored in half precision come out in float32.

    Raises:
        InputError: there is no such model, or the file is not one of RISA's.
    """
    path = model_path(name)
    settings = read_own_settings(path)
    network = ExpressionNet(
        settings.widths,
        settings.blocks,
        len(EXPRESSIONS),
        dropout=0.0,
        labels=settings.labels,
        stem=settings.stem,
    )
    try:
        network.load_state_dict(load_file(path))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"model {path}: its weights do not fit its settings ({reason}); make it again") from None
    return network, settings, model_id(path)


def _as_input(faces: Bytes) -> Floats:
    return faces[:, None].astype(np.float32)


def _torch(function: Callable[[Tensor], Tensor], device: str) -> Callable[[Floats], Floats]:
    def infer(faces: Floats) -> Floats:
        with torch.inference_mode():
            out: Floats = function(torch.from_numpy(faces).to(device)).cpu().numpy()
        return out

    return infer


def _openvino(served: nn.Module, threads: int) -> Callable[[Floats], Floats]:
    infer = compile_for_cpu(from_torch(served, 1, FACE_SIZE, FACE_SIZE), threads)
    return lambda faces: infer(faces)[0]
