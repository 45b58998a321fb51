"""What is recommended follows from the views, and nothing is where they do not tell."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from risa_ray.analytics.advice import NO_WINNER, next_content, next_products
from risa_ray.analytics.dataset import open_dataset, statements
from risa_ray.analytics.simulate import simulate
from risa_ray.errors import InputError
from risa_ray.store.schema import TABLES

FIRST = date(2026, 3, 2)
AT = datetime(2026, 3, 3, 13, 30, tzinfo=UTC)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    data = str(tmp_path_factory.mktemp("advice") / "data")
    simulate(data, stores=1, days=2, seed=4, start=FIRST, fps=1, visits_per_hour=60, outages=False)
    with open_dataset(data) as opened:
        yield opened
    empty().close()
    empty.cache_clear()


def told(contents: dict[str, tuple[float, float] | None] | None = None, **lifts: tuple[float, float]) -> Any:
    """A dataset whose views say these intervals: of contents' differences in attention, of lifts with shelf `tea`."""
    connection = empty()
    for table in ("stores", "cameras", "zones", "content", "content_response", "next_products"):
        connection.execute(f"TRUNCATE {table}")
    place = {"store_id": "007", "camera_id": "cam", "valid_from": LONG_AGO}
    screen = {**place, "zone_id": "screen", "kind": "screen", "active": True}
    shelves = [{**screen, "zone_id": name, "kind": "product"} for name in ("tea", *lifts)]
    running = [{**screen, "content_id": name, "starts_at": LONG_AGO, "ends_at": AT} for name in contents or {}]
    fill(connection, "stores", [{**place, "timezone": "Europe/Berlin"}])
    fill(connection, "cameras", [place])
    fill(connection, "zones", [screen, *shelves])
    fill(connection, "content", running)
    responses = [
        {
            "store_id": "007", "camera_id": "cam", "zone_id": "screen", "content_id": name,
            "attention_difference": sum(interval) / 2, "attention_difference_low": interval[0],
            "attention_difference_high": interval[1],
            "attention_verdict": "best" if interval[0] > 0 else "worse" if interval[1] < 0 else NO_WINNER,
        }
        for name, interval in (contents or {}).items() if interval
    ]  # fmt: skip
    pairs = [
        {
            "store_id": "007", "camera_id": "cam", "zone_id": "tea", "next_zone_id": name, "tracks": 10,
            "lift": sum(interval) / 2, "lift_low": interval[0], "lift_high": interval[1],
        }
        for name, interval in lifts.items()
    ]  # fmt: skip
    say(connection, "content_response", responses)
    say(connection, "next_products", pairs)
    return connection


@cache
def empty() -> duckdb.DuckDBPyConnection:
    """A dataset without rows; what the two views say is to be written."""
    connection = duckdb.connect()
    for statement in statements({}, {}, 10):
        connection.execute(statement)
    for view in ("content_response", "next_products"):
        connection.execute(f"CREATE TABLE said AS FROM {view}; DROP VIEW {view}; ALTER TABLE said RENAME TO {view}")
    return connection


def fill(connection: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    columns = TABLES[table].names
    there = [{name: value for name, value in row.items() if name in columns} for row in rows]
    connection.register("filling", pa.Table.from_pylist(there, schema=TABLES[table]))
    connection.execute(f"INSERT INTO {table} BY NAME FROM filling")


def say(connection: duckdb.DuckDBPyConnection, view: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.register("saying", pa.Table.from_pylist(rows))
        connection.execute(f"INSERT INTO {view} BY NAME FROM saying")


@pytest.mark.parametrize("measure", ["attention", "valence"])
def test_the_content_that_is_truly_better_is_found(simulated: duckdb.DuckDBPyConnection, measure: Any) -> None:
    advice = next_content(simulated, "sim001", "screen", AT, measure=measure)
    assert advice.content_id == "promotion"
    assert advice.hour_local.isoformat() == "2026-03-03T14:00:00+01:00"
    assert advice.camera_id == "sim001-aisle"
    assert [content.content_id for content in advice.contents] == ["promotion", "brand"]
    view = simulated.sql(
        f"SELECT {measure}, {measure}_difference_low, {measure}_difference_high, {measure}_verdict "
        "FROM content_response WHERE content_id = 'promotion'"
    ).fetchall()
    best = advice.contents[0]
    assert (best.value, best.difference_low, best.difference_high) == pytest.approx(view[0][:3])
    assert best.verdict == view[0][3] == "best"


def test_before_anybody_was_seen_there_is_no_winner(simulated: duckdb.DuckDBPyConnection) -> None:
    before = datetime(2026, 3, 1, 12, tzinfo=UTC)
    content = next_content(simulated, "sim001", "screen", before)
    assert (content.content_id, {c.verdict for c in content.contents}) == (None, {"untested"})
    assert content.reason.startswith(f"{NO_WINNER}: too few people have seen brand, promotion")
    products = next_products(simulated, "sim001", "tea", before)
    assert (products.next_zone_id, products.products) == (None, [])
    with pytest.raises(InputError, match="from: 2026-03-04 lies after the day of at, 2026-03-03"):
        next_content(simulated, "sim001", "screen", AT, since="2026-03-04")


def test_products_are_those_of_the_view_by_the_lower_bound_of_lift(simulated: duckdb.DuckDBPyConnection) -> None:
    advice = next_products(simulated, "sim001", "coffee", AT)
    view = simulated.sql(
        "SELECT next_zone_id, tracks, support, confidence, lift, lift_low, lift_high FROM next_products "
        "WHERE zone_id = 'coffee' ORDER BY rank"
    ).fetchall()
    found = [(p.zone_id, p.tracks, p.support, p.confidence, p.lift, p.lift_low, p.lift_high) for p in advice.products]
    assert found == view
    assert len(found) == 3
    # The simulated aisle has its shelves side by side: neighbours co-occur.
    assert advice.next_zone_id == "cake"
    assert advice.products[0].tags == ["cake", "sweets"]
    (engaged,) = simulated.sql(
        "SELECT sum(engaged) / sum(tracks) FROM product_engagement WHERE zone_id = 'cake' AND tracks > 0"
    ).fetchall()[0]
    assert advice.products[0].engaged_share == pytest.approx(engaged)


@pytest.mark.parametrize(
    ("contents", "winner", "part"),
    [
        ({"a": (0.1, 0.3), "b": (-0.3, -0.1)}, "a", "a: attention is higher by 0.20"),
        ({"a": (-0.1, 0.3), "b": (-0.3, 0.1)}, None, "lies clear of 0"),
        ({"a": (0.1, 0.3), "b": (0.05, 0.2), "c": (-0.4, -0.2)}, None, "a leads, but not clear of b"),
        ({"a": (0.1, 0.3), "b": (-0.1, 0.05), "c": (-0.3, -0.1)}, "a", "a: "),
        ({"a": (0.1, 0.3), "b": (-0.3, -0.1), "new": None}, None, "too few people have seen new"),
        ({"a": (0.1, 0.3)}, None, "only a"),
        ({}, None, "no content"),
    ],
)
def test_a_content_wins_clear_of_0_and_of_its_rivals(
    contents: dict[str, tuple[float, float] | None], winner: str | None, part: str
) -> None:
    advice = next_content(told(contents), "007", "screen", AT)
    assert advice.content_id == winner
    assert part in advice.reason
    assert (winner is None) == advice.reason.startswith(NO_WINNER)


def test_a_content_that_was_taken_off_the_schedule_is_evidence_and_no_candidate() -> None:
    connection = told({"a": (0.1, 0.3), "b": (-0.05, 0.05), "c": (-0.3, -0.1)})
    gone = {"store_id": "007", "camera_id": "cam", "zone_id": "screen", "content_id": "a", "active": False}
    fill(connection, "content", [{**gone, "valid_from": AT.replace(hour=12)}])
    advice = next_content(connection, "007", "screen", AT)
    assert advice.content_id is None
    assert {c.content_id: c.scheduled for c in advice.contents} == {"a": False, "b": True, "c": True}
    assert next_content(connection, "007", "screen", AT.replace(hour=11)).content_id == "a"


@pytest.mark.parametrize(
    ("lifts", "winner", "part"),
    [
        ({"cake": (1.2, 1.4), "coffee": (0.7, 0.9)}, "cake", "cake: 1.30 times"),
        ({"cake": (0.9, 1.2), "coffee": (0.8, 1.1)}, None, "no lift lies clear of 1"),
        ({"cake": (1.2, 1.4), "coffee": (1.1, 1.3)}, None, "cake leads, but not clear of coffee"),
        ({}, None, "enough people in common"),
    ],
)
def test_a_product_wins_clear_of_1_and_of_its_rivals(
    lifts: dict[str, tuple[float, float]], winner: str | None, part: str
) -> None:
    advice = next_products(told(**lifts), "007", "tea", AT)
    assert advice.next_zone_id == winner
    assert part in advice.reason
    assert [product.zone_id for product in advice.products] == list(lifts)


def test_the_zone_must_be_one_screen_or_shelf(simulated: duckdb.DuckDBPyConnection) -> None:
    connection = told(cake=(1.2, 1.4))
    other = {"store_id": "007", "camera_id": "other", "valid_from": LONG_AGO}
    fill(connection, "cameras", [other])
    fill(connection, "zones", [{**other, "zone_id": "tea", "kind": "product", "active": True}])
    with pytest.raises(InputError, match="'tea' is a zone of cameras cam, other; say which one with camera"):
        next_products(connection, "007", "tea", AT)
    assert next_products(connection, "007", "tea", AT, "cam").next_zone_id == "cake"
    with pytest.raises(InputError, match="'queue' is no screen zone at that time; there is screen"):
        next_content(simulated, "sim001", "queue", AT)
    with pytest.raises(InputError, match="there is no zone 'x'"):
        next_products(simulated, "sim001", "x", AT)
    with pytest.raises(InputError, match="there is no store 'x'"):
        next_products(simulated, "x", "tea", AT)


def test_an_interval_that_holds_0_names_nobody(tmp_path: Path) -> None:
    """Few people: the same two contents as above, whose truth differs, cannot be told apart yet."""
    data = str(tmp_path / "data")
    simulate(data, stores=1, days=1, seed=4, start=FIRST, fps=1, visits_per_hour=15, outages=False)
    with open_dataset(data) as connection:
        advice = next_content(connection, "sim001", "screen", AT)
        (low, high) = connection.sql(
            "SELECT attention_difference_low, attention_difference_high FROM content_response "
            "WHERE content_id = 'promotion'"
        ).fetchall()[0]
    assert low < 0 < high
    assert advice.content_id is None
    assert advice.reason == f"{NO_WINNER}: no content's difference in attention lies clear of 0; show them in turns"
