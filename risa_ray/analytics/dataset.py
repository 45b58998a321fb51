"""A dataset as a DuckDB connection: the tables' rows at one moment, and the views that define every figure.

The same statements make the connection of `open_dataset` and the init script of the duckdb shell. The k-floor is a
guard rail for figures that are shown to people, not access control: who may read the files may read every row. While it
holds, the views of single people (schema `people`) do not exist; the floored ones carry them as their own WITH clauses.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from pyarrow.dataset import FileSystemDataset

from risa_ray.analytics.closed import Plan, plan
from risa_ray.config import is_url, redact
from risa_ray.errors import InputError
from risa_ray.store.paths import has_table, require_dataset
from risa_ray.store.schema import PARTITIONED, TABLES
from risa_ray.store.table import arrow_dataset, snapshot_files

DEFAULT_K = 10

VIEWS = (
    "macros",
    "store_versions",
    "camera_versions",
    "zone_versions",
    "content_versions",
    "counted_windows",
    "weighed",
    "open_tracks",
    "stay_observations",
    "open_stays",
    "open_minutes",
    "open_shown",
    "people_tracks",
    "people_stays",
    "people_minutes",
    "people_shown",
    "people_waits",
    "people_entries",
    "observations",
    "tracks",
    "stays",
    "camera_hour",
    "mood_by_minute",
    "zone_hour",
    "mood",
    "footfall",
    "product_engagement",
    "operations",
    "service_interactions",
    "journey",
    "journey_ladder",
    "content_response",
    "next_products",
    "track_splits",
)
"""The files under views/, each after those it builds on."""

_SQL_TYPES = {
    "string": "VARCHAR",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "bool": "BOOLEAN",
    "date32[day]": "DATE",
    "timestamp[us, tz=UTC]": "TIMESTAMP WITH TIME ZONE",
}


def open_dataset(data: str | os.PathLike[str], raw: bool = False, k: int | None = None) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB connection with every table and view, as of now; what is written later does not show.

    Args:
        data: path or URL of the dataset.
        raw: show single people and cells of any size. Without it `observations`, `tracks` and `stays` refuse while
            k > 1, and cells of fewer than k people are `suppressed`.
        k: another floor than the dataset's own (its `privacy` table, 10 where it has none).

    Raises:
        InputError: there is no RISA dataset, a file of it is broken, or k is below 1.
    """
    path = require_dataset(os.fspath(data), tuple(TABLES))
    tables = _snapshot(path)
    connection = duckdb.connect()
    reading = plan(tables)
    sources = {}
    if is_url(path):
        # Through pyarrow, object stores need no DuckDB extension, and the credentials are those of the writer.
        for name, dataset in _arrow_datasets(tables, reading):
            connection.register(f"arrow_{name}", dataset)
            sources[name] = f"arrow_{name}"
    try:
        for statement in statements(tables, sources, floor(tables, raw, k), reading):
            connection.execute(statement)
    except duckdb.Error as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{redact(path)}: cannot be read ({reason}); `risa verify` tells more") from None
    return connection


def _arrow_datasets(tables: Mapping[str, DeltaTable], reading: Plan | None) -> Iterator[tuple[str, Any]]:
    """Relation -> its rows, of those that have any."""
    for name, table in tables.items():
        if table.file_uris():
            yield name, arrow_dataset(table)
    if reading is None:
        return
    for name, uris in reading.uris.items():
        whole: Any = arrow_dataset(tables[name.removeprefix("open_")]) if uris else None
        if whole is not None:
            wanted = {uri.rsplit("/", 1)[-1] for uri in uris}
            fragments = [f for f in whole.get_fragments() if f.path.rsplit("/", 1)[-1] in wanted]
            yield name, FileSystemDataset(fragments, whole.schema, whole.format, whole.filesystem)


def init_script(data: str | os.PathLike[str], raw: bool = False, k: int | None = None) -> str:
    """The same snapshot and views as SQL, for `duckdb -init FILE`.

    Raises:
        InputError: as `open_dataset`.
    """
    path = require_dataset(os.fspath(data), tuple(TABLES))
    tables = _snapshot(path)
    first = ["INSTALL httpfs", "LOAD httpfs"] if is_url(path) else []
    made = statements(tables, {}, floor(tables, raw, k), plan(tables))
    return "".join(f"{s.strip()};\n" for s in [*first, *made])


def floor(tables: Mapping[str, DeltaTable], raw: bool, k: int | None) -> int:
    """The k that holds: 1 when raw, else as given, else the largest of the chains' current ones, else 10.

    Raises:
        InputError: k is below 1.
    """
    if k is not None and k < 1:
        raise InputError(f"k must be at least 1 (got {k})")
    if raw:
        return 1
    if k is not None:
        return k
    rows = arrow_dataset(tables["privacy"]).to_table().to_pylist() if "privacy" in tables else []
    current = {row["chain"]: row["k"] for row in sorted(rows, key=lambda r: r["valid_from"])}
    return max(current.values(), default=DEFAULT_K)


def _snapshot(path: str) -> dict[str, DeltaTable]:
    try:
        return {name: DeltaTable(f"{path}/{name}") for name in TABLES if has_table(path, name)}
    except DeltaError as error:
        raise InputError(f"{redact(path)}: cannot be read ({' '.join(str(error).split())[:200]})") from None


def statements(
    tables: Mapping[str, DeltaTable],
    sources: Mapping[str, str],
    k: int,
    reading: Plan | None = None,
    views: Sequence[str] = VIEWS,
) -> Iterator[str]:
    """Everything from an empty database to the finished views.

    Args:
        tables: those that exist.
        sources: relation -> what to read it from instead of its files.
        reading: which days are read from `closed_tracks`; None: every day is computed from its observations.
        views: those to make.
    """
    yield "SET TimeZone = 'UTC'"
    yield f"SET VARIABLE k = {k}"
    days = ", ".join(f"DATE '{day}'" for day in (reading.read_again if reading else ()))
    yield f"SET VARIABLE read_again = [{days}]::DATE[]"
    yield "CREATE SCHEMA people"
    hidden = _Hidden(k > 1)
    for name, schema in TABLES.items():
        uris = snapshot_files(tables[name]) if name in tables else []
        if name == "closed_tracks":
            uris = reading.uris[name] if reading else []
        target = f"people.{name}" if name in ("observations", "closed_tracks") else name
        yield from _relation(hidden, name, target, schema, uris, sources.get(name))
    for name, schema in (("open_observations", TABLES["observations"]), ("open_frames", TABLES["frames"])):
        if reading is None:
            whole = "people.observations" if name == "open_observations" else "frames"
            yield from hidden.take(f"CREATE VIEW people.{name} AS FROM {whole}")
        else:
            yield from _relation(hidden, name, f"people.{name}", schema, reading.uris[name], sources.get(name))
    for view in views:
        for sql in _split(files("risa_ray.analytics").joinpath(f"views/{view}.sql").read_text(encoding="utf-8")):
            yield from hidden.take(sql)


def _relation(
    hidden: _Hidden, name: str, target: str, schema: pa.Schema, uris: Sequence[str], source: str | None
) -> Iterator[str]:
    """The rows of some files (or of `source`) as a view, or an empty table."""
    columns = ", ".join(f'"{field.name}" {_sql_type(field.type)}' for field in schema)
    if not uris:
        yield f"CREATE TABLE {target} ({columns})"
        return
    if source is None:
        listed = ", ".join("'" + uri.replace("'", "''") + "'" for uri in uris)
        yield f"SET VARIABLE {name}_files = [{listed}]"
        source = _read_parquet(name)
    # The empty table gives the view every column, with its type, whatever the version of the files.
    yield f"CREATE TABLE people.{name}_columns ({columns})"
    yield from hidden.take(f"CREATE VIEW {target} AS FROM people.{name}_columns UNION ALL BY NAME FROM {source}")


class _Hidden:
    """Holds the `people` views back while there is a floor, and puts them into the views that build on them."""

    _VIEW = re.compile(r"CREATE VIEW (people\.)?(\w+) AS\s(.*)", re.DOTALL)

    def __init__(self, active: bool) -> None:
        self._active = active
        self._definitions: dict[str, str] = {}

    def take(self, sql: str) -> Iterator[str]:
        """The statement as it is to be run, or nothing where it makes a view to hide."""
        view = self._VIEW.search(sql)
        if not self._active or view is None:
            yield sql
        elif view[1]:
            self._definitions[view[2]] = self._renamed(view[3])
        elif (body := self._renamed(view[3])) != view[3]:
            parts = ", ".join(f"people_{name} AS (\n{part}\n)" for name, part in self._definitions.items())
            yield f"CREATE VIEW {view[2]} AS WITH {parts}\nSELECT * FROM (\n{body}\n)"
        else:
            yield sql

    def _renamed(self, body: str) -> str:
        """With `people_x` for each hidden `people.x`."""
        return re.sub(r"\bpeople\.(\w+)", lambda m: f"people_{m[1]}" if m[1] in self._definitions else m[0], body)


def _read_parquet(name: str) -> str:
    hive = "hive_partitioning = false"
    if name.removeprefix("open_") in PARTITIONED:
        # Store 007 is not store 7.
        hive = "hive_partitioning = true, hive_types = {'date': DATE, 'store_id': VARCHAR}"
    return f"read_parquet(getvariable('{name}_files'), union_by_name = true, {hive})"


def _split(sql: str) -> list[str]:
    """The statements of a file; a semicolon at a line's end is the end of one."""
    return [part for part in (p.strip() for p in sql.split(";\n")) if part]


def _sql_type(kind: Any) -> str:
    if pa.types.is_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return "STRUCT(" + ", ".join(f'"{field.name}" {_sql_type(field.type)}' for field in kind) + ")"
    return _SQL_TYPES[str(kind)]
