"""Where models lie and what travels in their files; no torch, so that a config is checked without loading it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from risa_ray.errors import InputError


@dataclass(frozen=True)
class ModelSettings:
    """What travels with the weights, in the safetensors header.

    Attributes:
        widths, blocks: shape of the network.
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


def header(settings: ModelSettings) -> dict[str, str]:
    """The safetensors header that carries the settings."""
    return {"risa": json.dumps(asdict(settings))}


def read_settings(path: Path) -> ModelSettings:
    """The settings of a model file.

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
        return ModelSettings(
            widths=tuple(int(w) for w in raw["widths"]),
            blocks=int(raw["blocks"]),
            temperature=float(raw["temperature"]),
            crop_scale=float(raw["crop_scale"]),
            min_confidence=float(raw["min_confidence"]),
            min_face_px=float(raw["min_face_px"]),
            max_yaw_deg=float(raw["max_yaw_deg"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"model {path}: its RISA settings cannot be read ({error}); {_way_out()}") from None


def model_id(path: Path) -> str:
    """Name and digest of a model file, as it stands in every row."""
    return f"{path.stem}@{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"


def model_path(name: str) -> Path:
    """The file of a model: a name under models/ (the checkout's or the wheel's), or a path.

    Raises:
        InputError: there is none; the message lists the names there are.
    """
    if name.endswith(".safetensors") or "/" in name:
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
    return f"known models: {names}; or give the path of a .safetensors file that RISA made"


def models_folder() -> Path:
    """Where the shipped weights lie: in the wheel inside the package, in a checkout beside it."""
    inside = Path(str(resources.files("risa_ray"))) / "models"
    return inside if inside.is_dir() else inside.parent.parent / "models"
