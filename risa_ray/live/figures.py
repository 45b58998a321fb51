"""The figures of a camera or a zone over a rolling window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Status = Literal["ok", "suppressed", "no_mood", "mood_suppressed"]


@dataclass(frozen=True, slots=True)
class Figures:
    """One camera, or one of its zones, over the last `window_s` seconds. docs/metrics.md defines every figure.

    Attributes:
        zone_id: None for the whole camera. Delay, fps and drops of a zone are those of its camera.
        at: aware UTC end of the window, on the camera's clock.
        age_s: seconds from the newest frame to `at`; above 0 only for a live camera (or a file played as one) that
            has gone quiet. None: no frame came yet.
        people_now: tracks seen in the last 2 s; a count of heads, which the floor does not hide.
        tracks: distinct tracks of the window; with_mood: those with at least three known observations. None where the
            floor `k` hides them, as is unknown_share.
        positive, neutral, negative, net_sentiment, ci, positive_share, negative_share: None where the floor hides them
            or nobody has a mood; `ci` is the 95 % interval, which covers sampling and not the model's error.
        negative_s: accumulated negative expression per person with a mood, in seconds at full strength; None likewise.
        queue_length: people in the zone at a time, averaged over the covered part of the window; for zones of kind
            queue and checkout. A count of heads, which the floor does not hide.
        longest_wait_s: seconds since whoever is still in a zone of kind queue, and was there first, came into it; 0
            where nobody is. Not bounded by the window, and not hidden by the floor.
        camera_down_s: seconds for which a network or USB camera has delivered nothing, before its first frame since it
            was waited for; 0 for files and demos, which end.
        expressions: apparent expression -> people of `people_now`; empty where fewer than k are there.
        delay_p50_s, delay_p95_s: seconds from arrival of a frame to its figures; None when it is not measured.
        dropped: cause -> frames; causes without a drop are left out.
        status: `suppressed` when fewer than k tracks (or a remainder of fewer than k) stand behind the figures;
            `mood_suppressed` when that many do, and fewer of them have a mood.
    """

    store_id: str
    camera_id: str
    zone_id: str | None
    at: datetime
    window_s: float
    k: int
    age_s: float | None = None
    people_now: int = 0
    tracks: int | None = 0
    with_mood: int | None = 0
    positive: int | None = 0
    negative: int | None = 0
    neutral: int | None = 0
    net_sentiment: float | None = None
    ci: tuple[float, float] | None = None
    positive_share: float | None = None
    negative_share: float | None = None
    negative_s: float | None = None
    unknown_share: float | None = None
    queue_length: float | None = None
    longest_wait_s: float | None = None
    camera_down_s: float = 0.0
    expressions: Mapping[str, int] = field(default_factory=dict)
    frames_analysed: int = 0
    fps_analysed: float = 0.0
    delay_p50_s: float | None = None
    delay_p95_s: float | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    status: Status = "no_mood"
