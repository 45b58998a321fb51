"""The tables' columns. DESIGN in one place: what is written here is what analysts see."""

from __future__ import annotations

import pyarrow as pa

from risa_ray.frames import DROP_CAUSES
from risa_ray.vision.expressions import EXPRESSIONS

WINDOW_S = 10
"""Length of a row of `frames`; windows start at whole multiples of it in UTC."""

WINDOW_FRAMES = 10_000
"""A window with more frames is cut into several rows, so that its end, and so the acknowledgement, always comes."""

DELAY_EDGES_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""Upper edges of the buckets of `delay_hist`, which has one more: above the last edge. Counts of windows add up."""


def _schema(*columns: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema(list(columns))


_TIME = pa.timestamp("us", "UTC")
_TEXTS = pa.list_(pa.string())
_POLYGON = pa.list_(pa.struct([("x", pa.float64()), ("y", pa.float64())]))

OBSERVATIONS = _schema(
    ("date", pa.date32()),
    ("store_id", pa.string()),
    ("camera_id", pa.string()),
    ("session_id", pa.string()),
    ("frame_seq", pa.int64()),
    ("face_index", pa.int16()),
    ("captured_at", _TIME),
    ("pts", pa.float64()),
    ("track_id", pa.string()),
    ("zone_ids", _TEXTS),
    ("x1", pa.float32()),
    ("y1", pa.float32()),
    ("x2", pa.float32()),
    ("y2", pa.float32()),
    ("detector_score", pa.float32()),
    ("face_px", pa.float32()),
    ("yaw_deg", pa.float32()),
    *[(f"p_{expression}", pa.float32()) for expression in EXPRESSIONS],
    ("expression", pa.string()),
    ("abstain_reason", pa.string()),
    ("confidence", pa.float32()),
    ("valence", pa.float32()),
    ("model_id", pa.string()),
    ("detector", pa.string()),
)

FRAMES = _schema(
    ("date", pa.date32()),
    ("store_id", pa.string()),
    ("camera_id", pa.string()),
    ("session_id", pa.string()),
    ("run_id", pa.string()),
    ("window_start", _TIME),
    ("window_s", pa.float64()),
    ("first_seq", pa.int64()),
    ("last_seq", pa.int64()),
    ("read", pa.int64()),
    ("analysed", pa.int64()),
    *[(f"dropped_{cause}", pa.int64()) for cause in DROP_CAUSES],
    ("faces", pa.int64()),
    ("delay_p50_s", pa.float64()),
    ("delay_p95_s", pa.float64()),
    ("delay_hist", pa.list_(pa.int64())),
    ("state", pa.string()),
    ("note", pa.string()),
)

ALERTS = _schema(
    ("date", pa.date32()),
    ("store_id", pa.string()),
    ("alert_id", pa.string()),
    ("rule_id", pa.string()),
    ("camera_id", pa.string()),
    ("zone_id", pa.string()),
    ("figure", pa.string()),
    ("value", pa.float64()),
    ("threshold", pa.float64()),
    ("direction", pa.string()),
    ("tracks", pa.int64()),
    ("window_s", pa.float64()),
    ("severity", pa.string()),
    ("text", pa.string()),
    ("fired_at", _TIME),
)

ALERT_EVENTS = _schema(
    ("date", pa.date32()),
    ("store_id", pa.string()),
    ("alert_id", pa.string()),
    ("camera_id", pa.string()),
    ("fired_at", _TIME),
    ("at", _TIME),
    ("kind", pa.string()),
    ("channel", pa.string()),
    ("tries", pa.int64()),
    ("by", pa.string()),
    ("note", pa.string()),
)
"""What became of alerts: `kind` is queued (for a channel), delivered, failed or acknowledged (`by` somebody).

`date`, `camera_id` and `fired_at` are the alert's, `at` is when it happened.
"""

_MOODS: list[tuple[str, pa.DataType]] = [
    ("known", pa.int64()),
    ("known_s", pa.float64()),
    ("valence_sum", pa.float64()),
]
_MINUTES = pa.list_(pa.struct([("minute", _TIME), *_MOODS]))
_SHOWN = pa.list_(
    pa.struct([("content_id", pa.string()), ("shown_s", pa.float64()), ("looked_s", pa.float64()), *_MOODS])
)
_STAYS = pa.list_(
    pa.struct(
        [
            ("zone_id", pa.string()),
            ("zone_kind", pa.string()),
            ("stay_no", pa.int64()),
            ("entered_at", _TIME),
            ("left_at", _TIME),
            ("dwell_s", pa.float64()),
            ("observations", pa.int64()),
            *_MOODS,
            ("censored", pa.bool_()),
            ("looked_s", pa.float64()),
            ("valence_before", pa.float64()),
            ("valence_after", pa.float64()),
            ("shown", _SHOWN),
        ]
    )
)

CLOSED_TRACKS = _schema(
    ("date", pa.date32()),
    ("store_id", pa.string()),
    ("camera_id", pa.string()),
    ("session_id", pa.string()),
    ("track_id", pa.string()),
    ("first_seen", _TIME),
    ("last_seen", _TIME),
    ("observations", pa.int64()),
    ("unknown_share", pa.float64()),
    *_MOODS,
    ("expression", pa.string()),
    ("valence_first", pa.float64()),
    ("valence_last", pa.float64()),
    ("first_x", pa.float64()),
    ("first_y", pa.float64()),
    ("last_x", pa.float64()),
    ("last_y", pa.float64()),
    ("face_px", pa.float64()),
    ("minutes", _MINUTES),
    ("stays", _STAYS),
    (
        "closed",
        pa.struct(
            [
                ("through", pa.date32()),
                ("crosses_in", pa.bool_()),
                ("observations", pa.int64()),
                ("frames", pa.int64()),
                ("context", pa.string()),
                ("definition", pa.string()),
                ("sealed", pa.bool_()),
            ]
        ),
    ),
)
"""Tracks, with their stays, of days that are over: what the views would compute from `observations` again and again.

`date` is the UTC day of `first_seen`. Each partition has one row more, without a track: `closed` says what it was made
from, so that a reader can tell whether it still holds. A partition is replaced in one commit.
"""

_SESSIONS = pa.list_(
    pa.struct(
        [
            ("camera_id", pa.string()),
            ("store_id", pa.string()),
            ("session_id", pa.string()),
            ("started_at", _TIME),
            ("live", pa.bool_()),
        ]
    )
)

RUNS = _schema(
    ("run_id", pa.string()),
    ("key", pa.string()),
    ("generation", pa.int64()),
    ("state", pa.string()),
    ("at", _TIME),
    ("host", pa.string()),
    ("pid", pa.int64()),
    ("process", pa.string()),
    ("lease_s", pa.float64()),
    ("sessions", _SESSIONS),
)

STORES = _schema(("store_id", pa.string()), ("name", pa.string()), ("timezone", pa.string()), ("valid_from", _TIME))

CAMERAS = _schema(
    ("store_id", pa.string()),
    ("camera_id", pa.string()),
    ("name", pa.string()),
    ("source", pa.string()),
    ("detector", pa.string()),
    ("sampling_fps", pa.float64()),
    ("policy", pa.string()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("valid_from", _TIME),
)

ZONES = _schema(
    ("store_id", pa.string()),
    ("camera_id", pa.string()),
    ("zone_id", pa.string()),
    ("name", pa.string()),
    ("kind", pa.string()),
    ("tags", _TEXTS),
    ("polygon", _POLYGON),
    ("look_yaw", pa.float64()),
    ("target_wait_s", pa.float64()),
    ("active", pa.bool_()),
    ("valid_from", _TIME),
)

CONTENT = _schema(
    ("store_id", pa.string()),
    ("camera_id", pa.string()),
    ("zone_id", pa.string()),
    ("content_id", pa.string()),
    ("starts_at", _TIME),
    ("ends_at", _TIME),
    ("active", pa.bool_()),
    ("valid_from", _TIME),
)

PRIVACY = _schema(
    ("chain", pa.string()),
    ("k", pa.int32()),
    ("observations_days", pa.int32()),
    ("tracks_days", pa.int32()),
    ("frames_days", pa.int32()),
    ("alerts_days", pa.int32()),
    ("valid_from", _TIME),
)

PURGES = _schema(
    ("at", _TIME),
    ("kind", pa.string()),
    ("store_id", pa.string()),
    ("camera_id", pa.string()),
    ("since", _TIME),
    ("until", _TIME),
    ("observations", pa.int64()),
    ("frames", pa.int64()),
    ("alerts", pa.int64()),
    ("closed_tracks", pa.int64()),
    ("alert_events", pa.int64()),
)
"""What was deleted on purpose, as counts of rows per table: rows captured from `since` (NULL: any time) to `until`.

`kind` is retention (a running job), older_than (a command) or erasure (of one camera; `store_id`, `camera_id`).
"""

TABLES: dict[str, pa.Schema] = {
    "observations": OBSERVATIONS,
    "frames": FRAMES,
    "alerts": ALERTS,
    "alert_events": ALERT_EVENTS,
    "closed_tracks": CLOSED_TRACKS,
    "runs": RUNS,
    "purges": PURGES,
    "stores": STORES,
    "cameras": CAMERAS,
    "zones": ZONES,
    "content": CONTENT,
    "privacy": PRIVACY,
}

PARTITIONED = ("observations", "frames", "alerts", "alert_events", "closed_tracks")
"""Tables in folders `date=.../store_id=...`; the others are small."""

PARTITION_COLUMNS = ["date", "store_id"]

TIME_COLUMNS = {
    "observations": "captured_at",
    "frames": "window_start",
    "alerts": "fired_at",
    "alert_events": "fired_at",
    "closed_tracks": "first_seen",
}
"""Table -> the column whose UTC day is `date`."""
