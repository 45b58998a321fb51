"""`risa alerts test` over a run and its successor: what rules remember from the one to the other, as they do live."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers_live import START, chain

from risa_ray.live.replay import replay
from risa_ray.store.rows import frames_table
from risa_ray.store.table import Table
from risa_ray.store.windows import empty_row, frames_row


def row(start: float, run_id: str, read: int = 0) -> dict[str, Any]:
    """A row of `frames`: `read` frames without a face, or a camera that is down."""
    found = frames_row(run_id, ("007", "front"), START + timedelta(seconds=start)) | empty_row() | {"state": "down"}
    if read:
        found |= {"session_id": run_id, "first_seq": 0, "last_seq": read - 1, "state": "live"}
        found |= {"read": read, "analysed": read}
    return found


@pytest.mark.parametrize(("cooldown_s", "times"), [(3600, 1), (0, 2)])
def test_the_cool_down_of_a_live_camera_outlives_a_run(tmp_path: Path, cooldown_s: float, times: int) -> None:
    """Pictures for 10 s and then none for 50 s, in each of two runs."""
    rows = [row(began + s, f"run{began}", 50 if s == 0 else 0) for began in (0, 60) for s in range(0, 60, 10)]
    Table(str(tmp_path), "frames").commit(frames_table(rows), {})
    rule = {"id": "down", "figure": "camera_down_s", "above": 25, "cooldown_s": cooldown_s}
    (judged,) = replay(chain(alerts=[rule], data=str(tmp_path), source="rtsp://shop/1")).rules
    assert len(judged.fired) == times
    assert judged.stretches == 2
