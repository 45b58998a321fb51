"""The head of a report: tiles, and what the period was like in plain words."""

from __future__ import annotations

from risa_ray.analytics.page import signed
from risa_ray.analytics.report.data import Estimate, ReportData, estimate
from risa_ray.analytics.report.sections_health import coverage_of
from risa_ray.analytics.report.sections_products import product_name
from risa_ray.analytics.report.words import both, duration, interval, number, percent

Tile = tuple[str, str, str]
"""Name, figure, and what qualifies it."""


def tiles(data: ReportData) -> list[Tile]:
    """Net sentiment, footfall, service level, coverage."""
    return [_mood(data), _footfall(data), _service(data), _coverage(data)]


def sentences(data: ReportData) -> list[str]:
    """The period in a few sentences, the most important one first; what is not known is left out."""
    made = [_mood_sentence(data.mood), _footfall_sentence(data), _wait_sentence(data)]
    made += [_product_sentence(data), _content_sentence(data), _coverage_sentence(data)]
    return [sentence for sentence in made if sentence]


def _mood(data: ReportData) -> Tile:
    if data.mood.value is None:
        return "net sentiment", "none", "no hour of a zone has a mood to show"
    return "net sentiment", signed(data.mood.value), f"95% interval {interval(data.mood)}"


def _footfall(data: ReportData) -> Tile:
    known = [r for r in data.footfall_cameras if r["footfall"] is not None]
    if not known:
        why = "no hour to show" if data.footfall_cameras else "no entrance zone is drawn"
        return "footfall", "none", why
    best, *others = known
    where = f"came in at {data.camera_name(best['camera_id'])}"
    if others:
        where += "; " + ", ".join(f"{number(r['footfall'])} at {data.camera_name(r['camera_id'])}" for r in others)
    split = best["split_share"]
    bias = f"; who is lost in the entrance is not counted ({percent(split)} of tracks look split)" if split else ""
    return "footfall", number(best["footfall"]), f"{where}{bias}"


def _service(data: ReportData) -> Tile:
    known = [r for r in data.queues if r["service_level"] is not None]
    if not known:
        return "service level", "none", "no wait to show" if data.queues else "no queue zone is drawn"
    best, *others = known
    e = estimate(best, "service_level")
    more = f"of waits within {duration(best['target_wait_s'])}; 95% interval {interval(e, percent)}"
    if others or len(data.queues) > 1:
        more += f"; at {data.camera_name(best['camera_id'])}"
    more += "".join(f", {percent(r['service_level'])} at {data.camera_name(r['camera_id'])}" for r in others)
    return "service level", percent(best["service_level"]), more


def _coverage(data: ReportData) -> Tile:
    share = coverage_of(data)
    if share is None:
        return "coverage", "none", "no camera delivered anything"
    worst = min({r["camera_id"] for r in data.coverage}, key=lambda camera: coverage_of(data, camera) or 0)
    return "coverage", percent(share), f"lowest: {data.camera_name(worst)} {percent(coverage_of(data, worst) or 0)}"


def _mood_sentence(mood: Estimate) -> str:
    if mood.value is None or mood.low is None or mood.high is None:
        return ""
    range_ = f"(net sentiment {signed(mood.value)}, 95% interval {interval(mood)})"
    if mood.low > 0:
        return f"Faces leaned positive more often than negative {range_}."
    if mood.high < 0:
        return f"Faces leaned negative more often than positive {range_}."
    return f"Whether faces leaned positive or negative more often cannot be told {range_}."


def _footfall_sentence(data: ReportData) -> str:
    known = [r for r in data.footfall_cameras if r["footfall"]]
    if not known:
        return ""
    camera = known[0]["camera_id"]
    hours = [r for r in data.footfall_hours if r["camera_id"] == camera]
    came = f"{number(known[0]['footfall'])} people came in ({data.camera_name(camera)})"
    if not hours:
        return f"{came}."
    busiest = max(hours, key=lambda r: r["footfall"])
    rate = both(estimate(busiest, "footfall"), number)
    return f"{came}; most, on average, from {busiest['hour']}:00 to {busiest['hour'] + 1}:00: {rate} in that hour."


def _wait_sentence(data: ReportData) -> str:
    known = [r for r in data.queues if r["service_level"] is not None]
    if not known:
        return ""
    r = known[0]
    target, where = duration(r["target_wait_s"]), data.camera_name(r["camera_id"])
    text = (
        f"{both(estimate(r, 'service_level'), percent)} of {number(r['waits'])} waits ended within {target} ({where})"
    )
    hours = [h for h in data.queue_hours if h["camera_id"] == r["camera_id"] and h["service_level"] is not None]
    worst = min(hours, key=lambda h: h["service_level"], default=None)
    # The worst of many hours is some hour by chance alone.
    if worst and worst["service_level_high"] < r["service_level_low"]:
        level = both(estimate(worst, "service_level"), percent)
        text += f"; from {worst['hour']}:00 to {worst['hour'] + 1}:00 it was {level}"
    return f"{text}."


def _product_sentence(data: ReportData) -> str:
    shown = [r for r in data.products if r["engaged"] is not None]
    if not shown:
        return ""
    text = (
        f"The shelf that engaged the most people is {product_name(data, shown[0])}, with {number(shown[0]['engaged'])}"
    )
    gains = [r for r in shown if r["gain_low"] is not None and r["gain_low"] > 0]
    if gains:
        best = max(gains, key=lambda r: r["gain_low"])
        text += f"; faces brightened most at {product_name(data, best)}, by {both(estimate(best, 'gain'))}"
    return f"{text}."


def _content_sentence(data: ReportData) -> str:
    if not any(r["attention_difference"] is not None for r in data.content):
        return ""
    best = sorted({r["content_id"] for r in data.content if r["attention_verdict"] == "best"})
    if not best:
        return "On the screens there is no clear winner: no content drew clearly more looks than the others."
    return f"On the screens, {' and '.join(best)} drew more looks than the other contents in the same hours."


def _coverage_sentence(data: ReportData) -> str:
    share = coverage_of(data)
    if share is None:
        return ""
    outages = sum(r["outages"] for r in data.health)
    down = max([r["longest_s"] for r in data.health], default=0)
    text = f"The cameras were watching {percent(share)} of the time"
    if outages:
        return f"{text}, with {outages} outage{'s' if outages > 1 else ''}, the longest {duration(down)}."
    return f"{text}, without an outage."
