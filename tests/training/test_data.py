"""The vote rules, the search for near-duplicates, and a split that leaks nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risa_ray.errors import InputError
from risa_ray.training.data import (
    Faces48,
    FaceSet,
    Split,
    argmax_rule,
    drop_single_votes,
    duplicate_groups,
    soft_targets,
    split_faces,
    strict_rule,
)
from risa_ray.training.readers import read_faces

Picture = npt.NDArray[np.uint8]
Votes = npt.NDArray[np.float32]
NEUTRAL = (10, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def votes(*rows: Sequence[int]) -> Votes:
    return np.array(rows, np.float32)


RULES = [  # votes in the FER+ order with `unknown` and `NF` last; argmax rule, strict rule
    ("all for one", NEUTRAL, True, True),
    ("just over half", (6, 4, 0, 0, 0, 0, 0, 0, 0, 0), True, True),
    ("exactly half", (5, 5, 0, 0, 0, 0, 0, 0, 0, 0), True, False),
    ("half of all columns, unknown counts", (5, 0, 0, 0, 0, 0, 0, 0, 5, 0), True, False),
    ("single votes count as none", (4, 0, 0, 2, 1, 1, 1, 1, 0, 0), True, True),
    ("a single single vote", (5, 4, 0, 0, 0, 0, 0, 1, 0, 0), True, True),
    ("unknown wins", (3, 0, 0, 0, 0, 0, 0, 0, 7, 0), False, False),
    ("no face wins", (2, 0, 0, 0, 0, 0, 0, 0, 0, 8), False, False),
    ("only single votes", (1, 1, 1, 1, 1, 1, 1, 1, 1, 1), False, False),
    ("nothing", (0,) * 10, False, False),
]


@pytest.mark.parametrize(("row", "argmax", "strict"), [r[1:] for r in RULES], ids=[r[0] for r in RULES])
def test_vote_rules(row: tuple[int, ...], argmax: bool, strict: bool) -> None:
    assert argmax_rule(votes(row)).tolist() == [argmax]
    assert strict_rule(votes(row)).tolist() == [strict]


def test_single_votes_are_dropped_and_the_votes_left_alone() -> None:
    given_votes = votes((3, 1, 0, 2, 1, 0, 0, 0, 1, 2))
    assert drop_single_votes(given_votes).tolist() == [[3, 0, 0, 2, 0, 0, 0, 0, 0, 2]]
    assert given_votes[0, 1] == 1


ballots = st.lists(st.lists(st.integers(0, 10), min_size=10, max_size=10), min_size=1, max_size=20)


@given(ballots)
def test_strict_is_stricter_and_the_targets_are_shares(rows: list[list[int]]) -> None:
    table = votes(*rows)
    kept = argmax_rule(table)
    assert not (strict_rule(table) & ~kept).any()
    targets = soft_targets(table[kept])
    assert targets.shape == (kept.sum(), 8)
    assert targets.dtype == np.float32
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    assert (targets.argmax(1) == drop_single_votes(table[kept]).argmax(1)).all()


def test_targets_leave_out_what_is_no_expression() -> None:
    assert soft_targets(votes((6, 2, 1, 0, 0, 0, 0, 0, 4, 0))).tolist() == [[0.75, 0.25, 0, 0, 0, 0, 0, 0]]


def face(seed: int) -> Picture:
    """A smooth random picture, as unlike the others as faces of different people are and more."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (8, 8)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (48, 48), interpolation=cv2.INTER_CUBIC).clip(0, 255), np.uint8)


def test_exact_mirrored_and_near_copies_are_found_and_nothing_else() -> None:
    noise = np.random.default_rng(0).normal(0, 4, (48, 48))
    near = (face(1) * 0.7 + 30 + noise).clip(0, 255).astype(np.uint8)
    pictures = [face(0), face(1), face(2), face(0), face(1)[:, ::-1], near, face(3), face(4)[::-1], face(4)]
    groups = duplicate_groups(np.stack(pictures))
    assert groups.tolist() == [0, 1, 2, 0, 1, 1, 6, 7, 8]


def test_groups_are_connected_through_a_picture_between() -> None:
    a, b = (face(s).astype(np.float32) for s in (5, 6))
    steps = [(a * (1 - t) + b * t).astype(np.uint8) for t in np.linspace(0, 1, 21)]
    ends = duplicate_groups(np.stack([steps[0], steps[-1]]))
    assert ends[0] != ends[1]
    assert len(set(duplicate_groups(np.stack(steps)).tolist())) == 1


@given(st.permutations(range(8)))
def test_grouping_does_not_depend_on_the_order(order: list[int]) -> None:
    pictures = np.stack([face(s) for s in (0, 1, 0, 2, 1, 3, 4, 0)])
    plain, shuffled = duplicate_groups(pictures), duplicate_groups(pictures[order])
    together = plain[:, None] == plain
    np.testing.assert_array_equal(together[np.ix_(order, order)], shuffled[:, None] == shuffled)


Row = tuple[str, str, Picture, Sequence[int]]


def face_set(rows: Sequence[Row]) -> FaceSet:
    parts = {}
    for usage in dict.fromkeys(r[1] for r in rows):
        names, _, images, ballots = zip(*(r for r in rows if r[1] == usage), strict=True)
        parts[usage] = Faces48(names, np.stack(images), votes(*ballots), np.full(len(names), -1))
    return FaceSet(parts, {})


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """120 training faces, every third with copies, and 20 test faces of which five are copies of training faces."""
    unknown = (0, 0, 0, 0, 0, 0, 0, 0, 10, 0)
    training = [(f"a{s:04}", "Training", face(s), unknown if s % 10 == 7 else NEUTRAL) for s in range(120)]
    copies = [
        (f"{'b' if s % 2 else '0'}{s:04}{side}", "Training", face(s)[:, ::step], NEUTRAL)
        for s in range(0, 120, 3)
        for side, step in (("plain", 1), ("mirror", -1))
    ]
    test = [(f"t{s:04}", "PublicTest", face(s if s < 5 else 1000 + s), NEUTRAL) for s in range(20)]
    return [*training, *copies, *test]


@pytest.fixture(scope="module")
def split(rows: list[Row]) -> Split:
    return split_faces(face_set(rows))


def names(split: Split) -> list[set[str]]:
    return [set(part.names) for part in (split.train, split.validation, split.test)]


def test_choosing_rows_keeps_names_pictures_votes_and_labels_together(rows: list[Row]) -> None:
    part = face_set(rows).parts["Training"]
    part = Faces48(part.names, part.images, part.votes, np.arange(len(part)))
    for some in (part[np.arange(len(part)) % 2 == 1], part[np.arange(1, len(part), 2)]):
        assert some.names == part.names[1::2]
        np.testing.assert_array_equal(some.images, part.images[1::2])
        np.testing.assert_array_equal(some.votes, part.votes[1::2])
        np.testing.assert_array_equal(some.labels, part.labels[1::2])


def test_no_near_duplicate_stands_on_two_sides(split: Split) -> None:
    parts = (split.train, split.validation, split.test)
    groups = duplicate_groups(np.concatenate([p.images for p in parts]))
    sides = np.repeat([0, 1, 2], [len(p) for p in parts])
    assert all(len(set(sides[groups == g].tolist())) == 1 for g in set(groups.tolist()))


def test_validation_holds_one_of_a_group_and_about_a_tenth(split: Split) -> None:
    groups = duplicate_groups(split.validation.images)
    assert len(set(groups.tolist())) == len(groups)
    assert 3 <= len(split.validation) <= 30


def test_every_row_is_used_or_its_removal_counted(rows: list[Row], split: Split) -> None:
    train, validation, test = names(split)
    assert train.isdisjoint(validation)
    assert test == {r[0] for r in rows if r[1] == "PublicTest"}
    gone = {r[0] for r in rows if r[1] == "Training"} - train - validation
    leaked = {r[0] for r in rows if r[1] == "Training" and int(r[0][1:5]) < 5}
    undecided = {r[0] for r in rows if r[3][8]}
    assert leaked | undecided <= gone
    assert split.removed["near-duplicate of a test face"] == len(leaked)
    assert split.removed["no expression holds the most votes"] == len(undecided)
    assert split.removed["near-duplicate within the validation part"] == len(gone - leaked - undecided)


def test_the_split_does_not_depend_on_the_order_of_the_rows(rows: list[Row], split: Split) -> None:
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(len(rows))
        assert names(split_faces(face_set([rows[i] for i in order]))) == names(split)


def test_more_rows_move_nobody_to_the_other_side(rows: list[Row], split: Split) -> None:
    more = [(f"c{s}", "Training", face(s), NEUTRAL) for s in range(5000, 5030)]
    train, validation, _ = names(split_faces(face_set([*more, *rows])))
    assert names(split)[0] <= train
    assert names(split)[1] <= validation


def test_copies_of_faces_held_back_leave_training_too(rows: list[Row], split: Split) -> None:
    held_back = [(f"p{s:04}", "PrivateTest", face(s)[:, ::-1], NEUTRAL) for s in range(50, 60)]
    train, validation, test = names(split_faces(face_set([*rows, *held_back])))
    copied = {r[0] for r in rows if 50 <= int(r[0][1:5]) < 60}
    assert (train, validation) == (names(split)[0] - copied, names(split)[1] - copied)
    assert test == names(split)[2]


def test_a_set_without_test_faces_is_split_with_an_empty_test_part(rows: list[Row], split: Split) -> None:
    alone = split_faces(face_set([r for r in rows if r[1] == "Training"]))
    assert len(alone.test) == 0
    assert alone.test.images.shape == (0, 48, 48)
    assert alone.removed["near-duplicate of a test face"] == 0
    assert names(split)[0] <= names(alone)[0]


@pytest.mark.parametrize(("usages", "told"), [(("PublicTest", "PrivateTest"), "PublicTest, PrivateTest"), ((), "none")])
def test_without_training_faces_the_parts_there_are_are_named(usages: Iterable[str], told: str) -> None:
    with pytest.raises(InputError, match=rf"no part Training \(its parts: {told}\)"):
        split_faces(face_set([("a", usage, face(0), NEUTRAL) for usage in usages]))


def test_faults_are_counted_and_the_first_of_each_reason_named() -> None:
    parts = face_set([(f"a{s}", "Training", face(s), NEUTRAL) for s in range(3)]).parts
    assert FaceSet(parts, {}).describe_faults() == "nothing left out of 3"
    faults = {"undecodable picture": ("a.jpg", "b.jpg"), "missing picture": tuple(f"{i}.png" for i in range(1200))}
    told = "left out 1,202 of 1,205: undecodable picture: a.jpg, b.jpg; missing picture: 0.png, 1.png, 2.png and "
    assert FaceSet(parts, faults).describe_faults() == f"{told}1,197 more"


def test_faults_stay_one_readable_line_whatever_the_names() -> None:
    line = FaceSet({}, {"missing picture": ("a\nb\x1b[2J", "c" * 10_000)}).describe_faults()
    assert line.isprintable()
    assert len(line) < 300


@pytest.mark.slow
def test_the_split_of_the_shared_faces(shared: Path) -> None:
    split = split_faces(read_faces(shared / "fer2013"))
    assert (len(split.train), len(split.validation), len(split.test)) == (24991, 2673, 3579)
    assert split.removed == {
        "no expression holds the most votes": 172,
        "near-duplicate of a test face": 569,
        "near-duplicate within the validation part": 157,
    }
    digest = hashlib.sha256("\n".join(split.validation.names).encode()).hexdigest()
    assert digest[:16] == "8e2044e7d5055033", "faces changed sides: models and figures made before do not hold"
