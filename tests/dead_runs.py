"""Times of runs that die, and what the store says of their sessions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from risa_ray.frames import from_unix

NOW = 1_700_000_000.0
"""When the tests' runs begin; their frames are captured from here on."""


def at(seconds: float) -> Callable[[], float]:
    return lambda: NOW + seconds


def moment(seconds: float) -> datetime:
    return from_unix(NOW + seconds)


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
