"""Faces with FER+ votes: the vote rules and the split that every choice is made on."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from risa_ray.errors import InputError
from risa_ray.vision.expressions import EXPRESSIONS

VOTE_COLUMNS = (*EXPRESSIONS, "unknown", "NF")
FER2013_LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The original seven labels, in the order of their numbers in fer2013.csv (Goodfellow et al. 2013)."""

_SYNONYMS = {
    "neutral": (),
    "happiness": ("happy", "joy"),
    "surprise": ("surprised",),
    "sadness": ("sad",),
    "anger": ("angry",),
    "disgust": ("disgusted",),
    "fear": ("fearful", "afraid", "scared"),
    "contempt": ("contemptuous",),
}
CLASS_WORDS = {word: EXPRESSIONS.index(name) for name, words in _SYNONYMS.items() for word in (name, *words)}
"""Index into EXPRESSIONS of every word, in small letters, that data sets use for one."""
FER2013_EXPRESSIONS = tuple(CLASS_WORDS[label] for label in FER2013_LABELS)
"""Index into EXPRESSIONS of each of FER2013_LABELS."""


@dataclass(frozen=True)
class Faces48:
    """Faces of one part of the set: `images` uint8 (n, 48, 48), `votes` float32 (n, 10) in the FER+ column order.

    `labels` int64 (n,) index into FER2013_LABELS, -1 where a face has none.
    """

    names: tuple[str, ...]
    images: npt.NDArray[np.uint8]
    votes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, keep: npt.NDArray[np.generic]) -> Faces48:
        index = np.flatnonzero(keep) if keep.dtype == np.bool_ else keep
        return Faces48(tuple(self.names[i] for i in index), self.images[index], self.votes[index], self.labels[index])


@dataclass(frozen=True)
class FaceSet:
    """Faces by usage ("Training", "PublicTest", "PrivateTest", ...), and what of the data could not be used.

    `faults` maps a reason to the names of all rows or pictures that were left out for it.
    """

    parts: dict[str, Faces48]
    faults: dict[str, tuple[str, ...]]

    def describe_faults(self) -> str:
        """One line: how many of how many were left out and why, with the first names of each reason."""
        left_out = sum(map(len, self.faults.values()))
        total = left_out + sum(map(len, self.parts.values()))
        if not left_out:
            return f"nothing left out of {total:,}"
        reasons = (f"{reason}: {_some(names)}" for reason, names in self.faults.items())
        return f"left out {left_out:,} of {total:,}: {'; '.join(reasons)}"


def _some(names: tuple[str, ...], most: int = 3) -> str:
    # A broken file has names with line breaks in them, or as long as the file.
    shown = ", ".join(name[:80] if name.isprintable() else ascii(name[:80]) for name in names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def drop_single_votes(votes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Single votes are noise (Barsoum et al. 2016): they count as none."""
    return np.where(votes <= 1, 0, votes).astype(np.float32)


def argmax_rule(votes: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Rows whose most voted column (single votes dropped) is one of the eight expressions."""
    votes = drop_single_votes(votes)
    return np.asarray((votes.argmax(1) < len(EXPRESSIONS)) & (votes.max(1) > 0), np.bool_)


def strict_rule(votes: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Rows whose winner holds more than half of what remains of the ten columns and is an expression."""
    votes = drop_single_votes(votes)
    return np.asarray(argmax_rule(votes) & (votes.max(1) > votes.sum(1) / 2), np.bool_)


def soft_targets(votes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Vote shares of the eight expressions, (n, 8), rows sum to 1; only for rows kept by `argmax_rule`."""
    votes = drop_single_votes(votes)[:, : len(EXPRESSIONS)]
    return np.asarray(votes / votes.sum(1, keepdims=True), np.float32)


def duplicate_groups(images: npt.NDArray[np.uint8], threshold: float = 0.98) -> npt.NDArray[np.int64]:
    """Group number, (n,), of each picture: near-duplicates share one.

    Two pictures are near-duplicates when their 16x16 reductions, brightness and contrast removed, correlate above
    `threshold`; mirrored copies count too. Groups are the connected components.
    """
    small = images.reshape(len(images), 16, 3, 16, 3).mean((2, 4), dtype=np.float32)

    def unit(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        x = x.reshape(len(x), -1)
        x = x - x.mean(1, keepdims=True)
        return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6), np.float32)

    plain, mirrored = unit(small), unit(small[:, :, ::-1])
    parent = np.arange(len(images))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    for start in range(0, len(images), 2048):
        block = plain[start : start + 2048]
        near = (block @ plain.T > threshold) | (block @ mirrored.T > threshold)
        for i, j in zip(*np.nonzero(near), strict=True):
            a, b = root(start + int(i)), root(int(j))
            parent[max(a, b)] = min(a, b)
    return np.asarray([root(i) for i in range(len(images))], np.int64)


@dataclass(frozen=True)
class Split:
    """`train` and `validation` come from Training; `test` (PublicTest, empty without it) only reports."""

    train: Faces48
    validation: Faces48
    test: Faces48
    removed: dict[str, int]
    """Rows left out, by reason."""

    def joined(self) -> Split:
        """The same with both parts to train on, and nothing to validate on; what was left out stays out."""
        parts = (self.train, self.validation)
        whole = Faces48(
            tuple(name for part in parts for name in part.names),
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.votes for part in parts]),
            np.concatenate([part.labels for part in parts]),
        )
        return Split(whole, self.validation[np.zeros(0, np.int64)], self.test, self.removed)


def split_faces(face_set: FaceSet) -> Split:
    """The fixed split: a de-duplicated tenth of Training validates, the rest trains.

    Near-duplicates of a picture of any other part (PublicTest, PrivateTest, ...) leave Training, a group of
    near-duplicates goes to one side as a whole, and the validation side keeps one picture of a group. Which side a
    group goes to is a hash of the first of its names in alphabetical order, so it does not change with the order of
    the rows.

    Raises:
        InputError: there is no Training part.
    """
    if "Training" not in face_set.parts:
        there_are = ", ".join(face_set.parts) or "none"
        raise InputError(f"the data has no part Training (its parts: {there_are}); give faces of usage Training")
    training = face_set.parts["Training"]
    others = [part.images for usage, part in face_set.parts.items() if usage != "Training"]
    groups = duplicate_groups(np.concatenate([training.images, *others]))
    training_groups, other_groups = groups[: len(training)], groups[len(training) :]
    leaked = np.isin(training_groups, other_groups)
    first_name: dict[int, str] = {}
    for group, name in zip(training_groups.tolist(), training.names, strict=True):
        first_name[group] = min(name, first_name.get(group, name))
    bucket = np.asarray(
        [hashlib.sha256(os.fsencode(first_name[int(g)])).digest()[0] * 10 // 256 for g in training_groups], np.int64
    )
    is_first = np.asarray([first_name[int(g)] == n for g, n in zip(training_groups, training.names, strict=True)])
    usable = argmax_rule(training.votes) & ~leaked
    validation = training[(bucket == 0) & is_first & usable]
    train = training[(bucket != 0) & usable]
    removed = {
        "no expression holds the most votes": int((~argmax_rule(training.votes)).sum()),
        "near-duplicate of a test face": int(leaked.sum()),
        "near-duplicate within the validation part": int(((bucket == 0) & ~is_first & usable).sum()),
    }
    nobody = training[np.zeros(len(training), np.bool_)]
    return Split(train, validation, face_set.parts.get("PublicTest", nobody), removed)
