"""The Ray actor that reads one camera and owns its frames until their results are in the store."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from ray.exceptions import RayTaskError

from risa_ray.config import CameraConfig, redact
from risa_ray.errors import BrokenSourceError, SourceError
from risa_ray.frames import Frame
from risa_ray.sources import create_source, policy_of
from risa_ray.sources.base import Source
from risa_ray.sources.reading import read_frames, undecoded
from risa_ray.store.writer import SessionInfo
from risa_ray.streaming.buffer import FrameBuffer
from risa_ray.streaming.calls import last_line, patiently
from risa_ray.streaming.lifecycle import CameraState
from risa_ray.streaming.process import ProcessUse, process_use
from risa_ray.streaming.sender import Sender

log = logging.getLogger("risa.reader")

_BACK_OFF_S = (0.5, 1.0, 2.0, 4.0)
_WAITING_FRAMES = {"every_frame": 8, "freshest": 2}
"""Decoded frames that may wait. A live picture that waits ages: two suffice to keep the analyzer busy."""


@dataclass(frozen=True)
class ReaderStatus:
    """What the driver asks each second.

    `session` and `last_seq` let it account for frames lost in a crash; `decode_s` and `active_s` are seconds spent
    decoding, and from the session's first read to its last acknowledged row (or to now). `connections` and `stalls`
    count since this process began, as do `read` and `decode_errors`. `process` is None before the first answer.
    """

    camera_id: str
    state: CameraState = "connecting"
    session: SessionInfo | None = None
    last_seq: int = -1
    read: int = 0
    decode_errors: int = 0
    note: str = ""
    decode_s: float = 0.0
    active_s: float = 0.0
    connections: int = 0
    stalls: int = 0
    node_id: str = ""
    process: ProcessUse | None = None


class ReaderActor:
    """Reads one camera: decodes in a thread, and has a `Sender` deliver.

    Args:
        store_id, camera, timezone: whose camera this is.
        bytes_in_flight: share of the object store that this camera's frames may take.
    """

    def __init__(self, store_id: str, camera: CameraConfig, timezone: str, bytes_in_flight: int) -> None:
        import cv2

        cv2.setNumThreads(1)
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
        self._store_id = store_id
        self._camera = camera
        self._timezone = ZoneInfo(timezone)
        self._bytes_in_flight = bytes_in_flight
        self._stopping = threading.Event()
        self._state: CameraState = "connecting"
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
            self._state, self._note, self._last_seq = "connecting", "", -1
            try:
                self._state = self._run_session(analyzer, committer, session)
            except SourceError as error:
                self._state, self._note = "broken", str(error)
            except RayTaskError as error:
                # The store or an actor refused: for a file that is the end, a live camera tries again.
                if not session.live:
                    raise
                self._state, self._note = "broken", last_line(error)
            if self._state != "broken" or not session.live:
                break
            attempt = 0 if self._last_seq >= 0 else attempt + 1
            self._state = "backing_off"
            self._stopping.wait(_BACK_OFF_S[min(attempt, len(_BACK_OFF_S) - 1)])
            session = replace(session, session_id=secrets.token_hex(6), started_at=datetime.now(UTC))
        if self._stopping.is_set() and self._state != "complete":
            self._state = "stopped"
        return self.status()

    def status(self) -> ReaderStatus:
        return ReaderStatus(
            camera_id=self._camera.id,
            state=self._state,
            session=self._session,
            last_seq=self._last_seq,
            read=self._read,
            decode_errors=getattr(self._source, "decode_errors", 0),
            note=self._note,
            decode_s=self._decode_s,
            active_s=(self._ended_at or time.monotonic()) - self._began_at if self._began_at else 0.0,
            process=process_use(),
        )

    def stop(self) -> None:
        """Read no further; what was read is still analysed and committed, and `run` returns."""
        self._stopping.set()
        if self._source is not None:
            self._source.close()

    def _run_session(self, analyzer: Any, committer: Any, session: SessionInfo) -> CameraState:
        source = create_source(self._camera, self._timezone)
        self._source = source
        if self._stopping.is_set():  # `stop` may have looked for the source just before it was there
            source.close()
        source.check()
        mark = None if source.live else patiently(lambda: committer.open_session.remote(session))
        self._session, self._last_seq = session, -1 if mark is None else mark
        self._began_at, self._ended_at = time.monotonic(), 0.0
        policy = policy_of(self._camera, source)
        buffer = FrameBuffer(policy, _WAITING_FRAMES[policy], self._camera.max_staleness_s)
        sender = Sender(self._store_id, self._camera, session, policy, analyzer, committer, self._bytes_in_flight, mark)
        self._state = "connecting" if source.live else "reading"
        ended: list[CameraState] = []
        decoder = threading.Thread(
            target=self._decode, args=(source, session, self._last_seq, buffer, ended), name="decode", daemon=True
        )
        decoder.start()
        try:
            self._pump(buffer, sender)
        finally:
            source.close()
            buffer.close()
        decoder.join()
        sender.finish(ended[0], self._note)
        self._ended_at = time.monotonic()
        return ended[0]

    def _decode(
        self, source: Source, session: SessionInfo, mark: int, buffer: FrameBuffer, ended: list[CameraState]
    ) -> None:
        """Drain the source into the buffer; always leaves one word on how it ended."""
        word: CameraState = "complete"
        items = read_frames(source, self._camera, session.session_id, session.started_at, mark)
        try:
            while True:
                began = time.perf_counter()
                item = next(items, None)
                self._decode_s += time.perf_counter() - began
                if item is None or not buffer.put(item):
                    break
                self._last_seq = item.frame_seq
                self._read += 1
                if source.live and isinstance(item, Frame):
                    self._state = "live"
            if self._stopping.is_set():
                word = "stopped"
            self._note = undecoded(source)
        except (BrokenSourceError, SourceError) as error:
            word, self._note = "broken", redact(str(error))
            log.warning("camera %s: %s", self._camera.id, self._note)
        except Exception as error:
            # Whatever a decoder throws must end this session, named, and nothing else.
            word, self._note = "broken", redact(f"{self._camera.source}: {type(error).__name__}: {error}")
            log.error("camera %s: reading failed: %s", self._camera.id, self._note)
        finally:
            ended.append(word)
            buffer.close()

    def _pump(self, buffer: FrameBuffer, sender: Sender) -> None:
        while True:
            sender.settle(block=not sender.has_room)
            if not sender.has_room:
                continue
            run = buffer.take(sender.run_length, timeout_s=0.01 if sender.busy else 0.2)
            if run:
                sender.send(run)
            elif buffer.exhausted:
                break
        sender.drain()
