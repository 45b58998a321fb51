"""A dataset as far as one report needs it: the store's own files, and what all views build on computed once."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import duckdb
from deltalake import DeltaTable

from risa_ray.analytics.closed import Day, Partition, Plan, partitions, plan
from risa_ray.analytics.dataset import floor, open_dataset, readable, snapshot, statements
from risa_ray.analytics.report.period import Period
from risa_ray.config import is_url
from risa_ray.store.paths import dataset_path, require_dataset
from risa_ray.store.schema import TABLES

_COMPUTED = dict.fromkeys(("tracks", "stays", "waits", "entries", "shown"), "*")
_MARGIN = timedelta(days=2)  # a local day is not a UTC day, and a track may have begun the day before


def open_calendar(data: str) -> duckdb.DuckDBPyConnection:
    """What `choose_period` asks for, without the other views: it takes a tenth of the time.

    Args:
        data: path or URL of the dataset; object stores are opened whole.

    Raises:
        InputError: there is no RISA dataset, or it cannot be read.
    """
    if is_url(dataset_path(data)):
        return open_dataset(data)
    path = require_dataset(data, tuple(TABLES))
    connection = duckdb.connect()
    with readable(path):
        for statement in statements(snapshot(path), {}, 1, views=("macros", "store_versions")):
            connection.execute(statement)
    return connection


def open_scope(data: str, period: Period, raw: bool = False, earlier: bool = False) -> duckdb.DuckDBPyConnection:
    """As `open_dataset`, for the views' rows of one store and period; what else there is may be missing.

    A report asks every view, and each would read and unnest the tracks again: computing them once takes a third of the
    time. The views' SQL and the floor are those of `open_dataset`.

    Args:
        data: path or URL of the dataset; object stores are opened whole.
        period: the store and days.
        raw: as of `open_dataset`.
        earlier: keep the days before the period, for figures that compare with earlier weeks.

    Raises:
        InputError: as `open_calendar`.
    """
    if is_url(dataset_path(data)):
        return open_dataset(data, raw)
    path = require_dataset(data, tuple(TABLES))
    tables = snapshot(path)
    since = date.min if earlier else period.first - _MARGIN
    wanted = {period.store_id: (since, period.until + _MARGIN)}
    connection = duckdb.connect()
    connection.execute("SET enable_progress_bar = false")
    with readable(path):
        reading = _restricted(tables, plan(tables) or _all_open(tables), wanted)
        for statement in statements(tables, {}, floor(tables, raw, None), reading, computed=_COMPUTED):
            connection.execute(statement)
    return connection


def _all_open(tables: dict[str, DeltaTable]) -> Plan:
    """The plan of a dataset without a closed day."""
    uris = {f"open_{name}": _uris(partitions(tables.get(name))) for name in ("observations", "frames")}
    return Plan(frozenset(), frozenset(), uris={**uris, "closed_tracks": [], "crossing_tracks": []})


def _restricted(tables: dict[str, DeltaTable], reading: Plan, wanted: dict[str, tuple[date, date]]) -> Plan:
    """The plan without the files of other stores and days."""
    kept: set[str] = set()
    for name in ("observations", "frames", "closed_tracks"):
        days = partitions(tables.get(name))
        kept.update(_uris({day: part for day, part in days.items() if _is_wanted(day, wanted)}))
    return replace(reading, uris={name: [uri for uri in uris if uri in kept] for name, uris in reading.uris.items()})


def _is_wanted(day: Day, wanted: dict[str, tuple[date, date]]) -> bool:
    first, last = wanted.get(day[0], (date.max, date.min))
    return first <= day[1] <= last


def _uris(days: dict[Day, Partition]) -> list[str]:
    return [uri for part in days.values() for uri in part.files]
