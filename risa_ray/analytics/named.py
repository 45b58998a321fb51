"""Views asked by name with parameters, for whoever must not send SQL: every value is bound or checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from risa_ray.analytics.dataset import FIGURES
from risa_ray.analytics.dictionary import dictionary
from risa_ray.analytics.report.period import DATED
from risa_ray.errors import InputError

MOST_ROWS = 100_000
NAMES = tuple(view for view in FIGURES if view in DATED)
"""The views that may be asked: figures, every one floored."""

_ENTRY = re.compile(r"^(\w+)\n\n```\n(.*?)\n```\n\n(.*)$", re.DOTALL)
_COLUMN = re.compile(r"`(\w+)` (.+?)(?=, `|$)")
_INSTANTS = ("minute", "hour")
_KEYS = ("store_id", "camera_id", "zone_id", "content_id", "step_no", "rank", "next_zone_id")
_LISTED = 10


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class View:
    """A view that may be asked.

    Attributes:
        text: what a row is, and what its columns mean.
        dated: what dates a row: minute, hour or day; None: the view speaks of a period as a whole.
        filters: of store, camera, zone, those it has.
    """

    name: str
    text: str
    columns: tuple[Column, ...]
    dated: str | None
    filters: tuple[str, ...]

    @property
    def parameters(self) -> list[str]:
        """What a question may say of it."""
        return [*self.filters, "from", "to", "order", "columns", "limit", "format"]

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a view.

    Attributes:
        store, camera, zone: ids; None: all.
        since, until: both local days of the store (2026-11-01, both included), or both instants with a zone (rows that
            began from `since` until before `until`; for views of minutes and hours). None: no bound.
        order: columns to sort by, `-` before those that fall; none: the newest first, then by store, camera and zone.
        columns: those wanted; none: all.
        limit: rows at most.
    """

    view: str
    store: str | None = None
    camera: str | None = None
    zone: str | None = None
    since: str | None = None
    until: str | None = None
    order: Sequence[str] = ()
    columns: Sequence[str] = ()
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class Answer:
    """`cut`: there are more rows than were asked for."""

    rows: pa.Table
    cut: bool


@cache
def catalogue() -> dict[str, View]:
    """Every view that may be asked, by name; docs/views.md has the same words."""
    found = {}
    for entry in dictionary().split("\n## ")[1:]:
        parts = _ENTRY.match(entry.strip())
        if parts is None or parts[1] not in NAMES:
            continue
        # Counts are huge integers where DuckDB adds them up, which few other programs can read.
        columns = tuple(Column(name, kind.replace("hugeint", "bigint")) for name, kind in _COLUMN.findall(parts[3]))
        names = [column.name for column in columns]
        dated = next((name for name in (*_INSTANTS, "day") if name in names), None)
        filters = tuple(key for key in ("store", "camera", "zone") if f"{key}_id" in names)
        found[parts[1]] = View(parts[1], parts[2], columns, dated, filters)
    return found


def check(question: Question) -> View:
    """The view of a question that can be asked; needs no dataset.

    Raises:
        InputError: there is no such view or column, a bound is no time, or the view cannot be asked so.
    """
    view = catalogue().get(question.view)
    if view is None:
        raise InputError(f"there is no view {question.view!r}; there is {', '.join(catalogue())}")
    for name in ("store", "camera", "zone"):
        if getattr(question, name) is not None and name not in view.filters:
            raise InputError(f"{name}: view {view.name} does not tell {name}s apart; leave it out")
    _known("columns", question.columns, view)
    _known("order", [name.removeprefix("-") for name in question.order], view)
    if not 1 <= question.limit <= MOST_ROWS:
        raise InputError(f"limit: must be from 1 to {MOST_ROWS} (got {question.limit})")
    _bounds(question, view)
    return view


def ask(connection: duckdb.DuckDBPyConnection, question: Question) -> Answer:
    """The rows of a view.

    Args:
        connection: of `open_dataset`; its variables `since` and `until` are unset afterwards.
        question: what is asked.

    Raises:
        InputError: as `check`, or there is no such store, camera or zone.
        duckdb.Error: a file is broken or gone, or the query was interrupted.
    """
    view = check(question)
    check_place(connection, question.store, question.camera, question.zone)
    conditions, values = _conditions(question, view)
    columns = {column.name: column for column in view.columns}
    shown = ", ".join(_shown(columns[name]) for name in question.columns or columns)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    # Names are the catalogue's, values are bound.
    sql = f'SELECT {shown} FROM "{view.name}" {where} ORDER BY {_order(question, view)} LIMIT {question.limit + 1}'  # noqa: S608
    first, last = (None, None) if view.dated else _bounds(question, view)
    with period(connection, first, last):
        rows = connection.sql(sql, params=values).to_arrow_table()
    return Answer(rows.slice(0, question.limit), rows.num_rows > question.limit)


@contextmanager
def hours(connection: duckdb.DuckDBPyConnection, hour: int | None, weekday: int | None) -> Iterator[None]:
    """Have `content_response` and `next_products` speak only of people of an hour of the day, and of a weekday.

    Args:
        connection: of `open_dataset`; its variables `hour` and `weekday` are unset afterwards.
        hour: local, 0 to 23; None: all.
        weekday: local, 1 for Monday to 7; None: all.

    Raises:
        duckdb.InterruptException: a variable may be left set; use the connection no more.
    """
    try:
        for name, value in (("hour", hour), ("weekday", weekday)):
            if value is not None:
                connection.execute(f"SET VARIABLE {name} = {value:d}")
        yield
    finally:
        connection.execute("RESET VARIABLE hour; RESET VARIABLE weekday")


@contextmanager
def period(connection: duckdb.DuckDBPyConnection, first: date | None, last: date | None) -> Iterator[None]:
    """Have the views without dates of their own speak of these local days, both included.

    Raises:
        duckdb.InterruptException: as `hours`.
    """
    try:
        if first is not None:
            connection.execute(f"SET VARIABLE since = DATE '{first.isoformat()}'")
        if last is not None:
            connection.execute(f"SET VARIABLE until = DATE '{last.isoformat()}' + 1")
        yield
    finally:
        connection.execute("RESET VARIABLE since; RESET VARIABLE until")


def check_place(
    connection: duckdb.DuckDBPyConnection, store: str | None, camera: str | None = None, zone: str | None = None
) -> None:
    """Refuse a place that the dataset does not know.

    Raises:
        InputError: no such store, camera or zone, and which there are.
    """
    place: dict[str, str] = {}
    for name, table, wanted in (("store", "stores", store), ("camera", "cameras", camera), ("zone", "zones", zone)):
        if wanted is None:
            continue
        where = " AND ".join(f"{key}_id = ${key}" for key in place) or "true"
        sql = f"SELECT DISTINCT {name}_id FROM {table} WHERE {where} ORDER BY 1"  # noqa: S608 - all values bound
        known = [found for (found,) in connection.execute(sql, place).fetchall()]
        if wanted not in known:
            raise InputError(f"{name}: there is no {name} {wanted!r}{_within(place)}; there is {some(known)}")
        place[name] = wanted


def some(names: Sequence[str]) -> str:
    """Names for a message of one line."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more or "none yet"


def moment(name: str, text: str) -> datetime:
    """An instant, in UTC.

    Raises:
        InputError: `text` is none, or has no zone.
    """
    hint = "write it as 2026-11-01T10:00:00Z (a + in an address is %2B)"
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{name}: {text!r} is not a time; {hint}") from None
    if found.tzinfo is None:
        raise InputError(f"{name}: {text!r} has no time zone; {hint}")
    # Every local time of it must be a time too.
    if not 1 < found.year < MAXYEAR:
        raise InputError(f"{name}: {text!r} is out of range; {hint}")
    return found.astimezone(UTC)


def day(name: str, text: str) -> date:
    """A local day.

    Raises:
        InputError: `text` is none.
    """
    try:
        found = date.fromisoformat(text)
        # The day after it is needed too.
        return found + timedelta(days=1) - timedelta(days=1)
    except (ValueError, OverflowError):
        raise InputError(f"{name}: {text!r} is not a day; write it as 2026-11-01") from None


def _bounds(question: Question, view: View) -> tuple[date | None, date | None]:
    """`since` and `until`, both days or both instants."""
    found: list[date | None] = []
    for name, text in (("from", question.since), ("to", question.until)):
        if text is None:
            found.append(None)
        elif view.dated in _INSTANTS and len(text) > len("2026-11-01"):
            found.append(moment(name, text))
        else:
            found.append(day(name, text))
    first, last = found
    if first is None or last is None:
        return first, last
    if isinstance(first, datetime) != isinstance(last, datetime):
        raise InputError("from, to: one is a day and the other a time; give two days or two times")
    if last < first or (isinstance(last, datetime) and last == first):
        raise InputError(f"from: {question.since} does not lie before to, {question.until}; give the earlier one first")
    return first, last


def _conditions(question: Question, view: View) -> tuple[list[str], dict[str, Any]]:
    """What rows must fulfil, and the values to bind."""
    given = {name: getattr(question, name) for name in view.filters}
    values: dict[str, Any] = {name: wanted for name, wanted in given.items() if wanted is not None}
    conditions = [f'"{name}_id" = ${name}' for name in values]
    first, last = _bounds(question, view)
    if view.dated and first is not None:
        conditions.append(f'"{_dating(view, first)}" >= $since')
        values["since"] = first
    if view.dated and last is not None:
        # A day is included whole.
        day_after = "" if isinstance(last, datetime) else "::DATE + 1"
        conditions.append(f'"{_dating(view, last)}" < $until{day_after}')
        values["until"] = last
    return conditions, values


def _dating(view: View, bound: date) -> str:
    """The column to compare with an instant, or with a local day."""
    instant = view.dated == "day" or isinstance(bound, datetime)
    return f"{view.dated}" if instant else f"{view.dated}_local"


def _shown(column: Column) -> str:
    return f'"{column.name}"::BIGINT AS "{column.name}"' if column.type == "bigint" else f'"{column.name}"'


def _order(question: Question, view: View) -> str:
    asked = [(name.removeprefix("-"), name.startswith("-")) for name in question.order]
    # What was not asked for makes the order the same every time.
    rest = [(view.dated, True)] if view.dated else []
    rest += [(name, False) for name in _KEYS if name in view.names]
    names = [name for name, _ in asked]
    keys = asked + [key for key in rest if key[0] not in names]
    return ", ".join(f'"{name}" {"DESC" if falling else "ASC"} NULLS LAST' for name, falling in keys)


def _known(parameter: str, names: Sequence[str], view: View) -> None:
    for name in names:
        if name not in view.names:
            raise InputError(f"{parameter}: view {view.name} has no column {name!r}; it has {', '.join(view.names)}")
    if len(set(names)) < len(names):
        raise InputError(f"{parameter}: a column is named twice; name each once")


def _within(place: dict[str, str]) -> str:
    return f" in {' '.join(f'{name} {wanted!r}' for name, wanted in place.items())}" if place else ""
