"""Which closed days still hold: the days whose tracks are read from `closed_tracks` instead of from `observations`.

A day is one UTC date of one store. Its record in `closed_tracks` says what it was made from: how many rows its dates
had, the context in force, and the definitions (the SQL). Where all of that is as it was, the closed tracks are what the
views would compute again; otherwise they are passed over and the day is computed from its observations. Rows are only
ever appended, merged (their number stays) or deleted, so their number tells whether anything changed. A sealed day
outlives its observations: it holds whatever became of them.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from importlib.resources import files
from typing import Any

import duckdb
from deltalake import DeltaTable

from risa_ray.config import is_url
from risa_ray.store.context import KEYS
from risa_ray.store.table import arrow_dataset, log_entries, read_rows, snapshot_files

Day = tuple[str, date]
"""A store and a UTC date."""

ONE_DAY = timedelta(days=1)
DEFINING = (
    "macros", "store_versions", "camera_versions", "zone_versions", "content_versions", "counted_windows", "weighed",
    "open_tracks", "stay_observations", "open_stays", "open_minutes", "open_shown",
)  # fmt: skip
"""The views that make tracks and stays, in the order of `dataset.VIEWS`."""
_CONTEXT = ("stores", "cameras", "zones", "content")


@dataclass(frozen=True, slots=True)
class Partition:
    """Rows and files of one day of a table."""

    rows: int = 0
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is read from where.

    Attributes:
        closed: days that are read from `closed_tracks`.
        opened: days whose observations are read.
        read_again: dates that are both, for tracks that began before a closed day.
        uris: table -> the files to read; tables that are read whole are not in it.
    """

    closed: frozenset[Day]
    opened: frozenset[Day]
    read_again: tuple[date, ...] = ()
    uris: Mapping[str, list[str]] = field(default_factory=dict)


def partitions(table: DeltaTable | None) -> dict[Day, Partition]:
    """Day -> rows and files of a partitioned table's snapshot."""
    if table is None:
        return {}
    actions = log_entries(table)
    names = ("path", "num_records", "partition.date", "partition.store_id")
    counts = {}
    for path, rows, day, store in zip(*(actions[name].to_pylist() for name in names), strict=True):
        counts[path.rsplit("/", 1)[-1]] = ((str(store), _date(day)), int(rows))
    found: dict[Day, tuple[int, list[str]]] = {}
    for uri in snapshot_files(table):
        day, rows = counts[uri.rsplit("/", 1)[-1]]
        before, uris = found.get(day, (0, []))
        found[day] = (before + rows, [*uris, uri])
    return {day: Partition(rows, tuple(uris)) for day, (rows, uris) in found.items()}


def plan(tables: Mapping[str, DeltaTable]) -> Plan | None:
    """What to read; None where no day is closed."""
    closed = partitions(tables.get("closed_tracks"))
    if not closed:
        return None
    observations, frames = partitions(tables.get("observations")), partitions(tables.get("frames"))
    records = read_records(tables["closed_tracks"])
    current = Fingerprints(tables, observations, frames)
    holding = {day: record for day, record in records.items() if record["sealed"] or current.fits(day, record)}
    opened, again = set(), set()
    for day in sorted({*observations, *holding}, key=lambda d: d[1]):
        store, at = day
        # Tracks that began on an open day go on here; a sealed day may have got late observations.
        reached = day in holding and holding[day]["crosses_in"] and (store, at - ONE_DAY) in opened
        late = day in holding and holding[day]["sealed"] and day in observations
        if day not in holding or reached or late:
            opened.add(day)
            if day in holding:
                again.add(at)
    # Tracks of closed days that observations of open days may belong to.
    crossing = [
        day
        for day, record in holding.items()
        if day[1] in again or any((day[0], day[1] + i * ONE_DAY) in opened for i in range(1, _days(record, day) + 1))
    ]
    around = {(store, at + step) for store, at in opened for step in (-ONE_DAY, timedelta(0), ONE_DAY)}
    return Plan(
        frozenset(holding),
        frozenset(opened),
        tuple(sorted(again)),
        {
            "open_observations": list(_files(observations, opened)),
            "open_frames": list(_files(frames, around)),
            "closed_tracks": list(_files(closed, holding)),
            "crossing_tracks": list(_files(closed, crossing)),
        },
    )


class Fingerprints:
    """What days are made from, as their records say it."""

    def __init__(
        self, tables: Mapping[str, DeltaTable], observations: Mapping[Day, Partition], frames: Mapping[Day, Partition]
    ) -> None:
        self._observations, self._frames = observations, frames
        self._definition = definition()
        self._context = _contexts(tables)

    def of(self, day: Day, through: date) -> dict[str, Any]:
        """The record of a day whose tracks and their windows reach to `through`.

        The day before counts too: what comes late there may be the beginning of a track.
        """
        store, first = day
        days = [(store, first + i * ONE_DAY) for i in range(-1, (through - first).days + 1)]
        return {
            "through": through,
            "observations": sum(self._observations[d].rows for d in days if d in self._observations),
            "frames": sum(self._frames[d].rows for d in days if d in self._frames),
            "context": self._context_of(store, through),
            "definition": self._definition,
        }

    def fits(self, day: Day, record: Mapping[str, Any]) -> bool:
        """Whether a day is what its record says that it was made from."""
        return all(record[name] == value for name, value in self.of(day, record["through"]).items())

    def _context_of(self, store: str, through: date) -> str:
        """Hash of the descriptions that were in force up to a date; later ones change nothing."""
        since, hashes = self._context.get(store, ([], [""]))
        return hashes[bisect_right(since, through)]


def _contexts(tables: Mapping[str, DeltaTable]) -> dict[str, tuple[list[date], list[str]]]:
    """Store -> the dates from which its descriptions hold, in order, and hashes: of none of them, of the first, and on.

    The first description of a thing also holds for all time before.
    """
    described: dict[str, list[tuple[date, str]]] = {}
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name in _CONTEXT:
            if name not in tables:
                continue
            connection.register("rows", read_rows(tables[name]))
            first = f"rank() OVER (PARTITION BY {', '.join(KEYS[name])} ORDER BY valid_from) = 1"
            found = connection.sql(
                f"SELECT store_id, if({first}, DATE '0001-01-01', valid_from::DATE), md5(r::VARCHAR) FROM rows r"  # noqa: S608
            )
            for store, since, text in found.fetchall():
                described.setdefault(store, []).append((since, f"{name} {text}"))
    contexts = {}
    for store, rows in described.items():
        digest, hashes = hashlib.sha256(), [""]
        for _, text in sorted(rows):
            digest.update(text.encode())
            hashes.append(digest.hexdigest()[:16])
        contexts[store] = (sorted(since for since, _ in rows), hashes)
    return contexts


def definition() -> str:
    """Hash of the SQL that makes tracks and stays: another definition needs the days computed again."""
    digest = hashlib.sha256()
    for name in DEFINING:
        digest.update(files("risa_ray.analytics").joinpath(f"views/{name}.sql").read_bytes())
    return digest.hexdigest()[:16]


def read_records(table: DeltaTable) -> dict[Day, dict[str, Any]]:
    """Day -> what it was made from."""
    uris = snapshot_files(table)
    if not uris:
        return {}
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        if any(is_url(uri) for uri in uris):
            rows = connection.from_arrow(arrow_dataset(table))
        else:
            hive = "hive_partitioning = true, hive_types = {'date': DATE, 'store_id': VARCHAR}"
            rows = connection.sql(f"FROM read_parquet($uris, {hive})", params={"uris": uris})
        found = rows.filter("closed IS NOT NULL").project("store_id, date, closed").fetchall()
    return {(store, day): record for store, day, record in found}


def _files(found: Mapping[Day, Partition], days: Iterable[Day]) -> Iterator[str]:
    for day in sorted(days):
        if day in found:
            yield from found[day].files


def _days(record: Mapping[str, Any], day: Day) -> int:
    """How many days after its own the tracks of a closed day may reach."""
    through: date = record["through"]
    return (through - day[1]).days


def _date(value: Any) -> date:
    return value if isinstance(value, date) else date.fromisoformat(str(value))
