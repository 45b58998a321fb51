"""Who comes before a camera, along which zones, for how long, in which mood: drawn for all people of a day at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from risa_ray.analytics.simulate.scenario import (
    CONTENT_ATTENTION,
    CONTENT_VALENCE,
    CONTENTS,
    HEIGHT,
    SERVICE_VALENCE,
    SLOT_S,
    WIDTH,
    Camera,
)
from risa_ray.analytics.simulate.sessions import Session

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Rng = np.random.Generator

ENTERING_SHARE = 0.55
PRODUCT_CHANCE = {"coffee": 0.5, "cake": (0.15, 0.55), "tea": 0.3, "biscuits": (0.2, 0.45)}
"""Chance of a stay; of a pair: without and with one at the zone before it."""
SCREEN_CHANCE = 0.5
WAIT_GAMMA = (2.0, 45.0)
"""Shape and scale in seconds of the time that somebody would have to wait."""
PATIENCE_S = 400.0
"""Mean of the exponential time after which somebody leaves the queue."""
CHECKOUT_CHANCE = 0.7
BASE_VALENCE = (0.05, 0.25)
"""Mean and standard deviation over people."""
LOOK_S = (1.5, 6.0)
MAX_VALENCE = 0.8
SPLIT_GAP_S = (0.5, 3.0)
_SURPRISED_SHARE = 0.04
_UNSPLIT_S = 8.0
_NEGATIVES = 5


@dataclass(slots=True)
class People:
    """The visits and segments of one or more cameras as columns; a segment is a stay in a zone or the way between.

    Attributes:
        session: of the visit, an index into the sessions of the day.
        cut, resume: a split track has no frames from `cut` to before `resume`; `cut` is -1 without a split.
        visit: of the segment.
        zone: of the segment, an index into the zones of the store; -1 between zones.
        first: frame number at which the segment starts; `count` frames long.
        looked: frames from the start of the segment in which the person looks at the zone.
        look_yaw: of the zone; NaN without one.
        content: running on the screen when the segment starts; -1 elsewhere.
        outcome: of a queue: 0 cut off, 1 served, 2 abandoned; -1 elsewhere. `wait` in frames.
    """

    session: Ints
    face: Floats
    worst: Ints
    others: Floats
    surprise: Floats
    cut: Ints
    resume: Ints
    visit: Ints
    zone: Ints
    first: Ints
    count: Ints
    x: Floats
    y: Floats
    valence: Floats
    looked: Ints
    look_yaw: Floats
    content: Ints
    outcome: Ints
    wait: Ints

    @staticmethod
    def join(parts: list[People]) -> People:
        """The people of several cameras; their visits are numbered on."""
        offsets = np.cumsum([0, *(len(part.session) for part in parts)])
        for part, offset in zip(parts, offsets, strict=False):
            part.visit += offset
        return People(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(People)))


def visit_camera(
    rng: Rng, camera: Camera, sessions: tuple[Session, ...], arrivals: Ints, split_rate: float, zone_offset: int
) -> People:
    """The people that a camera saw.

    Args:
        sessions: of the camera; who arrives outside of them is not seen.
        arrivals: Unix microseconds, sorted.
        zone_offset: index of the camera's first zone among those of the store.
    """
    starts = np.array([s.start_us for s in sessions], np.int64)
    frames = np.array([s.frames for s in sessions], np.int64)
    session = np.searchsorted(starts, arrivals, side="right") - 1
    since = (arrivals - starts[session]) / 1e6
    seen = (session >= 0) & (since * camera.fps < frames[session] - 1)
    session, since = session[seen], since[seen]
    zones, seconds = _ROUTES[camera.role](rng, len(session))
    ends = since[:, None] + np.concatenate([np.zeros((len(session), 1)), seconds.cumsum(axis=1)], axis=1)
    bounds = np.minimum(np.ceil(ends * camera.fps).astype(np.int64), frames[session][:, None])
    counts = np.diff(bounds, axis=1)
    outcome, wait = _outcomes(camera, zones, bounds, counts)
    visit, slot = np.nonzero(counts > 0)
    zone = zones[visit, slot]
    first, count = bounds[visit, slot], counts[visit, slot]
    content = _contents(camera, zone, starts[session[visit]] + (first * (1e6 / camera.fps)).astype(np.int64))
    x, y = _places(rng, camera, zone)
    cut, resume = _splits(rng, bounds, camera.fps, split_rate)
    base = rng.normal(*BASE_VALENCE, len(session))
    effect = _zone_column(camera, zone, [z.valence for z in camera.zones], 0.0)
    effect += np.where(content >= 0, np.array(CONTENT_VALENCE)[content], 0.0) + _service(camera, zones)[visit, slot]
    return People(
        session=session,
        face=rng.uniform(55, 100, len(session)),
        worst=rng.integers(0, _NEGATIVES, len(session)),
        others=rng.random((len(session), _NEGATIVES)),
        surprise=np.where(rng.random(len(session)) < _SURPRISED_SHARE, 0.5, 0.05),
        cut=cut,
        resume=resume,
        visit=visit,
        zone=np.where(zone >= 0, zone + zone_offset, -1),
        first=first,
        count=count,
        x=x,
        y=y,
        valence=np.clip(base[visit] + effect, -MAX_VALENCE, MAX_VALENCE),
        looked=_looks(rng, camera, zone, content),
        look_yaw=_zone_column(
            camera, zone, [np.nan if z.look_yaw is None else z.look_yaw for z in camera.zones], np.nan
        ),
        content=content,
        outcome=outcome[visit, slot],
        wait=wait[visit, slot],
    )


def _door(rng: Rng, n: int) -> tuple[Ints, Floats]:
    entering = rng.random(n) < ENTERING_SHARE
    zones = np.where(entering[:, None], [[0, -1]], [[-1, 1]])
    inside, walk = rng.uniform(2.5, 6, n), rng.uniform(3, 8, n)
    return zones, np.where(entering[:, None], np.stack([inside, walk], 1), np.stack([walk, inside], 1))


def _aisle(rng: Rng, n: int) -> tuple[Ints, Floats]:
    stays = np.zeros((n, 5), bool)
    for i, chance in enumerate(PRODUCT_CHANCE.values()):
        low, high = chance if isinstance(chance, tuple) else (chance, chance)
        stays[:, i] = rng.random(n) < np.where(stays[:, i - 1], high, low)
    stays[:, 4] = rng.random(n) < SCREEN_CHANCE
    order = rng.random((n, 5)).argsort(axis=1)
    zones = np.full((n, 11), -1)
    zones[:, 1::2] = order
    seconds = np.concatenate([rng.uniform(2, 5, (n, 1)), rng.uniform(1, 4, (n, 10))], axis=1)
    seconds[:, 1::2] = 3 + rng.lognormal(1.9, 0.7, (n, 5))
    there = np.take_along_axis(stays, order, axis=1)
    return zones, seconds * np.concatenate([np.ones((n, 1)), there.repeat(2, axis=1)], axis=1)


def _till(rng: Rng, n: int) -> tuple[Ints, Floats]:
    zones = np.tile([-1, 0, -1, 1, -1, 2, -1], (n, 1))
    wait = np.maximum(4, rng.gamma(*WAIT_GAMMA, n))
    patience = np.maximum(4, rng.exponential(PATIENCE_S, n))
    step = rng.uniform(0.6, 1.5, n)
    served = wait <= patience
    pays = served & (rng.random(n) < CHECKOUT_CHANCE)
    seconds = [
        rng.uniform(2, 6, n),
        np.where(served, wait - step, patience),
        np.where(served, step, rng.uniform(3, 8, n)),
        served * (12 + rng.gamma(2, 20, n)),
        served * rng.uniform(1, 2, n),
        pays * rng.uniform(8, 25, n),
        served * rng.uniform(8, 30, n),
    ]
    return zones, np.stack(seconds, axis=1)


_ROUTES: dict[str, Callable[[Rng, int], tuple[Ints, Floats]]] = {"door": _door, "aisle": _aisle, "till": _till}
"""Role -> draws zones (-1: between them) and seconds, each (people, steps); a step of 0 s is left out."""


def _outcomes(camera: Camera, zones: Ints, bounds: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """What became of each stay in a queue, and its wait in frames."""
    outcome, wait = np.full(zones.shape, -1), np.zeros(zones.shape, np.int64)
    if camera.role != "till":
        return outcome, wait
    # A stay of less than a second is none.
    served = (counts[:, 3] - 1) / camera.fps >= 1
    # Who leaves is seen to leave; whoever was still on the way to be served was cut off by the session's end.
    left = (counts[:, 2] / camera.fps > 2) & ~served
    outcome[:, 1] = np.where(served, 1, np.where(left, 2, 0))
    wait[:, 1] = np.where(served, bounds[:, 3] - bounds[:, 1], counts[:, 1] - 1)
    return outcome, wait


def _service(camera: Camera, zones: Ints) -> Floats:
    effect = np.zeros(zones.shape)
    if camera.role == "till":
        effect[:] = [SERVICE_VALENCE["before"]] * 3 + [SERVICE_VALENCE["during"]] + [SERVICE_VALENCE["after"]] * 3
    return effect


def _contents(camera: Camera, zone: Ints, at_us: Ints) -> Ints:
    screens = [i for i, z in enumerate(camera.zones) if z.kind == "screen"]
    return np.where(np.isin(zone, screens), at_us // (SLOT_S * 1_000_000) % len(CONTENTS), -1)


def _looks(rng: Rng, camera: Camera, zone: Ints, content: Ints) -> Ints:
    chance = _zone_column(camera, zone, [z.attention for z in camera.zones], 0.0)
    chance = np.where(content >= 0, np.array(CONTENT_ATTENTION)[content], chance)
    frames = np.ceil(rng.uniform(*LOOK_S, len(zone)) * camera.fps).astype(np.int64)
    return np.where(rng.random(len(zone)) < chance, frames, 0)


def _places(rng: Rng, camera: Camera, zone: Ints) -> tuple[Floats, Floats]:
    """Where faces are: well inside their zone, or below all of them."""
    across, down = rng.uniform(-0.25, 0.25, (2, len(zone)))
    x1, x2 = (_zone_column(camera, zone, [getattr(z, name) for z in camera.zones], at) for name, at in _ACROSS)
    y1, y2 = (_zone_column(camera, zone, [getattr(z, name) for z in camera.zones], at) for name, at in _DOWN)
    return (x1 + x2) / 2 + across * (x2 - x1), (y1 + y2) / 2 + down * (y2 - y1)


_ACROSS = (("x1", 0.1 * WIDTH), ("x2", 0.9 * WIDTH))
_DOWN = (("y1", 0.7 * HEIGHT), ("y2", 0.88 * HEIGHT))


def _zone_column(camera: Camera, zone: Ints, values: list[float], elsewhere: float) -> Floats:
    return np.array([*values, elsewhere], float)[zone]


def _splits(rng: Rng, bounds: Ints, fps: float, rate: float) -> tuple[Ints, Ints]:
    start, end = bounds[:, 0], bounds[:, -1]
    chosen = (rng.random(len(bounds)) < rate) & ((end - start) / fps >= _UNSPLIT_S)
    cut = start + ((end - start) * rng.uniform(0.2, 0.5, len(bounds))).astype(np.int64)
    gap = np.ceil(rng.uniform(*SPLIT_GAP_S, len(bounds)) * fps).astype(np.int64)
    return np.where(chosen, cut, -1), np.where(chosen, cut + gap, -1)


def affinity_lift() -> dict[str, float]:
    """Lift of the pairs that are bought together, among all with a stay at any product."""
    names = list(PRODUCT_CHANCE)
    nobody, lifts = 1.0, {}
    for first, second in zip(names[::2], names[1::2], strict=True):
        chance, pair = PRODUCT_CHANCE[first], PRODUCT_CHANCE[second]
        assert isinstance(chance, float)
        assert isinstance(pair, tuple)
        without, with_it = pair
        nobody *= (1 - chance) * (1 - without)
        lifts[f"{first}+{second}"] = with_it / (chance * with_it + (1 - chance) * without)
    return {name: lift * (1 - nobody) for name, lift in lifts.items()}
