"""Mood over time, where people stayed, and mood along the way."""

from __future__ import annotations

from datetime import datetime, time, timedelta

from risa_ray.analytics.charts import MUTED, ZoneShape, axis, counted, escaped, zone_map
from risa_ray.analytics.page import MINUS, signed
from risa_ray.analytics.report.charts import DIVERGING, Cell, Series, day_axis, forest, heat, lines
from risa_ray.analytics.report.data import Estimate, Place, ReportData, Row, estimate
from risa_ray.analytics.report.section import Figure, Part, Section, Table
from risa_ray.analytics.report.words import (
    NONE,
    WEEKDAYS,
    both,
    day,
    duration,
    few,
    interval,
    number,
    people,
    percent,
    value,
    withheld,
)

_MOOD = (
    "mood",
    "Mood over time",
    "Net sentiment is the share of people whose apparent expression leans positive minus the share that leans negative."
    " It tells how faces looked in the zones, not what anybody felt; compare a place with itself over time rather than"
    " with another, since angle and light differ.",
)
_PLACES = (
    "places",
    "Where people stayed",
    "How long people stayed in each zone and in what mood. The outline is the camera's picture; no picture of anybody"
    " is kept. A stay that the camera lost counts as far as it was seen.",
)
_JOURNEY = (
    "journey",
    "Along the way",
    f"How apparent valence (from {MINUS}1 to +1) changes while people are in one camera's picture, and what it is at"
    " each step through the store. Those at the steps are not the same people: nobody is followed between cameras.",
)
_NO_ZONE = (
    "Empty: no zone is drawn on any camera, and moods and stays are counted in zones. Draw some in the config;"
    " risa zones shows them over a picture."
)


def mood(data: ReportData) -> Section:
    """Net sentiment by day and by hour of the week."""
    if not data.zones:
        return Section(*_MOOD, note=_no_zone(data))
    if data.mood.value is None:
        return Section(*_MOOD, note=f"Empty: no hour of any zone has a mood to show. {_left_out(data, 'mood')}")
    return Section(*_MOOD, (_days(data), _week(data)), _left_out(data, "mood"))


def _days(data: ReportData) -> Figure:
    days = data.period.days
    figures = [data.mood_days.get(d) for d in days]
    hover = [f"{d:%a} {day(d)}: {_mood_words(f, data)}" for d, f in zip(days, figures, strict=True)]
    known = [f for f in figures if f is not None]
    top = 1.1 * max([0.1, *(abs(end) for f in known for end in (f.low, f.high) if end is not None)])
    zero = {"zeroline": True, "zerolinecolor": MUTED}
    chart = lines(
        [datetime.combine(d, time()) for d in days],
        [Series("all zones", figures, hover)],
        day_axis(days),
        axis(title="net sentiment", range=[-top, top], tickformat="+.1f", nticks=7, **zero),
        timedelta(hours=8),
    )
    values = [f.value for f in known if f.value is not None]
    ends = f"from {signed(min(values))} to {signed(max(values))}"
    caption = f"Line: the day's net sentiment in all zones, {ends}; band: 95% interval."
    if missing := len(days) - len(known):
        caption += f" {counted(missing, 'day')} without a figure."
    return Figure("mood-days", "By day", caption, chart, wide=True, height=270)


def _week(data: ReportData) -> Figure:
    hours = sorted({hour for _, hour in data.mood_hours})
    span = range(hours[0], hours[-1] + 1)
    top = max([0.1, *(abs(e.value or 0) for e in data.mood_hours.values())])

    def cell(weekday: int, hour: int) -> Cell:
        e = data.mood_hours.get((weekday, hour))
        when = f"{WEEKDAYS[weekday - 1]} {hour}:00"
        if e is None or e.value is None:
            return None, "", f"{when}: {_mood_words(None, data)}"
        return e.value, signed(e.value), f"{when}: {_mood_words(e, data)}"

    chart = heat(
        [f"{hour}:00" for hour in span],
        WEEKDAYS,
        [[cell(weekday, hour) for hour in span] for weekday in range(1, 8)],
        DIVERGING,
        (-top, top),
        "net sentiment",
        {"tickformat": "+.1f", "nticks": 5},
    )
    widest = max((e.high - e.low) / 2 for e in data.mood_hours.values() if e.high is not None and e.low is not None)
    caption = (
        "The weeks of the period together; orange leans negative, blue positive, an empty cell has no figure. A cell's"
        f" 95% interval reaches up to {widest:.2f} to either side: cells that differ by less need not differ at all."
    )
    return Figure("mood-week", "By hour of the week", caption, chart, wide=True, height=290)


def _mood_words(e: Estimate | None, data: ReportData) -> str:
    if e is None or e.value is None:
        return "no figure (nobody, or not watched)" if data.k == 1 else f"no figure ({few(data.k)}, or not watched)"
    return f"{signed(e.value)}<br>95% interval {interval(e)}<br>{people(e.n)} or more"


def places(data: ReportData) -> Section:
    """The zones over the outline of each camera's picture, and as a table."""
    if not data.zones:
        return Section(*_PLACES, note=_no_zone(data))
    parts: tuple[Part, ...] = (*_maps(data), *_by_zone(data), _zone_table(data))
    return Section(*_PLACES, parts, _left_out(data, "zone_hour"))


def _maps(data: ReportData) -> list[Figure]:
    rows = {(row["camera_id"], row["zone_id"]): row for row in data.zones}
    top = max([row["dwell_s"] for row in data.zones if row["dwell_s"] is not None], default=None)
    figures = []
    for n, camera in enumerate(data.cameras):
        here = [place for place in data.places if place.camera_id == camera.camera_id]
        shapes = [_shape(place, rows.get((place.camera_id, place.zone_id)), data.k) for place in here]
        if shapes:
            chart = zone_map(shapes, camera.width / camera.height, top)
            caption = "Colour and first figure: mean length of a stay; second: net sentiment."
            figures.append(
                Figure(f"zones-{n}", data.camera_name(camera.camera_id), caption, chart, height=340, map=True)
            )
    return figures


def _shape(place: Place, row: Row | None, k: int) -> ZoneShape:
    name = place.name or place.zone_id
    if place.kind in ("staff", "mask"):
        return ZoneShape(name, place.polygon, None, "not analysed", hidden=True)
    if row is None or row["dwell_s"] is None:
        return ZoneShape(name, place.polygon, None, few(k) if row and row["suppressed"] else "no stay")
    note = f"<b>{duration(row['dwell_s'])}</b> {value(row['net_sentiment'], signed)}"
    return ZoneShape(name, place.polygon, row["dwell_s"], note)


def _by_zone(data: ReportData) -> list[Figure]:
    rows = []
    for r in data.zones:
        e = estimate(r, "net_sentiment", "ci")
        name = f"{data.camera_name(r['camera_id'])}: {data.zone_name(r['camera_id'], r['zone_id'])}"
        if e.value is not None:
            rows.append((name, e, f"{escaped(name)}: {signed(e.value)}<br>95% interval {interval(e)}<br>{people(e.n)}"))
    if not rows:
        return []
    rows.sort(key=lambda row: -(row[1].value or 0))
    chart = forest(rows, axis(title="net sentiment", tickformat="+.1f"), zero=True)
    caption = "Dots: net sentiment of the period; bars: 95% interval. Zones of one camera compare best."
    return [Figure("zones-mood", "Mood by zone", caption, chart, height=max(200, 30 * len(rows) + 70))]


def _zone_table(data: ReportData) -> Table:
    rows = [
        (
            data.camera_name(r["camera_id"]),
            data.zone_name(r["camera_id"], r["zone_id"]),
            r["kind"] or NONE,
            value(r["tracks"], number),
            value(r["dwell_s"], duration),
            both(estimate(r, "net_sentiment", "ci")),
            value(r["unknown_share"], percent),
            f"{r['shown']:,} of {r['hours']:,}",
        )
        for r in data.zones
    ]
    head = ("camera", "zone", "kind", "people", "mean stay", "net sentiment (95%)", "without a mood", "hours shown")
    return Table("Zones", head, rows, names=3)


def journey(data: ReportData) -> Section:
    """From the first to the last third of a track, and the ladder of the store."""
    steps = [(r["step"], estimate(r, "valence", "ci")) for r in data.ladder]
    changes = [(data.camera_name(r["camera_id"]), estimate(r, "change", "ci")) for r in data.journey]
    figures = [
        _valences("journey-steps", "Step by step through the store", "Mean valence of the people at each step", steps),
        _valences(
            "journey-change", "While in the picture", "Change from the first to the last third of a track", changes
        ),
    ]
    parts = [figure for figure in figures if figure]
    why = "nobody was there" if data.k == 1 else f"{few(data.k)} with a mood at each step and camera"
    return Section(*_JOURNEY, parts, "" if parts else f"Empty: {why}.")


def _valences(name: str, title: str, what: str, entries: list[tuple[str, Estimate]]) -> Figure | None:
    rows = [
        (label, e, f"{escaped(label)}: {signed(e.value)}<br>95% interval {interval(e)}<br>{people(e.n)}")
        for label, e in entries
        if e.value is not None
    ]
    if not rows:
        return None
    chart = forest(rows, axis(title="valence", tickformat="+.2f"), zero=True)
    return Figure(name, title, f"{what}; bars: 95% interval.", chart, height=40 * len(rows) + 80)


def _no_zone(data: ReportData) -> str:
    return "Empty: nobody stayed in a zone for a second or longer." if data.places else _NO_ZONE


def _left_out(data: ReportData, view: str) -> str:
    return withheld(data.statuses.get(view, {}), data.k, "hour of a zone", "hours of a zone")
