"""What the YAML beside an ONNX model says; no torch and no runtime, so that a config is checked without loading it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, field_validator, model_validator

from risa_ray.config import read_yaml
from risa_ray.config_base import Model
from risa_ray.config_faults import explain
from risa_ray.errors import InputError
from risa_ray.vision.expressions import EXPRESSIONS

_EXTERNAL_DATA = b"\x0a\x08location\x12"
"""How an entry `location` of a tensor's external_data starts in the file (onnx.proto, TensorProto)."""


class OnnxSettings(Model):
    """How faces go into a foreign model and what comes out. What cannot be seen from the ONNX file has no default.

    Attributes:
        input_size: side of the square picture, in pixels.
        colour: order of the channels; grey has one.
        normalisation: `raw` hands on 0..255, `scaled` (value / scale - mean) / std, `per_picture` what RISA's own
            networks read: zero mean and unit deviation of each picture (and channel).
        scale, mean, std: of `scaled`; one number per channel, or one for all.
        labels: classes of the output, in its order.
        map: by label its expression, or null for a class that is left out, the rest renormalised. A label that is the
            name of an expression needs no entry; labels with the same expression add up.
        output: whether the network ends in a softmax ("probabilities") or before it ("logits").
        temperature: the logits are divided by it (Guo et al. 2017).
        crop_scale, min_confidence, min_face_px, max_yaw_deg: as in `ModelSettings`.
    """

    input_size: int = Field(ge=8, le=1024)
    colour: Literal["grey", "rgb", "bgr"]
    normalisation: Literal["per_picture", "scaled", "raw"]
    scale: float = Field(default=255.0, gt=0)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    labels: tuple[str, ...] = Field(min_length=2)
    map: dict[str, str | None] = Field(default_factory=dict)
    output: Literal["logits", "probabilities"] = "logits"
    temperature: float = Field(default=1.0, gt=0)
    crop_scale: float = Field(default=1.1, gt=0, le=4)
    min_confidence: float = Field(default=0.5, ge=0, le=1)
    min_face_px: float = Field(default=16.0, ge=0)
    max_yaw_deg: float = Field(default=60.0, ge=0, le=90)

    @property
    def channels(self) -> int:
        return 1 if self.colour == "grey" else 3

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Shape of one face in the model's input."""
        side, channels = self.input_size, self.channels
        return (channels, side, side) if self.layout == "NCHW" else (side, side, channels)

    def expression_of(self, label: str) -> str | None:
        """The expression that a label counts for; None when it is left out."""
        return self.map.get(label, label)

    def fold(self) -> npt.NDArray[np.float64]:
        """Which label counts for which expression: 0 or 1, (labels, 8)."""
        return np.array([[self.expression_of(label) == e for e in EXPRESSIONS] for label in self.labels], np.float64)

    @field_validator("std")
    @classmethod
    def _divisible(cls, std: tuple[float, ...]) -> tuple[float, ...]:
        if any(s <= 0 for s in std):
            raise ValueError("every deviation must be above 0")
        return std

    @model_validator(mode="after")
    def _normalised(self) -> OnnxSettings:
        given = self.model_fields_set & {"scale", "mean", "std"}
        if given and self.normalisation != "scaled":
            raise ValueError(f"{sorted(given)[0]}: belongs to normalisation 'scaled', not to {self.normalisation!r}")
        for key, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                takes = "1" if self.channels == 1 else "1 or 3"
                raise ValueError(f"{key}: {len(values)} numbers, but colour {self.colour!r} takes {takes}")
        return self

    @model_validator(mode="after")
    def _mapped(self) -> OnnxSettings:
        twice = next((label for label in self.labels if self.labels.count(label) > 1), None)
        if twice is not None:
            raise ValueError(f"labels: {twice!r} is given twice")
        for label, expression in self.map.items():
            if label not in self.labels:
                raise ValueError(f"map: {label!r} is none of the labels {', '.join(self.labels)}")
            if expression is not None and expression not in EXPRESSIONS:
                raise ValueError(f"map: {label}: {expression!r} is no expression; use one of {_KNOWN}, or null")
        for label in self.labels:
            if label not in self.map and label not in EXPRESSIONS:
                raise ValueError(f"labels: {label!r} is no expression; map it to one of {_KNOWN}, or to null")
        if not self.fold().any():
            raise ValueError("map: every label is left out; map some of them to expressions")
        return self


_KNOWN = ", ".join(EXPRESSIONS)


def settings_path(path: Path) -> Path:
    """The YAML of an ONNX model: the same name beside it."""
    return path.with_suffix(".yaml")


def read_onnx_settings(path: Path) -> OnnxSettings:
    """The settings of an ONNX model, from the YAML beside it.

    Raises:
        InputError: there is no YAML or it is wrong, or the ONNX file cannot be read or keeps weights in other files.
    """
    beside = settings_path(path)
    if not beside.is_file():
        raise InputError(f"model {path}: {beside.name} is missing beside it; docs/models.md shows what it says")
    raw = read_yaml(beside, "input_size", "docs/models.md")
    try:
        settings = OnnxSettings.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{beside}: {explain(error, raw, lambda _: list(OnnxSettings.model_fields))}") from None
    read_onnx(path)
    return settings


def read_onnx(path: Path) -> bytes:
    """The content of an ONNX file that is whole in itself, so that its digest covers all of the model.

    Raises:
        InputError: it cannot be read, or keeps weights in other files.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"model {path}: cannot be read ({error.strerror}); give a readable file") from None
    if _EXTERNAL_DATA in content:
        raise InputError(f"model {path}: its weights lie in other files; save it as one file (no external data)")
    return content
