"""Simulated stores whose days are independent draws of one process, and what is true of the people they are drawn from.

The truth is the scenario's parameter where it has one; else that of the people of another draw of the same process,
taken from their observations without any view. Nobody's track is split and no frame is dropped there, so that plain
averages are what docs/metrics.md defines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import scipy.stats

from risa_ray.analytics.simulate import people, scenario
from risa_ray.analytics.simulate.day import Rates, simulate_day
from risa_ray.analytics.simulate.render import frames_table, observations_table

WEEKS = tuple(date(2026, 3, 2) + timedelta(weeks=n) for n in range(2))
OPENS = 10
UNKNOWN_RATE = 0.1
TRUTH_STORES, TRUTH_SEED = 250, 2
"""So many are 500 replicates in one: their error is less than a twentieth of a replicate's."""

Key = tuple[str, ...]
Figure = tuple[str, str]
"""View and column."""
Truths = dict[Figure, dict[Key, float]]
"""By the key of the rows; () is for all rows."""


@dataclass(frozen=True)
class Draw:
    """Stores with one camera that are open for an hour of two Mondays; `visits` to it come in that hour on average."""

    role: str
    fps: float
    visits: float
    views: tuple[str, ...]
    stores: int = 1000
    split_rate: float = 0.0
    seed: int = 11


def build(draw: Draw, numbers: range) -> tuple[scenario.Store, ...]:
    return tuple(
        replace(
            store,
            opens=OPENS,
            closes=OPENS + 1,
            cameras=tuple(replace(c, fps=draw.fps) for c in store.cameras if c.role == draw.role),
        )
        for store in scenario.build_stores(numbers.stop)[numbers.start :]
    )


def days(draw: Draw, stores: Sequence[scenario.Store], numbers: range) -> Iterator[tuple[pa.Table, pa.Table]]:
    """`observations` and `frames` of each store and week."""
    per_hour = draw.visits / scenario.SHARE_OF_ARRIVALS[draw.role]
    rates = Rates(per_hour, draw.split_rate, drop_rate=0.0, unknown_rate=UNKNOWN_RATE, outages=False)
    for number, store in zip(numbers, stores, strict=True):
        for week, monday in enumerate(WEEKS):
            day = simulate_day(store, number, monday, week, draw.seed, rates)
            yield observations_table(day, UNKNOWN_RATE), frames_table(day, "run")


POPULATION = """
CREATE TEMP TABLE seen AS
    SELECT track_id, zone_ids[1] AS zone_id, captured_at AS moment,
        if(expression = 'unknown', NULL, valence) AS valence
    FROM drawn;
CREATE TEMP TABLE whole AS
    SELECT track_id, min(moment) AS began, max(moment) AS ended, count(valence) AS known, sum(valence) AS total
    FROM seen GROUP BY ALL;
CREATE TEMP TABLE stayed AS
    SELECT track_id, zone_id, min(moment) AS entered, max(moment) AS leaving,
        count(valence) AS known, sum(valence) AS total,
        (total / known >= 0.2)::INTEGER - (total / known <= -0.2)::INTEGER AS mood
    FROM seen WHERE zone_id IS NOT NULL GROUP BY ALL HAVING leaving - entered >= INTERVAL 1 SECOND;
CREATE TEMP TABLE waited AS
    SELECT epoch(coalesce(min(s.entered), q.leaving) - q.entered) AS wait_s, count(s.entered) = 0 AS censored
    FROM stayed q LEFT JOIN stayed s ON q.track_id = s.track_id AND s.zone_id IN ('service', 'checkout')
    WHERE q.zone_id = 'queue' GROUP BY q.track_id, q.entered, q.leaving
"""
"""The people of a draw without splits and drops: all observations weigh the same, and a person stays once in a zone."""
MOODS = "SELECT zone_id, avg(mood) FROM stayed WHERE known >= 3 GROUP BY zone_id"
GAINS = """
SELECT zone_id, avg(s.total / s.known - (w.total - s.total) / (w.known - s.known))
FROM stayed s JOIN whole w USING (track_id) WHERE s.known >= 3 AND w.known - s.known >= 3 GROUP BY zone_id
"""
AROUND_SERVICE = """
SELECT avg({}) FROM (
    SELECT s.total / s.known AS during, s.known AS middle,
        avg(valence) FILTER (moment < entered) AS before, count(valence) FILTER (moment < entered) AS first,
        avg(valence) FILTER (moment > leaving) AS after, count(valence) FILTER (moment > leaving) AS last
    FROM stayed s JOIN seen o USING (track_id)
    WHERE s.zone_id = 'service' AND leaving - entered >= INTERVAL 10 SECOND
        AND moment BETWEEN entered - INTERVAL 30 SECOND AND leaving + INTERVAL 30 SECOND
    GROUP BY s.track_id, s.total, s.known
) WHERE {}
"""
MEANS = {
    ("mood_by_minute", "net_sentiment"): """
        SELECT avg((valence >= 0.2)::INTEGER - (valence <= -0.2)::INTEGER) FROM (
            SELECT avg(valence) AS valence FROM seen GROUP BY track_id, time_bucket(INTERVAL 1 MINUTE, moment)
            HAVING count(valence) >= 3)""",
    ("mood", "net_sentiment"): MOODS,
    ("mood", "valence_gain"): GAINS,
    ("product_engagement", "engaged_share"):
        "SELECT zone_id, avg((leaving - entered >= INTERVAL 3 SECOND)::INTEGER) FROM stayed GROUP BY zone_id",
    ("product_engagement", "net_sentiment"): MOODS,
    ("product_engagement", "valence_gain"): GAINS,
    ("service_interactions", "change_during"):
        AROUND_SERVICE.format("during - before", "first >= 3 AND middle >= 3"),
    ("service_interactions", "change_after"): AROUND_SERVICE.format("after - before", "first >= 3 AND last >= 3"),
    ("journey", "change"): """
        SELECT avg(late - early) FROM (
            SELECT avg(valence) FILTER (moment < began + (ended - began) / 3) AS early,
                avg(valence) FILTER (moment > ended - (ended - began) / 3) AS late
            FROM seen JOIN whole USING (track_id) GROUP BY track_id
            HAVING count(valence) FILTER (moment < began + (ended - began) / 3) >= 3
                AND count(valence) FILTER (moment > ended - (ended - began) / 3) >= 3)""",
    ("journey_ladder", "valence"): """
        SELECT kind, avg(valence) FROM (
            SELECT kind, sum(total) / sum(known) AS valence FROM stayed JOIN kinds USING (zone_id)
            GROUP BY track_id, kind HAVING sum(known) >= 3) GROUP BY kind""",
    ("next_products", "confidence"): """
        SELECT a.zone_id, b.zone_id, count(*) / any_value(n) FROM stayed a JOIN stayed b USING (track_id)
        JOIN (SELECT zone_id, count(*) AS n FROM stayed GROUP BY zone_id) z ON z.zone_id = a.zone_id
        GROUP BY a.zone_id, b.zone_id""",
    ("next_products", "share"): """
        SELECT zone_id, count(*) / (SELECT count(DISTINCT track_id) FROM stayed JOIN kinds USING (zone_id)
            WHERE kind = 'product') FROM stayed GROUP BY zone_id""",
}  # fmt: skip


def population(draw: Draw) -> Truths:
    """The truth of a draw's people, from their observations alone."""
    numbers = range(min(TRUTH_STORES, draw.stores))
    stores = build(draw, numbers)
    drawn = pa.concat_tables(rows for rows, _ in days(replace(draw, seed=TRUTH_SEED), stores, numbers))
    zones = {zone.id: zone for camera in stores[0].cameras for zone in camera.zones}
    with duckdb.connect() as connection:
        connection.register("drawn", drawn)
        connection.register("kinds", pa.table({"zone_id": list(zones), "kind": [z.kind for z in zones.values()]}))
        connection.execute(POPULATION)
        truths: Truths = {
            (view, figure): {tuple(key): value for *key, value in connection.sql(sql).fetchall()}
            for (view, figure), sql in MEANS.items()
            if view in draw.views
        }
        waits = connection.sql("FROM waited").fetchnumpy()
    if "operations" in draw.views:
        truths |= queue_truths(waits["wait_s"], waits["censored"], 1 / draw.fps)
    if "next_products" in draw.views:
        shares, confidence = truths.pop(("next_products", "share")), truths["next_products", "confidence"]
        truths["next_products", "lift"] = {(a, b): c / shares[b,] for (a, b), c in confidence.items()}
        for figure in ("confidence", "lift"):
            truths["next_products", f"{figure}, all pairs"] = truths["next_products", figure]
    return truths | scenario_truths(zones)


def queue_truths(waits: Any, censored: Any, frame_s: float) -> Truths:
    """Of the Kaplan-Meier curve of everybody; it is seen at frames, and a wait up to a frame longer or shorter."""
    data = scipy.stats.CensoredData.right_censored(waits, censored)
    curve = scipy.stats.ecdf(data).cdf
    median, p95 = np.interp([0.5, 0.95], curve.probabilities, curve.quantiles + frame_s / 2)
    level = float(curve.evaluate(180))
    truths = {"wait_s_median": median, "wait_s_p95": p95, "service_level": level}
    return {("operations", figure): {(): value} for figure, value in truths.items()}


def scenario_truths(zones: dict[str, scenario.Zone]) -> Truths:
    """What people were drawn from, and that weeks do not differ."""
    names, base = scenario.CONTENTS, people.BASE_VALENCE[0]
    attention, valence = scenario.CONTENT_ATTENTION, scenario.CONTENT_VALENCE
    against = {
        f"{figure}_difference": {(names[i],): values[i] - values[1 - i] for i in range(2)}
        for figure, values in (("attention", attention), ("valence", valence))
    }
    content = against | {
        "attention": {(name,): values for name, values in zip(names, attention, strict=True)},
        "valence": {(name,): base + values for name, values in zip(names, valence, strict=True)},
    }
    return {("content_response", figure): values for figure, values in content.items()} | {
        ("product_engagement", "looked_share"): {(name,): zone.attention for name, zone in zones.items()},
        ("mood", "change"): {(name,): 0.0 for name in zones},
    }
