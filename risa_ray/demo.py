"""`risa demo`: the whole pipeline on a scene made at run time, and a page to look at."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path

import duckdb
from rich.console import Console

from risa_ray.analytics import open_dataset
from risa_ray.analytics.demo_page import build_demo_page
from risa_ray.config import CameraConfig, ChainConfig, load_config, resolve_paths
from risa_ray.config_serve import ServeConfig
from risa_ray.errors import InputError
from risa_ray.frames import FaceRow, Image
from risa_ray.sources.demo import render
from risa_ray.streaming.cluster import connect, stop_on_signals
from risa_ray.streaming.driver import stream
from risa_ray.streaming.preflight import preflight
from risa_ray.streaming.show import RunView
from risa_ray.streaming.shown import Shown
from risa_ray.vision.draw import draw_faces, draw_zones
from risa_ray.vision.expressions import EXPRESSIONS

INVENTED = "The people in this demo are invented: one public-domain portrait, warped and moved by a script (k-floor 1)."

_SUMMARIES = (
    (
        "What DuckDB sees: people by camera",
        "SELECT camera_id, count(*) AS tracks, round(avg(duration_s), 1) AS mean_s, sum(observations) AS faces, "
        "count(*) FILTER (mood = 'positive') AS positive, count(*) FILTER (mood = 'negative') AS negative "
        "FROM tracks GROUP BY ALL ORDER BY ALL",
    ),
    (
        "Stays by zone",
        "SELECT camera_id, zone_id, zone_kind, count(*) AS stays, round(avg(dwell_s), 1) AS mean_dwell_s, "
        "round(avg(valence), 2) AS valence FROM stays GROUP BY ALL ORDER BY ALL",
    ),
    (
        "Frames: nothing dropped unseen",
        "SELECT camera_id, sum(read) AS read, sum(analysed) AS analysed, sum(read) - sum(analysed) AS dropped, "
        "sum(faces) AS faces, round(max(delay_p95_s), 2) AS delay_p95_s FROM frames "
        "WHERE session_id IS NOT NULL GROUP BY ALL ORDER BY ALL",
    ),
)


def demo_config(data: str, seconds: float) -> ChainConfig:
    """configs/demo.yaml, for so many seconds, into `data`."""
    inside = Path(str(resources.files("risa_ray")))
    folder = inside / "configs" if (inside / "configs").is_dir() else inside.parent / "configs"
    config = load_config(folder / "demo.yaml")
    stores = tuple(
        store.model_copy(
            update={
                "cameras": tuple(
                    camera.model_copy(update={"source": f"{camera.source}?seconds={seconds:g}"})
                    for camera in store.cameras
                )
            }
        )
        for store in config.stores
    )
    return resolve_paths(config.model_copy(update={"data": data, "stores": stores}), Path.cwd())


def run_demo(data: str | None, seconds: float, out: Path | None, events: str | None) -> int:
    """Run the demo and write its page; the exit code.

    Raises:
        InputError: the data path or the page's folder cannot be written.
    """
    console = Console(stderr=events == "-")
    if out is not None and not out.resolve().parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}; create it first")
    # Without a folder of the user's own each demo gets one, so that its figures are those of one run.
    data = data or str(Path("demo-data") / datetime.now().astimezone().strftime("%Y%m%d-%H%M%S"))
    config = demo_config(data, seconds)
    sources = preflight(config)
    console.print("RISA demo: two cameras, real time, through the whole Ray pipeline", style="bold", highlight=False)
    console.print(INVENTED, style="yellow", highlight=False)
    console.print("starting Ray and loading the models ...", highlight=False)
    connect(show_worker_logs=False)
    stop = stop_on_signals()
    _open_live_page(console, config.data)
    with RunView(console, events, [INVENTED], seconds) as view:
        report = stream(config, sources, stop=stop, on_snapshot=Shown(view))
    connection = open_dataset(config.data, raw=True)
    for title, sql in _SUMMARIES:
        console.print(f"\n{title}", style="bold", highlight=False)
        console.print(str(connection.sql(sql)).rstrip(), markup=False, highlight=False)
    _, camera = next(config.cameras())
    status = report.readers.get(camera.id)
    session_id = status.session.session_id if status and status.session else ""
    page = out or Path(config.data) / "demo.html"
    still, commands = _still(connection, camera, session_id), _next_commands(data)
    build_demo_page(connection, still, camera.zones, camera.id, page, commands)
    _tell(console, page, commands)
    return 1 if report.broken else 0


def _open_live_page(console: Console, data: str) -> None:
    """Serve the live page beside the demo; it ends with it."""
    from risa_ray.serving.app import Settings
    from risa_ray.serving.deployment import deploy
    from risa_ray.serving.server import free_port

    # Uploads are another matter, whose models would take memory and cores from the demo.
    section = ServeConfig(port=free_port(ServeConfig().port), analyze=None)
    deploy(Settings(section, data))
    console.print(f"Live now, while the demo runs: {section.address}", style="bold", highlight=False, soft_wrap=True)
    if _desktop():
        webbrowser.open(section.address)


def _desktop() -> bool:
    return sys.stdout.isatty() and bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _still(connection: duckdb.DuckDBPyConnection, camera: CameraConfig, session_id: str) -> Image:
    """The scene at the moment with most faces, made again, with what was found in it drawn."""
    moment = connection.execute(
        "SELECT frame_seq, any_value(pts) FROM observations WHERE session_id = ? GROUP BY ALL "
        "ORDER BY count(*) DESC, count(DISTINCT expression) DESC, min(confidence) DESC LIMIT 1",
        [session_id],
    ).fetchone()
    view = camera.source.removeprefix("demo:").partition("?")[0]
    if moment is None:
        return draw_zones(render(view, 0.0), camera.zones)
    frame_seq, pts = moment
    found = connection.execute(
        "SELECT * FROM observations WHERE session_id = ? AND frame_seq = ? ORDER BY face_index", [session_id, frame_seq]
    )
    names = [column[0] for column in found.description or ()]
    faces = [_face(dict(zip(names, row, strict=True))) for row in found.fetchall()]
    return draw_faces(draw_zones(render(view, pts), camera.zones), faces, {})


def _face(row: dict[str, object]) -> FaceRow:
    values = {name: row[name] for name in FaceRow.__dataclass_fields__ if name in row}
    values["probabilities"] = tuple(row[f"p_{e}"] for e in EXPRESSIONS)
    return FaceRow(**values)  # type: ignore[arg-type]  # columns and fields have the same names and types


def _next_commands(data: str) -> tuple[tuple[str, str], ...]:
    return (
        ("ask this dataset", f'.venv/bin/risa query "FROM mood" --data {data}'),
        ("watch a camera of your own", ".venv/bin/risa stream rtsp://user:password@camera/stream --data data"),
        ("or a webcam", ".venv/bin/risa stream usb:0 --data data"),
        ("work through recordings", ".venv/bin/risa batch recordings/ --data data"),
        ("look at a file", ".venv/bin/risa annotate video.mp4 --out annotated.mp4"),
    )


def _tell(console: Console, page: Path, commands: Sequence[tuple[str, str]]) -> None:
    console.print(f"\nThe page: {page.resolve()}", style="bold", highlight=False, soft_wrap=True)
    console.print("Next:", highlight=False)
    for what, command in commands:
        console.print(f"  {what:<28} {command}", markup=False, highlight=False, soft_wrap=True)
    if _desktop():
        webbrowser.open(page.resolve().as_uri())
