"""The figures of the demo page, computed in DuckDB from the tables that the demo has just written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from risa_ray.analytics.moods import MIN_KNOWN
from risa_ray.store.schema import DELAY_EDGES_S

_BINS_S = (2, 5, 10, 30, 60, 300, 900, 3600)
_MOST_BINS = 30

# `people.weighed` and `mood_of` are those of the views: one meaning of weight and mood everywhere.
_BINNED = """
WITH binned AS (
    SELECT *, floor(epoch(captured_at - min(captured_at) OVER ()) / $bin) * $bin AS bin_start FROM people.weighed
)
"""

_MOOD = """, moods AS (
    SELECT camera_id, bin_start, mood_of(sum(weight_s * valence) FILTER (known) / sum(weight_s) FILTER (known)) AS mood
    FROM binned GROUP BY camera_id, session_id, track_id, bin_start HAVING count_if(known) >= $least
)
SELECT camera_id, bin_start, count_if(mood = 'positive'), count_if(mood = 'negative'), count(*)
FROM moods GROUP BY camera_id, bin_start ORDER BY camera_id, bin_start
"""

_SHARES = """, by_expression AS (
    SELECT bin_start, session_id, track_id, expression, sum(weight_s) AS weight_s FROM binned GROUP BY ALL
), shares AS (
    SELECT bin_start, expression, weight_s / sum(weight_s) OVER person AS share
    FROM by_expression WINDOW person AS (PARTITION BY bin_start, session_id, track_id)
), people AS (
    SELECT bin_start, count(DISTINCT (session_id, track_id)) AS people FROM binned GROUP BY bin_start
)
SELECT bin_start, expression, sum(share) / any_value(people) FROM shares JOIN people USING (bin_start)
GROUP BY bin_start, expression ORDER BY bin_start, expression
"""


@dataclass(frozen=True, slots=True)
class Mood:
    """Tracks by mood in one bin: seconds from the first observation, and counts."""

    camera_id: str
    at: float
    positive: int
    negative: int
    total: int

    @property
    def net_sentiment(self) -> float:
        return (self.positive - self.negative) / self.total


@dataclass(frozen=True, slots=True)
class Dwell:
    """Stays in one zone."""

    mean_s: float
    stays: int


@dataclass(frozen=True, slots=True)
class DemoData:
    """All that the demo page shows.

    Attributes:
        bin_s: seconds of a bin of `mood` and `shares`.
        mood: one per camera and bin in which somebody has a mood.
        overall: one per camera, over the whole run.
        shares: (at, expression, share) of people's time, cameras together.
        dwell: zone_id -> stays of the camera shown.
        delay: frames in each bucket between DELAY_EDGES_S, the last one open.
    """

    cameras: int
    tracks: int
    faces: int
    bin_s: float
    mood: Sequence[Mood]
    overall: Sequence[Mood]
    shares: Sequence[tuple[float, str, float]]
    dwell: dict[str, Dwell]
    delay: Sequence[int]


def read_demo_data(connection: duckdb.DuckDBPyConnection, camera_id: str) -> DemoData:
    """Compute the figures from the tables and the views.

    Args:
        connection: of `open_dataset(data, raw=True)`; the people of the demo are invented, so no floor applies.
        camera_id: the camera whose zones are shown.
    """
    counts = connection.execute(
        "SELECT count(DISTINCT (camera_id, session_id, track_id)), count(*),"
        " coalesce(epoch(max(captured_at) - min(captured_at)), 0) FROM people.weighed"
    ).fetchall()[0]
    length_s = float(counts[2])
    bin_s = float(next((b for b in _BINS_S if length_s / b <= _MOST_BINS), _BINS_S[-1]))
    cameras = connection.execute("SELECT count(DISTINCT camera_id) FROM frames").fetchall()[0][0]
    stays = connection.execute(
        "SELECT zone_id, avg(dwell_s), count(*) FROM stays WHERE camera_id = $camera GROUP BY zone_id",
        {"camera": camera_id},
    ).fetchall()
    hists = connection.execute("SELECT delay_hist FROM frames WHERE len(delay_hist) > 0").fetchall()
    return DemoData(
        cameras=int(cameras),
        tracks=int(counts[0]),
        faces=int(counts[1]),
        bin_s=bin_s,
        mood=_mood(connection, bin_s),
        overall=_mood(connection, 2 * length_s + 1),
        shares=[
            (float(a), str(e), float(s)) for a, e, s in connection.execute(_BINNED + _SHARES, {"bin": bin_s}).fetchall()
        ],
        dwell={zone: Dwell(float(mean), int(count)) for zone, mean, count in stays},
        delay=[sum(column) for column in zip(*(h[0] for h in hists), strict=True)] or [0] * (len(DELAY_EDGES_S) + 1),
    )


def delay_quantile(delay: Sequence[int], q: float) -> float | None:
    """Quantile in seconds of a histogram over DELAY_EDGES_S, evenly spread within a bucket.

    None without a frame; infinity when it lies in the open last bucket.
    """
    position = bucket_position(delay, q)
    if position is None:
        return None
    bucket, part = int(position), position - int(position)
    if bucket >= len(DELAY_EDGES_S):
        return math.inf
    low = DELAY_EDGES_S[bucket - 1] if bucket else 0.0
    return low + part * (DELAY_EDGES_S[bucket] - low)


def bucket_position(delay: Sequence[int], q: float) -> float | None:
    """Where a quantile falls on an axis of buckets: 2.5 is the middle of the third. None without a frame."""
    wanted, below = q * sum(delay), 0
    for bucket, count in enumerate(delay):
        if count and below + count >= wanted:
            return bucket + min((wanted - below) / count, 1 - 1e-9)
        below += count
    return None


def _mood(connection: duckdb.DuckDBPyConnection, bin_s: float) -> list[Mood]:
    return [Mood(*row) for row in connection.execute(_BINNED + _MOOD, {"bin": bin_s, "least": MIN_KNOWN}).fetchall()]
