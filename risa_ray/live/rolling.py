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

from risa_ray.config import CameraConfig, ChainConfig, is_url
from risa_ray.frames import DROP_CAUSES, Chunk, FaceRow, Outcome, from_unix
from risa_ray.live.cells import EXPRESSION_S as EXPRESSION_S
from risa_ray.live.cells import FACE, UNKNOWN, Bools, Cell, between, expressions_now, moods_of, suppress
from risa_ray.live.cells import PRESENT_S as PRESENT_S
from risa_ray.live.columns import Columns, Rows
from risa_ray.live.figures import Figures
from risa_ray.vision.expressions import EXPRESSIONS

STEP_BACK_S = 2.0
"""A camera's clock that goes back by more was set, or a file starts over; by less, it jitters."""

QUEUES = ("queue", "checkout")
"""Kinds of zones that have a queue length."""

_ANALYSED = -1
_EXPRESSION_INDEX = {name: index for index, name in enumerate(EXPRESSIONS)}
_FRAME = np.dtype([("t", np.float64), ("delay", np.float32), ("cause", np.int8)])


@dataclass(frozen=True, slots=True)
class Counted:
    """Figures as rules see them, which is not to be shown.

    Attributes:
        figures: of the window, without what lies before an outage of the camera (twice its `stall_timeout_s`).
        tracks: their number whether or not the floor hides it.
        watched: whether analysed frames come in now; without, nobody in view means nothing.
        since: Unix seconds of the camera's first analysed frame after its last outage; None before there was one.
    """

    figures: Figures
    tracks: int
    watched: bool
    since: float | None


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
        window = self._window(window_s)
        return [counted.figures for camera in self._cameras.values() for counted in camera.shown(now, window)]

    def counted(self, now: float, window_s: float, slack_s: float = 0.0) -> list[Counted]:
        """The same for rules.

        Args:
            slack_s: an answer given before will do while the camera's clock has not gone on by more.

        Raises:
            ValueError: as `figures`.
        """
        window = self._window(window_s)
        return [counted for camera in self._cameras.values() for counted in camera.judged(now, window, slack_s)]

    def _window(self, window_s: float | None) -> float:
        window = self.window_s if window_s is None else window_s
        if window > self.keep_s:
            raise ValueError(f"a window of {window} s, and only {self.keep_s} s are kept")
        return window


@dataclass(slots=True)
class _Track:
    """Where the newest observation of a track lies. `queued`: queue zone -> when its stay there began and was seen."""

    ordinal: int
    row: int
    pts: float
    queued: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What was counted, and of which moment and rows."""

    version: int
    start: float
    end: float
    counted: list[Counted]


class _Camera:
    """The window of one camera."""

    oldest: float

    def __init__(self, store_id: str, camera: CameraConfig) -> None:
        self.store_id = store_id
        self.camera_id = camera.id
        self.place = store_id, camera.source
        self.asked: float | None = None
        self.version = 0
        self._clear()

    def configure(self, camera: CameraConfig, k: int) -> None:
        self.k = k
        self.zones = {zone.id: zone.kind for zone in camera.zones if not zone.hidden}
        # Anything else is read as fast as it goes, so the wall clock says nothing about it.
        self.live = camera.real_time
        self.endless = is_url(camera.source) or camera.source.startswith("usb:")
        self.interval_s = 1 / camera.sampling_fps if camera.sampling_fps else None
        self.cap_s = max(1.0, 2 / camera.sampling_fps) if camera.sampling_fps else 1.0
        self.last_s = self.cap_s if self.interval_s is None else min(self.interval_s, self.cap_s)
        self.bridge_s = max(PRESENT_S, 2 * (self.interval_s or 0.0))
        self.outage_s = max(2 * camera.stall_timeout_s, self.bridge_s)
        self.answers: dict[float, _Answer] = {}
        if len(self.frames.rows):
            # A longer window than before has no more than what was kept for the shorter one.
            self.oldest = max(self.oldest, float(self.frames.rows["t"].min()))

    def _clear(self) -> None:
        self.frames = Columns(_FRAME)
        self.faces = Columns(FACE)
        self.tracks: dict[str, _Track] = {}
        self.zone_sets: dict[tuple[str, ...], int] = {}
        self.next_ordinal = 0
        self.oldest = self.newest = self.trimmed = self.arrived = self.analysed = self.since = -np.inf

    def add(self, chunk: Chunk, now: float | None, keep_s: float) -> None:
        self.version += 1
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
        if outcome.cause is None:
            if t - self.analysed > self.outage_s:
                self.since = t
            self.analysed = max(self.analysed, t)

    def _add_face(self, face: FaceRow) -> None:
        t = face.captured_at.timestamp()
        track = self.tracks.get(face.track_id)
        if track is None:
            track = self.tracks[face.track_id] = _Track(self.next_ordinal, -1, face.pts)
            self.next_ordinal += 1
        else:
            self.faces.set(track.row, "weight", min(max(face.pts - track.pts, 1e-6), self.cap_s))
        zones = self.zone_sets.setdefault(face.zone_ids, len(self.zone_sets))
        expression = _EXPRESSION_INDEX.get(face.expression, UNKNOWN)
        valence = 0.0 if expression == UNKNOWN else face.valence
        row = (t, track.ordinal, self.last_s, valence, expression, zones)
        track.row, track.pts = self.faces.append(row), face.pts
        for zone in face.zone_ids:
            if self.zones.get(zone) == "queue":
                entered, seen = track.queued.get(zone, (t, t))
                # Capture times are whole microseconds, and a gap of exactly `bridge_s` is bridged.
                track.queued[zone] = (entered if t - seen <= self.bridge_s + 1e-5 else t, max(seen, t))

    def _forget(self, bound: float) -> None:
        self.trimmed = self.newest
        self.frames.forget_before(bound)
        self.faces.forget_before(bound)
        gone = [track_id for track_id, track in self.tracks.items() if track.row < self.faces.first]
        for track_id in gone:
            del self.tracks[track_id]

    def shown(self, now: float, window_s: float) -> list[Counted]:
        """The figures of the whole window."""
        end = self._end(now)
        return self._answer(now, end - window_s, end, window_s)

    def judged(self, now: float, window_s: float, slack_s: float) -> list[Counted]:
        """The figures of the window since the last outage."""
        end, back = self._end(now), float(np.nextafter(self.since, -np.inf))
        before = self.answers.get(window_s)
        if before is not None and before.start >= back and 0 <= end - before.end < slack_s:
            return before.counted
        return self._answer(now, max(end - window_s, back), end, window_s)

    def _end(self, now: float) -> float:
        if self.asked is None:
            self.asked = now
        if self.newest == -np.inf:
            return now
        quiet_s = now - self.arrived
        return self.newest + (quiet_s if self.live and quiet_s > self.bridge_s else 0.0)

    def _answer(self, now: float, start: float, end: float, window_s: float) -> list[Counted]:
        before = self.answers.get(window_s)
        if before is not None and (before.version, before.start, before.end) == (self.version, start, end):
            return before.counted
        counted = self._unseen(now, window_s) if self.newest == -np.inf else self._count(start, end, window_s)
        self.answers[window_s] = _Answer(self.version, start, end, counted)
        return counted

    def _unseen(self, now: float, window_s: float) -> list[Counted]:
        """Before the first frame."""
        down_s = now - (self.asked or now) if self.endless else 0.0
        places = (None, *self.zones)
        empty = (
            Figures(self.store_id, self.camera_id, zone, from_unix(now), window_s, self.k, camera_down_s=down_s)
            for zone in places
        )
        return [Counted(figures, 0, False, None) for figures in empty]

    def _count(self, start: float, end: float, window_s: float) -> list[Counted]:
        faces = between(self.faces.rows, start, end)
        cells = [Cell(None, None, faces, moods_of(faces))]
        for zone, kind in self.zones.items():
            inside = faces[self._in_zone(faces, zone)]
            cells.append(Cell(zone, kind, inside, moods_of(inside)))
        suppress(cells, self.k)
        frames = between(self.frames.rows, start, end)
        feed = self._feed(frames, end, window_s)
        covered_s = self._covered_s(frames)
        watched = end - self.analysed <= self.bridge_s
        since = None if self.since == -np.inf else self.since
        return [
            Counted(self._entry(cell, end, window_s, feed, covered_s), len(cell.moods.tracks), watched, since)
            for cell in cells
        ]

    def _in_zone(self, faces: Rows, zone: str) -> Bools:
        member = np.array([zone in zones for zones in self.zone_sets], bool)
        return member[faces["zones"]] if len(member) else np.zeros(len(faces), bool)

    def _feed(self, frames: Rows, end: float, window_s: float) -> dict[str, Any]:
        """What the frames of the window say about the camera itself."""
        analysed = frames["cause"] == _ANALYSED
        count = int(analysed.sum())
        started = self.oldest > end - window_s
        span = min(window_s, end - self.oldest)
        delays = frames["delay"][np.isfinite(frames["delay"])]
        p50, p95 = _percentiles(delays)
        causes = np.bincount(frames["cause"][~analysed], minlength=len(DROP_CAUSES))
        return {
            "age_s": end - self.newest,
            "camera_down_s": end - self.newest if self.endless else 0.0,
            "frames_analysed": count,
            # The first frame of all ends no interval.
            "fps_analysed": max(count - started, 0) / span if span > 0 else 0.0,
            "delay_p50_s": p50,
            "delay_p95_s": p95,
            "dropped": {cause: int(n) for cause, n in zip(DROP_CAUSES, causes, strict=True) if n},
        }

    def _covered_s(self, frames: Rows) -> float:
        """Seconds that the analysed frames stand for, each as long as an observation on it would."""
        times = frames["t"][frames["cause"] == _ANALYSED]
        return float(np.diff(times).clip(0.0, self.cap_s).sum()) + self.last_s if len(times) else 0.0

    def _entry(self, cell: Cell, end: float, window_s: float, feed: Mapping[str, Any], covered_s: float) -> Figures:
        expressions = expressions_now(cell.faces, end)
        people = sum(expressions.values())
        queued = cell.kind in QUEUES and covered_s > 0
        return Figures(
            self.store_id,
            self.camera_id,
            cell.zone_id,
            from_unix(end),
            window_s,
            self.k,
            people_now=people,
            expressions=expressions if people >= self.k and not cell.suppressed else {},
            queue_length=float(cell.faces["weight"].sum()) / covered_s if queued else None,
            longest_wait_s=self._longest_wait_s(cell.zone_id, end) if queued and cell.kind == "queue" else None,
            **cell.sentiment(),
            **feed,
        )

    def _longest_wait_s(self, zone: str | None, end: float) -> float:
        stays = (track.queued[zone] for track in self.tracks.values() if zone is not None and zone in track.queued)
        return max((seen - entered for entered, seen in stays if end - seen <= self.bridge_s), default=0.0)


def _percentiles(values: Rows) -> tuple[float | None, float | None]:
    """Median and 95th percentile, as `np.percentile` has them and in a twentieth of its time; None without a value."""
    if not len(values):
        return None, None
    at = np.array([0.5, 0.95]) * (len(values) - 1)
    p50, p95 = np.interp(at, np.arange(len(values)), np.sort(values)).tolist()
    return p50, p95


def _after_step_back(outcomes: Sequence[Outcome], newest: float) -> int | None:
    """Position of the first outcome after the clock's last step back; None where there is none."""
    start = None
    for position, outcome in enumerate(outcomes):
        t = outcome.captured_at.timestamp()
        if t < newest - STEP_BACK_S:
            start, newest = position, t
        newest = max(newest, t)
    return start
