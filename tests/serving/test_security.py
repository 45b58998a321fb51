"""Who may come in, with what, and how much of it: a real server, and clients of bad will."""

from __future__ import annotations

import datetime
import ipaddress
import logging
import pickle
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from secured import Served, bearer, book_of, serving

from risa_ray.cli_tokens import serve_token
from risa_ray.config import load_config, parse_config
from risa_ray.config_analyze import AnalyzeConfig, UploadLimits
from risa_ray.config_serve import LimitsConfig, ServeConfig, TlsConfig, parse_serve
from risa_ray.errors import InputError
from risa_ray.serving import exchange, protocol
from risa_ray.serving.limits import Buckets
from risa_ray.serving.protocol import check_tls
from risa_ray.serving.security import Misses
from risa_ray.serving.tokens import TokenBook, add_token, open_book, parse_tokens

ALERT = "/v1/alerts/a1/acknowledge"
PROXIED = ServeConfig(behind_proxy=True, tokens_file="tokens", names=("risa.example",))


@pytest.fixture(scope="module")
def local() -> Iterator[Served]:
    """As it is without a config: this machine alone, no tokens."""
    with serving(ServeConfig(limits=LimitsConfig(requests_per_s=10_000, burst=10_000))) as served:
        yield served


ANALYZE = AnalyzeConfig(uploads=UploadLimits(max_mb=1, upload_s=0.1), answer_s=0.1)
TOKENS, TOKEN = book_of(anna="viewer", otto="operator")


@pytest.fixture(scope="module")
def shared() -> Iterator[Served]:
    """With tokens of a viewer and an operator."""
    limits = LimitsConfig(requests_per_s=10_000, burst=10_000)
    with serving(ServeConfig(tokens_file="tokens", limits=limits, analyze=ANALYZE), TOKENS) as served:
        yield served


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


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


class TestTheConfig:
    @pytest.mark.parametrize(
        ("serve", "says"),
        [
            (
                {"host": "0.0.0.0"},
                ["host 0.0.0.0 is reached from other machines", "tokens_file", "tls", "behind_proxy"],
            ),
            ({"host": "::", "tls": {"certificate": "c", "key": "k"}}, ["reached from other machines"]),
            ({"host": "10.0.0.5", "tokens_file": "t"}, ["tls, or behind_proxy"]),
            ({"behind_proxy": True}, ["behind_proxy lets other machines in", "risa serve-token"]),
            ({"tokens_file": "t", "tokens_env": "T"}, ["tokens_file or tokens_env, not both"]),
            ({"names": ["https://risa.example/"]}, ["no host name", "risa.example"]),
            ({"trusted_proxies": ["10.0.0.1/8"]}, ["no address and no network"]),
            ({"tls": {"certificate": "c"}}, ["serve.tls.key", "is missing"]),
            ({"limits": {"stream": 3}}, ["serve.limits.stream", "did you mean 'streams'"]),
            ({"analyze": {"uploads": {"mb": 3}}}, ["serve.analyze.uploads.mb", "max_mb"]),
            ({"token": "risa_secret"}, ["unknown key"]),
        ],
    )
    def test_what_would_let_strangers_in_is_refused_in_one_line(self, serve: dict[str, Any], says: list[str]) -> None:
        raw = {"stores": [{"id": "s", "cameras": [{"id": "c", "source": "a.mp4"}]}], "serve": serve}
        with pytest.raises(InputError) as refused:
            parse_config(raw, "shop.yaml")
        line = str(refused.value)
        assert "\n" not in line
        assert all(part in line for part in says), line
        assert "risa_secret" not in line

    @pytest.mark.parametrize(
        "serve",
        [
            {},
            {"host": "localhost"},
            {"host": "::1", "port": 9000},
            {"host": "0.0.0.0", "tokens_file": "t", "tls": {"certificate": "c", "key": "k"}},
            {"host": "0.0.0.0", "tokens_env": "T", "behind_proxy": True, "trusted_proxies": ["10.0.0.7"]},
        ],
    )
    def test_what_is_safe_is_taken(self, serve: dict[str, Any]) -> None:
        assert parse_serve(serve).host == serve.get("host", "127.0.0.1")

    def test_the_command_line_opens_no_door_that_the_file_does_not(self) -> None:
        assert ServeConfig().override(port=9000).port == 9000
        with pytest.raises(InputError, match=r"^serve: host 0.0.0.0 is reached from other machines"):
            ServeConfig().override(host="0.0.0.0")

    def test_paths_are_relative_to_the_file(self, tmp_path: Path) -> None:
        text = "stores: [{id: s, cameras: [{id: c, source: a.mp4}]}]\n"
        text += "serve: {tokens_file: tokens, tls: {certificate: tls/c.pem, key: /k.pem}}\n"
        (tmp_path / "shop.yaml").write_text(text)
        serve = load_config(tmp_path / "shop.yaml").serve
        assert serve is not None
        assert serve.tls is not None
        assert serve.tokens_file == str(tmp_path / "tokens")
        assert (serve.tls.certificate, serve.tls.key) == (str(tmp_path / "tls/c.pem"), "/k.pem")

    def test_a_certificate_is_tried_before_anything_starts(self, tmp_path: Path) -> None:
        good, other = certificate(tmp_path), certificate(tmp_path / "other")
        check_tls(None)
        check_tls(TlsConfig(certificate=str(good[0]), key=str(good[1])))
        for cert, key, says in (
            (good[0], other[1], "KEY_VALUES_MISMATCH"),
            (tmp_path / "none", good[1], "No such file"),
            (good[1], good[0], ""),
        ):
            with pytest.raises(InputError, match=rf"serve\.tls: .* cannot be used \(.*{says}.*\); give a certificate"):
                check_tls(TlsConfig(certificate=str(cert), key=str(key)))


class TestTokens:
    def test_a_made_token_is_told_once_and_its_file_keeps_the_digest(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "tokens"
        serve_token("anna", "viewer", path)
        token = capsys.readouterr().out.strip()
        assert re.fullmatch(r"risa_[A-Za-z0-9_-]{43}", token)
        assert path.stat().st_mode & 0o777 == 0o600
        assert token not in path.read_text()
        other = add_token("otto", "operator", path)
        book = open_book(ServeConfig(tokens_file=str(path)))
        assert book is not None
        assert [book.identify(t) for t in (token, other, token + "x", "")] == [
            book.tokens[0].identity, book.tokens[1].identity, None, None,
        ]  # fmt: skip
        with pytest.raises(InputError, match="there is a token 'anna'"):
            add_token("anna", "operator", path)
        with pytest.raises(InputError, match="use up to 64 letters"):
            add_token("anna operator", "viewer", path)

    def test_a_token_without_a_file_is_printed_with_its_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        serve_token("anna", "operator", None)
        token, line = capsys.readouterr().out.split("\n", 1)
        identity = TokenBook(parse_tokens(line, "test")).identify(token)
        assert identity is not None
        assert (identity.name, identity.role) == ("anna", "operator")

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "no token is there"),
            ("# none yet\n", "no token is there"),
            ("anna viewer risa_plain-token", "tokens:1: not a token's line"),
            (f"anna admin sha256:{'0' * 64}", "tokens:1: not a token's line"),
            (
                f"a viewer sha256:{'0' * 64}\n\nb viewer sha256:{'0' * 64}",
                "tokens:3: this name or token is there twice",
            ),
        ],
    )
    def test_a_wrong_file_is_refused_without_showing_it(self, text: str, says: str) -> None:
        with pytest.raises(InputError, match=re.escape(says)) as refused:
            parse_tokens(text, "tokens")
        assert "risa_plain" not in str(refused.value)

    def test_a_file_that_others_may_write_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "tokens"
        add_token("anna", "viewer", path)
        path.chmod(0o620)
        with pytest.raises(InputError, match=r"others may write it.*chmod 600"):
            open_book(ServeConfig(tokens_file=str(path)))

    def test_a_missing_file_or_variable_tells_the_way_out(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no such file of tokens; make one with `risa serve-token"):
            open_book(ServeConfig(tokens_file=str(tmp_path / "none")))
        with pytest.raises(InputError, match="variable RISA_TOKENS is not set"):
            open_book(ServeConfig(tokens_env="RISA_TOKENS"), {})

    def test_tokens_come_from_a_variable_too(self) -> None:
        lines = f"anna viewer sha256:{'0' * 64}; otto operator sha256:{'1' * 64}"
        book = open_book(ServeConfig(tokens_env="RISA_TOKENS"), {"RISA_TOKENS": lines})
        assert book is not None
        assert [t.identity.name for t in pickle.loads(pickle.dumps(book)).tokens] == ["anna", "otto"]

    def test_a_withdrawn_token_ends_and_a_faulty_edit_changes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr("risa_ray.serving.tokens._LOOK_S", 0)
        path = tmp_path / "tokens"
        anna = add_token("anna", "viewer", path)
        otto = add_token("otto", "operator", path)
        book = open_book(ServeConfig(tokens_file=str(path)))
        assert book is not None
        kept = path.read_text().splitlines()[1]
        path.write_text("nonsense\n")
        assert book.identify(anna) is not None
        assert "tokens stay as they were" in caplog.text
        path.write_text(kept + "\n")
        assert book.identify(anna) is None
        assert book.identify(otto) is not None


class TestWhoMayDoWhat:
    def test_without_tokens_whoever_is_on_the_machine_may_do_all(self, local: Served) -> None:
        assert requests.get(f"{local.url}/v1/cameras").json() == []
        assert requests.post(local.url + ALERT).json() == {"alert_id": "a1", "by": "local"}

    def test_a_viewer_looks_and_an_operator_also_acts(self, shared: Served) -> None:
        assert requests.get(f"{shared.url}/v1/cameras", headers=bearer(TOKEN["anna"])).json() == []
        detail = told(requests.post(shared.url + ALERT, headers=bearer(TOKEN["anna"])), 403)
        assert detail == "POST needs an operator's token; anna is a viewer"
        told(requests.post(f"{shared.url}/v1/analyze", data=b"x", headers=bearer(TOKEN["anna"])), 403)
        assert requests.post(shared.url + ALERT, headers=bearer(TOKEN["otto"])).json()["by"] == "otto"

    def test_the_page_itself_is_for_everybody(self, shared: Served) -> None:
        assert requests.get(shared.url).text == "the page"

    @pytest.mark.parametrize("path", ["/v1/cameras", "/v1/metrics", "/v1/openapi.json", "/v1/events", "/v1/nothing"])
    def test_nothing_of_the_store_without_a_token(self, shared: Served, path: str) -> None:
        answer = requests.get(shared.url + path)
        assert "a token is needed" in told(answer, 401)
        assert answer.headers["www-authenticate"] == 'Bearer realm="risa"'
        # never in the address, which ends in logs and histories
        told(requests.get(shared.url + path, params={"access_token": TOKEN["anna"], "token": TOKEN["anna"]}), 401)

    @pytest.mark.parametrize(
        "sent", ["Bearer wrong", "Bearer ", "Bearer", "Basic {}", "{}", "Bearer {}x", "Bearer {},{}", "Bearer \xe4\xff"]
    )
    def test_a_wrong_token_is_refused(self, shared: Served, sent: str) -> None:
        header = sent.replace("{}", TOKEN["otto"]).encode("latin-1")
        told(requests.get(f"{shared.url}/v1/cameras", headers={"Authorization": header}), 401)

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT-ME"])
    def test_other_methods_are_refused(self, local: Served, method: str) -> None:
        answer = requests.request(method, f"{local.url}/v1/cameras")
        told(answer, 405)
        assert answer.headers["allow"] == "GET, HEAD, POST"
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]

    def test_wrong_tokens_are_limited_and_good_ones_go_on(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        with serving(ServeConfig(tokens_file="t"), TOKENS) as served, requests.Session() as session:
            for _ in range(30):
                told(session.get(f"{served.url}/v1/cameras", headers=bearer("risa_guessed")), 401)
            answer = session.get(f"{served.url}/v1/cameras", headers=bearer("risa_guessed"))
            assert "too many wrong tokens" in told(answer, 429)
            assert int(answer.headers["retry-after"]) >= 1
            assert session.get(f"{served.url}/v1/cameras", headers=bearer(TOKEN["anna"])).ok
        assert caplog.text.count("with a wrong token, the last from 127.0.0.1") == 1
        assert "guessed" not in caplog.text

    def test_wrong_tokens_are_told_once_a_minute_with_their_number(self, caplog: pytest.LogCaptureFixture) -> None:
        now = [1000.0]
        misses = Misses(lambda: now[0])
        for _ in range(6):
            misses.note("10.0.0.7")
            now[0] += 15
        assert [r.message.split(" with")[0] for r in caplog.records] == ["1 requests", "4 requests"]

    def test_no_secret_reaches_a_log(self, shared: Served, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        requests.get(f"{shared.url}/v1/cameras?store={TOKEN['anna']}", headers=bearer(TOKEN["otto"]))
        requests.get(f"{shared.url}/v1/cameras", headers=bearer("risa_almost"))
        eventually(lambda: caplog.text.count("GET /v1/cameras") >= 2)
        assert "127.0.0.1 otto GET /v1/cameras 200" in caplog.text
        access = "".join(r.getMessage() for r in caplog.records if not r.name.startswith("urllib3"))
        assert not any(secret in access for secret in (*TOKEN.values(), "risa_almost", "store="))


class TestPagesOfOthers:
    @pytest.mark.parametrize(
        "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "[::2]", "", "a b"]
    )
    def test_a_name_that_was_pointed_here_is_refused(self, local: Served, host: str) -> None:
        request = f"GET /v1/cameras HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        assert b"421" in raw(local, request).split(b"\r\n")[0]

    @pytest.mark.parametrize(
        "host", ["localhost:8787", "LOCALHOST", "127.0.0.1", "127.8.8.8", "[::1]:8787", "localhost."]
    )
    def test_the_machines_own_names_are_good(self, local: Served, host: str) -> None:
        assert requests.get(f"{local.url}/v1/cameras", headers={"Host": host}).ok

    def test_other_names_have_to_be_in_the_config(self) -> None:
        with serving(ServeConfig(names=("till.lan",))) as served:
            assert requests.get(f"{served.url}/v1/cameras", headers={"Host": "till.lan:80"}).ok
            assert "serve.names" in told(requests.get(served.url, headers={"Host": "tills.lan"}), 421)

    @pytest.mark.parametrize(
        "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost", "https://{host}", "x://["]
    )
    def test_a_post_from_another_site_is_refused(self, local: Served, origin: str) -> None:
        headers = {"Origin": origin.replace("{host}", local.url.removeprefix("http://"))}
        assert "page of another site" in told(requests.post(local.url + ALERT, headers=headers), 403)

    def test_a_post_from_the_page_itself_is_good(self, local: Served) -> None:
        assert requests.post(local.url + ALERT, headers={"Origin": local.url, "Sec-Fetch-Site": "same-origin"}).ok

    def test_browsers_tell_of_other_sites_that_only_read(self, local: Served) -> None:
        for site in ("cross-site", "same-site"):
            headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
            told(requests.get(f"{local.url}/v1/cameras", headers=headers), 403)
            assert requests.get(local.url, headers=headers | {"Sec-Fetch-Mode": "navigate"}).ok

    def test_no_other_origin_may_read(self, local: Served) -> None:
        answer = requests.get(f"{local.url}/v1/cameras", headers={"Origin": "https://evil.example"})
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


class TestHeaders:
    @pytest.mark.parametrize("path", ["/", "/v1/cameras", "/v1/nothing", "/v1/fails", "/../x"])
    def test_every_answer_has_them(self, local: Served, path: str) -> None:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        head = raw(local, request).split(b"\r\n\r\n")[0].decode().lower().splitlines()
        lines = [line for line in head if ": " in line]
        assert len({line.split(": ")[0] for line in lines}) == len(lines), "none is there twice"
        found = dict(line.split(": ", 1) for line in lines)
        assert found["content-security-policy"].startswith("default-src 'self';")
        assert "frame-ancestors 'none'" in found["content-security-policy"]
        assert found["x-content-type-options"] == "nosniff"
        assert found["x-frame-options"] == "deny"
        assert found["referrer-policy"] == "no-referrer"
        assert "camera=()" in found["permissions-policy"]
        assert "server" not in found
        assert found.get("cache-control") == ("no-store" if path.startswith("/v1") else {"/": "max-age=60"}.get(path))
        assert "strict-transport-security" not in found

    def test_over_tls_browsers_are_told_to_stay_there(self, tmp_path: Path) -> None:
        files = certificate(tmp_path)
        config = parse_serve({"tls": {"certificate": str(files[0]), "key": str(files[1])}})
        with serving(config) as served:
            answer = requests.get(f"{served.url}/v1/cameras", verify=str(files[0]))
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
            with pytest.raises(requests.exceptions.SSLError):
                requests.get(served.url)
            assert requests.post(served.url + ALERT, headers={"Origin": served.url}, verify=str(files[0])).ok

    def test_what_fails_inside_is_for_the_log_alone(self, local: Served, caplog: pytest.LogCaptureFixture) -> None:
        answer = requests.get(f"{local.url}/v1/fails")
        assert "password" not in told(answer, 500)
        eventually(lambda: "ValueError" in caplog.text)

    def test_errors_of_the_routes_are_one_line_too(self, local: Served) -> None:
        told(requests.get(f"{local.url}/v1/nothing"), 404)
        told(requests.post(f"{local.url}/v1/cameras"), 405)
        assert told(requests.get(f"{local.url}/v1/slow?seconds=x"), 422).startswith("seconds: ")


class TestSizes:
    @pytest.mark.parametrize(
        "path",
        [
            "/..", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/v1/../v1/cameras", "/..%5c..%5cetc%5cpasswd",
            "/v1/cameras%00", "/v1/%0d%0aSet-Cookie:x", "/./x", "http://evil.example/v1/cameras", "*",
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

    def test_a_large_body_is_refused_by_its_header(self, shared: Served) -> None:
        answer = requests.post(f"{shared.url}/v1/analyze", data=bytes(1_100_000), headers=bearer(TOKEN["otto"]))
        assert told(answer, 413) == "the body is larger than 1000000 bytes; send less"
        told(requests.post(shared.url + ALERT, data=bytes(70_000), headers=bearer(TOKEN["otto"])), 413)

    def test_a_large_body_is_refused_while_it_comes(self, shared: Served) -> None:
        parts = (bytes(50_000) for _ in range(40))  # without Content-Length: chunked
        told(requests.post(f"{shared.url}/v1/analyze", data=parts, headers=bearer(TOKEN["otto"])), 413)

    def test_a_body_that_fits_arrives_whole(self, shared: Served) -> None:
        for body in (bytes(999_999), iter([bytes(600_000), bytes(300_000)])):
            answer = requests.post(f"{shared.url}/v1/analyze", data=body, headers=bearer(TOKEN["otto"]))
            assert answer.json()["bytes"] in (999_999, 900_000)

    def test_who_sends_all_before_reading_gets_the_answer(self, shared: Served) -> None:
        request = b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n" + bytes(5_000_000)
        assert raw(shared, request).startswith(b"HTTP/1.1 401")

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


class TestBehindAProxy:
    def test_its_word_on_the_address_counts(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        with serving(PROXIED, TOKENS) as served:
            headers = {"Host": "risa.example", **bearer(TOKEN["anna"])}
            # what the client wrote comes first; the proxy adds what it has seen
            forwarded = headers | {"X-Forwarded-For": "1.1.1.1, 203.0.113.9, 127.0.0.1"}
            answer = requests.get(f"{served.url}/v1/cameras", headers=forwarded)
            assert answer.ok
            assert "strict-transport-security" in answer.headers
            odd = headers | {"X-Forwarded-For": "<script>, nonsense"}
            assert requests.get(f"{served.url}/v1/figures", headers=odd).ok
            eventually(lambda: "GET /v1/figures" in caplog.text)
        assert "203.0.113.9 anna GET /v1/cameras" in caplog.text
        assert "? anna GET /v1/figures" in caplog.text

    def test_the_page_may_post_through_it(self) -> None:
        with serving(PROXIED, TOKENS) as served:
            headers = bearer(TOKEN["otto"]) | {"Origin": "https://risa.example"}
            for host in ("risa.example", "127.0.0.1"):  # passed on, and not
                assert requests.post(served.url + ALERT, headers=headers | {"Host": host}).ok
            told(requests.post(served.url + ALERT, headers=headers | {"Origin": "https://evil.example"}), 403)

    def test_nobody_comes_past_it(self) -> None:
        config = PROXIED.model_copy(update={"trusted_proxies": ("10.0.0.7",)})
        with serving(config, TOKENS) as served:
            headers = bearer(TOKEN["otto"]) | {"X-Forwarded-For": "10.0.0.7"}
            assert "come by the proxy" in told(requests.get(f"{served.url}/v1/cameras", headers=headers), 403)

    def test_a_proxy_that_nobody_told_of_lets_nobody_in(self, local: Served) -> None:
        for header in ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"):
            answer = requests.get(f"{local.url}/v1/cameras", headers={header: "203.0.113.9"})
            assert "behind_proxy" in told(answer, 403)


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
