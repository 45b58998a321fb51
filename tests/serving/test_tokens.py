"""Tokens: how they are made, kept, read and withdrawn."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from risa_ray.cli_tokens import serve_token
from risa_ray.config_serve import ServeConfig
from risa_ray.errors import InputError
from risa_ray.serving.tokens import TokenBook, add_token, open_book, parse_tokens


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

    @pytest.mark.parametrize("text", ["", "# none yet\n"])
    def test_a_server_does_not_start_without_a_token_and_the_first_can_be_added(
        self, text: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "tokens"
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(InputError, match="no token is there; make one with `risa serve-token"):
            open_book(ServeConfig(tokens_file=str(path)))
        with pytest.raises(InputError, match="no token is there"):
            open_book(ServeConfig(tokens_env="RISA_TOKENS"), {"RISA_TOKENS": text})
        token = add_token("anna", "viewer", path)
        book = open_book(ServeConfig(tokens_file=str(path)))
        assert book is not None
        assert book.identify(token) is not None
        assert path.read_text().startswith(text)

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
        path.rename(tmp_path / "elsewhere")
        assert book.identify(otto) is not None
        path.write_text("# all withdrawn\n")
        assert book.identify(otto) is None
