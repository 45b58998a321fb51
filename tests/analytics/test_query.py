"""`risa query`: one answer in each format, one line for each mistake."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from risa_ray.analytics.query import print_result, run_query
from risa_ray.errors import InputError
from risa_ray.store.writer import Writer

ANSWER = pa.table(
    {
        "store_id": ["007", "[red]"],
        "minute": [datetime(2026, 11, 22, 10, tzinfo=UTC), None],
        "net": [0.25, float("nan")],
        "zones": [["a", "b"], []],
    }
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    writer = Writer(str(tmp_path), "run1", lambda: 1_000_000.0)
    writer.heartbeat({"cam1": ("007", "connecting"), "cam2": ("007", "stopped")})
    writer.flush(last=True)
    return tmp_path


def test_a_query_answers(data: Path) -> None:
    answer = run_query(data, "SELECT camera_id, state, window_start FROM frames ORDER BY camera_id")
    assert answer.column_names == ["camera_id", "state", "window_start"]
    assert answer.to_pylist()[0] == {
        "camera_id": "cam1", "state": "connecting", "window_start": datetime(1970, 1, 12, 13, 46, 40, tzinfo=UTC),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT nope FROM frames", "nope"),
        ("SELEC 1", "SELEC"),
        ("SELECT * FROM shops", "shops"),
        ("", "must be a SELECT"),
    ],
)
def test_a_mistake_is_one_line(data: Path, sql: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        run_query(data, sql)
    assert "\n" not in str(caught.value)


def test_what_sql_changes_is_not_kept(data: Path) -> None:
    run_query(data, "CREATE TABLE mine AS SELECT 1 AS x; FROM mine")
    with pytest.raises(InputError, match="mine"):
        run_query(data, "FROM mine")
    assert run_query(data, "FROM frames").num_rows == 2


def test_csv_keeps_leading_zeros_and_nests_as_json(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    print_result(ANSWER, "csv")
    lines = capfdbinary.readouterr().out.decode().splitlines()
    assert lines[0] == '"store_id","minute","net","zones"'
    assert lines[1] == '"007",2026-11-22 10:00:00.000000Z,0.25,"[""a"", ""b""]"'


def test_json_is_an_array_without_nan(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    print_result(ANSWER, "json")
    assert json.loads(capfdbinary.readouterr().out) == [
        {"store_id": "007", "minute": "2026-11-22T10:00:00+00:00", "net": 0.25, "zones": ["a", "b"]},
        {"store_id": "[red]", "minute": None, "net": None, "zones": []},
    ]
    print_result(ANSWER.slice(0, 0), "json")
    assert json.loads(capfdbinary.readouterr().out) == []


def test_a_table_is_for_reading(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    print_result(ANSWER, "table")
    text = capfdbinary.readouterr().out.decode()
    assert "2026-11-22 10:00:00Z" in text
    assert "[red]" in text
    assert text.endswith("2 rows\n")


def test_parquet_goes_to_a_file_or_as_bytes(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    print_result(ANSWER, "parquet", tmp_path / "answer.parquet")
    assert pq.read_table(tmp_path / "answer.parquet").num_rows == 2
    print_result(ANSWER, "parquet")
    assert pq.read_table(io.BytesIO(capfdbinary.readouterr().out)).column_names == ANSWER.column_names
    with pytest.raises(InputError, match="cannot be written"):
        print_result(ANSWER, "csv", tmp_path / "none" / "answer.csv")
