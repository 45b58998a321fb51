"""Nothing is there twice: keys of observations, frames of windows; marks stand where the rows end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from risa_ray.frames import DROP_CAUSES
from risa_ray.store.maintenance import Partition
from risa_ray.store.table import Table
from risa_ray.store.verify.check import Check, check
from risa_ray.store.verify.reading import MAX_FACES, Session, batches, face_numbers, partitions, place, window_rows


def check_keys(table: Table) -> Check:
    """(camera_id, session_id, frame_seq, face_index) is there once."""

    def work(problems: list[str]) -> str:
        rows = 0
        spans: dict[Session, list[tuple[int, int, Partition]]] = defaultdict(list)
        for partition in partitions(table):
            for session, numbers in face_numbers(table, partition).items():
                rows += len(numbers)
                twice = numbers[1:][numbers[1:] == numbers[:-1]]
                if len(twice):
                    frame, face = divmod(int(twice[0]), MAX_FACES)
                    problems.append(
                        f"{place(partition)}: camera {session[0]} session {session[1]}: {len(twice):,} keys twice "
                        f"(frame_seq {frame} face_index {face})"
                    )
                spans[session].append((int(numbers[0]), int(numbers[-1]), partition))
        for session, found in spans.items():
            problems += _twice_over_days(table, session, found)
        return f"{rows:,} rows"

    return check("observations: keys are unique", work)


def _twice_over_days(table: Table, session: Session, spans: list[tuple[int, int, Partition]]) -> Iterator[str]:
    """Keys of a session in two partitions. Frame numbers of two days only overlap where a clock was set."""
    for i, (low, high, partition) in enumerate(spans):
        for low2, high2, other in spans[i + 1 :]:
            if low <= high2 and low2 <= high:
                both = np.intersect1d(face_numbers(table, partition)[session], face_numbers(table, other)[session])
                if len(both):
                    yield (
                        f"camera {session[0]} session {session[1]}: {len(both):,} keys both in {place(partition)} "
                        f"and {place(other)} (frame_seq {int(both[0]) // MAX_FACES})"
                    )


def check_windows(table: Table) -> Check:
    """A session's windows hold each frame once, and every frame is accounted for."""

    def work(problems: list[str]) -> str:
        count = 0
        spans: dict[Session, list[tuple[int, int, Partition]]] = defaultdict(list)
        for partition in partitions(table):
            for session, rows in window_rows(table, partition).items():
                count += len(rows)
                where = f"{place(partition)}: camera {session[0]} session {session[1]}"
                problems += _overlaps(rows, where)
                problems += [
                    f"{where}: window {row['window_start']:%H:%M:%S} read {row['read']} of frames "
                    f"{row['first_seq']}..{row['last_seq']}, {_accounted(row)} accounted for"
                    for row in rows
                    if not row["read"] == _accounted(row) == row["last_seq"] - row["first_seq"] + 1
                ]
                spans[session].append((rows[0]["first_seq"], max(r["last_seq"] for r in rows), partition))
        for session, found in spans.items():
            for i, (low, high, partition) in enumerate(found):
                for low2, high2, other in found[i + 1 :]:
                    if low <= high2 and low2 <= high:
                        both = [row for p in (partition, other) for row in window_rows(table, p)[session]]
                        both.sort(key=lambda r: r["first_seq"])
                        problems += _overlaps(both, f"camera {session[0]} session {session[1]}")
        return f"{count:,} windows"

    return check("frames: windows do not overlap, and every frame is accounted for", work)


def _overlaps(rows: list[dict[str, Any]], where: str) -> Iterator[str]:
    last = -1
    for row in rows:
        if row["first_seq"] <= last:
            yield f"{where}: frames {row['first_seq']}..{min(last, row['last_seq'])} are in two windows"
        last = max(last, row["last_seq"])


def _accounted(row: dict[str, Any]) -> int:
    return int(row["analysed"] + sum(row[f"dropped_{cause}"] for cause in DROP_CAUSES))


def check_marks(frames: Table, observations: Table) -> Check:
    """A session's frames mark never passes its observations mark, and no row passes its table's."""

    def work(problems: list[str]) -> str:
        windows, faces = _last_frames(frames, "last_seq"), _last_frames(observations, "frame_seq")
        sessions = sorted(windows.keys() | faces.keys())
        for session in sessions:
            in_frames, in_observations = frames.mark(session), observations.mark(session)
            if in_frames < 0 and (in_observations < 0 or session in windows):
                # Marks are forgotten after a month.
                continue
            if in_frames > in_observations:
                problems.append(f"session {session}: frames' mark {in_frames} passes observations' {in_observations}")
            for table, last, mark in ((frames, windows, in_frames), (observations, faces, in_observations)):
                if last.get(session, -1) > mark:
                    problems.append(f"session {session}: {table.name} has frame {last[session]}, its mark is {mark}")
        return f"{len(sessions):,} sessions"

    return check("marks are consistent", work)


def _last_frames(table: Table, column: str) -> dict[str, int]:
    """Session -> its last frame."""
    ends: dict[str, int] = {}
    for partition in partitions(table):
        for batch in batches(table, ["session_id", column], partition):
            for row in pa.Table.from_batches([batch]).group_by("session_id").aggregate([(column, "max")]).to_pylist():
                session, end = row["session_id"], row[f"{column}_max"]
                if session is not None and end is not None:
                    ends[session] = max(end, ends.get(session, -1))
    return ends
