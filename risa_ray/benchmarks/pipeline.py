"""The Ray pipeline against one plain loop over the same core: what distribution costs."""

from __future__ import annotations

import json
import multiprocessing
import statistics
import tempfile
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

from risa_ray.benchmarks.machine import machine
from risa_ray.config import ChainConfig
from risa_ray.errors import InputError
from risa_ray.inputs import config_for

_RUN_FRAMES = 4


def bench_pipeline(video: Path, repeats: int, detector: str, min_face_size: int, threads: int | None) -> dict[str, Any]:
    """Frames/s of both sides in turns, and the median of the pairwise ratios.

    Both sides do the same work on the same file with the same thread count: decode, detect, track, classify, commit.
    Start-up (processes, models) is left out on both: time runs from the first read to the last row in the store.

    Raises:
        InputError: the video cannot be read.
    """
    import os

    import ray

    from risa_ray.streaming.cluster import connect
    from risa_ray.streaming.preflight import preflight

    threads = threads or len(os.sched_getaffinity(0))
    camera = {"detector": detector, "min_face_size": min_face_size}
    with tempfile.TemporaryDirectory() as folder:
        config = config_for([str(video)], folder, camera, {"threads": threads})
        preflight(config)
        connect(show_worker_logs=False)
        before = machine()
        loops, pipelines = [], []
        for turn in range(repeats):
            loops.append(_in_process(config, f"{folder}/loop-{turn}", threads))
            pipelines.append(_pipeline(config, f"{folder}/pipeline-{turn}"))
        ray.shutdown()
    ratios = [p["frames_per_s"] / q["frames_per_s"] for p, q in zip(pipelines, loops, strict=True)]
    return {
        "what": "pipeline",
        "video": video.name,
        "detector": detector,
        "min_face_size": min_face_size,
        "threads": threads,
        "frames": loops[0]["frames"],
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "loop": loops,
        "pipeline": pipelines,
        "machine": before,
    }


def _in_process(config: ChainConfig, data: str, threads: int) -> dict[str, Any]:
    """The plain loop in a process of its own, so that neither side inherits the other's memory and threads."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_loop, args=(config.model_dump_json(by_alias=True), data, threads, sender))
    process.start()
    sender.close()
    try:
        result: dict[str, Any] = json.loads(receiver.recv())
    except EOFError:
        raise InputError("the plain loop failed; see the error above") from None
    process.join()
    return result


def _loop(config_json: str, data: str, threads: int, sender: Any) -> None:
    import cv2
    import torch

    from risa_ray.sources import create_source, read_frames
    from risa_ray.store.writer import SessionInfo, Writer
    from risa_ray.vision.analyze import Analyzer, CameraSetup, CameraState

    config = ChainConfig.model_validate_json(config_json)
    store, camera = next(config.cameras())
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    analyzer = Analyzer.load(config.pipeline.model, max_batch=config.pipeline.max_batch, threads=threads)
    source = create_source(camera, store.tzinfo)
    setup = CameraSetup.of(store.id, camera)
    analyzer.prepare([setup])
    writer = Writer(data, "loop")
    writer.open_session(SessionInfo(store.id, camera.id, "loop", False, source.started_at()))
    state, done, commit_s, decode_s = CameraState.start("loop", 0), 0, 0.0, 0.0
    before = _times(analyzer)
    pictures = read_frames(source, camera, "loop", source.started_at())
    began = last_flush = time.perf_counter()
    while True:
        decoding = time.perf_counter()
        run = list(islice(pictures, _RUN_FRAMES))
        decode_s += time.perf_counter() - decoding
        if not run:
            break
        chunk, state = analyzer.analyze(run, setup, state)
        writer.add(chunk)
        done += len(run)
        if time.perf_counter() - last_flush >= config.pipeline.flush_s:
            committing = time.perf_counter()
            writer.flush()
            last_flush = time.perf_counter()
            commit_s += last_flush - committing
    committing = time.perf_counter()
    writer.close_session("loop", "complete")
    writer.flush()
    ended = time.perf_counter()
    commit_s += ended - committing
    after = _times(analyzer)
    stages = {"decode": decode_s, **{k: after[k] - before[k] for k in after}, "commit": commit_s}
    sender.send(
        json.dumps(
            {
                "frames": done,
                "seconds": ended - began,
                "frames_per_s": done / (ended - began),
                "stage_s": stages,
                "threads": analyzer.threads,
            }
        )
    )


def _times(analyzer: Any) -> dict[str, float]:
    return {"detect": analyzer.times.detect, "track": analyzer.times.track, "classify": analyzer.times.classify}


def _pipeline(config: ChainConfig, data: str) -> dict[str, Any]:
    from risa_ray.streaming.driver import stream
    from risa_ray.streaming.preflight import preflight

    config = config.model_copy(update={"data": data})
    report = stream(config, preflight(config), stop=threading.Event(), on_snapshot=lambda _: None)
    (reader,) = report.readers.values()
    (analyzer,) = report.analyzers
    analysed = sum(report.committer.analysed.values())
    return {
        "frames": analysed,
        "seconds": reader.active_s,
        "frames_per_s": analysed / reader.active_s,
        "stage_s": {"decode": reader.decode_s, **analyzer.times, "commit": report.committer.commit_s},
        "threads": analyzer.threads,
    }
