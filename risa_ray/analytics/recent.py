"""The views over the last hours alone: what a live page asks again and again must not read two days each time."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow.dataset as pads
from deltalake import DeltaTable

from risa_ray.analytics.dataset import floor, readable, snapshot, statements
from risa_ray.config import is_url
from risa_ray.store.paths import require_dataset
from risa_ray.store.schema import TABLES, TIME_COLUMNS
from risa_ray.store.table import arrow_dataset, snapshot_files

MARGIN = timedelta(minutes=10)
"""Read before the time that is asked for: stays and windows that begin then must not be taken for later ones."""

_READ = ("observations", "frames")


def open_recent(data: str | os.PathLike[str], since: datetime) -> duckdb.DuckDBPyConnection:
    """A connection as of `open_dataset`, floored, with the tables' rows of the time from `since` on.

    Figures of minutes, and of hours that began at `since` or later, are those of `open_dataset`: each looks at what was
    seen in it, and a little around. Others (days, periods, baselines, tracks as a whole) are not to be asked here.

    Args:
        data: path or URL of the dataset.
        since: aware; only files and rows from `MARGIN` before it on are read.

    Raises:
        InputError: there is no RISA dataset, or a file that is needed to open it is broken.
    """
    path = require_dataset(os.fspath(data), tuple(TABLES))
    tables = snapshot(path)
    # What is closed is computed anew: of these hours alone that is little.
    tables.pop("closed_tracks", None)
    begin = since.astimezone(UTC) - MARGIN
    connection = duckdb.connect()
    sources = {}
    with readable(path):
        for name in _READ:
            if name in tables and (source := _source(connection, tables[name], name, begin)):
                sources[name] = source
            else:
                tables.pop(name, None)
        for statement in statements(tables, sources, floor(tables, raw=False, k=None)):
            connection.execute(statement)
    return connection


def _source(connection: duckdb.DuckDBPyConnection, table: DeltaTable, name: str, begin: datetime) -> str | None:
    """The rows of a table from a moment on, as SQL; None: there are none."""
    column = TIME_COLUMNS[name]
    uris = [uri for uri in snapshot_files(table) if _date_of(uri) >= f"{begin.date()}"]
    if not uris:
        return None
    condition = f"{column} >= TIMESTAMPTZ '{begin.isoformat()}'"
    if is_url(uris[0]):
        connection.register(f"arrow_{name}", _only(arrow_dataset(table), uris))
        return f"(FROM arrow_{name} WHERE {condition})"
    listed = ", ".join("'" + uri.replace("'", "''") + "'" for uri in uris)
    hive = "hive_partitioning = true, hive_types = {'date': DATE, 'store_id': VARCHAR}"
    return f"(FROM read_parquet([{listed}], union_by_name = true, {hive}) WHERE {condition})"


def _date_of(uri: str) -> str:
    """The partition of a file: tables with a time column lie in folders `date=...`."""
    return uri.rsplit("/date=", 1)[-1][: len("2026-11-01")]


def _only(whole: Any, uris: list[str]) -> Any:
    wanted = {uri.rsplit("/", 1)[-1] for uri in uris}
    fragments = [f for f in whole.get_fragments() if f.path.rsplit("/", 1)[-1] in wanted]
    return pads.FileSystemDataset(fragments, whole.schema, whole.format, whole.filesystem)
