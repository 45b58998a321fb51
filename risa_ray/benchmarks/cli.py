"""The `risa bench` commands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from risa_ray.options import DetectEvery, DetectorName, Device, MinFace, ModelName
from risa_ray.outputs import check_output, make_folder, write_json

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
