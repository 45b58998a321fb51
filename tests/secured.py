"""The gate of the API before a real server: uvicorn in a thread, with the routes that need no job."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import PlainTextResponse

from risa_ray.config_serve import ServeConfig
from risa_ray.serving import models, routes_live, routes_metrics
from risa_ray.serving.hub import Hub
from risa_ray.serving.problems import install
from risa_ray.serving.prometheus import Traffic
from risa_ray.serving.protocol import settings
from risa_ray.serving.security import secure
from risa_ray.serving.server import listen
from risa_ray.serving.tokens import TokenBook, make_token, parse_tokens


@dataclass
class Served:
    """A running server."""

    url: str
    address: tuple[str, int]
    traffic: Traffic
    app: FastAPI

    def connect(self) -> socket.socket:
        """A connection for what no HTTP library sends."""
        return socket.create_connection(self.address, timeout=20)


def book_of(**roles: Any) -> tuple[TokenBook, dict[str, str]]:
    """Tokens by name, as `book_of(anna="viewer")`, and the book that knows them."""
    made = {name: make_token(name, role) for name, role in roles.items()}
    lines = "\n".join(line for _, line in made.values())
    return TokenBook(parse_tokens(lines, "test")), {name: token for name, (token, _) in made.items()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def application() -> FastAPI:
    """The routes that need no job, and some that act: what they do is of no matter here, who may ask for it is."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json")
    install(app)

    async def hour() -> models.HourNow | None:
        return None

    @app.get("/")
    async def page() -> PlainTextResponse:
        return PlainTextResponse("the page", headers={"Cache-Control": "max-age=60", "X-Frame-Options": "ALLOWALL"})

    @app.post("/v1/alerts/{alert_id}/acknowledge")
    async def acknowledge(alert_id: str, request: Request) -> dict[str, str]:
        return {"alert_id": alert_id, "by": request.state.identity.name}

    @app.post("/v1/analyze")
    async def analyze(request: Request) -> dict[str, int]:
        return {"bytes": sum([len(part) async for part in request.stream()])}

    @app.get("/v1/slow")
    async def slow(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "done"

    @app.get("/v1/fails")
    async def fails() -> str:
        raise ValueError("rtsp://user:password@camera")

    app.state.hub = Hub(hour, list, names=list)
    app.include_router(routes_live.router)
    app.include_router(routes_metrics.router)
    return app


@contextmanager
def serving(
    config: ServeConfig | None = None,
    book: TokenBook | None = None,
    app: FastAPI | None = None,
) -> Iterator[Served]:
    """A server on a free port, for as long as this lasts."""
    traffic = Traffic()
    app, config = app or application(), config or ServeConfig()
    app.state.traffic = traffic
    sock = listen("127.0.0.1", 0)
    sock.listen()  # who comes before the server is ready waits
    port = sock.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(
            secure(app, config, book, traffic),
            **settings(config),
            log_config=None,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[sock])), daemon=True)
    thread.start()
    try:
        scheme = "https" if config.tls else "http"
        yield Served(f"{scheme}://127.0.0.1:{port}", ("127.0.0.1", port), traffic, app)
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        sock.close()
