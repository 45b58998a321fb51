"""The heart: a run of frames of one camera, with that camera's state, becomes a chunk and the next state."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from risa_ray.config import CameraConfig
from risa_ray.frames import Chunk, FaceRow, Frame, Image, Outcome, Run
from risa_ray.vision.classifier import ExpressionClassifier
from risa_ray.vision.detection import DetectorKey, DetectorPool
from risa_ray.vision.detectors import Faces, yaw_degrees
from risa_ray.vision.expressions import valence
from risa_ray.vision.search import Search
from risa_ray.vision.tracker import TrackerConfig, TrackerState, expected, start, track_id, update
from risa_ray.vision.veil import SMALLEST_FACE, veiled
from risa_ray.vision.zones import Zones

_VEIL: DetectorKey = "mtcnn", SMALLEST_FACE
"""Of pictures that are shown, whatever the camera's own detector is."""
STAFF_STAY_S = 1.0
"""A track this long in a staff zone is a member of staff from then on (the length of a stay, docs/metrics.md)."""


@dataclass(frozen=True)
class CameraSetup:
    """What the analysis needs to know of a camera; it does not change within a session."""

    store_id: str
    camera_id: str
    detector: str
    min_face_size: int
    zones: Zones
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    detect_every: int = 1
    blurred_picture: bool = False

    @property
    def detector_key(self) -> DetectorKey:
        return self.detector, self.min_face_size

    @classmethod
    def of(cls, store_id: str, camera: CameraConfig) -> CameraSetup:
        tracker = TrackerConfig.for_fps(camera.sampling_fps)
        zones = Zones(camera.zones)
        return cls(
            store_id, camera.id, camera.detector, camera.min_face_size, zones, tracker, camera.detect_every,
            camera.blurred_picture,
        )  # fmt: skip


@dataclass(frozen=True)
class CameraState:
    """A camera's memory between runs. Immutable, so that a failed call can be made again.

    Attributes:
        tracker: the tracks.
        staff_since: by track ordinal, the pts at which it entered a staff zone it has not left.
        staff: ordinals of tracks excluded for as long as they are followed.
        search: when the whole of a frame was searched, and will be.
    """

    tracker: TrackerState
    staff_since: tuple[tuple[int, float], ...] = ()
    staff: frozenset[int] = frozenset()
    search: Search = field(default_factory=Search)

    @classmethod
    def start(cls, session_id: str, epoch: int) -> CameraState:
        """A fresh state. `epoch` is the frame_seq it starts at: a tracker that lost its state can thus never repeat
        the track ids of an earlier one of the session."""
        return cls(start(session_id, epoch))


Work = tuple[Run, CameraSetup, CameraState]


@dataclass
class StageTimes:
    """Seconds spent per stage since the start."""

    detect: float = 0.0
    track: float = 0.0
    classify: float = 0.0
    frames: int = 0


class Analyzer:
    """Holds the models of one process and analyses runs of many cameras with them.

    Args:
        classifier: on the same device.
        device: "cpu" or a torch device.
        max_batch: frames in one detector call on a GPU.
        threads: of the detectors, as `create_detector`.
    """

    def __init__(
        self, classifier: ExpressionClassifier, *, device: str = "cpu", max_batch: int = 16, threads: int = 1
    ) -> None:
        self._classifier = classifier
        self._detectors = DetectorPool(device, max_batch, threads)
        self._threads = threads
        self.times = StageTimes()

    @classmethod
    def load(cls, model: str, *, device: str = "cpu", max_batch: int = 16, threads: int = 1) -> Analyzer:
        """Load a model by name or path, for a process that does nothing else.

        Raises:
            InputError: as `ExpressionClassifier.load`.
        """
        classifier = ExpressionClassifier.load(model, device=device, threads=threads)
        return cls(classifier, device=device, max_batch=max_batch, threads=threads)

    @property
    def threads(self) -> int:
        """Threads of the detectors and of the classifier on a CPU."""
        return self._threads

    @property
    def model_id(self) -> str:
        return self._classifier.model_id

    def prepare(self, setups: Sequence[CameraSetup]) -> None:
        """Load the detectors of these cameras and run every model once."""
        blank = np.zeros((160, 160, 3), np.uint8)
        keys = [setup.detector_key for setup in setups]
        for key in [*keys, *([_VEIL] if any(setup.blurred_picture for setup in setups) else [])]:
            # As many pictures as threads, since some detectors keep something for each thread.
            self._detectors.detect([key] * self._threads, [blank] * self._threads)
        self._classifier.predict([blank], [np.array([[40, 40, 120, 120]], np.float32)])

    def analyze(self, run: Run, setup: CameraSetup, state: CameraState) -> tuple[Chunk, CameraState]:
        """One camera's run; see `analyze_many`."""
        return self.analyze_many([(run, setup, state)])[0]

    def analyze_many(self, works: Sequence[Work]) -> list[tuple[Chunk, CameraState]]:
        """Analyse runs of several cameras, sharing the models' batches between them.

        A pure function of its arguments: how runs are cut and grouped does not change the result, and a call that
        failed can be made again.

        Args:
            works: per camera a contiguous run (frames, and outcomes of frames dropped before), its setup and state.

        Returns:
            Per work the chunk and the state to hand in with the next run.

        Raises:
            ValueError: a run is empty, has a gap, or goes back behind the state.
        """
        for run, setup, state in works:
            if not run:
                raise ValueError(f"a run of camera {setup.camera_id} has no frame")
            if run[0].frame_seq <= (last := state.tracker.last_seq):
                raise ValueError(f"camera {setup.camera_id}: frame {run[0].frame_seq} comes after frame {last}")
        began = time.perf_counter()
        steps = [_steps(run, setup) for run, setup, _ in works]
        # To search the whole of every frame takes no state, so all such go together.
        pairs = ((setup, step) for (_, setup, _), several in zip(works, steps, strict=True) for step in several)
        self._search([(setup, step) for setup, step in pairs if setup.detect_every == 1])
        detecting = time.perf_counter() - began
        states = [state for _, _, state in works]
        seen: list[tuple[int, _SeenFrame]] = []
        # The other frames need what the frame before has told: one of each camera at a time.
        for number in range(max(map(len, steps), default=0)):
            now = [(w, several[number]) for w, several in enumerate(steps) if number < len(several)]
            searching = time.perf_counter()
            waiting = [(works[w][1], states[w], step) for w, step in now if step.faces is None]
            self._search([(setup, step) for setup, state, step in waiting if state.search.due(step.frame.frame_seq)])
            self._refine([one for one in waiting if one[2].faces is None])
            detecting += time.perf_counter() - searching
            for w, step in now:
                assert step.faces is not None
                one, states[w] = _follow(step.frame, step.image, step.faces, works[w][1], states[w])
                seen.append((w, one))
        tracked = time.perf_counter()
        probabilities = self._classifier.predict([s.image for _, s in seen], [s.faces.boxes for _, s in seen])
        rows: list[list[FaceRow]] = [[] for _ in works]
        for (w, one), p in zip(seen, probabilities, strict=True):
            rows[w].extend(self._rows(one, p))
        self.times.detect += detecting
        self.times.track += tracked - began - detecting
        self.times.classify += time.perf_counter() - tracked
        self.times.frames += len(seen)
        return [
            (self._chunk(run, setup, state.tracker.session_id, rows[w]), states[w])
            for w, (run, setup, state) in enumerate(works)
        ]

    def picture(self, frame: Frame, setup: CameraSetup, state: CameraState) -> bytes:
        """A JPEG of an analysed frame in which nobody is to be recognised, see `veil.veiled`.

        Args:
            state: of the camera after this frame.
        """
        known = expected(state.tracker, frame.pts, setup.tracker)
        return veiled(
            frame.image, known, lambda image: self._detectors.detect([_VEIL], [image])[0].boxes, setup.zones.hide
        )

    def _search(self, waiting: list[tuple[CameraSetup, _Step]]) -> None:
        """Find the faces of whole frames."""
        keys, images = [setup.detector_key for setup, _ in waiting], [step.image for _, step in waiting]
        for (_, step), faces in zip(waiting, self._detectors.detect(keys, images), strict=True):
            step.faces = faces

    def _refine(self, waiting: list[tuple[CameraSetup, CameraState, _Step]]) -> None:
        """Find the faces of frames about their cameras' tracks."""
        expectations = [expected(state.tracker, step.frame.pts, setup.tracker) for setup, state, step in waiting]
        keys, images = [setup.detector_key for setup, _, _ in waiting], [step.image for _, _, step in waiting]
        for (_, _, step), faces in zip(waiting, self._detectors.refine(keys, images, expectations), strict=True):
            step.faces = faces

    def _rows(self, seen: _SeenFrame, probabilities: npt.NDArray[np.float32]) -> list[FaceRow]:
        frame, rows = seen.frame, []
        valences = valence(probabilities)
        for i, box in enumerate(seen.faces.boxes):
            x1, y1, x2, y2 = (float(v) for v in box)
            side = min(x2 - x1, y2 - y1)
            landmarks = None if seen.faces.landmarks is None else seen.faces.landmarks[i]
            decision = self._classifier.decide(probabilities[i], side, landmarks)
            rows.append(
                FaceRow(
                    frame_seq=frame.frame_seq,
                    face_index=i,
                    captured_at=frame.captured_at,
                    pts=frame.pts,
                    track_id=seen.track_ids[i],
                    zone_ids=seen.zone_ids[i],
                    x1=x1 * frame.scale,
                    y1=y1 * frame.scale,
                    x2=x2 * frame.scale,
                    y2=y2 * frame.scale,
                    detector_score=float(seen.faces.scores[i]),
                    face_px=side * frame.scale,
                    yaw_deg=seen.yaws[i],
                    probabilities=tuple(float(p) for p in probabilities[i]),
                    expression=decision.expression,
                    abstain_reason=decision.abstain_reason,
                    confidence=decision.confidence,
                    valence=float(valences[i]),
                )
            )
        return rows

    def _chunk(self, run: Run, setup: CameraSetup, session_id: str, rows: Sequence[FaceRow]) -> Chunk:
        faces_of: dict[int, int] = {}
        for row in rows:
            faces_of[row.frame_seq] = faces_of.get(row.frame_seq, 0) + 1
        outcomes = tuple(
            item
            if isinstance(item, Outcome)
            else Outcome(
                item.frame_seq, item.pts, item.captured_at, item.arrived_at, None, faces_of.get(item.frame_seq, 0)
            )
            for item in run
        )
        ids = setup.store_id, setup.camera_id, session_id, setup.detector, self.model_id
        return Chunk(*ids, outcomes, tuple(rows), _size(run))


def _size(run: Run) -> tuple[float, float] | None:
    """Of the last frame's picture, in source pixels."""
    frame = next((item for item in reversed(run) if isinstance(item, Frame)), None)
    return None if frame is None else (frame.image.shape[1] * frame.scale, frame.image.shape[0] * frame.scale)


@dataclass(slots=True)
class _Step:
    """A frame on its way, and the faces once they are found."""

    frame: Frame
    image: Image
    faces: Faces | None = None


def _steps(run: Run, setup: CameraSetup) -> list[_Step]:
    return [_Step(frame, setup.zones.mask(frame.image)) for frame in run if isinstance(frame, Frame)]


@dataclass(frozen=True, slots=True)
class _SeenFrame:
    """A frame after tracking, without staff: everything but the expressions."""

    frame: Frame
    image: Image
    faces: Faces
    yaws: list[float | None]
    track_ids: list[str]
    zone_ids: list[tuple[str, ...]]


def _follow(
    frame: Frame, image: Image, faces: Faces, setup: CameraSetup, state: CameraState
) -> tuple[_SeenFrame, CameraState]:
    """Track the faces of one frame and leave out staff, who are followed only to be left out."""
    height, width = image.shape[:2]
    tracker, ordinals = update(state.tracker, frame.frame_seq, frame.pts, faces.boxes, faces.scores, setup.tracker)
    in_staff = setup.zones.in_staff(faces.boxes, width, height)
    search = state.search
    if search.due(frame.frame_seq):
        somebody_new = tracker.next_ordinal > state.tracker.next_ordinal
        search = search.after(frame.frame_seq, somebody_new, setup.detect_every)
    state = _mark_staff(replace(state, tracker=tracker, search=search), ordinals, in_staff, frame.pts)
    keep = np.flatnonzero([not s and int(o) not in state.staff for s, o in zip(in_staff, ordinals, strict=True)])
    kept = Faces(faces.boxes[keep], faces.scores[keep], None if faces.landmarks is None else faces.landmarks[keep])
    seen = _SeenFrame(
        frame=frame,
        image=image,
        faces=kept,
        yaws=yaw_degrees(kept.landmarks) if kept.landmarks is not None else [None] * len(kept),
        track_ids=[track_id(tracker.session_id, tracker.epoch, int(ordinals[i])) for i in keep],
        zone_ids=setup.zones.zone_ids(kept.boxes, width, height),
    )
    return seen, state


def _mark_staff(
    state: CameraState, ordinals: npt.NDArray[np.int64], in_staff: npt.NDArray[np.bool_], pts: float
) -> CameraState:
    if not (in_staff.any() or state.staff_since or state.staff):
        return state
    # an ordinal that the tracker has forgotten never comes back: a camera runs for weeks
    alive = set(state.tracker.tracks.ordinals.tolist())
    since = {ordinal: entered for ordinal, entered in state.staff_since if ordinal in alive}
    staff = set(state.staff & alive)
    for ordinal, inside in zip((int(o) for o in ordinals), in_staff, strict=True):
        if not inside:
            since.pop(ordinal, None)
        elif pts - since.setdefault(ordinal, pts) >= STAFF_STAY_S:
            staff.add(ordinal)
    return replace(state, staff_since=tuple(since.items()), staff=frozenset(staff))
