"""Compiling a network for the CPU runtime, OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def compile_for_cpu(model: Any, threads: int) -> Callable[[npt.NDArray[Any]], Floats]:
    """A function from the only input of an `openvino.Model` to a copy of its only output, for one thread at a time.

    Float32 throughout: OpenVINO would use bfloat16 where the processor has it, and the numbers would depend on the
    machine.

    Raises:
        RuntimeError: OpenVINO cannot compile it; the function raises the same for an input it cannot run.
    """
    import openvino

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

    def infer(batch: npt.NDArray[Any]) -> Floats:
        out: Floats = np.array(request.infer([batch])[0], np.float32)
        return out

    return infer
