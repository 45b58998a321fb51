"""How good a model is on a labelled part of a data set: every figure of its card, as one object that JSON takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from risa_ray.errors import InputError
from risa_ray.training import metrics
from risa_ray.training.augment import reduced
from risa_ray.training.data import (
    FER2013_LABELS,
    Faces48,
    FaceSet,
    argmax_rule,
    drop_single_votes,
    soft_targets,
    strict_rule,
)
from risa_ray.training.end_to_end import MIN_FACE_SIZE, end_to_end_figures, find_and_classify
from risa_ray.training.metrics import Bools, Floats, Ints
from risa_ray.training.readers import read_faces
from risa_ray.vision.classifier import ExpressionClassifier
from risa_ray.vision.detectors import Detector, create_detector
from risa_ray.vision.expressions import EXPRESSIONS
from risa_ray.vision.model_file import model_path, read_settings

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many faces are done and how many there are."""

SIZES = (48, 32, 24, 16)
CROP_SCALES = (0.8, 0.95, 1.25, 1.4, 1.6)
"""Crop scales that the end-to-end accuracy is given for besides the model's own: too tight, too loose."""
RULES = {
    "strict": "single votes set to zero; the winner holds more than half of the ten columns and is an expression",
    "argmax": "single votes set to zero; the largest of the ten columns is an expression",
    "fer2013": "every face with one of the seven original labels",
}
"""Which faces a figure is about: strict unless its name tells; kl, coverage_curve and answered are on argmax."""
LABEL_RULES = dict.fromkeys(("strict", "argmax"), "no votes are given: every face whose one label is an expression") | {
    "fer2013": RULES["fer2013"]
}
"""The same for data without votes, where the figures are no FER+ figures."""
_BATCH = 256


def evaluate(
    images: Path,
    labels: Path | None,
    usage: str,
    model: str,
    *,
    device: str = "cpu",
    end_to_end: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Every figure of a model on one part of a labelled set of faces.

    Accuracies and recalls are [value, low, high] with the 95 % interval of Wilson (1927); the rules are in RULES. What
    the data or the model cannot give is None: `kl` without votes, `fer2013_*` without original labels, `n_found`,
    `detector_recall`, `end_to_end_accuracy`, `given_crop_accuracy` and `by_crop_scale` without `end_to_end`.

    Args:
        images, labels: as `read_faces` takes them.
        usage: the part to evaluate, such as "PublicTest".
        model: as `ExpressionClassifier.load` takes it.
        device: "cpu", "auto" or a torch device, for the classifier and the detector.
        end_to_end: whether the faces are also pasted into scenes and found again, which takes the longest.

    Returns:
        model_id, usage, n, faults (reason -> names), left_out (the same in words), rules, and what `figures_of` gives.

    Raises:
        InputError: data or model cannot be read, there is no such part, or a rule keeps none of its faces.
    """
    read_settings(model_path(model))  # a wrong name shows before minutes of reading and loading
    face_set = read_faces(images, labels)
    faces = _part(face_set, usage, images)
    classifier = ExpressionClassifier.load(model, device=device)
    detector = create_detector("mtcnn", device=device, min_face_size=MIN_FACE_SIZE) if end_to_end else None
    return {
        "model_id": classifier.model_id,
        "usage": usage,
        "n": len(faces),
        "faults": {reason: list(names) for reason, names in face_set.faults.items()},
        "left_out": face_set.describe_faults(),
        "votes": has_votes(faces),
        "rules": RULES if has_votes(faces) else LABEL_RULES,
        **figures_of(faces, classifier, detector, progress),
    }


def _part(face_set: FaceSet, usage: str, images: Path) -> Faces48:
    if usage not in face_set.parts:
        there = ", ".join(sorted(face_set.parts))
        raise InputError(f"{images}: no faces of usage {usage!r}; choose one of {there}")
    faces = face_set.parts[usage]
    for name, rule in (("strict", strict_rule), ("argmax", argmax_rule)):
        if not rule(faces.votes).any():
            raise InputError(
                f"{images}: the {name} rule keeps none of the {len(faces)} faces of usage {usage!r}; "
                "give labels with more votes for an expression"
            )
    return faces


def figures_of(
    faces: Faces48, classifier: ExpressionClassifier, detector: Detector | None, progress: Progress | None = None
) -> dict[str, Any]:
    """The figures of a classifier on faces of which both rules keep some.

    Args:
        detector: finds the faces in scenes; None leaves the figures of that out (None each).
    """
    report = progress or _silent
    probabilities = _in_batches(classifier.probabilities, faces.images, lambda done, n: report("faces", done, n))
    assert probabilities is not None
    truth = drop_single_votes(faces.votes).argmax(1).astype(np.int64)
    strict = strict_rule(faces.votes)
    kept, p, t = faces[strict], probabilities[strict], truth[strict]
    return {
        **_strict_figures(p, t),
        **_argmax_figures(faces, probabilities, truth, classifier.settings.min_confidence),
        **_label_figures(faces, classifier, probabilities, report),
        "by_size": _by_size(kept.images, p, t, classifier, report),
        **_end_to_end(kept.images, p, t, classifier, detector, report),
    }


def _strict_figures(probabilities: Floats, truth: Ints) -> dict[str, Any]:
    answer, confidence = probabilities.argmax(1), probabilities.max(1)
    right: Bools = answer == truth
    confusion = metrics.confusion_matrix(truth, answer, len(EXPRESSIONS))
    bins = metrics.reliability(confidence, right)
    return {
        "n_strict": len(truth),
        "strict_accuracy": metrics.accuracy(right),
        "macro_f1": metrics.macro_f1(confusion),
        "recall": metrics.recall_by_class(confusion, EXPRESSIONS),
        "confusion": {"classes": list(EXPRESSIONS), "counts": confusion.tolist()},
        "ece": metrics.calibration_error(bins),
        "reliability": bins,
        "nll": metrics.negative_log_likelihood(probabilities, truth),
    }


def _argmax_figures(faces: Faces48, probabilities: Floats, truth: Ints, min_confidence: float) -> dict[str, Any]:
    keep = argmax_rule(faces.votes)
    votes, p = faces.votes[keep], probabilities[keep]
    confidence = p.max(1)
    right: Bools = p.argmax(1) == truth[keep]
    return {
        "n_argmax": len(votes),
        "argmax_accuracy": metrics.accuracy(right),
        "ece_argmax": metrics.calibration_error(metrics.reliability(confidence, right)),
        "kl": metrics.divergence(soft_targets(votes), p) if has_votes(faces) else None,
        "coverage_curve": metrics.coverage_curve(confidence, right),
        "answered": metrics.coverage_curve(confidence, right, [min_confidence])[0],
    }


def _label_figures(
    faces: Faces48, classifier: ExpressionClassifier, probabilities: Floats, report: Progress
) -> dict[str, Any]:
    keep = faces.labels >= 0
    labels = faces.labels[keep]
    folded: Bools = metrics.fold_contempt(probabilities[keep]).argmax(1) == labels
    head = None
    if len(labels):
        head = _in_batches(
            classifier.label_probabilities, faces.images[keep], lambda done, n: report("second head", done, n)
        )
    right: Bools = folded if head is None else head.argmax(1) == labels
    return {
        "n_fer2013": len(labels),
        "fer2013_accuracy": metrics.accuracy(right),
        "fer2013_head": ("folded" if head is None else "second head") if len(labels) else None,
        "fer2013_folded_accuracy": metrics.accuracy(folded),
        "fer2013_classes": list(FER2013_LABELS),
    }


def _by_size(
    images: npt.NDArray[np.uint8], given: Floats, truth: Ints, classifier: ExpressionClassifier, report: Progress
) -> dict[str, list[float] | None]:
    """Strict accuracy by the side in pixels that the pictures were reduced to."""
    result: dict[str, list[float] | None] = {}
    for size in SIZES:
        p: Floats | None = given
        if size < images.shape[1]:

            def tell(done: int, n: int, size: int = size) -> None:
                report(f"faces at {size} px", done, n)

            p = _in_batches(classifier.probabilities, reduced(images, size), tell)
        assert p is not None
        result[str(size)] = metrics.accuracy(p.argmax(1) == truth)
    return result


def _end_to_end(
    images: npt.NDArray[np.uint8],
    given: Floats,
    truth: Ints,
    classifier: ExpressionClassifier,
    detector: Detector | None,
    report: Progress,
) -> dict[str, Any]:
    if detector is None:
        names = ("detector", "n_found", "detector_recall", "end_to_end_accuracy", "given_crop_accuracy")
        return dict.fromkeys((*names, "by_crop_scale"))
    own = classifier.settings.crop_scale
    found = find_and_classify(
        images,
        detector,
        classifier,
        widen=[scale / own for scale in CROP_SCALES if abs(scale - own) > 0.02],  # told apart in two digits
        progress=lambda done, n: report("end to end", done, n),
    )
    return {"detector": detector.name, **end_to_end_figures(found, given, truth, own)}


def has_votes(faces: Faces48) -> bool:
    """Whether the faces have votes; where a label stands in for them, each face has all in one column."""
    return bool(((faces.votes > 0).sum(1) > 1).any())


def _in_batches(
    read: Callable[[npt.NDArray[np.uint8]], Floats | None],
    images: npt.NDArray[np.uint8],
    report: Callable[[int, int], None],
) -> Floats | None:
    """What `read` makes of all pictures, a batch at a time; None when it makes nothing of them."""
    parts: list[Floats] = []
    for start in range(0, len(images), _BATCH):
        part = read(images[start : start + _BATCH])
        if part is None:
            return None
        parts.append(part)
        report(min(start + _BATCH, len(images)), len(images))
    return np.concatenate(parts)


def _silent(what: str, done: int, n: int) -> None:
    del what, done, n


def _accuracies(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    strict, argmax = (_percent(result[f"{rule}_accuracy"]) for rule in ("strict", "argmax"))
    if not result["votes"]:
        return [("accuracy, given labels", strict, f"{result['n_strict']:,} faces; no votes, so no FER+ rule")]
    return [
        ("accuracy, strict rule", strict, f"{result['n_strict']:,} faces"),
        ("accuracy, argmax rule", argmax, f"{result['n_argmax']:,} faces"),
    ]


def summary(result: dict[str, Any]) -> str:
    """The figures of `evaluate` as a table for the terminal, accuracies in percent with their 95 % interval."""
    answered = result["answered"]
    rows = [
        *_accuracies(result),
        ("accuracy, 7 labels", _percent(result["fer2013_accuracy"]), _label_note(result)),
        ("macro F1", _plain(result["macro_f1"]), "strict rule"),
        ("ECE", _plain(result["ece"]), f"strict rule; argmax rule {_plain(result['ece_argmax'])}"),
        ("NLL", _plain(result["nll"]), "nats, strict rule"),
        ("KL to the votes", _plain(result["kl"]), "nats, argmax rule"),
        ("accuracy of answers", _percent(answered["accuracy"]), _answered_note(answered)),
        *((f"accuracy at {px} px", _percent(value), "strict rule") for px, value in result["by_size"].items()),
        *((f"recall, {name}", _percent(r["recall"]), f"{r['n']:,} faces") for name, r in result["recall"].items()),
        ("detector's recall", _percent(result["detector_recall"]), _found_note(result)),
        ("accuracy end to end", _percent(result["end_to_end_accuracy"]), "the found faces, the detector's crop"),
        ("accuracy, given crop", _percent(result["given_crop_accuracy"]), "the found faces, the given crop"),
        *(
            (f"crop scale {scale}", _percent(value), "end to end")
            for scale, value in (result["by_crop_scale"] or {}).items()
        ),
    ]
    lines = [f"{result['model_id']} on {result['n']:,} faces of {result['usage']}"]
    lines.extend(f"  {name:<22}{value:<26}{note}" for name, value, note in rows)
    return "\n".join([*lines, f"  {result['left_out']}"])


def _percent(value: list[float] | None) -> str:
    if value is None:
        return "-"
    share, low, high = (100 * v for v in value)
    return f"{share:5.1f} %  ({low:.1f} to {high:.1f})"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _label_note(result: dict[str, Any]) -> str:
    if result["fer2013_head"] is None:
        return "no original labels"
    note = f"{result['n_fer2013']:,} faces, {result['fer2013_head']}"
    if result["fer2013_head"] == "folded":
        return note
    return f"{note}; folded from 8: {_percent(result['fer2013_folded_accuracy']).strip()}"


def _answered_note(answered: dict[str, Any]) -> str:
    return (
        f"argmax rule, {100 * answered['coverage']:.1f} % answered at confidence {answered['threshold']:.2f} and above"
    )


def _found_note(result: dict[str, Any]) -> str:
    return "not asked for" if result["n_found"] is None else f"{result['n_found']:,} of {result['n_strict']:,} faces"
