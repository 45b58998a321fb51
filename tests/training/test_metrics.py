"""Figures against values worked out by hand, and what must hold for any answers."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risa_ray.training import metrics
from risa_ray.training.data import FER2013_LABELS
from risa_ray.vision.expressions import EXPRESSIONS

Answers = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


@st.composite
def answers(draw: st.DrawFn) -> Answers:
    """Probabilities (n, 8), some of them certain, and the truth (n,)."""
    n = draw(st.integers(1, 30))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sharp = draw(st.sampled_from([0.0, 1.0, 5.0, 100.0]))
    raw = np.exp(sharp * random.normal(size=(n, 8)).clip(-3, 3))
    return (raw / raw.sum(1, keepdims=True)).astype(np.float32), random.integers(0, 8, n)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(8, 10, 0.49016, 0.94331), (0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (1, 1, 0.20655, 1.0)],
)
def test_wilson_interval(hits: int, n: int, low: float, high: float) -> None:
    assert metrics.wilson(hits, n) == pytest.approx([hits / n, low, high], abs=2e-5)


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (3, 2), (-1, 4)])
def test_no_interval_without_a_share(hits: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"{hits} hits of {n}"):
        metrics.wilson(hits, n)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_interval_holds_its_value_and_narrows_with_more_faces(n: int, share: float) -> None:
    hits = round(share * n)
    value, low, high = metrics.wilson(hits, n)
    assert 0 <= low <= value <= high <= 1
    _, closer_low, closer_high = metrics.wilson(10 * hits, 10 * n)
    assert closer_high - closer_low < high - low
    mirrored = metrics.wilson(n - hits, n)
    assert [1 - mirrored[0], 1 - mirrored[2], 1 - mirrored[1]] == pytest.approx([value, low, high], abs=1e-9)


def test_accuracy_of_nothing_is_none() -> None:
    assert metrics.accuracy(np.array([], np.bool_)) is None
    assert metrics.accuracy(np.array([True] * 8 + [False] * 2)) == metrics.wilson(8, 10)


def test_confusion_recall_and_f1_by_hand() -> None:
    truth, answer = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 3, 0])
    confusion = metrics.confusion_matrix(truth, answer, 4)
    assert confusion.tolist() == [[2, 1, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]
    recall = metrics.recall_by_class(confusion, "abcd")
    assert recall["a"] == {"recall": metrics.wilson(2, 3), "n": 3}
    assert recall["c"] == {"recall": metrics.wilson(0, 1), "n": 1}
    assert recall["d"] == {"recall": None, "n": 0}
    # F1 of a: 2*2/(3+3), of b: 2*1/(2+2), of c: 0; d does not occur
    assert metrics.macro_f1(confusion) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.35], np.float32)
    right = np.array([True, True, True, False, True])
    bins = metrics.reliability(confidence, right)
    assert len(bins) == 15
    assert [b["n"] for b in bins if b["n"]] == [1, 4]
    assert metrics.calibration_error(bins) == pytest.approx(0.8 * 0.15 + 0.2 * 0.65, abs=1e-6)


def test_bins_include_their_upper_edge_and_the_ends_of_the_scale() -> None:
    bins = metrics.reliability(np.array([0.0, 0.5, 0.5000001, 1.0]), np.array([False, True, True, True]), bins=2)
    assert [b["n"] for b in bins] == [2, 2]
    assert bins[0] == {"low": 0.0, "high": 0.5, "n": 2, "confidence": 0.25, "accuracy": 0.5}
    assert metrics.reliability(np.array([0.9]), np.array([True]), bins=2)[0]["accuracy"] is None


def test_likelihood_and_divergence_by_hand() -> None:
    p = np.array([[0.5, 0.5], [0.25, 0.75]], np.float32)
    assert metrics.negative_log_likelihood(p, np.array([0, 0])) == pytest.approx((math.log(2) + math.log(4)) / 2)
    shares = np.array([[1.0, 0.0], [0.5, 0.5]], np.float32)
    wanted = (math.log(2) + 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)) / 2
    assert metrics.divergence(shares, p) == pytest.approx(wanted, abs=1e-6)
    assert metrics.divergence(p, p) == pytest.approx(0, abs=1e-9)


def test_a_class_that_a_model_lacks_leaves_the_means_finite() -> None:
    p = np.array([[1.0, 0.0]], np.float32)
    assert 10 < metrics.negative_log_likelihood(p, np.array([1])) < 20
    assert 10 < metrics.divergence(np.array([[0.0, 1.0]], np.float32), p) < 20


def test_coverage_by_hand() -> None:
    confidence, right = np.array([0.3, 0.6, 0.9, 0.9]), np.array([False, False, True, True])
    none, half, most, all_of_it = metrics.coverage_curve(confidence, right, [0.0, 0.5, 0.7, 0.95])
    assert none == {"threshold": 0.0, "coverage": 1.0, "accuracy": metrics.wilson(2, 4)}
    assert half == {"threshold": 0.5, "coverage": 0.75, "accuracy": metrics.wilson(2, 3)}
    assert most["accuracy"] == metrics.wilson(2, 2)
    assert all_of_it == {"threshold": 0.95, "coverage": 0.0, "accuracy": None}


def test_contempt_is_folded_away_and_the_labels_keep_their_order() -> None:
    meant = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    for label, expression in enumerate(meant):
        p = np.full((1, 8), 0.02, np.float32)
        p[0, EXPRESSIONS.index(expression)] = 0.3
        p[0, EXPRESSIONS.index("contempt")] = 0.58
        folded = metrics.fold_contempt(p)
        assert folded.shape == (1, len(FER2013_LABELS))
        assert folded.argmax() == label
        assert folded.sum() == pytest.approx(1, abs=1e-6)
    sure = np.eye(8, dtype=np.float32)[EXPRESSIONS.index("contempt")][None]
    assert metrics.fold_contempt(sure).tolist() == [[0.0] * 7]


@given(answers())
def test_figures_stay_in_bounds_and_do_not_depend_on_the_order(given_answers: Answers) -> None:
    p, truth = given_answers

    def figures(p: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]) -> list[float]:
        right = p.argmax(1) == truth
        bins = metrics.reliability(p.max(1), right)
        assert sum(b["n"] for b in bins) == len(truth)
        curve = metrics.coverage_curve(p.max(1), right)
        coverage = [c["coverage"] for c in curve]
        assert coverage == sorted(coverage, reverse=True)
        assert coverage[0] == 1
        return [
            metrics.macro_f1(metrics.confusion_matrix(truth, p.argmax(1), 8)),
            metrics.calibration_error(bins),
            float(right.mean()),
            metrics.negative_log_likelihood(p, truth),
            metrics.divergence(np.eye(8, dtype=np.float32)[truth], p),
            *coverage,
        ]

    plain = figures(p, truth)
    assert all(0 <= v <= 1 for v in plain[:3])
    assert all(0 <= v < 20 for v in plain[3:5])
    assert plain[3] == pytest.approx(plain[4], abs=1e-6), "against certain votes the divergence is the likelihood"
    order = np.random.default_rng(len(p)).permutation(len(p))
    assert figures(p[order], truth[order]) == pytest.approx(plain, abs=1e-6)
