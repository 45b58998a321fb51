"""The state of a run as Prometheus metrics, served by Ray's own agent on every node (`ray.util.metrics`)."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ray.util.metrics import Counter, Gauge

from risa_ray.live.figures import Figures
from risa_ray.streaming.committer import CommitterStatus
from risa_ray.streaming.driver import Snapshot
from risa_ray.streaming.lifecycle import CAMERA_STATES, CameraState
from risa_ray.streaming.process import ProcessUse

_CAMERA = ("store_id", "camera_id")
_ANALYZER = ("analyzer",)
_Tags = dict[str, dict[str, str]]


class Metrics:
    """Takes the driver's snapshots; Ray prefixes every name with `ray_`.

    Counters count since the job began: a process that is restarted begins at 0, which is not shown.
    """

    def __init__(self) -> None:
        self._state = Gauge("risa_camera_state", "1 for the state that a camera is in, else 0", (*_CAMERA, "state"))
        self._frames = Counter(
            "risa_frames_total",
            "Frames by what became of them: analysed, or the cause of the drop",
            (*_CAMERA, "outcome"),
        )
        self._connections = Counter("risa_camera_connections_total", "Times that a camera connected", _CAMERA)
        self._stalls = Counter("risa_camera_stalls_total", "Times that a camera stalled", _CAMERA)
        self._errors = Counter("risa_camera_decode_errors_total", "Pictures that could not be decoded", _CAMERA)
        self._read = Counter("risa_camera_frames_read_total", "Frames that were read", _CAMERA)
        self._decoding = Counter("risa_camera_decode_seconds_total", "Time spent decoding", _CAMERA)
        self._delay = Gauge("risa_delay_p95_seconds", "From a frame's arrival to its rolling figures", _CAMERA)
        self._people = Gauge("risa_people", "People in view now", _CAMERA)
        self._faces = Counter("risa_faces_total", "Faces found")
        self._commits = Counter("risa_commits_total", "Commits to the store")
        self._alerts = Counter("risa_alerts_total", "Alerts fired", ("rule_id", "severity"))
        self._trouble = Gauge("risa_store_trouble", "1 while the store cannot take rows: nothing is lost, all waits")
        self._committing = Counter("risa_commit_seconds_total", "Time spent committing")
        self._analyzed = Counter("risa_analyzer_frames_total", "Frames analysed", _ANALYZER)
        self._analyzing = Counter(
            "risa_analyzer_seconds_total", "Time spent: detect, track, classify", (*_ANALYZER, "stage")
        )
        self._batch = Gauge("risa_analyzer_batch_seconds", "Since the batch at work began; 0 without one", _ANALYZER)
        self._memory = Gauge("risa_process_resident_bytes", "Memory of each process", ("part", "name"))
        self._counted: dict[tuple[str, ...], float] = {}
        self._shown: dict[str, dict[str, str]] = {}
        self._parts: dict[tuple[str, str], float] = {}
        self._analyzers = 0

    def __call__(self, snapshot: Snapshot) -> None:
        """Set every metric as the snapshot has it."""
        cameras = {i: {"store_id": s.store_id, "camera_id": i} for i, s in snapshot.readers.items()}
        self._set_cameras(snapshot, cameras)
        self._set_committer(snapshot.committer, cameras)
        self._set_analyzers(snapshot)
        self._set_memory(snapshot)

    def _set_cameras(self, snapshot: Snapshot, cameras: _Tags) -> None:
        for camera_id, reader in snapshot.readers.items():
            tags = cameras[camera_id]
            self._set_state(tags, reader.state)
            self._count(self._connections, reader.connections, tags)
            self._count(self._stalls, reader.stalls, tags)
            self._count(self._errors, reader.decode_errors, tags)
            self._count(self._read, reader.read, tags)
            self._count(self._decoding, reader.decode_s, tags)
        for camera_id, tags in self._shown.items():
            if camera_id not in cameras:  # taken from the config
                self._set_state(tags, None)
                self._set_figures(tags, None)
        self._shown = cameras

    def _set_state(self, tags: dict[str, str], current: CameraState | None) -> None:
        for state in CAMERA_STATES:
            self._state.set(float(state == current), {**tags, "state": state})

    def _set_figures(self, tags: dict[str, str], figures: Figures | None) -> None:
        """Of a camera without a picture nothing is known: neither is its shop empty nor its delay none."""
        known = figures is not None and figures.frames_analysed > 0
        self._people.set(float(figures.people_now) if figures is not None and known else math.nan, tags)
        delay = figures.delay_p95_s if figures is not None else None
        self._delay.set(math.nan if delay is None else delay, tags)

    def _set_committer(self, committer: CommitterStatus, cameras: _Tags) -> None:
        for camera_id, outcomes in committer.outcomes.items():
            for outcome, number in outcomes.items():
                if camera_id in cameras:
                    self._count(self._frames, number, {**cameras[camera_id], "outcome": outcome})
        for figures in committer.figures:
            if figures.zone_id is None and figures.camera_id in cameras:
                self._set_figures(cameras[figures.camera_id], figures)
        for alert in committer.alerts:
            self._alerts.inc(1.0, {"rule_id": alert.rule_id, "severity": alert.severity})
        self._count(self._faces, committer.faces, {})
        self._count(self._commits, committer.commits, {})
        self._count(self._committing, committer.commit_s, {})
        self._trouble.set(float(bool(committer.trouble)))

    def _set_analyzers(self, snapshot: Snapshot) -> None:
        """By their number, as the memory of their processes: one that takes another's place goes on with its series."""
        for number, analyzer in enumerate(snapshot.analyzers):
            tags = {"analyzer": str(number)}
            self._count(self._analyzed, analyzer.frames, tags)
            for stage, seconds in analyzer.times.items():
                self._count(self._analyzing, seconds, {**tags, "stage": stage})
            self._batch.set(analyzer.busy_s, tags)
        for number in range(len(snapshot.analyzers), self._analyzers):
            self._batch.set(0.0, {"analyzer": str(number)})
        self._analyzers = len(snapshot.analyzers)

    def _count(self, counter: Counter, total: float, tags: dict[str, str]) -> None:
        """Bring a counter to a total that may begin at 0 again, in a process that was restarted."""
        key = (counter.info["name"], *tags.values())
        before = self._counted.get(key, 0.0)
        step = total - before if total >= before else total
        self._counted[key] = total
        if step > 0:
            counter.inc(float(step), tags)

    def _set_memory(self, snapshot: Snapshot) -> None:
        now = {(part, name): use.resident_mb * 1e6 for part, name, use in processes(snapshot)}
        for (part, name), value in ({key: 0.0 for key in self._parts} | now).items():
            self._memory.set(value, {"part": part, "name": name})
        self._parts = now


def processes(snapshot: Snapshot) -> Iterable[tuple[str, str, ProcessUse]]:
    """Every actor's process: its part (committer, reader, analyzer), its name among them, what it holds."""
    yield "committer", "", snapshot.committer.process
    for camera_id, reader in snapshot.readers.items():
        if reader.process is not None:
            yield "reader", camera_id, reader.process
    for number, analyzer in enumerate(snapshot.analyzers):
        yield "analyzer", str(number), analyzer.process
