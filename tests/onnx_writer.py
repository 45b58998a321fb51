"""Writes small ONNX files by hand, so that the tests need no ONNX package: the protobuf wire format of onnx.proto."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

_TYPES = {"float32": 1, "uint8": 2, "int64": 7, "float16": 10}
Attribute = int | Sequence[int]


@dataclass(frozen=True)
class Node:
    """One operation; `attributes` are numbers or lists of them."""

    kind: str
    inputs: Sequence[str]
    output: str
    attributes: dict[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True)
class Value:
    """A graph's input or output; a size of None is a free one."""

    name: str
    shape: Sequence[int | None]
    dtype: str = "float32"


def write_onnx(
    path: Path,
    inputs: Sequence[Value],
    nodes: Sequence[Node],
    weights: dict[str, npt.NDArray[np.generic]],
    outputs: Sequence[Value],
    external: str | None = None,
) -> Path:
    """Write a model of opset 13. `external` names a file that holds the weights instead."""
    graph = b"".join(_field(1, _node(n)) for n in nodes) + _field(2, b"graph")
    for name, array in weights.items():
        if external:
            (path.parent / external).write_bytes(array.tobytes())
        graph += _field(5, _tensor(name, array, external))
    graph += b"".join(_field(11, _value(v)) for v in inputs) + b"".join(_field(12, _value(v)) for v in outputs)
    path.write_bytes(_field(1, 7) + _field(7, graph) + _field(8, _field(1, b"") + _field(2, 13)))
    return path


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def _field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value & (1 << 64) - 1)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _node(node: Node) -> bytes:
    names = b"".join(_field(1, i) for i in node.inputs) + _field(2, node.output) + _field(4, node.kind)
    return names + b"".join(_field(5, _attribute(k, v)) for k, v in node.attributes.items())


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, int):
        return _field(1, name) + _field(3, value) + _field(20, 2)
    return _field(1, name) + b"".join(_field(8, v) for v in value) + _field(20, 7)


def _tensor(name: str, array: npt.NDArray[np.generic], external: str | None) -> bytes:
    out = b"".join(_field(1, d) for d in array.shape) + _field(2, _TYPES[str(array.dtype)]) + _field(8, name)
    if external:
        return out + _field(13, _field(1, "location") + _field(2, external)) + _field(14, 1)
    return out + _field(9, np.ascontiguousarray(array).tobytes())


def _value(value: Value) -> bytes:
    shape = b"".join(_field(1, _field(2, "n") if d is None else _field(1, d)) for d in value.shape)
    return _field(1, value.name) + _field(2, _field(1, _field(1, _TYPES[value.dtype]) + _field(2, shape)))
