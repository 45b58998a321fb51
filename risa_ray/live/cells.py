"""What the faces of a window say about one place: a camera's picture, or a zone of it. docs/metrics.md defines it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from risa_ray.analytics.moods import MIN_KNOWN, MOOD_VALENCE, net_sentiment_interval
from risa_ray.live.columns import Rows
from risa_ray.vision.expressions import EXPRESSIONS

PRESENT_S = 2.0
"""A track seen this recently is there now; a live camera silent for longer has nobody to show."""
EXPRESSION_S = 5.0

_NAMES = (*EXPRESSIONS, "unknown")

UNKNOWN = -1
FACE = np.dtype(
    [
        ("t", np.float64),
        ("track", np.int64),
        ("weight", np.float64),
        ("valence", np.float64),
        ("expression", np.int8),
        ("zones", np.int32),
    ]
)
"""A face of the window: capture time (Unix s), number of its track, observation weight (s), valence, index of its
expression or `UNKNOWN`, and number of the set of zones that it lies in."""

Bools = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Moods:
    """The tracks of one cell, those of them with a mood, and how many are of which.

    `negative_s`: the mean over tracks with a mood of their accumulated negative expression; 0 without one.
    """

    tracks: frozenset[int]
    known: frozenset[int]
    positive: int
    negative: int
    neutral: int
    negative_s: float

    @property
    def total(self) -> int:
        return len(self.known)


@dataclass(slots=True)
class Cell:
    """A camera (`zone_id` None) or a zone while its figures are put together."""

    zone_id: str | None
    kind: str | None
    faces: Rows
    moods: Moods
    suppressed: bool = field(default=False)
    mood_hidden: bool = field(default=False)

    def sentiment(self) -> dict[str, Any]:
        """The fields of `Figures` about moods, without what the floor hides."""
        moods, total, tracks = self.moods, self.moods.total, len(self.moods.tracks)
        if self.suppressed:
            hidden = ("tracks", "with_mood", "positive", "negative", "neutral")
            return {"status": "suppressed", **dict.fromkeys(hidden)}
        readable = {"tracks": tracks, "with_mood": total, "unknown_share": 1 - total / tracks if tracks else None}
        if self.mood_hidden:
            return {"status": "mood_suppressed", "positive": None, "negative": None, "neutral": None, **readable}
        counted = {"positive": moods.positive, "negative": moods.negative, "neutral": moods.neutral}
        if not total:
            return {"status": "no_mood", **readable, **counted}
        return {
            "status": "ok",
            **readable,
            **counted,
            "net_sentiment": (moods.positive - moods.negative) / total,
            "ci": net_sentiment_interval(moods.positive, moods.negative, total),
            "positive_share": moods.positive / total,
            "negative_share": moods.negative / total,
            "negative_s": moods.negative_s,
        }


def between(rows: Rows, start: float, end: float) -> Rows:
    """The rows of the half-open window (start, end]."""
    return rows[(rows["t"] > start) & (rows["t"] <= end)]


def moods_of(faces: Rows) -> Moods:
    """Weighted mean valence within each track, then the sign of each."""
    if not len(faces):
        return Moods(frozenset(), frozenset(), 0, 0, 0, 0.0)
    # Tracks are numbered as they come: counting is much cheaper than sorting the rows of an hour.
    first = int(faces["track"].min())
    ordinal = faces["track"] - first
    known = faces["expression"] != UNKNOWN
    weight, valence = faces["weight"] * known, faces["valence"]
    seen, total = np.bincount(ordinal), np.bincount(ordinal, weight)
    has_mood = (np.bincount(ordinal, known) >= MIN_KNOWN) & (total > 0)
    mean = np.bincount(ordinal, weight * valence)[has_mood] / total[has_mood]
    negative_s = np.bincount(ordinal, weight * np.maximum(0.0, -valence))[has_mood]
    positive, negative = int((mean >= MOOD_VALENCE).sum()), int((mean <= -MOOD_VALENCE).sum())
    return Moods(
        frozenset((first + np.flatnonzero(seen)).tolist()),
        frozenset((first + np.flatnonzero(has_mood)).tolist()),
        positive,
        negative,
        len(mean) - positive - negative,
        float(negative_s.mean()) if len(negative_s) else 0.0,
    )


def expressions_now(faces: Rows, end: float) -> dict[str, int]:
    """People of now by the known expression with the most weight in the last seconds; `unknown` without one."""
    recent = between(faces, end - EXPRESSION_S, end)
    if not len(recent):
        return {}
    tracks, ordinal = np.unique(recent["track"], return_inverse=True)
    present = np.bincount(ordinal, recent["t"] > end - PRESENT_S) > 0
    known = recent["expression"] != UNKNOWN
    number, size = ordinal[known] * len(EXPRESSIONS) + recent["expression"][known], len(tracks) * len(EXPRESSIONS)
    weight = np.bincount(number, recent["weight"][known], size).reshape(len(tracks), len(EXPRESSIONS))[present]
    best = np.where(weight.any(axis=1), weight.argmax(axis=1), len(EXPRESSIONS))
    counts = np.bincount(best, minlength=len(_NAMES)).tolist()
    return {name: n for name, n in zip(_NAMES, counts, strict=True) if n}


def suppress(cells: list[Cell], k: int) -> None:
    """Mark what the k-floor hides: whole cells by their tracks, and their moods by the tracks that have one."""
    for cell, hidden in zip(cells, _too_few([cell.moods.tracks for cell in cells], k), strict=True):
        cell.suppressed = hidden
    known = [frozenset[int]() if cell.suppressed else cell.moods.known for cell in cells]
    for cell, hidden in zip(cells, _too_few(known, k), strict=True):
        cell.mood_hidden = hidden


def _too_few(groups: list[frozenset[int]], k: int) -> list[bool]:
    """Which of a camera's group and its zones' groups to hide: those below k, and those that would give such away.

    The camera's total minus its shown zones must not leave 1 to k - 1 people, nor a zone minus one that lies within it:
    as polygons may, which tells everybody how these two hang together.
    """
    everyone, zones = groups[0], groups[1:]
    hidden = [0 < len(group) < k for group in groups]
    for number, zone in enumerate(zones, start=1):
        hidden[number] = hidden[number] or 0 < len(everyone - zone) < k
    large = [group for group, few in zip(zones, hidden[1:], strict=True) if group and not few]
    for number, zone in enumerate(zones, start=1):
        hidden[number] = hidden[number] or any(zone < other and len(other) - len(zone) < k for other in large)
    shown = sorted((n for n in range(1, len(groups)) if groups[n] and not hidden[n]), key=lambda n: len(groups[n]))
    while shown and 0 < len(everyone.difference(*(groups[n] for n in shown))) < k:
        hidden[shown.pop(0)] = True
    return hidden
