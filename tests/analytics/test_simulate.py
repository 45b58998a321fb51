"""Simulated stores: what is written is what the truth says."""

from __future__ import annotations

import json
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from risa_ray import open_dataset
from risa_ray.analytics.simulate import Truth, simulate
from risa_ray.cli import app
from risa_ray.errors import InputError
from risa_ray.store.schema import OBSERVATIONS
from risa_ray.vision.expressions import EXPRESSIONS, valence

DAY = date(2026, 10, 25)
SETTINGS: dict[str, Any] = {"stores": 4, "days": 1, "start": DAY, "visits_per_hour": 3}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Truth]:
    """Nothing goes wrong; Berlin's clocks go back in the night of store 4, which never closes."""
    data = str(tmp_path_factory.mktemp("plain"))
    return data, simulate(data, **SETTINGS, split_rate=0, drop_rate=0, outages=False)


@pytest.fixture(scope="module")
def rough(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Truth]:
    data = str(tmp_path_factory.mktemp("rough"))
    return data, simulate(data, **SETTINGS, seed=3, split_rate=0.3, drop_rate=0.1, unknown_rate=0.2)


@cache
def connected(data: str) -> duckdb.DuckDBPyConnection:
    """One snapshot each: nothing is written to a dataset that was asked."""
    return open_dataset(data, raw=True)


def answer(data: str, sql: str, **tables: pa.Table) -> list[tuple[Any, ...]]:
    connection = connected(data)
    for name, table in tables.items():
        connection.register(name, table)
    return connection.execute(sql).fetchall()


STAYS = """
    SELECT (SELECT count(*) FROM stays) - count(*), (SELECT count(*) FROM known), max(abs(s.looked_s - k.looked_s))
    FROM stays s JOIN known k ON s.store_id = k.store_id AND s.camera_id = k.camera_id AND s.track_id = k.track_id
        AND s.zone_id = k.zone_id AND s.zone_kind = k.zone_kind
        AND s.entered_at = k.entered_at AND s.left_at = k.left_at
        AND abs(s.dwell_s - epoch(k.left_at - k.entered_at)) < 1e-9 AND (s.looked_s IS NULL) = (k.looked_s IS NULL)
"""
TRACKS = """
    SELECT (SELECT count(*) FROM tracks) - count(*)
    FROM tracks t JOIN (SELECT *, unnest(track_ids) AS track_id FROM known) k
        ON t.store_id = k.store_id AND t.camera_id = k.camera_id AND t.session_id = k.session_id
        AND t.track_id = k.track_id AND (k.split OR t.first_seen = k.first_seen AND t.last_seen = k.last_seen)
"""


def test_the_views_find_the_true_tracks_and_stays(plain: tuple[str, Truth]) -> None:
    data, truth = plain
    others, stays, worst = answer(data, STAYS, known=truth.stays)[0]
    assert others == 0
    assert stays == len(truth.stays) > 300
    assert answer(data, "SELECT count(*) FROM stays")[0][0] == stays
    assert worst < 1e-6
    assert answer(data, TRACKS, known=truth.visits) == [(0,)]
    assert answer(data, "SELECT count(*) FROM tracks") == [(len(truth.visits),)]
    assert not any(truth.visits["split"].to_pylist())


def test_the_views_find_the_true_waits(plain: tuple[str, Truth]) -> None:
    data, truth = plain
    found = answer(
        data,
        """
        SELECT count(*), count_if(w.completed <> (k.outcome = 'served')), max(abs(w.wait_s - k.wait_s))
        FROM people.waits w JOIN known k USING (store_id, track_id, zone_id) WHERE k.outcome IS NOT NULL
        """,
        known=truth.stays,
    )[0]
    assert found[0] > 50
    assert found[1] == 0
    assert found[2] < 2e-6


def test_the_moods_are_those_drawn(plain: tuple[str, Truth]) -> None:
    data, truth = plain
    bias, spread = answer(
        data,
        "SELECT avg(t.valence - k.valence), stddev(t.valence - k.valence) FROM tracks t"
        " JOIN known k ON t.track_id = k.track_ids[1]",
        known=truth.visits,
    )[0]
    assert abs(bias) < 0.005
    assert spread < 0.03


def test_with_splits_drops_and_outages(rough: tuple[str, Truth]) -> None:
    data, truth = rough
    others, stays, _ = answer(data, STAYS, known=truth.stays)[0]
    # Only a long run of dropped frames cuts a stay that the truth bridges.
    assert abs(others) <= 0.01 * stays
    assert answer(data, TRACKS, known=truth.visits) == [(0,)]
    tracks = sum(len(ids) for ids in truth.visits["track_ids"].to_pylist())
    assert answer(data, "SELECT count(*) FROM tracks") == [(tracks,)]
    assert 0.2 < np.mean(truth.visits["split"].to_pylist()) < 0.4
    (dropped,) = answer(data, "SELECT sum(dropped_overrun) / sum(read) FROM frames")[0]
    assert dropped == pytest.approx(0.1, abs=0.01)
    (unknown,) = answer(data, "SELECT avg((expression = 'unknown')::INTEGER) FROM observations")[0]
    assert unknown == pytest.approx(0.2, abs=0.01)
    assert answer(data, "SELECT count(*) FROM frames WHERE state = 'down' AND read = 0 AND session_id IS NULL")[0][0]


def test_every_frame_is_accounted_for(rough: tuple[str, Truth]) -> None:
    data, truth = rough
    rows, faces = answer(data, "SELECT count(*), sum(faces) FROM frames")[0]
    assert rows == truth.frames
    assert faces == truth.observations == answer(data, "SELECT count(*) FROM observations")[0][0]
    wrong = "SELECT count(*) FROM frames WHERE read <> analysed + dropped_overrun"
    assert answer(data, f"{wrong} OR list_sum(delay_hist) <> analysed OR last_seq - first_seq + 1 <> read") == [(0,)]
    keys = "SELECT count(DISTINCT (camera_id, session_id, frame_seq, face_index)) FROM observations"
    assert answer(data, keys) == [(truth.observations,)]
    assert answer(data, "SELECT count(*) FROM runs WHERE state = 'complete'") == [(1,)]
    assert answer(data, "SELECT count(DISTINCT session_id) FROM frames WHERE session_id IS NOT NULL") == answer(
        data, "SELECT len(sessions) FROM runs LIMIT 1"
    )


def test_rows_keep_to_their_definitions(rough: tuple[str, Truth]) -> None:
    data, _ = rough
    rows = connected(data).sql("FROM observations LIMIT 20000").to_arrow_table()
    shares = np.stack([rows[f"p_{name}"].to_numpy() for name in EXPRESSIONS], axis=1)
    assert (shares >= 0).all()
    assert (shares.sum(axis=1) == 1).all()
    assert (valence(shares) == rows["valence"].to_numpy()).all()
    assert (shares.max(axis=1) == rows["confidence"].to_numpy()).all()
    expressions = rows["expression"].to_pylist()
    best = [EXPRESSIONS[i] for i in shares.argmax(axis=1)]
    assert all(e in ("unknown", b) for e, b in zip(expressions, best, strict=True))
    reasons = rows["abstain_reason"].to_pylist()
    assert all((e == "unknown") == (r is not None) for e, r in zip(expressions, reasons, strict=True))
    assert len(set(expressions)) >= 8


def test_boxes_lie_in_their_zones(rough: tuple[str, Truth]) -> None:
    wrong = """
        SELECT count_if((len(list_filter(o.zone_ids, lambda z: z = zone_id)) = 1) <> (
            (x1 + x2) / 2 / 1280 BETWEEN polygon[1].x AND polygon[3].x
            AND (y1 + y2) / 2 / 720 BETWEEN polygon[1].y AND polygon[3].y)), count(*)
        FROM observations o JOIN zones USING (camera_id)
    """
    bad, checked = answer(rough[0], wrong)[0]
    assert bad == 0
    assert checked > 1000


def test_contents_take_turns(plain: tuple[str, Truth]) -> None:
    data, truth = plain
    found = answer(
        data,
        "SELECT count(*), count_if(c.content_id = k.content_id) FROM known k JOIN content c"
        " ON k.camera_id = c.camera_id AND k.entered_at >= c.starts_at AND k.entered_at < c.ends_at"
        " WHERE k.zone_kind = 'screen'",
        known=truth.stays,
    )[0]
    assert found[0] > 30
    # One row of the first frame may lie across the border of two slots.
    assert found[0] - found[1] <= 1
    assert {row[0] for row in answer(data, "SELECT content_id FROM people.shown")} == {"promotion", "brand"}


def test_files_are_sorted_by_time(plain: tuple[str, Truth]) -> None:
    import pyarrow.parquet as pq

    files = list(Path(plain[0]).glob("observations/**/*.parquet"))
    assert files
    for file in files:
        times = np.asarray(pq.ParquetFile(file).read(["captured_at"])["captured_at"].cast(pa.int64()))
        assert (np.diff(times) >= 0).all()


def test_the_same_seed_gives_the_same_rows(tmp_path: Path) -> None:
    found = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        data = str(tmp_path / name)
        simulate(data, stores=1, days=1, seed=seed, start=DAY, visits_per_hour=2)
        rows = connected(data).sql("FROM observations ORDER BY camera_id, captured_at, face_index").to_arrow_table()
        found.append((rows, answer(data, "FROM runs")))
    assert found[0] == found[1]
    assert found[0][0].schema.names == OBSERVATIONS.names
    assert found[0] != found[2]


def test_flushes_make_a_file_each(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"stores": 1, "days": 1, "start": DAY, "visits_per_hour": 0.5}
    naive = simulate(str(tmp_path / "naive"), **settings, flush_s=3600)
    whole = simulate(str(tmp_path / "whole"), **settings)
    files = [len(list((tmp_path / name).glob("observations/**/*.parquet"))) for name in ("naive", "whole")]
    assert files[0] > 5
    assert files[1] == 1
    assert naive.stays.equals(whole.stays)
    count = "SELECT count(*), sum(hash(COLUMNS(*))) FROM observations"
    assert answer(str(tmp_path / "naive"), count) == answer(str(tmp_path / "whole"), count)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stores": 0}, "stores must be at least 1"),
        ({"days": 0}, "days must be at least 1"),
        ({"fps": 0}, "fps must be from"),
        ({"visits_per_hour": 0}, "visits_per_hour must be"),
        ({"drop_rate": 1}, "drop_rate must be"),
        ({"days": 10**9}, "leave the calendar"),
    ],
)
def test_bad_arguments_are_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate(str(tmp_path / "data"), **({"stores": 1, "days": 1, "start": DAY} | changed))
    assert not (tmp_path / "data").exists()


def test_data_that_are_there_are_left_alone(plain: tuple[str, Truth]) -> None:
    with pytest.raises(InputError, match=r"is not empty.*choose a new folder"):
        simulate(plain[0], stores=1, days=1)


def test_the_command(tmp_path: Path) -> None:
    data = tmp_path / "data"
    words = ["simulate", "--stores", "1", "--days", "1", "--data", str(data), "--visits-per-hour", "2"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "1 stores, 3 cameras, 1 days" in done.output
    truth = json.loads((data / "truth" / "parameters.json").read_text(encoding="utf-8"))
    assert truth["stores"] == {"sim001": {"timezone": "Europe/Berlin", "opens": 9, "closes": 21}}
    seen = answer(str(data), f"SELECT (SELECT count(*) FROM stays), count(*) FROM '{data}/truth/stays.parquet'")[0]
    assert seen[0] > 0
    assert abs(seen[0] - seen[1]) <= 1
    again = CliRunner().invoke(app, words)
    assert isinstance(again.exception, InputError)
    wrong = CliRunner().invoke(app, [*words[:-2], "--start", "tomorrow"])
    assert isinstance(wrong.exception, InputError)
    assert "write it as" in str(wrong.exception)
