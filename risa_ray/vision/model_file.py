"""Where models lie and what travels in their files; no torch, so that a config is checked without loading it."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from risa_ray.errors import InputError
from risa_ray.vision.onnx_file import OnnxSettings, read_onnx_settings, settings_path

SECOND_HEAD = 7
"""Classes of the second head where there is one: the original FER-2013 labels."""
_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib")


@dataclass(frozen=True)
class ModelSettings:
    """What travels with the weights, in the safetensors header.

    Attributes:
        widths, blocks, stem: shape of the network, see `ExpressionNet`.
        labels: classes of the second head, the original FER-2013 labels: 7, or 0 for a network without it.
        temperature: the logits are divided by it (Guo et al. 2017).
        crop_scale: side of the square crop over the geometric mean of an MTCNN box's sides; it reproduces how the
            training faces were cut.
        min_confidence: below it the answer is `unknown` ("low_confidence").
        min_face_px: smaller faces are `unknown` ("too_small").
        max_yaw_deg: faces turned further are `unknown` ("turned_away").
    """

    widths: tuple[int, ...]
    blocks: int
    temperature: float
    crop_scale: float
    min_confidence: float
    min_face_px: float
    max_yaw_deg: float
    labels: int = 0
    stem: int = 0


def header(settings: ModelSettings) -> dict[str, str]:
    """The safetensors header that carries the settings."""
    return {"risa": json.dumps(asdict(settings))}


def read_settings(path: Path) -> ModelSettings | OnnxSettings:
    """The settings of a model file: in the header of RISA's own, in the YAML beside an ONNX file.

    Raises:
        InputError: the file is not one of RISA's, or no ONNX model with its YAML.
    """
    return read_onnx_settings(path) if is_onnx(path) else read_own_settings(path)


_ABOVE_0 = ("temperature", "crop_scale")
_FROM_0 = ("min_confidence", "min_face_px", "max_yaw_deg")


def read_own_settings(path: Path) -> ModelSettings:
    """The settings of a model that RISA made.

    Raises:
        InputError: the file is not one of RISA's.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("risa")
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"model {path}: not a safetensors file ({reason}); {_way_out()}") from None
    if text is None:
        raise InputError(f"model {path}: a safetensors file, but no RISA expression model; {_way_out()}")
    try:
        raw: dict[str, Any] = json.loads(text)
        labels = int(raw.get("labels", 0))
        if labels not in (0, SECOND_HEAD):
            raise ValueError(f"a second head of {labels} labels; it has {SECOND_HEAD} or is not there")
        numbers = {name: float(raw[name]) for name in (*_ABOVE_0, *_FROM_0)}
        if wrong := [n for n, value in numbers.items() if not 0 <= value < math.inf or (n in _ABOVE_0 and not value)]:
            raise ValueError(f"{wrong[0]} is {numbers[wrong[0]]}")
        return ModelSettings(
            widths=tuple(int(w) for w in raw["widths"]),
            blocks=int(raw["blocks"]),
            labels=labels,
            stem=int(raw.get("stem", 0)),
            **numbers,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"model {path}: its RISA settings cannot be read ({error}); {_way_out()}") from None


def model_id(path: Path) -> str:
    """Name and digest of a model file, as it stands in every row; the YAML beside an ONNX file counts with it."""
    digest = hashlib.sha256(path.read_bytes())
    if is_onnx(path):
        digest.update(settings_path(path).read_bytes())
    return f"{path.stem}@{digest.hexdigest()[:8]}"


def is_onnx(path: Path) -> bool:
    return path.suffix.lower() == ".onnx"


def model_path(name: str) -> Path:
    """The file of a model: a name under models/ (the checkout's or the wheel's), or a path.

    Raises:
        InputError: there is none (the message lists the names there are), or its kind of file can run code.
    """
    suffix = Path(name).suffix.lower()
    if suffix in _PICKLES:
        raise InputError(
            f"model {name}: {suffix} files are pickles, which can run any code when opened; export the model to ONNX "
            "with a YAML beside it (docs/models.md), or to safetensors with RISA's training"
        )
    if suffix in (".safetensors", ".onnx") or "/" in name:
        path = Path(name).expanduser()
        if path.is_file():
            return path
        raise InputError(f"model {path}: no such file; {_way_out()}")
    path = models_folder() / f"{name}.safetensors"
    if path.is_file():
        return path
    raise InputError(f"unknown model {name!r}; {_way_out()}")


def _way_out() -> str:
    names = ", ".join(sorted(p.stem for p in models_folder().glob("*.safetensors"))) or "none"
    return f"known models: {names}; or give the path of a .safetensors file that RISA made, or of an .onnx file"


def models_folder() -> Path:
    """Where the shipped weights lie: in the wheel inside the package, in a checkout beside it."""
    inside = Path(str(resources.files("risa_ray"))) / "models"
    return inside if inside.is_dir() else inside.parent.parent / "models"
