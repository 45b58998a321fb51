"""The expression classifier: face crops in, calibrated probabilities and a decision out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from risa_ray.errors import InputError
from risa_ray.frames import Image
from risa_ray.vision.detectors import resolve_device
from risa_ray.vision.expressions import EXPRESSIONS
from risa_ray.vision.model_file import ModelSettings, model_id, model_path, read_settings
from risa_ray.vision.network import FACE_SIZE, ExpressionNet
from risa_ray.vision.preprocess import normalise

Floats = npt.NDArray[np.float32]


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


class ExpressionClassifier:
    """Reads the apparent expression of faces. On CPUs it runs in OpenVINO in float32, on GPUs in torch."""

    def __init__(
        self, network: ExpressionNet, settings: ModelSettings, model_id: str, device: str, threads: int
    ) -> None:
        self.settings = settings
        self.model_id = model_id
        served = _Served(network, settings.temperature).eval()
        if device == "cpu":
            self._infer = _openvino(served, threads)
        else:
            served = served.to(device)

            def infer(faces: Floats) -> Floats:
                with torch.inference_mode():
                    out: Floats = served(torch.from_numpy(faces).to(device)).cpu().numpy()
                return out

            self._infer = infer

    @classmethod
    def load(cls, name: str, *, device: str = "cpu", threads: int | None = None) -> ExpressionClassifier:
        """Load a model by its name under models/, or by the path of a .safetensors file.

        Args:
            device: "cpu", "auto" or a torch device.
            threads: on a CPU; torch's number by default.

        Raises:
            InputError: there is no such model, or the file is not one of RISA's.
        """
        network, settings, model_id = read_model(name)
        return cls(network, settings, model_id, resolve_device(device), threads or torch.get_num_threads())

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
        crops = [
            crop_face(frame, box, self.settings.crop_scale)
            for frame, several in zip(frames, per_frame, strict=True)
            for box in several
        ]
        if not crops:
            return [np.empty((0, len(EXPRESSIONS)), np.float32) for _ in per_frame]
        probabilities = self._infer(np.stack(crops).astype(np.float32)[:, None])
        return np.split(probabilities, np.cumsum([len(b) for b in per_frame])[:-1])

    def decide(self, probabilities: Floats, face_px: float, yaw_deg: float | None) -> Decision:
        """The apparent expression of one face, or `unknown` with the reason.

        Args:
            probabilities: (8,), of `predict`.
            face_px: shorter side of the face in the analysed picture.
            yaw_deg: None where the detector gives no landmarks.
        """
        best = int(np.argmax(probabilities))
        confidence = float(probabilities[best])
        reason = None
        if face_px < self.settings.min_face_px:
            reason = "too_small"
        elif yaw_deg is not None and abs(yaw_deg) > self.settings.max_yaw_deg:
            reason = "turned_away"
        elif confidence < self.settings.min_confidence:
            reason = "low_confidence"
        return Decision("unknown" if reason else EXPRESSIONS[best], confidence, reason)


def crop_face(frame: Image, box: npt.ArrayLike, crop_scale: float) -> npt.NDArray[np.uint8]:
    """The square grey picture uint8 (48, 48) around a box; beyond the frame's edge the edge repeats."""
    x1, y1, x2, y2 = np.asarray(box, np.float64)
    side = max(2, round(crop_scale * float(np.sqrt(max(x2 - x1, 1) * max(y2 - y1, 1)))))
    left, top = round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)
    height, width = frame.shape[:2]
    rows = np.clip(np.arange(top, top + side), 0, height - 1)
    columns = np.clip(np.arange(left, left + side), 0, width - 1)
    if top >= 0 and left >= 0 and top + side <= height and left + side <= width:
        patch = frame[top : top + side, left : left + side]
    else:
        patch = frame[np.ix_(rows, columns)]
    grey = cv2.cvtColor(np.ascontiguousarray(patch), cv2.COLOR_RGB2GRAY)
    shrinking = side > FACE_SIZE
    interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(grey, (FACE_SIZE, FACE_SIZE), interpolation=interpolation), np.uint8)


def read_model(name: str) -> tuple[ExpressionNet, ModelSettings, str]:
    """A model's network, settings and id (name and digest of the file).

    Raises:
        InputError: there is no such model, or the file is not one of RISA's.
    """
    path = model_path(name)
    settings = read_settings(path)
    network = ExpressionNet(settings.widths, settings.blocks, len(EXPRESSIONS), dropout=0.0)
    try:
        network.load_state_dict(load_file(path))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"model {path}: its weights do not fit its settings ({reason}); make it again") from None
    return network, settings, model_id(path)


def _openvino(served: nn.Module, threads: int) -> Any:
    """Compile for the CPU. Float32 throughout: OpenVINO would use bfloat16 where the processor has it, and the
    numbers would depend on the machine."""
    import openvino

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # OpenVINO traces with torch.jit, which torch is phasing out
        model = openvino.convert_model(served, example_input=torch.zeros(2, 1, FACE_SIZE, FACE_SIZE))
    model.reshape([-1, 1, FACE_SIZE, FACE_SIZE])
    compiled = openvino.Core().compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": str(threads),
        },
    )
    request = compiled.create_infer_request()

    def infer(faces: Floats) -> Floats:
        out: Floats = np.array(request.infer([faces])[0], np.float32)
        return out

    return infer
