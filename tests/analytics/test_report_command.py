"""The command writes a report as a page or as tables, or refuses with one line."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from pages import Page
from simulated import FIRST, LAST
from typer.testing import CliRunner

from risa_ray.analytics import open_dataset
from risa_ray.cli import app
from risa_ray.errors import InputError
from risa_ray.store.schema import TABLES
from risa_ray.store.table import Table


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--store", "nowhere"], "there is no such store; there is sim001, sim002"),
        ([], "there are 2 stores; choose one with --store: sim001, sim002"),
        (["--store", "sim001", "--from", "soon"], "--from: 'soon' is not a date; write it as"),
        (["--store", "sim001", "--from", "2026-11-15", "--to", "2026-11-14"], "--from 2026-11-15 is after --to"),
        (["--store", "sim001", "--to", "2026-10-01"], "no data from .* to 2026-10-01; there is some from 2026-11-14"),
        (["--store", "sim001", "--from", "2026-12-01"], "no data from 2026-12-01 .*; there is some from 2026-11-14"),
        (["--store", "sim001", "--out", "nowhere/report.html"], "there is no folder nowhere; create it first"),
        (["--store", "sim001", "--format", "csv", "--out", "nowhere/there"], "there is no folder nowhere"),
        (["--store", "sim001", "--out", "report.pdf"], "give an output that ends in .html"),
    ],
)
def test_wrong_input_is_one_line(
    busy: str, words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["report", "--data", busy, *words])
    assert isinstance(done.exception, InputError)
    assert re.search(message, str(done.exception))
    assert "\n" not in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_a_page(quiet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["report", "--data", quiet, "--from", str(FIRST)])
    assert done.exit_code == 0, done.output
    assert re.match(r"report\.html: store sim001, 2026-11-14 to 2026-11-14, [\d.]+ MB", done.output)
    assert Page((tmp_path / "report.html").read_text(encoding="utf-8")).all("section")


def test_tables_hold_the_store_and_the_period(busy: str, tmp_path: Path) -> None:
    words = ["report", "--data", busy, "--store", "sim002", "--from", str(LAST), "--to", str(LAST)]
    done = CliRunner().invoke(app, [*words, "--format", "parquet", "--out", str(tmp_path / "tables")])
    assert done.exit_code == 0, done.output
    tables = {file.stem: pq.read_table(file) for file in (tmp_path / "tables").iterdir()}
    assert {"mood", "footfall", "operations", "product_engagement", "next_products", "camera_hour"} <= set(tables)
    assert not {"tracks", "stays", "observations"} & set(tables), "single people only with --raw"
    for name, table in tables.items():
        assert set(table["store_id"].to_pylist()) <= {"sim002"}, name
        assert table.num_rows or name in ("content_response", "next_products"), name
        for column in ("hour_local", "minute_local", "day"):
            if column in table.column_names:
                assert {str(when)[:10] for when in table[column].to_pylist()} == {str(LAST)}, name
    assert "status" in tables["mood"].column_names
    assert "ci_low" in tables["mood"].column_names


def test_raw_tables_have_single_people(quiet: str, tmp_path: Path) -> None:
    out = tmp_path / "tables"
    done = CliRunner().invoke(app, ["report", "--data", quiet, "--format", "csv", "--raw", "--out", str(out)])
    assert done.exit_code == 0, done.output
    people = open_dataset(quiet, raw=True).execute("SELECT count(*) FROM tracks").fetchall()[0][0]
    assert csv.read_csv(out / "tracks.csv").num_rows == people > 0
    assert csv.read_csv(out / "stays.csv").num_rows > 0


def test_a_floor_of_one_alone_exports_no_single_people(quiet: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(quiet, data)
    shutil.rmtree(data / "privacy", ignore_errors=True)
    row = {"chain": "c", "k": 1, "valid_from": datetime(2026, 1, 1, tzinfo=UTC)}
    Table(str(data), "privacy").commit(pa.Table.from_pylist([row], schema=TABLES["privacy"]), {})
    out = tmp_path / "tables"
    done = CliRunner().invoke(app, ["report", "--data", str(data), "--format", "csv", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert (out / "mood.csv").exists()
    assert not {"tracks", "stays"} & {file.stem for file in out.iterdir()}
