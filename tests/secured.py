"""The gate of the API before a real server: uvicorn in a thread, with the routes that need no job."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import PlainTextResponse

from risa_ray.config_analyze import AnalyzeConfig, UploadLimits
from risa_ray.config_serve import LimitsConfig, ServeConfig
from risa_ray.serving import models, routes_live, routes_metrics
from risa_ray.serving.hub import Hub
from risa_ray.serving.problems import install
from risa_ray.serving.prometheus import Traffic
from risa_ray.serving.protocol import settings
from risa_ray.serving.security import App, secure
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


ALERT = "/v1/alerts/a1/acknowledge"
ANALYZE = AnalyzeConfig(uploads=UploadLimits(max_mb=1, upload_s=0.1), answer_s=0.1)
TOKENS, TOKEN = book_of(anna="viewer", otto="operator")
OPEN = ServeConfig(limits=LimitsConfig(requests_per_s=10_000, burst=10_000))
"""As it is without a config: this machine alone, no tokens. Only nobody asks too often."""
GUARDED = OPEN.model_copy(update={"tokens_file": "tokens", "analyze": ANALYZE})
"""For `TOKENS`: a viewer and an operator."""


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
    with listening(secure(app, config, book, traffic), config) as address:
        scheme = "https" if config.tls else "http"
        yield Served(f"{scheme}://{address[0]}:{address[1]}", address, traffic, app)


@contextmanager
def listening(app: App, config: ServeConfig) -> Iterator[tuple[str, int]]:
    """The address of an application behind its gate, served in a thread."""
    sock = listen("127.0.0.1", 0)
    sock.listen()  # who comes before the server is ready waits
    server = uvicorn.Server(
        uvicorn.Config(app, **settings(config), log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[sock])), daemon=True)
    thread.start()
    try:
        yield sock.getsockname()
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        sock.close()


def told(answer: requests.Response, status: int) -> str:
    """The one line of an error."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"detail"}
    assert "\n" not in body["detail"]
    assert "Traceback" not in answer.text
    return str(body["detail"])


def raw(served: Served, sent: bytes) -> bytes:
    """What the server answers to bytes that no library would send."""
    with served.connect() as connection:
        connection.sendall(sent)
        found = b""
        try:
            while part := connection.recv(65536):
                found += part
        except ConnectionResetError:
            pass
        return found


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(exist_ok=True)
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption()))
    return paths
