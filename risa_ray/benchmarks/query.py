"""How long the views take over a chain's month and how fast a store is compacted, beside a layout nobody tended."""

from __future__ import annotations

import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from deltalake import DeltaTable

from risa_ray.analytics import open_dataset
from risa_ray.analytics.closed import partitions
from risa_ray.analytics.closing import close_days
from risa_ray.analytics.dataset import FIGURES
from risa_ray.analytics.simulate import simulate
from risa_ray.benchmarks.machine import machine
from risa_ray.errors import InputError
from risa_ray.store.maintenance import sort_days
from risa_ray.store.paths import dataset_path, has_table

START = date(2026, 3, 10)
_LOCAL = ("hour_local", "minute_local", "day")


def bench_query(
    stores: int,
    days: int,
    visits_per_hour: float,
    flush_s: float,
    repeats: int,
    data: str | None = None,
    progress: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Every view for one store and one day, and over everything, as an analyst asks them (with the k-floor).

    A month of simulated stores is written, closed and sorted, and asked in a process of its own, whose peak memory is
    taken. The peer has the rows of one of its days as a run without upkeep would leave them, a file per flush and
    store. It is asked the same, then compacted and asked again: that is the rate of compaction, on small files.

    Args:
        stores, days, visits_per_hour: as of `simulate`; 20 stores, 30 days and 50 visits make 100 million observations.
        flush_s: seconds between the peer's flushes. A live run flushes each second, which would be 86,400 files a day.
        repeats: of the questions about one store and day; the median counts.
        data: where the month is kept and taken up from; default: a temporary folder.

    Raises:
        InputError, StoreError: as `simulate`.
    """
    before = machine()
    result: dict[str, Any] = {"what": "query", "stores": stores, "days": days, "flush_s": flush_s, "repeats": repeats}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        month = dataset_path(data) if data else str(folder / "month")
        if not has_table(month, "observations"):
            began = time.perf_counter()
            truth = simulate(month, stores, days, start=START, visits_per_hour=visits_per_hour, progress=progress)
            result["simulated_rows_per_s"] = truth.observations / (time.perf_counter() - began)
        result["month"] = _compacted(month, progress)
        store, day = _middle(month)
        result["month"] |= _asked(month, store, day, repeats, progress)

        naive = str(folder / "naive")
        truth = simulate(naive, stores, 1, start=START, visits_per_hour=visits_per_hour, flush_s=flush_s)
        progress(f"a day in flushes of {flush_s:g} s: {truth.observations:,} observations")
        store, day = _middle(naive)
        result["naive_day"] = {"files": _files(naive)}
        result["naive_day"] |= _asked(naive, store, day, repeats, progress)
        result["compacted_day"] = _compacted(naive, progress) | {"files": _files(naive)}
        result["compacted_day"] |= _asked(naive, store, day, repeats, progress)
    return result | {"machine": before}


def describe(result: dict[str, Any]) -> str:
    """The figures as text."""
    month, naive, ours = result["month"], result["naive_day"], result["compacted_day"]
    lines = [
        f"{month['observations']:,} observations; opened in {month['open_s']:.2f} s; peak {month['peak_mib']:,.0f} MiB",
        f"{'seconds':22s} {'store, day':>10s} {'all':>7s}   one day alone: {'naive':>7s} {'ours':>7s}",
    ]
    for view in FIGURES:
        one, everything = month["one_store_day_s"][view], month["everything_s"][view]
        slow, fast = naive["one_store_day_s"][view], ours["one_store_day_s"][view]
        lines.append(f"{view:22s} {one:10.3f} {everything:7.2f} {'':16s} {slow:7.2f} {fast:7.3f}")
    sort = ours["sorted_rows_per_s"]
    lines.append(f"compaction: {naive['files']:,} files to {ours['files']:,}, {sort:,.0f} rows/s sorted")
    for name, part in (("month", month), ("day", ours)):
        if part["closed_rows_per_s"] is not None:
            lines.append(f"closing the {name}: {part['closed_rows_per_s']:,.0f} observations/s")
    return "\n".join(lines)


def _compacted(data: str, progress: Callable[[str], None]) -> dict[str, Any]:
    """As `risa compact` does it."""
    began = time.perf_counter()
    closed = close_days(data, workers=2)
    closing = time.perf_counter() - began
    progress(f"closed {closed.days} days in {closing:.1f} s")
    done = {name: (upkeep.rows, seconds) for name, upkeep, seconds in sort_days(data)}
    rows, seconds = (sum(column) for column in zip(*(done[n] for n in ("observations", "frames")), strict=True))
    progress(f"sorted {rows:,} rows in {seconds:.1f} s")
    return {
        "closed_rows_per_s": closed.observations / closing if closed.days else None,
        "sorted_rows_per_s": rows / seconds if rows else None,
    }


def _middle(data: str) -> tuple[str, date]:
    """The store and the day in the middle."""
    with open_dataset(data) as connection:
        stores = [row[0] for row in connection.sql("SELECT DISTINCT store_id FROM stores ORDER BY 1").fetchall()]
        found = connection.sql("SELECT min(hour_local)::DATE, max(hour_local)::DATE FROM camera_hour").fetchall()[0]
    first, last = found
    if first is None:
        raise InputError(f"{data}: holds no frames; give an empty folder")
    return stores[len(stores) // 2], first + timedelta(days=(last - first).days // 2)


def _files(data: str) -> int:
    return len(DeltaTable(f"{data}/observations").file_uris())


def _asked(data: str, store: str, day: date, repeats: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """All questions, in a process of their own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
        answer = alone.submit(_ask, data, store, day, repeats).result()
    progress(f"asked {data}: opened in {answer['open_s']:.2f} s")
    observations = sum(part.rows for part in partitions(DeltaTable(f"{data}/observations")).values())
    return {"store": store, "day": str(day), "observations": observations} | answer


def _ask(data: str, store: str, day: date, repeats: int) -> dict[str, Any]:
    began = time.perf_counter()
    connection = open_dataset(data)
    opened = time.perf_counter() - began
    everything = {view: _seconds(partial(_run, connection, f"FROM {view}")) for view in FIGURES}
    connection.execute(f"SET VARIABLE since = DATE '{day}'")
    connection.execute(f"SET VARIABLE until = DATE '{day}' + 1")
    one = {}
    for view in FIGURES:
        columns = connection.sql(f"FROM {view} LIMIT 0").columns
        local: Sequence[str] = [c for c in _LOCAL if c in columns]
        when = f" AND {local[0]}::DATE = DATE '{day}'" if local else ""
        sql = f"FROM {view} WHERE store_id = '{store}'{when}"
        one[view] = median(_seconds(partial(_run, connection, sql)) for _ in range(repeats))
    return {
        "open_s": opened,
        "one_store_day_s": one,
        "everything_s": everything,
        "peak_mib": _peak_mib(),
    }


def _run(connection: Any, sql: str) -> None:
    connection.sql(sql).to_arrow_table()


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _peak_mib() -> float:
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024
