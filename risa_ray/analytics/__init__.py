"""What the rows mean: DuckDB views over a snapshot of the tables, reports, and the arithmetic behind both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from risa_ray.analytics.dataset import open_dataset

__all__ = ["open_dataset"]


def __getattr__(name: str) -> Any:
    # The live page needs `moods` of this package without DuckDB and Delta Lake.
    if name == "open_dataset":
        from risa_ray.analytics.dataset import open_dataset

        return open_dataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
