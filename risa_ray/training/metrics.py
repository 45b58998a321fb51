"""Figures of a classifier from its answers, in NumPy alone. Every accuracy comes with its 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from risa_ray.training.data import FER2013_EXPRESSIONS

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_Z = 1.959963984540054
"""The normal distribution's 97.5 % point."""
_LEAST = 1e-7
"""Probabilities count as at least this in logarithms: a model that lacks a class would make the mean infinite."""
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(20))


def wilson(hits: int, n: int) -> list[float]:
    """Share of hits with its 95 % score interval (Wilson 1927): [value, low, high], all in 0..1.

    Raises:
        ValueError: n is below 1, or the hits are not in 0..n.
    """
    if n < 1 or not 0 <= hits <= n:
        raise ValueError(f"{hits} hits of {n}")
    share = hits / n
    scale = 1 + _Z * _Z / n
    centre = (share + _Z * _Z / (2 * n)) / scale
    half = _Z / scale * math.sqrt(share * (1 - share) / n + _Z * _Z / (4 * n * n))
    # Rounding must not push a bound past 0, 1 or the value itself.
    return [share, max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))]


def accuracy(right: Bools) -> list[float] | None:
    """[value, low, high] of right answers (n,), None for no answer at all."""
    return wilson(int(right.sum()), len(right)) if len(right) else None


def confusion_matrix(truth: Ints, answer: Ints, classes: int) -> Ints:
    """Counts int64 (classes, classes), rows are the truth; of truth and answer int64 (n,), both class numbers."""
    return np.bincount(truth * classes + answer, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def recall_by_class(confusion: Ints, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Per class {"recall": [value, low, high], "n": faces}; the recall of a class without faces is None."""
    totals = confusion.sum(1)
    return {
        name: {"recall": wilson(int(confusion[i, i]), int(totals[i])) if totals[i] else None, "n": int(totals[i])}
        for i, name in enumerate(names)
    }


def macro_f1(confusion: Ints) -> float:
    """Mean F1 over the classes that occur in the truth; 0..1.

    Raises:
        ValueError: the matrix is empty.
    """
    truth, answer, right = confusion.sum(1), confusion.sum(0), np.diag(confusion)
    occurs = truth > 0
    if not occurs.any():
        raise ValueError("no face, no F1")
    return float((2 * right[occurs] / (truth[occurs] + answer[occurs])).mean())


def reliability(confidence: Floats, right: Bools, bins: int = 15) -> list[dict[str, Any]]:
    """Equal-width bins of confidence (Guo et al. 2017), each (low, high].

    Args:
        confidence: (n,) in 0..1.
        right: (n,), whether the answer was right.

    Returns:
        Per bin {"low", "high", "n", "confidence", "accuracy"}, the last two means and None in an empty bin.
    """
    number = np.clip(np.ceil(np.asarray(confidence, np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)
    result: list[dict[str, Any]] = []
    for i in range(bins):
        inside = number == i
        n = int(inside.sum())
        result.append(
            {
                "low": i / bins,
                "high": (i + 1) / bins,
                "n": n,
                "confidence": float(confidence[inside].mean(dtype=np.float64)) if n else None,
                "accuracy": float(right[inside].mean()) if n else None,
            }
        )
    return result


def calibration_error(bins: Sequence[dict[str, Any]]) -> float:
    """Expected calibration error (Guo et al. 2017) of the bins of `reliability`: 0..1.

    Raises:
        ValueError: every bin is empty.
    """
    total = sum(b["n"] for b in bins)
    if not total:
        raise ValueError("no face, no calibration error")
    return float(sum(b["n"] * abs(b["accuracy"] - b["confidence"]) for b in bins if b["n"]) / total)


def negative_log_likelihood(probabilities: Floats, truth: Ints) -> float:
    """Mean of -log p(truth) in nats, over probabilities (n, classes) and truth (n,)."""
    p = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.log(np.maximum(p, _LEAST)).mean())


def divergence(shares: Floats, probabilities: Floats) -> float:
    """Mean Kullback-Leibler divergence KL(shares || probabilities) in nats, both (n, classes) with rows of sum 1."""
    s = shares.astype(np.float64)
    p = np.maximum(probabilities.astype(np.float64), _LEAST)
    return float((s * np.log(np.where(s > 0, s / p, 1))).sum(1).mean())


def coverage_curve(confidence: Floats, right: Bools, thresholds: Sequence[float] = THRESHOLDS) -> list[dict[str, Any]]:
    """What is answered, and how well, when answers below a confidence are withheld.

    Returns:
        Per threshold {"threshold", "coverage": share answered, "accuracy": [value, low, high] of those}; the accuracy
        is None where nothing is answered.
    """
    curve: list[dict[str, Any]] = []
    for threshold in thresholds:
        answered = confidence >= threshold
        coverage = float(answered.mean()) if len(answered) else 0.0
        curve.append({"threshold": threshold, "coverage": coverage, "accuracy": accuracy(right[answered])})
    return curve


def fold_contempt(probabilities: Floats) -> Floats:
    """Probabilities of the seven FER2013_LABELS, float32 (n, 7), from those of the eight EXPRESSIONS.

    The original labels know no contempt: it is left out and the rest brought back to a sum of 1.
    """
    rest = probabilities[:, list(FER2013_EXPRESSIONS)]
    return np.asarray(rest / np.maximum(rest.sum(1, keepdims=True), _LEAST), np.float32)
