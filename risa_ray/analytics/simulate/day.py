"""One day of one store: its sessions, its people, and the faces on each analysed frame."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from risa_ray.analytics.simulate.people import People, visit_camera
from risa_ray.analytics.simulate.scenario import HOUR_WEIGHTS, SHARE_OF_ARRIVALS, Store, Zone
from risa_ray.analytics.simulate.sessions import CameraDay, Ints, Session, plan_day
from risa_ray.frames import from_unix

_HOUR_US = 3_600_000_000
_CAMERA_BITS, _SCORE_BITS = 3, 13


@dataclass(frozen=True, slots=True)
class Rates:
    """What a simulation may be told about the people and cameras; shares are 0..1."""

    visits_per_hour: float
    split_rate: float
    drop_rate: float
    unknown_rate: float
    outages: bool


@dataclass(slots=True)
class Rows:
    """The faces on analysed frames: one element per row of `observations`.

    Attributes:
        segment: index into the segments of the people.
        track: 2 * visit, one more after a split.
        score: detector score in 1 / 8192.
    """

    segment: Ints
    track: Ints
    frame_seq: Ints
    camera: Ints
    at_us: Ints
    looking: npt.NDArray[np.bool_]
    score: Ints

    def take(self, order: Ints) -> Rows:
        return Rows(*(getattr(self, name)[order] for name in self.__slots__))


@dataclass(slots=True)
class StoreDay:
    """A store's day; `sessions` of all cameras, which the people's `session` counts through."""

    store: Store
    rng: np.random.Generator
    cameras: tuple[CameraDay, ...]
    sessions: tuple[Session, ...]
    zones: tuple[Zone, ...]
    people: People
    track_ids: list[str]
    rows: Rows


def simulate_day(store: Store, number: int, day: date, day_number: int, seed: int, rates: Rates) -> StoreDay:
    """Draw a day of a store; the same arguments draw the same day.

    The rows come by track; `by_time` sorts them.
    """
    rng = np.random.default_rng([seed, number, day_number])
    opening = store.opening(day)
    cameras = tuple(plan_day(rng, c.id, c.fps, opening, rates.drop_rate, rates.outages) for c in store.cameras)
    sessions = tuple(session for camera in cameras for session in camera.sessions)
    parts, session_offset, zone_offset = [], 0, 0
    for camera, planned in zip(store.cameras, cameras, strict=True):
        arrivals = _arrivals(rng, store, opening, rates.visits_per_hour * SHARE_OF_ARRIVALS[camera.role])
        part = visit_camera(rng, camera, planned.sessions, arrivals, rates.split_rate, zone_offset)
        part.session += session_offset
        parts.append(part)
        session_offset += len(planned.sessions)
        zone_offset += len(camera.zones)
    people = People.join(parts)
    names = rng.bytes(16 * len(people.session)).hex()
    track_ids = [names[i : i + 16] for i in range(0, len(names), 16)]
    zones = tuple(zone for camera in store.cameras for zone in camera.zones)
    return StoreDay(store, rng, cameras, sessions, zones, people, track_ids, _rows(rng, store, sessions, people))


def by_time(rows: Rows) -> Rows:
    """Sorted by capture time, camera, and best score first."""
    since = rows.at_us - (rows.at_us.min() if len(rows.at_us) else 0)
    key = (since << _CAMERA_BITS | rows.camera) << _SCORE_BITS | (1 << _SCORE_BITS) - 1 - rows.score
    return rows.take(np.argsort(key))


def _arrivals(rng: np.random.Generator, store: Store, opening: tuple[int, int], per_hour: float) -> Ints:
    """Poisson per hour of the store's clock: Unix microseconds, sorted."""
    zone = ZoneInfo(store.timezone)
    starts = np.arange(opening[0], opening[1], _HOUR_US)
    open_weights = HOUR_WEIGHTS[store.opens : store.closes]
    mean = sum(open_weights) / len(open_weights)
    local = [from_unix(start / 1e6).astimezone(zone).hour for start in starts.tolist()]
    counts = rng.poisson([per_hour * HOUR_WEIGHTS[hour] / mean for hour in local])
    return np.sort(np.repeat(starts, counts) + rng.integers(0, _HOUR_US, counts.sum()))


def _rows(rng: np.random.Generator, store: Store, sessions: tuple[Session, ...], people: People) -> Rows:
    """Every frame of every segment, but those dropped and those in the gap of a split."""
    segment = np.repeat(np.arange(len(people.count)), people.count)
    within = np.arange(len(segment)) - np.repeat(people.count.cumsum() - people.count, people.count)
    visit = people.visit[segment]
    frame_seq = people.first[segment] + within
    cut, resume, session = people.cut[visit], people.resume[visit], people.session[visit]
    # The sessions' flags and start times behind each other, so that one look-up serves all rows.
    begins = np.cumsum([0, *(s.frames for s in sessions)])[:-1]
    dropped = np.concatenate([np.zeros(0, bool), *(s.dropped for s in sessions)])
    kept = ~dropped[begins[session] + frame_seq] & ((cut < 0) | (frame_seq < cut) | (frame_seq >= resume))
    segment, within, visit, frame_seq, session = (a[kept] for a in (segment, within, visit, frame_seq, session))
    numbers = {camera.id: i for i, camera in enumerate(store.cameras)}
    times = np.concatenate([np.zeros(0, np.int64), *(s.times(np.arange(s.frames)) for s in sessions)])
    return Rows(
        segment=segment,
        track=2 * visit + ((cut[kept] >= 0) & (frame_seq >= resume[kept])),
        frame_seq=frame_seq,
        camera=np.array([numbers[s.camera_id] for s in sessions], np.int64)[session],
        at_us=times[begins[session] + frame_seq],
        looking=within < people.looked[segment],
        score=rng.integers(7000, 1 << _SCORE_BITS, len(segment)),
    )
