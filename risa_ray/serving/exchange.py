"""One request and its answer, on their way through the gate."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from risa_ray.serving.incoming import Asked, GateError

STALLED_S = 30.0
"""A client that takes nothing for so long is let go: it would hold its place for ever."""
_LINGER_S = 2.0
_LINGER_BYTES = 8_000_000

Message = MutableMapping[str, Any]


class AnsweredError(Exception):
    """The request was answered already; whatever the application makes of this goes nowhere."""


class Exchange:
    """What the application receives and sends, with limits on the one and headers on the other.

    Args:
        headers: of every answer, in place of the application's own.
        largest: bytes of the request's body.

    Attributes:
        status: of the answer, 0 before it began.
        reading: whether some of the request has yet to come.
    """

    def __init__(
        self,
        asked: Asked,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
        headers: Mapping[str, str],
        largest: int,
    ) -> None:
        self._receive, self._send = receive, send
        self._headers = {name.encode(): value.encode() for name, value in headers.items()}
        self._largest, self._taken = largest, 0
        self._length = asked.header("content-length")
        self._over = False
        self._may_go_on: Callable[[], bool] = lambda: True
        self.status = 0
        self.reading = self._length not in ("", "0") or bool(asked.header("transfer-encoding"))

    def check_length(self) -> None:
        """Refuse a body by what its header says.

        Raises:
            GateError: it is too large.
        """
        if self._length.isdecimal() and int(self._length) > self._largest:
            raise self._too_large()

    def _too_large(self) -> GateError:
        return GateError(413, "body", f"the body is larger than {self._largest} bytes; send less")

    def end_unless(self, may_go_on: Callable[[], bool]) -> None:
        """Ask before each part of an answer that has no end of its own; it ends where the answer is no."""
        self._may_go_on = may_go_on

    async def receive(self) -> Message:
        """A part of the request. A body that grows too large is refused here and now."""
        message = await self._take()
        if self._taken > self._largest:
            await self.refuse(self._too_large())
            raise AnsweredError
        return message

    async def _take(self) -> Message:
        message = await self._receive()
        self._taken += len(message.get("body", b""))
        self.reading = message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """A part of the application's answer; nothing once the gate has answered."""
        if self._over:
            return
        if self.status and not self._may_go_on():
            self._over = True
            await self._pass_on({"type": "http.response.body", "body": b""})
            raise AnsweredError
        await self._pass_on(message)

    async def refuse(self, refusal: GateError) -> None:
        """Answer with an error, unless an answer has begun: then it breaks off here."""
        if self.status:
            return
        self._over = True
        body = json.dumps({"detail": refusal.detail}).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body))} | refusal.headers
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._pass_on({"type": "http.response.start", "status": refusal.status, "headers": encoded})
        await self._pass_on({"type": "http.response.body", "body": body})

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            ours = self._headers | ({b"connection": b"close"} if self.reading else {})
            theirs = [(n, v) for n, v in message.get("headers", []) if n.lower() not in ours]
            message = {**message, "headers": [*theirs, *ours.items()]}
        elif self.reading and not message.get("more_body", False):
            await self._write({**message, "more_body": True})
            await self._linger()
            message = {"type": message["type"], "body": b""}
        await self._write(message)

    async def _write(self, message: Message) -> None:
        try:
            async with asyncio.timeout(STALLED_S):
                await self._send(message)
        except TimeoutError:
            raise AnsweredError from None

    async def _linger(self) -> None:
        """Read on for a moment: a connection that is closed on what it has not read loses its answer on the way."""
        try:
            async with asyncio.timeout(_LINGER_S):
                end = self._taken + _LINGER_BYTES
                while self.reading and self._taken < end:
                    await self._take()
        except TimeoutError:
            pass
