"""The `risa` command that reports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from risa_ray.options import Data


def register(app: typer.Typer) -> None:
    """Add the command to the `risa` command."""
    app.command()(report)


def report(
    data: Data = None,
    store: Annotated[str | None, typer.Option(metavar="ID", help="Which store; default: the only one.")] = None,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="DATE", help="First day in the store's calendar; default: 30 up to the last."),
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="Last day, included; default: the last with data.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The page (report.html), or the folder of the tables (report)."),
    ] = None,
    format_: Annotated[
        Literal["html", "csv", "parquet"], typer.Option("--format", help="One page, or a file per view.")
    ] = "html",
    raw: Annotated[
        bool, typer.Option("--raw", help="No k-floor, and tables of single people: for demos and invented people.")
    ] = False,
) -> None:
    """Report on one store over some days: one page that opens anywhere, or its tables."""
    from risa_ray.analytics.report.command import run

    run(data or "data", store, first, last, out, format_, raw)
