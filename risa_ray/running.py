"""What `risa stream` and `risa batch` do: check, connect, run, and tell how it went."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from risa_ray.config import ChainConfig, redact, resolve_paths
from risa_ray.errors import InputError
from risa_ray.inputs import Unit


def run_stream(
    load: Callable[[], ChainConfig],
    path: Path | None = None,
    *,
    events: str | None = None,
    address: str | None = None,
) -> int:
    """Stream a config to its end; the exit code.

    Args:
        load: reads the config.
        path: the file it is in, which is followed while the run goes on; None: there is none.
        events: where JSON lines go, see `EventWriter`.
        address: of a Ray cluster.
    """
    from risa_ray.streaming.cluster import connect, stop_on_signals
    from risa_ray.streaming.driver import stream as run
    from risa_ray.streaming.metrics import Metrics
    from risa_ray.streaming.preflight import preflight
    from risa_ray.streaming.show import RunView
    from risa_ray.streaming.shown import Shown
    from risa_ray.streaming.watch import ConfigWatch

    config = load()

    sources = preflight(config)
    console = Console(stderr=events == "-")
    connect(address, show_worker_logs=not console.is_terminal)
    stop = stop_on_signals()
    if config.serve is not None:
        from risa_ray.serving.app import Settings
        from risa_ray.serving.deployment import ensure

        try:
            ensure(Settings(config.serve, config.data))
            console.print(f"live page: {config.serve.address}", highlight=False, soft_wrap=True)
        except InputError as error:  # the cameras are worth more than the page
            print(f"risa: warning: the live page is not served: {error}", file=sys.stderr)
    with RunView(console, events) as view:
        watch = ConfigWatch(config, sources, load, path) if path else lambda: None
        report = run(config, sources, stop=stop, on_snapshot=Shown(view, Metrics()), watch=watch)
        frames = sum(report.committer.analysed.values())
        view.run(report.run_id, "stopped" if report.stopped else "complete", frames=frames)
    note = " (resumed)" if report.resumed else ""
    console.print(
        f"run {report.run_id}{note}: {frames} frames analysed, {report.committer.faces} faces, "
        f"{report.committer.dropped} dropped, {report.elapsed_s:.1f} s -> {redact(config.data)}",
        highlight=False,
        soft_wrap=True,
    )
    if report.stopped:
        console.print("stopped before the end; the same command goes on where it stopped", highlight=False)
    for camera_id, reason in report.broken.items():
        print(f"risa: camera {camera_id} broke: {reason}", file=sys.stderr)
    return 1 if report.broken else 0


def run_batch(config: ChainConfig, units: Sequence[Unit], *, address: str | None = None) -> int:
    """Run a batch over files; the exit code."""
    from risa_ray.batch.job import run_batch as run
    from risa_ray.batch.show import BatchView
    from risa_ray.streaming.cluster import connect, stop_on_signals
    from risa_ray.streaming.preflight import preflight

    sources = preflight(config, units)
    console = Console()
    connect(address, show_worker_logs=not console.is_terminal)
    stop = stop_on_signals()
    with BatchView(console) as view:
        report = run(config, units, sources, stop=stop, on_progress=view)
    note = " (resumed)" if report.resumed else ""
    p = report.progress
    console.print(
        f"run {report.run_id}{note}: {p.done} of {p.files} files, {p.analysed} frames analysed, {p.faces} faces, "
        f"{p.elapsed_s:.1f} s -> {redact(config.data)}",
        highlight=False,
        soft_wrap=True,
    )
    if report.stopped:
        console.print("stopped before the end; the same command goes on where it stopped", highlight=False)
    for reason in report.broken.values():
        print(f"risa: broke: {reason}", file=sys.stderr)
    return 1 if report.broken else 0


def with_data(config: ChainConfig, data: str | None) -> ChainConfig:
    """The config with its data path replaced, where one is given."""
    if data is None:
        return config
    return resolve_paths(config.model_copy(update={"data": data}), Path.cwd())
