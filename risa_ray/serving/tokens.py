"""Tokens: who may look, and who may act.

A token is 256 random bits, so its SHA-256 is as good as the slow hash that passwords need: nobody can guess it from the
file. The file has a line per token, `name role sha256:<hex>`; '#' begins a comment.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from risa_ray.config_serve import ServeConfig
from risa_ray.errors import InputError

log = logging.getLogger("risa.serve")

Role = Literal["viewer", "operator"]
PREFIX = "risa_"
"""Tokens begin with it, so that scanners for leaked secrets can know them."""
_LOOK_S = 2.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Identity:
    """Who asks. A viewer sees everything; an operator also acts in the name of the store."""

    name: str
    role: Role


LOCAL = Identity("local", "operator")
"""Whoever is on the machine itself, where there are no tokens."""


@dataclass(frozen=True)
class Token:
    """A token as the file has it: the digest alone."""

    identity: Identity
    digest: bytes


def make_token(name: str, role: Role) -> tuple[str, str]:
    """A new token: itself, to be told once, and its line for the file.

    Raises:
        InputError: the name cannot stand in the file.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"token name {name!r}: use up to 64 letters, digits, '.', '_' and '-', no space")
    token = PREFIX + secrets.token_urlsafe(32)
    return token, f"{name} {role} sha256:{_digest(token).hex()}"


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def parse_tokens(text: str, origin: str) -> tuple[Token, ...]:
    """The tokens of a file's text, which may be none; `origin` names it in errors.

    Raises:
        InputError: a line is wrong, or a name or token is there twice. What a line says is not shown: it may be the
            token itself.
    """
    tokens: dict[str, Token] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        token = _parse_line(words)
        if token is None:
            raise InputError(
                f"{origin}:{number}: not a token's line (name role sha256:...); make one with `risa serve-token`"
            )
        if token.identity.name in tokens or token.digest in {t.digest for t in tokens.values()}:
            raise InputError(f"{origin}:{number}: this name or token is there twice; remove one")
        tokens[token.identity.name] = token
    return tuple(tokens.values())


def _parse_line(words: list[str]) -> Token | None:
    if len(words) != 3 or not _NAME.fullmatch(words[0]):
        return None
    digest = _DIGEST.fullmatch(words[2])
    for role in get_args(Role):
        if digest is not None and words[1] == role:
            return Token(Identity(words[0], role), bytes.fromhex(digest[1]))
    return None


def _read(path: Path) -> tuple[Token, ...]:
    try:
        if path.stat().st_mode & 0o022:
            raise InputError(f"{path}: others may write it, and let themselves in; chmod 600 it")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file of tokens; make one with `risa serve-token NAME --to {path}`") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(
            f"{path}: cannot be read as a file of tokens ({reason}); check the path and its rights"
        ) from None
    return parse_tokens(text, str(path))


@dataclass
class TokenBook:
    """The tokens that are good now. An edited file is followed, also where it has none left.

    A faulty edit, or a file that is gone, is told in the log and changes nothing.

    It can be sent to another process of the machine.
    """

    tokens: tuple[Token, ...]
    path: Path | None = None
    _stamp: tuple[int, int, int] | None = None
    _looked_at: float = field(default=float("-inf"), repr=False)

    def identify(self, token: str) -> Identity | None:
        """Whose token it is; None: nobody's. Takes equally long for any token."""
        self._follow()
        digest, found = _digest(token), None
        for known in self.tokens:
            if hmac.compare_digest(known.digest, digest):
                found = known.identity
        return found

    def _follow(self) -> None:
        if self.path is None or time.monotonic() - self._looked_at < _LOOK_S:
            return
        self._looked_at = time.monotonic()
        if (stamp := _stamp(self.path)) == self._stamp:
            return
        self._stamp = stamp
        try:
            self.tokens = _read(self.path)
            log.info("tokens: %d are good now", len(self.tokens))
        except InputError as error:
            log.warning("tokens stay as they were: %s", error)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def open_book(config: ServeConfig, environ: Mapping[str, str] = os.environ) -> TokenBook | None:
    """The tokens that a config names; None: it names none.

    Raises:
        InputError: they cannot be read, or there is none among them.
    """
    if config.tokens_file is not None:
        path = Path(config.tokens_file)
        stamp = _stamp(path)
        return TokenBook(_some(_read(path), str(path)), path, stamp)
    if config.tokens_env is not None:
        text = environ.get(config.tokens_env)
        if text is None:
            raise InputError(f"serve: environment variable {config.tokens_env} is not set; put the tokens' lines in it")
        origin = f"${config.tokens_env}"
        return TokenBook(_some(parse_tokens(text.replace(";", "\n"), origin), origin))
    return None


def _some(tokens: tuple[Token, ...], origin: str) -> tuple[Token, ...]:
    if not tokens:
        raise InputError(f"{origin}: no token is there; make one with `risa serve-token`")
    return tokens


def add_token(name: str, role: Role, path: Path) -> str:
    """Add a new token to a file, which is made where it is missing; the token, to be told once.

    Raises:
        InputError: the name is taken or wrong, or the file cannot be read or written.
    """
    token, line = make_token(name, role)
    if path.exists() and path.stat().st_size > 0:
        if name in (known.identity.name for known in _read(path)):
            raise InputError(f"{path}: there is a token {name!r}; choose another name, or remove its line")
        if not path.read_bytes().endswith(b"\n"):
            line = f"\n{line}"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(handle, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another file") from None
    return token
