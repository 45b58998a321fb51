"""What is recommended follows from the views, and nothing is where they do not tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pytest

from risa_ray.analytics.advice import NO_WINNER, next_content, next_products
from risa_ray.analytics.closing import close_days
from risa_ray.analytics.dataset import open_dataset, statements
from risa_ray.analytics.evidence import ENOUGH
from risa_ray.analytics.named import hours
from risa_ray.analytics.simulate import job, scenario, simulate
from risa_ray.config import ContentItem
from risa_ray.errors import InputError
from risa_ray.store.schema import TABLES

FIRST = date(2026, 3, 2)
AT = datetime(2026, 3, 3, 13, 30, tzinfo=UTC)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
COUNTS = ("tracks", "tracks_with_yaw", "with_mood", "matched_tracks", "zone_tracks", "attention_compared",
          "valence_compared")  # fmt: skip


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    data = str(tmp_path_factory.mktemp("advice") / "data")
    simulate(data, stores=1, days=2, seed=4, start=FIRST, fps=1, visits_per_hour=60, outages=False)
    close_days(data)
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
            "zone_tracks": 50, "lift": sum(interval) / 2, "lift_low": interval[0], "lift_high": interval[1],
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
        ({"a": (0.1, 0.3), "b": (-0.3, -0.1), "new": None}, None, "too few people have seen new in the same hours"),
        ({"a": (0.1, 0.3)}, None, "only a, and nothing to compare"),
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
    told = f"{NO_WINNER}: no content's difference in attention lies clear of 0; show them in turns"
    assert advice.reason == f"{told}; told by who came at any hour, as too few can be compared from 14:00 to 15:00"


# --- the hour that is meant -------------------------------------------------------------------------------------------

TURN = 15
"""The local hour from which on the simulated screen's contents have changed their names."""


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Monday and a Tuesday on which `promotion` is better in the morning and `brand` in the evening, by as much."""
    names = dict(zip(scenario.CONTENTS, reversed(scenario.CONTENTS), strict=True))
    schedule, stores = scenario._schedule, scenario.build_stores

    def renamed(store: scenario.Store, dates: tuple[date, ...]) -> tuple[ContentItem, ...]:
        return tuple(
            item if item.from_.astimezone(BERLIN).hour < TURN else item.model_copy(update={"id": names[item.id]})
            for item in schedule(store, dates)
        )

    def open_for_six_hours(count: int, fps: float | None = None) -> tuple[scenario.Store, ...]:
        return tuple(replace(store, opens=TURN - 3, closes=TURN + 3) for store in stores(count, fps))

    data = str(tmp_path_factory.mktemp("turned") / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenario, "_schedule", renamed)
        patch.setattr(job, "build_stores", open_for_six_hours)
        simulate(data, stores=1, days=2, seed=4, start=FIRST, fps=1, visits_per_hour=800, split_rate=0, outages=False)
    close_days(data)
    return data


@pytest.fixture(scope="module")
def weekly(turned: str) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_dataset(turned) as opened:
        yield opened


def local(day: int, hour: int) -> datetime:
    return datetime(2026, 3, day, hour, 30, tzinfo=BERLIN)


@pytest.mark.parametrize("measure", ["attention", "valence"])
@pytest.mark.parametrize(
    ("at", "evidence", "part"),
    [
        (local(3, 12), "hour_of_week", "; told by who came on Tuesdays from 12:00 to 13:00"),
        (
            local(4, 12),
            "hour_of_day",
            "; told by who came from 12:00 to 13:00 on any day, as too few can be compared on Wednesdays",
        ),
        (local(3, 20), "all_hours", "; told by who came at any hour, as too few can be compared from 20:00 to 21:00"),
    ],
)
def test_the_hour_that_is_meant_tells_where_enough_people_came_in_it(
    weekly: duckdb.DuckDBPyConnection, at: datetime, evidence: str, part: str, measure: Any
) -> None:
    advice = next_content(weekly, "sim001", "screen", at, measure=measure)
    assert advice.evidence == evidence
    assert advice.reason.endswith(part)
    assert all(content.tracks is not None and content.tracks >= ENOUGH for content in advice.contents)
    assert advice.content_id == (None if evidence == "all_hours" else "promotion")
    later = next_content(weekly, "sim001", "screen", at.replace(hour=17), measure=measure)
    assert later.content_id == "brand"


def test_products_of_the_hour_are_those_of_the_people_who_came_first_in_it(turned: str) -> None:
    at = local(3, 17)
    with open_dataset(turned) as floored, open_dataset(turned, raw=True) as raw:
        for moment, evidence, where in (
            (at, "hour_of_week", "dayofweek(local) = 2 AND hour(local) = 17"),
            (at + timedelta(days=1), "hour_of_day", "hour(local) = 17"),
            (at.replace(hour=20), "all_hours", "true"),
        ):
            advice = next_products(floored, "sim001", "coffee", moment)
            assert advice.evidence == evidence
            assert evidence == "all_hours" or "17:00 to 18:00" in advice.reason
            pairs = raw.sql(f"""
                WITH came AS (
                    SELECT track_id, list(DISTINCT zone_id) AS zones,
                        timezone('Europe/Berlin', min(entered_at)) AS local
                    FROM stays WHERE zone_kind = 'product' GROUP BY track_id
                ), chosen AS (SELECT zones FROM came WHERE {where})
                SELECT other, count(*), count(*) / (SELECT count(*) FROM chosen WHERE 'coffee' IN zones)
                FROM (SELECT unnest(zones) AS other FROM chosen WHERE 'coffee' IN zones)
                WHERE other <> 'coffee' GROUP BY other ORDER BY other
            """).fetchall()
            found = sorted((p.zone_id, p.tracks, p.confidence) for p in advice.products)
            assert found == [pytest.approx(pair) for pair in pairs if pair[1] >= 10]
            assert len(found) == 3


def test_every_person_belongs_to_one_hour(turned: str) -> None:
    with open_dataset(turned, raw=True) as raw:
        ask = "SELECT content_id, tracks FROM content_response"
        whole = dict(raw.sql(ask).fetchall())
        by_hour: dict[str, int] = dict.fromkeys(whole, 0)
        for hour in range(TURN - 3, TURN + 3):
            with hours(raw, hour, None):
                days = raw.sql(ask).fetchall()
            for content, tracks in days:
                by_hour[content] += tracks
        assert by_hour == whole
        with hours(raw, 12, 1):
            monday = dict(raw.sql(ask).fetchall())
        with hours(raw, 12, 2):
            tuesday = dict(raw.sql(ask).fetchall())
        with hours(raw, 12, None):
            assert {name: monday[name] + tuesday[name] for name in monday} == dict(raw.sql(ask).fetchall())
        assert dict(raw.sql(ask).fetchall()) == whole, "the hours are unset afterwards"


def test_an_hour_hides_what_the_floor_hides(simulated: duckdb.DuckDBPyConnection) -> None:
    seen = 0
    for hour in (9, 20):
        for weekday in (None, 1):
            with hours(simulated, hour, weekday):
                contents = simulated.sql("FROM content_response").to_arrow_table().to_pylist()
                pairs = simulated.sql("FROM next_products").to_arrow_table().to_pylist()
            for row in (*contents, *pairs):
                counts = [v for name, v in row.items() if name in COUNTS and v is not None]
                assert all(count >= 10 for count in counts)
                if row.get("status") == "suppressed":
                    seen += 1
                    assert {v for name, v in row.items() if name.startswith(("att", "val")) and v != NO_WINNER} == {
                        None
                    }
    assert seen


def test_wherever_a_moment_falls_the_answer_is_by_k_people_or_more(simulated: duckdb.DuckDBPyConnection) -> None:
    """Two quiet days: no hour has enough people, and what is told is told by all."""
    for hour in (9, 18):
        advice = next_content(simulated, "sim001", "screen", local(3, hour))
        assert advice.evidence == "all_hours"
        assert all(content.tracks is None or content.tracks >= 10 for content in advice.contents)
        assert advice.reason.endswith(f"as too few can be compared from {hour:02}:00 to {hour + 1:02}:00")
        products = next_products(simulated, "sim001", "coffee", local(3, hour))
        assert products.evidence == "all_hours"
        assert len(products.products) == 3
        assert all(product.tracks >= 10 for product in products.products)
