"""Section `serve` of the config: what would let strangers in is refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from secured import certificate

from risa_ray.config import load_config, parse_config
from risa_ray.config_serve import ServeConfig, TlsConfig, parse_serve
from risa_ray.errors import InputError
from risa_ray.serving.protocol import check_tls


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
