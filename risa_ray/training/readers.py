"""Faces as users have them: Kaggle's fer2013.csv, pictures listed in a CSV, folders of classes."""

from __future__ import annotations

import csv
import io
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image

from risa_ray.errors import InputError
from risa_ray.pictures import PICTURE_SUFFIXES, upright
from risa_ray.training.data import CLASS_WORDS, FER2013_EXPRESSIONS, VOTE_COLUMNS, Faces48, FaceSet
from risa_ray.vision.network import FACE_SIZE
from risa_ray.vision.preprocess import resize

Picture = npt.NDArray[np.uint8]

VOTES_OF_A_LABEL = 10.0
"""A face that has a label but no votes counts as if all ten voters of FER+ had agreed on it."""

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM")
_MAX_BYTES = 128 << 20
_MOST_VOTES = 1e6
_VOTES = tuple(column.lower() for column in VOTE_COLUMNS)
_COLUMN_NAMES = {"image name": "image"}
"""fer2013new.csv's name for a column, and ours."""
_BYTES = {str(value): value for value in range(256)}

_LABELS = CLASS_WORDS | {str(number): expression for number, expression in enumerate(FER2013_EXPRESSIONS)}
_USAGES = (
    dict.fromkeys(("training", "train"), "Training")
    | dict.fromkeys(("publictest", "test", "testing", "validation", "valid", "val"), "PublicTest")
    | {"privatetest": "PrivateTest"}
)


def read_faces(images: Path, labels: Path | None = None) -> FaceSet:
    """Read faces in any of the forms that users have them in.

    1. A zip or a folder of pictures (in subfolders too) and a CSV with the columns image and usage, and fer2013 (a
       label), the ten vote columns of FER+, or both. `labels` may be left out where it is labels.csv in the folder or
       beside the zip, and `images` may be a folder that holds images.zip.
    2. Kaggle's fer2013.csv (emotion, pixels, Usage) or the folder it is in, alone or with FER+'s fer2013new.csv, given
       as `labels` or beside it and joined by row. Rows are named fer0000000.png, ... by their number, from 0.
    3. A folder or a zip of folders named after expressions, and those perhaps in folders named train, test,
       validation, PublicTest or PrivateTest: test and validation are read as PublicTest (in the column usage of a CSV
       too), no such folder as Training.

    Votes of faces that have only a label are 10 for its expression; labels of faces that have only votes are -1.
    Pictures become grey and upright (EXIF), and those that are not 48x48 lose all beyond their central square, which is
    reduced by area or enlarged bilinearly. A row or a picture that cannot be used is left out and named in the faults.
    Nothing is unpacked to the disk.

    Raises:
        InputError: a file is missing or of none of these forms, its columns do not do, two files do not belong
            together, or nothing in them can be used.
    """
    if not images.exists():
        raise InputError(f"{images}: no such file or folder; check the path")
    images, labels = _find_files(images, labels)
    with warnings.catch_warnings():
        # Pillow only warns of pictures that are up to twice too large.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        if images.suffix.lower() == ".csv":
            return _read_kaggle(images, labels)
        with _open_pictures(images) as pictures:
            return _read_classes(images, pictures) if labels is None else _read_listed(images, pictures, labels)


def _find_files(images: Path, labels: Path | None) -> tuple[Path, Path | None]:
    """The CSV or pictures that are meant by a path, and the labels that lie there under their usual names."""
    if images.is_dir():
        inside = (images / name for name in ("images.zip", "fer2013.csv"))
        usual = images / "labels.csv"
        images = next((path for path in inside if path.is_file()), images)
    else:
        usual = images.with_name("labels.csv")
    if images.suffix.lower() == ".csv":
        usual = images.with_name("fer2013new.csv")
    return images, labels or (usual if usual.is_file() else None)


class _FaultError(Exception):
    """Why a row or a picture is left out."""


class _Collector:
    """Faces by usage as they are read, and what is left out of `origin`."""

    def __init__(self, origin: Path) -> None:
        self._origin = origin
        self._parts: dict[str, list[tuple[str, Picture, list[float], int]]] = {}
        self._faults: dict[str, list[str]] = {}

    @contextmanager
    def leaving_out(self, name: str) -> Iterator[None]:
        """What fails inside is a fault of the row or picture of that name."""
        try:
            yield
        except _FaultError as fault:
            self._faults.setdefault(str(fault), []).append(name)

    def add(self, usage: str, name: str, image: Picture, truth: tuple[list[float], int]) -> None:
        self._parts.setdefault(usage, []).append((name, image, *truth))

    def face_set(self) -> FaceSet:
        """All that was read.

        Raises:
            InputError: that is nothing.
        """
        parts = {usage: _stack(rows) for usage, rows in self._parts.items()}
        face_set = FaceSet(parts, {reason: tuple(names) for reason, names in self._faults.items()})
        if not parts:
            reason = face_set.describe_faults() if self._faults else "no row and no picture is in it"
            raise InputError(f"{self._origin}: no face can be used ({reason}); correct it or give other data")
        return face_set


def _stack(rows: list[tuple[str, Picture, list[float], int]]) -> Faces48:
    names, images, votes, labels = zip(*rows, strict=True)
    return Faces48(names, np.stack(images), np.asarray(votes, np.float32), np.asarray(labels, np.int64))


class _Table:
    """A CSV file with a header; columns are found by name, in any order and case.

    Raises:
        InputError: it cannot be read, or a needed column is missing.
    """

    def __init__(self, path: Path, *needed: str) -> None:
        self._path = path
        try:
            with self._open() as file:
                header = next(csv.reader(file), [])
        except (OSError, csv.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{path}: cannot be read ({reason}); give a CSV file with a header") from None
        names = [name.strip().lower() for name in header]
        self.columns = [_COLUMN_NAMES.get(name, name) for name in names]
        self.need(*needed)

    def _open(self) -> IO[str]:
        return self._path.open(encoding="utf-8-sig", errors="replace", newline="")

    def need(self, *columns: str) -> None:
        missing = [column for column in columns if column not in self.columns]
        if missing:
            raise InputError(f"{self._path}: no column {', '.join(missing)} in the header; add it or give another file")

    def rows(self) -> Iterator[dict[str, str]]:
        """Every row that is not blank; one that does not fit the header is empty."""
        with self._open() as file:
            reader = csv.reader(file)
            next(reader)
            while True:
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error:
                    yield {}
                    continue
                if cells:
                    yield dict(zip(self.columns, cells, strict=True)) if len(cells) == len(self.columns) else {}


def _key(text: str) -> str:
    return re.sub(r"[\s_-]+", "", text).lower()


def _usage(row: dict[str, str]) -> str:
    if not row:
        raise _FaultError("row that does not fit the header")
    usage = row["usage"].strip()
    if not usage:
        raise _FaultError("row without usage")
    return _USAGES.get(_key(usage), usage)


def _expression(label: str) -> int | None:
    """Index into EXPRESSIONS of a label or of its FER-2013 number, None for an empty one or a dash."""
    key = _key(label)
    if key and key not in _LABELS:
        raise _FaultError("unknown label")
    return _LABELS.get(key)


def _truth(label: str, ballot: dict[str, str] | None) -> tuple[list[float], int]:
    """Votes (10,) and FER-2013 label of a face."""
    expression = _expression(label)
    number = FER2013_EXPRESSIONS.index(expression) if expression in FER2013_EXPRESSIONS else -1
    if ballot is not None:
        return _votes(ballot), number
    if expression is None:
        raise _FaultError("row without label")
    return [VOTES_OF_A_LABEL * (index == expression) for index in range(len(VOTE_COLUMNS))], number


def _votes(row: dict[str, str]) -> list[float]:
    try:
        votes = [float(row[column]) for column in _VOTES]
    except (KeyError, ValueError):
        raise _FaultError("votes that are no numbers") from None
    if not all(0 <= vote <= _MOST_VOTES for vote in votes):
        raise _FaultError("votes below 0 or beyond counting")
    return votes


def _read_kaggle(path: Path, ferplus: Path | None) -> FaceSet:
    table, faces = _Table(path, "emotion", "pixels", "usage"), _Collector(path)
    ballots = None if ferplus is None else list(_Table(ferplus, "usage", *_VOTES).rows())
    count = 0
    for count, row in enumerate(table.rows(), 1):
        name = f"fer{count - 1:07}.png"
        with faces.leaving_out(name):
            usage = _usage(row)
            ballot = None if ballots is None or count > len(ballots) else ballots[count - 1]
            if ballot and _usage(ballot) != usage:
                raise InputError(f"{ferplus}: row {count:,} is of another usage than in {path}; give files that match")
            faces.add(usage, name, _pixels(row["pixels"]), _truth(row["emotion"], ballot))
    if ballots is not None and len(ballots) != count:
        raise InputError(f"{ferplus}: {len(ballots):,} rows, but {path} has {count:,}; give files that match")
    return faces.face_set()


def _pixels(text: str) -> Picture:
    try:
        values = bytes(map(_BYTES.__getitem__, text.split()))
    except KeyError:
        raise _FaultError("pixels that are no whole numbers of 0 to 255") from None
    if len(values) != FACE_SIZE**2:
        raise _FaultError("wrong number of pixels")
    return np.frombuffer(values, np.uint8).reshape(FACE_SIZE, FACE_SIZE)


class _Pictures:
    """The files of a folder or zip by their path in it, hidden ones left out."""

    def __init__(self, names: list[str], open_file: Callable[[str], IO[bytes]]) -> None:
        self.names = sorted(n for n in names if not any(p.startswith((".", "__MACOSX")) for p in n.split("/")))
        self._open = open_file
        self._paths: dict[str, list[str]] = {}
        for name in self.names:
            self._paths.setdefault(name.rsplit("/", 1)[-1], []).append(name)
        self._paths |= {name: [name] for name in self.names}

    def find(self, name: str) -> str:
        """The path of a picture that is given by its path or, in whatever subfolder, by its name."""
        found = self._paths.get(name, [])
        if not found:
            raise _FaultError("missing picture")
        if len(found) > 1:
            raise _FaultError("name that several pictures have")
        return found[0]

    def read(self, path: str) -> Picture:
        try:
            with self._open(path) as file:
                data = file.read(_MAX_BYTES + 1)
            if len(data) > _MAX_BYTES:
                raise ValueError("too large")
            with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
                return _grey48(opened)
        # a hostile or broken file makes zipfile and Pillow raise nearly anything; it is named in the faults
        except Exception:
            raise _FaultError("undecodable picture") from None


def _grey48(opened: Image.Image) -> Picture:
    grey = np.asarray(upright(opened).convert("L"))
    side, (height, width) = min(grey.shape), grey.shape
    top, left = (height - side) // 2, (width - side) // 2
    square = grey[top : top + side, left : left + side]
    return square if side == FACE_SIZE else resize(np.ascontiguousarray(square), FACE_SIZE)


@contextmanager
def _open_pictures(path: Path) -> Iterator[_Pictures]:
    if path.is_dir():
        yield _Pictures(_files_in(path), lambda name: (path / name).open("rb"))
        return
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        way_out = "give a folder or zip of pictures, or fer2013.csv"
        raise InputError(f"{path}: cannot be read as a zip ({error}); {way_out}") from None
    with archive:
        yield _Pictures([info.filename for info in archive.infolist() if not info.is_dir()], archive.open)


def _files_in(folder: Path) -> list[str]:
    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be listed ({error.strerror}); check its permissions")

    found = (Path(at, file) for at, _, files in os.walk(folder, onerror=refuse) for file in files)
    return [path.relative_to(folder).as_posix() for path in found if path.is_file()]


def _read_listed(images: Path, pictures: _Pictures, labels: Path) -> FaceSet:
    table, faces = _Table(labels, "image", "usage"), _Collector(images)
    voted = any(column in table.columns for column in _VOTES)
    table.need(*(_VOTES if voted else ("fer2013",)))
    seen: set[str] = set()
    for number, row in enumerate(table.rows(), 1):
        name = row.get("image") or f"row {number:,}"
        with faces.leaving_out(name):
            usage, path = _usage(row), pictures.find(row["image"])
            if path in seen:
                raise _FaultError("picture listed before")
            truth = _truth(row.get("fer2013", ""), row if voted else None)
            faces.add(usage, name, pictures.read(path), truth)
            seen.add(path)
    return faces.face_set()


def _read_classes(images: Path, pictures: _Pictures) -> FaceSet:
    faces = _Collector(images)
    for name in pictures.names:
        *folders, file = name.split("/")
        if Path(file).suffix.lower() not in PICTURE_SUFFIXES:
            continue
        words = [_key(folder) for folder in reversed(folders)]
        with faces.leaving_out(name):
            label = next((word for word in words if word in CLASS_WORDS), None)
            if label is None:
                raise _FaultError("folder that names no expression")
            usage = next((_USAGES[word] for word in words if word in _USAGES), "Training")
            faces.add(usage, name, pictures.read(name), _truth(label, None))
    return faces.face_set()
