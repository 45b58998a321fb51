"""RISA: real-time in-store sentiment analysis on Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from risa_ray.analytics import open_dataset

__all__ = ["open_dataset"]


def __getattr__(name: str) -> Any:
    # Importing any module of the package imports this one: it must cost nothing.
    if name == "open_dataset":
        from risa_ray.analytics import open_dataset

        return open_dataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
