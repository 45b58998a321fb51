"""FER-2013 faces with FER+ votes: reading, the vote rules and the split that every choice is made on."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from risa_ray.vision.expressions import EXPRESSIONS

VOTE_COLUMNS = (*EXPRESSIONS, "unknown", "NF")


@dataclass(frozen=True)
class Faces48:
    """Faces of one part of the set: `images` uint8 (n, 48, 48), `votes` float32 (n, 10) in the FER+ column order."""

    names: tuple[str, ...]
    images: npt.NDArray[np.uint8]
    votes: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, keep: npt.NDArray[np.generic]) -> Faces48:
        index = np.flatnonzero(keep) if keep.dtype == np.bool_ else keep
        return Faces48(tuple(self.names[i] for i in index), self.images[index], self.votes[index])


def read_ferplus(folder: Path) -> dict[str, Faces48]:
    """Read `images.zip` and `labels.csv` of a folder into its parts by usage ("Training", "PublicTest")."""
    parts: dict[str, list[tuple[str, npt.NDArray[np.uint8], list[float]]]] = {}
    with zipfile.ZipFile(folder / "images.zip") as pictures, (folder / "labels.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            image = np.asarray(Image.open(io.BytesIO(pictures.read(row["image"]))).convert("L"))
            parts.setdefault(row["usage"], []).append((row["image"], image, [float(row[c]) for c in VOTE_COLUMNS]))
    return {
        usage: Faces48(
            tuple(name for name, _, _ in rows),
            np.stack([image for _, image, _ in rows]),
            np.asarray([votes for _, _, votes in rows], np.float32),
        )
        for usage, rows in parts.items()
    }


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
    """`train` and `validation` come from Training; `test` (PublicTest) only reports."""

    train: Faces48
    validation: Faces48
    test: Faces48
    removed: dict[str, int]
    """Rows left out, by reason."""


def split_ferplus(folder: Path) -> Split:
    """The fixed split: a de-duplicated tenth of Training validates, the rest trains.

    Near-duplicates of a PublicTest picture leave Training, a group of near-duplicates goes to one side as a whole,
    and the validation side keeps one picture of a group. Which side a group goes to is a hash of the first of its
    names in alphabetical order, so it does not change with the order of the rows.
    """
    parts = read_ferplus(folder)
    training, test = parts["Training"], parts["PublicTest"]
    groups = duplicate_groups(np.concatenate([test.images, training.images]))
    test_groups, training_groups = groups[: len(test)], groups[len(test) :]
    leaked = np.isin(training_groups, test_groups)
    first_name: dict[int, str] = {}
    for group, name in zip(training_groups.tolist(), training.names, strict=True):
        first_name[group] = min(name, first_name.get(group, name))
    bucket = np.asarray(
        [hashlib.sha256(first_name[int(g)].encode()).digest()[0] * 10 // 256 for g in training_groups], np.int64
    )
    is_first = np.asarray([first_name[int(g)] == n for g, n in zip(training_groups, training.names, strict=True)])
    usable = argmax_rule(training.votes) & ~leaked
    validation = training[(bucket == 0) & is_first & usable]
    train = training[(bucket != 0) & usable]
    removed = {
        "no expression holds the most votes": int((~argmax_rule(training.votes)).sum()),
        "near-duplicate of a PublicTest face": int(leaked.sum()),
        "near-duplicate within the validation part": int(((bucket == 0) & ~is_first & usable).sum()),
    }
    return Split(train, validation, test, removed)
