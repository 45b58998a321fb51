"""The live page beside a run: how late its figures are, how soon a webhook hears of an alert, what open pages cost."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from risa_ray.benchmarks.accounts import Promise
from risa_ray.benchmarks.footage import write_footage
from risa_ray.benchmarks.live_run import LiveRun, analysed, say
from risa_ray.benchmarks.machine import machine
from risa_ray.benchmarks.open_pages import OpenPages
from risa_ray.benchmarks.servers import rtsp_server
from risa_ray.config import ChainConfig
from risa_ray.config_alerts import AlertRule
from risa_ray.config_channels import WebhookChannel
from risa_ray.config_serve import LimitsConfig, ServeConfig
from risa_ray.inputs import config_for
from risa_ray.serving.server import free_port

LATE_S = 1.0
COST = 0.05

_CLIP_S = 20.0
_SETTLE_S = 5.0
_RULES = range(1, 6)
"""Thresholds of rules on people: whoever comes or goes crosses one of them."""


def bench_pages(
    cameras: int,
    crowd: int,
    pages: int,
    rounds: int,
    seconds: float,
    size: tuple[int, int],
    fps: float,
    camera: dict[str, Any],
    pipeline: dict[str, Any],
) -> dict[str, Any]:
    """Delays with one page open and cameras that the machine has room for; then frames a second with and without many
    pages, by turns, and so many cameras that there is no room.

    Args:
        cameras, crowd: cameras of the first part and of the second.
        pages: open at a time in the second part.
        rounds, seconds: turns of the second part, and the length of each; the first part takes as long in all.

    Raises:
        InputError: there is no server script, or a setting is wrong.
        RunFailedError: the run ended.
    """
    before = machine()
    with tempfile.TemporaryDirectory(prefix="risa-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        files = [write_footage(folder, number, size, fps, _CLIP_S) for number in range(max(cameras, crowd))]
        say(f"delays: {cameras} cameras, one page")
        delays = _delays(folder / "a", files[:cameras], camera, pipeline, 2 * rounds * seconds)
        say(f"cost: {crowd} cameras, {pages} pages")
        cost = _cost(folder / "b", files[:crowd], camera, pipeline, pages, rounds, seconds)
    return {
        "what": "pages",
        "size": list(size),
        "fps": fps,
        "camera": camera,
        "pipeline": pipeline,
        "delays": {"cameras": cameras, **delays},
        "cost": {"cameras": crowd, "pages": pages, **cost},
        "promises": {
            f"capture to the page's figure: p95 {LATE_S:g} s": _within(delays["page_s"], LATE_S),
            f"capture to the webhook: p95 {LATE_S:g} s": _within(delays["webhook_s"], LATE_S),
            f"{pages} pages cost at most {COST:.0%} of the frames": {
                "holds": cost["cost"] <= COST and not cost["errors"],
                "told": f"{cost['cost']:+.1%}, {cost['errors']} pages lost",
            },
        },
        "machine": before,
    }


def _config(
    urls: Sequence[str], folder: Path, camera: dict[str, Any], pipeline: dict[str, Any], hook: str, pages: int
) -> ChainConfig:
    config = config_for(list(urls), str(folder / "data"), camera, pipeline)
    rules = tuple(
        AlertRule(id=f"over-{n}", figure="people", above=n - 0.5, window_s=5, cooldown_s=0) for n in _RULES if hook
    )
    return config.model_copy(
        update={
            "serve": ServeConfig(
                port=free_port(0), analyze=None, limits=LimitsConfig(streams=pages + 1, burst=pages + 100)
            ),
            "alerts": rules,
            "channels": (WebhookChannel(kind="webhook", id="hook", url=hook),) if hook else (),
        }
    )


def _delays(
    folder: Path, files: Sequence[Path], camera: dict[str, Any], pipeline: dict[str, Any], seconds: float
) -> dict[str, Any]:
    with rtsp_server(files) as server, _webhook() as (hook, heard):
        config = _config(server.urls, folder, camera, pipeline, hook, 1)
        assert config.serve is not None
        with LiveRun(config, folder / "run") as run:
            run.start()
            run.wait_frames({c.id for _, c in config.cameras()}, 180)
            time.sleep(_SETTLE_S)
            heard.clear()
            with OpenPages(config.serve.port, 1) as page:
                time.sleep(seconds)
            run.stop()
    return {
        "page_s": _spread([delay for each in page.delays.values() for delay in each]),
        "webhook_s": _spread(heard),
        "events": page.events,
    }


def _cost(
    folder: Path,
    files: Sequence[Path],
    camera: dict[str, Any],
    pipeline: dict[str, Any],
    pages: int,
    rounds: int,
    seconds: float,
) -> dict[str, Any]:
    rates: dict[str, list[float]] = {"alone": [], "watched": []}
    events = errors = 0
    with rtsp_server(files) as server:
        config = _config(server.urls, folder, camera, pipeline, "", pages)
        assert config.serve is not None
        with LiveRun(config, folder / "run") as run:
            run.start()
            run.wait_frames({c.id for _, c in config.cameras()}, 180)
            for _ in range(rounds):
                time.sleep(_SETTLE_S)
                rates["alone"].append(_rate(run, seconds))
                with OpenPages(config.serve.port, pages) as watching:
                    time.sleep(_SETTLE_S)
                    seen = watching.events
                    rates["watched"].append(_rate(run, seconds))
                    events += watching.events - seen
                errors += watching.errors
            run.stop()
    # Each turn with pages is compared with the turn just before it: the machine's pace drifts.
    ratios = [watched / alone for alone, watched in zip(rates["alone"], rates["watched"], strict=True)]
    return {
        "frames_per_s": rates,
        "cost": 1 - median(ratios),
        "events_per_page_and_s": events / (rounds * seconds * pages),
        "errors": errors,
    }


def _rate(run: LiveRun, seconds: float) -> float:
    """Analysed frames a second of all cameras."""

    def count() -> tuple[int, float]:
        latest = run.latest
        assert latest is not None
        return sum(analysed(latest).values()), latest["at"]

    frames, began = count()
    time.sleep(seconds)
    more, ended = count()
    return (more - frames) / (ended - began)


@contextmanager
def _webhook() -> Iterator[tuple[str, list[float]]]:
    """A receiver of alerts: its address, and per alert the seconds from the capture it speaks of to its arrival."""
    heard: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            now = time.time()
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.append(now - datetime.fromisoformat(body["data"]["fired_at"]).timestamp())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/", heard
        finally:
            server.shutdown()


def _spread(values: Sequence[float]) -> dict[str, Any]:
    """Percentiles in seconds; None without a value."""
    names = ("p50", "p95", "p99")
    found = np.percentile(values, [50, 95, 99]).tolist() if values else [None] * 3
    return {"count": len(values), **dict(zip(names, found, strict=True))}


def _within(spread: dict[str, Any], limit_s: float) -> Promise:
    if not spread["count"]:
        return {"holds": None, "told": "none came"}
    return {"holds": spread["p95"] <= limit_s, "told": f"{spread['p95']:.2f} s, {spread['count']} of them"}
