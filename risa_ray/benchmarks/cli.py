"""The `risa bench` commands."""

from __future__ import annotations

import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from risa_ray.errors import InputError
from risa_ray.options import DetectEvery, DetectorName, Device, MinFace, ModelName
from risa_ray.outputs import check_output, make_folder, write_json

Out = Annotated[Path | None, typer.Option(help="File for the JSON; default: standard output.")]
Seed = Annotated[int | None, typer.Option(help="Of what is random; default: a new one, which is printed.")]
Size = Annotated[str, typer.Option(help="Pictures of the cameras, WIDTHxHEIGHT.")]
CameraFps = Annotated[float, typer.Option("--fps", help="Frames per second of each camera.", min=0.2)]
Analyzers = Annotated[int, typer.Option(help="Analyzers.", min=1)]
GpusPerAnalyzer = Annotated[float, typer.Option(help="GPUs of each analyzer.", min=0)]

bench = typer.Typer(help="Measure; every published figure comes from here.", no_args_is_help=True)


@bench.command("pipeline")
def bench_pipeline(
    video: Annotated[Path, typer.Argument(help="A video file.")],
    repeats: Annotated[int, typer.Option(help="Turns of each side, interleaved.", min=1)] = 3,
    detector: DetectorName = "mtcnn",
    min_face_size: MinFace = 40,
    threads: Annotated[int | None, typer.Option(help="CPU threads of both sides; default: all cores.")] = None,
    out: Annotated[Path | None, typer.Option(help="File for the JSON; default: standard output.")] = None,
) -> None:
    """Frames per second of the Ray pipeline against one plain loop over the same core."""
    from risa_ray.benchmarks.pipeline import bench_pipeline as run

    check_output(out)
    write_json(run(video, repeats, detector, min_face_size, threads), out)


@bench.command("memory")
def bench_memory(
    frames: Annotated[int, typer.Option(help="Frames to run.", min=1000)] = 5000,
    detector: DetectorName = "mtcnn",
    out: Annotated[Path | None, typer.Option(help="File for the JSON; default: standard output.")] = None,
) -> None:
    """Resident memory of every actor after 500 frames and at the end."""
    from risa_ray.benchmarks.memory import bench_memory as run

    check_output(out)
    write_json(run(frames, detector), out)


@bench.command("classifier")
def bench_classifier(
    model: ModelName = "default",
    faces: Annotated[int, typer.Option(help="Faces in a batch.", min=1)] = 16,
    repeats: Annotated[int, typer.Option(help="Turns of each side, interleaved.", min=1)] = 50,
    threads: Annotated[int | None, typer.Option(help="CPU threads of both sides; default: all cores.")] = None,
    min_face_size: MinFace = 40,
    out: Annotated[Path | None, typer.Option(help="File for the JSON; default: standard output.")] = None,
) -> None:
    """Milliseconds per face against one MTCNN pass at 640x360."""
    from risa_ray.benchmarks.classifier import bench_classifier as run

    check_output(out)
    threads = threads or len(os.sched_getaffinity(0))
    write_json(run(model, faces, repeats, threads, min_face_size), out)


@bench.command("commit")
def bench_commit(
    cameras: Annotated[int, typer.Option(help="Cameras, at 5 frames/s with 6 faces each.", min=1)] = 16,
    rows: Annotated[int, typer.Option(help="Rows of a flush at full load, one flush a second.", min=1)] = 50_000,
    flushes: Annotated[int, typer.Option(help="Flushes of each load, in turns with the peer.", min=1)] = 10,
    out: Annotated[Path | None, typer.Option(help="File for the JSON; default: standard output.")] = None,
) -> None:
    """Face rows per second that one core commits, when they show, and pyarrow's write_table beside it."""
    from risa_ray.benchmarks.commit import bench_commit as run

    check_output(out)
    write_json(run(cameras, rows, flushes), out)


@bench.command("query")
def bench_query(
    stores: Annotated[int, typer.Option(help="Simulated stores of three cameras.", min=1)] = 20,
    days: Annotated[int, typer.Option(help="Days of each.", min=1)] = 30,
    visits_per_hour: Annotated[float, typer.Option(help="People at each door.")] = 50,
    flush_s: Annotated[float, typer.Option(help="Seconds between the flushes of the untended layout.")] = 300,
    repeats: Annotated[int, typer.Option(help="Turns of the questions about one store and day.", min=1)] = 5,
    data: Annotated[Path | None, typer.Option(help="Keep the month there, and take it up again.")] = None,
    out: Annotated[Path | None, typer.Option(help="File for the JSON.")] = None,
) -> None:
    """Every view over a month of a chain (100 million observations unless told), and how fast a store is compacted."""
    from risa_ray.benchmarks import query

    check_output(out)
    result = query.bench_query(stores, days, visits_per_hour, flush_s, repeats, str(data) if data else None)
    print(query.describe(result))
    if out is not None:
        write_json(result, out)


@bench.command("detectors")
def bench_detectors(
    video: Annotated[list[Path] | None, typer.Option(help="A video file, given as often as there are.")] = None,
    device: Device = "cpu",
    min_face_size: MinFace = 40,
    frames: Annotated[int, typer.Option(help="Frames of each video, taken evenly.", min=1)] = 8,
    repeats: Annotated[int, typer.Option(help="Turns of each detector, interleaved.", min=1)] = 3,
    threads: Annotated[int | None, typer.Option(help="CPU threads of every detector; default: all cores.")] = None,
    detect_every: DetectEvery = 5,
    memory: Annotated[bool, typer.Option(help="Measure the memory for one frame too.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder for detectors.json, .csv and .png.")] = None,
) -> None:
    """Every detector at 1080p, 720p, 540p and 360p: its speed, and what it finds beside facenet-pytorch's MTCNN."""
    from risa_ray.benchmarks import detectors

    if out is not None:
        make_folder(out)
    threads = threads or len(os.sched_getaffinity(0))
    result = detectors.bench_detectors(
        video or [], device, min_face_size, frames, repeats, threads, detect_every, memory
    )
    print(detectors.describe(result))
    if out is not None:
        write_json(result, out / "detectors.json")
        detectors.write_csv(result, out / "detectors.csv")
        detectors.write_chart(result, out / "detectors.png")


@bench.command("chaos")
def bench_chaos(
    kills: Annotated[int, typer.Option(help="SIGKILLs, of every kind of process in turn.", min=1)] = 30,
    seed: Seed = None,
    live: Annotated[
        bool, typer.Option("--live/--files", help="Cameras in real time, or files as fast as it goes.")
    ] = False,
    detector: DetectorName = "mtcnn",
    min_face_size: MinFace = 40,
    model: ModelName = "default",
    frames_per_kill: Annotated[int, typer.Option(help="Files: frames from one kill to the next, about.", min=1)] = 200,
    out: Out = None,
) -> None:
    """Kill readers, analyzers, committer and driver at random; exit code 1 when the delivery promise is broken."""
    from risa_ray.benchmarks.chaos import bench_chaos as run

    check_output(out)
    judge(lambda: run(kills, _seed(seed), live, detector, min_face_size, model, frames_per_kill), out)


@bench.command("density")
def bench_density(
    size: Size = "640x360",
    fps: CameraFps = 5,
    first: Annotated[int, typer.Option(help="Cameras to begin with.", min=1)] = 1,
    step: Annotated[int, typer.Option(help="Cameras to add at a time, until one misses its rate.", min=1)] = 1,
    most: Annotated[int, typer.Option(help="Cameras at which to stop.", min=1)] = 64,
    settle_s: Annotated[float, typer.Option(help="Seconds before the windows of each number.", min=0)] = 15,
    samples: Annotated[int, typer.Option(help="Samples of a window, one a second.", min=1)] = 60,
    detector: DetectorName = "mtcnn",
    min_face_size: MinFace = 40,
    detect_every: DetectEvery = 1,
    model: ModelName = "default",
    device: Device = "auto",
    analyzers: Analyzers = 1,
    gpus_per_analyzer: GpusPerAnalyzer = 0,
    out: Out = None,
) -> None:
    """Add RTSP cameras until one misses its rate; then the delays at 80 % of what was reached."""
    from risa_ray.benchmarks.density import Plan
    from risa_ray.benchmarks.density import bench_density as run

    check_output(out)
    camera = {"detector": detector, "min_face_size": min_face_size, "detect_every": detect_every}
    pipeline = {"model": model, "device": device, "analyzers": analyzers, "gpus_per_analyzer": gpus_per_analyzer}
    plan = Plan(_pixels(size), fps, first, step, most, settle_s, samples, camera, pipeline)
    judge(lambda: run(plan), out)


@bench.command("outage")
def bench_outage(
    cameras: Annotated[int, typer.Option(help="Cameras; the first one goes away.", min=2)] = 8,
    rounds: Annotated[int, typer.Option(help="Outages, killed and paused by turns.", min=1)] = 6,
    down_s: Annotated[float, typer.Option(help="Seconds of an outage, half more or less.", min=1)] = 40,
    quiet_s: Annotated[float, typer.Option(help="Undisturbed seconds before each.", min=1)] = 60,
    seed: Seed = None,
    size: Size = "640x360",
    fps: CameraFps = 2,
    detector: DetectorName = "mtcnn",
    min_face_size: MinFace = 40,
    model: ModelName = "default",
    device: Device = "auto",
    out: Out = None,
) -> None:
    """One camera goes away and comes back: how soon it is seen again, and what it costs the others."""
    from risa_ray.benchmarks.outage import bench_outage as run

    check_output(out)
    camera = {"detector": detector, "min_face_size": min_face_size}
    pipeline = {"model": model, "device": device}
    pixels = _pixels(size)
    judge(lambda: run(cameras, rounds, down_s, quiet_s, _seed(seed), pixels, fps, camera, pipeline), out)


@bench.command("soak")
def bench_soak(
    cameras: Annotated[int, typer.Option(help="Cameras, the last one MJPEG over HTTP, the others RTSP.", min=1)] = 4,
    minutes: Annotated[float, typer.Option(help="How long.", min=0.1)] = 30,
    faults: Annotated[bool, typer.Option(help="Kill and pause servers, serve garbage, kill actors.")] = False,
    fault_every_s: Annotated[float, typer.Option(help="Seconds from one fault to the next, about.", min=1)] = 45,
    seed: Seed = None,
    size: Size = "640x360",
    fps: CameraFps = 2,
    detector: DetectorName = "mtcnn",
    min_face_size: MinFace = 40,
    model: ModelName = "default",
    device: Device = "auto",
    out: Out = None,
) -> None:
    """Real servers for as long as you like: what grows, what is dropped, and whether every row is there."""
    from risa_ray.benchmarks.soak import bench_soak as run

    check_output(out)
    camera = {"detector": detector, "min_face_size": min_face_size}
    pipeline = {"model": model, "device": device}
    pixels = _pixels(size)
    judge(lambda: run(cameras, minutes, faults, fault_every_s, _seed(seed), pixels, fps, camera, pipeline), out)


@bench.command("pages")
def bench_pages(
    cameras: Annotated[int, typer.Option(help="For the delays: 80 % of what `density` finds.", min=1)] = 4,
    crowd: Annotated[int, typer.Option(help="For the cost: more than the machine has room for.", min=1)] = 8,
    pages: Annotated[int, typer.Option(help="Open at a time, for the cost.", min=1)] = 200,
    rounds: Annotated[int, typer.Option(help="Turns without and with pages.", min=1)] = 5,
    seconds: Annotated[float, typer.Option(help="Of each turn.", min=1)] = 20,
    size: Size = "640x360",
    fps: CameraFps = 5,
    detector: DetectorName = "mtcnn",
    min_face_size: MinFace = 40,
    model: ModelName = "default",
    device: Device = "auto",
    out: Out = None,
) -> None:
    """The live page beside a run: delay of its figures and of a webhook's alerts, and what open pages cost."""
    from risa_ray.benchmarks.pages import bench_pages as run

    check_output(out)
    camera = {"detector": detector, "min_face_size": min_face_size}
    pipeline = {"model": model, "device": device}
    pixels = _pixels(size)
    judge(lambda: run(cameras, crowd, pages, rounds, seconds, pixels, fps, camera, pipeline), out)


@bench.command("serve-analyze")
def bench_serve_analyze(
    picture: Annotated[Path | None, typer.Option(help="To send; default: a portrait at 640x360.")] = None,
    clients: Annotated[int, typer.Option(help="At a time, for the rate.", min=1)] = 4,
    seconds: Annotated[float, typer.Option(help="Of each turn.", min=1)] = 10,
    repeats: Annotated[int, typer.Option(help="Turns of each side, interleaved.", min=1)] = 3,
    detector: DetectorName = "mtcnn",
    min_face_size: MinFace = 40,
    model: ModelName = "default",
    threads: Annotated[int | None, typer.Option(help="CPU threads of both sides; default: all cores.")] = None,
    gpus: Annotated[float, typer.Option(help="GPUs of the replica.", min=0)] = 0,
    out: Out = None,
) -> None:
    """POST /v1/analyze: milliseconds of an answer, and pictures a second against a plain loop over the same models."""
    from risa_ray.benchmarks.serve_analyze import bench_serve_analyze as run

    check_output(out)
    models = {"detector": detector, "min_face_size": min_face_size, "model": model, "gpus": gpus}
    threads = threads or len(os.sched_getaffinity(0))
    write_json(run(picture, clients, seconds, repeats, models | {"threads": threads}), out)


def judge(work: Callable[[], dict[str, Any]], out: Path | None) -> None:
    """Write a result, and end with exit code 1 when a promise was not kept or the run failed."""
    from risa_ray.benchmarks.accounts import kept
    from risa_ray.benchmarks.live_run import RunFailedError

    try:
        with _ended_by_sigterm():
            result = work()
    except RunFailedError as error:
        print(f"risa: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    write_json(_finite(result), out)
    broken = {name: p for name, p in result["promises"].items() if not kept(p)}
    for name, p in broken.items():
        print(f"risa: not {'measured' if p['holds'] is None else 'kept'}: {name}: {p['told']}", file=sys.stderr)
    if broken:
        raise typer.Exit(1)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the work as an error does, so that the runs and servers it started are ended; a second one cannot
    interrupt that."""

    def end(number: int, _: object) -> NoReturn:
        signal.signal(number, signal.SIG_IGN)
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _finite(result: Any) -> Any:
    """A result with "inf" for what is infinite, which JSON has no number for."""
    if isinstance(result, dict):
        return {key: _finite(value) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return [_finite(value) for value in result]
    return "inf" if isinstance(result, float) and math.isinf(result) else result


def _seed(seed: int | None) -> int:
    return int.from_bytes(os.urandom(4)) if seed is None else seed


def _pixels(size: str) -> tuple[int, int]:
    """Width and height.

    Raises:
        InputError: not such a size, or one that cannot be encoded.
    """
    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit()) or int(width) % 2 or int(height) % 2 or "0" in (width, height):
        raise InputError(f"--size {size}: give an even width and height, as 640x360")
    return int(width), int(height)
