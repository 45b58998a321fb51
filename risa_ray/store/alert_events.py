"""What became of alerts: queued for a channel, delivered, failed, acknowledged. Rows are only ever added.

A row carries place and time of its alert, so that it is kept, and deleted, with it. The same row may stand there twice
after a crash: the first counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from risa_ray.config import redact
from risa_ray.errors import InputError
from risa_ray.store.paths import has_table, require_dataset
from risa_ray.store.rows import utc_date
from risa_ray.store.schema import ALERT_EVENTS, TABLES
from risa_ray.store.table import Table

Kind = Literal["queued", "delivered", "failed", "acknowledged"]
_WHO = 100
_NOTE = 300


class Acknowledged(NamedTuple):
    """When (aware UTC), and by whom."""

    at: datetime
    by: str


def event(
    alert: Any, kind: Kind, at: datetime, *, channel: str = "", tries: int | None = None, by: str = "", note: str = ""
) -> dict[str, Any]:
    """A row of `alert_events`.

    Args:
        alert: a mapping with the columns of `alerts`, or an object with them as attributes.
        at: aware.
        by: who acknowledged.
        note: why it failed.
    """
    names = ("store_id", "alert_id", "camera_id", "fired_at")
    values = {name: alert[name] if isinstance(alert, Mapping) else getattr(alert, name) for name in names}
    rest = {"at": at, "kind": kind, "channel": channel, "tries": tries, "by": by, "note": note[:_NOTE]}
    return {"date": utc_date(values["fired_at"])} | values | rest


class AlertEvents:
    """Writes rows of `alert_events`. The table is made with the first of them. Not for several threads at once."""

    def __init__(self, data: str) -> None:
        self._data = data
        self._table: Table | None = None
        self._waiting: list[dict[str, Any]] = []

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Buffer rows, see `event`."""
        self._waiting += rows

    def flush(self) -> None:
        """Commit what waits.

        Raises:
            StoreError: the store cannot take it now; it stays buffered.
        """
        if not self._waiting:
            return
        if self._table is None:
            self._table = Table(self._data, "alert_events")
        self._table.commit(_table(self._waiting), {})
        self._waiting = []


def read_events(data: str, since: datetime) -> list[dict[str, Any]]:
    """The rows of alerts that fired since the UTC day of an aware time; empty where there are none.

    Raises:
        StoreError: they cannot be read.
    """
    return _since(data, "alert_events", since)


def read_alerts(data: str, since: datetime) -> list[dict[str, Any]]:
    """The rows of `alerts` since an aware time.

    Raises:
        StoreError: they cannot be read.
    """
    return [row for row in _since(data, "alerts", since) if row["fired_at"] >= since]


def acknowledge(data: str, alert_id: str, by: str, at: datetime) -> Acknowledged:
    """Note that somebody has seen to an alert; safe beside a running job. A second time changes nothing.

    Args:
        data: path or URL of the dataset.
        by: who, at most 100 characters; may be empty.
        at: aware.

    Returns:
        The first acknowledgement, which counts.

    Raises:
        InputError: there is no dataset, or no such alert in it.
        StoreError: the store cannot be read, or cannot take it now.
    """
    path = require_dataset(data, tuple(TABLES))
    found = _rows(Table(path, "alerts"), _is("alert_id", alert_id)) if has_table(path, "alerts") else []
    if not found:
        raise InputError(f"alert {alert_id[:64]!r}: {redact(path)} has no such alert; take the id of one that fired")
    alert = found[0]
    table = Table(path, "alert_events")

    def work() -> Acknowledged:
        mine = (pc.field("date") == pa.scalar(alert["date"])) & _is("store_id", alert["store_id"])
        rows = _rows(table, mine & _is("alert_id", alert_id) & _is("kind", "acknowledged"))
        if rows:
            return min(Acknowledged(row["at"], row["by"]) for row in rows)
        row = event(alert, "acknowledged", at, by=" ".join(by.split())[:_WHO])
        # The mark makes a second one at this moment conflict, and look again.
        table.commit(_table([row]), {"acknowledge": table.mark("acknowledge") + 1})
        return Acknowledged(row["at"].astimezone(UTC), row["by"])

    return table.decide(work)


def _table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=ALERT_EVENTS).sort_by([("fired_at", "ascending")])


def _since(data: str, name: str, since: datetime) -> list[dict[str, Any]]:
    if not has_table(data, name):
        return []
    return _rows(Table(data, name), pc.field("date") >= pa.scalar(utc_date(since)))


def _rows(table: Table, where: pc.Expression) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.read(where).to_pylist()
    return rows


def _is(column: str, value: str) -> pc.Expression:
    # Files that Delta Lake rewrote have views of strings, which Arrow does not compare with strings.
    return pc.field(column).cast(pa.string()) == pa.scalar(value)
