"""How the report writes figures and statuses: for people who read them once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date

from risa_ray.analytics.page import signed
from risa_ray.analytics.report.data import Estimate

NONE = "\N{EN DASH}"
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

Written = Callable[[float], str]


def percent(value: float) -> str:
    """A share: 85%, 2.8%."""
    text = f"{value:.1%}" if 0 < value < 0.0995 or 0.985 < value < 1 else f"{value:.0%}"
    return text.replace("100.0%", "over 99.9%")


def duration(seconds: float) -> str:
    """A time: 4.2 s, 45 s, 3.3 min, 1.5 h."""
    size, unit = (3600, "h") if seconds >= 5400 else (60, "min") if seconds >= 120 else (1, "s")
    amount = seconds / size
    text = f"{amount:.1f}".removesuffix(".0") if amount < 9.95 else f"{amount:.0f}"
    return f"{text}\N{NO-BREAK SPACE}{unit}"


def number(value: float) -> str:
    """A count, or a mean of counts."""
    return f"{value:,.0f}" if value >= 99.5 or value == int(value) else f"{value:.1f}"


def two(value: float) -> str:
    """A ratio."""
    return f"{value:.2f}"


def day(when: date) -> str:
    """24 Oct"""
    return f"{when.day} {when:%b}"


def long_day(when: date) -> str:
    """Sat 24 October 2026"""
    return f"{when:%a} {when.day} {when:%B %Y}"


def value(figure: float | None, write: Written) -> str:
    """A figure of a table; a dash where there is none, never 0."""
    return NONE if figure is None else write(figure)


def interval(e: Estimate, write: Written = signed) -> str:
    """+0.02 to +0.07"""
    return NONE if e.low is None or e.high is None else f"{write(e.low)} to {write(e.high)}"


def both(e: Estimate, write: Written = signed) -> str:
    """+0.05 (+0.02 to +0.07)"""
    if e.value is None:
        return NONE
    if e.low is None and e.high is None:
        return write(e.value)
    low = "?" if e.low is None else write(e.low)
    high = "not reached" if e.high is None else write(e.high)
    return f"{write(e.value)} ({low} to {high})"


def people(count: float) -> str:
    """1 person, 2 people"""
    return "1 person" if count == 1 else f"{number(count)} people"


def few(k: int) -> str:
    """What `suppressed` means."""
    return f"fewer than {k} people"


def status(name: str, k: int) -> str:
    """A status in words."""
    return {
        "ok": "shown",
        "suppressed": few(k),
        "mood_suppressed": f"{few(k)} with a mood",
        "no_mood": "nobody with a mood",
        "low_coverage": "camera watching less than half of the time",
        "no_entrance": "no entrance zone",
        "no_queue": "nobody waited",
    }.get(name, name)


def withheld(counts: Mapping[str, int], k: int, one: str, more: str) -> str:
    """Which cells a section leaves out, and why; empty where there are none.

    Args:
        counts: status -> cells, `ok` among them.
        k: the floor.
        one, more: a cell and cells, in words.
    """
    hidden = ("suppressed", "mood_suppressed", "no_mood", "low_coverage")
    parts = [f"{counts[name]:,} ({status(name, k)})" for name in hidden if counts.get(name)]
    shown = counts.get("ok", 0)
    if not parts:
        return ""
    return f"Rests on {shown:,} {one if shown == 1 else more}; left out: {', '.join(parts)}."
