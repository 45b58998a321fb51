"""`risa report`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import duckdb

from risa_ray.analytics.report.data import read_report
from risa_ray.analytics.report.page import build_report
from risa_ray.analytics.report.period import choose_period
from risa_ray.analytics.report.scope import open_calendar, open_scope
from risa_ray.analytics.report.tables import export
from risa_ray.config import redact
from risa_ray.errors import InputError
from risa_ray.outputs import check_output

Format = Literal["html", "csv", "parquet"]


def run(
    data: str, store: str | None, first: str | None, last: str | None, out: Path | None, format: Format, raw: bool
) -> None:
    """Write the report, and print where it is.

    Args:
        data: path or URL of the dataset.
        store, first, last: as `choose_period`.
        out: the page, or the folder of the tables; None: report.html, or report.
        format: a page, or tables.
        raw: no k-floor.

    Raises:
        InputError: one line: no dataset, no data, a wrong store or date, or a place that cannot be written.
    """
    began = time.perf_counter()
    target = out or Path("report.html" if format == "html" else "report")
    if format == "html":
        check_output(target, (".html", ".htm"))
    elif not target.resolve().parent.is_dir():
        raise InputError(f"{target}: there is no folder {target.parent}; create it first")
    try:
        with open_calendar(data) as connection:
            period = choose_period(connection, store, first, last)
        with open_scope(data, period, raw, earlier=format != "html") as connection:
            if format == "html":
                build_report(read_report(connection, period), target)
                what = f"{target.stat().st_size / 1e6:.1f} MB"
            else:
                rows = export(connection, period, target, format, people=raw)
                what = f"{len(rows)} files, {sum(rows.values()):,} rows"
    except duckdb.Error as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{redact(data)}: cannot be read ({reason}); `risa verify` tells more") from None
    seconds = time.perf_counter() - began
    print(f"{target}: store {period.store_id}, {period.first} to {period.last}, {what}, {seconds:.1f} s")
