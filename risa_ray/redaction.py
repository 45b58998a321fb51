"""Hiding the credentials of a camera's address from everything that is shown."""

from __future__ import annotations

import re

_SECRET = re.compile(
    r"([?&#/;_][^=?&#/;]*(?:pass|pwd|pw|token|key|secret|auth|user|sig|cred|code)[^=?&#/;]*=).*",
    re.IGNORECASE | re.DOTALL,
)
# What follows '?' or '#' is shown only while it is a setting like these, with a plain value.
_HARMLESS = re.compile(
    r"(?:camera|cam|channel|ch|subtype|stream|streamtype|profile|resolution|width|height|fps|codec|videocodec)"
    r"=[A-Za-z0-9._-]{0,16}",
    re.IGNORECASE,
)
_IN_PATH = re.compile(r"(://[^/?#\s]*/(?:[^?#\s]*?/)?)[^/?#:\s]+:[^/?#\s]+")
"""A part of the path of the form `user:password`; what follows a colon and a space is a message about the address."""
_QUERY = re.compile(r"(://[^?#]*[?#])(.+)", re.DOTALL)


def redact(source: str) -> str:
    """A source as it may be shown: the credentials of a URL replaced by ***, in its path and query too.

    In doubt it hides too much: a password may hold unescaped '/', '?', '#' or '@', so whatever follows a user and a
    colon is hidden up to the last '@'. Some cameras take user and password in the path (`/user=..._password=...`), and
    any name in a query: from the first parameter that is not known to be harmless, all is hidden to the end.

    Only for addresses and for texts of others: of our own message about an address, which shows it redacted, the reason
    would be taken for a part of the query and hidden.
    """
    shown = re.sub(r"://[^/?#]*:.*@", "://***@", source, flags=re.DOTALL)
    shown = re.sub(r"://[^/?#]*@", "://***@", shown)
    shown = _IN_PATH.sub(r"\1***", shown)
    return _SECRET.sub(r"\1***", _QUERY.sub(lambda match: match[1] + _harmless(match[2]), shown))


def _harmless(query: str) -> str:
    shown = []
    for part in query.split("&"):
        if not _HARMLESS.fullmatch(part):
            shown.append("***")  # a token may stand here without a name, too
            break
        shown.append(part)
    return "&".join(shown)
