"""What a job does for the store beside its commits: closing days and deleting old ones do not wait for each other."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from worlds import observe, watch

from risa_ray.analytics.upkeep import upkeep
from risa_ray.config import RetentionConfig
from risa_ray.store.schema import TABLES
from risa_ray.store.table import Table

OLD = datetime(2026, 10, 1, 10, tzinfo=UTC)
LATELY = datetime(2026, 11, 18, 10, tzinfo=UTC)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def write(data: Path, name: str, rows: list[dict[str, Any]]) -> None:
    Table(str(data), name).commit(pa.Table.from_pylist(rows, schema=TABLES[name]), {})


def dates(data: Path, table: str) -> set[Any]:
    return {row["date"] for row in DeltaTable(str(data / table)).to_pyarrow_table(columns=["date"]).to_pylist()}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A day to close, and a day of `frames` that has outlived a retention of 30 days."""
    seen = [observe("s1", "t", i, LATELY + timedelta(seconds=i), float(i), expression="neutral") for i in range(9)]
    write(tmp_path, "observations", seen)
    write(tmp_path, "frames", [watch("s0", OLD, 10)])
    write(tmp_path, "frames", [watch("s1", LATELY, 10)])
    return tmp_path


def run(data: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    """One round; what it complained about."""
    with caplog.at_level(logging.WARNING, "risa"):
        upkeep(str(data), RetentionConfig(observations=90, frames=30), clock=NOW.timestamp)
    return [record.getMessage() for record in caplog.records]


def broken(data: Path, table: str, day: datetime) -> None:
    (file,) = (data / table).glob(f"date={day.date()}/**/*.parquet")
    file.write_bytes(b"no parquet")


def test_a_day_is_closed_and_an_old_one_deleted(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run(data, caplog) == []
    assert dates(data, "closed_tracks") == {LATELY.date()}
    assert dates(data, "frames") == {LATELY.date()}


def test_a_day_that_cannot_be_closed_delays_no_deletion(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken(data, "observations", LATELY)
    (line,) = run(data, caplog)
    assert line.startswith("upkeep: days are not closed: ")
    assert "\n" not in line
    assert dates(data, "frames") == {LATELY.date()}


def test_a_day_that_cannot_be_deleted_delays_no_closing(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken(data, "frames", OLD)
    (line,) = run(data, caplog)
    assert line.startswith("upkeep: old rows are not deleted: ")
    assert "\n" not in line
    assert dates(data, "closed_tracks") == {LATELY.date()}
