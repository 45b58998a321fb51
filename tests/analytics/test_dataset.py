"""Opening what the writer wrote."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from risa_ray import open_dataset
from risa_ray.analytics.closing import close_days
from risa_ray.analytics.dataset import init_script
from risa_ray.analytics.query import run_query
from risa_ray.analytics.simulate import simulate
from risa_ray.config import parse_config
from risa_ray.errors import InputError
from risa_ray.frames import Chunk, FaceRow, Outcome
from risa_ray.store.context import write_context
from risa_ray.store.maintenance import compact
from risa_ray.store.schema import TABLES
from risa_ray.store.table import Table
from risa_ray.store.writer import SessionInfo, Writer

START = datetime(2026, 11, 22, 23, 59, 50, tzinfo=UTC)
VIEWS = ("observations", "tracks", "stays", "mood_by_minute", "zone_hour")
PUBLIC = [name for name in TABLES if name != "closed_tracks"]


def write(data: Path, people: int = 3, flushes: int = 1) -> None:
    """Twenty seconds of people in front of one camera of store 007."""
    writer = Writer(str(data), "run1")
    writer.open_session(SessionInfo("007", "cam1", "s1", False, START))
    for seq in range(20):
        at = START + timedelta(seconds=seq)
        faces = tuple(
            FaceRow(
                seq, p, at, float(seq), f"t{p}", ("door",), 10, 10, 60, 60, 0.9, 50, None,
                (0.1, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1), "happiness", None, 0.3, 0.2,
            )
            for p in range(people)
        )  # fmt: skip
        outcome = Outcome(seq, float(seq), at, 0.0, None, people)
        writer.add(Chunk("007", "cam1", "s1", "mtcnn", "m", (outcome,), faces))
        if seq < flushes:
            writer.flush()
    writer.close_session("s1", "complete")
    writer.flush()


def count(connection: duckdb.DuckDBPyConnection, what: str) -> int:
    return int(connection.sql(f"SELECT count(*) FROM {what}").fetchall()[0][0])


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    write(tmp_path / "my data")
    connection = open_dataset(tmp_path / "my data", raw=True)
    assert count(connection, "observations") == 60
    assert connection.sql("SELECT DISTINCT store_id, date FROM observations ORDER BY date").fetchall() == [
        ("007", START.date()),
        ("007", START.date() + timedelta(days=1)),
    ]
    assert count(connection, "frames") == 2
    assert count(connection, "tracks WHERE mood = 'positive'") == 3
    assert connection.sql("SELECT DISTINCT typeof(captured_at) FROM observations").fetchall() == [
        ("TIMESTAMP WITH TIME ZONE",)
    ]


def test_every_table_and_view_answers_before_there_are_rows(tmp_path: Path) -> None:
    Table(str(tmp_path), "observations")
    connection = open_dataset(tmp_path)
    for name in (*PUBLIC, *VIEWS):
        assert count(connection, name) == 0
    columns = [row[0] for row in connection.sql("DESCRIBE alerts").fetchall()]
    assert columns == TABLES["alerts"].names


def test_the_floor_holds_unless_raw(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(duckdb.Error, match="single people; use --raw"):
        count(open_dataset(tmp_path), "observations")
    statuses = {r[0] for r in open_dataset(tmp_path).sql("SELECT status FROM mood_by_minute").fetchall()}
    assert statuses == {"suppressed"}
    assert count(open_dataset(tmp_path, k=1), "tracks") == 3
    with pytest.raises(InputError, match="at least 1"):
        open_dataset(tmp_path, k=0)


def test_single_people_cannot_be_reached_below_the_floor(tmp_path: Path) -> None:
    write(tmp_path, people=12)
    connection = open_dataset(tmp_path)
    for name in ("observations", "weighed", "tracks", "stays", "stay_observations"):
        with pytest.raises(duckdb.Error):
            count(connection, f"people.{name}")
    floored = connection.sql("SELECT status, tracks, net_sentiment FROM mood ORDER BY hour").fetchall()
    with_schema = open_dataset(tmp_path, k=1).sql("SELECT status, tracks, net_sentiment FROM mood ORDER BY hour")
    assert floored == with_schema.fetchall()
    assert count(open_dataset(tmp_path, raw=True), "people.tracks") == 12
    with pytest.raises(InputError, match="tracks") as caught:
        run_query(tmp_path, "FROM people.tracks")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("ks", "floor"), [([1], 1), ([1, 4], 4), ([4, 1], 1)])
def test_the_floor_is_the_datasets_own(tmp_path: Path, ks: list[int], floor: int) -> None:
    write(tmp_path)
    for day, k in enumerate(ks):
        camera = {"id": "cam1", "source": "film.mp4"}
        raw: dict[str, Any] = {"privacy": {"k": k}, "stores": [{"id": "007", "cameras": [camera]}]}
        write_context(str(tmp_path), parse_config(raw, "test"), {"cam1": START + timedelta(days=day)})
    assert open_dataset(tmp_path).sql("SELECT getvariable('k')").fetchall() == [(floor,)]


def test_a_snapshot_stays_whole_while_others_write(tmp_path: Path) -> None:
    write(tmp_path, flushes=20)
    connection = open_dataset(tmp_path, raw=True)
    compact(str(tmp_path), older_than_s=-60)
    writer = Writer(str(tmp_path), "run2")
    writer.heartbeat({"cam1": ("007", "stopped")})
    writer.flush(last=True)
    assert (count(connection, "observations"), count(connection, "frames")) == (60, 2)
    later = open_dataset(tmp_path, raw=True)
    assert (count(later, "observations"), count(later, "frames")) == (60, 3)


def test_the_init_script_makes_the_same_views(tmp_path: Path) -> None:
    write(tmp_path)
    shell = duckdb.connect()
    shell.execute(init_script(tmp_path, raw=True))
    own = open_dataset(tmp_path, raw=True)
    for name in (*PUBLIC, *VIEWS):
        query = f"SELECT count(*), sum(hash(COLUMNS(*))::HUGEINT) FROM {name}"
        assert shell.sql(query).fetchall() == own.sql(query).fetchall()


def test_a_url_is_read_without_duckdb_extensions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way object stores take, on a local folder: through pyarrow."""
    write(tmp_path)
    monkeypatch.setattr("risa_ray.analytics.dataset.is_url", lambda path: True)
    connection = open_dataset(tmp_path, raw=True)
    assert count(connection, "observations") == 60
    assert connection.sql("SELECT DISTINCT store_id FROM stays").fetchall() == [("007",)]


def test_another_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(InputError, match=r"--data") as caught:
            open_dataset(path)
        assert "\n" not in str(caught.value)


def test_importing_the_package_costs_nothing() -> None:
    code = "import sys, risa_ray; sys.exit(bool({'duckdb', 'deltalake', 'torch', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_broken_file_is_named_in_one_line(tmp_path: Path) -> None:
    write(tmp_path)
    for file in (tmp_path / "observations").glob("date=*/**/*.parquet"):
        file.write_bytes(b"no rows")
    with pytest.raises(InputError, match=r"observations.*\.parquet.*risa verify") as caught:
        run_query(tmp_path, "FROM tracks", raw=True)
    assert "\n" not in str(caught.value)


def test_a_broken_small_table_is_named_in_one_line_when_it_is_opened(tmp_path: Path) -> None:
    write(tmp_path)
    privacy = Table(str(tmp_path), "privacy")
    privacy.commit(pa.Table.from_pylist([{"chain": "c", "k": 3}], schema=TABLES["privacy"]), {})
    for file in (tmp_path / "privacy").glob("*.parquet"):
        file.write_bytes(b"no rows")
    with pytest.raises(InputError, match=r"cannot be read.*risa verify") as caught:
        open_dataset(tmp_path)
    assert "\n" not in str(caught.value)


def rounded(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Sums of floats depend on their order."""
    return [tuple(round(value, 9) if isinstance(value, float) else value for value in row) for row in rows]


def test_one_store_alone_answers_the_same(tmp_path: Path) -> None:
    data = str(tmp_path)
    simulate(data, stores=2, days=3, start=date(2026, 3, 2), fps=0.5, visits_per_hour=30)
    close_days(data, clock=datetime(2026, 3, 4, 12, tzinfo=UTC).timestamp)
    whole, alone = open_dataset(data, k=2), open_dataset(data, k=2, store="sim002")
    assert alone.sql("SELECT DISTINCT store_id FROM frames").fetchall() == [("sim002",)]
    for view in ("camera_hour", "mood", "zone_hour", "operations", "product_engagement", "journey", "next_products"):
        wanted = rounded(whole.sql(f"FROM {view} WHERE store_id = 'sim002' ORDER BY ALL").fetchall())
        assert wanted
        assert rounded(alone.sql(f"FROM {view} ORDER BY ALL").fetchall()) == wanted
    with pytest.raises(InputError, match="no store sim009; there is sim001, sim002"):
        open_dataset(data, store="sim009")
