"""What a request must look like, and where it may come from."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from risa_ray.config_serve import ServeConfig, is_loopback

METHODS = ("GET", "HEAD", "POST")
_LONGEST_URL = 8 * 1024
_MOST_HEADERS = 100
LARGEST_HEADERS = 32 * 1024
"""Bytes of a request's headers."""
_FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip", "via")


class GateError(Exception):
    """A request that is not let through.

    Attributes:
        reason: one word, for the metrics.
        detail: one line, with the way out.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        wait_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.reason, self.detail = status, reason, detail
        self.headers = dict(headers or {})
        if wait_s is not None:
            self.headers["retry-after"] = str(max(1, round(wait_s + 0.5)))


@dataclass(frozen=True)
class Asked:
    """A request as the server has read it. `peer`: the address at the other end of the connection."""

    method: str
    path: str
    raw_length: int
    scheme: str
    peer: str
    headers: Mapping[str, str]
    header_count: int
    header_bytes: int

    @classmethod
    def of(cls, scope: Any) -> Asked:
        """Of an ASGI scope. A header that comes twice is joined by commas, as RFC 9110 has it."""
        headers: dict[str, str] = {}
        for name, value in scope["headers"][: _MOST_HEADERS + 1]:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        return cls(
            method=scope["method"],
            path=scope["path"],
            raw_length=len(scope.get("raw_path") or b"") + len(scope["query_string"]),
            scheme=scope["scheme"],
            peer=scope["client"][0] if scope.get("client") else "127.0.0.1",
            headers=headers,
            header_count=len(scope["headers"]),
            header_bytes=sum(len(name) + len(value) for name, value in scope["headers"]),
        )

    def header(self, name: str) -> str:
        return self.headers.get(name, "")


def check_shape(asked: Asked) -> None:
    """Refuse what no client of ours sends.

    Raises:
        GateError: the URL is too long or odd, there are too many headers, or the method is none of ours.
    """
    if asked.method not in METHODS:
        raise GateError(
            405, "method", "this method is not known here; use GET or POST", headers={"allow": ", ".join(METHODS)}
        )
    if asked.raw_length > _LONGEST_URL:
        raise GateError(414, "url", f"the URL is longer than {_LONGEST_URL} bytes; ask for less at a time")
    if asked.header_count > _MOST_HEADERS or asked.header_bytes > LARGEST_HEADERS:
        raise GateError(431, "headers", f"more than {_MOST_HEADERS} headers, or {LARGEST_HEADERS} bytes; send fewer")
    # The path is already decoded: what looks harmless to us must not become another path further on.
    _, *parts = asked.path.split("/")
    odd = "\\" in asked.path or not asked.path.isprintable() or {".", ".."} & set(parts)
    # The framework would redirect what ends in '/', and behind a proxy to an address without TLS.
    if not asked.path.startswith("/") or odd or ("" in parts and asked.path != "/"):
        raise GateError(400, "path", "the path is not one of this server's; see /v1/openapi.json")


def client_of(asked: Asked, config: ServeConfig) -> str:
    """The address of whoever asks. What X-Forwarded-For says counts only from a proxy that is trusted.

    Of its addresses, the last that is none of a trusted proxy is the client's: those before it, it may have made up.

    Raises:
        GateError: it came by a proxy that the config does not know of, or past the proxy.
    """
    if not config.behind_proxy:
        if not config.with_tokens and any(asked.header(name) for name in _FORWARDED):
            # To this server everybody beyond a proxy would be the local user.
            raise GateError(403, "proxy", "this came by a proxy; set serve.behind_proxy: true and make tokens")
        return network_of(asked.peer)
    trusted = [ipaddress.ip_network(network) for network in config.trusted_proxies]

    def is_proxy(address: str) -> bool:
        try:
            return any(ipaddress.ip_address(address) in network for network in trusted)
        except ValueError:
            return False

    if not is_proxy(asked.peer):
        raise GateError(403, "proxy", "come by the proxy: this port is only for it (serve.trusted_proxies)")
    forwarded = [address.strip() for address in asked.header("x-forwarded-for").split(",") if address.strip()]
    return network_of(next((address for address in reversed(forwarded) if not is_proxy(address)), asked.peer))


def network_of(address: str) -> str:
    """The address as it is limited: of IPv6 its /64, which is one client's; "?" for what is none."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "?"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def check_origin(asked: Asked, config: ServeConfig, tokens: bool) -> None:
    """Refuse what pages of other sites make a browser send.

    A site may point its own name at this machine (DNS rebinding): the Host header then tells that name. And any site
    may post to an address that it cannot read (CSRF): the browser then tells its Origin.

    Args:
        tokens: whether there are tokens, which other sites do not have: then any name will do unless names are given.

    Raises:
        GateError: the name is none of ours, or the page another site's.
    """
    host = asked.header("host")
    name = _name_of(host)
    known = is_loopback(name) or name == config.host.lower() or name in config.names
    if not known and (config.names or not tokens):
        raise GateError(421, "host", "this server does not go by that name; use 127.0.0.1, or add it to serve.names")
    origin = asked.header("origin")
    if origin and asked.method not in ("GET", "HEAD") and not _same(origin, asked, config):
        raise GateError(403, "origin", "this came from a page of another site; use the page of this server")
    site, mode = asked.header("sec-fetch-site"), asked.header("sec-fetch-mode")
    elsewhere = site in ("cross-site", "same-site") and not (mode == "navigate" and asked.method == "GET")
    if elsewhere and asked.path.startswith("/v1"):
        raise GateError(403, "origin", "this came from a page of another site; use the page of this server")


def _name_of(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _same(origin: str, asked: Asked, config: ServeConfig) -> bool:
    """Whether a page's origin is this server. A proxy may have changed the scheme, and the Host to one of its own."""
    try:
        found = urlsplit(origin.lower())
        name = found.hostname or ""
    except ValueError:
        return False
    if found.netloc == asked.header("host").lower():
        return config.behind_proxy or found.scheme == asked.scheme
    return config.behind_proxy and name in config.names
