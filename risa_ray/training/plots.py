"""Charts of an evaluation and of a training run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from risa_ray.charts import BLUE, INK, MUTED, ORANGE, PALE_BLUE, PAPER, Axes, Point, Sheet
from risa_ray.training.metrics import wilson


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
    sheet = Sheet(
        top + cell * len(names) + 24,
        "What was answered, by what the raters saw" if result["votes"] else "What was answered, by the given labels",
        f"{_subject(result)}; {_rule(result)}; share of the row, and faces",
    )
    for i, name in enumerate(names):
        sheet.text((left - 10, top + (i + 0.5) * cell), name, 14, "rm")
        sheet.text((left + (i + 0.5) * cell, top - 10), name, 14, "ms")
    sheet.text((24, top - 10), "seen", 13, "ls", MUTED)
    sheet.text((left, top - 32), "answered", 13, "ls", MUTED)
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            share = count / sum(row) if sum(row) else 0.0
            x, y = left + j * cell, top + i * cell
            ink = PAPER if share > 0.5 else INK
            sheet.rectangle((x, y, x + cell - 2, y + cell - 2), _blend(BLUE, share))
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
    sheet = Sheet(
        760,
        f"Confidence against accuracy: calibration error {result['ece']:.3f}",
        f"{_subject(result)}; {_rule(result)}; dashes: confidence as good as its word; lines: 95 % interval",
    )
    axes = Axes(sheet, (90, 120, 770, 540), (0, 1), (0, 1))
    axes.draw("", "accuracy", _share, _share)
    for b in bins:
        sheet.rectangle((*axes.at(b["low"] + 0.004, b["accuracy"]), *axes.at(b["high"] - 0.004, 0)), PALE_BLUE)
    sheet.dashes(axes.at(0, 0), axes.at(1, 1))
    for b in bins:
        value, low, high = wilson(round(b["accuracy"] * b["n"]), b["n"])
        sheet.line([axes.at(b["confidence"], low), axes.at(b["confidence"], high)], BLUE, 2)
        sheet.dot(axes.at(b["confidence"], value), BLUE, 4.5)
    most = max(b["n"] for b in bins) / total
    counts = Axes(sheet, (90, 610, 770, 700), (0, 1), (0, most * 1.05))
    counts.draw("confidence", "share of the faces", _share, _share)
    for b in bins:
        sheet.rectangle((*counts.at(b["low"] + 0.004, b["n"] / total), *counts.at(b["high"] - 0.004, 0)), BLUE)
    return sheet.save(path)


def _coverage(result: dict[str, Any], path: Path) -> Path:
    curve = [c for c in result["coverage_curve"] if c["accuracy"] is not None]
    chosen = result["answered"]
    sheet = Sheet(
        600,
        "Accuracy of the answers when unsure ones are withheld",
        f"{_subject(result)}; argmax rule; numbers: least confidence; band: 95 % interval",
    )
    least = math.floor(min(c["accuracy"][1] for c in curve) * 20 - 1e-9) / 20
    axes = Axes(sheet, (90, 120, 770, 530), (0, 1), (max(0.0, least), 1))
    axes.draw("share answered", "accuracy", _share, _share)
    bounds = [(1, c) for c in curve] + [(2, c) for c in reversed(curve)]
    if len(curve) > 1:
        sheet.area([axes.at(c["coverage"], c["accuracy"][bound]) for bound, c in bounds], PALE_BLUE)
    axes.line([(c["coverage"], c["accuracy"][0]) for c in curve], BLUE)
    beyond = math.inf
    for c in curve:
        x, y = axes.at(c["coverage"], c["accuracy"][0])
        if beyond - x > 40:  # labels that would run into each other are left out
            sheet.text((x - 3, y + 6), f"{c['threshold']:.2f}", 12, "ra", MUTED)
            beyond = x
    if chosen["accuracy"] is not None:
        x, y = axes.at(chosen["coverage"], chosen["accuracy"][0])
        sheet.dot((x, y), ORANGE, 6)
        sheet.text((min(x + 10, 680), y - 8), f"the model's: {chosen['threshold']:.2f}", 14, "ls", ORANGE)
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
    sheet = Sheet(860, "Training by epoch", f"{len(history)} epochs")
    panels: list[tuple[str, list[tuple[str, str]], Callable[[float], str]]] = [
        ("loss", [("loss", ORANGE), ("validation_loss", BLUE)], "{:g}".format),
        ("accuracy on validation, strict rule", [("validation_strict", BLUE)], _share),
        ("learning rate", [("lr", BLUE)], "{:g}".format),
    ]
    sheet.text((770, 108), "validation", 14, "rs", BLUE)
    sheet.text((690, 108), "training", 14, "rs", ORANGE)
    for number, (title, series, written) in enumerate(panels):
        top = 120 + number * 245
        lines = [(_series(history, name), colour) for name, colour in series]
        last = max(2.0, float(history[-1]["epoch"]))
        values = [y for line, _ in lines for _, y in line] or [0.0]
        axes = Axes(sheet, (90, top, 770, top + 170), (1, last), _range(values))
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
