"""The tools that charts are drawn with, as PNG files by Pillow: plotly needs a browser for those."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from PIL import Image, ImageDraw, ImageFont

Point = tuple[float, float]

WIDTH = 800
"""Of every chart, in pixels."""
_FINE = 2  # drawn at twice the size and reduced, since Pillow's lines have no soft edges
INK, MUTED, GRID, PAPER = "#222222", "#666666", "#DDDDDD", "#FFFFFF"
BLUE, ORANGE, PALE_BLUE = "#0072B2", "#D55E00", "#CFE5F3"  # Okabe and Ito (2008)


class Sheet:
    """A white sheet with the drawing tools that the charts need; positions in pixels of the finished picture."""

    def __init__(self, height: int, title: str, subtitle: str) -> None:
        self._image = Image.new("RGB", (WIDTH * _FINE, height * _FINE), PAPER)
        self._draw = ImageDraw.Draw(self._image)
        self.text((24, 20), title, 20, "la")
        self.text((24, 50), subtitle, 14, "la", MUTED)

    def text(self, at: Point, text: str, size: int = 14, anchor: str = "mm", colour: str = INK) -> None:
        """A text of so many pixels; `anchor` says which of its points lies at `at`, as Pillow names them."""
        # typed as either of two fonts; a size makes it the scalable one
        font = cast(ImageFont.FreeTypeFont, ImageFont.load_default(size * _FINE))
        self._draw.text((at[0] * _FINE, at[1] * _FINE), text, colour, font, anchor)

    def line(self, points: Sequence[Point], colour: str = INK, width: float = 1.0) -> None:
        """A line through the points."""
        fine = [(x * _FINE, y * _FINE) for x, y in points]
        self._draw.line(fine, colour, max(1, round(width * _FINE)), "curve")

    def dashes(self, start: Point, end: Point, colour: str = MUTED) -> None:
        """A dashed line."""
        steps = max(1, round(math.dist(start, end) / 6))
        dx, dy = (end[0] - start[0]) / steps, (end[1] - start[1]) / steps
        for i in range(0, steps, 2):
            x, y = start[0] + i * dx, start[1] + i * dy
            self.line([(x, y), (x + dx, y + dy)], colour, 1.5)

    def area(self, points: Sequence[Point], colour: str) -> None:
        """A filled polygon."""
        self._draw.polygon([(x * _FINE, y * _FINE) for x, y in points], colour)

    def rectangle(self, box: tuple[float, float, float, float], colour: str) -> None:
        """A filled rectangle, x1 y1 x2 y2; one of less than half a pixel is left out."""
        x1, y1, x2, y2 = (v * _FINE for v in box)
        if x2 - x1 >= 1 and y2 - y1 >= 1:
            self._draw.rectangle((x1, y1, x2 - 1, y2 - 1), colour)

    def dot(self, at: Point, colour: str, radius: float = 3.5) -> None:
        """A filled circle."""
        x, y, r = at[0] * _FINE, at[1] * _FINE, radius * _FINE
        self._draw.ellipse((x - r, y - r, x + r, y + r), colour)

    def save(self, path: Path) -> Path:
        """Write the picture; its path."""
        width, height = self._image.size
        self._image.resize((width // _FINE, height // _FINE), Image.Resampling.LANCZOS).save(path)
        return path


class Axes:
    """A frame with ticks and titles on a sheet; maps values to its pixels."""

    def __init__(self, sheet: Sheet, box: tuple[int, int, int, int], x: Point, y: Point) -> None:
        self._sheet, self._box, self._x, self._y = sheet, box, x, y

    def at(self, x: float, y: float) -> Point:
        """The pixel of a pair of values."""
        left, top, right, bottom = self._box
        across = (x - self._x[0]) / (self._x[1] - self._x[0])
        up = (y - self._y[0]) / (self._y[1] - self._y[0])
        return left + across * (right - left), bottom - up * (bottom - top)

    def draw(
        self, x_title: str, y_title: str, x_format: Callable[[float], str], y_format: Callable[[float], str]
    ) -> None:
        """Grid, ticks and titles; the formats write a value as a tick's text."""
        left, top, right, bottom = self._box
        for value in ticks(*self._x, 10 if right - left > 400 else 5):
            x, _ = self.at(value, self._y[0])
            self._sheet.line([(x, top), (x, bottom)], GRID)
            self._sheet.text((x, bottom + 8), x_format(value), 13, "ma")
        for value in ticks(*self._y, max(2, (bottom - top) // 40)):
            _, y = self.at(self._x[0], value)
            self._sheet.line([(left, y), (right, y)], GRID)
            self._sheet.text((left - 8, y), y_format(value), 13, "rm")
        self._sheet.line([(left, top), (left, bottom), (right, bottom)], INK, 1.5)
        if x_title:
            self._sheet.text(((left + right) / 2, bottom + 30), x_title, 14, "ma")
        self._sheet.text((24, top - 12), y_title, 14, "ls")

    def line(self, points: Sequence[Point], colour: str) -> None:
        """A line with a dot at each point; one point alone is a dot."""
        placed = [self.at(*p) for p in points]
        if len(placed) > 1:
            self._sheet.line(placed, colour, 2.5)
        for p in placed:
            self._sheet.dot(p, colour, 3.5 if len(placed) <= 40 else 1.25)


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round values in low..high, at most `most` + 1: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / max(most, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]
