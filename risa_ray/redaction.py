"""Hiding the credentials of a camera's address from everything that is shown."""

from __future__ import annotations

import re

_SECRET = re.compile(
    r"([?&#/;_][^=?&#/;]*(?:pass|pwd|pw|token|key|secret|auth|user|sig|cred|code)[^=?&#/;]*=)[^&#]*", re.IGNORECASE
)


def redact(source: str) -> str:
    """A source as it may be shown: the credentials of a URL replaced by ***, in its path and query too.

    In doubt it hides too much: a password may hold unescaped '/', '?', '#' or '@', so whatever follows a user and a
    colon is hidden up to the last '@'. Some cameras take user and password in the path (`/user=..._password=...`).
    """
    shown = re.sub(r"://[^/?#]*:.*@", "://***@", source, flags=re.DOTALL)
    shown = re.sub(r"://[^/?#]*@", "://***@", shown)
    return _SECRET.sub(r"\1***", shown)
