"""The `risa` commands that keep a store in order."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from risa_ray.errors import InputError
from risa_ray.options import Data


def register(app: typer.Typer) -> None:
    """Add the commands to the `risa` command."""
    for command in (compact, purge, verify):
        app.command()(command)


def compact(data: Data = None) -> None:
    """Merge and sort each day of the store by time, and keep the tracks of days that are over as a table.

    Safe beside a running job and open readers.
    """
    from risa_ray.analytics.closing import close_days
    from risa_ray.store.maintenance import sort_days
    from risa_ray.store.paths import require_dataset
    from risa_ray.store.schema import TABLES

    path = require_dataset(data or "data", tuple(TABLES))
    began = time.perf_counter()
    closed = close_days(path, workers=2)
    if closed.days:
        rate = closed.observations / (time.perf_counter() - began)
        print(f"closed: {closed.days} days, {closed.tracks:,} tracks, {rate:,.0f} observations/s")
    for name, done, seconds in sort_days(path):
        if not (done.merged or done.deleted):
            print(f"{name}: in order")
            continue
        speed = f", {done.rows:,} rows sorted at {done.rows / seconds:,.0f} rows/s" if done.rows else ""
        print(f"{name}: {done.merged} files merged into {done.written}{speed}, {done.deleted} old files deleted")


def purge(
    data: Data = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Delete whole UTC days before that: 30d, 4w.")
    ] = None,
    camera: Annotated[
        str | None, typer.Option(metavar="ID", help="Erase what this camera saw; with --between. STORE/ID, too.")
    ] = None,
    between: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="From A up to, not including, B: dates (UTC), or times with their zone."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only; delete nothing.")] = False,
) -> None:
    """Delete old rows of every camera, or all that one camera saw in a period (erasure).

    Old rows leave the tables at once, and the disk with a compaction an hour later. An erasure leaves no file with a
    row behind; readers that were opened before it may fail.
    """
    from risa_ray.store.purge import erase, parse_days, parse_moment, purge_older

    if (older_than is None) == (camera is None and between is None):
        raise InputError("give either --older-than, or --camera with --between")
    if older_than is not None:
        rows = purge_older(data or "data", parse_days(older_than), dry_run=dry_run)
        what = f"older than {older_than}"
    else:
        if camera is None or between is None:
            raise InputError("--camera and --between go together: give both")
        since, until = map(parse_moment, between)
        store_id, camera_id, rows = erase(data or "data", camera, since, until, dry_run=dry_run)
        what = f"of {store_id}/{camera_id} from {since.isoformat()} to {until.isoformat()}"
    counts = ", ".join(f"{count:,} of {name}" for name, count in rows.items())
    print(f"{'would delete' if dry_run else 'deleted'} rows {what}: {counts}")


def verify(data: Data = None) -> None:
    """Check that the store is whole: nothing twice, nothing lost. Exit code 1 where something is wrong."""
    from risa_ray.store.verify import verify as run

    wrong = 0
    for check in run(data or "data"):
        print(check.line())
        wrong += bool(check.problems)
    if wrong:
        print(f"risa: {wrong} checks found something wrong", file=sys.stderr)
        sys.exit(1)
