"""`risa simulate`."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path

from risa_ray.analytics.simulate.job import simulate
from risa_ray.analytics.simulate.truth import FOLDER, write_truth
from risa_ray.errors import InputError
from risa_ray.store.paths import dataset_path


def run(
    data: str, stores: int, days: int, seed: int, start: str | None, fps: float | None, visits_per_hour: float
) -> None:
    """Simulate, write the truth beside the tables, and print what was done.

    Raises:
        InputError: as `simulate`, or `start` is no date.
        StoreError: the dataset cannot be written.
    """
    try:
        first = None if start is None else date.fromisoformat(start)
    except ValueError:
        raise InputError(f"--start: {start!r} is not a date; write it as 2026-03-01") from None
    began = time.perf_counter()
    truth = simulate(
        data,
        stores,
        days,
        seed,
        first,
        fps,
        visits_per_hour=visits_per_hour,
        progress=lambda line: print(line, flush=True),
    )
    seconds = time.perf_counter() - began
    folder = Path(dataset_path(data)) / FOLDER
    write_truth(truth, folder)
    cameras = len(truth.parameters["sampling_fps"])
    print(
        f"{stores} stores, {cameras} cameras, {days} days: {len(truth.visits):,} visits, "
        f"{truth.observations:,} observations in {seconds:.1f} s ({truth.observations / seconds:,.0f} rows/s) "
        f"-> {dataset_path(data)}, truth in {folder}"
    )
