"""Nothing is lost: the windows of `frames` count as many faces as there are rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from risa_ray.store.schema import WINDOW_S
from risa_ray.store.table import Table, arrow_dataset
from risa_ray.store.verify.check import UNREADABLE, Check, check
from risa_ray.store.verify.reading import MAX_FACES, Session, face_numbers, partitions, place, window_rows

_WINDOW = timedelta(seconds=WINDOW_S)


def erasures(purges: Table | None) -> list[tuple[str | None, datetime, datetime]]:
    """(camera or None for all, from, to) of what was deleted on purpose from observations."""
    always = datetime(1, 1, 1, tzinfo=UTC)
    try:
        rows = purges.read().to_pylist() if purges is not None else []
    except UNREADABLE:
        # The check of the table's own files says so.
        return []
    return [
        (row["camera_id"], row["since"] or always, row["until"])
        for row in rows
        if row["observations"] or row["camera_id"] is not None
    ]


def check_faces(frames: Table, observations: Table, erased: list[tuple[str | None, datetime, datetime]]) -> Check:
    """A window counts as many faces as observations has rows of its frames, where none were deleted on purpose."""

    def work(problems: list[str]) -> str:
        days = {dict(p)["store_id"]: dict(p)["date"] for p in reversed(partitions(observations))}
        count = 0
        for partition in partitions(frames):
            day, store_id = dict(partition)["date"], dict(partition)["store_id"]
            if day < days.get(store_id, "9999"):
                # Before the oldest day of the raw rows: they may have outlived their retention.
                continue
            first_kept = datetime.fromisoformat(days[store_id]).replace(tzinfo=UTC) + _WINDOW
            numbers = face_numbers(observations, partition)
            for session, rows in window_rows(frames, partition).items():
                found = numbers.get(session, np.empty(0, np.int64))
                edges = [[row["first_seq"] * MAX_FACES, (row["last_seq"] + 1) * MAX_FACES] for row in rows]
                low, high = np.searchsorted(found, np.array(edges, np.int64)).T
                for row, faces in zip(rows, (high - low).tolist(), strict=True):
                    start = row["window_start"]
                    if start < first_kept or _touches(erased, session[0], start):
                        continue
                    count += 1
                    if faces != row["faces"] and (faces := _count(observations, session, row)) != row["faces"]:
                        problems.append(
                            f"{place(partition)}: camera {session[0]} session {session[1]}: window {start:%H:%M:%S} "
                            f"counts {row['faces']} faces, observations has {faces}"
                        )
        return f"{count:,} windows"

    return check("faces of frames and observations add up", work)


def _touches(erased: Iterable[tuple[str | None, datetime, datetime]], camera_id: str, start: datetime) -> bool:
    # A window more on each side: a frame whose clock jitters back counts in the window that it came in.
    return any(
        camera in (None, camera_id) and start < until + _WINDOW and start + 2 * _WINDOW > since
        for camera, since, until in erased
    )


def _count(observations: Table, session: Session, row: dict[str, Any]) -> int:
    """The faces of a window on whatever day: a frame whose clock jitters back over midnight is stored on its own."""
    # Files that Delta Lake rewrote have views of strings, which Arrow does not compare with strings.
    camera_id, session_id = (pc.field(name).cast(pa.string()) for name in ("camera_id", "session_id"))
    where = (camera_id == session[0]) & (session_id == session[1])
    where &= (pc.field("frame_seq") >= row["first_seq"]) & (pc.field("frame_seq") <= row["last_seq"])
    day = row["window_start"].date()
    where &= (pc.field("date") >= pa.scalar(day - timedelta(days=1))) & (
        pc.field("date") <= pa.scalar(day + timedelta(days=1))
    )
    return int(arrow_dataset(observations.delta).count_rows(filter=where))
