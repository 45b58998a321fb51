"""The committer: chunks in, exactly one row per face and one per camera, session and window out.

Each session has two durable marks, one in `observations` and one in `frames`. Faces are committed at every flush,
windows when they are over, always in this order; so the frames mark never passes the observations mark, and the lower
of the two (what is acknowledged) lies on a window's border. After a crash a reader sends from there again: faces that
are in the store already are trimmed, and the open window is counted anew from all its frames.
"""

from __future__ import annotations

import math
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from risa_ray.frames import Chunk, from_unix
from risa_ray.store import rows
from risa_ray.store.errors import ConflictError, GapError, StoreError
from risa_ray.store.heartbeats import Heartbeats, Place, number_of, start_of
from risa_ray.store.paths import ensure_writable
from risa_ray.store.rows import Faces
from risa_ray.store.sessions import Session, SessionInfo
from risa_ray.store.stored import opened_by, opening_marks, stored_faces
from risa_ray.store.table import Table
from risa_ray.store.windows import Window, empty_row, frames_row

__all__ = ["SessionInfo", "Writer"]

_ATTEMPTS = 8
_MARK_S = 1.0
"""Live frames without a face are marked so often, that they can be accounted for should everything die at once."""
_CLOSED_KEPT = 10_000
"""Closed sessions that late calls are still answered for; a camera that is down opens one with every attempt."""


class Writer:
    """Writes chunks of many sessions to one dataset; several writers may share it. Not for several threads at once.

    Args:
        data: path or URL of the dataset; created when missing.
        run_id: goes into every row of `frames`.
        clock: Unix seconds.
        run_began: Unix seconds when the run's process began; no heartbeat speaks for a time before. None: not known.

    Raises:
        InputError: the path cannot be written.
        StoreError: a table can be neither opened nor created.
    """

    def __init__(
        self, data: str, run_id: str, clock: Callable[[], float] = time.time, run_began: float | None = None
    ) -> None:
        path = ensure_writable(data)
        rows.warm_up()
        self._run_id = run_id
        self._clock = clock
        self._observations = Table(path, "observations")
        self._frames = Table(path, "frames")
        self._alerts = Table(path, "alerts")
        self._sessions: dict[str, Session] = {}
        self._closed: dict[str, int] = {}
        self._heartbeats = Heartbeats(run_id, clock, run_began)
        self._marked_at = -math.inf
        self.alert_trouble = ""
        """Why the last flush could not store the alerts, which then wait for the next; empty when it could."""
        self._waiting_alerts: list[dict[str, Any]] = []
        self._alerts_app = f"alerts/{uuid.uuid4().hex}"
        self._alerts_mark = 0
        self._alerts_tried = 0

    def open_session(self, info: SessionInfo) -> int:
        """Take up a session, new or interrupted; a second call changes nothing.

        Returns:
            Its acknowledged mark, -1 if nothing is stored: send the frames after it.

        Raises:
            StoreError: the marks cannot be read.
        """
        session = self._sessions.get(info.session_id)
        if session is None:
            self._observations.refresh()
            self._frames.refresh()
            session = Session(info, self._observations.mark(info.session_id), self._frames.mark(info.session_id))
            self._sessions[info.session_id] = session
            self._closed.pop(info.session_id, None)
            if info.live:
                self._know(info.place, info.started_at)
        return session.acknowledged

    def add(self, chunk: Chunk) -> Chunk | None:
        """Buffer a chunk; frames that are stored or buffered already are trimmed.

        Returns:
            The part that was new, None when nothing was.

        Raises:
            GapError: frames before the chunk are missing; nothing of it is taken.
            KeyError: the session is not open here.
        """
        session_id = chunk.session_id
        if chunk.last_seq <= self._closed.get(session_id, -1):
            return None
        session = self._open(session_id)
        fresh = chunk.after(session.last_seq)
        if fresh is None:
            return None
        expected = session.last_seq + 1
        if fresh.first_seq > expected:
            raise GapError(expected, f"session {session_id}: frame {expected} is missing before {fresh.first_seq}")
        if session.closing:
            raise KeyError(f"session {session_id} was closed and takes no new frames")
        first = len(session.windows) - 1
        for outcome in fresh.outcomes:
            session.window(outcome.captured_at).add(outcome, outcome.frame_seq <= session.faces_mark)
        self._delivered(session, first)
        if (faces := Faces(fresh, fresh.faces).after(session.faces_mark)).rows:
            session.faces.append(faces)
        session.last_seq = fresh.last_seq
        return fresh

    def lost(self, session_id: str, last_seq: int, at: datetime | None = None) -> dict[str, int]:
        """Account for the frames after what is here, up to `last_seq` and to what observations has of the session.

        Those with stored faces (of a writer that died before it could write their window) are analysed; of the others
        nothing can be known any more: they are lost in a crash, and count in the window of the frame before them.

        Args:
            session_id: its reader is dead.
            last_seq: the last frame that the reader is known to have had, -1 if none is known.
            at: when the frames were taken, aware, where no other frame tells; None is when the session's first were, as
                far as is known, else now.

        Returns:
            How many frames are now accounted for, as "analysed" and "lost_in_crash".

        Raises:
            KeyError: the session is not open here.
            StoreError: what is stored cannot be read.
        """
        counts: Counter[str] = Counter()
        if session_id in self._closed and last_seq <= self._closed[session_id]:
            return counts
        session = self._open(session_id)
        stored: dict[int, tuple[datetime, int]] = {}
        if session.last_seq < session.faces_mark:
            info = session.info
            stored = stored_faces(
                self._observations, info.store_id, session_id, session.last_seq, since=info.started_at
            )
        if session.windows:
            moment = session.windows[-1].start
        else:
            moment = stored[min(stored)][0] if stored else at or self._opened_at(session.info)
        first = len(session.windows) - 1
        for frame_seq in range(session.last_seq + 1, max(last_seq, session.faces_mark) + 1):
            if frame_seq in stored:
                moment, faces = stored[frame_seq]
                session.window(moment).add_stored(frame_seq, moment, faces)
            else:
                session.window(moment).add_lost(frame_seq)
            counts["analysed" if frame_seq in stored else "lost_in_crash"] += 1
            session.last_seq = frame_seq
        self._delivered(session, first)
        return counts

    def close_session(self, session_id: str, state: str, note: str = "") -> None:
        """End a session: the next flush writes its last window with `state` (complete, broken, ...) and `note`.

        A session that never had a frame leaves nothing: heartbeats say what its camera was doing. A second call changes
        nothing.

        Raises:
            KeyError: the session is not open here.
        """
        if session_id not in self._closed:
            session = self._open(session_id)
            session.closing = session.closing or (state, note)

    def open_sessions(self, place: Place) -> list[str]:
        """Sessions of a camera that nobody has closed."""
        return [i for i, session in self._sessions.items() if session.info.place == place and not session.closing]

    def acknowledged(self, session_id: str) -> int:
        """The mark up to which a session is stored, -1 if nothing is; also of a session closed lately.

        Raises:
            KeyError: the session is not open here.
        """
        mark = self._closed.get(session_id)
        return self._open(session_id).acknowledged if mark is None else mark

    def heartbeat(self, camera_states: Mapping[str, tuple[str, str]]) -> None:
        """Keep a record of live cameras that send no frames: one row per camera and window in which none came.

        It is written when the window is over. Files lie at a time of their own, and get none.

        Args:
            camera_states: camera_id -> (store_id, state), of all live cameras; to be told about once a window.
        """
        files = {session.info.place for session in self._sessions.values() if not session.info.live}
        told = {(store_id, camera_id): state for camera_id, (store_id, state) in camera_states.items()}
        states = {place: state for place, state in told.items() if place not in files and state != "reading"}
        for place in states:
            self._know(place)
        self._heartbeats.beat(states)

    def add_alerts(self, alerts: Iterable[Any]) -> None:
        """Buffer rows of `alerts`: mappings or dataclasses with its columns, `date` excepted."""
        self._waiting_alerts += [rows.alert(alert) for alert in alerts]

    def flush(self, last: bool = False) -> dict[str, int]:
        """Commit what waits. Alerts come last, and whether they could be stored is told by `alert_trouble` alone.

        Args:
            last: nothing will come after it: heartbeats do not wait for the end of their window.

        Returns:
            Session -> acknowledged mark, of all sessions open at the start of the call.

        Raises:
            StoreError: disk full, no access, or conflicts without end. Everything uncommitted stays buffered.
        """
        self._retry(self._observations, self._commit_faces)
        self._retry(self._frames, partial(self._commit_frames, last))
        self.flush_alerts()
        marks = {session_id: session.acknowledged for session_id, session in self._sessions.items()}
        for session_id in [s for s, session in self._sessions.items() if session.closing and not session.windows]:
            self._closed[session_id] = self._sessions.pop(session_id).acknowledged
        while len(self._closed) > _CLOSED_KEPT:
            del self._closed[next(iter(self._closed))]
        return marks

    def flush_alerts(self) -> None:
        """Commit the alerts that wait, and nothing else; whether they could be stored is told by `alert_trouble`."""
        try:
            self._retry(self._alerts, self._commit_alerts)
            self.alert_trouble = ""
        except StoreError as error:
            self.alert_trouble = str(error)

    def _know(self, place: Place, since: datetime | None = None) -> None:
        if not self._heartbeats.knows(place):
            self._heartbeats.know(place, self._frames.mark(self._heartbeats.app_id(place)), since)

    def _delivered(self, session: Session, first: int) -> None:
        """Frames came in a session's windows from the `first` on."""
        if session.info.live:
            numbers = {number_of(window.start) for window in session.windows[max(0, first) :]}
            self._heartbeats.delivered(session.info.place, numbers)

    def _opened_at(self, info: SessionInfo) -> datetime:
        opened = opened_by(self._observations, self._run_id, info.place)
        return opened.until if opened and opened.session_id == info.session_id else from_unix(self._clock())

    def _open(self, session_id: str) -> Session:
        session = self._sessions.get(session_id)
        if session is None:
            raise KeyError(f"session {session_id} is not open here")
        return session

    def _retry(self, table: Table, commit: Callable[[], None]) -> None:
        for attempt in range(_ATTEMPTS):
            if table.has_changed():
                self._sync(table)
                table.settle()
            try:
                commit()
                return
            except ConflictError:
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 (jitter, nothing secret)

    def _sync(self, table: Table) -> None:
        if table is self._alerts:
            if table.mark(self._alerts_app) > self._alerts_mark:
                self._alerts_committed()
            return
        for session_id, session in self._sessions.items():
            mark = table.mark(session_id)
            session.sync(*((mark, -1) if table is self._observations else (-1, mark)))
        if table is self._frames:
            for place in self._heartbeats.waiting:
                self._heartbeats.settle(place, table.mark(self._heartbeats.app_id(place)))

    def _commit_faces(self) -> None:
        ahead = [s for s in self._sessions.values() if s.last_seq > s.faces_mark]
        needed = [s for s in ahead if s.faces or s.closed_windows]
        opening = self._opening()
        behind = needed
        if needed or abs(self._clock() - self._marked_at) >= _MARK_S:
            # Without faces the mark of a file need not move before a window stands on it. That of a live session shows
            # what was analysed, and must not move where nothing would tell of the session.
            told = [s for s in ahead if s.info.live and (s.frames_mark >= 0 or s in opening)]
            behind = needed + [s for s in told if s not in needed]
        if behind:
            faces = [face for session in behind for face in session.faces]
            marks = {session.info.session_id: session.last_seq for session in behind}
            for session in opening:
                if session.faces_mark < 0:
                    info = session.info
                    marks |= opening_marks(self._run_id, info.place, info.session_id, session.opened_at)
            self._observations.commit(rows.observations_table(faces) if faces else None, marks)
            self._marked_at = self._clock()
            for session in behind:
                session.faces_mark = session.last_seq
                session.faces = []
        now = self._clock()
        for session in self._sessions.values():
            for window in session.windows:
                window.committed(session.faces_mark, now)

    def _opening(self) -> list[Session]:
        """Of each camera the live session that its opening marks are to tell of, since no row of `frames` does: the
        first, but one that has marks before all others."""
        found: dict[Place, Session] = {}
        new = [s for s in self._sessions.values() if s.info.live and s.frames_mark < 0 <= max(s.last_seq, s.faces_mark)]
        for session in sorted(new, key=lambda s: s.faces_mark < 0):
            found.setdefault(session.info.place, session)
        return list(found.values())

    def _commit_frames(self, last: bool) -> None:
        done = [(session, session.closed_windows) for session in self._sessions.values() if session.closed_windows]
        table = [self._window_row(session, window) for session, windows in done for window in windows]
        connected = {s.info.place for s in self._sessions.values() if not s.closing}
        beats = list(self._heartbeats.due(last, connected))
        table += [self._beat_row(*beat) for beat in beats]
        if not table:
            return
        numbers: dict[Place, int] = {}
        for session, windows in done:
            if session.info.live:
                ends = [numbers.get(session.info.place, -1), *(number_of(window.start) for window in windows)]
                numbers[session.info.place] = max(ends)
        for place, number, _ in beats:
            numbers[place] = max(number, numbers.get(place, -1))
        marks = {session.info.session_id: windows[-1].last_seq for session, windows in done}
        self._frames.commit(rows.frames_table(table), marks | self._heartbeats.marks(numbers))
        for session, windows in done:
            session.frames_mark = windows[-1].last_seq
            session.windows = session.windows[len(windows) :]
        for place, number in numbers.items():
            self._heartbeats.settle(place, number)

    def _commit_alerts(self) -> None:
        if self._waiting_alerts:
            self._alerts_tried = len(self._waiting_alerts)
            self._alerts.commit(rows.alerts_table(self._waiting_alerts), {self._alerts_app: self._alerts_mark + 1})
            self._alerts_committed()

    def _alerts_committed(self) -> None:
        self._alerts_mark += 1
        self._waiting_alerts = self._waiting_alerts[self._alerts_tried :]

    def _window_row(self, session: Session, window: Window) -> dict[str, Any]:
        state, note = "live" if session.info.live else "reading", ""
        if session.closing and window is session.windows[-1]:
            state, note = session.closing
        row = frames_row(self._run_id, session.info.place, window.start) | window.row()
        return row | {"session_id": session.info.session_id, "state": state, "note": note}

    def _beat_row(self, place: Place, number: int, state: str) -> dict[str, Any]:
        return frames_row(self._run_id, place, start_of(number)) | empty_row() | {"state": state}
