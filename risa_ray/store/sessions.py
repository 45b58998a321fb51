"""A session as the writer holds it: its marks in the tables, and what waits above them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from risa_ray.store.heartbeats import Place
from risa_ray.store.rows import Faces
from risa_ray.store.windows import Window, window_of


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What the writer must know of a session; `started_at` is aware UTC."""

    store_id: str
    camera_id: str
    session_id: str
    live: bool
    started_at: datetime

    @property
    def place(self) -> Place:
        return self.store_id, self.camera_id


@dataclass(slots=True, eq=False)
class Session:
    """A session's durable marks, and what waits above them."""

    info: SessionInfo
    faces_mark: int
    frames_mark: int
    last_seq: int = -1
    faces: list[Faces] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    closing: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        self.last_seq = self.acknowledged

    @property
    def acknowledged(self) -> int:
        return min(self.faces_mark, self.frames_mark)

    @property
    def closed_windows(self) -> list[Window]:
        return self.windows if self.closing else self.windows[:-1]

    @property
    def opened_at(self) -> datetime:
        """When the first frames that wait were taken."""
        return self.windows[0].newest or self.windows[0].start

    def window(self, moment: datetime) -> Window:
        """The window for the next frame; one that is over is never opened again, whatever the clock does."""
        if not self.windows or not self.windows[-1].takes(moment):
            self.windows.append(Window(window_of(moment), committed_seq=self.last_seq))
        return self.windows[-1]

    def sync(self, faces_mark: int, frames_mark: int) -> None:
        """Trim to the marks in the store: a commit thought failed was not, or another writer has the session."""
        self.faces_mark = max(self.faces_mark, faces_mark)
        self.frames_mark = max(self.frames_mark, frames_mark)
        self.last_seq = max(self.last_seq, self.acknowledged)
        self.faces = [left for faces in self.faces if (left := faces.after(self.faces_mark)).rows]
        for window in self.windows:
            window.trim(self.frames_mark)
        self.windows = [window for window in self.windows if window.entries]
