"""The arithmetic of moods that the views, the live figures and the demo page share. docs/metrics.md defines it."""

from __future__ import annotations

import math

MIN_KNOWN = 3
"""Known observations below which a track has no mood."""
MOOD_VALENCE = 0.2
"""Mean valence from which a track is positive; from its negative on it is negative."""
Z95 = 1.959963984540054


def net_sentiment_interval(positive: int, negative: int, total: int) -> tuple[float, float] | None:
    """95 % interval of (positive - negative) / total, the difference of two shares of one sample; None without one.

    Adjusted Wald interval of Agresti and Min (2005, Statistics in Medicine 24:729): the variance
    (p + n - (p - n)^2) / N after half a count is added to each side and two to the total, which keeps the interval from
    collapsing when few tracks all agree.
    """
    if total < 1:
        return None
    size = total + 2
    p, n = (positive + 0.5) / size, (negative + 0.5) / size
    half = Z95 * math.sqrt((p + n - (p - n) ** 2) / size)
    return max(-1.0, p - n - half), min(1.0, p - n + half)
