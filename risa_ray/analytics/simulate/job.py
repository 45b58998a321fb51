"""A simulation from start to end: days are drawn one ahead of the commits."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa

from risa_ray.analytics.simulate.day import Rates, StoreDay, simulate_day
from risa_ray.analytics.simulate.render import frames_table, observations_table
from risa_ray.analytics.simulate.scenario import HEIGHT, WIDTH, Store, build_stores, chain_config
from risa_ray.analytics.simulate.sessions import Session
from risa_ray.analytics.simulate.truth import STAYS, VISITS, Truth, parameters, stays_of, visits_of
from risa_ray.analytics.simulate.writing import DayWriter, write_run
from risa_ray.config import is_url, redact
from risa_ray.errors import InputError
from risa_ray.frames import from_unix
from risa_ray.store.context import write_context
from risa_ray.store.paths import dataset_path, ensure_writable
from risa_ray.store.schema import TABLES

MAX_STORES = 999
MAX_FPS = 60


def simulate(
    data: str,
    stores: int,
    days: int,
    seed: int = 1,
    start: date | None = None,
    fps: float | None = None,
    visits_per_hour: float = 60,
    split_rate: float = 0.05,
    drop_rate: float = 0.02,
    unknown_rate: float = 0.1,
    outages: bool = True,
    progress: Callable[[str], None] | None = None,
    flush_s: float | None = None,
) -> Truth:
    """Write a dataset of simulated stores, and tell what is true of it. The same arguments write the same rows.

    Args:
        data: a local folder, empty or not there yet.
        stores: each has a camera at the door, in an aisle and at the till; every fourth never closes.
        days: local days of the stores.
        start: the first of them; default: `days` days before today (UTC).
        fps: instead of the cameras' own rates.
        visits_per_hour: people at each door, on average over the opening hours; other cameras see a share of as many.
        split_rate: share of visits of at least 8 s whose track is cut in two.
        drop_rate: share of frames that are dropped. At high rates the views cut stays at gaps that the truth bridges.
        unknown_rate: share of observations without an expression.
        outages: let some cameras be down for a while.
        progress: told of each day.
        flush_s: write a commit per so many seconds of a store's capture time, as a live run would, and not per day.

    Raises:
        InputError: an argument is out of range, or the folder is not empty.
        StoreError: the dataset cannot be written.
    """
    _check(stores, days, fps, visits_per_hour, split_rate, drop_rate, unknown_rate, flush_s)
    if seed < 0:
        raise InputError(f"seed must not be negative (got {seed})")
    path = _empty_folder(data)
    first = start or datetime.now(UTC).date() - timedelta(days=days)
    chain = build_stores(stores, fps)
    rates = Rates(visits_per_hour, split_rate, drop_rate, unknown_rate, outages)
    try:
        # A day to spare for the time zones.
        last = first + timedelta(days=days + 1)
    except OverflowError:
        raise InputError(f"{days} days from {first} leave the calendar; choose an earlier start") from None
    if first.year < 1970:
        raise InputError(f"start must be in 1970 or later (got {first})")
    dates = tuple(first + timedelta(days=n) for n in range((last - first).days - 1))
    ensure_writable(path)
    try:
        return _Job(path, chain, dates, seed, rates, flush_s, progress or (lambda line: None)).run()
    except BaseException:
        # Without its truth a part of it is of no use, and in the way of a second try.
        for name in TABLES:
            shutil.rmtree(os.path.join(path, name), ignore_errors=True)
        raise


def _check(
    stores: int,
    days: int,
    fps: float | None,
    visits_per_hour: float,
    split_rate: float,
    drop_rate: float,
    unknown_rate: float,
    flush_s: float | None,
) -> None:
    for name, count in (("stores", stores), ("days", days)):
        if count < 1:
            raise InputError(f"{name} must be at least 1 (got {count})")
    if stores > MAX_STORES:
        raise InputError(f"stores must be at most {MAX_STORES} (got {stores})")
    if fps is not None and not 0.1 <= fps <= MAX_FPS:
        raise InputError(f"fps must be from 0.1 to {MAX_FPS} (got {fps})")
    if not 0 < visits_per_hour <= 100_000:
        raise InputError(f"visits_per_hour must be above 0 and at most 100,000 (got {visits_per_hour})")
    for name, rate in (("split_rate", split_rate), ("drop_rate", drop_rate), ("unknown_rate", unknown_rate)):
        if not 0 <= rate < 1:
            raise InputError(f"{name} must be from 0 to below 1 (got {rate})")
    if flush_s is not None and not flush_s > 0:
        raise InputError(f"flush_s must be above 0 (got {flush_s})")


def _empty_folder(data: str) -> str:
    if is_url(data) and not data.startswith("file://"):
        raise InputError(f"{redact(data)}: simulated data go to a local folder; choose one with --data")
    path = dataset_path(data)
    if os.path.isdir(path) and os.listdir(path):
        raise InputError(
            f"{path}: is not empty, and simulated people must not mix with what is there; choose a new folder with "
            "--data, or delete this one"
        )
    return path


class _Job:
    def __init__(
        self,
        path: str,
        stores: tuple[Store, ...],
        dates: tuple[date, ...],
        seed: int,
        rates: Rates,
        flush_s: float | None,
        progress: Callable[[str], None],
    ) -> None:
        self._path = path
        self._stores = stores
        self._dates = dates
        self._seed = seed
        self._rates = rates
        self._flush_s = flush_s
        self._progress = progress
        self._run_id = np.random.default_rng([seed, len(stores)]).bytes(6).hex()

    def run(self) -> Truth:
        sessions: list[tuple[str, Session]] = []
        started: dict[str, datetime] = {}
        visits, stays = [VISITS.empty_table()], [STAYS.empty_table()]
        with DayWriter(self._path, self._flush_s) as writer:
            for number, (day, observations, frames) in enumerate(self._days()):
                if number < len(self._stores):
                    started |= _starts(day)
                if number == len(self._stores) - 1:
                    self._describe(started)
                sessions += [(day.store.id, session) for session in day.sessions]
                visits.append(visits_of(day))
                stays.append(stays_of(day))
                marks = {session.id: session.frames - 1 for session in day.sessions}
                writer.add(observations, frames, marks)
                if (number + 1) % len(self._stores) == 0:
                    done = (number + 1) // len(self._stores)
                    self._progress(f"day {done} of {len(self._dates)}: {writer.observations:,} observations")
        write_run(self._path, self._run_id, sessions)
        truth = parameters(self._stores, self._rates, self._seed, [str(day) for day in self._dates])
        return replace(
            Truth(pa.concat_tables(visits), pa.concat_tables(stays), truth),
            observations=writer.observations,
            frames=writer.frames,
        )

    def _days(self) -> Iterator[tuple[StoreDay, pa.Table, pa.Table]]:
        """Every store's first day, then every store's second day, and so on; the next one is drawn meanwhile."""
        work = [(store, n, day, d) for d, day in enumerate(self._dates) for n, store in enumerate(self._stores)]
        pool = ThreadPoolExecutor(1)
        try:
            waiting = pool.submit(self._draw, *work[0])
            for item in work[1:]:
                ready, waiting = waiting.result(), pool.submit(self._draw, *item)
                yield ready
            yield waiting.result()
        finally:
            # Whoever interrupts does not wait for the day that is being drawn.
            pool.shutdown(wait=False, cancel_futures=True)

    def _draw(self, store: Store, number: int, date_: date, day_number: int) -> tuple[StoreDay, pa.Table, pa.Table]:
        day = simulate_day(store, number, date_, day_number, self._seed, self._rates)
        return day, observations_table(day, self._rates.unknown_rate), frames_table(day, self._run_id)

    def _describe(self, started: dict[str, datetime]) -> None:
        """Write the context, each camera's valid from its first frame."""
        sizes = dict.fromkeys(started, (WIDTH, HEIGHT))
        write_context(self._path, chain_config(self._stores, self._dates, self._path), started, sizes)


def _starts(day: StoreDay) -> dict[str, datetime]:
    """Camera -> its first frame of the day."""
    cameras = zip(day.store.cameras, day.cameras, strict=True)
    return {camera.id: from_unix(planned.sessions[0].start_us / 1e6) for camera, planned in cameras}
