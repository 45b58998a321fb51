"""Coverage, and how the cameras did."""

from __future__ import annotations

from datetime import date

from risa_ray.analytics.charts import VIRIDIS, escaped
from risa_ray.analytics.report.charts import Cell, heat
from risa_ray.analytics.report.data import ReportData, Row
from risa_ray.analytics.report.section import Figure, Section, Table
from risa_ray.analytics.report.words import NONE, day, duration, number, percent, value

_HEALTH = (
    "health",
    "Coverage and cameras",
    "Coverage is the share of the store's watched hours (any camera on) in which this camera delivered analysed"
    " pictures. Where it is low, figures are missing rather than small: nobody there and nobody watching never look"
    " alike.",
)
_CAUSES = {
    "overrun": "a newer picture came first",
    "stale": "too old",
    "decode_error": "could not be decoded",
    "poison": "failed in the analysis",
    "lost_in_crash": "lost in a crash",
}


def health(data: ReportData) -> Section:
    """Coverage per camera and day, dropped frames, outages."""
    if not data.coverage:
        return Section(*_HEALTH, note="Empty: no camera delivered anything in the period.")
    return Section(*_HEALTH, (_grid(data), _table(data)))


def coverage_of(data: ReportData, camera_id: str | None = None) -> float | None:
    """Coverage over the period, of a camera or of all."""
    rows = [r for r in data.coverage if camera_id in (None, r["camera_id"])]
    hours = sum(r["hours"] for r in rows)
    return sum(r["coverage"] * r["hours"] for r in rows) / hours if hours else None


def _grid(data: ReportData) -> Figure:
    cameras = sorted({r["camera_id"] for r in data.coverage})
    days = data.period.days
    cells: dict[tuple[str, date], Row] = {(r["camera_id"], r["day"]): r for r in data.coverage}

    def cell(camera: str, d: date) -> Cell:
        row = cells.get((camera, d))
        when = f"{escaped(data.camera_name(camera))}, {d:%a} {day(d)}"
        if row is None:
            return None, "", f"{when}: the store was not watched, or the camera was not there yet"
        coverage, uptime = percent(row["coverage"]), percent(row["uptime"])
        text = f"{when}: coverage {coverage} of {row['hours']} hours<br>delivered pictures {uptime}"
        return row["coverage"], f"{row['coverage'] * 100:.0f}", text

    names = [escaped(data.camera_name(camera)) for camera in cameras]
    grid = [[cell(camera, d) for d in days] for camera in cameras]
    scale = {"tickformat": ".0%", "nticks": 3, "title": {"text": ""}}
    chart = heat([day(d) for d in days], names, grid, VIRIDIS, (0, 1), "coverage", scale)
    caption = "Percent of each day's watched hours; yellow is complete, violet nothing, empty not watched."
    height = max(160, 34 * len(cameras) + 70)
    return Figure("coverage", "Coverage by camera and day", caption, chart, wide=True, height=height)


def _table(data: ReportData) -> Table:
    rows = [
        (
            data.camera_name(r["camera_id"]),
            value(coverage_of(data, r["camera_id"]), percent),
            number(r["frames_read"]),
            _dropped(r),
            _outages(r),
            value(r["split_share"], percent),
        )
        for r in data.health
    ]
    head = ("camera", "coverage", "pictures read", "dropped", "outages", "tracks that look split")
    return Table("Cameras", head, rows)


def _dropped(row: Row) -> str:
    if not row["frames_read"]:
        return NONE
    causes = [(row[name] / row["frames_read"], why) for name, why in _CAUSES.items() if row[name]]
    return "; ".join(f"{percent(share)} {why}" for share, why in sorted(causes, reverse=True)) or "none"


def _outages(row: Row) -> str:
    if not row["outages"]:
        return "none"
    return f"{row['outages']}, together {duration(row['down_s'])}, the longest {duration(row['longest_s'])}"
