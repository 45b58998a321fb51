"""Ends a writer's session, and sorts what it has stored."""

from __future__ import annotations

from risa_ray.store.writer import Writer

FRAMES_ORDER = ("camera_id", "session_id", "window_start")
FACES_ORDER = ("session_id", "frame_seq", "face_index")


def finish(writer: Writer, state: str = "complete", session_id: str = "s1", note: str = "") -> None:
    writer.close_session(session_id, state, note)
    writer.flush()
