"""A reader's side of the delivery promise: what was sent, answered and acknowledged, in order."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from risa_ray.config import CameraConfig, Policy
from risa_ray.frames import Chunk, Frame, Outcome
from risa_ray.store.errors import GapError, StoreError
from risa_ray.store.writer import SessionInfo
from risa_ray.streaming.analyzer import StateLostError
from risa_ray.streaming.calls import hopeless, last_line

log = logging.getLogger("risa.reader")

_IN_FLIGHT = 2
"""Calls to the analyzer at a time: one at work, one on its way."""
_RUN_FRAMES = 4
"""Frames in one call of `every_frame`; `freshest` sends single ones, since a frame that waits for others ages."""
_UNACKNOWLEDGED_OUTCOMES = 20_000
"""Results that may wait for the store (a full disk, say) before the reader stops taking frames."""
_PAUSE_S = 0.3
"""Before runs are sent again to an analyzer that died, which Ray restarts."""


_ASK_EVERY_S = 1.0
"""How often the store's mark is asked for where no answer is on its way."""


@dataclass
class _InFlight:
    """`answer` is None for a run that is to be sent again."""

    run: Sequence[Frame | Outcome]
    answer: Future[Chunk] | None
    sent_at: float = field(default_factory=time.monotonic)


class Sender:
    """Sends one session's runs to the analyzer and their chunks to the committer.

    It keeps every run until it is analysed and every chunk until the store acknowledged it. When an analyzer or the
    committer dies, it sends again what has no answer; the store trims what it already has. All methods but `use` are
    for one thread.

    Args:
        policy: of the camera; frames of `freshest` older than its max_staleness_s are not analysed any more.
        bytes_in_flight: frames under way may take so much of the object store.
        mark: what the store has of the session; None opens the session with the first frame, so that a camera that
            cannot be reached leaves no sessions behind.
        on_answer: called, from a thread, when there is something to `settle`.
    """

    def __init__(
        self,
        store_id: str,
        camera: CameraConfig,
        session: SessionInfo,
        policy: Policy,
        analyzer: Any,
        committer: Any,
        bytes_in_flight: int,
        mark: int | None,
        on_answer: Callable[[], None],
    ) -> None:
        self._store_id = store_id
        self._camera = camera
        self._session = session
        self._max_age_s = camera.max_staleness_s if policy == "freshest" else None
        self._run_frames = _RUN_FRAMES if policy == "every_frame" else 1
        self._analyzer = analyzer
        self._committer = committer
        self._bytes_in_flight = bytes_in_flight
        self._in_flight: deque[_InFlight] = deque()
        self._unacknowledged: deque[Chunk] = deque()
        self._adds: deque[Future[int]] = deque()
        self._on_answer = on_answer
        self._opened = mark is not None
        self._opening: Future[int] | None = None
        self._open_at = 0.0
        self._open_told = ""
        self._acknowledged = -1 if mark is None else mark
        self._fresh = True
        self._frame_bytes = 0
        self._again_at = 0.0
        self._alone = False
        self._ask_at = 0.0
        self._answer_s = 0.0
        self._lock = threading.Lock()
        self._following: tuple[Any, bool] | None = None

    @property
    def busy(self) -> bool:
        """Whether a run is being analysed."""
        return bool(self._in_flight)

    @property
    def has_room(self) -> bool:
        """Whether another run may be sent."""
        fits = _IN_FLIGHT if self._bytes_in_flight >= _IN_FLIGHT * self._frame_bytes and not self.crowded else 1
        waiting = sum(len(c.outcomes) for c in self._unacknowledged)
        moving = self._following is not None
        return self._opened and len(self._in_flight) < fits and waiting < _UNACKNOWLEDGED_OUTCOMES and not moving

    @property
    def crowded(self) -> bool:
        """Whether answers take so long that a frame sent behind another would be stale when its turn comes."""
        return self._max_age_s is not None and self._answer_s > self._max_age_s / 2

    @property
    def run_length(self) -> int:
        """Frames that the next run may have."""
        if not self._frame_bytes:
            return 1
        return max(1, min(self._run_frames, self._bytes_in_flight // (self._frame_bytes * _IN_FLIGHT)))

    def open(self) -> None:
        """Ask the store for the session, unless it is open or asked for; there is no room before."""
        if not self._opened and self._opening is None and time.monotonic() >= self._open_at:
            self._opening = self._committer.open_session.remote(self._session).future()
            self._opening.add_done_callback(lambda _: self._on_answer())

    def send(self, run: Sequence[Frame | Outcome]) -> None:
        """Have a run analysed; it continues the one before."""
        self._frame_bytes = max([self._frame_bytes, *(i.image.nbytes for i in run if isinstance(i, Frame))])
        if any(flight.answer is None for flight in self._in_flight):
            self._in_flight.append(_InFlight(run, None))  # behind those that are to be sent again
            return
        self._in_flight.append(_InFlight(run, self._analyze(run)))
        self._fresh = False

    def use(self, analyzer: Any, abandon: bool) -> None:
        """Go on with another analyzer, as a new tracker epoch; from any thread.

        Args:
            abandon: wait no more for what the old one was sent, but send it again.
        """
        with self._lock:
            waited_for = self._following is None or not self._following[1]
            self._following = analyzer, abandon or not waited_for
        self._on_answer()

    def share(self, bytes_in_flight: int) -> None:
        """From now on frames under way may take so much; from any thread."""
        self._bytes_in_flight = bytes_in_flight

    def settle(self) -> None:
        """Pass finished analyses on to the committer, in order, and send again what has to be. Waits for nothing."""
        self._see_to_opening()
        self._change_analyzer()
        while self._in_flight and (answer := self._in_flight[0].answer) is not None and answer.done():
            self._pass_on(answer)
        if self._in_flight and self._in_flight[0].answer is None and time.monotonic() >= self._again_at:
            self._send_again()
        self._collect_acknowledgements()

    def finish(self, state: str, note: str) -> None:
        """Close the session and wait until the store has all of it."""
        if not self._opened and not self._unacknowledged:
            return
        self._analyzer.forget.remote(self._camera.id)
        last = self._unacknowledged[-1].last_seq if self._unacknowledged else self._acknowledged
        while True:
            try:
                while not self._opened:
                    self.open()
                    time.sleep(0.05)
                    self._see_to_opening()
                while self._adds:
                    self._adds[0].result()
                    self._adds.popleft()
                ray.get(self._committer.close_session.remote(self._session.session_id, state, note))
                self._committer.flush.remote()  # nothing more will come that would be worth waiting for
                while ray.get(self._committer.acknowledged.remote(self._session.session_id)) < last:
                    time.sleep(0.05)
                return
            except RayError as error:
                self._resend(error)

    def _see_to_opening(self) -> None:
        """Once the session is open: hand over what the store has not. A store in trouble is asked again."""
        if self._unacknowledged:
            self.open()
        if self._opening is None or not self._opening.done():
            return
        opening, self._opening = self._opening, None
        try:
            self._acknowledge(opening.result())
        except RayError as error:
            waits = isinstance(getattr(error, "cause", None), StoreError)
            if hopeless(error) or (isinstance(error, RayTaskError) and not waits):
                raise
            if waits and last_line(error) != self._open_told:
                self._open_told = last_line(error)
                log.warning("camera %s: its frames wait for the store: %s", self._camera.id, self._open_told)
            self._open_at = time.monotonic() + _ASK_EVERY_S
            return
        self._opened = True
        for chunk in self._unacknowledged:
            self._add(chunk)

    def _add(self, chunk: Chunk) -> None:
        self._adds.append(self._committer.add.remote(chunk).future())

    def _analyze(self, run: Sequence[Frame | Outcome]) -> Future[Chunk]:
        answer: Future[Chunk] = self._analyzer.analyze.remote(
            self._store_id, self._camera, self._session.session_id, run, self._fresh, self._max_age_s, time.time()
        ).future()
        answer.add_done_callback(lambda _: self._on_answer())
        return answer

    def _pass_on(self, answer: Future[Chunk]) -> None:
        try:
            chunk = answer.result()
        except RayError as error:
            self._recover(error)
            return
        self._alone = False
        # A single slow answer says little: half of each new one counts.
        self._answer_s = (self._answer_s + time.monotonic() - self._in_flight[0].sent_at) / 2
        self._in_flight.popleft()
        self._commit(chunk)

    def _commit(self, chunk: Chunk) -> None:
        self._unacknowledged.append(chunk)
        if self._opened:
            self._add(chunk)

    def _recover(self, error: RayError) -> None:
        """Send again everything without an answer, as a new tracker epoch."""
        lost_state = isinstance(getattr(error, "cause", None), StateLostError)
        if isinstance(error, RayTaskError) and not lost_state:
            raise error
        if not lost_state:
            if not self._alone:
                log.warning("camera %s: the analyzer is gone (%s); sending again", self._camera.id, last_line(error))
            self._alone = True
            self._again_at = time.monotonic() + _PAUSE_S
        for flight in self._in_flight:
            flight.answer = None
        self._fresh = True

    def _send_again(self) -> None:
        for flight in self._in_flight:
            if flight.answer is None:
                flight.answer, flight.sent_at = self._analyze(flight.run), time.monotonic()
                self._fresh = False

    def _change_analyzer(self) -> None:
        """Do as `use` said; only the thread that sends may touch what is in flight."""
        with self._lock:
            asked = any(flight.answer is not None for flight in self._in_flight)
            if self._following is None or (asked and not self._following[1]):
                return
            following, self._following = self._following, None
        self._analyzer.forget.remote(self._camera.id)
        self._analyzer = following[0]
        self._fresh = True
        self._again_at = 0.0
        for flight in self._in_flight:
            flight.answer = None

    def _collect_acknowledgements(self) -> None:
        if self._unacknowledged and self._opened and not self._adds and time.monotonic() >= self._ask_at:
            # Every answer came while the store was in trouble, and nothing more may be sent before there is one.
            self._ask_at = time.monotonic() + _ASK_EVERY_S
            self._adds.append(self._committer.acknowledged.remote(self._session.session_id).future())
        while self._adds and self._adds[0].done():
            try:
                self._acknowledge(self._adds.popleft().result())
            except RayError as error:
                self._resend(error)
                break

    def _acknowledge(self, mark: int) -> None:
        self._acknowledged = max(self._acknowledged, mark)
        while self._unacknowledged and self._unacknowledged[0].last_seq <= self._acknowledged:
            self._unacknowledged.popleft()

    def _resend(self, error: RayError) -> None:
        """The committer restarted (it says so by a gap, or by not answering): send it again what it never kept."""
        known = isinstance(getattr(error, "cause", None), GapError | KeyError)
        if hopeless(error) or (isinstance(error, RayTaskError) and not known):
            raise error
        restarted = isinstance(error, RayActorError)
        log.warning(
            "camera %s: the committer %s; sending again what the store has not",
            self._camera.id, "is gone" if restarted else f"is behind ({last_line(error)})",
        )  # fmt: skip
        self._adds.clear()
        self._opened, self._open_at = False, 0.0
        self.open()
