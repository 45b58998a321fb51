"""Pages that are open: server-sent events read by one thread, at next to no cost of their own."""

from __future__ import annotations

import json
import selectors
import socket
import threading
import time
from contextlib import suppress
from datetime import datetime
from typing import Any

from risa_ray.benchmarks.live_run import RunFailedError

_ASK = b"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
_MARK = b"event: live"


class OpenPages:
    """Connections to /v1/events; a context manager.

    Args:
        port: of the API, on 127.0.0.1.
        number: of pages. The first one's events are read, those of the others are counted.

    Attributes:
        events: `live` events that all pages got.
        delays: camera_id -> seconds from a frame's capture until a page had figures that reach to it, each once.
        errors: pages that were closed or refused.
    """

    def __init__(self, port: int, number: int) -> None:
        self.events = self.errors = 0
        self.delays: dict[str, list[float]] = {}
        self._newest: dict[str, str] = {}
        self._text = b""
        self._selector = selectors.DefaultSelector()
        self._stop = threading.Event()
        for index in range(number):
            page = socket.create_connection(("127.0.0.1", port), timeout=30)
            page.sendall(_ASK)
            if not page.recv(1 << 16).startswith(b"HTTP/1.1 200"):
                raise RunFailedError(f"page {index + 1} of {number} was not let in")
            page.setblocking(False)
            self._selector.register(page, selectors.EVENT_READ, index)
        self._thread = threading.Thread(target=self._read, name="pages", daemon=True)

    def __enter__(self) -> OpenPages:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _read(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(timeout=0.2):
                page = key.fileobj
                assert isinstance(page, socket.socket)
                got = b""
                with suppress(BlockingIOError, ConnectionError):
                    got = page.recv(1 << 20)
                if not got:
                    self._selector.unregister(page)
                    page.close()
                    self.errors += 1
                    continue
                self.events += got.count(_MARK)
                if key.data == 0:
                    self._look(got)

    def _look(self, got: bytes) -> None:
        now = time.time()
        *events, self._text = (self._text + got).split(b"\n\n")
        for event in events:
            _, mark, data = event.partition(b"event: live\ndata: ")
            if mark:
                self._note(json.loads(data), now)

    def _note(self, live: dict[str, Any], now: float) -> None:
        for figures in live["figures"]:
            camera_id, at = figures["camera_id"], figures["at"]
            if figures["zone_id"] is None and self._newest.get(camera_id) != at:
                self._newest[camera_id] = at
                self.delays.setdefault(camera_id, []).append(now - datetime.fromisoformat(at).timestamp())
