"""Faces in every form that users have them in, whole and broken."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from face_files import Picture, encoded, noise, write_folder, write_zip
from hypothesis import given, settings
from hypothesis import strategies as st

from risa_ray.errors import InputError
from risa_ray.training.data import FER2013_LABELS, VOTE_COLUMNS, Faces48
from risa_ray.training.readers import VOTES_OF_A_LABEL, read_faces
from risa_ray.vision.expressions import EXPRESSIONS

Cells = Sequence[object]
HAPPY = (0, 9, 1, 0, 0, 0, 0, 0, 0, 0)
KAGGLE = ("emotion", "pixels", "Usage")
FERPLUS = ("Usage", "Image name", *VOTE_COLUMNS)


def write_csv(path: Path, header: Cells, rows: Iterable[Cells]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def pixels(picture: Picture) -> str:
    return " ".join(map(str, picture.ravel()))


def only(part: Faces48, expression: str) -> bool:
    """Are all votes for one expression, as many as a label stands for?"""
    wanted = VOTES_OF_A_LABEL * np.eye(len(VOTE_COLUMNS), dtype=np.float32)[[EXPRESSIONS.index(expression)]]
    return part.votes.shape == wanted.shape and bool((part.votes == wanted).all())


# 1 and 4: pictures with a CSV


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """images.zip and labels.csv with two faces to train on, one held back."""
    write_zip(tmp_path / "images.zip", {f"{i}.png": encoded(noise(i)) for i in range(3)})
    rows = [
        ("0.png", "Training", "happy", *HAPPY),
        ("1.png", "Training", "", *HAPPY[::-1]),
        ("2.png", "PrivateTest", "neutral", *HAPPY),
    ]
    write_csv(tmp_path / "labels.csv", ("image", "usage", "fer2013", *VOTE_COLUMNS), rows)
    return tmp_path


def test_a_zip_with_its_csv(listed: Path, tmp_path: Path) -> None:
    face_set = read_faces(listed)
    assert face_set.faults == {}
    assert set(face_set.parts) == {"Training", "PrivateTest"}
    part = face_set.parts["Training"]
    assert part.names == ("0.png", "1.png")
    assert part.labels.tolist() == [FER2013_LABELS.index("happy"), -1]
    assert (part.images.dtype, part.votes.dtype, part.labels.dtype) == (np.uint8, np.float32, np.int64)
    np.testing.assert_array_equal(part.images, np.stack([noise(0), noise(1)]))
    np.testing.assert_array_equal(part.votes, [HAPPY, HAPPY[::-1]])


def test_the_same_faces_however_they_are_pointed_at(listed: Path, tmp_path: Path) -> None:
    elsewhere = (listed / "labels.csv").rename(tmp_path / "held_back.csv")
    folder = write_folder(tmp_path / "loose", {f"some/where/{i}.png": encoded(noise(i)) for i in range(3)})
    for images, labels in ((listed / "images.zip", elsewhere), (listed, elsewhere), (folder, elsewhere)):
        face_set = read_faces(images, labels)
        assert face_set.parts["PrivateTest"].names == ("2.png",)
        np.testing.assert_array_equal(face_set.parts["Training"].images, np.stack([noise(0), noise(1)]))
    elsewhere.rename(folder / "labels.csv")
    assert set(read_faces(folder).parts) == {"Training", "PrivateTest"}


def test_columns_in_any_order_and_votes_or_labels_alone(listed: Path) -> None:
    rows = [("disgusted", "train", "0.png"), ("3", "val", "1.png"), ("contempt", "Training", "2.png")]
    labels = write_csv(listed / "own.csv", (" FER2013", "Usage ", "image"), rows)
    parts = read_faces(listed / "images.zip", labels).parts
    assert {usage: part.names for usage, part in parts.items()} == {
        "Training": ("0.png", "2.png"),
        "PublicTest": ("1.png",),
    }
    assert only(parts["PublicTest"], "happiness")
    assert parts["Training"].labels.tolist() == [FER2013_LABELS.index("disgust"), -1]
    labels = write_csv(listed / "own.csv", ("image", "usage", *VOTE_COLUMNS), [("0.png", "Training", *HAPPY)])
    assert read_faces(listed, labels).parts["Training"].labels.tolist() == [-1]


def test_broken_rows_are_named_and_the_rest_is_read(listed: Path) -> None:
    rows = [
        ("0.png", "Training", "happy", *HAPPY),
        ("missing.png", "Training", "happy", *HAPPY),
        ("1.png", "Training", "happy", -1, *HAPPY[1:]),
        ("1.png", "Training", "happy", "nan", *HAPPY[1:]),
        ("1.png", "Training", "happy", "many", *HAPPY[1:]),
        ("1.png", "Training", "hungry", *HAPPY),
        ("1.png", "", "happy", *HAPPY),
        ("1.png", "Training"),
        ("x" * 200_000, "Training", "happy", *HAPPY),
        (),
        ("0.png", "Training", "happy", *HAPPY),
        ("../labels.csv", "Training", "happy", *HAPPY),
        ("2.png", "Training", "-", *HAPPY),
    ]
    write_csv(listed / "labels.csv", ("image", "usage", "fer2013", *VOTE_COLUMNS), rows)
    face_set = read_faces(listed)
    assert face_set.parts["Training"].names == ("0.png", "2.png")
    assert face_set.faults == {
        "missing picture": ("missing.png", "../labels.csv"),
        "votes below 0 or beyond counting": ("1.png", "1.png"),
        "votes that are no numbers": ("1.png",),
        "unknown label": ("1.png",),
        "row without usage": ("1.png",),
        "row that does not fit the header": ("row 8", "row 9"),
        "picture listed before": ("0.png",),
    }
    assert face_set.describe_faults().startswith("left out 10 of 12: missing picture: missing.png, ../labels.csv; ")


def test_a_label_is_needed_where_there_are_no_votes(listed: Path) -> None:
    rows = [("0.png", "Training", ""), ("1.png", "Training", "sad")]
    write_csv(listed / "labels.csv", ("image", "usage", "fer2013"), rows)
    assert read_faces(listed).faults == {"row without label": ("0.png",)}


def test_a_name_that_two_pictures_in_subfolders_have_is_not_guessed(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {f"{at}/same.png": encoded(noise(1)) for at in "ab"})
    rows = [("same.png", "Training", "sad"), ("b/same.png", "Training", "sad")]
    face_set = read_faces(folder, write_csv(tmp_path / "own.csv", ("image", "usage", "fer2013"), rows))
    assert face_set.parts["Training"].names == ("b/same.png",)
    assert face_set.faults == {"name that several pictures have": ("same.png",)}


quoted = st.text(st.characters(codec="utf-8", exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1)


@settings(max_examples=40)
@given(st.lists(quoted.filter(lambda n: not n.startswith((".", "__MACOSX"))), min_size=1, max_size=5, unique=True))
def test_any_name_survives_the_csv(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder = tmp_path_factory.mktemp("set")
    write_zip(folder / "images.zip", {name: encoded(noise(i)) for i, name in enumerate(names)})
    rows = [(name, "Training", i % 7) for i, name in enumerate(names)]
    write_csv(folder / "labels.csv", ("image", "usage", "fer2013"), rows)
    part = read_faces(folder).parts["Training"]
    assert part.names == tuple(names)
    assert part.labels.tolist() == [i % 7 for i in range(len(names))]
    np.testing.assert_array_equal(part.images, np.stack([noise(i) for i in range(len(names))]))


# 2: Kaggle's file


def write_kaggle(folder: Path) -> Path:
    usages = ("Training", "Training", "PublicTest", "PrivateTest")
    rows = [(i, pixels(noise(i)), usage) for i, usage in enumerate(usages)]
    return write_csv(folder / "fer2013.csv", KAGGLE, rows)


def write_ferplus(folder: Path, name: str = "fer2013new.csv") -> Path:
    usages = ("Training", "Training", "PublicTest", "PrivateTest")
    return write_csv(folder / name, FERPLUS, [(usage, "", i, *HAPPY[1:]) for i, usage in enumerate(usages)])


def test_kaggles_file_alone(tmp_path: Path) -> None:
    parts = read_faces(write_kaggle(tmp_path)).parts
    assert {usage: part.names for usage, part in parts.items()} == {
        "Training": ("fer0000000.png", "fer0000001.png"),
        "PublicTest": ("fer0000002.png",),
        "PrivateTest": ("fer0000003.png",),
    }
    assert parts["Training"].labels.tolist() == [0, 1]
    assert only(parts["PublicTest"], "fear")
    assert only(parts["PrivateTest"], "happiness")
    np.testing.assert_array_equal(parts["PrivateTest"].images, noise(3)[None])


def test_kaggles_file_with_the_votes_of_ferplus(tmp_path: Path) -> None:
    kaggle = write_kaggle(tmp_path)
    apart = write_ferplus(tmp_path, "elsewhere.csv")
    given_apart = read_faces(kaggle, apart)
    write_ferplus(tmp_path)
    for face_set in (given_apart, read_faces(kaggle), read_faces(tmp_path)):
        np.testing.assert_array_equal(face_set.parts["Training"].votes, [(0, *HAPPY[1:]), (1, *HAPPY[1:])])
        assert face_set.parts["PrivateTest"].votes[0, 0] == 3
        assert face_set.parts["PrivateTest"].labels.tolist() == [3]


def test_the_columns_of_the_contest_have_blanks_and_another_order(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "icml_face_data.csv", ("emotion", " Usage", " pixels"), [(6, "Training", "7 " * 2304)])
    part = read_faces(path).parts["Training"]
    assert only(part, "neutral")
    assert (part.images == 7).all()


def test_broken_rows_of_kaggles_file_keep_the_others_in_step_with_the_votes(tmp_path: Path) -> None:
    good = pixels(noise(0))
    rows = [
        (0, good.rsplit(" ", 1)[0], "Training"),
        (0, good.replace(" ", " x", 1), "Training"),
        (0, "256 " * 2304, "Training"),
        (7, good, "Training"),
        (0, good),
        (2, good, "Training"),
        (0, good, "Training"),
    ]
    kaggle = write_csv(tmp_path / "fer2013.csv", KAGGLE, rows)
    ballots = [("Training", "", i, *HAPPY[1:]) for i in range(6)]
    write_csv(tmp_path / "fer2013new.csv", FERPLUS, [*ballots, ("Training", "", "", *HAPPY[1:])])
    face_set = read_faces(kaggle)
    assert face_set.parts["Training"].names == ("fer0000005.png",)
    assert face_set.parts["Training"].votes[0, 0] == 5
    assert face_set.faults == {
        "wrong number of pixels": ("fer0000000.png",),
        "pixels that are no whole numbers of 0 to 255": ("fer0000001.png", "fer0000002.png"),
        "unknown label": ("fer0000003.png",),
        "row that does not fit the header": ("fer0000004.png",),
        "votes that are no numbers": ("fer0000006.png",),
    }


def test_files_of_different_sets_are_not_joined(tmp_path: Path) -> None:
    kaggle = write_kaggle(tmp_path)
    row = ("Training", "", *HAPPY)
    for count in (2, 3, 5):
        rows = [row, row, ("PublicTest", *row[1:]), ("PrivateTest", *row[1:]), row][:count]
        with pytest.raises(InputError, match=f"{count} rows, but .*fer2013.csv has 4"):
            read_faces(kaggle, write_csv(tmp_path / "votes.csv", FERPLUS, rows))
    with pytest.raises(InputError, match="row 3 is of another usage"):
        read_faces(kaggle, write_csv(tmp_path / "votes.csv", FERPLUS, [row] * 4))


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 2**32), st.integers(0, 6)), min_size=1, max_size=4))
def test_pixels_survive_the_csv(tmp_path_factory: pytest.TempPathFactory, faces: list[tuple[int, int]]) -> None:
    rows = [(label, pixels(noise(seed)), "Training") for seed, label in faces]
    part = read_faces(write_csv(tmp_path_factory.mktemp("set") / "fer2013.csv", KAGGLE, rows)).parts["Training"]
    np.testing.assert_array_equal(part.images, np.stack([noise(seed) for seed, _ in faces]))
    assert part.labels.tolist() == [label for _, label in faces]


# 3: class folders


def test_class_folders_under_their_usual_names(tmp_path: Path) -> None:
    words = {
        "Happy": "happiness",
        "SADNESS": "sadness",
        "surprised": "surprise",
        "disgusted": "disgust",
        "fearful": "fear",
        "afraid": "fear",
        "anger": "anger",
        "neutral": "neutral",
        "contempt": "contempt",
    }
    folder = write_folder(tmp_path, {f"{word}/a.png": encoded(noise(1)) for word in words})
    part = read_faces(folder).parts["Training"]
    expressions = {
        name.split("/")[0]: EXPRESSIONS[row.argmax()] for name, row in zip(part.names, part.votes, strict=True)
    }
    assert expressions == words
    labels = dict(zip(part.names, part.labels.tolist(), strict=True))
    assert labels["Happy/a.png"] == FER2013_LABELS.index("happy")
    assert labels["contempt/a.png"] == -1


@pytest.mark.parametrize("write", [write_folder, write_zip])
def test_class_folders_in_folders_of_parts(write: Callable[[Path, dict[str, bytes]], Path], tmp_path: Path) -> None:
    files = {
        **{f"set/{part}/happy/1.jpg": encoded(noise(1, 60, 60), "JPEG") for part in ("Train", "test", "PrivateTest")},
        "set/validation/sad/deeper/1.png": encoded(noise(2)),
        "set/train/selfies/2.png": encoded(noise(3)),
        "set/train/happy/broken.jpg": b"no picture",
        "set/train/happy/.hidden.png": b"",
        "set/read me.txt": b"not a picture, and not meant to be one",
    }
    face_set = read_faces(write(tmp_path / "data", files))
    assert {usage: set(part.names) for usage, part in face_set.parts.items()} == {
        "Training": {"set/Train/happy/1.jpg"},
        "PublicTest": {"set/test/happy/1.jpg", "set/validation/sad/deeper/1.png"},
        "PrivateTest": {"set/PrivateTest/happy/1.jpg"},
    }
    assert face_set.faults == {
        "folder that names no expression": ("set/train/selfies/2.png",),
        "undecodable picture": ("set/train/happy/broken.jpg",),
    }


# What is refused


def test_missing_files_are_refused(listed: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        read_faces(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"none\.csv: cannot be read \(No such file"):
        read_faces(listed, tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("header", "missing"),
    [
        (("image", "fer2013"), "no column usage"),
        (("name", "split"), "no column image, usage"),
        (("image", "usage"), "no column fer2013"),
        (("image", "usage", "fer2013", *VOTE_COLUMNS[:-1]), "no column nf"),
        ((), "no column image, usage"),
    ],
)
def test_a_csv_without_the_needed_columns_is_refused(listed: Path, header: Cells, missing: str) -> None:
    with pytest.raises(InputError, match=rf"own\.csv: {missing} in the header"):
        read_faces(listed, write_csv(listed / "own.csv", header, []))


def test_a_labels_csv_is_no_fer2013_csv(listed: Path) -> None:
    with pytest.raises(InputError, match=r"labels\.csv: no column emotion, pixels in the header"):
        read_faces(listed / "labels.csv")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "fer2013.tar.gz"
    path.write_bytes(noise(1).tobytes())
    with pytest.raises(InputError, match=r"fer2013\.tar\.gz: cannot be read as a zip"):
        read_faces(path)


def test_where_nothing_is_usable_the_first_faults_are_told(tmp_path: Path) -> None:
    files = {f"{i}.jpg": encoded(noise(i), "JPEG") for i in range(5)}
    told = r"no face can be used \(left out 5 of 5: folder that names no expression: 0.jpg, 1.jpg, 2.jpg and 2 more\)"
    with pytest.raises(InputError, match=told):
        read_faces(write_folder(tmp_path / "flat", files))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no face can be used \(no row and no picture is in it\)"):
        read_faces(tmp_path / "empty")


# Real faces


def test_the_shared_faces(shared: Path) -> None:
    face_set = read_faces(shared / "fer2013")
    assert face_set.faults == {}
    assert {usage: len(part) for usage, part in face_set.parts.items()} == {"Training": 28558, "PublicTest": 3579}
    for part in face_set.parts.values():
        assert set(part.labels.tolist()) == set(range(-1, 7))
        assert (part.images[::50].std((1, 2)) > 10).mean() > 0.99
