"""The `risa alerts` commands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from risa_ray.config import ChainConfig, load_config
from risa_ray.config_alerts import AlertRule, places
from risa_ray.errors import InputError
from risa_ray.options import Data
from risa_ray.running import with_data

if TYPE_CHECKING:  # its libraries take a second to import
    import pyarrow as pa

    from risa_ray.live.replay import Judged, Replayed

alerts = typer.Typer(help="Alert rules: docs/alert-rules.md.", no_args_is_help=True)


@alerts.callback()
def _group() -> None:
    """With one command alone typer would take its name away."""


@alerts.command("test")
def try_rules(
    config: Annotated[Path, typer.Argument(help="The YAML config with the rules.")],
    data: Data = None,
    since: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="A date (UTC), or a time with its zone; default: the last 7 days."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Up to, not including, this; default: all there is.")
    ] = None,
    store: Annotated[str | None, typer.Option(metavar="ID", help="This store alone.")] = None,
    format_: Annotated[
        Literal["table", "csv", "json"], typer.Option("--format", help="How to print the alerts.")
    ] = "table",
) -> None:
    """Tell what the rules of a config would have fired on the rows that are stored. Nothing is sent or written."""
    from risa_ray.analytics.query import print_result
    from risa_ray.live.replay import replay

    chain = with_data(load_config(config), data)
    first, last = _moment("--from", since), _moment("--to", until)
    with Console(stderr=True).status("reading") as status:
        found = replay(chain, first, last, store, status.update)
    # Programs read the alerts alone.
    print(summary(found), file=sys.stdout if format_ == "table" else sys.stderr)
    print_result(alerts_of(found), format_)


def _moment(option: str, text: str | None) -> datetime | None:
    from risa_ray.store.purge import parse_moment

    if text is None:
        return None
    try:
        return parse_moment(text)
    except InputError as error:
        raise InputError(str(error).replace("--between", option, 1)) from None


def summary(found: Replayed) -> str:
    """What became of each rule, a line each, and what could not be looked at."""
    span = f"{found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC"
    return "\n".join([span, *(_line(judged) for judged in found.rules), *(f"note: {note}" for note in found.notes)])


def _line(judged: Judged) -> str:
    rule, count = judged.rule, len(judged.fired)
    times = "once" if count == 1 else f"{count} times"
    watched = f"{judged.watched_s / 3600:.1f} h" if judged.watched_s >= 3600 else f"{judged.watched_s / 60:.1f} min"
    line = f"{rule.id}: fired {times} in {watched} of its cameras ({condition(rule)})"
    if not judged.stretches:
        return f"{line}; never past its threshold"
    stretches = "once" if judged.stretches == 1 else f"{judged.stretches} times"
    return f"{line}; past its threshold {stretches}, {judged.past_s:,.0f} s in all, at most {judged.longest_s:,.0f} s"


def alerts_of(found: Replayed) -> pa.Table:
    """The alerts in time order: columns of table `alerts`, and `past_s`, for how long the figure was past it."""
    import pyarrow as pa

    from risa_ray.store.schema import ALERTS

    names = ["fired_at", "rule_id", "store_id", "camera_id", "zone_id", "figure", "value", "direction", "threshold"]
    shown = [*names, "past_s", "tracks", "severity", "text"]
    fields = [pa.field("past_s", pa.float64()) if name == "past_s" else ALERTS.field(name) for name in shown]
    fired = sorted((f for judged in found.rules for f in judged.fired), key=lambda f: f.alert.fired_at)
    rows = [
        {name: f.past_s if name == "past_s" else getattr(f.alert, name) for name in shown}
        for f in fired
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def condition(rule: AlertRule) -> str:
    """When a rule fires, as `people above 6 for 60 s`."""
    threshold, side = rule.threshold
    lasts = f" for {rule.for_s:g} s" if rule.for_s else ""
    return f"{rule.figure} {side} {threshold:g}{lasts}"


def told(chain: ChainConfig) -> Iterator[str]:
    """What `risa check` says of the rules: a line each, with where they look."""
    for rule in chain.alerts:
        where = ", ".join(f"{p.camera.id}/{p.zone.id}" if p.zone else p.camera.id for p in places(rule, chain.stores))
        hours = f", {'; '.join(map(str, rule.hours))} local time" if rule.hours else ""
        yield f"alert {rule.id}: {condition(rule)} in {where}{hours} ({rule.severity})"
