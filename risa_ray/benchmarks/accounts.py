"""Whether a dataset keeps the delivery promise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import duckdb

from risa_ray.analytics import open_dataset
from risa_ray.frames import DROP_CAUSES
from risa_ray.store.table import Table
from risa_ray.store.verify import verify
from risa_ray.vision.expressions import EXPRESSIONS

CLOSE = 1e-3
"""So far apart two runs' numbers of one face may be."""

_SHOWN = 3
_NUMBERS = (
    *("pts", "x1", "y1", "x2", "y2", "detector_score", "face_px", "yaw_deg", "confidence", "valence"),
    *(f"p_{expression}" for expression in EXPRESSIONS),
)
_LABELS = ("expression", "abstain_reason", "zone_ids")
_DROPS = " + ".join(f"dropped_{cause}" for cause in DROP_CAUSES)

Promise = dict[str, Any]
"""`holds`: true, false, or null where it was not measured; `told`: why, in words; `optional`: whether the options ask
for too little to measure it, so that null is no fault."""


class Reached:
    """How far each session got, as the driver's snapshots had it: hand `note` to a `LiveRun`.

    Attributes:
        sessions: session_id -> its camera and its last frame.
    """

    def __init__(self) -> None:
        self.sessions: dict[str, tuple[str, int]] = {}

    def note(self, snapshot: Mapping[str, Any]) -> None:
        """Take a snapshot of the driver."""
        for camera_id, status in snapshot["readers"].items():
            if (session := status["session"]) is not None:
                _, before = self.sessions.get(session["session_id"], (camera_id, -1))
                self.sessions[session["session_id"]] = camera_id, max(before, status["last_seq"])


def kept(promise: Promise) -> bool:
    """Whether a promise was kept; what was not measured was not, unless the options did not ask for it."""
    return bool(promise["holds"] or (promise["holds"] is None and promise.get("optional")))


def promise(problems: Iterable[str], seen: str) -> Promise:
    """A promise that holds when there is no problem.

    Args:
        seen: how much was looked at.
    """
    found = list(problems)
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return {"holds": not found, "told": "; ".join(found[:_SHOWN]) + more if found else seen}


def verified(data: str) -> Promise:
    """What `risa verify` says."""
    checks = list(verify(data))
    return promise([check.line() for check in checks if check.problems], f"{len(checks)} checks")


def frames_accounted(data: str, reached: Reached | None = None) -> Promise:
    """Every frame of a session, from 0 to its last, is analysed or dropped with a cause, once. All runs are over.

    The last is the highest of what `frames` has, of what is marked in `observations`, and of what was seen.

    Args:
        reached: how far the sessions were seen to get.
    """
    seen = reached.sessions if reached else {}
    problems, frames = [], 0
    with open_dataset(data, raw=True) as connection:
        rows = connection.sql(
            "SELECT session_id, camera_id, list((first_seq, last_seq) ORDER BY first_seq), sum(read)::BIGINT, "  # noqa: S608
            f"sum(analysed + {_DROPS})::BIGINT, bool_and(read = analysed + {_DROPS}) "
            "FROM frames WHERE session_id IS NOT NULL AND first_seq IS NOT NULL GROUP BY ALL"
        ).fetchall()
        with_faces = connection.sql("SELECT DISTINCT session_id, camera_id FROM observations").fetchall()
    observations = Table(data, "observations")
    sessions = {session_id: row for session_id, *row in rows}
    cameras = {i: camera_id for i, (camera_id, last_seq) in seen.items() if last_seq >= 0} | dict(with_faces)
    cameras |= {i: row[0] for i, row in sessions.items()}
    for session_id, camera_id in cameras.items():
        where = f"camera {camera_id} session {session_id}"
        _, windows, read, accounted, each = sessions.get(session_id, (camera_id, [], 0, 0, True))
        frames += read
        stored = 0
        for first, last in windows:
            if first != stored:
                problems.append(f"{where}: frame {stored} is not followed up ({first})")
            stored = last + 1
        due = max(stored, observations.mark(session_id) + 1, seen.get(session_id, ("", -1))[1] + 1)
        if not each or not read == accounted == due:
            problems.append(f"{where}: {read} read, {accounted} accounted, {due} due")
    if not cameras:
        problems.append("no session has a frame")
    return promise(problems, f"{frames} frames of {len(cameras)} sessions")


def faces_accounted(data: str) -> Promise:
    """Every face row lies in a window of its session, which analysed at least as many frames as have faces."""
    with open_dataset(data, raw=True) as connection:
        stray = connection.sql(
            "SELECT o.camera_id, o.session_id, count(*), min(o.frame_seq), max(o.frame_seq) FROM observations o "
            "ANTI JOIN (FROM frames WHERE first_seq IS NOT NULL) f ON f.session_id = o.session_id "
            "AND o.frame_seq BETWEEN f.first_seq AND f.last_seq GROUP BY ALL"
        ).fetchall()
        crowded = connection.sql(
            "SELECT f.camera_id, f.session_id, f.first_seq, f.analysed, count(DISTINCT o.frame_seq) AS seen "
            "FROM frames f JOIN observations o ON f.session_id = o.session_id "
            "AND o.frame_seq BETWEEN f.first_seq AND f.last_seq GROUP BY ALL HAVING seen > f.analysed"
        ).fetchall()
        rows, _ = rows_and_keys(connection)
    problems = [
        f"camera {camera} session {session}: {n} rows of frames {first}..{last}, which no window counts"
        for camera, session, n, first, last in stray
    ] + [
        f"camera {camera} session {session}: window of frame {first} analysed {analysed} frames, {seen} have faces"
        for camera, session, first, analysed, seen in crowded
    ]
    return promise(problems, f"{rows} rows")


def files_whole(data: str, expected: Mapping[str, int]) -> Promise:
    """Each camera's file was read once, to its end, and every frame of it was analysed.

    Args:
        expected: camera -> frames of its file.
    """
    with open_dataset(data, raw=True) as connection:
        found = {
            camera: (sessions, read, analysed, last)
            for camera, sessions, read, analysed, last in connection.sql(
                "SELECT camera_id, count(DISTINCT session_id), sum(read)::BIGINT, sum(analysed)::BIGINT, max(last_seq) "
                "FROM frames WHERE session_id IS NOT NULL GROUP BY 1"
            ).fetchall()
        }
    problems = []
    for camera, frames in expected.items():
        sessions, read, analysed, last = found.get(camera, (0, 0, 0, -1))
        if (sessions, read, analysed, last) != (1, frames, frames, frames - 1):
            problems.append(
                f"camera {camera}: {frames} frames in the file; {read} read and {analysed} analysed in {sessions} "
                f"sessions, up to frame {last}"
            )
    return promise(problems, f"{sum(expected.values())} frames of {len(expected)} files")


def same_rows(data: str, undisturbed: str) -> dict[str, Any]:
    """The faces of two runs over the same files, matched by camera, frame and index: their numbers and labels.

    A label may differ only where a number of the face does too, as within that of a threshold. Track ids are left out:
    a crash may split a track.
    """
    columns = ", ".join(("camera_id", "frame_seq", "face_index", *_LABELS, *_NUMBERS))
    apart = ", ".join(f"abs(a.{n} - b.{n})" for n in _NUMBERS)
    nulls = " OR ".join(f"(a.{n} IS NULL) <> (b.{n} IS NULL)" for n in _NUMBERS)
    labels = " OR ".join(f"a.{n} IS DISTINCT FROM b.{n}" for n in _LABELS)
    with open_dataset(data, raw=True) as connection, open_dataset(undisturbed, raw=True) as other:
        connection.register("undisturbed", other.sql(f"SELECT {columns} FROM observations").to_arrow_table())  # noqa: S608
        either, both, unlike, relabelled, unfounded, worst = connection.sql(
            f"""
            SELECT count(*), count(*) FILTER (matched), count(*) FILTER (matched AND (apart > {CLOSE} OR unlike)),
                   count(*) FILTER (matched AND relabelled),
                   count(*) FILTER (matched AND relabelled AND apart = 0 AND NOT unlike), max(apart) FILTER (matched)
            FROM (SELECT a.frame_seq IS NOT NULL AND b.frame_seq IS NOT NULL AS matched,
                         greatest({apart}) AS apart, {nulls} AS unlike, {labels} AS relabelled
                  FROM (SELECT {columns} FROM observations) a
                  FULL JOIN undisturbed b USING (camera_id, frame_seq, face_index))
            """  # noqa: S608 - ours
        ).fetchall()[0]
    problems = []
    if both < either:
        problems.append(f"{either - both} of {either} faces are in one of the runs only")
    if unlike:
        problems.append(f"{unlike} faces differ by more than {CLOSE:g} (at most by {worst:.3g})")
    if unfounded:
        problems.append(f"{unfounded} faces have other labels from the same numbers")
    if not either:
        problems.append("no run has a face")
    told = f"{both} faces, at most {worst or 0:.2g} apart, {relabelled} with other labels"
    return {**promise(problems, told), "faces": both, "apart": worst, "labels_differ": relabelled}


def rows_and_keys(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """How many face rows a dataset has, and how many distinct keys these have."""
    rows, keys = connection.sql(
        "SELECT count(*), count(DISTINCT (camera_id, session_id, frame_seq, face_index)) FROM observations"
    ).fetchall()[0]
    return int(rows), int(keys)
