"""How functions are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile by Numba. The result runs without the interpreter's lock, so that threads gain by it."""
    # Sums may be taken in any order and products fused; infinities and NaN keep their meaning.
    settings: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"reassoc", "contract", "nsz"},
    }
    try:
        made: Function = numba.njit(cache=True, **settings)(function)
    except RuntimeError:  # no folder may be written to that would keep what is compiled
        made = numba.njit(**settings)(function)
    return made
