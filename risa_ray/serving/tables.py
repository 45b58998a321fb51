"""The tables, asked from the event loop: each question in a thread, on a snapshot that is a few seconds old at most.

A reader is a thread with connections of its own, and answers one question at a time: variables of a connection (the
floor `k` is one) are nobody else's, and an interrupt meets the question that it is meant for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import duckdb
from fastapi import HTTPException

from risa_ray.analytics.dataset import open_dataset
from risa_ray.analytics.recent import open_recent
from risa_ray.errors import InputError
from risa_ray.serving import models, stored
from risa_ray.serving.last_hour import LastHour, Recent
from risa_ray.store.paths import require_dataset
from risa_ray.store.schema import TABLES

log = logging.getLogger("risa.serve")

_T = TypeVar("_T")
_KEPT = 4
_RETRY_S = "2"


@dataclass(frozen=True, slots=True)
class Limits:
    """What questions may take, so that a pipeline on the same machine is not starved.

    Attributes:
        readers: questions at a time.
        waiting: questions that wait for a reader; more are refused.
        threads: of DuckDB, for each reader.
        memory_mb: of DuckDB, for each reader; nothing is put on disk instead.
        seconds: for a question, from when a reader takes it; and for waiting until one does.
        fresh_s: a snapshot that is older is opened anew before a question.
    """

    readers: int = 2
    waiting: int = 16
    threads: int = 1
    memory_mb: int = 1024
    seconds: float = 30.0
    fresh_s: float = 30.0


class Scope(NamedTuple):
    """What a snapshot holds: all, one store, or a part of the last hours, which is asked once."""

    store: str | None = None
    recent: Recent | None = None


ALL = Scope()


class Snapshot(NamedTuple):
    """`at`: when it was opened, UTC; what was written later does not show."""

    connection: duckdb.DuckDBPyConnection
    at: datetime


class Tables:
    """A dataset that is asked, which need not be there yet.

    Args:
        data: path or URL; None: there is none to serve.
        limits: what questions may take.
    """

    def __init__(self, data: str | None, limits: Limits | None = None) -> None:
        self.data = data
        self._limits = limits or Limits()
        self._readers = [_Reader(data, self._limits) for _ in range(self._limits.readers if data else 0)]
        self._free: asyncio.Queue[_Reader] = asyncio.Queue()
        for reader in self._readers:
            self._free.put_nowait(reader)
        self._asked = 0
        self._ending: set[asyncio.Task[None]] = set()
        self._hour = LastHour(self._ask_recent)
        self._troubles: dict[str, str] = {}

    async def ask(self, work: Callable[[Snapshot], _T], scope: Scope = ALL) -> _T:
        """The answer of `work`, which runs in a reader's thread and must be done with the snapshot when it returns.

        Raises:
            HTTPException: 404 there is no dataset, 422 an `InputError` of `work` or an unknown store, 503 too many ask,
                or the tables cannot be read, 504 it takes too long.
        """
        if self.data is None:
            raise HTTPException(404, "no dataset is served; start `risa serve` with --data")
        if self._asked >= self._limits.readers + self._limits.waiting:
            raise _busy()
        self._asked += 1
        try:
            return await self._ask(work, scope)
        finally:
            self._asked -= 1

    async def hour(self) -> models.HourNow | None:
        """The last hour; None where the tables cannot tell, and the log says why."""
        now = datetime.now(UTC)
        if not await self._well("the last hour is", self._hour.see_minutes(now)):
            return None
        # Without the waits there is still the rest.
        await self._well("waits are", self._hour.see_queues(now))
        return await asyncio.to_thread(self._hour.told, now)

    async def stores(self) -> list[models.Store]:
        """The stores as the dataset describes them; none while there is no dataset.

        Raises:
            HTTPException: as `ask`, but for 404.
        """
        try:
            return await self.ask(lambda tables: stored.stores(tables.connection))
        except HTTPException as error:
            if error.status_code != 404:
                raise
            return []

    async def alerts(self, since: datetime, limit: int) -> list[models.AlertNow]:
        """Stored alerts from a moment on, the newest first.

        Raises:
            HTTPException: as `ask`.
        """
        return await self.ask(lambda tables: stored.alerts(tables.connection, since, limit))

    async def close(self) -> None:
        """End what is under way, and close every connection."""
        await asyncio.gather(*(_end(reader, asyncio.wrap_future(reader.close())) for reader in self._readers))

    async def _well(self, what: str, reading: Awaitable[None]) -> bool:
        """Whether a reading went well; if not, the log says why, once."""
        try:
            await reading
        except HTTPException as error:
            if error.status_code != 404 and error.detail != self._troubles.get(what):
                log.warning("%s not shown: %s", what, error.detail)
            self._troubles[what] = error.detail
            return False
        self._troubles.pop(what, None)
        return True

    async def _ask_recent(self, work: Callable[[duckdb.DuckDBPyConnection], _T], recent: Recent) -> _T:
        return await self.ask(lambda tables: work(tables.connection), Scope(recent=recent))

    async def _ask(self, work: Callable[[Snapshot], _T], scope: Scope) -> _T:
        try:
            async with asyncio.timeout(self._limits.seconds):
                reader = await self._free.get()
        except TimeoutError:
            raise _busy() from None
        future = asyncio.get_running_loop().run_in_executor(reader.thread, reader.answer, work, scope)
        future.add_done_callback(lambda done: self._release(reader, done))
        try:
            done, _ = await asyncio.wait([future], timeout=self._limits.seconds)
        finally:
            # It took too long, or whoever asked is gone.
            if not future.done():
                ending = asyncio.create_task(_end(reader, future))
                self._ending.add(ending)
                ending.add_done_callback(self._ending.discard)
        if not done:
            raise _too_long(self._limits)
        return _result(future, self._limits)

    def _release(self, reader: _Reader, future: asyncio.Future[Any]) -> None:
        if not future.cancelled():
            future.exception()  # it is known, whoever still wants it
        self._free.put_nowait(reader)


class _Reader:
    """A thread that answers one question at a time, with the snapshots that it opened last."""

    def __init__(self, data: str | None, limits: Limits) -> None:
        self._data = data or ""
        self._limits = limits
        self._kept: dict[Scope, tuple[Snapshot, float]] = {}
        self._asked: duckdb.DuckDBPyConnection | None = None
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="tables")

    def answer(self, work: Callable[[Snapshot], _T], scope: Scope) -> _T:
        """What `work` says of a fresh snapshot; in the reader's thread."""
        try:
            return self._answer(work, scope)
        except duckdb.IOException:
            # Files that a snapshot lists are deleted when they were merged an hour ago, or are purged.
            self._forget(scope)
            return self._answer(work, scope)

    def interrupt(self) -> None:
        """Have the question that is under way fail; from any thread."""
        # It may be closed just now.
        with suppress(duckdb.ConnectionException):
            if (asked := self._asked) is not None:
                asked.interrupt()

    def close(self) -> Future[None]:
        """Close every connection, after the question that is under way."""
        closed = self.thread.submit(self._forget_all)
        self.thread.shutdown(wait=False)
        return closed

    def _answer(self, work: Callable[[Snapshot], _T], scope: Scope) -> _T:
        snapshot = self._snapshot(scope)
        self._asked = snapshot.connection
        keep = scope.recent is None
        try:
            return work(snapshot)
        except duckdb.InterruptException:
            # Setting the connection's variables back may have been interrupted, too.
            keep = False
            raise
        finally:
            self._asked = None
            if not keep:
                self._forget(scope)

    def _snapshot(self, scope: Scope) -> Snapshot:
        kept = self._kept.get(scope)
        if kept is not None and time.monotonic() - kept[1] <= self._limits.fresh_s:
            return kept[0]
        self._forget(scope)
        while scope.recent is None and len(self._kept) >= _KEPT:
            self._forget(next(iter(self._kept)))
        opened = Snapshot(self._open(scope), datetime.now(UTC))
        self._kept[scope] = opened, time.monotonic()
        return opened

    def _open(self, scope: Scope) -> duckdb.DuckDBPyConnection:
        try:
            require_dataset(self._data, tuple(TABLES))
        except InputError as error:
            log.debug("%s", error)
            raise HTTPException(404, "there is no dataset yet; a job that runs writes one soon") from None
        try:
            if scope.recent is not None:
                connection = open_recent(self._data, *scope.recent)
            else:
                connection = open_dataset(self._data, store=scope.store)
        except InputError as error:
            if scope.store is not None and str(error).startswith("there is no store"):
                raise InputError(f"store: {error}") from None
            # The message names the path, which is nobody's business on the network.
            log.warning("%s", error)
            raise _unreadable() from None
        for setting in (
            f"threads = {self._limits.threads}",
            f"memory_limit = '{self._limits.memory_mb}MB'",
            "temp_directory = ''",
        ):
            connection.execute(f"SET {setting}")
        return connection

    def _forget(self, scope: Scope) -> None:
        if (kept := self._kept.pop(scope, None)) is not None:
            kept[0].connection.close()

    def _forget_all(self) -> None:
        for scope in list(self._kept):
            self._forget(scope)


async def _end(reader: _Reader, future: asyncio.Future[Any]) -> None:
    """Interrupt until it is over: an interrupt between two statements meets nothing."""
    while not future.done():
        reader.interrupt()
        await asyncio.wait([future], timeout=0.05)


def _result(future: asyncio.Future[_T], limits: Limits) -> _T:
    try:
        return future.result()
    except InputError as error:
        raise HTTPException(422, str(error)) from None
    except duckdb.InterruptException:
        raise _too_long(limits) from None
    except duckdb.OutOfMemoryException:
        raise HTTPException(
            503, f"the question takes more than {limits.memory_mb} MB; narrow it with store, or with from and to"
        ) from None
    except duckdb.Error as error:
        log.warning("the tables cannot be read: %s", " ".join(str(error).split())[:300])
        raise _unreadable() from None


def _too_long(limits: Limits) -> HTTPException:
    return HTTPException(504, f"the tables took more than {limits.seconds:g} s; narrow the question with store")


def _busy() -> HTTPException:
    return HTTPException(503, "too many questions at a time; ask again soon", {"Retry-After": _RETRY_S})


def _unreadable() -> HTTPException:
    return HTTPException(503, "the tables cannot be read; the server's log and `risa verify` tell more")
