"""How much may come in, how fast, and how long it may take: a real server, and clients of bad will."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests
from secured import ALERT, ANALYZE, GUARDED, OPEN, TOKEN, TOKENS, Served, bearer, raw, serving, told
from waiting import eventually

from risa_ray.config_serve import LimitsConfig, ServeConfig
from risa_ray.serving import exchange, protocol
from risa_ray.serving.limits import Buckets


@pytest.fixture(scope="module")
def local() -> Iterator[Served]:
    with serving(OPEN) as served:
        yield served


@pytest.fixture(scope="module")
def guarded() -> Iterator[Served]:
    with serving(GUARDED, TOKENS) as served:
        yield served


class TestSizes:
    @pytest.mark.parametrize(
        "path",
        [
            "/..", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/v1/../v1/cameras", "/..%5c..%5cetc%5cpasswd",
            "/v1/cameras%00", "/v1/%0d%0aSet-Cookie:x", "/./x", "//v1/cameras", "/v1/cameras/", "*",
            "http://evil.example/v1/cameras",
        ],
    )  # fmt: skip
    def test_odd_paths_are_refused(self, local: Served, path: str) -> None:
        answer = raw(local, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 400")
        assert b"the path is not one of this server's" in answer
        assert b"root:" not in answer

    def test_a_long_url_is_refused(self, local: Served) -> None:
        assert "longer than 8192 bytes" in told(requests.get(f"{local.url}/v1/cameras?store={'x' * 9000}"), 414)

    def test_many_headers_are_refused(self, local: Served) -> None:
        headers = {f"x-{n}": "y" for n in range(150)}
        assert "more than 100 headers" in told(requests.get(local.url, headers=headers), 431)
        told(requests.get(local.url, headers={f"x-{n}": "y" * 1000 for n in range(40)}), 431)

    def test_ten_thousand_headers_are_refused(self, local: Served) -> None:
        lines = b"".join(b"x-%d: y\r\n" % n for n in range(10_000))
        request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        # at once, or as soon as there are too many of them; then the connection may break under what was still to come
        assert re.match(rb"HTTP/1.1 4(00|31) |$", raw(local, request + lines + b"\r\n"))
        assert raw(local, request + b"x: " + bytes(100_000)) in (b"", raw(local, b"nonsense\r\n\r\n"))
        assert requests.get(f"{local.url}/v1/cameras").ok

    def test_a_large_body_is_refused_by_its_header(self, guarded: Served) -> None:
        answer = requests.post(f"{guarded.url}/v1/analyze", data=bytes(1_100_000), headers=bearer(TOKEN["otto"]))
        assert told(answer, 413) == "the body is larger than 1000000 bytes; send less"
        told(requests.post(guarded.url + ALERT, data=bytes(70_000), headers=bearer(TOKEN["otto"])), 413)

    def test_a_large_body_is_refused_while_it_comes(self, guarded: Served) -> None:
        parts = (bytes(50_000) for _ in range(40))  # without Content-Length: chunked
        told(requests.post(f"{guarded.url}/v1/analyze", data=parts, headers=bearer(TOKEN["otto"])), 413)

    def test_a_body_that_fits_arrives_whole(self, guarded: Served) -> None:
        for body in (bytes(999_999), iter([bytes(600_000), bytes(300_000)])):
            answer = requests.post(f"{guarded.url}/v1/analyze", data=body, headers=bearer(TOKEN["otto"]))
            assert answer.json()["bytes"] in (999_999, 900_000)

    def test_who_sends_all_before_reading_gets_the_answer(self, guarded: Served) -> None:
        request = b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n" + bytes(5_000_000)
        assert raw(guarded, request).startswith(b"HTTP/1.1 401")

    def test_a_body_without_end_ends(self, local: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exchange, "_LINGER_BYTES", 1_000_000)
        with local.connect() as connection:
            connection.sendall(b"POST /v1/cameras HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            part = b"2000\r\n" + bytes(0x2000) + b"\r\n"
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                connection.sendall(part * 10_000)


class TestTime:
    def test_a_body_that_trickles_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exchange, "_LINGER_S", 0.1)
        with serving(ServeConfig(limits=LimitsConfig(request_s=0.3), analyze=ANALYZE)) as served:
            request = b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc"
            answer = raw(served, request)
            assert answer.startswith(b"HTTP/1.1 408")
            assert b"did not come in time" in answer

    def test_an_answer_that_takes_too_long_is_given_up(self) -> None:
        with serving(ServeConfig(limits=LimitsConfig(request_s=0.3))) as served:
            assert "takes too long" in told(requests.get(f"{served.url}/v1/slow?seconds=20"), 504)
            with requests.get(f"{served.url}/v1/events", stream=True) as events:
                time.sleep(0.6)
                lines = events.iter_lines(chunk_size=1)
                assert [line for line, _ in zip(lines, range(8), strict=False)].count(b"event: live") >= 1

    @pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: loc"])
    def test_headers_that_never_come_are_not_waited_for(self, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
        monkeypatch.setattr(protocol, "HEADERS_S", 0.2)
        with serving() as served:
            assert raw(served, sent) == b""

    def test_a_page_that_takes_nothing_is_let_go(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exchange, "STALLED_S", 0.2)
        with serving() as served:

            @served.app.get("/v1/much")
            async def much() -> Any:
                from starlette.responses import StreamingResponse

                async def parts() -> Any:
                    while True:
                        yield bytes(1_000_000)

                return StreamingResponse(parts())

            with served.connect() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.sendall(b"GET /v1/much HTTP/1.1\r\nHost: localhost\r\n\r\n")
                text = lambda: requests.get(f"{served.url}/v1/metrics").text  # noqa: E731
                eventually(lambda: 'route="/v1/much",status="200"' in text())


class TestRates:
    def test_a_client_that_asks_too_often_waits(self) -> None:
        limits = LimitsConfig(requests_per_s=0.01, burst=5)
        with serving(ServeConfig(tokens_file="t", limits=limits), TOKENS) as served:
            for _ in range(5):
                assert requests.get(f"{served.url}/v1/cameras", headers=bearer(TOKEN["anna"])).ok
            answer = requests.get(f"{served.url}/v1/cameras", headers=bearer(TOKEN["anna"]))
            assert "requests a second" in told(answer, 429)
            assert 90 <= int(answer.headers["retry-after"]) <= 101
            assert requests.get(f"{served.url}/v1/cameras", headers=bearer(TOKEN["otto"])).ok, "each has its own"

    def test_buckets_fill_at_the_rate_and_are_forgotten(self) -> None:
        now = [0.0]
        buckets = Buckets(rate=2, burst=3, most=4, clock=lambda: now[0])
        assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
        now[0] = 0.5
        assert [buckets.take("a"), buckets.take("a")] == [0, 0.5]
        for number in range(100):
            buckets.take(str(number))
        assert len(buckets._due) <= 5
        now[0] = 100
        assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]

    def test_open_pages_are_counted_and_their_places_come_free(self) -> None:
        limits = LimitsConfig(streams=2, streams_in_all=3)
        with serving(ServeConfig(tokens_file="t", limits=limits), TOKENS) as served, ExitStack() as stack:

            def look(name: str) -> requests.Response:
                answer = requests.get(f"{served.url}/v1/events", headers=bearer(TOKEN[name]), stream=True)
                stack.callback(answer.close)
                return answer

            def is_open(name: str) -> bool:
                return look(name).ok

            first = look("anna")
            assert is_open("anna")
            answer = look("anna")
            assert "too many pages are open" in told(answer, 429)
            assert "retry-after" in answer.headers
            assert is_open("otto")
            assert "as the server takes" in told(look("otto"), 503)
            assert requests.get(f"{served.url}/v1/cameras", headers=bearer(TOKEN["otto"])).ok
            first.close()
            eventually(lambda: is_open("anna"))
