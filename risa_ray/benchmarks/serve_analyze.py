"""`POST /v1/analyze` against a plain loop over the same models: what HTTP, Serve and isolation cost."""

from __future__ import annotations

import asyncio
import http.client
import io
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import ray
import torch
from fastapi import FastAPI
from PIL import Image
from pydantic import ValidationError
from ray import serve

from risa_ray.benchmarks.machine import machine
from risa_ray.config_analyze import AnalyzeConfig
from risa_ray.config_faults import explain
from risa_ray.errors import InputError
from risa_ray.frames import Frame
from risa_ray.serving import routes_analyze
from risa_ray.serving.analyze import Service, application
from risa_ray.serving.sandbox import Decoders
from risa_ray.serving.server import Server, free_port, listen
from risa_ray.serving.uploads import RefusedError, decode
from risa_ray.sources.base import Picture
from risa_ray.sources.decoding import reason
from risa_ray.streaming.cluster import connect
from risa_ray.vision.analyze import Analyzer, CameraSetup, CameraState
from risa_ray.vision.zones import Zones

_SIZE = (640, 360)
_WARM_UP_S = 2.0
_NAME = "bench-analyze"


@serve.deployment(name="api", ray_actor_options={"num_cpus": 0})
class _Api:
    """The route in a process of its own, as `risa serve` has it."""

    def __init__(self, models: Any, config: AnalyzeConfig, port: int) -> None:
        app = FastAPI()
        app.include_router(routes_analyze.router)
        app.state.analyze = Service(models, config)
        self._server = Server(app, listen("127.0.0.1", port))
        self._server.start()


def bench_serve_analyze(
    picture: Path | None, clients: int, seconds: float, repeats: int, models: dict[str, Any]
) -> dict[str, Any]:
    """Milliseconds of an answer to one client, pictures/s for several, and both for the plain loop, in turns.

    The loop decodes the same bytes and calls the same models with as many threads, in this process. The clients run on
    the same machine and take their share of it.

    Args:
        picture: to send; None: a portrait (public domain) at 640x360.
        clients: at a time, for the rate.
        seconds: of each turn.
        models: of both sides, as fields of `AnalyzeConfig`; `threads` among them.

    Raises:
        InputError: a setting is wrong, or the picture cannot be analysed.
    """
    config = _config(models)
    body = _read(picture) if picture else _portrait()
    before = machine()
    loop = _Loop(config)
    faces = loop.check(body, picture)
    port = free_port(0)
    connect(show_worker_logs=False)
    serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING", "enable_access_log": False})
    api: Any = _Api
    serve.run(api.bind(application(config), config, port), name=_NAME, route_prefix=None)
    try:
        _ask(port, body, _WARM_UP_S)
        turns = [_turn(loop, port, body, clients, seconds) for _ in range(repeats)]
    finally:
        serve.delete(_NAME)
        ray.shutdown()
    apart, here = _decoding(body, config)
    return {
        "what": "serve-analyze",
        "picture": picture.name if picture else "portrait 640x360",
        "faces": faces,
        "bytes": len(body),
        "model": config.model,
        "detector": config.detector,
        "min_face_size": config.min_face_size,
        "threads": config.threads,
        "clients": clients,
        "one_client_ms": _median_of(turns, "one_client_ms"),
        "loop_ms": _median_of(turns, "loop_ms"),
        "rate": statistics.median(turn["rate"] for turn in turns),
        "loop_rate": statistics.median(turn["loop_rate"] for turn in turns),
        "ratio": statistics.median(turn["rate"] / turn["loop_rate"] for turn in turns),
        "decode_ms": {"in_a_process_of_its_own": apart, "in_process": here},
        "turns": turns,
        "machine": before,
    }


def _config(models: dict[str, Any]) -> AnalyzeConfig:
    try:
        return AnalyzeConfig(**models)
    except ValidationError as error:
        raise InputError(f"bench serve-analyze: {explain(error, models, lambda _: [])}") from None


def _read(picture: Path) -> bytes:
    try:
        return picture.read_bytes()
    except OSError as error:
        raise InputError(f"{picture}: cannot be read ({reason(error)}); give a picture") from None


class _Loop:
    """The same work in this process, one picture after the other."""

    def __init__(self, config: AnalyzeConfig) -> None:
        threads = config.threads or 1
        torch.set_num_threads(threads)
        cv2.setNumThreads(1)
        self._limits = config.uploads
        self._analyzer = Analyzer.load(config.model, device="auto" if config.gpus else "cpu", threads=threads)
        self._setup = CameraSetup("loop", "loop", config.detector, config.min_face_size, Zones(()))
        self._analyzer.prepare([self._setup])

    def check(self, body: bytes, picture: Path | None) -> int:
        """Faces in it."""
        try:
            return self(body)
        except RefusedError as refused:
            raise InputError(f"{picture}: {refused.detail}") from None

    def __call__(self, body: bytes) -> int:
        (found,) = decode(body, self._limits)
        assert isinstance(found, Picture)
        frame = Frame("loop", "loop", 0, 0.0, datetime.now(UTC), found.arrived_at, found.image, found.scale)
        chunk, _ = self._analyzer.analyze([frame], self._setup, CameraState.start("loop", 0))
        return len(chunk.faces)


def _turn(loop: _Loop, port: int, body: bytes, clients: int, seconds: float) -> dict[str, Any]:
    alone = _repeat(lambda: loop(body), seconds)
    one = _ask(port, body, seconds)
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        several = [s for part in pool.map(lambda _: _ask(port, body, seconds), range(clients)) for s in part]
    took = time.perf_counter() - began
    return {
        "loop_ms": _quantiles(alone),
        "loop_rate": len(alone) / sum(alone),
        "one_client_ms": _quantiles(one),
        "clients_ms": _quantiles(several),
        "rate": len(several) / took,
    }


def _ask(port: int, body: bytes, seconds: float) -> list[float]:
    """Seconds of each answer, on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def once() -> None:
        connection.request("POST", "/v1/analyze", body)
        answer = connection.getresponse()
        told = answer.read()
        if answer.status != 200:
            raise RuntimeError(told.decode(errors="replace"))

    try:
        return _repeat(once, seconds)
    finally:
        connection.close()


def _repeat(work: Callable[[], object], seconds: float) -> list[float]:
    took = []
    ends = time.perf_counter() + seconds
    while (began := time.perf_counter()) < ends:
        work()
        took.append(time.perf_counter() - began)
    return took


def _decoding(body: bytes, config: AnalyzeConfig) -> tuple[dict[str, float], dict[str, float]]:
    """Milliseconds of decoding alone: in a process of its own, and in this one."""
    decoders = Decoders(config.uploads, config.answer_s)

    async def apart() -> list[float]:
        took = []
        for _ in range(100):
            began = time.perf_counter()
            async for _ in decoders.decode(body):
                pass
            took.append(time.perf_counter() - began)
        return took

    try:
        return _quantiles(asyncio.run(apart())[5:]), _quantiles(
            _repeat(lambda: list(decode(body, config.uploads)), 1.0)
        )
    finally:
        decoders.close()


def _quantiles(seconds: list[float]) -> dict[str, float]:
    p50, p95, p99 = (float(1000 * v) for v in np.quantile(seconds, (0.5, 0.95, 0.99)))
    return {"answers": len(seconds), "p50": p50, "p95": p95, "p99": p99}


def _median_of(turns: list[dict[str, Any]], name: str) -> dict[str, float]:
    return {q: statistics.median(turn[name][q] for turn in turns) for q in ("p50", "p95", "p99")}


def _portrait() -> bytes:
    from skimage.data import astronaut

    canvas = Image.new("RGB", _SIZE, (90, 95, 100))
    side = _SIZE[1]
    portrait: npt.NDArray[np.uint8] = astronaut()  # type: ignore[no-untyped-call]
    canvas.paste(Image.fromarray(portrait).resize((side, side), Image.Resampling.LANCZOS), ((_SIZE[0] - side) // 2, 0))
    file = io.BytesIO()
    canvas.save(file, "JPEG", quality=90)
    return file.getvalue()
