"""Who came in, who waited, and who was served."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from risa_ray.analytics.charts import VIRIDIS, axis, counted, escaped
from risa_ray.analytics.page import signed
from risa_ray.analytics.report.charts import Bars, Cell, Series, bars, day_axis, forest, heat, hour_axis, lines
from risa_ray.analytics.report.data import ReportData, Row, estimate
from risa_ray.analytics.report.section import Figure, Part, Section, Table
from risa_ray.analytics.report.words import (
    NONE,
    Written,
    both,
    day,
    duration,
    few,
    number,
    people,
    percent,
    status,
    value,
    withheld,
)

_FOOTFALL = (
    "footfall",
    "Footfall",
    "Tracks that began in an entrance zone and went on into the store. A track is one person followed by one camera,"
    " not a unique visitor: who comes back counts again, and cameras are never added up.",
)
_QUEUES = (
    "queues",
    "Queue and waits",
    "From entering a queue to being served; those who left unserved count for as long as they waited (Kaplan-Meier)."
    " Faces turned away from the camera are not seen, so queues are longer than shown.",
)
_SERVICE = (
    "service",
    "Service interactions",
    "Stays of at least 10 s in a service zone: apparent valence in the 30 s before, during, and in the 30 s after. That"
    " somebody serves is assumed, and talking moves the mouth, so read 'during' with care.",
)
_LONGEST = 5


def footfall(data: ReportData) -> Section:
    """People who came in, by day and by hour of the day."""
    if not data.footfall_cameras:
        return Section(*_FOOTFALL, note="Empty: no entrance zone is drawn on any camera.")
    counts = {name: cells for name, cells in data.statuses["footfall"].items() if name != "no_entrance"}
    note = withheld(counts, data.k, "hour", "hours")
    if not any(r["footfall"] is not None for r in data.footfall_cameras):
        return Section(*_FOOTFALL, note=f"Empty: no hour can be shown. {note}")
    return Section(*_FOOTFALL, (_by_day(data), _by_hour(data), _doors(data)), note)


def _by_day(data: ReportData) -> Figure:
    days = data.period.days
    cells = {(r["camera_id"], r["day"]): r for r in data.footfall_days}
    series: list[Bars] = []
    for door in data.footfall_cameras:
        rows = [cells.get((door["camera_id"], d)) for d in days]
        name = data.camera_name(door["camera_id"])
        hover = [f"{escaped(name)}, {d:%a} {day(d)}: {_came(r)}" for d, r in zip(days, rows, strict=True)]
        heights = [None if r is None else r["footfall"] for r in rows]
        series.append((name, heights, [bool(r and r["withheld"]) for r in rows], hover))
    y = axis(title="people who came in", rangemode="tozero", nticks=6)
    chart = bars([d.isoformat() for d in days], series, day_axis(days), y)
    return Figure("footfall-days", "By day", "Hatched: some hours of that day are left out, so it had more.", chart)


def _came(row: Row | None) -> str:
    if row is None:
        return "not watched"
    if row["footfall"] is None:
        return f"none of {counted(row['withheld'], 'hour')} can be shown"
    left_out = f"<br>{counted(row['withheld'], 'hour')} left out" if row["withheld"] else ""
    return f"{people(row['footfall'])} came in{left_out}"


def _by_hour(data: ReportData) -> Figure:
    cameras = [r["camera_id"] for r in data.footfall_cameras]
    y = axis(title="people in an hour", rangemode="tozero", nticks=6)
    chart = _clock(data, data.footfall_hours, cameras, "footfall", number, y)
    caption = "Mean over the days of what a fully watched hour brought; band: 95% interval of that mean."
    if data.k > 1 and any(r["suppressed"] for r in data.footfall_cameras):
        caption += f" Hours with {few(data.k)} are left out, so quiet times look busier than they are."
    return Figure("footfall-hours", "By hour of the day", caption, chart)


def _clock(
    data: ReportData, rows: Sequence[Row], cameras: Sequence[str], name: str, write: Written, y: dict[str, object]
) -> dict[str, object]:
    """A line per camera over the hours of the day."""
    hours = _span([r["hour"] for r in rows])
    cells = {(r["camera_id"], r["hour"]): estimate(r, name) for r in rows}
    series = []
    for camera in cameras:
        figures = [cells.get((camera, hour)) for hour in hours]
        label = data.camera_name(camera)
        hover = [
            f"{escaped(label)}, {hour}:00: {both(e, write) if e else 'not watched'}"
            for hour, e in zip(hours, figures, strict=True)
        ]
        series.append(Series(label, figures, hover))
    return lines(hours, series, hour_axis(hours), y, 0.3)


def _doors(data: ReportData) -> Table:
    rows = [
        (
            data.camera_name(r["camera_id"]),
            value(r["footfall"], number),
            f"{r['shown']:,} of {r['hours']:,}",
            value(r["split_share"], percent),
        )
        for r in data.footfall_cameras
    ]
    head = ("camera", "came in", "hours shown", "tracks that look split")
    return Table("Entrances", head, rows)


def queues(data: ReportData) -> Section:
    """Waits and queues."""
    if not data.queues:
        return Section(*_QUEUES, note="Empty: no queue zone is drawn on any camera.")
    counts = {name: sum(r[name] for r in data.queues) for name in ("suppressed", "low_coverage")}
    note = withheld({**counts, "ok": sum(r["shown"] for r in data.queues)}, data.k, "hour", "hours")
    cameras = [r["camera_id"] for r in data.queues if r["shown"]]
    if not cameras:
        return Section(*_QUEUES, note=f"Empty: no hour has waits to show. {note}")
    maps = [_waits(data, camera, n) for n, camera in enumerate(cameras)]
    charts = (_service_level(data, cameras), _length(data, cameras), *maps)
    parts: tuple[Part, ...] = (*charts, _queue_table(data), _longest(data))
    return Section(*_QUEUES, parts, note)


def _service_level(data: ReportData, cameras: Sequence[str]) -> Figure:
    targets = sorted({r["target_wait_s"] for r in data.queues if r["target_wait_s"] is not None})
    y = axis(title="served in time", tickformat=".0%", nticks=6)
    chart = _clock(data, data.queue_hours, cameras, "service_level", percent, y)
    target = " or ".join(map(duration, targets))
    caption = (
        f"Share of waits that end within the target of {target}; band: 95% interval. The axis need not begin at 0."
    )
    return Figure("service-level", "Service level by hour of the day", caption, chart)


def _length(data: ReportData, cameras: Sequence[str]) -> Figure:
    y = axis(title="people in the queue", rangemode="tozero", nticks=6)
    chart = _clock(data, data.queue_hours, cameras, "queue_length", number, y)
    caption = "Mean number of people in the queue at a time, over the days; band: 95% interval of that mean."
    return Figure("queue-length", "Queue length by hour of the day", caption, chart)


def _waits(data: ReportData, camera: str, n: int) -> Figure:
    cells: dict[tuple[date, int], Row] = {
        (r["hour_local"].date(), r["hour_local"].hour): r for r in data.waits if r["camera_id"] == camera
    }
    hours = _span([hour for _, hour in cells])
    days = data.period.days

    def cell(d: date, hour: int) -> Cell:
        row = cells.get((d, hour))
        when = f"{d:%a} {day(d)}, {hour}:00"
        if row is None:
            return None, "", f"{when}: nobody waited, or not watched"
        if row["status"] != "ok":
            return None, "", f"{when}: {status(row['status'], data.k)}"
        median, p95 = (both(estimate(row, name), duration) for name in ("wait_s_median", "wait_s_p95"))
        p95_min = None if row["wait_s_p95"] is None else row["wait_s_p95"] / 60
        return p95_min, "", f"{when}, {counted(row['waits'], 'wait')}<br>median {median}<br>p95 {p95}"

    grid = [[cell(d, hour) for d in days] for hour in hours]
    top = max([minutes for row in grid for minutes, _, _ in row if minutes is not None], default=1.0)
    colours = tuple(reversed(VIRIDIS))
    names = [f"{hour}:00" for hour in hours]
    chart = heat([day(d) for d in days], names, grid, colours, (0, top), "minutes", texts=False)
    caption = "95 of 100 wait at most so long (p95). Empty: nothing to show, or too many left unserved to tell."
    typical = next(r for r in data.queues if r["camera_id"] == camera)
    if typical["wait_s_median"] is not None and typical["wait_s_p95"] is not None:
        median, p95 = duration(typical["wait_s_median"]), duration(typical["wait_s_p95"])
        caption += f" In half of the hours the median wait is at most {median}, and in half the p95 is at most {p95}."
    title = f"How long people wait, day by day: {data.camera_name(camera)}"
    return Figure(f"waits-{n}", title, caption, chart, wide=True, height=max(200, 22 * len(hours) + 60))


def _queue_table(data: ReportData) -> Table:
    rows = [
        (
            data.camera_name(r["camera_id"]),
            value(r["waits"], number),
            percent(1 - r["completed"] / r["waits"]) if r["waits"] else NONE,
            value(r["target_wait_s"], duration),
            both(estimate(r, "service_level"), percent),
            value(r["queue_length"], number),
            value(r["queue_length_peak"], number),
        )
        for r in data.queues
    ]
    head = ("camera", "waits", "not seen served", "target", "service level (95%)", "mean queue", "fullest minute")
    return Table("Queues of the period", head, rows)


def _longest(data: ReportData) -> Table:
    known = sorted((r for r in data.waits if r["wait_s_p95"] is not None), key=lambda r: -r["wait_s_p95"])
    rows = [
        (
            f"{_when(r['hour_local'])}",
            data.camera_name(r["camera_id"]),
            number(r["waits"]),
            both(estimate(r, "wait_s_median"), duration),
            both(estimate(r, "wait_s_p95"), duration),
        )
        for r in known[:_LONGEST]
    ]
    head = ("hour", "camera", "waits", "median (95%)", "p95 (95%)")
    return Table("The longest waits; some hour is always the longest, so look at the intervals", head, rows, names=2)


def service(data: ReportData) -> Section:
    """Valence before, during and after an interaction."""
    if not data.service:
        drawn = any(place.kind == "service" for place in data.places)
        why = "nobody stayed 10 s in a service zone" if drawn else "no service zone is drawn on any camera"
        return Section(*_SERVICE, note=f"Empty: {why}.")
    counts = data.statuses.get("service_interactions", {})
    note = withheld(counts, data.k, "day of a service zone", "days of a service zone")
    shown = [r for r in data.service if r["n"] is not None]
    if not shown:
        return Section(*_SERVICE, note=f"Empty: no day can be shown. {note}")
    return Section(*_SERVICE, (*_service_charts(data, shown), _service_table(data, shown)), note)


def _service_charts(data: ReportData, shown: Sequence[Row]) -> list[Figure]:
    levels, changes = [], []
    for r in shown:
        name = data.zone_name(r["camera_id"], r["zone_id"])
        for window in ("before", "during", "after"):
            e = estimate(r, window)
            levels.append((f"{name}: {window}", e, f"{escaped(name)}, {window}: {both(e)}"))
        for window in ("during", "after"):
            e = estimate(r, f"change_{window}")
            changes.append((f"{name}: {window}", e, f"{escaped(name)}, {window} against before: {both(e)}"))
    figures = []
    if any(e.value is not None for _, e, _ in levels):
        caption = "Mean valence in each window; bars: 95% interval, of how the mean varies from day to day."
        chart = forest(levels, axis(title="valence", tickformat="+.2f"), zero=True)
        figures.append(Figure("service-levels", "Before, during, after", caption, chart, height=34 * len(levels) + 80))
    if any(e.value is not None for _, e, _ in changes):
        caption = "Each person against the same person's 30 s before; bars: 95% interval."
        chart = forest(changes, axis(title="change of valence", tickformat="+.2f"), zero=True)
        figures.append(Figure("service-changes", "Against before", caption, chart, height=34 * len(levels) + 80))
    return figures


def _service_table(data: ReportData, shown: Sequence[Row]) -> Table:
    rows = [
        (
            data.zone_name(r["camera_id"], r["zone_id"]),
            data.camera_name(r["camera_id"]),
            number(r["n"]),
            value(r["length_s"], duration),
            value(r["wait_before_s"], duration),
            value(r["before"], signed),
            both(estimate(r, "change_during")),
            both(estimate(r, "change_after")),
            value(r["after_share"], percent),
        )
        for r in shown
    ]
    head = (
        "zone",
        "camera",
        "interactions",
        "mean length",
        "mean wait before",
        "valence before",
        "during against before (95%)",
        "after against before (95%)",
        "seen after",
    )
    return Table("Service zones", head, rows, names=2)


def _span(hours: Sequence[int]) -> list[int]:
    return list(range(min(hours), max(hours) + 1)) if hours else []


def _when(moment: datetime) -> str:
    return f"{moment:%a} {day(moment)}, {moment.hour}:00"
