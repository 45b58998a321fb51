"""The tables behind a report as files, for those who go on from there."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import duckdb

from risa_ray.analytics.query import print_result
from risa_ray.analytics.report.period import DATED, Period, gather
from risa_ray.outputs import make_folder

SINGLE_PEOPLE = ("tracks", "stays")


def export(
    connection: duckdb.DuckDBPyConnection,
    period: Period,
    folder: Path,
    format: Literal["csv", "parquet"],
    people: bool = False,
) -> dict[str, int]:
    """Write a file per view, with the rows of the store and the period.

    Args:
        connection: of `open_scope`.
        period: as `choose_period` found it.
        folder: made if it is missing; files of these names in it are replaced.
        format: how to write.
        people: write the views of single people, too. A floor of 1 alone does not: that takes a switch of its own.

    Returns:
        View -> rows.

    Raises:
        InputError: a file cannot be written.
    """
    views = [view for view in DATED if people or view not in SINGLE_PEOPLE]
    make_folder(folder)
    rows = {}
    for view in views:
        gather(connection, period, {view: "*"})
        table = connection.sql(f"FROM report.{view}").to_arrow_table()
        print_result(table, format, folder / f"{view}.{format}")
        rows[view] = table.num_rows
    return rows
