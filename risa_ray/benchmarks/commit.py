"""How many face rows a second the committer's writer takes, and when they show."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow.parquet as pq

from risa_ray.analytics import open_dataset
from risa_ray.benchmarks.machine import machine
from risa_ray.frames import Chunk, FaceRow, Outcome
from risa_ray.store.rows import Faces, observations_table
from risa_ray.store.writer import SessionInfo, Writer
from risa_ray.vision.expressions import EXPRESSIONS

FPS = 5
FACES = 6
_FLUSH_S = 1.0
_WARM_UP = 2
_START = datetime(2026, 11, 23, 10, tzinfo=UTC)


def bench_commit(cameras: int, rows_per_flush: int, flushes: int) -> dict[str, Any]:
    """The writer on one core, one flush a second: what the cameras bring live, and a full load as of an archive.

    Chunks are of one camera and one second of footage, and are made before the clock runs. The rate counts adding and
    flushing. `visible_s` is from `add` until a connection that is opened after the flush counts the row, the second
    for which the oldest row waits for its flush included; opening is a reader's work and has every core. The peer is
    handed the finished columns of the same rows, and writes them to a file of the same compression, without a log.
    """
    before = machine()
    live = cameras * FPS * FACES
    with tempfile.TemporaryDirectory() as folder:
        loads = [
            _load(Path(folder) / f"{seconds}", cameras, seconds, flushes)
            for seconds in (1, max(1, round(rows_per_flush / live)))
        ]
    return {
        "what": "commit",
        "cameras": cameras,
        "fps": FPS,
        "faces_per_frame": FACES,
        "cores": 1,
        "flushes": flushes,
        "peer": "pyarrow.parquet.write_table",
        "loads": loads,
        "machine": before,
    }


def _load(data: Path, cameras: int, seconds: int, flushes: int) -> dict[str, Any]:
    """Flushes of so many seconds of footage of every camera each, the peer in turns with them."""
    with _one_core():
        writer = Writer(str(data), "run")
    for camera in range(cameras):
        writer.open_session(SessionInfo("store", f"cam{camera}", f"s{camera}", False, _START))
    rows = cameras * seconds * FPS * FACES
    ours, cpu, peer, flushed, opened, shown = [], [], [], [], [], []
    for turn in range(_WARM_UP + flushes):
        footage = range(turn * seconds, (turn + 1) * seconds)
        chunks = [_chunk(camera, second) for second in footage for camera in range(cameras)]
        table = observations_table([Faces(chunk, chunk.faces) for chunk in chunks])
        with _one_core():
            used = time.process_time()
            added = _seconds(partial(_add, writer, chunks))
            flushed_s = _seconds(writer.flush)
            used = time.process_time() - used
            peer_s = _seconds(partial(pq.write_table, table, data / "peer.parquet", compression="zstd"))
        opened_s = _seconds(partial(_expect, data, (turn + 1) * rows))
        if turn >= _WARM_UP:
            ours.append(added + flushed_s)
            cpu.append(used)
            flushed.append(flushed_s)
            opened.append(opened_s)
            shown.append(_FLUSH_S + flushed_s + opened_s)
            peer.append(peer_s)
    return {
        "rows_per_flush": rows,
        "rows_per_s": rows / median(ours),
        "rows_per_cpu_s": rows / median(cpu),
        "core_share": median(cpu) / _FLUSH_S,
        "flush_s": median(flushed),
        "open_s": median(opened),
        "visible_s": median(shown),
        "visible_max_s": max(shown),
        "peer_rows_per_s": rows / median(peer),
        "ratio": median(peer) / median(ours),
    }


def _add(writer: Writer, chunks: list[Chunk]) -> None:
    for chunk in chunks:
        writer.add(chunk)


def _expect(data: Path, rows: int) -> None:
    """Open the dataset afresh and count."""
    found = open_dataset(data, raw=True).sql("SELECT count(*) FROM observations").fetchall()[0][0]
    if found != rows:
        raise RuntimeError(f"{found} rows show, {rows} were committed")


def _chunk(camera: int, second: int) -> Chunk:
    """A second of a busy camera: every frame has the same number of people, who stay for 20 s."""
    outcomes, faces = [], []
    for seq in range(second * FPS, (second + 1) * FPS):
        at = _START + timedelta(seconds=seq / FPS)
        outcomes.append(Outcome(seq, seq / FPS, at, at.timestamp(), None, FACES))
        for i in range(FACES):
            # Figures that differ from row to row, as measured ones do, so that they do not compress to nothing.
            noise = math.modf(math.sin(camera * 1e3 + seq * 7 + i) * 1e4)[0] / 2
            faces.append(
                FaceRow(
                    frame_seq=seq,
                    face_index=i,
                    captured_at=at,
                    pts=seq / FPS,
                    track_id=f"{camera:06x}{second // 20:06x}{i:04x}",
                    zone_ids=("shelf",) if i % 2 else (),
                    x1=100 * i + noise,
                    y1=200 + noise,
                    x2=100 * i + 80 + noise,
                    y2=300 + noise,
                    detector_score=0.9 + noise / 10,
                    face_px=80 + noise,
                    yaw_deg=20 * noise,
                    probabilities=(0.4 + noise / 10, *((0.6 - noise / 10) / 7,) * (len(EXPRESSIONS) - 1)),
                    expression=EXPRESSIONS[0],
                    abstain_reason=None,
                    confidence=0.4 + noise / 10,
                    valence=noise,
                )
            )
    return Chunk("store", f"cam{camera}", f"s{camera}", "mtcnn", "model", tuple(outcomes), tuple(faces))


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this process, with the threads that it starts meanwhile, on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
