"""Whose figures tell: those of the hour, where enough people came in it who can be compared, and whatever they say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from risa_ray.analytics.advice import NO_WINNER, next_content, next_products
from risa_ray.analytics.dataset import statements
from risa_ray.analytics.evidence import ENOUGH
from risa_ray.store.schema import TABLES

MONDAY, TUESDAY, WEDNESDAY = (datetime(2026, 3, day, 12, 10, tzinfo=UTC) for day in (2, 3, 4))
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def views() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        for statement in statements({}, {}, 10, computed={"shown": "*", "stays": "*"}):
            connection.execute(statement)
        yield connection


@pytest.fixture
def crowd(views: duckdb.DuckDBPyConnection) -> Iterator[Crowd]:
    yield Crowd(views)
    views.execute("SET VARIABLE k = 10")


class Crowd:
    """The views over people who are given, of a store in UTC with a screen, contents a and b, and four shelves."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self._people = 0
        place = {"store_id": "007", "camera_id": "cam", "valid_from": LONG_AGO, "active": True}
        self._screen = {**place, "zone_id": "screen", "kind": "screen"}
        shelves = [{**place, "zone_id": name, "kind": "product"} for name in ("tea", "cake", "coffee", "milk")]
        self._fill("stores", {**place, "timezone": "UTC"})
        self._fill("cameras", place)
        self._fill("zones", self._screen, *shelves)
        self.schedule("a", "b")
        connection.execute("TRUNCATE people.shown; TRUNCATE people.stays")

    def schedule(self, *contents: str) -> None:
        always = {**self._screen, "starts_at": LONG_AGO, "ends_at": LONG_AGO.replace(year=2027)}
        self._fill("content", *({**always, "content_id": name} for name in contents))

    def saw(self, content: str, at: datetime, people: int, looked: int, moods: int = 0) -> None:
        """`looked` of them looked; `moods` of them have a mood, and every other one of these is happy."""
        figures = {
            "looked_s": f"if(i < {looked}, 2, 0)",
            "known": f"if(i < {moods}, 3, 0)",
            "valence_sum": "3 * (i % 2)",
        }
        self._came("shown", at, people, zone_id="'screen'", content_id=f"'{content}'", known_s="3", **figures)
        self._people += people

    def stayed(self, at: datetime, people: int, *shelves: str) -> None:
        for shelf in shelves:
            self._came("stays", at, people, zone_id=f"'{shelf}'", zone_kind="'product'")
        self._people += people

    def _came(self, view: str, at: datetime, people: int, **figures: str) -> None:
        given = {"store_id": "'007'", "camera_id": "'cam'", "session_id": "'s'", "track_id": f"{self._people} + i"}
        given |= {"entered_at": f"TIMESTAMPTZ '{at.isoformat()}'", **figures}
        row = ", ".join(f"{value} AS {name}" for name, value in given.items())
        self.connection.execute(f"INSERT INTO people.{view} BY NAME SELECT {row} FROM range({people}) t(i)")

    def _fill(self, table: str, *rows: dict[str, Any]) -> None:
        columns = TABLES[table].names
        there = [{name: value for name, value in row.items() if name in columns} for row in rows]
        self.connection.register("filling", pa.Table.from_pylist(there, schema=TABLES[table]))
        self.connection.execute(f"TRUNCATE {table}; INSERT INTO {table} BY NAME FROM filling")


@pytest.mark.parametrize(("people", "evidence"), [(ENOUGH, "hour_of_week"), (ENOUGH - 1, "all_hours")])
def test_too_few_people_of_one_content_widen_the_evidence_whatever_they_say(
    crowd: Crowd, people: int, evidence: str
) -> None:
    """In the hour a is far better; in all hours together b is."""
    crowd.saw("a", WEDNESDAY, 2 * ENOUGH, looked=2 * ENOUGH, moods=ENOUGH - 1)
    crowd.saw("b", WEDNESDAY, people, looked=0, moods=people)
    for content, looked in (("a", 0), ("b", 500)):
        crowd.saw(content, WEDNESDAY.replace(hour=16), 500, looked)
    advice = next_content(crowd.connection, "007", "screen", WEDNESDAY)
    assert advice.evidence == evidence
    assert advice.content_id == ("a" if evidence == "hour_of_week" else "b")
    assert {content.compared for content in advice.contents} == {people if people == ENOUGH else people + 500}
    assert next_content(crowd.connection, "007", "screen", WEDNESDAY, measure="valence").evidence == "all_hours"


def test_a_hundred_people_whom_nobody_can_be_compared_with_are_not_enough(crowd: Crowd) -> None:
    """One content ran at noon on Mondays, the other on Tuesdays, and both on Wednesdays, for ten people each."""
    crowd.saw("a", MONDAY, 100, looked=50)
    crowd.saw("b", TUESDAY, 100, looked=50)
    crowd.saw("a", WEDNESDAY, 10, looked=10)
    crowd.saw("b", WEDNESDAY, 10, looked=0)
    for content in ("a", "b"):
        crowd.saw(content, WEDNESDAY.replace(hour=16), 150, looked=75)
    advice = next_content(crowd.connection, "007", "screen", WEDNESDAY)
    assert (advice.evidence, advice.content_id) == ("all_hours", None)
    assert advice.reason.endswith("told by who came at any hour, as too few can be compared from 12:00 to 13:00")
    assert [(content.tracks, content.compared) for content in advice.contents] == [(260, 160), (260, 160)]
    # 90 more of each who came together on another day are enough for the hour, and not for its Wednesdays.
    for content in ("a", "b"):
        crowd.saw(content, TUESDAY.replace(day=10), 90, looked=45)
    advice = next_content(crowd.connection, "007", "screen", WEDNESDAY.replace(day=11))
    assert advice.evidence == "hour_of_day"
    assert [content.compared for content in advice.contents] == [100, 100]
    assert advice.reason.endswith("from 12:00 to 13:00 on any day, as too few can be compared on Wednesdays")


def test_where_there_is_nothing_to_compare_no_hour_is_blamed(crowd: Crowd) -> None:
    crowd.schedule("a")
    crowd.saw("a", WEDNESDAY, 500, looked=250)
    advice = next_content(crowd.connection, "007", "screen", WEDNESDAY)
    assert advice.reason == f"{NO_WINNER}: the schedule has only a, and nothing to compare"
    crowd.stayed(WEDNESDAY, 500, "tea")
    products = next_products(crowd.connection, "007", "tea", WEDNESDAY)
    assert products.reason == f"{NO_WINNER}: no other shelf has enough people in common"


@pytest.mark.parametrize(
    ("alone", "both", "evidence", "part"),
    [
        (90, 10, "hour_of_week", "told by who came on Wednesdays from 12:00 to 13:00"),
        (89, 10, "all_hours", "told by who came at any hour, as too few did from 12:00 to 13:00"),
        # Their number is hidden, as no pair tells it.
        (491, 9, "all_hours", "as no other shelf has enough people in common from 12:00 to 13:00"),
    ],
)
def test_an_hour_tells_of_a_shelf_where_enough_people_stayed_at_it(
    crowd: Crowd, alone: int, both: int, evidence: str, part: str
) -> None:
    crowd.stayed(WEDNESDAY, alone, "tea")
    crowd.stayed(WEDNESDAY, both, "tea", "cake")
    crowd.stayed(WEDNESDAY.replace(hour=16), 50, "tea", "cake")
    advice = next_products(crowd.connection, "007", "tea", WEDNESDAY)
    assert advice.evidence == evidence
    assert advice.reason.endswith(part)


def test_a_winner_is_one_of_the_pairs_that_are_shown_and_the_caveat_says_so(crowd: Crowd) -> None:
    """Coffee goes better with tea than cake does, and the floor hides it."""
    crowd.stayed(WEDNESDAY, 81, "tea", "cake")
    crowd.stayed(WEDNESDAY, 9, "tea", "cake", "coffee")
    crowd.stayed(WEDNESDAY, 30, "tea")
    crowd.stayed(WEDNESDAY, 60, "cake", "milk")
    crowd.stayed(WEDNESDAY, 220, "milk")
    advice = next_products(crowd.connection, "007", "tea", WEDNESDAY)
    assert advice.next_zone_id == "cake"
    assert [(product.zone_id, product.lift) for product in advice.products] == [("cake", pytest.approx(2.0))]
    assert "the pairs with k people or more" in advice.caveat
    crowd.connection.execute("SET VARIABLE k = 1")
    assert next_products(crowd.connection, "007", "tea", WEDNESDAY).products[0].zone_id == "coffee"
