"""Shelves, screens, and what goes with what."""

from __future__ import annotations

from collections.abc import Sequence

from risa_ray.analytics.charts import axis, escaped
from risa_ray.analytics.page import signed
from risa_ray.analytics.report.charts import forest
from risa_ray.analytics.report.data import Estimate, ReportData, Row, estimate
from risa_ray.analytics.report.section import Figure, Section, Table
from risa_ray.analytics.report.words import (
    NONE,
    Written,
    both,
    duration,
    few,
    interval,
    number,
    percent,
    two,
    value,
    withheld,
)

_PRODUCTS = (
    "products",
    "Products",
    "Shelves by the people they engaged: a stay of at least 3 s. Looked: facing the shelf for at least 1 s. Mood gain:"
    " apparent valence at the shelf minus the same person's elsewhere in the picture. It tells neither why, nor who"
    " bought.",
)
_CONTENT = (
    "content",
    "Content",
    "Contents of one screen against each other in the same hours of the week: who looked, and in what mood. One is"
    " called better only where the interval of the difference leaves out 0; who saw which was not drawn by lot.",
)
_NEXT = (
    "next",
    "Next products",
    "Of those who stayed at one shelf, how many also stayed at the other, and how that compares with chance (lift)."
    " Shelves side by side go together by where they stand; it tells nothing about what was bought.",
)
_PAIRS = 15


def products(data: ReportData) -> Section:
    """The ranking of the shelves."""
    if not data.products:
        drawn = any(place.kind == "product" for place in data.places)
        why = "nobody stayed at a shelf" if drawn else "no product zone is drawn on any camera"
        return Section(*_PRODUCTS, note=f"Empty: {why}.")
    counts = data.statuses.get("product_engagement", {})
    hidden = counts.get("suppressed", 0)
    cells = {"ok": sum(counts.values()) - hidden, "suppressed": hidden}
    note = withheld(cells, data.k, "day of a shelf", "days of a shelf")
    shown = [r for r in data.products if r["n"] is not None]
    if not shown:
        return Section(*_PRODUCTS, note=f"Empty: no day can be shown. {note}")
    looked = [(product_name(data, r), estimate(r, "looked_share")) for r in shown]
    gain = [(product_name(data, r), estimate(r, "gain")) for r in shown]
    figures = [
        _dots("products-looked", "Who looked", "share of people", looked, percent, ".0%"),
        _dots("products-gain", "Mood gain", "valence at the shelf minus elsewhere", gain, signed, "+.2f"),
    ]
    return Section(*_PRODUCTS, [*(f for f in figures if f), _ranking(data, shown)], note)


def _dots(
    name: str, title: str, what: str, entries: Sequence[tuple[str, Estimate]], write: Written, ticks: str
) -> Figure | None:
    rows = [(label, e, f"{escaped(label)}: {both(e, write)}") for label, e in entries if e.value is not None]
    if not rows:
        return None
    chart = forest(rows, axis(title=what, tickformat=ticks), zero=write is signed)
    return Figure(name, title, "Dots: of the period; bars: 95% interval.", chart, height=36 * len(rows) + 84)


def _ranking(data: ReportData, shown: Sequence[Row]) -> Table:
    rows = [
        (
            str(rank),
            product_name(data, r),
            ", ".join(r["tags"] or []) or NONE,
            number(r["n"]),
            f"{number(r['engaged'])} ({percent(r['engaged_share'])})",
            both(estimate(r, "looked_share"), percent),
            value(r["dwell_s"], duration),
            both(estimate(r, "gain")),
            both(estimate(r, "net_sentiment", "ci")),
        )
        for rank, r in enumerate(shown, 1)
    ]
    head = (
        "rank",
        "shelf",
        "tags",
        "people",
        "engaged",
        "looked (95%)",
        "mean time",
        "mood gain (95%)",
        "net sentiment (95%)",
    )
    return Table("Shelves by people engaged", head, rows, names=3)


def product_name(data: ReportData, row: Row) -> str:
    """What to call the shelf of a row of products."""
    return row["name"] or data.zone_name(row["camera_id"], row["zone_id"])


def content(data: ReportData) -> Section:
    """What ran on the screens, and what it did."""
    if not data.content:
        drawn = any(place.kind == "screen" for place in data.places)
        why = "nobody stayed at a screen while a known content ran" if drawn else "no screen is drawn on any camera"
        return Section(*_CONTENT, note=f"Empty: {why}.")
    shown = [r for r in data.content if r["n"] is not None]
    if not shown:
        return Section(*_CONTENT, note=f"Empty: each content ran for {few(data.k)}.")
    names = _content_names(data, shown)
    attention = [(name, estimate(r, "attention")) for name, r in zip(names, shown, strict=True)]
    valence = [(name, estimate(r, "valence")) for name, r in zip(names, shown, strict=True)]
    figures = [
        _dots("content-attention", "Who looked", "share of people", attention, percent, ".0%"),
        _dots("content-valence", "Mood while it ran", "mean valence", valence, signed, "+.2f"),
    ]
    rows = [
        (
            name,
            number(r["n"]),
            both(estimate(r, "attention"), percent),
            _verdict(r, "attention", _points),
            both(estimate(r, "valence")),
            _verdict(r, "valence", signed),
        )
        for name, r in zip(names, shown, strict=True)
    ]
    head = ("content", "people", "looked (95%)", "against the others", "mean valence (95%)", "against the others")
    hidden = len(data.content) - len(shown)
    note = f"Left out: {hidden} of {len(data.content)} contents ({few(data.k)})." if hidden else ""
    return Section(*_CONTENT, [*(f for f in figures if f), Table("Contents", head, rows)], note)


def _content_names(data: ReportData, rows: Sequence[Row]) -> list[str]:
    """With the screen where there are several."""
    if len({(r["camera_id"], r["zone_id"]) for r in rows}) == 1:
        return [r["content_id"] for r in rows]
    return [
        f"{r['content_id']} ({data.zone_name(r['camera_id'], r['zone_id'])}, {data.camera_name(r['camera_id'])})"
        for r in rows
    ]


def _verdict(row: Row, key: str, write: Written) -> str:
    verdict = {"best": "better", "worse": "worse"}.get(row[f"{key}_verdict"], "no clear winner")
    e = estimate(row, f"{key}_difference")
    if e.value is None:
        return f"{verdict}: nothing to compare with"
    return f"{verdict}: {write(e.value)} ({interval(e, write)})"


def _points(share: float) -> str:
    """A difference of shares in percentage points."""
    return f"{signed(share * 100).split('.')[0]} points"


def next_products(data: ReportData) -> Section:
    """Shelves that go together."""
    if not data.next_products:
        drawn = len([place for place in data.places if place.kind == "product"]) > 1
        common = "anybody" if data.k == 1 else f"{data.k} people or more"
        why = f"no two shelves of a camera were visited by {common} in common" if drawn else "there are no two shelves"
        return Section(*_NEXT, note=f"Empty: {why}.")
    rows = [
        (
            data.zone_name(r["camera_id"], r["zone_id"]),
            r["next_name"] or r["next_zone_id"],
            number(r["tracks"]),
            both(estimate(r, "confidence"), percent),
            both(estimate(r, "lift"), two),
            _lift(r),
        )
        for r in data.next_products[:_PAIRS]
    ]
    head = ("at this shelf", "also at", "people at both", "share (95%)", "lift (95%)", "against chance")
    left = len(data.next_products) - len(rows)
    note = "Ordered by the lower end of the lift's interval."
    if left:
        note += f" {left} more pairs are in the tables (--format csv)."
    return Section(*_NEXT, [Table("Pairs of shelves", head, rows, names=2)], note)


def _lift(row: Row) -> str:
    if row["lift_low"] > 1:
        return "more often than by chance"
    return "less often than by chance" if row["lift_high"] < 1 else "no clear difference"
