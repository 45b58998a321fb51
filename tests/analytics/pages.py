"""What the tests of the pages share: a page's elements and charts, and a browser to draw it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

CHROMIUM = pytest.mark.skipif(
    shutil.which("chromium") is None, reason="chromium is not installed: no page is drawn in a browser"
)


class Page(HTMLParser):
    """Elements with their attributes, and the text of those that matter."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "link"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.scripts if self._open and self._open[-1] == "script" else self.texts).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def charts(html: str) -> dict[str, dict[str, object]]:
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', html, re.DOTALL)
    assert found
    loaded: dict[str, dict[str, object]] = json.loads(found[1])
    return loaded


def assert_self_contained(page: Page) -> None:
    """Nothing is loaded from anywhere."""
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), f"<{tag} {name}={value[:60]}>"
    assert not page.all("link")
    assert not any("@import" in text or "url(" in text for text in page.texts)
    policy = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy
    assert policy[0]
    assert policy[0].startswith("default-src 'none'")


def dump_dom(html: str, folder: Path, size: str = "1280,900") -> str:
    """The page after its scripts have run in headless Chromium."""
    page = folder / "page.html"
    page.write_text(html, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", f"--user-data-dir={folder / 'profile'}",
             f"--window-size={size}", "--virtual-time-budget=3000", "--dump-dom"]  # fmt: skip
    done = subprocess.run(["chromium", *flags, page.as_uri()], capture_output=True, text=True, check=True)
    return done.stdout
