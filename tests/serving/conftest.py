from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlparse

import pytest
from browser import Browser, Page, browser
from live_page import FRESH, Open


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
def show(chromium: Browser) -> Iterator[Open]:
    """Opens a page; at the end none may have said an error, or asked another host for anything."""
    pages: list[tuple[Page, str]] = []

    def _open(url: str, fragment: str = "", wait: str = FRESH, **window: Any) -> Page:
        page = chromium.page()
        if window:
            page.emulate(**({"width": 1280, "height": 900} | window))
        pages.append((page, url))
        page.goto(f"{url}/#{fragment}")
        page.wait(wait)
        return page

    yield _open
    for page, url in pages:
        assert not page.errors
        assert not [f for f in page.failed if not urlparse(f).path.startswith("/v1/")]
        assert {urlparse(r).netloc for r in page.requests} == {urlparse(url).netloc}
        page.call("Page.close")
