"""Views asked by name say what the views say, and nothing else can be asked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from risa_ray.analytics.dataset import FIGURES, open_dataset
from risa_ray.analytics.named import NAMES, Question, ask, catalogue, check, hours, period
from risa_ray.analytics.simulate import simulate
from risa_ray.errors import InputError

ROOT = Path(__file__).parents[2]
HOSTILE = ("' OR '1'='1", "1; DROP TABLE stores", "people.tracks", "(SELECT 1)", '"', "\x00", "-", "*")


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    data = str(tmp_path_factory.mktemp("named") / "data")
    simulate(data, stores=2, days=2, seed=4, start=date(2026, 3, 2), fps=0.5, visits_per_hour=45, outages=False)
    with open_dataset(data) as opened:
        yield opened


def rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    return connection.sql(sql).to_arrow_table().to_pylist()


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Sums of several threads differ in the last digits."""
    assert expected
    assert [rounded(row) for row in found] == [rounded(row) for row in expected]


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 6) + 0.0 if isinstance(value, float) else value for name, value in row.items()}


def test_every_view_of_figures_may_be_asked_and_no_other() -> None:
    assert set(NAMES) == set(FIGURES) - {"alert_log"}
    assert sorted(catalogue()) == sorted(NAMES)


def test_the_catalogue_says_what_the_dictionary_says(connection: duckdb.DuckDBPyConnection) -> None:
    page = (ROOT / "docs/views.md").read_text()
    for view in catalogue().values():
        assert f"## {view.name}\n\n```\n{view.text}\n```" in page
    answer = ask(connection, Question("product_engagement", limit=1)).rows
    described = {column.name: column.type for column in catalogue()["product_engagement"].columns}
    connection.register("answer", answer)
    assert {name: kind.lower() for name, kind, *_ in connection.sql("DESCRIBE FROM answer").fetchall()} == described


@pytest.mark.parametrize(
    ("question", "where", "order"),
    [
        (Question("mood", store="sim002"), "store_id = 'sim002'", "hour DESC, store_id, camera_id, zone_id"),
        (
            Question("mood_by_minute", since="2026-03-03", until="2026-03-03", camera="sim001-door", store="sim001"),
            "camera_id = 'sim001-door' AND minute_local::DATE = '2026-03-03'",
            "minute DESC",
        ),
        (
            Question("operations", since="2026-03-02T11:00:00Z", until="2026-03-02T15:00:00+01:00"),
            "hour >= '2026-03-02 11:00:00Z' AND hour < '2026-03-02 14:00:00Z'",
            "hour DESC, store_id, camera_id",
        ),
        (
            Question("track_splits", store="sim001", until="2026-03-02"),
            "store_id = 'sim001' AND day = '2026-03-02'",
            "camera_id",
        ),
    ],
)
def test_an_answer_is_the_views_rows(
    connection: duckdb.DuckDBPyConnection, question: Question, where: str, order: str
) -> None:
    expected = rows(connection, f"FROM {question.view} WHERE {where} ORDER BY {order}")
    assert_same(ask(connection, question).rows.to_pylist(), expected[:1000])


def test_a_period_holds_for_its_question_alone(connection: duckdb.DuckDBPyConnection) -> None:
    everything = ask(connection, Question("journey")).rows.to_pylist()
    first_day = ask(connection, Question("journey", until="2026-03-02")).rows.to_pylist()
    assert sum(row["tracks"] for row in first_day) < sum(row["tracks"] for row in everything)
    connection.execute("SET VARIABLE until = DATE '2026-03-03'")
    assert_same(first_day, rows(connection, "FROM journey ORDER BY store_id, camera_id"))
    assert ask(connection, Question("journey")).rows.num_rows
    assert rows(connection, "SELECT getvariable('since') AS since, getvariable('until') AS until") == [
        {"since": None, "until": None}
    ]


def test_what_fails_to_be_set_leaves_nothing_set(connection: duckdb.DuckDBPyConnection) -> None:
    wrong: Any = "monday"
    with pytest.raises(ValueError, match="format code"), hours(connection, 3, wrong):
        pytest.fail("not reached")
    with pytest.raises(AttributeError), period(connection, date(2026, 3, 3), wrong):
        pytest.fail("not reached")
    unset = rows(connection, "SELECT getvariable('hour') AS hour, getvariable('since') AS since")
    assert unset == [{"hour": None, "since": None}]


def test_order_columns_and_limit(connection: duckdb.DuckDBPyConnection) -> None:
    question = Question("camera_hour", order=["camera_id", "-hour"], columns=["hour", "camera_id"], limit=3)
    answer = ask(connection, question)
    expected = rows(connection, "SELECT hour, camera_id FROM camera_hour ORDER BY camera_id, hour DESC")
    assert answer.rows.column_names == ["hour", "camera_id"]
    assert answer.rows.to_pylist() == expected[:3]
    assert answer.cut
    (count,) = connection.sql("SELECT count(*) FROM camera_hour").fetchall()[0]
    assert not ask(connection, Question("camera_hour", limit=count)).cut
    assert ask(connection, Question("camera_hour", limit=count - 1)).cut


def test_small_cells_stay_hidden(connection: duckdb.DuckDBPyConnection) -> None:
    found = ask(connection, Question("zone_hour", limit=100_000)).rows.to_pylist()
    hidden = [row for row in found if row["status"] == "suppressed"]
    assert hidden
    assert {row["tracks"] for row in hidden} == {None}
    # 0 where nobody was, else at least the floor.
    assert all(row["tracks"] == 0 or row["tracks"] >= 10 for row in found if row["tracks"] is not None)


@pytest.mark.parametrize(
    ("question", "part"),
    [
        (Question("observations"), "there is no view 'observations'"),
        (Question("people.tracks"), "there is no view"),
        (Question("alerts"), "there is no view"),
        (Question("journey", zone="tea"), "does not tell zones apart"),
        (Question("mood", columns=["hour", "x"]), "has no column 'x'"),
        (Question("mood", columns=["hour", "hour"]), "named twice"),
        (Question("mood", order=["--hour"]), "has no column '-hour'"),
        (Question("mood", limit=0), "from 1 to 100000"),
        (Question("mood", limit=100_001), "from 1 to 100000"),
        (Question("mood", since="2026-03-03", until="2026-03-02"), "does not lie before"),
        (Question("mood", since="2026-03-03T10:00Z", until="2026-03-03T11:00+01:00"), "does not lie before"),
        (Question("mood", since="2026-03-03", until="2026-03-03T11:00Z"), "one is a day and the other a time"),
        (Question("mood", since="2026-03-03T10:00"), "has no time zone"),
        (Question("mood", since="2026-03-03T10:00 01:00"), "%2B"),
        (Question("mood", since="yesterday"), "is not a day"),
        (Question("mood", until="9999-12-31"), "is not a day"),
        (Question("mood", since="0001-01-01T00:00:00+12:00"), "out of range"),
        (Question("product_engagement", since="2026-03-03T10:00Z"), "is not a day"),
        (Question("journey", since="2026-03-03T10:00Z"), "is not a day"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(question: Question, part: str) -> None:
    with pytest.raises(InputError) as refused:
        check(question)
    assert part in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("name", ["view", "store", "camera", "zone", "since", "until", "order", "columns"])
def test_sql_is_never_run(connection: duckdb.DuckDBPyConnection, name: str, hostile: str) -> None:
    value: Any = [hostile] if name in ("order", "columns") else hostile
    with pytest.raises(InputError) as refused:
        ask(connection, Question(**({"view": "mood"} | {name: value})))
    assert len(str(refused.value).splitlines()) == 1
    assert connection.sql("SELECT count(*) FROM stores").fetchall() == [(2,)]


def test_unknown_places_are_named_with_those_that_are_there(connection: duckdb.DuckDBPyConnection) -> None:
    for question, said in (
        (Question("mood", store="x"), "store: there is no store 'x'; there is sim001, sim002"),
        (
            Question("mood", store="sim001", camera="sim002-door"),
            "camera: there is no camera 'sim002-door' in store 'sim001'; "
            "there is sim001-aisle, sim001-door, sim001-till",
        ),
        (
            Question("mood", camera="sim001-door", zone="tea"),
            "zone: there is no zone 'tea' in camera 'sim001-door'; there is entrance, exit",
        ),
    ):
        with pytest.raises(InputError) as refused:
            ask(connection, question)
        assert str(refused.value) == said
