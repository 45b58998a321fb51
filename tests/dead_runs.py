"""Runs that die, with their times, and what the store says of their sessions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from risa_ray.frames import from_unix
from risa_ray.store.runs import RunRecord, RunSource, start_run
from risa_ray.store.writer import SessionInfo, Writer

NOW = 1_700_000_000.0
"""When the tests' runs begin; their frames are captured from here on."""

A, B = "00000000000a", "00000000000b"
"""Names as live sessions have them."""


def at(seconds: float) -> Callable[[], float]:
    return lambda: NOW + seconds


def moment(seconds: float) -> datetime:
    return from_unix(NOW + seconds)


def begin(data: Path, seconds: float = 0, settings: str = "m", live: bool = True) -> RunRecord:
    source = RunSource("007", "rtsp://c", live, moment(0))
    return start_run(str(data), {"cam1": source}, settings, clock=at(seconds))


def deliver(
    data: Path, run: RunRecord, tools: Any, session_id: str, last: int, seconds: float = 0, live: bool = True
) -> Writer:
    """A writer that has a session's frames up to `last`, flushed once, and that then dies with its process."""
    writer = Writer(str(data), run.run_id, at(seconds))
    writer.open_session(SessionInfo("007", "cam1", session_id, live, moment(seconds)))
    writer.add(tools.chunk(0, last, session_id=session_id, start=moment(seconds)))
    writer.flush()
    return writer


def ends(data: Path, tools: Any) -> dict[str, dict[str, Any]]:
    """Session -> frames read, analysed and lost, faces, and how it ended."""
    found: dict[str, dict[str, Any]] = {}
    for row in tools.rows(data, "frames", ("first_seq",)):
        if row["session_id"] is not None:
            end = found.setdefault(row["session_id"], {"read": 0, "analysed": 0, "lost": 0, "faces": 0})
            for name, column in (("read", "read"), ("analysed", "analysed"), ("lost", "dropped_lost_in_crash")):
                end[name] += row[column]
            end |= {"faces": end["faces"] + row["faces"], "state": row["state"]}
    return found


class Crash(BaseException):
    """The committer dies here."""
