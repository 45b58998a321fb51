"""Who is in the picture now, and where: the dots of the live view."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from risa_ray.config import ChainConfig
from risa_ray.frames import Chunk, FaceRow
from risa_ray.live.rolling import EXPRESSION_S, PRESENT_S, STEP_BACK_S

_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Person:
    """A face seen within the last `PRESENT_S`. `x`, `y`: its centre, `size`: its height, in 0..1 of the picture.

    `number` tells the people of one camera apart while they are in view, and nothing else. `expression` is the
    apparent one of the last seconds; None where it cannot be read, or the floor hides it.
    """

    store_id: str
    camera_id: str
    number: int
    x: float
    y: float
    size: float
    zone_ids: tuple[str, ...]
    expression: str | None


@dataclass(slots=True)
class _Track:
    number: int
    face: FaceRow
    read: deque[tuple[float, str]] = field(default_factory=deque)
    """Capture time and known expression of the last `EXPRESSION_S`."""


@dataclass(slots=True)
class _Camera:
    store_id: str
    real_time: bool = False
    width: float = 0.0
    height: float = 0.0
    newest: float = 0.0
    arrived: float = 0.0
    tracks: dict[str, _Track] = field(default_factory=dict)
    numbered: int = 0


class Presence:
    """The newest face of each track, per camera; fed by the same chunks as `Rolling`."""

    def __init__(self, config: ChainConfig) -> None:
        self._cameras: dict[str, _Camera] = {}
        self.reconfigure(config)

    def reconfigure(self, config: ChainConfig) -> None:
        """Follow an edited config: cameras that stay keep what they hold."""
        self._k = config.privacy.k
        before, self._cameras = self._cameras, {}
        for store, camera in config.cameras():
            known = self._cameras[camera.id] = before.get(camera.id, _Camera(store.id))
            known.store_id, known.real_time = store.id, camera.real_time

    def add(self, chunk: Chunk) -> None:
        """Take in the next chunk of a camera; one that is not in the config has nobody."""
        camera = self._cameras.get(chunk.camera_id)
        if camera is None or chunk.size is None:
            return
        camera.width, camera.height = chunk.size
        times = [o.captured_at.timestamp() for o in chunk.outcomes]
        if times[-1] < camera.newest - STEP_BACK_S:
            camera.tracks.clear()
        camera.newest = times[-1]
        camera.arrived = max(o.arrived_at for o in chunk.outcomes)
        for face in chunk.faces:
            self._add_face(camera, face)
        bound = camera.newest - PRESENT_S
        # Later ones are of a clock that was set back.
        camera.tracks = {
            i: t for i, t in camera.tracks.items() if bound < t.face.captured_at.timestamp() <= camera.newest
        }

    def _add_face(self, camera: _Camera, face: FaceRow) -> None:
        track = camera.tracks.get(face.track_id)
        if track is None:
            camera.numbered += 1
            track = camera.tracks[face.track_id] = _Track(camera.numbered, face)
        track.face = face
        at = face.captured_at.timestamp()
        if face.expression != _UNKNOWN:
            track.read.append((at, face.expression))
        while track.read and track.read[0][0] <= at - EXPRESSION_S:
            track.read.popleft()

    def people(self, now: float) -> list[Person]:
        """Everybody in view, cameras in the config's order; expressions where at least `k` are in the picture, and in
        each of the person's zones.

        Args:
            now: Unix seconds. A camera that plays in real time and is silent has nobody to show.
        """
        found = []
        for camera_id, camera in self._cameras.items():
            if camera.real_time and now - camera.arrived > PRESENT_S:
                continue
            zones = Counter(zone for track in camera.tracks.values() for zone in track.face.zone_ids)
            for track in camera.tracks.values():
                groups = [len(camera.tracks), *(zones[zone] for zone in track.face.zone_ids)]
                found.append(_person(camera_id, camera, track, min(groups) >= self._k))
        return found

    def aspects(self) -> dict[str, float]:
        """Camera -> width of its picture divided by the height, of its newest frame; none yet: it is left out."""
        return {camera_id: c.width / c.height for camera_id, c in self._cameras.items() if c.height}


def _person(camera_id: str, camera: _Camera, track: _Track, told: bool) -> Person:
    face = track.face
    read = Counter(expression for _, expression in track.read).most_common(1)
    return Person(
        store_id=camera.store_id,
        camera_id=camera_id,
        number=track.number,
        x=(face.x1 + face.x2) / 2 / camera.width,
        y=(face.y1 + face.y2) / 2 / camera.height,
        size=(face.y2 - face.y1) / camera.height,
        zone_ids=face.zone_ids,
        expression=read[0][0] if told and read else None,
    )
