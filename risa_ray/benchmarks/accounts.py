"""Whether a dataset keeps the delivery promise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import duckdb

from risa_ray.analytics import open_dataset
from risa_ray.frames import DROP_CAUSES
from risa_ray.store.verify import verify
from risa_ray.vision.expressions import EXPRESSIONS

CLOSE = 1e-3
"""So far apart two runs' numbers of one face may be."""

_SHOWN = 3
_NUMBERS = (
    *("pts", "x1", "y1", "x2", "y2", "detector_score", "face_px", "yaw_deg", "confidence", "valence"),
    *(f"p_{expression}" for expression in EXPRESSIONS),
)
_DROPS = " + ".join(f"dropped_{cause}" for cause in DROP_CAUSES)

Promise = dict[str, Any]
"""`holds`: true, false, or null where it was not measured; `told`: why, in words."""


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


def frames_accounted(data: str) -> Promise:
    """Every frame of a session, from 0 to its last, is analysed or dropped with a cause, once."""
    problems, sessions, frames = [], 0, 0
    with open_dataset(data, raw=True) as connection:
        rows = connection.sql(
            "SELECT camera_id, session_id, list((first_seq, last_seq) ORDER BY first_seq), sum(read)::BIGINT, "  # noqa: S608
            f"sum(analysed + {_DROPS})::BIGINT, bool_and(read = analysed + {_DROPS}) "
            "FROM frames WHERE session_id IS NOT NULL AND first_seq IS NOT NULL GROUP BY ALL"
        ).fetchall()
    for camera_id, session_id, windows, read, accounted, each in rows:
        sessions += 1
        frames += read
        expected = 0
        for first, last in windows:
            if first != expected:
                problems.append(
                    f"camera {camera_id} session {session_id}: frame {expected} is not followed up ({first})"
                )
            expected = last + 1
        if not each or not read == accounted == expected:
            problems.append(
                f"camera {camera_id} session {session_id}: {read} read, {accounted} accounted, {expected} due"
            )
    return promise(problems, f"{frames} frames of {sessions} sessions")


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
        rows = _count(connection)
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

    Track ids are left out: a crash may split a track.
    """
    columns = ", ".join(("camera_id", "frame_seq", "face_index", "expression", *_NUMBERS))
    with open_dataset(data, raw=True) as connection, open_dataset(undisturbed, raw=True) as other:
        connection.register("undisturbed", other.sql(f"SELECT {columns} FROM observations").to_arrow_table())  # noqa: S608
        apart = ", ".join(f"abs(a.{n} - b.{n})" for n in _NUMBERS)
        nulls = " OR ".join(f"(a.{n} IS NULL) <> (b.{n} IS NULL)" for n in _NUMBERS)
        either, both, unlike, labels, worst = connection.sql(
            f"""
            SELECT count(*), count(*) FILTER (a.frame_seq IS NOT NULL AND b.frame_seq IS NOT NULL),
                   count(*) FILTER (a.frame_seq IS NOT NULL AND b.frame_seq IS NOT NULL
                                    AND (greatest({apart}) > {CLOSE} OR {nulls})),
                   count(*) FILTER (a.expression <> b.expression), max(greatest({apart}))
            FROM (SELECT {columns} FROM observations) a
            FULL JOIN undisturbed b USING (camera_id, frame_seq, face_index)
            """  # noqa: S608 - ours
        ).fetchall()[0]
    problems = []
    if both < either:
        problems.append(f"{either - both} of {either} faces are in one of the runs only")
    if unlike:
        problems.append(f"{unlike} faces differ by more than {CLOSE:g} (at most by {worst:.3g})")
    if not either:
        problems.append("no run has a face")
    told = f"{both} faces, at most {worst or 0:.2g} apart"
    return {**promise(problems, told), "faces": both, "apart": worst, "labels_differ": labels}


def _count(connection: duckdb.DuckDBPyConnection) -> int:
    return int(connection.sql("SELECT count(*) FROM observations").fetchall()[0][0])
