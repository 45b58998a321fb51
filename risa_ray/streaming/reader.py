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

import ray
from ray.exceptions import RayTaskError

from risa_ray.config import CameraConfig
from risa_ray.errors import SourceError
from risa_ray.sources import create_source, policy_of
from risa_ray.store.reached import Reached
from risa_ray.store.writer import SessionInfo
from risa_ray.streaming.buffer import FrameBuffer
from risa_ray.streaming.calls import last_line, patiently
from risa_ray.streaming.decoding import Decoding, Ending
from risa_ray.streaming.lifecycle import BackOff, CameraState, Lifecycle
from risa_ray.streaming.process import ProcessUse, keep_memory_flat, process_use
from risa_ray.streaming.sender import Sender

log = logging.getLogger("risa.reader")

_WAITING_FRAMES = {"every_frame": 8, "freshest": 2}
"""Decoded frames that may wait. A live picture that waits ages: two suffice to keep the analyzer busy."""


_TICK_S = 0.2
"""How often a camera that is silent, a dead analyzer and the store's acknowledgements are looked after."""

_WAITING_OUTCOMES = 20_000
"""Dropped frames that may wait beside those of the sender while the store cannot be written: an hour of them."""


@dataclass(frozen=True)
class ReaderStatus:
    """What the driver asks each second.

    `session` and `last_seq` let it account for frames lost in a crash; `decode_s` and `active_s` are seconds spent
    decoding, and from the session's first read to its last acknowledged row (or to now). `connections` and `stalls`
    count since this process began, as do `read` and `decode_errors`. `process` is None before the first answer.
    """

    camera_id: str
    store_id: str = ""
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
        run: id and generation of the run's record.
        store_id, camera, timezone: whose camera this is.
        bytes_in_flight: share of the object store that this camera's frames may take.
    """

    def __init__(
        self, run: tuple[str, int], store_id: str, camera: CameraConfig, timezone: str, bytes_in_flight: int
    ) -> None:
        import cv2

        keep_memory_flat()
        cv2.setNumThreads(1)
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
        self._run = run
        self._store_id = store_id
        self._camera = camera
        self._timezone = ZoneInfo(timezone)
        self._bytes_in_flight = bytes_in_flight
        self._node_id = ray.get_runtime_context().get_node_id()
        self._stopping = threading.Event()
        self._lifecycle = Lifecycle(camera.stall_timeout_s)
        self._note = self._told = ""
        self._session: SessionInfo | None = None
        self._decoding: Decoding | None = None
        self._sender: Sender | None = None
        self._reached: Reached | None = None
        self._analyzer: Any = None
        self._changing = threading.Lock()
        self._before = ReaderStatus(camera.id)  # what the sessions before this one add to the counts
        self._began_at = 0.0
        self._ended_at = 0.0

    def run(self, analyzer: Any, committer: Any, session: SessionInfo) -> ReaderStatus:
        """Read until the source ends or `stop` is called; a live camera that breaks off is opened again, as a new
        session. Returns once everything is acknowledged by the store.

        Raises:
            RayTaskError: the store or the analyzer refused a file's frames; a live camera tries again.
        """
        with self._changing:
            self._analyzer = self._analyzer or analyzer  # `use` may have come first
        back_off = BackOff()
        while True:
            ending = self._session_of(committer, session)
            if self._stopping.is_set() or ending.word != "broken" or not session.live:
                break
            self._note = ending.note
            self._lifecycle.go("backing_off")
            lasted_s = self._ended_at - self._began_at if self._decoding and self._decoding.read else 0.0
            if self._stopping.wait(back_off.next_s(lasted_s, ending.refused)):
                break
            self._lifecycle.go("connecting")
            session = replace(session, session_id=secrets.token_hex(6), started_at=datetime.now(UTC))
        self._note = ending.note
        self._lifecycle.go("stopped" if self._stopping.is_set() and ending.word != "complete" else ending.word)
        return self.status()

    def use(self, analyzer: Any, abandon: bool) -> None:
        """Go on with another analyzer; see `Sender.use`."""
        with self._changing:
            self._analyzer = analyzer
            if self._sender is not None:
                self._sender.use(analyzer, abandon)

    def share(self, bytes_in_flight: int) -> None:
        """The camera's share of the object store is another: cameras came or went."""
        with self._changing:
            self._bytes_in_flight = bytes_in_flight
            if self._sender is not None:
                self._sender.share(bytes_in_flight)

    def status(self) -> ReaderStatus:
        with self._changing:
            return self._status()

    def _status(self) -> ReaderStatus:
        now, before = self._decoding, self._before
        return ReaderStatus(
            camera_id=self._camera.id,
            store_id=self._store_id,
            state=self._lifecycle.state,
            session=self._session,
            last_seq=now.last_seq if now else -1,
            read=before.read + (now.read if now else 0),
            decode_errors=before.decode_errors + (now.decode_errors if now else 0),
            note=self._note,
            decode_s=before.decode_s + (now.decode_s if now else 0.0),
            active_s=(self._ended_at or time.monotonic()) - self._began_at if self._began_at else 0.0,
            connections=self._lifecycle.connections,
            stalls=self._lifecycle.stalls,
            node_id=self._node_id,
            process=process_use(),
        )

    def stop(self) -> None:
        """Read no further; what was read is still analysed and committed, and `run` returns."""
        self._stopping.set()
        if self._decoding is not None:
            self._decoding.close()

    def _session_of(self, committer: Any, session: SessionInfo) -> Ending:
        """One session from its beginning to the store's last acknowledgement, and how it ended."""
        try:
            ending = self._read(committer, session)
            self._closed()
            return ending
        except SourceError as error:
            ending = Ending("broken", str(error))
            self._closed()
        except RayTaskError as error:
            if not session.live:
                raise
            ending = Ending("broken", last_line(error))
            self._account(committer, session, ending.note)
        self._tell(ending.note, new=False)
        return ending

    def _closed(self) -> None:
        """The store knows of every frame of the session."""
        reached, self._reached = self._reached, None
        if reached is not None:
            reached.close()

    def _account(self, committer: Any, session: SessionInfo, reason: str) -> None:
        """The session ends with frames that nobody will say anything of."""
        last_seq = self._decoding.last_seq if self._decoding and self._session == session else -1
        told = False
        while True:
            try:
                patiently(lambda: committer.lost.remote(session, last_seq, reason))
                self._closed()
                return
            except RayTaskError as error:
                if not told:
                    log.error("camera %s: its frames are not accounted for yet: %s", self._camera.id, last_line(error))
                told = True
                if self._stopping.wait(1):
                    return

    def _tell(self, reason: str, *, new: bool) -> None:
        """Log why a camera broke off; once, as long as every attempt to connect fails for the same reason."""
        if new or reason != self._told:
            log.warning("camera %s: %s", self._camera.id, reason)
        self._told = reason

    def _read(self, committer: Any, session: SessionInfo) -> Ending:
        source = create_source(self._camera, self._timezone)
        source.check()
        mark = None if source.live else patiently(lambda: committer.open_session.remote(session))
        policy = policy_of(self._camera, source)
        buffer = FrameBuffer(policy, _WAITING_FRAMES[policy], self._camera.max_staleness_s)
        after_seq = -1 if mark is None else mark
        self._reached = reached = Reached(*self._run, session) if source.live else None
        on_frame = reached.note if reached else lambda _: None
        decoding = Decoding(source, self._camera, session, after_seq, buffer, self._lifecycle, on_frame)
        with self._changing:
            self._before = self._status()
            self._session, self._decoding = session, decoding
            self._sender = sender = Sender(
                self._store_id,
                self._camera,
                session,
                policy,
                self._analyzer,
                committer,
                self._bytes_in_flight,
                mark,
                buffer.wake,
            )
        self._began_at, self._ended_at = time.monotonic(), 0.0
        if self._stopping.is_set():  # `stop` may have looked for the decoding just before it was there
            decoding.close()
        if not source.live:
            self._lifecycle.go("reading")
        decoding.start()
        try:
            self._pump(buffer, decoding, sender)
        finally:
            decoding.close()
        ending = decoding.ending()
        if ending.word == "broken":
            self._tell(ending.note, new=decoding.read > 0)
        if ending.word == "broken" and source.live:
            self._note = ending.note
            self._lifecycle.go("backing_off")  # the store may take a moment to acknowledge
        sender.finish(ending.word, ending.note)
        self._ended_at = time.monotonic()
        return ending

    def _pump(self, buffer: FrameBuffer, decoding: Decoding, sender: Sender) -> None:
        while not buffer.exhausted:
            sender.settle()
            if self._lifecycle.lost:
                decoding.give_up(f"no picture for {2 * self._camera.stall_timeout_s:g} s; connecting again")
            if buffer.waiting > _WAITING_OUTCOMES:
                decoding.give_up("the store is behind; connecting again once it is not")
            if buffer.waiting:
                sender.open()
            if not sender.has_room:
                buffer.wait(_TICK_S)
            elif run := buffer.take(sender.run_length, _TICK_S, newest=sender.crowded):
                self._note = ""
                sender.send(run)
        while sender.busy:
            buffer.wait(_TICK_S)
            sender.settle()
