"""The figures of the last seconds, fed by chunks as they come.

The window ends at the newest capture time of each camera, so a file that is played faster than life gives the same
figures as a live camera. Only a live camera (or a file played as one) that has gone quiet is measured against the wall
clock, by the arrival of its frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from risa_ray.analytics.moods import MIN_KNOWN, MOOD_VALENCE, net_sentiment_interval
from risa_ray.config import CameraConfig, ChainConfig, is_url
from risa_ray.frames import DROP_CAUSES, Chunk, FaceRow, Outcome, from_unix
from risa_ray.live.columns import Columns, Rows
from risa_ray.live.figures import Figures
from risa_ray.vision.expressions import EXPRESSIONS

PRESENT_S = 2.0
"""A track seen this recently is there now; a live camera silent for longer has nobody to show."""
EXPRESSION_S = 5.0
STEP_BACK_S = 2.0
"""A camera's clock that goes back by more was set, or a file starts over; by less, it jitters."""

_UNKNOWN = -1
_ANALYSED = -1
_EXPRESSION_INDEX = {name: index for index, name in enumerate(EXPRESSIONS)}
_FRAME = np.dtype([("t", np.float64), ("delay", np.float32), ("cause", np.int8)])
_FACE = np.dtype(
    [
        ("t", np.float64),
        ("track", np.int64),
        ("weight", np.float64),
        ("valence", np.float64),
        ("expression", np.int8),
        ("zones", np.int32),
    ]
)

Bools = npt.NDArray[np.bool_]


class Rolling:
    """The last seconds of every camera of a config.

    Args:
        config: the chain; alert rules with a longer window lengthen what is kept.
        window_s: seconds of the figures shown.
    """

    def __init__(self, config: ChainConfig, window_s: float = 60) -> None:
        self.window_s = window_s
        self._cameras: dict[str, _Camera] = {}
        self.reconfigure(config)

    def reconfigure(self, config: ChainConfig) -> None:
        """Follow an edited config: cameras come and go, those that stay with their source keep what they hold."""
        self.keep_s = max([self.window_s, EXPRESSION_S, *(rule.window_s for rule in config.alerts)])
        before, self._cameras = self._cameras, {}
        for store, camera in config.cameras():
            known = before.get(camera.id)
            if known is None or known.place != (store.id, camera.source):
                known = _Camera(store.id, camera)
            known.configure(camera, config.privacy.k)
            self._cameras[camera.id] = known

    def watches(self, camera_id: str) -> bool:
        """Whether a camera is in the config."""
        return camera_id in self._cameras

    def add(self, chunk: Chunk, now: float | None = None) -> None:
        """Take a chunk in.

        Args:
            chunk: the next chunk of a session.
            now: Unix seconds, to measure the delay of its frames; None when delay means nothing, as in a batch.

        Raises:
            ValueError: its camera is not in the config.
        """
        camera = self._cameras.get(chunk.camera_id)
        if camera is None:
            raise ValueError(f"a chunk of camera {chunk.camera_id}, which is not in the config")
        camera.add(chunk, now, self.keep_s)

    def figures(self, now: float, window_s: float | None = None) -> list[Figures]:
        """One entry per camera, each followed by one per zone, in the config's order.

        Args:
            now: Unix seconds.
            window_s: another window, up to the longest of the alert rules.

        Raises:
            ValueError: the window is longer than what is kept.
        """
        return [figures for figures, _ in self.counted(now, window_s)]

    def counted(self, now: float, window_s: float | None = None) -> list[tuple[Figures, int]]:
        """`figures`, each with its number of tracks whether or not the floor hides it: for rules, not to be shown."""
        window = self.window_s if window_s is None else window_s
        if window > self.keep_s:
            raise ValueError(f"a window of {window} s, and only {self.keep_s} s are kept")
        return [entry for camera in self._cameras.values() for entry in camera.counted(now, window)]


@dataclass(slots=True)
class _Track:
    """Where the newest observation of a track lies."""

    ordinal: int
    row: int
    pts: float


@dataclass(slots=True)
class _Moods:
    """The tracks of one scope, those of them with a mood, and how many are of which."""

    tracks: frozenset[int]
    known: frozenset[int]
    positive: int
    negative: int
    neutral: int

    @property
    def total(self) -> int:
        return len(self.known)


@dataclass(slots=True)
class _Scope:
    """A camera (`zone_id` None) or a zone while its figures are put together."""

    zone_id: str | None
    faces: Rows
    moods: _Moods
    suppressed: bool = field(default=False)
    mood_hidden: bool = field(default=False)


class _Camera:
    """The window of one camera."""

    oldest: float

    def __init__(self, store_id: str, camera: CameraConfig) -> None:
        self.store_id = store_id
        self.camera_id = camera.id
        self.place = store_id, camera.source
        self._clear()

    def configure(self, camera: CameraConfig, k: int) -> None:
        self.k = k
        self.zones = [zone.id for zone in camera.zones if zone.kind not in ("staff", "mask")]
        # Anything else is read as fast as it goes, so the wall clock says nothing about it.
        self.live = camera.realtime or is_url(camera.source) or camera.source.startswith(("usb:", "demo:"))
        self.interval_s = 1 / camera.sampling_fps if camera.sampling_fps else None
        self.cap_s = max(1.0, 2 / camera.sampling_fps) if camera.sampling_fps else 1.0
        if len(self.frames.rows):
            # A longer window than before has no more than what was kept for the shorter one.
            self.oldest = max(self.oldest, float(self.frames.rows["t"].min()))

    def _clear(self) -> None:
        self.frames = Columns(_FRAME)
        self.faces = Columns(_FACE)
        self.tracks: dict[str, _Track] = {}
        self.zone_sets: dict[tuple[str, ...], int] = {}
        self.next_ordinal = 0
        self.oldest = self.newest = self.trimmed = self.arrived = -np.inf

    def add(self, chunk: Chunk, now: float | None, keep_s: float) -> None:
        start = _after_step_back(chunk.outcomes, self.newest)
        if start is not None:
            # What is kept belongs to another time.
            self._clear()
        outcomes = chunk.outcomes[start or 0 :]
        if self.oldest == -np.inf:
            self.oldest = outcomes[0].captured_at.timestamp()
        for outcome in outcomes:
            self._add_outcome(outcome, now)
        for face in chunk.faces:
            if face.frame_seq >= outcomes[0].frame_seq:
                self._add_face(face)
        if self.newest - self.trimmed > 1:
            self._forget(self.newest - keep_s)

    def _add_outcome(self, outcome: Outcome, now: float | None) -> None:
        t = outcome.captured_at.timestamp()
        cause = _ANALYSED if outcome.cause is None else DROP_CAUSES.index(outcome.cause)
        delay = np.nan if now is None or outcome.cause is not None else max(0.0, now - outcome.arrived_at)
        self.frames.append((t, delay, cause))
        self.newest = max(self.newest, t)
        self.arrived = max(self.arrived, outcome.arrived_at)

    def _add_face(self, face: FaceRow) -> None:
        track = self.tracks.get(face.track_id)
        weight = self.cap_s if self.interval_s is None else min(self.interval_s, self.cap_s)
        if track is None:
            track = self.tracks[face.track_id] = _Track(self.next_ordinal, -1, face.pts)
            self.next_ordinal += 1
        else:
            self.faces.set(track.row, "weight", min(max(face.pts - track.pts, 1e-6), self.cap_s))
        zones = self.zone_sets.setdefault(face.zone_ids, len(self.zone_sets))
        expression = _EXPRESSION_INDEX.get(face.expression, _UNKNOWN)
        valence = 0.0 if expression == _UNKNOWN else face.valence
        row = (face.captured_at.timestamp(), track.ordinal, weight, valence, expression, zones)
        track.row, track.pts = self.faces.append(row), face.pts

    def _forget(self, bound: float) -> None:
        self.trimmed = self.newest
        self.frames.forget_before(bound)
        self.faces.forget_before(bound)
        gone = [track_id for track_id, track in self.tracks.items() if track.row < self.faces.first]
        for track_id in gone:
            del self.tracks[track_id]

    def counted(self, now: float, window_s: float) -> list[tuple[Figures, int]]:
        if self.newest == -np.inf:
            at = from_unix(now)
            return [(Figures(self.store_id, self.camera_id, z, at, window_s, self.k), 0) for z in (None, *self.zones)]
        quiet_s = now - self.arrived
        end = self.newest + (quiet_s if self.live and quiet_s > PRESENT_S else 0.0)
        faces = _between(self.faces.rows, end - window_s, end)
        scopes = [_Scope(None, faces, _moods(faces))]
        for zone in self.zones:
            inside = faces[self._in_zone(faces, zone)]
            scopes.append(_Scope(zone, inside, _moods(inside)))
        _suppress(scopes, self.k)
        feed = self._feed(end, window_s)
        return [(self._entry(scope, end, window_s, feed), len(scope.moods.tracks)) for scope in scopes]

    def _in_zone(self, faces: Rows, zone: str) -> Bools:
        member = np.array([zone in zones for zones in self.zone_sets], bool)
        return member[faces["zones"]] if len(member) else np.zeros(len(faces), bool)

    def _feed(self, end: float, window_s: float) -> dict[str, Any]:
        """What the frames of the window say about the camera itself."""
        frames = _between(self.frames.rows, end - window_s, end)
        analysed = frames["cause"] == _ANALYSED
        count = int(analysed.sum())
        started = self.oldest > end - window_s
        span = min(window_s, end - self.oldest)
        delays = frames["delay"][np.isfinite(frames["delay"])]
        p50, p95 = np.percentile(delays, [50, 95]).tolist() if len(delays) else (None, None)
        causes = np.bincount(frames["cause"][~analysed], minlength=len(DROP_CAUSES))
        return {
            "age_s": end - self.newest,
            "frames_analysed": count,
            # The first frame of all ends no interval.
            "fps_analysed": max(count - started, 0) / span if span > 0 else 0.0,
            "delay_p50_s": p50,
            "delay_p95_s": p95,
            "dropped": {cause: int(n) for cause, n in zip(DROP_CAUSES, causes, strict=True) if n},
        }

    def _entry(self, scope: _Scope, end: float, window_s: float, feed: Mapping[str, Any]) -> Figures:
        expressions = _expressions_now(scope.faces, end)
        people = sum(expressions.values())
        return Figures(
            self.store_id,
            self.camera_id,
            scope.zone_id,
            from_unix(end),
            window_s,
            self.k,
            people_now=people,
            expressions=expressions if people >= self.k and not scope.suppressed else {},
            **_sentiment(scope),
            **feed,
        )


def _sentiment(scope: _Scope) -> dict[str, Any]:
    moods, total, tracks = scope.moods, scope.moods.total, len(scope.moods.tracks)
    if scope.suppressed:
        hidden = ("tracks", "with_mood", "positive", "negative", "neutral")
        return {"status": "suppressed", **dict.fromkeys(hidden)}
    readable = {"tracks": tracks, "with_mood": total, "unknown_share": 1 - total / tracks if tracks else None}
    if scope.mood_hidden:
        return {"status": "mood_suppressed", "positive": None, "negative": None, "neutral": None, **readable}
    return {
        "status": "ok" if total else "no_mood",
        **readable,
        "positive": moods.positive,
        "negative": moods.negative,
        "neutral": moods.neutral,
        "net_sentiment": (moods.positive - moods.negative) / total if total else None,
        "ci": net_sentiment_interval(moods.positive, moods.negative, total),
        "negative_share": moods.negative / total if total else None,
    }


def _between(rows: Rows, start: float, end: float) -> Rows:
    """The rows of the half-open window (start, end]."""
    return rows[(rows["t"] > start) & (rows["t"] <= end)]


def _moods(faces: Rows) -> _Moods:
    """Weighted mean valence within each track, then the sign of each."""
    if not len(faces):
        return _Moods(frozenset(), frozenset(), 0, 0, 0)
    tracks, ordinal = np.unique(faces["track"], return_inverse=True)
    known = faces["expression"] != _UNKNOWN
    weight = faces["weight"] * known
    total = np.bincount(ordinal, weight)
    has_mood = (np.bincount(ordinal, known) >= MIN_KNOWN) & (total > 0)
    mean = np.bincount(ordinal, weight * faces["valence"])[has_mood] / total[has_mood]
    positive, negative = int((mean >= MOOD_VALENCE).sum()), int((mean <= -MOOD_VALENCE).sum())
    return _Moods(
        frozenset(tracks.tolist()),
        frozenset(tracks[has_mood].tolist()),
        positive,
        negative,
        len(mean) - positive - negative,
    )


def _expressions_now(faces: Rows, end: float) -> dict[str, int]:
    """People of now by the known expression with the most weight in the last seconds; `unknown` without one."""
    recent = _between(faces, end - EXPRESSION_S, end)
    present = np.unique(_between(faces, end - PRESENT_S, end)["track"])
    recent = recent[np.isin(recent["track"], present)]
    weight = np.zeros((len(present), len(EXPRESSIONS)))
    known = recent[recent["expression"] != _UNKNOWN]
    np.add.at(weight, (np.searchsorted(present, known["track"]), known["expression"]), known["weight"])
    best = np.where(weight.any(axis=1), weight.argmax(axis=1), _UNKNOWN)
    counts = {name: int((best == index).sum()) for index, name in enumerate(EXPRESSIONS)}
    counts["unknown"] = int((best == _UNKNOWN).sum())
    return {name: n for name, n in counts.items() if n}


def _suppress(scopes: list[_Scope], k: int) -> None:
    """Mark what the k-floor hides: whole cells by their tracks, and their moods by the tracks that have one."""
    for scope, hidden in zip(scopes, _too_few([scope.moods.tracks for scope in scopes], k), strict=True):
        scope.suppressed = hidden
    known = [frozenset[int]() if scope.suppressed else scope.moods.known for scope in scopes]
    for scope, hidden in zip(scopes, _too_few(known, k), strict=True):
        scope.mood_hidden = hidden


def _too_few(groups: list[frozenset[int]], k: int) -> list[bool]:
    """Which of a camera's group and its zones' groups to hide: those below k, and those that would give such away.

    The camera's total minus its shown zones must not leave 1 to k - 1 people.
    """
    everyone, zones = groups[0], groups[1:]
    hidden = [0 < len(group) < k for group in groups]
    for number, zone in enumerate(zones, start=1):
        hidden[number] = hidden[number] or 0 < len(everyone - zone) < k
    shown = sorted((n for n in range(1, len(groups)) if groups[n] and not hidden[n]), key=lambda n: len(groups[n]))
    while shown and 0 < len(everyone.difference(*(groups[n] for n in shown))) < k:
        hidden[shown.pop(0)] = True
    return hidden


def _after_step_back(outcomes: Sequence[Outcome], newest: float) -> int | None:
    """Position of the first outcome after the clock's last step back; None where there is none."""
    start = None
    for position, outcome in enumerate(outcomes):
        t = outcome.captured_at.timestamp()
        if t < newest - STEP_BACK_S:
            start, newest = position, t
        newest = max(newest, t)
    return start
