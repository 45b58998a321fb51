"""What to show next on a screen, and which products to put forward beside a shelf: only where the figures tell.

Both rank by what the views `content_response` and `next_products` say, and name a winner only where its interval lies
clear of 0 (of 1 for a lift) and of the interval of every rival that the views show. Intervals that do not overlap tell
two figures apart however these hang together: it asks for more than the test of one difference. docs/metrics.md:
content response, next products.
Both speak of the hour that is meant where enough people came in it, else of more hours: see `evidence`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import duckdb

from risa_ray.analytics.evidence import ENOUGH, Evidence, Place, by_hour, place_of, rows_of, zones_of
from risa_ray.analytics.named import day, some

Measure = Literal["attention", "valence"]

NO_WINNER = "no clear winner"
CONTENT_CAVEAT = (
    "Compared with the screen's other contents in the same local hours of the week. An association: unless contents "
    "took turns by lot, other things may differ between their showings."
)
PRODUCTS_CAVEAT = (
    "People who stayed at one shelf and at the other, in any order: an association, and no cause. Shelves side by side "
    "co-occur by geometry. Ranked are the pairs with k people or more (the privacy floor): a rarer one may have a "
    "higher lift."
)


@dataclass(frozen=True, slots=True)
class Content:
    """A content of the screen.

    Attributes:
        scheduled: whether the screen's schedule has it at the moment; others are shown for comparison.
        verdict: best, worse, no clear winner: as in view content_response; untested: of fewer than k people.
        tracks: people behind `value`: share who looked (attention), or mean apparent valence.
        compared: people behind `difference`: of this content or of the others in the same hours, whichever are fewer.
        difference: against the other contents; it and the intervals are None where fewer than k people tell it.
    """

    content_id: str
    scheduled: bool
    verdict: str
    tracks: int | None
    value: float | None
    value_low: float | None
    value_high: float | None
    compared: int | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None


@dataclass(frozen=True, slots=True)
class NextContent:
    """What to show next on a screen; `content_id` is None without a clear winner, and `reason` says why.

    Attributes:
        hour_local: when the local hour of `at` began, in the store's time zone.
        evidence: whose figures tell: the people of that hour on that weekday (hour_of_week); where `compared` of a
            scheduled content is below 100, of that hour on all days (hour_of_day); where it still is, of all hours.
    """

    store_id: str
    camera_id: str
    zone_id: str
    at: datetime
    hour_local: datetime
    measure: str
    evidence: Evidence
    content_id: str | None
    reason: str
    contents: list[Content]
    caveat: str


@dataclass(frozen=True, slots=True)
class Product:
    """Another shelf of the camera, as views next_products and product_engagement have it.

    Attributes:
        verdict: together (the interval of lift lies above 1), apart (below), no clear difference.
        engaged_share: of all who stayed at it, those who stayed for 3 s or more, over all hours of the days shown.
    """

    zone_id: str
    name: str
    tags: list[str]
    verdict: str
    tracks: int
    support: float
    confidence: float
    confidence_low: float
    confidence_high: float
    lift: float
    lift_low: float
    lift_high: float
    engaged_share: float | None
    engaged_share_low: float | None
    engaged_share_high: float | None
    engaged_tracks: int


@dataclass(frozen=True, slots=True)
class NextProducts:
    """Which products to put forward beside a shelf, best first; `next_zone_id` is None without a clear winner.

    Attributes:
        evidence: as in `NextContent`: enough are 100 people at the shelf. Hours in which no other shelf has k
            people in common are passed over, however many came: the view then does not say how many.
        products: those of pairs with k people or more; the winner is the best of these.
    """

    store_id: str
    camera_id: str
    zone_id: str
    at: datetime
    hour_local: datetime
    evidence: Evidence
    next_zone_id: str | None
    reason: str
    products: list[Product]
    caveat: str


def next_content(
    connection: duckdb.DuckDBPyConnection,
    store: str,
    zone: str,
    at: datetime,
    camera: str | None = None,
    measure: Measure = "attention",
    since: str | None = None,
) -> NextContent:
    """What to show next on a screen, by what people did while each content ran.

    Args:
        connection: of `open_dataset`.
        store, zone, camera: of the screen; the camera where the zone is one of several cameras.
        at: aware; the contents of that moment's schedule are candidates, its local hour is meant, and days up to its
            local day tell.
        measure: what is to be high: attention (share who looked) or valence.
        since: the first local day that tells; None: all there is.

    Raises:
        InputError: there is no such screen, or `since` is no day.
        duckdb.Error: as `named.ask`.
    """
    place = place_of(connection, store, camera, zone, "screen", at)
    running = connection.execute(
        "SELECT DISTINCT content_id FROM content_versions WHERE store_id = ? AND camera_id = ? AND zone_id = ? "
        "AND active AND valid_from <= ? AND ? < valid_to",
        [store, place.camera_id, zone, at, at],
    ).fetchall()
    scheduled = {content for (content,) in running}

    def tell() -> list[Content]:
        rows = {row["content_id"]: row for row in rows_of(connection, "content_response", place, since)}
        return [_content(name, name in scheduled, rows.get(name), measure) for name in scheduled | set(rows)]

    evidence, contents, whose = by_hour(connection, place, tell, _too_few_saw)
    contents.sort(key=lambda c: (-(c.difference_low if c.difference_low is not None else -9), c.content_id))
    candidates = [content for content in contents if content.scheduled]
    winner, reason = _choose_content(candidates, measure)
    return NextContent(
        store_id=store,
        camera_id=place.camera_id,
        zone_id=zone,
        at=at,
        hour_local=place.hour_local,
        measure=measure,
        evidence=evidence,
        content_id=winner,
        reason=f"{reason}; {whose}" if len(candidates) > 1 else reason,
        contents=contents,
        caveat=CONTENT_CAVEAT,
    )


def next_products(
    connection: duckdb.DuckDBPyConnection,
    store: str,
    zone: str,
    at: datetime,
    camera: str | None = None,
    since: str | None = None,
) -> NextProducts:
    """Which other products of the camera go with those of a zone, by the lower bound of their lift.

    Args:
        connection, store, zone, at, camera, since: as of `next_content`; the zone is of kind product.

    Raises:
        InputError: there is no such shelf, or `since` is no day.
        duckdb.Error: as `named.ask`.
    """
    place = place_of(connection, store, camera, zone, "product", at)
    there = {name for name, *_ in zones_of(connection, store, place.camera_id, None, at)}

    def tell() -> list[dict[str, Any]]:
        return [row for row in rows_of(connection, "next_products", place, since) if row["next_zone_id"] in there]

    evidence, pairs, whose = by_hour(connection, place, tell, _too_few_stayed)
    pairs.sort(key=lambda row: (-row["lift_low"], row["next_zone_id"]))
    engaged = _engaged(connection, place, since)
    products = [_product(row, engaged.get(row["next_zone_id"], {})) for row in pairs]
    winner, reason = _choose_product(products)
    return NextProducts(
        store_id=store,
        camera_id=place.camera_id,
        zone_id=zone,
        at=at,
        hour_local=place.hour_local,
        evidence=evidence,
        next_zone_id=winner,
        reason=f"{reason}; {whose}" if products else reason,
        products=products,
        caveat=PRODUCTS_CAVEAT,
    )


def _too_few_saw(contents: Sequence[Content]) -> str:
    """Of a scheduled content, with people of the others: why the figures are not enough, or nothing."""
    compared = [content.compared or 0 for content in contents if content.scheduled]
    return "" if min(compared, default=0) >= ENOUGH else "too few can be compared"


def _too_few_stayed(pairs: Sequence[dict[str, Any]]) -> str:
    """At the shelf: why the figures are not enough, or nothing.

    Only pairs tell how many stayed there. More than k of a pair are not asked for: how many stay at both is the result.
    """
    if not pairs:
        return "no other shelf has enough people in common"
    return "" if pairs[0]["zone_tracks"] >= ENOUGH else "too few did"


def _choose_content(candidates: Sequence[Content], measure: str) -> tuple[str | None, str]:
    if len(candidates) < 2:
        only = f"only {candidates[0].content_id}" if candidates else "no content"
        return None, f"{NO_WINNER}: the schedule has {only}, and nothing to compare"
    untested = [c.content_id for c in candidates if c.verdict == "untested"]
    if untested:
        few = f"too few people have seen {some(untested)} in the same hours as others to compare"
        return None, f"{NO_WINNER}: {few}; show them in turns"
    best = [c for c in candidates if c.verdict == "best"]
    if not best:
        return None, f"{NO_WINNER}: no content's difference in {measure} lies clear of 0; show them in turns"
    first = max(best, key=lambda c: c.difference_low or 0)
    rivals = [
        c.content_id for c in candidates if c is not first and (c.difference_high or 0) >= (first.difference_low or 0)
    ]
    if rivals:
        return None, f"{NO_WINNER}: {first.content_id} leads, but not clear of {some(rivals)}; show them in turns"
    return first.content_id, (
        f"{first.content_id}: {measure} is higher by {first.difference:.2f} than with the screen's other contents "
        f"(95 % interval {first.difference_low:.2f} to {first.difference_high:.2f})"
    )


def _choose_product(products: Sequence[Product]) -> tuple[str | None, str]:
    if not products:
        return None, f"{NO_WINNER}: no other shelf has enough people in common"
    first, *others = products
    if first.lift_low <= 1:
        return None, f"{NO_WINNER}: no lift lies clear of 1, people stay at them as if by chance"
    rivals = [p.zone_id for p in others if p.lift_high >= first.lift_low]
    if rivals:
        return None, f"{NO_WINNER}: {first.zone_id} leads, but not clear of {some(rivals)}"
    return first.zone_id, (
        f"{first.zone_id}: {first.lift:.2f} times as many as by chance (95 % interval {first.lift_low:.2f} to "
        f"{first.lift_high:.2f}) stay at both"
    )


def _content(name: str, scheduled: bool, row: dict[str, Any] | None, measure: Measure) -> Content:
    row = row or {}
    difference = row.get(f"{measure}_difference")
    return Content(
        content_id=name,
        scheduled=scheduled,
        verdict="untested" if difference is None else row[f"{measure}_verdict"],
        tracks=row.get("tracks_with_yaw" if measure == "attention" else "with_mood"),
        value=row.get(measure),
        value_low=row.get(f"{measure}_low"),
        value_high=row.get(f"{measure}_high"),
        compared=row.get(f"{measure}_compared"),
        difference=difference,
        difference_low=row.get(f"{measure}_difference_low"),
        difference_high=row.get(f"{measure}_difference_high"),
    )


def _product(row: dict[str, Any], engaged: dict[str, Any]) -> Product:
    paired = ("tracks", "support", "confidence", "confidence_low", "confidence_high", "lift", "lift_low", "lift_high")
    figures: dict[str, Any] = {name: row[name] for name in paired}
    shares = ("engaged_share", "engaged_share_low", "engaged_share_high")
    figures |= {name: engaged.get(name) for name in shares}
    return Product(
        zone_id=row["next_zone_id"],
        name=row["next_name"] or row["next_zone_id"],
        tags=row["next_tags"] or [],
        verdict="together" if row["lift_low"] > 1 else "apart" if row["lift_high"] < 1 else "no clear difference",
        engaged_tracks=engaged.get("engaged_tracks", 0),
        **figures,
    )


def _engaged(connection: duckdb.DuckDBPyConnection, place: Place, since: str | None) -> dict[str, dict[str, Any]]:
    """Zone -> people of the shown days, and the share of them who were engaged, with its interval."""
    found = connection.sql(
        """
        SELECT zone_id, sum(tracks)::BIGINT AS engaged_tracks, sum(engaged) / engaged_tracks AS engaged_share,
            wilson_low(sum(engaged), engaged_tracks) AS engaged_share_low,
            wilson_high(sum(engaged), engaged_tracks) AS engaged_share_high
        FROM product_engagement
        WHERE store_id = $store AND camera_id = $camera AND tracks > 0 AND day <= $last AND day >= coalesce($first, day)
        GROUP BY zone_id
        """,
        params={
            "store": place.store_id,
            "camera": place.camera_id,
            "first": None if since is None else day("from", since),
            "last": place.local.date(),
        },
    )
    return {row["zone_id"]: row for row in found.to_arrow_table().to_pylist()}
