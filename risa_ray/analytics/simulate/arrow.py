"""Arrow columns from NumPy ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

TIME = pa.timestamp("us", "UTC")
Ints = npt.NDArray[np.int64]


def texts(names: Sequence[str | None], which: Ints) -> pa.Array[Any]:
    """The names by number."""
    return pa.array(names, pa.string()).take(which)


def times(at_us: Ints) -> pa.Array[Any]:
    """UTC, from Unix microseconds."""
    return pa.array(at_us).cast(TIME)


def lists(lengths: npt.NDArray[Any], values: pa.Array[Any]) -> pa.Array[Any]:
    """Lists of the values, cut to lengths."""
    offsets = np.concatenate([[0], lengths.cumsum()])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)
