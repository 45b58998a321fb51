"""A dataset as a DuckDB connection: the tables' rows at one moment, and the views that define every figure.

The same statements make the connection of `open_dataset` and the init script of the duckdb shell. The k-floor is a
guard rail for figures that are shown to people, not access control: who may read the files may read every row. While it
holds, the views of single people (schema `people`) do not exist; the floored ones carry them as their own WITH clauses.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from risa_ray.analytics.closed import Plan, plan
from risa_ray.config import is_url, redact
from risa_ray.errors import InputError
from risa_ray.store.paths import has_table, require_dataset
from risa_ray.store.schema import PARTITION_COLUMNS, PARTITIONED, TABLES
from risa_ray.store.table import arrow_dataset, file_system, log_entries, read_rows, snapshot_files

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
    "alert_log",
)
"""The files under views/, each after those it builds on."""

FIGURES = VIEWS[VIEWS.index("stays") + 1 :]
"""The views that show figures, and no single people."""

_PARTS = {"open_observations": "observations", "open_frames": "frames", "crossing_tracks": "closed_tracks"}
"""Relations that hold some days of a table, as the plan has it."""

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


def open_dataset(
    data: str | os.PathLike[str], raw: bool = False, k: int | None = None, store: str | None = None
) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB connection with every table and view, as of now; what is written later does not show.

    Args:
        data: path or URL of the dataset.
        raw: show single people and cells of any size. Without it `observations`, `tracks` and `stays` refuse while
            k > 1, and cells of fewer than k people are `suppressed`.
        k: another floor than the dataset's own (its `privacy` table, 10 where it has none).
        store: read the rows of this store alone. Views answer the same for it, and sooner: the last two days are
            computed with every question, and otherwise for all stores.

    Raises:
        InputError: there is no RISA dataset or no such store, a file is broken that is needed to open it, or k is below
            1. Files of observations and frames are read by the query that needs them: a broken one is a `duckdb.Error`
            there.
    """
    path = require_dataset(os.fspath(data), tuple(TABLES))
    tables = snapshot(path)
    connection = duckdb.connect()
    sources = {}
    with readable(path):
        reading = plan(tables)
        _check_store(tables, store)
        if is_url(path):
            # Through pyarrow, object stores need no DuckDB extension, and the credentials are those of the writer.
            for name, dataset in _arrow_datasets(tables, reading, store):
                connection.register(f"arrow_{name}", dataset)
                sources[name] = f"arrow_{name}"
        for statement in statements(tables, sources, floor(tables, raw, k), reading, store=store):
            connection.execute(statement)
    return connection


@contextmanager
def readable(path: str) -> Iterator[None]:
    """Turn what is wrong with a file of the dataset into one line.

    Raises:
        InputError: a file cannot be read.
    """
    try:
        yield
    except (duckdb.Error, OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{redact(path)}: cannot be read ({reason}); `risa verify` tells more") from None


def _arrow_datasets(
    tables: Mapping[str, DeltaTable], reading: Plan | None, store: str | None
) -> Iterator[tuple[str, Any]]:
    """Relation -> its rows, of those that have any."""
    from pyarrow.dataset import FileSystemDataset

    files = {name: snapshot_files(table) for name, table in tables.items()} | dict(reading.uris if reading else {})
    for name, listed in files.items():
        table = _PARTS.get(name, name)
        if uris := _of_store(table, listed, store):
            whole: Any = arrow_dataset(tables[table])
            wanted = {uri.rsplit("/", 1)[-1] for uri in uris}
            fragments = [f for f in whole.get_fragments() if f.path.rsplit("/", 1)[-1] in wanted]
            yield name, FileSystemDataset(fragments, whole.schema, whole.format, whole.filesystem)


def _check_store(tables: Mapping[str, DeltaTable], store: str | None) -> None:
    if store is None:
        return
    known = {str(row["store_id"]) for row in read_rows(tables["stores"]).to_pylist()} if "stores" in tables else set()
    for name in ("frames", "observations"):
        if name in tables:
            known |= {str(partition["store_id"]) for partition in tables[name].partitions()}
    if store not in known:
        raise InputError(f"there is no store {store}; there is {', '.join(sorted(known)) or 'none yet'}")


def _of_store(table: str, uris: Sequence[str], store: str | None) -> list[str]:
    """The files with rows of a store; those of small tables are all kept."""
    # Identifiers are never quoted in a path.
    return [uri for uri in uris if store is None or table not in PARTITIONED or f"/store_id={store}/" in uri]


def init_script(data: str | os.PathLike[str], raw: bool = False, k: int | None = None, store: str | None = None) -> str:
    """The same snapshot and views as SQL, for `duckdb -init FILE`.

    Raises:
        InputError: as `open_dataset`.
    """
    path = require_dataset(os.fspath(data), tuple(TABLES))
    tables = snapshot(path)
    first = ["INSTALL httpfs", "LOAD httpfs"] if is_url(path) else []
    with readable(path):
        _check_store(tables, store)
        made = list(statements(tables, {}, floor(tables, raw, k), plan(tables), store=store))
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
    rows = read_rows(tables["privacy"]).to_pylist() if "privacy" in tables else []
    current = {row["chain"]: row["k"] for row in sorted(rows, key=lambda r: r["valid_from"])}
    return max(current.values(), default=DEFAULT_K)


def snapshot(path: str) -> dict[str, DeltaTable]:
    """The tables that a dataset has, as of now.

    Raises:
        InputError: one cannot be read.
    """
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
    computed: Mapping[str, str] | None = None,
    store: str | None = None,
) -> Iterator[str]:
    """Everything from an empty database to the finished views.

    Args:
        tables: those that exist.
        sources: relation -> what to read it from instead of its files.
        reading: which days are read from `closed_tracks`; None: every day is computed from its observations.
        views: those to make.
        computed: views of `people` -> the columns of a table to compute in their place, for who reads them often.
        store: read its files alone.
    """
    yield "SET TimeZone = 'UTC'"
    # A file never changes once it is written.
    yield "SET parquet_metadata_cache = true"
    yield f"SET VARIABLE k = {k}"
    days = ", ".join(f"DATE '{day}'" for day in (reading.read_again if reading else ()))
    yield f"SET VARIABLE read_again = [{days}]::DATE[]"
    yield "CREATE SCHEMA people"
    made = _Views(k > 1, computed or {})
    whole = {name for name in PARTITIONED if name in tables and not sources and _whole(tables[name], TABLES[name])}
    for name in TABLES:
        uris = snapshot_files(tables[name]) if name in tables else []
        if name == "closed_tracks":
            uris = reading.uris[name] if reading else []
        target = f"people.{name}" if name in ("observations", "closed_tracks") else name
        yield from _relation(made, name, target, name, _of_store(name, uris, store), sources.get(name), whole)
    for name, table in _PARTS.items():
        if reading is None:
            parent = table if table == "frames" else f"people.{table}"
            yield from made.take(f"CREATE VIEW people.{name} AS FROM {parent}")
        else:
            uris = _of_store(table, reading.uris[name], store)
            yield from _relation(made, name, f"people.{name}", table, uris, sources.get(name), whole)
    for view in views:
        for sql in _split(files("risa_ray.analytics").joinpath(f"views/{view}.sql").read_text(encoding="utf-8")):
            yield from made.take(sql)


def _relation(
    made: _Views, name: str, target: str, table: str, uris: Sequence[str], source: str | None, whole: Container[str]
) -> Iterator[str]:
    """The rows of some files of a table (or of `source`): a view of large tables, a copy of small ones.

    `whole` are the tables whose files all have all columns.
    """
    schema = TABLES[table]
    columns = ", ".join(f'"{field.name}" {_sql_type(field.type)}' for field in schema)
    if not uris:
        yield f"CREATE TABLE {target} ({columns})"
        return
    if source is None:
        listed = ", ".join("'" + uri.replace("'", "''") + "'" for uri in uris)
        yield f"SET VARIABLE {name}_files = [{listed}]"
        hive = "hive_partitioning = false"
        if table in PARTITIONED:
            # Store 007 is not store 7.
            hive = "hive_partitioning = true, hive_types = {'date': DATE, 'store_id': VARCHAR}"
        by_name = "false" if table in whole else "true"
        source = f"read_parquet(getvariable('{name}_files'), union_by_name = {by_name}, {hive})"
    # The empty table gives every column, with its type, whatever the version of the files.
    yield f"CREATE TABLE people.{name}_columns ({columns})"
    rows = f"FROM people.{name}_columns UNION ALL BY NAME FROM {source}"
    if table in PARTITIONED:
        yield from made.take(f"CREATE VIEW {target} AS {rows}")
    else:
        yield f"CREATE TABLE {target} AS {rows}"


def _whole(table: DeltaTable, schema: pa.Schema) -> bool:
    """Whether all of a table's files have all of its columns, so that DuckDB need not open each to see.

    Tables only ever gain columns, and rewritten files have those of their day: the oldest file lacks what any lacks.
    """
    if is_url(table.table_uri) and not table.table_uri.startswith("file://"):
        return False
    entries = log_entries(table).sort_by("modification_time")
    if not entries.num_rows:
        return True
    try:
        with file_system(table).open_input_file(unquote(entries["path"][0].as_py())) as oldest:
            there = {field.name: field.type for field in pq.read_schema(oldest)}
    except (OSError, pa.ArrowException):
        # What is wrong with it shows when it is read.
        return False
    return all(
        name in PARTITION_COLUMNS or (name in there and _sql_type(there[name]) == _sql_type(schema.field(name).type))
        for name in schema.names
    )


class _Views:
    """Makes the views: those of `people` stand as WITH clauses in each view that builds on them.

    What a view needs several times is so computed once, and under a floor the views of single people need not exist.
    """

    _VIEW = re.compile(r"CREATE VIEW (people\.)?(\w+) AS\s(.*)", re.DOTALL)
    _PEOPLE = re.compile(r"\bpeople\.(\w+)")

    def __init__(self, floored: bool, computed: Mapping[str, str]) -> None:
        self._floored = floored
        self._computed = computed
        self._clauses: dict[str, str] = {}

    def take(self, sql: str) -> Iterator[str]:
        """The statement as it is to be run; nothing where it makes a view to hide."""
        view = self._VIEW.search(sql)
        if view is None:
            yield sql
            return
        schema, name, body = view[1] or "", view[2], view[3]
        full = self._with_clauses(body)
        if schema and name in self._computed:
            yield f"CREATE TABLE people.{name} AS SELECT {self._computed[name]} FROM (\n{full}\n)"  # noqa: S608 - ours
            return
        if schema:
            # A relation is read where it is used, with the filters there.
            once = "NOT MATERIALIZED " if "read_parquet(" in body else ""
            self._clauses[name] = f"{once}(\n{self._renamed(body)}\n)"
        if not (schema and self._floored):
            # Bound when it is used: binding all of them takes longer than most queries.
            yield f"CREATE VIEW {schema}{name} WITH (DEFER_BINDING) AS {full}"

    def _with_clauses(self, body: str) -> str:
        needed = self._needed(body)
        clauses = [f"people_{name} AS {clause}" for name, clause in self._clauses.items() if name in needed]
        return f"WITH {', '.join(clauses)}\nSELECT * FROM (\n{self._renamed(body)}\n)" if clauses else body

    def _needed(self, body: str) -> set[str]:
        """The clauses that a body builds on, however far down."""
        found = {name for name in re.findall(r"\bpeople[._](\w+)", body) if name in self._clauses}
        return found.union(*(self._needed(self._clauses[name]) for name in found))

    def _renamed(self, body: str) -> str:
        """With `people_x` for each clause `people.x`."""
        return self._PEOPLE.sub(lambda m: f"people_{m[1]}" if m[1] in self._clauses else m[0], body)


def _split(sql: str) -> list[str]:
    """The statements of a file; a semicolon at a line's end is the end of one."""
    return [part for part in (p.strip() for p in sql.split(";\n")) if part]


def _sql_type(kind: Any) -> str:
    if pa.types.is_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return "STRUCT(" + ", ".join(f'"{field.name}" {_sql_type(field.type)}' for field in kind) + ")"
    return _SQL_TYPES.get(str(kind), str(kind))
