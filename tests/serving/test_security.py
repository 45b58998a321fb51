"""Who may come in, and from where: a real server, and clients of bad will."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from secured import (
    ALERT,
    GUARDED,
    OPEN,
    TOKEN,
    TOKENS,
    Served,
    bearer,
    certificate,
    raw,
    serving,
    told,
)
from waiting import eventually

from risa_ray.config_serve import ServeConfig, parse_serve
from risa_ray.serving.security import Misses
from risa_ray.serving.tokens import add_token, open_book

PROXIED = ServeConfig(behind_proxy=True, tokens_file="tokens", names=("risa.example",))


@pytest.fixture(scope="module")
def local() -> Iterator[Served]:
    with serving(OPEN) as served:
        yield served


@pytest.fixture(scope="module")
def guarded() -> Iterator[Served]:
    with serving(GUARDED, TOKENS) as served:
        yield served


class TestWhoMayDoWhat:
    def test_without_tokens_whoever_is_on_the_machine_may_do_all(self, local: Served) -> None:
        assert requests.get(f"{local.url}/v1/cameras").json() == []
        assert requests.post(local.url + ALERT).json() == {"alert_id": "a1", "by": "local"}

    def test_a_viewer_looks_and_an_operator_also_acts(self, guarded: Served) -> None:
        assert requests.get(f"{guarded.url}/v1/cameras", headers=bearer(TOKEN["anna"])).json() == []
        detail = told(requests.post(guarded.url + ALERT, headers=bearer(TOKEN["anna"])), 403)
        assert detail == "POST needs an operator's token; anna is a viewer"
        told(requests.post(f"{guarded.url}/v1/analyze", data=b"x", headers=bearer(TOKEN["anna"])), 403)
        assert requests.post(guarded.url + ALERT, headers=bearer(TOKEN["otto"])).json()["by"] == "otto"

    def test_the_page_itself_is_for_everybody(self, guarded: Served) -> None:
        assert requests.get(guarded.url).text == "the page"

    @pytest.mark.parametrize("path", ["/v1/cameras", "/v1/metrics", "/v1/openapi.json", "/v1/events", "/v1/nothing"])
    def test_nothing_of_the_store_without_a_token(self, guarded: Served, path: str) -> None:
        answer = requests.get(guarded.url + path)
        assert "a token is needed" in told(answer, 401)
        assert answer.headers["www-authenticate"] == 'Bearer realm="risa"'
        # never in the address, which ends in logs and histories
        told(requests.get(guarded.url + path, params={"access_token": TOKEN["anna"], "token": TOKEN["anna"]}), 401)

    @pytest.mark.parametrize(
        "sent", ["Bearer wrong", "Bearer ", "Bearer", "Basic {}", "{}", "Bearer {}x", "Bearer {},{}", "Bearer \xe4\xff"]
    )
    def test_a_wrong_token_is_refused(self, guarded: Served, sent: str) -> None:
        header = sent.replace("{}", TOKEN["otto"]).encode("latin-1")
        told(requests.get(f"{guarded.url}/v1/cameras", headers={"Authorization": header}), 401)

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT-ME"])
    def test_other_methods_are_refused(self, local: Served, method: str) -> None:
        answer = requests.request(method, f"{local.url}/v1/cameras")
        told(answer, 405)
        assert answer.headers["allow"] == "GET, HEAD, POST"
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]

    def test_head_says_what_get_would(self, local: Served) -> None:
        with requests.Session() as session:
            for path in ("/", "/v1/cameras", "/v1/metrics", "/v1/nothing"):
                head, get = (session.request(method, local.url + path) for method in ("HEAD", "GET"))
                assert (head.status_code, head.content) == (get.status_code, b"")
                assert head.headers.keys() == get.headers.keys()
        told_by = {path: requests.head(local.url + path) for path in (ALERT, "/v1/events")}
        assert {path: (a.status_code, a.headers["allow"]) for path, a in told_by.items()} == {
            ALERT: (405, "POST"), "/v1/events": (405, "GET"),
        }  # fmt: skip

    def test_an_open_page_ends_when_its_token_is_withdrawn(self, tmp_path: Path) -> None:
        path = tmp_path / "tokens"
        anna, otto = add_token("anna", "viewer", path), add_token("otto", "operator", path)
        config = OPEN.model_copy(update={"tokens_file": str(path)})
        with serving(config, open_book(config)) as served, ExitStack() as stack:
            pages = [
                stack.enter_context(requests.get(f"{served.url}/v1/events", headers=bearer(t), stream=True, timeout=20))
                for t in (anna, otto)
            ]
            first, second = (page.iter_lines(chunk_size=1) for page in pages)
            assert [next(lines) for lines in (first, second)] == [b"retry: 1000"] * 2
            path.write_text(path.read_text().splitlines()[1] + "\n")
            assert b"event: live" in list(first), "to its end"
            seen = [next(second) for _ in range(8)]
            assert seen.count(b"event: live") > 1, "the other goes on"
            told(requests.get(f"{served.url}/v1/events", headers=bearer(anna)), 401)

    def test_pictures_are_refused_where_nobody_analyses_them(self) -> None:
        config = GUARDED.model_copy(update={"analyze": None})
        with serving(config, TOKENS) as served:
            for size in (10, 1_000_000):
                answer = requests.post(f"{served.url}/v1/analyze", data=bytes(size), headers=bearer(TOKEN["otto"]))
                assert told(answer, 404).startswith("this server analyses no pictures (serve.analyze: null")
            told(requests.post(f"{served.url}/v1/analyze", data=b"x"), 401)

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

    def test_no_secret_reaches_a_log(self, guarded: Served, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        requests.get(f"{guarded.url}/v1/cameras?store={TOKEN['anna']}", headers=bearer(TOKEN["otto"]))
        requests.get(f"{guarded.url}/v1/cameras", headers=bearer("risa_almost"))
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
