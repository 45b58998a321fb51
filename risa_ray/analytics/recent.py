"""The views over a part of the last hours alone: what a live page asks again and again must not read days each time."""

from __future__ import annotations

import os
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow.dataset as pads
from deltalake import DeltaTable

from risa_ray.analytics.dataset import VIEWS, floor, readable, snapshot, statements
from risa_ray.config import is_url
from risa_ray.store.paths import require_dataset
from risa_ray.store.schema import TABLES, TIME_COLUMNS
from risa_ray.store.table import arrow_dataset, log_entries, read_rows, snapshot_files

AFTER = timedelta(minutes=1)
"""Read after the time that is asked for: an observation stands for the time until the next one of its track."""

_ROUNDED = timedelta(seconds=1)
"""The log has the times of a file in milliseconds at best."""

_READ = ("observations", "frames")
_ASKED = ("camera_hour", "mood_by_minute", "footfall", "operations")
_VIEWS = (*VIEWS[: VIEWS.index("observations")], *_ASKED, "recent/place_minutes")
"""Making all of them takes longer than many a question."""


def open_recent(
    data: str | os.PathLike[str],
    since: datetime,
    until: datetime | None = None,
    kinds: Collection[str] = (),
    stores: Collection[str] = (),
) -> duckdb.DuckDBPyConnection:
    """A connection as of `open_dataset`, floored, with the tables' rows of some time, and view `place_minutes` besides.

    Of the views only those of minutes, and of hours of cameras, are there. Minutes from `since` until before `until`
    are those of `open_dataset`; and so are hours, where `since` lies a few minutes before them: what goes on at `since`
    is taken to begin there.

    Args:
        data: path or URL of the dataset.
        since: aware; only files and rows from then on are read.
        until: aware; only those until then, and `AFTER`. None: all there are.
        kinds: read only observations in zones of these kinds, which is enough for their stays and waits; none: all.
        stores: read only the rows of these; none: all.

    Raises:
        InputError: there is no RISA dataset, or a file that is needed to open it is broken.
    """
    path = require_dataset(os.fspath(data), tuple(TABLES))
    tables = snapshot(path)
    # What is closed is computed anew: of these hours alone that is little.
    tables.pop("closed_tracks", None)
    begin = since.astimezone(UTC)
    end = None if until is None else until.astimezone(UTC) + AFTER
    connection = duckdb.connect()
    sources = {}
    with readable(path):
        for name in _READ:
            source = _source(connection, tables[name], name, (begin, end), stores) if name in tables else None
            if source is None:
                tables.pop(name, None)
            elif kinds and name == "observations":
                sources[name] = f"(FROM {source} WHERE {_in_zones(tables, kinds)})"
            else:
                sources[name] = source
        for statement in statements(tables, sources, floor(tables, raw=False, k=None), views=_VIEWS):
            connection.execute(statement)
    return connection


def _source(
    connection: duckdb.DuckDBPyConnection,
    table: DeltaTable,
    name: str,
    time: tuple[datetime, datetime | None],
    stores: Collection[str],
) -> str | None:
    """The rows of a table of some time, as SQL; None: there are none."""
    column = TIME_COLUMNS[name]
    begin, end = time
    uris = _files(table, column, begin, end, stores)
    if not uris:
        return None
    condition = f"{column} >= TIMESTAMPTZ '{begin.isoformat()}'"
    if end is not None:
        condition += f" AND {column} < TIMESTAMPTZ '{end.isoformat()}'"
    if is_url(uris[0]):
        connection.register(f"arrow_{name}", _only(arrow_dataset(table), uris))
        return f"(FROM arrow_{name} WHERE {condition})"
    listed = ", ".join(_quoted(uri) for uri in uris)
    hive = "hive_partitioning = true, hive_types = {'date': DATE, 'store_id': VARCHAR}"
    return f"(FROM read_parquet([{listed}], union_by_name = true, {hive}) WHERE {condition})"


def _files(table: DeltaTable, column: str, begin: datetime, end: datetime | None, stores: Collection[str]) -> list[str]:
    """Those that may hold rows of the time, as the log tells: a live day has thousands."""
    entries = log_entries(table)
    unknown = [None] * entries.num_rows
    first, last = (
        entries[name].to_pylist() if name in entries.column_names else unknown
        for name in (f"min.{column}", f"max.{column}")
    )
    wanted = {
        unquote(path).rsplit("/", 1)[-1]
        for path, store, date, low, high in zip(
            *(entries[name].to_pylist() for name in ("path", "partition.store_id", "partition.date")),
            first,
            last,
            strict=True,
        )
        if (not stores or store in stores)
        and date >= begin.date()
        and (high is None or high >= begin - _ROUNDED)
        and (end is None or low is None or low < end)
    }
    return [uri for uri in snapshot_files(table) if unquote(uri).rsplit("/", 1)[-1] in wanted]


def _in_zones(tables: dict[str, DeltaTable], kinds: Collection[str]) -> str:
    """The condition on observations that lie in zones of these kinds, as far as ids tell."""
    rows = read_rows(tables["zones"]).to_pylist() if "zones" in tables else []
    ids = sorted({row["zone_id"] for row in rows if row["kind"] in kinds})
    cameras = sorted({row["camera_id"] for row in rows if row["kind"] in kinds})
    if not ids:
        return "false"
    zones, places = (", ".join(_quoted(name) for name in names) for names in (ids, cameras))
    return f"camera_id IN ({places}) AND list_has_any(zone_ids, [{zones}])"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _only(whole: Any, uris: list[str]) -> Any:
    wanted = {uri.rsplit("/", 1)[-1] for uri in uris}
    fragments = [f for f in whole.get_fragments() if f.path.rsplit("/", 1)[-1] in wanted]
    return pads.FileSystemDataset(fragments, whole.schema, whole.format, whole.filesystem)
