"""Charts of an evaluation and of a training run as PNG files, drawn with Pillow: plotly needs a browser for those."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from PIL import Image, ImageDraw, ImageFont

from risa_ray.training.metrics import wilson

Point = tuple[float, float]

WIDTH = 800
"""Of every chart, in pixels."""
_FINE = 2  # drawn at twice the size and reduced, since Pillow's lines have no soft edges
_INK, _MUTED, _GRID, _PAPER = "#222222", "#666666", "#DDDDDD", "#FFFFFF"
_BLUE, _ORANGE, _PALE_BLUE = "#0072B2", "#D55E00", "#CFE5F3"  # Okabe and Ito (2008)


class _Sheet:
    """A white sheet with the drawing tools that the charts need; positions in pixels of the finished picture."""

    def __init__(self, height: int, title: str, subtitle: str) -> None:
        self._image = Image.new("RGB", (WIDTH * _FINE, height * _FINE), _PAPER)
        self._draw = ImageDraw.Draw(self._image)
        self.text((24, 20), title, 20, "la")
        self.text((24, 50), subtitle, 14, "la", _MUTED)

    def text(self, at: Point, text: str, size: int = 14, anchor: str = "mm", colour: str = _INK) -> None:
        # typed as either of two fonts; a size makes it the scalable one
        font = cast(ImageFont.FreeTypeFont, ImageFont.load_default(size * _FINE))
        self._draw.text((at[0] * _FINE, at[1] * _FINE), text, colour, font, anchor)

    def line(self, points: Sequence[Point], colour: str = _INK, width: float = 1.0) -> None:
        fine = [(x * _FINE, y * _FINE) for x, y in points]
        self._draw.line(fine, colour, max(1, round(width * _FINE)), "curve")

    def dashes(self, start: Point, end: Point, colour: str = _MUTED) -> None:
        steps = max(1, round(math.dist(start, end) / 6))
        dx, dy = (end[0] - start[0]) / steps, (end[1] - start[1]) / steps
        for i in range(0, steps, 2):
            x, y = start[0] + i * dx, start[1] + i * dy
            self.line([(x, y), (x + dx, y + dy)], colour, 1.5)

    def area(self, points: Sequence[Point], colour: str) -> None:
        self._draw.polygon([(x * _FINE, y * _FINE) for x, y in points], colour)

    def rectangle(self, box: tuple[float, float, float, float], colour: str) -> None:
        x1, y1, x2, y2 = (v * _FINE for v in box)
        if x2 - x1 >= 1 and y2 - y1 >= 1:
            self._draw.rectangle((x1, y1, x2 - 1, y2 - 1), colour)

    def dot(self, at: Point, colour: str, radius: float = 3.5) -> None:
        x, y, r = at[0] * _FINE, at[1] * _FINE, radius * _FINE
        self._draw.ellipse((x - r, y - r, x + r, y + r), colour)

    def save(self, path: Path) -> Path:
        width, height = self._image.size
        self._image.resize((width // _FINE, height // _FINE), Image.Resampling.LANCZOS).save(path)
        return path


class _Axes:
    """A frame with ticks and titles on a sheet; maps values to its pixels."""

    def __init__(self, sheet: _Sheet, box: tuple[int, int, int, int], x: Point, y: Point) -> None:
        self._sheet, self._box, self._x, self._y = sheet, box, x, y

    def at(self, x: float, y: float) -> Point:
        left, top, right, bottom = self._box
        across = (x - self._x[0]) / (self._x[1] - self._x[0])
        up = (y - self._y[0]) / (self._y[1] - self._y[0])
        return left + across * (right - left), bottom - up * (bottom - top)

    def draw(
        self, x_title: str, y_title: str, x_format: Callable[[float], str], y_format: Callable[[float], str]
    ) -> None:
        left, top, right, bottom = self._box
        for value in ticks(*self._x, 10 if right - left > 400 else 5):
            x, _ = self.at(value, self._y[0])
            self._sheet.line([(x, top), (x, bottom)], _GRID)
            self._sheet.text((x, bottom + 8), x_format(value), 13, "ma")
        for value in ticks(*self._y, max(2, (bottom - top) // 40)):
            _, y = self.at(self._x[0], value)
            self._sheet.line([(left, y), (right, y)], _GRID)
            self._sheet.text((left - 8, y), y_format(value), 13, "rm")
        self._sheet.line([(left, top), (left, bottom), (right, bottom)], _INK, 1.5)
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


def _share(value: float) -> str:
    return f"{100 * value:g} %"


def write_plots(result: dict[str, Any], folder: Path) -> list[Path]:
    """Confusion matrix, reliability diagram and coverage curve of a result of `evaluate`.

    Args:
        folder: made if need be; files of the same names are replaced.

    Returns:
        The files: confusion.png, reliability.png, coverage.png, each 800 pixels wide.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _confusion(result, folder / "confusion.png"),
        _reliability(result, folder / "reliability.png"),
        _coverage(result, folder / "coverage.png"),
    ]


def _subject(result: dict[str, Any]) -> str:
    return f"{result['model_id']} on {result['usage']}"


def _rule(result: dict[str, Any]) -> str:
    return "strict rule" if result["votes"] else "no votes"


def _confusion(result: dict[str, Any], path: Path) -> Path:
    names, counts = result["confusion"]["classes"], result["confusion"]["counts"]
    left, top, cell = 118, 128, 82
    sheet = _Sheet(
        top + cell * len(names) + 24,
        "What was answered, by what the raters saw" if result["votes"] else "What was answered, by the given labels",
        f"{_subject(result)}; {_rule(result)}; share of the row, and faces",
    )
    for i, name in enumerate(names):
        sheet.text((left - 10, top + (i + 0.5) * cell), name, 14, "rm")
        sheet.text((left + (i + 0.5) * cell, top - 10), name, 14, "ms")
    sheet.text((24, top - 10), "seen", 13, "ls", _MUTED)
    sheet.text((left, top - 32), "answered", 13, "ls", _MUTED)
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            share = count / sum(row) if sum(row) else 0.0
            x, y = left + j * cell, top + i * cell
            ink = _PAPER if share > 0.5 else _INK
            sheet.rectangle((x, y, x + cell - 2, y + cell - 2), _blend(_BLUE, share))
            sheet.text((x + cell / 2, y + cell / 2 - 9), f"{100 * share:.0f} %" if sum(row) else "-", 17, "mm", ink)
            sheet.text((x + cell / 2, y + cell / 2 + 15), f"{count:,}", 13, "mm", ink)
    return sheet.save(path)


def _blend(colour: str, share: float) -> str:
    """From nearly white (share 0) to the colour (share 1)."""
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(245 + (c - 245) * share):02x}" for c in channels)


def _reliability(result: dict[str, Any], path: Path) -> Path:
    bins = [b for b in result["reliability"] if b["n"]]
    total = sum(b["n"] for b in bins)
    sheet = _Sheet(
        760,
        f"Confidence against accuracy: calibration error {result['ece']:.3f}",
        f"{_subject(result)}; {_rule(result)}; dashes: confidence as good as its word; lines: 95 % interval",
    )
    axes = _Axes(sheet, (90, 120, 770, 540), (0, 1), (0, 1))
    axes.draw("", "accuracy", _share, _share)
    for b in bins:
        sheet.rectangle((*axes.at(b["low"] + 0.004, b["accuracy"]), *axes.at(b["high"] - 0.004, 0)), _PALE_BLUE)
    sheet.dashes(axes.at(0, 0), axes.at(1, 1))
    for b in bins:
        value, low, high = wilson(round(b["accuracy"] * b["n"]), b["n"])
        sheet.line([axes.at(b["confidence"], low), axes.at(b["confidence"], high)], _BLUE, 2)
        sheet.dot(axes.at(b["confidence"], value), _BLUE, 4.5)
    most = max(b["n"] for b in bins) / total
    counts = _Axes(sheet, (90, 610, 770, 700), (0, 1), (0, most * 1.05))
    counts.draw("confidence", "share of the faces", _share, _share)
    for b in bins:
        sheet.rectangle((*counts.at(b["low"] + 0.004, b["n"] / total), *counts.at(b["high"] - 0.004, 0)), _BLUE)
    return sheet.save(path)


def _coverage(result: dict[str, Any], path: Path) -> Path:
    curve = [c for c in result["coverage_curve"] if c["accuracy"] is not None]
    chosen = result["answered"]
    sheet = _Sheet(
        600,
        "Accuracy of the answers when unsure ones are withheld",
        f"{_subject(result)}; argmax rule; numbers: least confidence; band: 95 % interval",
    )
    least = math.floor(min(c["accuracy"][1] for c in curve) * 20 - 1e-9) / 20
    axes = _Axes(sheet, (90, 120, 770, 530), (0, 1), (max(0.0, least), 1))
    axes.draw("share answered", "accuracy", _share, _share)
    bounds = [(1, c) for c in curve] + [(2, c) for c in reversed(curve)]
    if len(curve) > 1:
        sheet.area([axes.at(c["coverage"], c["accuracy"][bound]) for bound, c in bounds], _PALE_BLUE)
    axes.line([(c["coverage"], c["accuracy"][0]) for c in curve], _BLUE)
    beyond = math.inf
    for c in curve:
        x, y = axes.at(c["coverage"], c["accuracy"][0])
        if beyond - x > 40:  # labels that would run into each other are left out
            sheet.text((x - 3, y + 6), f"{c['threshold']:.2f}", 12, "ra", _MUTED)
            beyond = x
    if chosen["accuracy"] is not None:
        x, y = axes.at(chosen["coverage"], chosen["accuracy"][0])
        sheet.dot((x, y), _ORANGE, 6)
        sheet.text((min(x + 10, 680), y - 8), f"the model's: {chosen['threshold']:.2f}", 14, "ls", _ORANGE)
    return sheet.save(path)


def write_curves(history: Sequence[dict[str, Any]], path: Path) -> Path:
    """Loss, validation accuracy and learning rate of a training run over its epochs, 800 x 860 pixels.

    Args:
        history: a row per epoch with epoch, loss, validation_loss, validation_strict, lr; a value may be missing, None
            or not finite and is left out.
        path: of the PNG; its folder exists.

    Raises:
        ValueError: there is no row.
    """
    if not history:
        raise ValueError("no epoch, no curve")
    sheet = _Sheet(860, "Training by epoch", f"{len(history)} epochs")
    panels: list[tuple[str, list[tuple[str, str]], Callable[[float], str]]] = [
        ("loss", [("loss", _ORANGE), ("validation_loss", _BLUE)], "{:g}".format),
        ("accuracy on validation, strict rule", [("validation_strict", _BLUE)], _share),
        ("learning rate", [("lr", _BLUE)], "{:g}".format),
    ]
    sheet.text((770, 108), "validation", 14, "rs", _BLUE)
    sheet.text((690, 108), "training", 14, "rs", _ORANGE)
    for number, (title, series, written) in enumerate(panels):
        top = 120 + number * 245
        lines = [(_series(history, name), colour) for name, colour in series]
        last = max(2.0, float(history[-1]["epoch"]))
        values = [y for line, _ in lines for _, y in line] or [0.0]
        axes = _Axes(sheet, (90, top, 770, top + 170), (1, last), _range(values))
        title_below = "epoch" if number == len(panels) - 1 else ""
        axes.draw(title_below, title, lambda v: f"{v:g}" if v == int(v) else "", written)
        for line, colour in lines:
            axes.line(line, colour)
    return sheet.save(path)


def _series(history: Sequence[dict[str, Any]], name: str) -> list[Point]:
    rows = [(float(row["epoch"]), row.get(name)) for row in history]
    return [(epoch, float(value)) for epoch, value in rows if value is not None and math.isfinite(value)]


def _range(values: Sequence[float]) -> Point:
    """A little more than the values span; never empty."""
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 0.05 * max(abs(high), 1e-6)
    return low - margin if low - margin > 0 or low < 0 else 0.0, high + margin
