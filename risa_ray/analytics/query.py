"""One query of the user's: run it, and print or save the answer."""

from __future__ import annotations

import json
import math
import os
import sys
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from risa_ray.analytics.dataset import init_script, open_dataset
from risa_ray.errors import InputError

__all__ = ["FORMATS", "Format", "init_script", "print_result", "run_query"]

Format = Literal["table", "csv", "json", "parquet"]
FORMATS: tuple[Format, ...] = ("table", "csv", "json", "parquet")


def run_query(
    data: str | os.PathLike[str], sql: str, raw: bool = False, k: int | None = None, store: str | None = None
) -> pa.Table:
    """The answer to one SQL query on a snapshot of a dataset. What the SQL changes is gone with the connection.

    Args:
        data, raw, k, store: as of `open_dataset`.
        sql: one or more statements; the last one answers.

    Raises:
        InputError: one line: there is no dataset, the SQL is wrong, or it asks for single people without `raw`.
    """
    connection = open_dataset(data, raw, k, store)
    try:
        answer = connection.sql(sql)
        rows: pa.Table | None = None if answer is None else answer.to_arrow_table()
    except duckdb.Error as error:
        hint = "; `risa verify` tells more" if ".parquet" in str(error) else ""
        raise InputError(f"query: {_first_line(error)}{hint}") from None
    finally:
        connection.close()
    if rows is None:
        raise InputError("query: no rows to show; the last statement must be a SELECT (or FROM, DESCRIBE, SHOW)")
    return rows


def print_result(table: pa.Table, format: Format = "table", out: Path | None = None) -> None:
    """Write an answer to stdout, or to a file.

    Args:
        table: the answer.
        format: table (for reading), csv, json (an array of objects, times in ISO 8601), or parquet.
        out: a file; None for stdout, where parquet goes as bytes.

    Raises:
        InputError: the file cannot be written, or parquet would go to a terminal.
    """
    if format == "parquet" and out is None and sys.stdout.isatty():
        raise InputError("parquet is not for terminals; give a file with --out, or redirect the output")
    data = ENCODERS[format](table)
    if out is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return
    try:
        out.write_bytes(data)
    except OSError as error:
        raise InputError(
            f"{out}: cannot be written ({(error.strerror or 'error').lower()}); choose another file"
        ) from None


def _first_line(error: duckdb.Error) -> str:
    text = str(error)
    # The picture of the query below the message tells little on one line, the hints between do.
    lines = [line.strip() for line in text.split("\nLINE ")[0].splitlines() if line.strip()]
    return " ".join(lines).removeprefix("Invalid Input Error: ")


def _as_csv(table: pa.Table) -> bytes:
    nested = [f.name for f in table.schema if pa.types.is_nested(f.type)]
    for name in nested:
        texts = [None if v is None else json.dumps(v, default=_plain) for v in table[name].to_pylist()]
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(texts, pa.string()))
    sink = pa.BufferOutputStream()
    pa.csv.write_csv(table, sink)
    return sink.getvalue().to_pybytes()


def _as_json(table: pa.Table) -> bytes:
    rows = [json.dumps(_finite(row), default=_plain, ensure_ascii=False, allow_nan=False) for row in table.to_pylist()]
    return ("[" + ",".join(f"\n {row}" for row in rows) + "\n]\n").encode()


def _as_parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def _as_table(table: pa.Table) -> bytes:
    """For people: short times and figures; a missing value is empty."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.schema:
        number = (
            pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)
        )
        shown.add_column(Text(column.name), justify="right" if number else "left", overflow="fold")
    for row in table.to_pylist():
        shown.add_row(*(Text(_cell(value)) for value in row.values()))
    console = Console(width=None if sys.stdout.isatty() else 10_000, color_system=None)
    with console.capture() as captured:
        console.print(shown)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    return ("\n".join(line for line in lines if line) + f"\n{table.num_rows} rows\n").encode()


ENCODERS = {"table": _as_table, "csv": _as_csv, "json": _as_json, "parquet": _as_parquet}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".") if abs(value) < 1e6 else f"{value:g}"
    if isinstance(value, datetime):
        text = value.isoformat(" ", "milliseconds").removesuffix(".000")
        return text.replace("+00:00", "Z").replace(".000Z", "Z")
    return str(value)


def _finite(value: Any) -> Any:
    """NaN and infinities have no JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_finite(v) for v in value]
    if isinstance(value, dict):
        return {name: _finite(v) for name, v in value.items()}
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value)
