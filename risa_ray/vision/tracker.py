"""Follows faces from frame to frame of one camera: a pure function from state and detections to state and numbers.

The frame is that of SORT (Bewley et al. 2016, arXiv:1602.00763) and ByteTrack (Zhang et al. 2022, arXiv:2110.06864):
a Kalman filter predicts every track, the Hungarian method assigns detections to tracks, those with a high score first.
Two things differ, since shop cameras are sampled at anything from 1 to 60 frames a second and a face is small:

- Time is counted by pts. The filter is the continuous white-noise-acceleration model (Bar-Shalom, Li, Kirubarajan 2001,
  Estimation with Applications to Tracking and Navigation, 6.2.2): uncertainty grows with seconds, not with frames.
- The cost is not IoU, which is zero as soon as a walking face moves by its own width between two frames, but the
  negative log-likelihood of the detection under the track's prediction, lengths in units of the face's height.
  Well-known tracks are strict; uncertain ones reach further but do not outbid a track that predicted the place well.
  The likelihood is Student's t, since heads move in jerks and detectors jitter.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_TAIL = 4.0  # degrees of freedom of the Student's t likelihood


@dataclass(frozen=True, slots=True)
class TrackerConfig:
    """What the tracker takes for granted. Lengths are in face heights (about 0.2 m); log sizes have no unit.

    Attributes:
        high_score: detections from this score on are assigned first, the others to the tracks left over.
        max_cost: a detection whose negative log-likelihood is above this for every track starts one of its own.
        max_age_s: a track is forgotten once a frame later than this after its last detection misses it too.
        max_gap_s: nobody is followed over a hole in the stream that is longer than this.
        position_noise: standard deviation of a detected centre.
        size_noise: standard deviation of the log of a detected width or height.
        speed: standard deviation, per axis, of the speed of a face not yet seen to move (heights/s).
        acceleration: how fast the speed changes (heights/s per root second).
        growth: how fast the log size changes (per root second).
    """

    high_score: float = 0.9
    max_cost: float = 3.0
    max_age_s: float = 1.0
    max_gap_s: float = 2.0
    position_noise: float = 0.06
    size_noise: float = 0.1
    speed: float = 2.0
    acceleration: float = 3.0
    growth: float = 0.3

    @classmethod
    def for_fps(cls, sampling_fps: float | None) -> TrackerConfig:
        """The defaults, with ages that let a slowly sampled face miss one frame (None: the source's own rate)."""
        config = cls()
        two_frames = 2.5 / sampling_fps if sampling_fps else 0.0
        return replace(config, max_age_s=max(config.max_age_s, two_frames), max_gap_s=max(config.max_gap_s, two_frames))


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """The tracks of a camera, stacked; every array is read-only.

    The four coordinates are centre x and y (px), log width and log height. They are filtered independently of one
    another, so that the covariance of a coordinate and its rate is three numbers and no matrix is ever inverted.

    Attributes:
        ordinals: int64 (t,), in the order of first appearance.
        unseen_s: float64 (t,), seconds since the last detection.
        value, rate: float64 (t, 4), the coordinates and their change per second (0 for the sizes: a random walk).
        var_value, cov, var_rate: float64 (t, 4), their covariance.
    """

    ordinals: Ints
    unseen_s: Floats
    value: Floats
    rate: Floats
    var_value: Floats
    cov: Floats
    var_rate: Floats

    def __post_init__(self) -> None:
        for array in self._arrays():
            array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.ordinals)

    def take(self, index: Ints | npt.NDArray[np.bool_]) -> Tracks:
        """The tracks at `index` (numbers or a mask)."""
        return Tracks(self.ordinals[index], *(array[index] for array in self._arrays()[1:]))

    def join(self, other: Tracks) -> Tracks:
        """These tracks, then the others."""
        pairs = zip(self._arrays()[1:], other._arrays()[1:], strict=True)
        ordinals = np.concatenate((self.ordinals, other.ordinals))
        return Tracks(ordinals, *(np.concatenate(pair) for pair in pairs))

    def _arrays(self) -> tuple[Ints, Floats, Floats, Floats, Floats, Floats, Floats]:
        return self.ordinals, self.unseen_s, self.value, self.rate, self.var_value, self.cov, self.var_rate


@dataclass(frozen=True, slots=True, eq=False)
class TrackerState:
    """All that the tracker of one camera knows after a frame; `update` hands on a new one and leaves this as it is.

    Attributes:
        epoch: counts the restarts that lost the state; ordinals begin anew with each.
        next_ordinal: number of the next new track.
        last_pts: of the frame before, None at the start.
        last_seq: of the frame before, -1 at the start.
    """

    session_id: str
    epoch: int
    next_ordinal: int
    tracks: Tracks
    last_pts: float | None = None
    last_seq: int = -1


def start(session_id: str, epoch: int) -> TrackerState:
    """The state before a session's first frame, or after the loss of an earlier epoch's."""
    nothing = [np.zeros((0, 4)) for _ in range(5)]
    return TrackerState(session_id, epoch, 0, Tracks(np.zeros(0, np.int64), np.zeros(0), *nothing))


def track_id(session_id: str, epoch: int, ordinal: int) -> str:
    """16 hex characters that name a track; a keyed hash, so that nothing leads from one session's to another's."""
    key = hashlib.blake2b(session_id.encode()).digest()
    return hashlib.blake2b(f"{epoch}:{ordinal}".encode(), key=key, digest_size=8).hexdigest()


def update(
    state: TrackerState,
    frame_seq: int,
    pts: float,
    boxes: npt.NDArray[np.float32],
    scores: npt.NDArray[np.float32],
    config: TrackerConfig,
) -> tuple[TrackerState, Ints]:
    """Assign every detection of the next frame to a track.

    To be called for frames without a face too: they age the tracks. A clock that runs backwards counts as standing
    still.

    Args:
        frame_seq: larger than that of any frame before; gaps are dropped frames and do no harm.
        pts: seconds on the stream's clock.
        boxes: (n, 4) x1, y1, x2, y2 in pixels of a picture of the same size throughout.
        scores: (n,).

    Returns:
        The new state, and int64 (n,): the ordinal of each detection's track. No two are equal; a detection that fits
        no track starts one, whatever its score, in the order of `boxes`.

    Raises:
        ValueError: frame_seq does not increase, or boxes, scores or pts are misshapen or not finite.
    """
    if frame_seq <= state.last_seq:
        raise ValueError(f"session {state.session_id}: frame {frame_seq} comes after frame {state.last_seq}")
    detections, marks = _checked(boxes, scores, pts)
    dt = 0.0 if state.last_pts is None else max(0.0, pts - state.last_pts)
    tracks = state.tracks
    if dt > config.max_gap_s:
        tracks = tracks.take(np.zeros(len(tracks), np.bool_))
    tracks = _predict(tracks, dt, config)

    matched = _assign(tracks, detections, marks >= config.high_score, config)
    known = matched >= 0
    new = _begin(state.next_ordinal, detections[~known], config)
    ordinals = np.empty(len(detections), np.int64)
    ordinals[known] = tracks.ordinals[matched[known]]
    ordinals[~known] = new.ordinals

    tracks = _correct(tracks, matched[known], detections[known], config)
    tracks = tracks.take(tracks.unseen_s <= config.max_age_s).join(new)
    after = replace(
        state, next_ordinal=state.next_ordinal + len(new), tracks=tracks, last_pts=float(pts), last_seq=frame_seq
    )
    return after, ordinals


def expected(state: TrackerState, pts: float, config: TrackerConfig) -> npt.NDArray[np.float32]:
    """Where the tracks should be at a later time: boxes float32 (t, 4), x1 y1 x2 y2 in pixels."""
    dt = 0.0 if state.last_pts is None else max(0.0, pts - state.last_pts)
    if dt > config.max_gap_s:
        return np.empty((0, 4), np.float32)
    value = _predict(state.tracks, dt, config).value
    half = np.exp(value[:, 2:]) / 2
    return np.hstack((value[:, :2] - half, value[:, :2] + half)).astype(np.float32)


def _checked(boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32], pts: float) -> tuple[Floats, Floats]:
    """The detections as (n, 4) centre x, centre y, log width, log height; and the scores."""
    corners = np.asarray(boxes, np.float64)
    marks = np.asarray(scores, np.float64)
    if corners.size == 0:
        corners = corners.reshape(0, 4)
    if corners.ndim != 2 or corners.shape[1] != 4 or marks.shape != (len(corners),):
        raise ValueError(f"expected boxes (n, 4) and scores (n,), got {corners.shape} and {marks.shape}")
    if not (np.isfinite(corners).all() and np.isfinite(marks).all() and np.isfinite(pts)):
        raise ValueError("boxes, scores and pts must be finite")
    low, high = corners[:, :2], corners[:, 2:]
    # a box without width or height is a detector's fault, not a reason to stop; the log needs at least something
    return np.hstack(((low + high) / 2, np.log(np.maximum(high - low, 1.0)))), marks


def _noise(value: Floats, position: float, size: float) -> Floats:
    """Variances (n, 4) of noise that is relative to the height of the faces at `value` (n, 4)."""
    variance = np.full(value.shape, size**2)
    variance[:, :2] = (position * np.exp(value[:, 3:])) ** 2
    return variance


def _predict(tracks: Tracks, dt: float, config: TrackerConfig) -> Tracks:
    """The tracks `dt` seconds later."""
    acceleration = _noise(tracks.value, config.acceleration, 0.0)
    growth = _noise(tracks.value, 0.0, config.growth)
    return replace(
        tracks,
        unseen_s=tracks.unseen_s + dt,
        value=tracks.value + dt * tracks.rate,
        var_value=tracks.var_value
        + 2 * dt * tracks.cov
        + dt**2 * tracks.var_rate
        + dt**3 / 3 * acceleration
        + dt * growth,
        cov=tracks.cov + dt * tracks.var_rate + dt**2 / 2 * acceleration,
        var_rate=tracks.var_rate + dt * acceleration,
    )


def _correct(tracks: Tracks, seen: Ints, detections: Floats, config: TrackerConfig) -> Tracks:
    """The tracks after tracks[seen[i]] met detections[i]; the others stay as predicted."""
    before = tracks.take(seen)
    measurement = _noise(before.value, config.position_noise, config.size_noise)
    error = detections - before.value
    gain = before.var_value / (before.var_value + measurement)
    rate_gain = before.cov / (before.var_value + measurement)

    def put(array: Floats, new: Floats | float) -> Floats:
        out = array.copy()
        out[seen] = new
        return out

    return replace(
        tracks,
        unseen_s=put(tracks.unseen_s, 0.0),
        value=put(tracks.value, before.value + gain * error),
        rate=put(tracks.rate, before.rate + rate_gain * error),
        var_value=put(tracks.var_value, (1 - gain) * before.var_value),
        cov=put(tracks.cov, (1 - gain) * before.cov),
        var_rate=put(tracks.var_rate, before.var_rate - rate_gain * before.cov),
    )


def _begin(first: int, detections: Floats, config: TrackerConfig) -> Tracks:
    """New tracks, numbered from `first`."""
    nothing = np.zeros(detections.shape)
    return Tracks(
        ordinals=np.arange(first, first + len(detections), dtype=np.int64),
        unseen_s=np.zeros(len(detections)),
        value=detections.copy(),
        rate=nothing,
        var_value=_noise(detections, config.position_noise, config.size_noise),
        cov=nothing,
        var_rate=_noise(detections, config.speed, 0.0),
    )


def _assign(tracks: Tracks, detections: Floats, high: npt.NDArray[np.bool_], config: TrackerConfig) -> Ints:
    """int64 (n,): the track of each detection, or -1. First the detections with a high score, then the others."""
    matched = np.full(len(detections), -1, np.int64)
    cost = _cost(tracks, detections, config)
    free = np.ones(len(tracks), np.bool_)
    for stage in (high, ~high):
        rows, columns = np.flatnonzero(free), np.flatnonzero(stage)
        if not (len(rows) and len(columns)):
            continue
        # capped costs make "not matched" one of the choices, of the same price for every pair
        block = np.minimum(cost[np.ix_(rows, columns)], config.max_cost)
        i, j = linear_sum_assignment(block)
        fits = block[i, j] < config.max_cost
        matched[columns[j[fits]]] = rows[i[fits]]
        free[rows[i[fits]]] = False
    return matched


def _cost(tracks: Tracks, detections: Floats, config: TrackerConfig) -> Floats:
    """Negative log-likelihood (t, n) of detections under tracks, but for a constant; lengths in face heights."""
    scale = _noise(tracks.value, 1.0, 1.0)
    variance = tracks.var_value + _noise(tracks.value, config.position_noise, config.size_noise)
    error = detections[None, :, :] - tracks.value[:, None, :]
    distance: Floats = (error**2 / variance[:, None, :]).sum(axis=2)
    volume: Floats = np.log(variance / scale).sum(axis=1) / 2
    return (_TAIL + 4) / 2 * np.log1p(distance / _TAIL) + volume[:, None]
