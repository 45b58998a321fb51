"""From a simulated day to the Arrow tables of `observations` and `frames`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from risa_ray.analytics.simulate.arrow import lists, texts, times
from risa_ray.analytics.simulate.day import StoreDay, by_time
from risa_ray.analytics.simulate.people import MAX_VALENCE
from risa_ray.analytics.simulate.sessions import Session
from risa_ray.frames import DROP_CAUSES
from risa_ray.store.schema import DELAY_EDGES_S, FRAMES, OBSERVATIONS, WINDOW_S
from risa_ray.vision.expressions import EXPRESSIONS

MODEL_ID = "simulated"
VALENCE_NOISE = 0.08
"""Standard deviation of an observation's valence around the person's."""
YAW_NOISE = 8.0
AWAY_DEG = 60.0
"""Somebody who does not look at the zone faces this far beside it."""

# Probabilities are whole multiples of 1 / 4096: exact in float32, so that they sum to 1 and give the valence exactly.
_UNITS = 4096
_SMALL = 0.012
_WINDOW_US = WINDOW_S * 1_000_000
_NEGATIVE = [EXPRESSIONS.index(e) for e in ("sadness", "anger", "disgust", "fear", "contempt")]
_DELAY_SHARES = ((0.2, 0.7), (0.3, 0.25))
"""Upper edge of a bucket of delays and its share of the frames; the rest are in the bucket after them."""

Whole = npt.NDArray[np.int32]


def observations_table(day: StoreDay, unknown_rate: float) -> pa.Table:
    """The rows of `observations` of a day, sorted by captured_at, camera and face."""
    people, rng = day.people, day.rng
    rows = by_time(day.rows)
    count, segment = len(rows.segment), rows.segment
    visit = people.visit[segment]
    session = people.session[visit]
    at = times(rows.at_us)
    shares, valence = _probabilities(day, segment, visit)
    best = shares.argmax(axis=0)
    unknown = rng.random(count, np.float32) < unknown_rate
    # Finer parts of a pixel or degree would only make files larger.
    half, tall = np.rint(4 * people.face)[visit] / 8, np.rint(4.4 * people.face)[visit] / 8
    x = np.rint(4 * people.x[segment] + rng.normal(0, 8, count)) / 4
    y = np.rint(4 * people.y[segment] + rng.normal(0, 8, count)) / 4
    zone = people.zone[segment]
    placed = zone >= 0
    columns: dict[str, pa.Array[Any]] = {
        "date": at.cast(pa.date32()),
        "store_id": pa.repeat(pa.scalar(day.store.id), count),
        "camera_id": texts([c.id for c in day.store.cameras], rows.camera),
        "session_id": texts([s.id for s in day.sessions], session),
        "frame_seq": pa.array(rows.frame_seq),
        "face_index": pa.array(_face_index(rows.at_us, rows.camera).astype(np.int16)),
        "captured_at": at,
        "pts": pa.array(rows.frame_seq / np.array([s.fps for s in day.sessions])[session]),
        "track_id": texts(day.track_ids, rows.track),
        "zone_ids": lists(placed, texts([z.id for z in day.zones], zone[placed])),
        "x1": _float(x - half),
        "y1": _float(y - tall),
        "x2": _float(x + half),
        "y2": _float(y + tall),
        "detector_score": _float(rows.score / 8192),
        "face_px": _float(2 * half),
        "yaw_deg": _float(_yaw(day, segment, rows.looking)),
        **{f"p_{name}": _float(shares[i] / _UNITS) for i, name in enumerate(EXPRESSIONS)},
        "expression": texts([*EXPRESSIONS, "unknown"], np.where(unknown, len(EXPRESSIONS), best)),
        "abstain_reason": texts([None, "low_confidence"], unknown.astype(np.int64)),
        "confidence": _float(shares.max(axis=0) / _UNITS),
        "valence": _float(valence / _UNITS),
        "model_id": pa.repeat(pa.scalar(MODEL_ID), count),
        "detector": pa.repeat(pa.scalar("mtcnn"), count),
    }
    return pa.table([columns[name] for name in OBSERVATIONS.names], schema=OBSERVATIONS)


def frames_table(day: StoreDay, run_id: str) -> pa.Table:
    """The rows of `frames` of a day, sorted by window_start and camera."""
    people, rows = day.people, day.rows
    session = people.session[people.visit[rows.segment]]
    parts = [_windows(day, s, rows.frame_seq[session == i], run_id) for i, s in enumerate(day.sessions)]
    for camera, planned in zip(day.store.cameras, day.cameras, strict=True):
        parts += [_heartbeats(day.store.id, camera.id, span, run_id) for span in planned.down]
    return pa.concat_tables([FRAMES.empty_table(), *parts]).sort_by(
        [("window_start", "ascending"), ("camera_id", "ascending")]
    )


def _probabilities(day: StoreDay, segment: npt.NDArray[np.int64], visit: npt.NDArray[np.int64]) -> tuple[Whole, Whole]:
    """Probabilities (8, n) and valence (n,) in units of 1 / 4096."""
    people, rng = day.people, day.rng
    count = len(segment)
    drawn = people.valence[segment] + rng.normal(0, VALENCE_NOISE, count)
    valence = np.rint(np.clip(drawn, -MAX_VALENCE, MAX_VALENCE) * _UNITS).astype(np.int32)
    rest = rng.integers(0, int(_SMALL * _UNITS), count, np.int32)
    shares = np.zeros((len(EXPRESSIONS), count), np.int32)
    for i, expression in enumerate(_NEGATIVE):
        # The others stay below the largest negative one, which alone decides the valence.
        shares[expression] = rest * people.others[visit, i]
    shares[np.array(_NEGATIVE)[people.worst[visit]], np.arange(count)] = rest + np.maximum(-valence, 0)
    shares[EXPRESSIONS.index("happiness")] = rest + np.maximum(valence, 0)
    shares[EXPRESSIONS.index("surprise")] = people.surprise[visit] * (_UNITS - np.abs(valence))
    shares[EXPRESSIONS.index("neutral")] = _UNITS - shares.sum(axis=0)
    return shares, valence


def _yaw(day: StoreDay, segment: npt.NDArray[np.int64], looking: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Towards the zone within 20 degrees of `look_yaw`, or far beside it; anywhere between zones."""
    noise = np.clip(day.rng.normal(0, YAW_NOISE, len(segment)), -20, 20)
    look_yaw = day.people.look_yaw[segment]
    beside = look_yaw + np.where(look_yaw > 0, -AWAY_DEG, AWAY_DEG)
    yaw = np.where(np.isnan(look_yaw), 2 * noise, np.where(looking, look_yaw, beside) + noise)
    rounded: npt.NDArray[np.float64] = np.rint(4 * yaw) / 4
    return rounded


def _face_index(at_us: npt.NDArray[np.int64], camera: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Number of each row within its frame; the rows of one are next to each other."""
    number = np.arange(len(at_us))
    new = np.ones(len(at_us), bool)
    new[1:] = (at_us[1:] != at_us[:-1]) | (camera[1:] != camera[:-1])
    return number - np.maximum.accumulate(np.where(new, number, 0))


def _windows(day: StoreDay, session: Session, faces: npt.NDArray[np.int64], run_id: str) -> pa.Table:
    window = session.times(np.arange(session.frames)) // _WINDOW_US
    # Each window of a session of at least 0.1 fps has frames; of a slower one, only those that have are written.
    numbers, first, number = np.unique(window, return_index=True, return_inverse=True)
    size = len(numbers)
    read = np.bincount(number, minlength=size)
    dropped = np.bincount(number, session.dropped, size).astype(np.int64)
    analysed = read - dropped
    columns = {
        "session_id": pa.repeat(pa.scalar(session.id), size),
        "first_seq": pa.array(first),
        "last_seq": pa.array(first + read - 1),
        "read": pa.array(read),
        "analysed": pa.array(analysed),
        "dropped_overrun": pa.array(dropped),
        "faces": pa.array(np.bincount(number[faces], minlength=size)),
        "delay_p50_s": pa.array(day.rng.uniform(0.12, 0.18, size), mask=analysed == 0),
        "delay_p95_s": pa.array(day.rng.uniform(0.25, 0.4, size), mask=analysed == 0),
        "delay_hist": _delays(analysed),
    }
    return _frame_rows(columns, numbers * _WINDOW_US, day.store.id, session.camera_id, run_id, "live")


def _delays(analysed: npt.NDArray[np.int64]) -> pa.Array[Any]:
    buckets = np.zeros((len(analysed), len(DELAY_EDGES_S) + 1), np.int64)
    left = analysed.copy()
    for edge, share in _DELAY_SHARES:
        bucket = DELAY_EDGES_S.index(edge)
        buckets[:, bucket] = analysed * share
        left -= buckets[:, bucket]
    buckets[:, bucket + 1] = left
    return lists(np.full(*buckets.shape), pa.array(buckets.ravel()))


def _heartbeats(store_id: str, camera_id: str, down: tuple[int, int], run_id: str) -> pa.Table:
    """The windows that lie within an outage."""
    starts = np.arange(-(-down[0] // _WINDOW_US), down[1] // _WINDOW_US) * _WINDOW_US
    return _frame_rows(
        {"delay_hist": _delays(np.zeros(len(starts), np.int64))}, starts, store_id, camera_id, run_id, "down"
    )


def _frame_rows(
    columns: dict[str, pa.Array[Any]],
    starts: npt.NDArray[np.int64],
    store_id: str,
    camera_id: str,
    run_id: str,
    state: str,
) -> pa.Table:
    size = len(starts)
    at = times(starts)
    columns = columns | {"date": at.cast(pa.date32()), "window_start": at}
    columns["window_s"] = pa.repeat(pa.scalar(float(WINDOW_S)), size)
    named = {"store_id": store_id, "camera_id": camera_id, "run_id": run_id, "state": state, "note": ""}
    columns |= {name: pa.repeat(pa.scalar(value), size) for name, value in named.items()}
    counted = ("read", "analysed", "faces", *(f"dropped_{cause}" for cause in DROP_CAUSES))
    zeros = pa.array(np.zeros(size, np.int64))
    return pa.table(
        [
            columns[f.name] if f.name in columns else zeros if f.name in counted else pa.nulls(size, f.type)
            for f in FRAMES
        ],
        schema=FRAMES,
    )


def _float(values: npt.NDArray[np.float64]) -> pa.Array[Any]:
    return pa.array(values.astype(np.float32))
