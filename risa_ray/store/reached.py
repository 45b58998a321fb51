"""How far the readers of live cameras got, kept in memory that outlives their processes.

A frame that died with its reader before anything of it was stored leaves no trace in the tables. So each session of a
live camera has a small file in /dev/shm while it lasts, with the number of its last frame, and whoever accounts for a
dead reader reads there how far it got. That is of one machine: of a reader on a node that is gone, nobody knows more
than the tables.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from risa_ray.store.process import ProcessId
from risa_ray.store.runs import RESUME_DAYS
from risa_ray.store.sessions import SessionInfo

log = logging.getLogger("risa.reader")

_MEMORY = Path("/dev/shm")  # noqa: S108 the names carry a run's id
_COUNT = struct.Struct("<q")


class Left(NamedTuple):
    """A session that a reader had open; `generation`: of its run's process; `process`: the reader's."""

    session: SessionInfo
    last_seq: int
    generation: int
    process: ProcessId


class Reached:
    """Notes how far a session got. A folder that is full, or missing, costs a line of the log and no frame.

    Args:
        run_id, generation: of the run's record.
        session: of a live camera.
    """

    def __init__(self, run_id: str, generation: int, session: SessionInfo) -> None:
        self._path = _path(run_id, session.session_id)
        self._memory: mmap.mmap | None = None
        place = {"store_id": session.store_id, "camera_id": session.camera_id, "session_id": session.session_id}
        process = ProcessId.own()
        told = place | {
            "started_at": session.started_at.isoformat(),
            "generation": generation,
            "process": [process.host, process.pid, process.token],
        }
        draft = self._path.with_suffix(".draft")
        try:
            draft.write_bytes(_COUNT.pack(-1) + json.dumps(told).encode())
            with draft.open("r+b") as file:
                self._memory = mmap.mmap(file.fileno(), 0)
            os.replace(draft, self._path)  # whole, or not at all
        except OSError as error:
            self._memory = None
            log.warning(
                "%s: cannot be written (%s); should this reader be killed, its last frames are not accounted for",
                self._path, error.strerror,
            )  # fmt: skip

    def note(self, frame_seq: int) -> None:
        """The reader has this frame."""
        if self._memory is not None:
            _COUNT.pack_into(self._memory, 0, frame_seq)

    def close(self) -> None:
        """The store knows of every frame of the session, or will."""
        memory, self._memory = self._memory, None
        if memory is not None:
            memory.close()
            with suppress(OSError):
                self._path.unlink(missing_ok=True)


def left(run_id: str, camera_id: str | None = None) -> list[Left]:
    """Sessions of a run (of one camera, if given) that were not closed, oldest first; their readers may live."""
    found = []
    for path in _folder().glob(f"risa-{run_id}-*.reached"):
        with suppress(OSError, ValueError, KeyError, struct.error):  # closed meanwhile
            found.append(_read(path))
    wanted = [one for one in found if camera_id in (None, one.session.camera_id)]
    return sorted(wanted, key=lambda one: one.session.started_at)


def forget(run_id: str, session_id: str) -> None:
    """A session was accounted for."""
    with suppress(OSError):
        _path(run_id, session_id).unlink(missing_ok=True)


def tidy(now: float | None = None) -> None:
    """Remove what dead readers left so long ago that nobody accounts for them any more."""
    oldest = (time.time() if now is None else now) - RESUME_DAYS * 86_400
    for path, one in _all():
        if one.session.started_at.timestamp() < oldest and one.process.is_dead() is not False:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _all() -> Iterator[tuple[Path, Left]]:
    for path in _folder().glob("risa-*.reached"):
        with suppress(OSError, ValueError, KeyError, struct.error):
            yield path, _read(path)


def _read(path: Path) -> Left:
    content = path.read_bytes()
    told = json.loads(content[_COUNT.size :])
    session = SessionInfo(
        told["store_id"], told["camera_id"], told["session_id"], True, datetime.fromisoformat(told["started_at"])
    )
    (last_seq,) = _COUNT.unpack_from(content)
    return Left(session, last_seq, told["generation"], ProcessId(*told["process"]))


def _path(run_id: str, session_id: str) -> Path:
    return _folder() / f"risa-{run_id}-{session_id}.reached"


def _folder() -> Path:
    return _MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
