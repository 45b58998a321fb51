"""The HTTP server inside the replica.

Ray Serve's own proxy carries every server-sent event through two processes: 200 open pages cost it nine times the CPU
that a server in the replica itself takes (docs/benchmarks.md). So the replica listens, and Serve does what it is good
at: placing it, watching its health, starting it again.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

import uvicorn

from risa_ray.errors import InputError

_KEEP_ALIVE_S = 30


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one.

    Raises:
        InputError: the address is not this machine's, or taken.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise InputError(
            f"serve: host {host!r} is not known ({error.strerror}); give an address of this machine"
        ) from None
    sock = socket.socket(family, kind, number)
    # Connections of a server that died linger for a minute, and must not keep its successor from the port.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise InputError(f"serve: {host}:{port} cannot be served ({error.strerror}); choose another port") from None
    return sock


def free_port(preferred: int) -> int:
    """A port of the loopback address that is free: the preferred one, if it is."""
    for port in (preferred, 0):
        try:
            sock = listen("127.0.0.1", port)
        except InputError:
            continue
        with sock:
            return int(sock.getsockname()[1])
    raise InputError("serve: no port is free on 127.0.0.1; end a program that listens")


class Server:
    """Serves an ASGI application on the running event loop, from `start` on.

    Args:
        app: the application.
        sock: as `listen` gives it.
        settings: of uvicorn, see `protocol.settings`.
    """

    def __init__(self, app: Any, sock: socket.socket, settings: Mapping[str, Any] | None = None) -> None:
        self._socket = sock
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=1,
            **(settings or {}),
        )
        self._server = uvicorn.Server(config)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to answer, beside whatever else the loop does."""
        self._task = asyncio.get_running_loop().create_task(self._server.serve(sockets=[self._socket]))

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    async def stop(self) -> None:
        """Answer what is under way for a moment, and end."""
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.wait([self._task], timeout=3)
