"""Networks on the CPU runtime, OpenVINO."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


# OpenVINO reports every conversion to its maker over the network, in a process of its own each time; without this
# package it does not. A store's cameras report to nobody.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]


def from_torch(network: Any, *shape: int) -> Any:
    """An `openvino.Model` of a torch network that takes batches of any size of pictures of this shape."""
    import openvino
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch is phasing out the tracing that OpenVINO builds on
        # Left to itself, OpenVINO has the trace checked by running the network three times more.
        example = torch.zeros(2, *shape)
        traced = torch.jit.trace(network, example, check_trace=False)
        model = openvino.convert_model(traced, example_input=example)
    model.reshape([-1, *shape])
    return model


def compile_for_cpu(model: Any, threads: int) -> Callable[[npt.NDArray[Any]], list[Floats]]:
    """A function from the only input of an `openvino.Model` to copies of its outputs.

    Float32 throughout: OpenVINO would use bfloat16 where the processor has it, and the numbers would depend on the
    machine.

    Args:
        threads: that a call works with.

    Raises:
        RuntimeError: OpenVINO cannot compile it; the function raises the same for an input it cannot run.
    """
    import openvino

    compiled = openvino.Core().compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": str(threads),
            "PERFORMANCE_HINT": "LATENCY",
        },
    )
    outputs = range(len(compiled.outputs))
    free: list[Any] = []

    def infer(batch: npt.NDArray[Any]) -> list[Floats]:
        try:
            request = free.pop()
        except IndexError:
            request = compiled.create_infer_request()
        try:
            answer = request.infer([batch])
            return [np.array(answer[i], np.float32) for i in outputs]
        finally:
            free.append(request)

    return infer
