"""The alerts of the last day: those of running jobs, and those that the tables keep."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from fastapi import HTTPException

from risa_ray.errors import InputError
from risa_ray.serving import models
from risa_ray.serving.tables import Tables
from risa_ray.store.alert_events import Acknowledged, acknowledge
from risa_ray.streaming.board import SHOWN_ALERTS

log = logging.getLogger("risa.serve")

_DAY = timedelta(days=1)
_READ_EVERY_S = 10.0
_SNAPSHOTS = timedelta(minutes=2)
"""Snapshots that are read by turns may differ in age by less."""


class AlertBook:
    """Joins what the tables know of alerts to what running jobs tell.

    A job knows the newest and how they fare; the tables those of processes that ended, and who has seen to which.

    Args:
        tables: of the dataset.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._stored: list[models.AlertNow] = []
        self._acknowledged: dict[str, Acknowledged] = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    def latest(self, live: Iterable[models.AlertNow]) -> list[models.AlertNow]:
        """The newest first, `SHOWN_ALERTS` at most; never waits for the tables.

        Args:
            live: those of running jobs.
        """
        self._refresh()
        return self.join(live, self._stored)[:SHOWN_ALERTS]

    def join(self, live: Iterable[models.AlertNow], stored: Iterable[models.AlertNow]) -> list[models.AlertNow]:
        """Each alert once, with the most that is known of it; the newest first."""
        found = {alert.alert_id: alert for alert in stored}
        since = datetime.now(UTC) - _DAY
        for alert in live:
            if alert.fired_at < since and alert.alert_id not in found:
                continue  # the tables, which know who has seen to it, are read for the last day alone
            known = found.get(alert.alert_id)
            seen = (
                {}
                if known is None
                else {"acknowledged_at": known.acknowledged_at, "acknowledged_by": known.acknowledged_by}
            )
            found[alert.alert_id] = alert.model_copy(update=seen)
        for alert_id, who in self._acknowledged.items():
            if alert_id in found:
                update = {"acknowledged_at": who.at, "acknowledged_by": who.by}
                found[alert_id] = found[alert_id].model_copy(update=update)
        return sorted(found.values(), key=lambda alert: (alert.fired_at, alert.alert_id), reverse=True)

    async def acknowledge(self, alert_id: str, by: str) -> Acknowledged:
        """Somebody has seen to an alert of the tables; a second time changes nothing.

        Raises:
            InputError: there is no such alert in the dataset.
            StoreError: it cannot be noted now.
        """
        if self._tables.data is None:
            raise InputError("no dataset is served")
        return await asyncio.to_thread(acknowledge, self._tables.data, alert_id, by, datetime.now(UTC))

    def note(self, alert_id: str, done: Acknowledged) -> None:
        """Pages see at once who sees to an alert, before the tables are read again."""
        self._acknowledged[alert_id] = done

    def _refresh(self) -> None:
        """Have the tables read beside."""
        if time.monotonic() - self._read_at > _READ_EVERY_S and (self._reading is None or self._reading.done()):
            self._read_at = time.monotonic()
            self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        began = datetime.now(UTC)
        try:
            self._stored = await self._tables.alerts(began - _DAY, SHOWN_ALERTS)
        except HTTPException as error:
            log.debug("stored alerts are not shown: %s", error.detail)
            return
        # What every snapshot of the tables knows by now need not be remembered.
        known = {alert.alert_id for alert in self._stored if alert.acknowledged_at is not None}
        self._acknowledged = {
            i: who
            for i, who in self._acknowledged.items()
            if (i not in known or began - who.at < _SNAPSHOTS) and began - who.at < _DAY
        }
