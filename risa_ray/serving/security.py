"""What stands before the application: who may come in, with what, and how much of it.

Pure ASGI, so that server-sent events pass untouched. Everything outside /v1 is the page, which is the same for
everybody; everything under /v1 is the store's, and wants a token where there are tokens.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from risa_ray.config_serve import ServeConfig
from risa_ray.serving.exchange import AnsweredError, Exchange
from risa_ray.serving.incoming import Asked, GateError, check_origin, check_shape, client_of
from risa_ray.serving.limits import Buckets, Streams
from risa_ray.serving.prometheus import Traffic
from risa_ray.serving.tokens import LOCAL, Identity, TokenBook

access = logging.getLogger("risa.access")
log = logging.getLogger("risa.serve")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

EVENTS = "/v1/events"
REFUSALS = (400, 401, 403, 429)
"""How the gate may answer whatever is asked, for the routes' `responses`. It has more for what no client sends."""
_UPLOAD = "/v1/analyze"
_SMALL_BODY = 64 * 1024
_MISSES_PER_MINUTE = 30.0

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), display-capture=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_ENCRYPTED = {"strict-transport-security": "max-age=31536000"}
_PRIVATE = {"cache-control": "no-store"}


def secure(app: App, config: ServeConfig, book: TokenBook | None, traffic: Traffic | None = None) -> App:
    """The application behind its gate.

    Routes find who asks in `request.state.identity` (`Identity`: name and role).

    Args:
        book: the tokens that are good, as `tokens.open_book` gives them; None: whoever is on this machine may do all.
        traffic: counts what passes, for /v1/metrics.
    """
    return _Gate(app, config, book, traffic or Traffic())


class _Gate:
    """The ASGI application that `secure` gives."""

    def __init__(self, app: App, config: ServeConfig, book: TokenBook | None, traffic: Traffic) -> None:
        self._app, self._config, self._book, self._traffic = app, config, book, traffic
        limits = config.limits
        self._requests = Buckets(limits.requests_per_s, limits.burst)
        self._misses = Misses()
        self._streams = Streams(limits.streams, limits.streams_in_all)
        self._headers = HEADERS | (_ENCRYPTED if config.tls or config.behind_proxy else {})
        traffic.watch_streams(lambda: self._streams.count)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:  # websockets: there are none
            await send({"type": "websocket.close", "code": 1008})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        asked = Asked.of(scope)
        if asked.method == "HEAD":  # the same answer; the server sends its headers alone
            scope = {**scope, "method": "GET"}
        private = asked.path.startswith("/v1")
        headers = self._headers | (_PRIVATE if private else {})
        exchange = Exchange(asked, receive, send, headers, self._largest(asked))
        client, name, refused = "-", "-", ""
        try:
            check_shape(asked)
            client = client_of(asked, self._config)
            check_origin(asked, self._config, tokens=self._book is not None)
            identity = self._identify(asked, client) if private else None
            name = identity.name if identity else "-"
            who = f"token {name}" if identity and self._book else f"address {client}"
            self._check_rate(who)
            self._check_offered(asked)
            exchange.check_length()
            with self._open_stream(asked, who):
                if asked.path == EVENTS and self._book is not None:
                    exchange.end_unless(lambda: self._known(asked) == identity)
                await self._run(self._with_identity(scope, identity), exchange, self._longest_s(asked))
        except GateError as refusal:
            refused = refusal.reason
            await exchange.refuse(refusal)
        self._traffic.note(asked.method, _route(scope), exchange.status, time.monotonic() - began, refused)
        access.info(
            "%s %s %s %s %s %.0f ms",
            client, name, asked.method[:16], quote(asked.path[:256]), exchange.status, (time.monotonic() - began) * 1e3,
        )  # fmt: skip

    def _largest(self, asked: Asked) -> int:
        analyze = self._config.analyze if asked.path == _UPLOAD else None
        return analyze.uploads.max_bytes if analyze else _SMALL_BODY

    def _longest_s(self, asked: Asked) -> float | None:
        """How long a request may take, with its answer. An upload keeps its own time; this is for when it does not."""
        if asked.path == EVENTS:
            return None
        analyze = self._config.analyze if asked.path == _UPLOAD else None
        return self._config.limits.request_s + (analyze.uploads.upload_s + analyze.answer_s if analyze else 0)

    def _identify(self, asked: Asked, client: str) -> Identity:
        """Who asks.

        A good token is taken however many wrong ones came from its address: behind one address there may be a whole
        store, with an old token on one of its tablets. 256 random bits are not guessed at any rate; what is limited is
        the work and the log lines that wrong ones cost.
        """
        if self._book is None:
            return LOCAL
        identity = self._known(asked)
        if identity is None:
            given = bool(_token_of(asked))
            if given and (wait := self._misses.note(client)) > 0:
                raise GateError(
                    429, "misses", "too many wrong tokens from this address; wait, and check the token", wait
                )
            raise GateError(
                401, "token",
                "the token is wrong, or was withdrawn; ask for a new one" if given
                else "a token is needed; send it as 'Authorization: Bearer TOKEN'",
                headers={"www-authenticate": 'Bearer realm="risa"' + (', error="invalid_token"' if given else "")},
            )  # fmt: skip
        # Acknowledging speaks for the store, and pictures of people are sent in on somebody's responsibility.
        if asked.method not in ("GET", "HEAD") and identity.role != "operator":
            raise GateError(403, "role", f"{asked.method} needs an operator's token; {identity.name} is a viewer")
        return identity

    def _known(self, asked: Asked) -> Identity | None:
        """Whose token came with it; None: nobody's."""
        token = _token_of(asked)
        return self._book.identify(token) if self._book is not None and token else None

    def _check_offered(self, asked: Asked) -> None:
        """Refuse uploads where there is nobody to take them, before one is looked at."""
        if asked.path == _UPLOAD and self._config.analyze is None:
            raise GateError(404, "off", "this server analyses no pictures (serve.analyze: null, or --no-analyze)")

    def _check_rate(self, who: str) -> None:
        if (wait := self._requests.take(who)) > 0:
            raise GateError(
                429, "rate", f"more than {self._config.limits.requests_per_s:g} requests a second; wait", wait
            )

    @contextmanager
    def _open_stream(self, asked: Asked, who: str) -> Iterator[None]:
        if asked.path != EVENTS:
            yield
            return
        if asked.method == "HEAD":
            raise GateError(405, "method", "the answer has no end; send GET", headers={"allow": "GET"})
        if self._streams.full():
            raise GateError(503, "streams", "as many pages are open as the server takes (limits.streams_in_all)", 10)
        if self._streams.full_for(who):
            raise GateError(429, "streams", "too many pages are open with this token or address; close one", 10)
        with self._streams.opened(who):
            yield

    def _with_identity(self, scope: Scope, identity: Identity | None) -> Scope:
        scope["state"] = {**scope.get("state", {}), "identity": identity}
        return scope

    async def _run(self, scope: Scope, exchange: Exchange, longest_s: float | None) -> None:
        """Let the application answer, in time; what goes wrong in it is told in the log, and to nobody else."""
        try:
            async with asyncio.timeout(longest_s):
                await self._app(scope, exchange.receive, exchange.send)
        except TimeoutError:
            if exchange.reading:
                raise GateError(408, "slow", "the request did not come in time; send it faster") from None
            raise GateError(504, "slow", "the answer takes too long; ask for less") from None
        except AnsweredError:
            pass
        except Exception:
            log.exception("%s failed", quote(scope["path"]))
            raise GateError(500, "error", "the server failed here; its log says why") from None


def _token_of(asked: Asked) -> str:
    """The token that a request came with; empty: none."""
    scheme, _, token = asked.header("authorization").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _route(scope: Scope) -> str:
    """The pattern of the path that answered; "other" for files of the page and for what there is not."""
    return str(getattr(scope.get("route"), "path", None) or "other")


class Misses:
    """Wrong tokens: limited by address, and told in the log at once and then once a minute, with their number."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._buckets = Buckets(_MISSES_PER_MINUTE / 60, int(_MISSES_PER_MINUTE), clock=clock)
        self._clock = clock
        self._told_at = float("-inf")
        self._count = 0

    def note(self, client: str) -> float:
        """One more; 0, or the seconds until the next is looked at."""
        self._count += 1
        if self._clock() - self._told_at >= 60:
            log.warning("%d requests with a wrong token, the last from %s", self._count, client)
            self._told_at, self._count = self._clock(), 0
        return self._buckets.take(client)
