"""Each promise of the writer that is broken is found, with its place; a good dataset passes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from risa_ray.errors import InputError
from risa_ray.store.maintenance import sort_days
from risa_ray.store.schema import FRAMES, OBSERVATIONS
from risa_ray.store.table import Table
from risa_ray.store.verify import verify
from risa_ray.store.writer import Writer


def write(data: Path, tools: Any) -> None:
    """Two sessions over midnight, with faces, drops, lost frames, and a clock that jitters back."""
    writer = Writer(str(data), "run1")
    start = datetime(2026, 11, 22, 23, 59, 40, tzinfo=UTC)
    for name in ("s1", "s2"):
        writer.open_session(tools.session(name))
        for first in range(0, 80, 8):
            back = timedelta(seconds=3 if first == 40 else 0)
            chunk = tools.chunk(
                first, first + 7, session_id=name, start=start - back,
                cause=lambda s: "stale" if s % 11 == 0 else None,
            )  # fmt: skip
            writer.add(chunk)
            writer.heartbeat({"cam2": ("007", "backing_off")})
            writer.flush()
        writer.lost(name, 85)
        writer.close_session(name, "broken")
        writer.flush()


def problems(data: Path) -> dict[str, tuple[str, ...]]:
    return {check.name: check.problems for check in verify(str(data)) if check.problems}


def append(data: Path, table: str, schema: pa.Schema, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    rows = DeltaTable(str(data / table)).to_pyarrow_table().to_pylist()
    row = next(row for row in rows if row["session_id"] == "s1" and row["date"] == date(2026, 11, 22))
    Table(str(data), table).commit(pa.Table.from_pylist([row | change(row)], schema=schema), {})


def test_a_good_dataset_passes_before_and_after_sorting(tmp_path: Path, tools: Any) -> None:
    write(tmp_path, tools)
    assert problems(tmp_path) == {}
    list(sort_days(str(tmp_path)))
    checks = list(verify(str(tmp_path)))
    assert [check.line() for check in checks if check.problems] == []
    assert any("faces" in check.name and check.seen != "0 windows" for check in checks)


def test_an_open_session_passes(tmp_path: Path, tools: Any) -> None:
    writer = Writer(str(tmp_path), "run1")
    writer.open_session(tools.session())
    for last in (4, 14, 35):
        writer.add(tools.chunk(0, last))
        writer.flush()
        assert problems(tmp_path) == {}


def test_a_row_twice_is_found(tmp_path: Path, tools: Any) -> None:
    write(tmp_path, tools)
    append(tmp_path, "observations", OBSERVATIONS, lambda row: {})
    found = problems(tmp_path)
    assert (
        "date=2026-11-22/store_id=007: camera cam1 session s1: 1 keys twice"
        in found["observations: keys are unique"][0]
    )
    assert "counts" in found["faces of frames and observations add up"][0]


def test_a_row_twice_on_two_days_is_found(tmp_path: Path, tools: Any) -> None:
    write(tmp_path, tools)
    append(tmp_path, "observations", OBSERVATIONS, lambda row: {"date": date(2026, 11, 23)})
    found = problems(tmp_path)
    assert "1 keys both in date=2026-11-22" in found["observations: keys are unique"][0]
    assert "date=2026-11-23" in found["observations: date is the UTC day of captured_at"][0]


def test_rows_above_their_mark_are_found(tmp_path: Path, tools: Any) -> None:
    write(tmp_path, tools)
    append(tmp_path, "observations", OBSERVATIONS, lambda row: {"frame_seq": 999})
    assert problems(tmp_path)["marks are consistent"] == ("session s1: observations has frame 999, its mark is 85",)
    Table(str(tmp_path), "frames").commit(None, {"s2": 500})
    assert "session s2: frames' mark 500 passes observations' 85" in problems(tmp_path)["marks are consistent"]


def test_windows_that_overlap_are_found(tmp_path: Path, tools: Any) -> None:
    write(tmp_path, tools)
    append(tmp_path, "frames", FRAMES, lambda row: {"read": row["read"] + 1})
    (name,) = [name for name in problems(tmp_path) if name.startswith("frames: windows")]
    assert "are in two windows" in problems(tmp_path)[name][0]
    assert any("accounted for" in problem for problem in problems(tmp_path)[name])


@pytest.mark.parametrize("damage", ["missing", "cut", "shorter", "type"])
def test_a_damaged_file_is_found(tmp_path: Path, tools: Any, damage: str) -> None:
    write(tmp_path, tools)
    file = next((tmp_path / "observations").rglob("*.parquet"))
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        table = pq.ParquetFile(file).read()
        if damage == "type":
            number = table.schema.get_field_index("frame_seq")
            table = table.set_column(number, "frame_seq", table["frame_seq"].cast(pa.string()))
        pq.write_table(table if damage == "type" else table.slice(1), file)
    words = {"missing": "is missing", "cut": "does not open", "shorter": "the log says", "type": "is string, not int64"}
    (problem,) = problems(tmp_path)["observations: files whole"]
    assert file.name in problem
    assert words[damage] in problem


def test_a_context_row_without_its_key_is_found(tmp_path: Path, tools: Any) -> None:
    write(tmp_path, tools)
    table = Table(str(tmp_path), "stores")
    table.commit(pa.Table.from_pylist([{"store_id": "007"}], schema=table.schema), {})
    assert problems(tmp_path)["context is readable"] == ("stores: 1 rows without valid_from",)


def test_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dataset"):
        list(verify(str(tmp_path)))
