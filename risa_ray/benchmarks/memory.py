"""Whether a run's memory grows with its length."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

import ray

from risa_ray.benchmarks.machine import machine
from risa_ray.inputs import config_for
from risa_ray.sources.demo import write_clip
from risa_ray.streaming.cluster import connect
from risa_ray.streaming.driver import Snapshot, stream
from risa_ray.streaming.preflight import preflight

_EARLY = 500
_CLIP_FPS = 25


def bench_memory(frames: int, detector: str) -> dict[str, Any]:
    """Resident memory (MB, without shared pages) of every actor after 500 frames and after all.

    The demo scene as a file of that many frames, at 480x270: it is the length that matters here.
    """
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "scene.mp4"
        write_clip(clip, "front", frames / _CLIP_FPS, _CLIP_FPS, (480, 270))
        config = config_for([str(clip)], f"{folder}/data", {"detector": detector, "min_face_size": 30}, {})
        samples: list[tuple[int, dict[str, float]]] = []

        def watch(snapshot: Snapshot) -> None:
            samples.append((sum(snapshot.committer.analysed.values()), _resident(snapshot)))

        before = machine()
        connect(show_worker_logs=False)
        stream(config, preflight(config), stop=threading.Event(), on_snapshot=watch)
        ray.shutdown()
    early = next(sample for sample in samples if sample[0] >= _EARLY)
    # The last snapshot is taken after the actors' last answers; the one before still saw all of them at work.
    late = samples[-1]
    return {
        "what": "memory",
        "detector": detector,
        "early": {"frames": early[0], "resident_mb": early[1]},
        "late": {"frames": late[0], "resident_mb": late[1]},
        "ratio": {name: late[1][name] / early[1][name] for name in early[1]},
        "machine": before,
    }


def _resident(snapshot: Snapshot) -> dict[str, float]:
    actors = {"committer": snapshot.committer.process.resident_mb}
    actors |= {f"reader {i}": s.process.resident_mb for i, s in snapshot.readers.items() if s.process}
    actors |= {f"analyzer {i}": s.process.resident_mb for i, s in enumerate(snapshot.analyzers)}
    return actors
