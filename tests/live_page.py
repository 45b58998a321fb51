"""How tests look at the live page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from browser import Page

MINUS, NONE = "\u2212", "\u2013"
FRESH = """document.documentElement.dataset.live === 'fresh'
  && [...document.querySelectorAll('#main table, #main article, #empty')].some((n) => n.checkVisibility())"""
"""Figures are there, and they are new."""
Open = Callable[..., Page]


def cell(store: str, camera: str, zone: str, column: str) -> str:
    return f'[data-camera="{camera}"] [data-zone="{zone}"] [data-label="{column}"] .figure'


def signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", MINUS) if abs(value) >= 0.005 else "0.00"


def lasting(seconds: float | None) -> str:
    """As the page says seconds of less than an hour."""
    minutes, rest = divmod(round(seconds or 0), 60)
    return " ".join([f"{minutes} min"] * (minutes > 0) + [f"{rest} s"] * (rest > 0 or minutes == 0))


def module(page: Page, name: str, expression: str) -> Any:
    """The value of an expression over a module's exports, `m`."""
    return page.evaluate(f"import('/page/{name}.js').then((m) => {expression})")
