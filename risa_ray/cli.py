"""The `risa` command: parses, calls, prints."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from risa_ray import cli_alerts, cli_report, cli_serve, cli_store, cli_tokens
from risa_ray.benchmarks.cli import bench
from risa_ray.config import load_config, redact
from risa_ray.errors import InputError, RunError
from risa_ray.inputs import config_for, recordings_of, refuse_job_folder, units_of
from risa_ray.interrupts import ended_by_interrupt
from risa_ray.options import Address, Data, DetectEvery, DetectorName, Device, Events, Format, Fps, MinFace, ModelName
from risa_ray.outputs import make_folder
from risa_ray.running import run_batch, run_stream, with_data
from risa_ray.store.errors import StoreError

app = typer.Typer(
    help="Real-time in-store sentiment analysis: cameras in, apparent expressions out, Parquet and DuckDB behind.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(bench, name="bench")
app.add_typer(cli_alerts.alerts, name="alerts")
cli_store.register(app)
cli_report.register(app)
cli_serve.register(app)
cli_tokens.register(app)


def main() -> None:
    """Run the command: exit code 0 done, 1 done with broken sources or a store in trouble, 2 bad input, 130 Ctrl-C."""
    try:
        with ended_by_interrupt():
            app(standalone_mode=True)
    except InputError as error:
        print(f"risa: {error}", file=sys.stderr)
        sys.exit(2)
    except (StoreError, RunError) as error:
        print(f"risa: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our output has gone, as with `risa query | head`: that is its right.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _camera(detector: str, min_face_size: int, detect_every: int, sampling_fps: float | None) -> dict[str, Any]:
    """A camera's settings as in a config file."""
    return {
        "detector": detector,
        "min_face_size": min_face_size,
        "detect_every": detect_every,
        "sampling_fps": sampling_fps,
    }


@app.command()
def stream(
    source: Annotated[str, typer.Argument(metavar="CONFIG|PATH|URL", help="A YAML config, or one video or camera.")],
    data: Data = None,
    events: Events = None,
    detector: DetectorName = "mtcnn",
    min_face_size: MinFace = 40,
    detect_every: DetectEvery = 1,
    sampling_fps: Fps = None,
    model: ModelName = "default",
    every_frame: Annotated[bool, typer.Option(help="Drop nothing, even from a live source.")] = False,
    address: Address = None,
) -> None:
    """Watch cameras or files: rolling figures now, rows in the store. Ctrl-C drains and commits.

    The camera options apply to a PATH or URL; a CONFIG says it all itself.
    """
    camera = _camera(detector, min_face_size, detect_every, sampling_fps)
    if every_frame:
        camera["policy"] = "every_frame"
    if Path(source).suffix.lower() in (".yaml", ".yml"):
        path = Path(source)
        sys.exit(run_stream(lambda: with_data(load_config(path), data), path, events=events, address=address))
    config = config_for([source], data or "data", camera, {"model": model})
    sys.exit(run_stream(lambda: config, events=events, address=address))


@app.command()
def submit(
    config: Annotated[Path, typer.Argument(help="The YAML config; the head node has it under the same path.")],
    address: Annotated[
        str | None, typer.Option(help="URL of the cluster's dashboard; default: http://127.0.0.1:8265.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Follow the job's log; the exit code is then the job's.")] = False,
    data: Data = None,
    events: Events = None,
) -> None:
    """Run `risa stream CONFIG` as a job on a Ray cluster, where it goes on without this terminal."""
    from risa_ray import submit as jobs

    job = jobs.submit(config, address=address, data=data, events=events)
    print(f"submitted {job.id}")
    for verb, options in (("logs", ("--follow",)), ("status", ()), ("stop", ())):
        print(f"  {job.command(verb, *options)}", flush=True)
    if wait:
        sys.exit(jobs.follow(job))


@app.command()
def batch(
    paths: Annotated[list[Path], typer.Argument(help="Video files, pictures, or folders of them.")],
    data: Data = None,
    detector: DetectorName = "mtcnn",
    min_face_size: MinFace = 40,
    detect_every: DetectEvery = 1,
    sampling_fps: Fps = None,
    model: ModelName = "default",
    workers: Annotated[int, typer.Option(help="Files at a time.", min=1)] = 1,
    gpus_per_worker: Annotated[float, typer.Option(help="GPUs of each worker.", min=0)] = 0,
    config: Annotated[Path | None, typer.Option(help="Chain config with the camera that recorded the files.")] = None,
    camera: Annotated[str | None, typer.Option(help="That camera's id: its settings and zones apply.")] = None,
    address: Address = None,
) -> None:
    """Analyse archives as fast as the cluster goes.

    With --config and --camera the files are recordings of that camera; otherwise each is a camera of its own.
    """
    from risa_ray.inputs import find_files

    files = find_files(paths)
    if (config is None) != (camera is None):
        raise InputError("--config and --camera go together: give both or neither")
    if config is not None and camera is not None:
        chain = with_data(load_config(config), data)
        units = recordings_of(chain, camera, files)
    else:
        settings = _camera(detector, min_face_size, detect_every, sampling_fps)
        pipeline = {"model": model, "analyzers": workers, "gpus_per_analyzer": gpus_per_worker}
        chain = config_for([str(p) for p in files], data or "data", settings, pipeline)
        units = units_of(chain)
    sys.exit(run_batch(chain, units, address=address))


@app.command()
def demo(
    data: Data = None,
    seconds: Annotated[float, typer.Option(help="Length of the scene.", min=5, max=600)] = 20,
    out: Annotated[Path | None, typer.Option(help="The page to write; default: demo.html in the data folder.")] = None,
    events: Events = None,
) -> None:
    """See the whole pipeline on a scene made at run time, with invented people."""
    from risa_ray.demo import run_demo

    sys.exit(run_demo(data, seconds, out, events))


@app.command()
def annotate(
    file: Annotated[Path, typer.Argument(help="A video or a picture; no cameras.")],
    out: Annotated[Path, typer.Option("--out", help="Where to write: .mp4 for a video, .jpg or .png for a picture.")],
    config: Annotated[Path | None, typer.Option(help="Config whose camera's zones are drawn.")] = None,
    camera: Annotated[str | None, typer.Option(help="That camera's id.")] = None,
    detector: DetectorName = "mtcnn",
    min_face_size: MinFace = 40,
    detect_every: DetectEvery = 1,
    sampling_fps: Fps = None,
    model: ModelName = "default",
) -> None:
    """Draw boxes, track numbers, apparent expressions and zones on a video or picture."""
    from risa_ray.annotate import annotate_file

    settings = _camera(detector, min_face_size, detect_every, sampling_fps)
    frames, faces = annotate_file(file, out, settings, model, config, camera)
    print(f"{out}: {frames} frames, {faces} faces")


@app.command()
def zones(
    config: Annotated[Path, typer.Argument(help="The YAML config.")],
    camera: Annotated[str | None, typer.Option(help="Id of the camera; may be left out where there is one.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Where to write: .png or .jpg.")] = Path("zones.png"),
    at: Annotated[float, typer.Option(min=0, help="Which still: seconds after the first picture.")] = 0,
) -> None:
    """Draw a camera's zones over one still of it, its faces blurred."""
    from risa_ray.zone_picture import draw_camera

    drawn = draw_camera(config, camera, out, at)
    print(f"{out}: {drawn.width}x{drawn.height}, {drawn.zones} zones, {drawn.blurred} faces blurred")


@app.command()
def check(
    config: Annotated[Path, typer.Argument(help="The YAML config to check.")],
    data: Data = None,
) -> None:
    """Check a config, its sources, detectors, model and data path; nothing is started."""
    from risa_ray.streaming.preflight import preflight

    chain = with_data(load_config(config), data)
    sources = preflight(chain)
    for store, camera in chain.cameras():
        size = sources[camera.id].size()
        shown = f"{size[0]}x{size[1]}" if size else "size not known before it is connected"
        print(f"{store.id}/{camera.id}: {redact(camera.source)} ({shown}), {len(camera.zones)} zones")
    for line in cli_alerts.told(chain):
        print(line)
    print(f"{config}: ok")


@app.command()
def privacy(
    config: Annotated[Path, typer.Argument(help="The YAML config.")],
    data: Data = None,
    sign: Annotated[bool, typer.Option("--sign", help="Only the text of a sign for the door.")] = False,
) -> None:
    """Tell what a config has recorded about people, why, for how long, and who can see it; with a sign for the door."""
    from risa_ray import privacy as told

    chain = with_data(load_config(config), data)
    print(told.sign(chain) if sign else told.privacy_report(chain))


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="SQL for DuckDB over the views; - reads it from standard input.")],
    data: Data = None,
    raw: Annotated[bool, typer.Option("--raw", help="The tables themselves: single people, no k-floor.")] = False,
    format_: Annotated[Format, typer.Option("--format", help="How to print the answer.")] = "table",
    out: Annotated[Path | None, typer.Option("--out", help="File to write; default: standard output.")] = None,
    store: Annotated[
        str | None, typer.Option(metavar="ID", help="Read this store alone: sooner on a live chain.")
    ] = None,
) -> None:
    """Ask the dataset in SQL."""
    from risa_ray.analytics.query import print_result, run_query

    text = sys.stdin.read() if sql == "-" else sql
    print_result(run_query(data or "data", text, raw=raw, store=store), format_, out)


@app.command()
def sql(
    data: Data = None,
    raw: Annotated[bool, typer.Option("--raw", help="The tables themselves: single people, no k-floor.")] = False,
    store: Annotated[
        str | None, typer.Option(metavar="ID", help="Read this store alone: sooner on a live chain.")
    ] = None,
) -> None:
    """Print an init script for the duckdb shell: risa sql > init.sql; duckdb -init init.sql."""
    from risa_ray.analytics.query import init_script

    print(init_script(data or "data", raw=raw, store=store))


@app.command()
def simulate(
    stores: Annotated[int, typer.Option(help="Stores, each with three cameras.")] = 3,
    days: Annotated[int, typer.Option(help="Days of each store.")] = 7,
    data: Data = None,
    seed: Annotated[int, typer.Option(help="The same seed draws the same people.")] = 1,
    start: Annotated[
        str | None, typer.Option(metavar="DATE", help="First day, as 2026-03-01; default: so that the last is over.")
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second of all cameras; default: 2 to 5.")] = None,
    visits_per_hour: Annotated[float, typer.Option(help="People at each door per open hour.")] = 60,
) -> None:
    """Write invented stores whose truth is known, for trying queries and measuring; the truth goes to DIR/truth."""
    from risa_ray.analytics.simulate.command import run

    run(data or "data", stores, days, seed, start, fps, visits_per_hour)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A training config, as configs/training/default.yaml.")],
    images: Annotated[
        str | None, typer.Option(help="Faces instead of the config's: folder, zip or fer2013.csv.")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="CSV of their labels, where it is not in the same folder.")] = None,
    out: Annotated[str | None, typer.Option("--out", help="Folder of the run instead of the config's.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs instead of the recipe's.")] = None,
    address: Address = None,
) -> None:
    """Train an expression model on Ray Train; the same command goes on where it stopped."""
    from risa_ray.streaming.cluster import connect
    from risa_ray.training.config import load_train_config, override
    from risa_ray.training.distributed import train as run
    from risa_ray.training.run import prepare

    chosen = override(load_train_config(config), images=images, labels=labels, out=out, epochs=epochs)
    refuse_job_folder(chosen.out, "out")

    def say(line: str) -> None:
        print(line, flush=True)

    prepared = prepare(chosen, say)
    connect(address, show_worker_logs=False)
    print(f"model: {run(prepared, say)}")


@app.command()
def evaluate(
    images: Annotated[Path, typer.Option(help="Faces: a folder, a zip, or fer2013.csv.")],
    labels: Annotated[
        Path | None, typer.Option(help="CSV of their labels, where it is not in the same folder.")
    ] = None,
    usage: Annotated[str, typer.Option(help="The part to evaluate.")] = "PublicTest",
    model: ModelName = "default",
    device: Device = "cpu",
    end_to_end: Annotated[bool, typer.Option(help="Find the faces in larger scenes, too; takes minutes.")] = True,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    plots: Annotated[Path | None, typer.Option(help="Folder for PNGs: confusion, reliability, coverage.")] = None,
) -> None:
    """Measure an expression model on labelled faces."""
    import json

    from risa_ray.training.evaluate import evaluate as run
    from risa_ray.training.evaluate import summary
    from risa_ray.training.plots import write_plots

    if plots is not None:
        make_folder(plots)
    console = Console(stderr=True)
    with console.status("reading the faces") as status:
        result = run(
            images,
            labels,
            usage,
            model,
            device=device,
            end_to_end=end_to_end,
            progress=lambda what, done, of: status.update(f"{what}: {done:,} of {of:,}"),
        )
    print(json.dumps(result, indent=1) if json_ else summary(result))
    if plots is not None:
        for path in write_plots(result, plots):
            print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
