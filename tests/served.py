"""The API on a real cluster, and runs beside it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import requests

from risa_ray.config import parse_config
from risa_ray.streaming.driver import stream
from risa_ray.streaming.preflight import preflight


def chain(data: str, model: Path, camera: str = "door", store: str = "007", **more: Any) -> dict[str, Any]:
    """The config of a run of the demo's camera, which lasts until it is stopped."""
    zones = [{"id": "all", "kind": "product", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]}]
    source = {"source": "demo:front?seconds=600", "sampling_fps": 4, "min_face_size": 60, "blurred_picture": True}
    return {
        "chain": "test",
        "data": data,
        "stores": [{"id": store, "name": "Riverside", "cameras": [{"id": camera, "zones": zones} | source]}],
        "pipeline": {"model": str(model), "threads": 1},
        "privacy": {"k": 1},
        "alerts": [{"id": "somebody", "figure": "people", "above": 0}],
    } | more


@contextmanager
def running(raw: dict[str, Any]) -> Iterator[threading.Event]:
    """A run of a config on the connected cluster, until the event is set or the block ends."""
    config = parse_config(raw, "test")
    stop = threading.Event()
    run = threading.Thread(
        target=stream, args=(config, preflight(config)), kwargs={"stop": stop, "on_snapshot": lambda _: None}
    )
    run.start()
    try:
        yield stop
    finally:
        stop.set()
        run.join(timeout=120)
    assert not run.is_alive()


def titles() -> dict[int, bytes]:
    """The command line of every process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            found[int(path.parent.name)] = path.read_bytes()
    return found


def replicas(server: str) -> list[int]:
    """Processes that host the API at an address."""
    name = f"ray::ServeReplica:risa-{urlparse(server).port}:".encode()
    return [pid for pid, title in titles().items() if title.startswith(name)]


class Events:
    """An open page: the `live` events of one connection, one after the other."""

    def __init__(self, answer: requests.Response) -> None:
        self._lines = answer.iter_lines(chunk_size=1, decode_unicode=True)

    def next(self, wanted: Callable[[dict[str, Any]], Any] = lambda _: True) -> dict[str, Any]:
        """The next one of the kind that is wanted; it comes, or the test's time is over."""
        kind, deadline = "", time.monotonic() + 60
        for line in self._lines:
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: ") and kind == "live":
                event: dict[str, Any] = json.loads(line.removeprefix("data: "))
                if wanted(event):
                    return event
            assert time.monotonic() < deadline, "no such event came"
        raise AssertionError("the stream ended")


@contextmanager
def page(server: str) -> Iterator[Events]:
    """An open page of a server."""
    with requests.get(f"{server}/v1/events", stream=True, timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Events(answer)
