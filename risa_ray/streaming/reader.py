"""The Ray actor that reads one camera and owns its frames until their results are in the store."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

import ray
from ray.exceptions import RayActorError, RayTaskError

from risa_ray.config import CameraConfig, Policy, redact
from risa_ray.errors import BrokenSourceError, SourceError
from risa_ray.frames import Chunk, Frame, Outcome, dropped
from risa_ray.sources import create_source, policy_of
from risa_ray.sources.base import Source
from risa_ray.sources.reading import read_frames
from risa_ray.store.writer import GapError, SessionInfo
from risa_ray.streaming.analyzer import StateLostError
from risa_ray.streaming.buffer import FrameBuffer
from risa_ray.streaming.calls import last_line, patiently
from risa_ray.streaming.process import resident_mb

log = logging.getLogger("risa.reader")

CameraStateName = Literal["connecting", "live", "reading", "backing_off", "stopped", "complete", "broken"]

_BACK_OFF_S = (0.5, 1.0, 2.0, 4.0)
_IN_FLIGHT = 2
"""Calls to the analyzer at a time: one at work, one on its way."""
_UNACKNOWLEDGED_OUTCOMES = 20_000
"""Results that may wait for the store (a full disk, say) before the reader stops taking frames."""
_ATTEMPTS = 2
"""How often a single frame may fail before it counts as poison."""


@dataclass(frozen=True)
class ReaderStatus:
    """What the driver asks each second.

    `session_id` and `last_seq` let it account for frames lost in a crash; `decode_s` and `active_s` are seconds spent
    decoding, and from the session's first read to its last acknowledged row (or to now).
    """

    camera_id: str
    state: CameraStateName
    session_id: str | None
    last_seq: int
    read: int
    decode_errors: int
    note: str
    resident_mb: float
    decode_s: float
    active_s: float
    pid: int


@dataclass
class _InFlight:
    run: list[Frame | Outcome]
    answer: Any


class ReaderActor:
    """Reads one camera: decodes in a thread, sends runs to the analyzer and their chunks to the committer.

    The reader keeps every frame until it has been analysed, and every chunk until the store acknowledged it. When an
    analyzer or the committer dies, it sends again what has no answer; the store trims what it already has.

    Args:
        store_id, camera, timezone: whose camera this is.
        max_frame_bytes_in_flight: share of the object store that this camera's frames may take.
    """

    def __init__(self, store_id: str, camera: CameraConfig, timezone: str, max_frame_bytes_in_flight: int) -> None:
        import cv2

        cv2.setNumThreads(1)
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
        self._store_id = store_id
        self._camera = camera
        self._timezone = ZoneInfo(timezone)
        self._bytes_in_flight = max_frame_bytes_in_flight
        self._stopping = threading.Event()
        self._state: CameraStateName = "connecting"
        self._note = ""
        self._session: SessionInfo | None = None
        self._source: Source | None = None
        self._last_seq = -1
        self._read = 0
        self._decode_s = 0.0
        self._began_at = 0.0
        self._ended_at = 0.0

    def run(self, analyzer: Any, committer: Any, session: SessionInfo) -> ReaderStatus:
        """Read until the source ends or `stop` is called; a live camera that breaks off is opened again, as a new
        session. Returns once everything is acknowledged by the store."""
        attempt = 0
        while not self._stopping.is_set():
            source = create_source(self._camera, self._timezone)
            self._source = source
            ended = self._run_session(source, analyzer, committer, session)
            if ended == "complete" or not source.live:
                break
            self._state = "backing_off"
            attempt = 0 if self._last_seq >= 0 else attempt + 1
            self._stopping.wait(_BACK_OFF_S[min(attempt, len(_BACK_OFF_S) - 1)])
            session = replace(session, session_id=secrets.token_hex(6), started_at=datetime.now(UTC))
        if self._stopping.is_set():
            self._state = "stopped"
        return self.status()

    def status(self) -> ReaderStatus:
        return ReaderStatus(
            camera_id=self._camera.id,
            state=self._state,
            session_id=self._session.session_id if self._session else None,
            last_seq=self._last_seq,
            read=self._read,
            decode_errors=getattr(self._source, "decode_errors", 0),
            note=self._note,
            resident_mb=resident_mb(),
            decode_s=self._decode_s,
            active_s=(self._ended_at or time.monotonic()) - self._began_at if self._began_at else 0.0,
            pid=os.getpid(),
        )

    def stop(self) -> None:
        """Read no further; what was read is still analysed and committed, and `run` returns."""
        self._stopping.set()
        if self._source is not None:
            self._source.close()

    def _run_session(self, source: Source, analyzer: Any, committer: Any, session: SessionInfo) -> CameraStateName:
        source.check()
        mark = patiently(lambda: committer.open_session.remote(session), self._stopping)
        self._session, self._last_seq = session, mark
        self._began_at, self._ended_at = time.monotonic(), 0.0
        policy = policy_of(self._camera, source)
        # A live picture that waits is a picture that ages: two suffice to keep the analyzer busy.
        buffer = FrameBuffer(policy, 8 if policy == "every_frame" else 2, self._camera.max_staleness_s)
        self._state = "connecting" if source.live else "reading"
        ended: list[CameraStateName] = []
        decoder = threading.Thread(
            target=self._decode, args=(source, session, mark, buffer, ended), name="decode", daemon=True
        )
        decoder.start()
        sender = _Sender(self._store_id, self._camera, session, analyzer, committer, mark)
        try:
            self._pump(buffer, sender, policy)
        finally:
            source.close()
            buffer.close()
        decoder.join()
        state: CameraStateName = "stopped" if self._stopping.is_set() and ended == ["complete"] else ended[0]
        self._state = state
        sender.finish(state, self._note)
        self._ended_at = time.monotonic()
        return state

    def _decode(
        self,
        source: Source,
        session: SessionInfo,
        mark: int,
        buffer: FrameBuffer,
        ended: list[CameraStateName],
    ) -> None:
        """Drain the source into the buffer; always leaves one word on how it ended."""
        word: CameraStateName = "complete"
        frames = read_frames(source, self._camera, session.session_id, session.started_at, mark)
        try:
            while True:
                began = time.perf_counter()
                frame = next(frames, None)
                self._decode_s += time.perf_counter() - began
                if frame is None or not buffer.put(frame):
                    break
                self._last_seq = frame.frame_seq
                self._read += 1
                if source.live:
                    self._state = "live"
        except (BrokenSourceError, SourceError) as error:
            word, self._note = "broken", str(error)
            log.warning("camera %s: %s", self._camera.id, error)
        except Exception as error:
            # Whatever a decoder throws must end this session, named, and nothing else.
            word, self._note = "broken", f"{redact(self._camera.source)}: {type(error).__name__}: {error}"
            log.exception("camera %s: reading failed", self._camera.id)
        finally:
            ended.append(word)
            buffer.close()

    def _pump(self, buffer: FrameBuffer, sender: _Sender, policy: Policy) -> None:
        while True:
            sender.settle(block=not sender.has_room)
            if not sender.has_room:
                continue
            run = buffer.take(sender.run_length(self._bytes_in_flight), timeout_s=0.01 if sender.busy else 0.2)
            if run:
                sender.send(run)
            elif buffer.exhausted:
                break
            if self._stopping.is_set() and policy == "freshest":
                buffer.close()
        sender.drain()


class _Sender:
    """The reader's side of the delivery promise: what was sent, answered and acknowledged, in order."""

    def __init__(
        self, store_id: str, camera: CameraConfig, session: SessionInfo, analyzer: Any, committer: Any, mark: int
    ) -> None:
        self._store_id = store_id
        self._camera = camera
        self._session = session
        self._analyzer = analyzer
        self._committer = committer
        self._in_flight: deque[_InFlight] = deque()
        self._unacknowledged: deque[Chunk] = deque()
        self._adds: deque[Any] = deque()
        self._acknowledged = mark
        self._fresh = True
        self._frame_bytes = 0

    @property
    def busy(self) -> bool:
        return bool(self._in_flight)

    @property
    def has_room(self) -> bool:
        waiting = sum(len(c.outcomes) for c in self._unacknowledged)
        return len(self._in_flight) < _IN_FLIGHT and waiting < _UNACKNOWLEDGED_OUTCOMES

    def run_length(self, bytes_in_flight: int) -> int:
        """Frames in the next call: up to four, as few as the share of the object store allows."""
        if not self._frame_bytes:
            return 1
        return max(1, min(4, bytes_in_flight // (self._frame_bytes * _IN_FLIGHT)))

    def send(self, run: list[Frame | Outcome]) -> None:
        self._frame_bytes = max([self._frame_bytes, *(i.image.nbytes for i in run if isinstance(i, Frame))])
        answer = self._analyzer.analyze.remote(self._store_id, self._camera, self._session.session_id, run, self._fresh)
        self._fresh = False
        self._in_flight.append(_InFlight(run, answer))

    def settle(self, *, block: bool) -> None:
        """Pass finished analyses on to the committer, in order; with `block`, wait a moment for one."""
        if self._in_flight:
            ready, _ = ray.wait([self._in_flight[0].answer], timeout=0.2 if block else 0)
            if ready:
                self._pass_on()
        elif block:
            time.sleep(0.05)  # the store is behind
        self._collect_acknowledgements()

    def _pass_on(self) -> None:
        try:
            chunk: Chunk = ray.get(self._in_flight[0].answer)
        except (RayActorError, RayTaskError) as error:
            self._recover(error)
            return
        self._in_flight.popleft()
        self._commit(chunk)

    def _commit(self, chunk: Chunk) -> None:
        self._unacknowledged.append(chunk)
        self._adds.append(self._committer.add.remote(chunk))

    def _recover(self, error: Exception) -> None:
        """Send again everything without an answer, as a new tracker epoch; skip a frame that fails again and again."""
        runs = [f.run for f in self._in_flight]
        self._in_flight.clear()
        self._fresh = True
        if isinstance(getattr(error, "cause", None), StateLostError):
            for run in runs:
                self.send(run)
            return
        if isinstance(error, RayActorError):
            log.warning("camera %s: the analyzer is gone; waiting for it to come back", self._camera.id)
            patiently(self._analyzer.status.remote)
        else:
            log.warning("camera %s: analysis failed (%s); trying frame by frame", self._camera.id, last_line(error))
        self._send_one_by_one(runs)

    def _send_one_by_one(self, runs: list[list[Frame | Outcome]]) -> None:
        """After a failure each frame goes alone, so that the guilty one, if there is one, shows itself."""
        for item in (item for run in runs for item in run):
            for attempt in range(_ATTEMPTS + 1):
                last = attempt == _ATTEMPTS
                one = dropped(item, "poison") if last and isinstance(item, Frame) else item
                answer = self._analyzer.analyze.remote(
                    self._store_id, self._camera, self._session.session_id, [one], self._fresh
                )
                try:
                    chunk: Chunk = ray.get(answer)
                except (RayActorError, RayTaskError) as error:
                    self._fresh = True
                    if isinstance(error, RayActorError):
                        patiently(self._analyzer.status.remote)
                    log.warning(
                        "camera %s: frame %d of session %s failed (%s)",
                        self._camera.id, item.frame_seq, self._session.session_id, last_line(error),
                    )  # fmt: skip
                    continue
                if one is not item:
                    log.error(
                        "camera %s: frame %d of session %s is skipped as poison",
                        self._camera.id, item.frame_seq, self._session.session_id,
                    )  # fmt: skip
                self._fresh = False
                self._commit(chunk)
                break
            else:
                raise RuntimeError(f"camera {self._camera.id}: the analyzer cannot even take a dropped frame")

    def _collect_acknowledgements(self) -> None:
        while self._adds:
            ready, _ = ray.wait([self._adds[0]], timeout=0)
            if not ready:
                break
            try:
                self._acknowledge(ray.get(self._adds.popleft()))
            except (RayActorError, RayTaskError) as error:
                self._resend(error)
                break

    def _acknowledge(self, mark: int) -> None:
        self._acknowledged = max(self._acknowledged, mark)
        while self._unacknowledged and self._unacknowledged[0].last_seq <= self._acknowledged:
            self._unacknowledged.popleft()

    def _resend(self, error: Exception) -> None:
        """The committer restarted (it says so by a gap, or by not answering): send it again what it never kept."""
        if isinstance(error, RayTaskError) and not isinstance(getattr(error, "cause", None), GapError | KeyError):
            raise error
        log.warning("camera %s: the committer is behind (%s); sending again", self._camera.id, last_line(error))
        self._adds.clear()
        mark = patiently(lambda: self._committer.open_session.remote(self._session))
        self._acknowledge(mark)
        for chunk in self._unacknowledged:
            self._adds.append(self._committer.add.remote(chunk))

    def drain(self) -> None:
        """Wait until everything sent is analysed and handed to the committer."""
        while self._in_flight:
            self.settle(block=True)

    def finish(self, state: CameraStateName, note: str) -> None:
        """Close the session and wait until the store has all of it."""
        last = self._unacknowledged[-1].last_seq if self._unacknowledged else self._acknowledged
        while True:
            try:
                ray.get(list(self._adds))
                self._adds.clear()
                ray.get(self._committer.close_session.remote(self._session.session_id, state, note))
                self._committer.flush.remote()  # nothing more will come that would be worth waiting for
                while True:
                    mark = ray.get(self._committer.acknowledged.remote(self._session.session_id))
                    if mark >= last:
                        return
                    time.sleep(0.1)
            except (RayActorError, RayTaskError) as error:
                self._resend(error)
