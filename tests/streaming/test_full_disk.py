"""A run whose disk is full, and then read-only: on a real file system of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from disks import fill, remount
from support import assert_accounted, assert_every_frame_once, config_of, rows

from risa_ray.analytics import open_dataset
from risa_ray.sources.demo import write_clip
from risa_ray.streaming.driver import Snapshot, stream
from risa_ray.streaming.preflight import preflight

FRAMES = 160


@pytest.mark.usefixtures("cluster")
def test_the_run_waits_says_so_and_goes_on_when_there_is_room(disk: Path, tmp_path: Path, tiny_model: Path) -> None:
    clip = tmp_path / "long.mp4"
    write_clip(clip, "front", FRAMES / 8, 8, (480, 270))
    live = "demo:side?seconds=300&fps=4"
    config = config_of([clip, live], disk / "data", model=str(tiny_model))
    stop, deadline = threading.Event(), time.monotonic() + 120
    counts: list[int] = []

    def read(snapshot: Snapshot) -> bool:
        """The dataset can be read all along, and never shrinks."""
        counts.append(rows(disk / "data", "SELECT count(*) FROM observations")[0][0])
        return True

    def trouble(snapshot: Snapshot) -> bool:
        return bool(snapshot.committer.trouble)

    def well(snapshot: Snapshot) -> bool:
        return not snapshot.committer.trouble and read(snapshot) and len(counts) > 1 and counts[-1] > counts[-2]

    steps: list[tuple[Callable[[Snapshot], bool], Callable[[], object]]] = [
        (lambda s: s.committer.analysed.get("long", 0) > 10 and read(s) and counts[-1] > 0, lambda: fill(disk)),
        (trouble, lambda: open_dataset(str(disk / "data")).close()),
        (read, (disk / "filler").unlink),
        (well, lambda: remount(disk, "ro")),
        (trouble, lambda: None),
        (read, lambda: remount(disk, "rw")),
        (well, lambda: None),
        (lambda s: s.readers["long"].state == "complete", lambda: None),
    ]

    def see(snapshot: Snapshot) -> None:
        assert time.monotonic() < deadline, (len(steps), snapshot.committer.trouble, snapshot.readers)
        if not steps:
            stop.set()
        elif steps[0][0](snapshot):
            steps.pop(0)[1]()

    report = stream(config, preflight(config), stop=stop, on_snapshot=see, interval_s=0.1)
    assert not report.broken
    assert counts == sorted(counts)
    assert_every_frame_once(disk / "data", "long", FRAMES)
    assert_accounted(disk / "data")
