"""Anybody's own expression model: an ONNX file on the CPU runtime, fed and read as the YAML beside it says."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from risa_ray.errors import InputError
from risa_ray.vision.cpu_runtime import compile_for_cpu
from risa_ray.vision.onnx_file import OnnxSettings, read_onnx, read_onnx_settings, settings_path
from risa_ray.vision.preprocess import normalise

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_AT_ONCE = 32
"""Faces in one call of a network with a free batch at most: such networks may be large."""


class OnnxModel:
    """Probabilities of the eight expressions from an ONNX model.

    Always on the CPU: OpenVINO reads ONNX itself, and there is no second runtime for GPUs. A file whose batch is fixed
    gets its faces in groups of that size.

    Args:
        threads: of the CPU.

    Raises:
        InputError: the YAML or the file is wrong, or the two do not fit; two made-up faces are run to see.
    """

    second_head = None

    def __init__(self, path: Path, threads: int) -> None:
        self.settings = read_onnx_settings(path)
        self._path = path
        network = self._parsed()
        self._batch = self._shaped(network)
        self._dtype = self._input_type(network)
        try:
            self._infer = compile_for_cpu(network, threads)
        except RuntimeError as error:
            raise self._refusal(f"the CPU runtime cannot run it ({_short(error)}); export it again") from None
        self._try_out()

    @property
    def side(self) -> int:
        return self.settings.input_size

    @property
    def grey(self) -> bool:
        return self.settings.colour == "grey"

    def probabilities(self, faces: Bytes) -> Floats:
        """Probabilities float32 (n, 8) of faces uint8 (n, side, side), or RGB (n, side, side, 3) unless grey."""
        return to_probabilities(self._outputs(faces), self.settings)

    def _outputs(self, faces: Bytes) -> Floats:
        """What the network gives, (n, numbers a face)."""
        x = to_input(faces, self.settings).astype(self._dtype)
        step = self._batch or min(len(x), _AT_ONCE)
        return np.concatenate([self._group(x[i : i + step], step) for i in range(0, len(x), step)])

    def _group(self, x: npt.NDArray[Any], step: int) -> Floats:
        filled = np.concatenate([x, np.repeat(x[-1:], step - len(x), 0)]) if len(x) < step else x
        out = self._infer(filled)[0]
        if step > 1 and (out.ndim < 2 or len(out) != step):
            raise ValueError(f"{step} faces in, an output of shape {list(out.shape)} out")
        return out.reshape(step, -1)[: len(x)]

    def _parsed(self) -> Any:
        from openvino import frontend

        failures = (
            RuntimeError,
            frontend.GeneralFailure,
            frontend.InitializationFailure,
            frontend.NotImplementedFailure,
            frontend.OpConversionFailure,
            frontend.OpValidationFailure,
        )
        # By name, since OpenVINO otherwise asks the front ends of every format it knows.
        onnx = frontend.FrontEndManager().load_by_framework("onnx")
        try:
            network = onnx.convert(onnx.load(io.BytesIO(read_onnx(self._path))))
        except failures as error:
            raise self._refusal(f"not an ONNX file that OpenVINO can read ({_short(error)}); export it again") from None
        if len(network.inputs) != 1 or len(network.outputs) != 1:
            found = f"{len(network.inputs)} inputs and {len(network.outputs)} outputs"
            raise self._refusal(f"it has {found}; export it with one picture in and the classes out")
        return network

    def _shaped(self, network: Any) -> int | None:
        """Give the network its input shape.

        Returns:
            The batch where it is fixed, at the input or by a step within, None where it is free.
        """
        wanted, partial = self.settings.picture_shape, network.input(0).partial_shape
        given = [None] * 4 if partial.rank.is_dynamic else [None if d.is_dynamic else d.get_length() for d in partial]
        if len(given) != 4 or any(g not in (None, w) for g, w in zip(given[1:], wanted, strict=True)):
            has = "x".join("?" if g is None else str(g) for g in given)
            says = "x".join(map(str, wanted))
            raise self._refusal(
                f"its input is {has}, but {self._yaml} says {says} a face (input_size, colour, layout); correct it"
            )
        batch = given[0]
        try:
            network.reshape([batch or -1, *wanted])
            out = network.output(0).partial_shape
            if batch is None and out.rank.is_static and len(out) > 1 and out[0].is_static:
                batch = int(out[0].get_length())
                network.reshape([batch, *wanted])
        except RuntimeError as error:
            raise self._refusal(f"it takes no {wanted} a face ({_short(error)}); correct {self._yaml}") from None
        return batch

    def _input_type(self, network: Any) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(network.input(0).element_type.to_dtype())
        if dtype.kind != "f" and (dtype != np.uint8 or self.settings.normalisation != "raw"):
            kind = self.settings.normalisation
            raise self._refusal(f"it reads {dtype}, which cannot take {kind!r} pictures; export it to read float32")
        return dtype

    def _try_out(self) -> None:
        shape = (2, self.side, self.side) if self.grey else (2, self.side, self.side, 3)
        try:
            out = self._outputs(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
        except (RuntimeError, ValueError) as error:
            raise self._refusal(f"it fails on two trial faces ({_short(error)}); check {self._yaml}") from None
        labels = len(self.settings.labels)
        if out.shape[1] != labels:
            raise self._refusal(f"it gives {out.shape[1]} numbers a face, but {self._yaml} names {labels} labels")
        if not np.isfinite(out).all():
            raise self._refusal(f"it gives numbers that are not finite; check normalisation in {self._yaml}")
        like = bool((out >= 0).all()) and bool(np.allclose(out.sum(1), 1, atol=1e-3))
        if like != (self.settings.output == "probabilities"):
            seen, other = ("sum to 1", "probabilities") if like else ("do not sum to 1", "logits")
            raise self._refusal(f"its outputs {seen} for a face; say 'output: {other}' in {self._yaml}")

    @property
    def _yaml(self) -> str:
        return settings_path(self._path).name

    def _refusal(self, reason: str) -> InputError:
        return InputError(f"model {self._path}: {reason}")


def to_input(faces: Bytes, settings: OnnxSettings) -> Floats:
    """Faces uint8 (n, side, side) or RGB (n, side, side, 3) as the network reads them, float32 (n, *picture_shape)."""
    x: Floats = faces.astype(np.float32)
    if settings.colour == "grey":
        x = x[..., None]
    elif settings.colour == "bgr":
        x = x[..., ::-1]
    if settings.normalisation == "scaled":
        mean, std = np.asarray(settings.mean, np.float32), np.asarray(settings.std, np.float32)
        x = (x / np.float32(settings.scale) - mean) / std
    x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    if settings.normalisation == "per_picture":
        x = normalise(torch.from_numpy(x)).numpy()
    return x if settings.layout == "NCHW" else np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def to_probabilities(out: Floats, settings: OnnxSettings) -> Floats:
    """Probabilities of the expressions, float32 (n, 8), of a network's output (n, labels); rows sum to 1."""
    fold = settings.fold()
    kept = fold.any(1)
    # The softmax over what is kept is the same as to renormalise, but never divides nothing by nothing.
    logits = out.astype(np.float64)
    if settings.output == "probabilities":
        logits = np.log(np.maximum(logits, 1e-30))
    logits = logits[:, kept] / settings.temperature
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True) @ fold[kept], np.float32)


def _short(error: Exception) -> str:
    """A message of OpenVINO's in one line, without the places in its source with which it begins."""
    lines = (line.strip() for line in str(error).splitlines())
    told = " ".join(line for line in lines if line and not re.match(r"Exception from|Check .* failed at \S+$", line))
    return told if len(told) <= 240 else told[:237] + "..."
