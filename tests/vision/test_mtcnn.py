"""The CPU engine of MTCNN finds what facenet-pytorch finds; each of its parts against the operation it stands for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from facenet_pytorch import MTCNN
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from facenet_pytorch.models.utils.detect_face import batched_nms_numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from noise import noise
from torch.nn import functional
from torchvision.ops import nms

from risa_ray.benchmarks.agreement import keeps_contract
from risa_ray.vision import Faces
from risa_ray.vision.mtcnn import cpu
from risa_ray.vision.mtcnn.cpu import CpuMtcnn
from risa_ray.vision.mtcnn.kernels import cut, propose
from risa_ray.vision.mtcnn.pyramid import CELL, pyramid
from risa_ray.vision.mtcnn.refiners import Refiner, onet, rnet
from risa_ray.vision.mtcnn.suppression import suppress
from risa_ray.vision.workers import Workers

Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@cache
def engine(min_face_size: int, threads: int = 1) -> CpuMtcnn:
    return CpuMtcnn(min_face_size, threads)


@cache
def facenet(min_face_size: int) -> MTCNN:
    return MTCNN(keep_all=True, min_face_size=min_face_size)


def locked(picture: Picture) -> Picture:
    """Read-only, as the engine hands pictures to its loops."""
    picture = np.ascontiguousarray(picture)
    picture.setflags(write=False)
    return picture


def patches(height: int, width: int, seed: int) -> Picture:
    return locked(noise(height, width, seed))


def assert_finds_the_same(picture: Picture, min_face_size: int) -> int:
    """The contract of the exact engine; how many faces there are."""
    found = Faces(*engine(min_face_size).detect([picture])[0])
    boxes, scores, points = facenet(min_face_size).detect(picture, landmarks=True)
    nobody = (np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2)))
    rows = nobody if boxes is None else (boxes, scores, points)
    wanted = Faces(*(np.asarray(a, np.float32) for a in rows))
    assert keeps_contract(found, wanted)
    return int((wanted.scores >= 0.9).sum())


@pytest.mark.parametrize("min_face_size", [20, 40])
@pytest.mark.parametrize("name", ["group_5", "group_6", "portrait_1", "portrait_2", "portrait_3", "single"])
def test_finds_what_facenet_pytorch_finds_in_pictures(shared: Path, name: str, min_face_size: int) -> None:
    picture = cv2.cvtColor(cv2.imread(str(shared / f"images/{name}.jpg")), cv2.COLOR_BGR2RGB)
    if name.startswith("portrait"):
        picture = cv2.resize(picture, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    assert assert_finds_the_same(np.asarray(picture, np.uint8), min_face_size) >= 1


@pytest.mark.parametrize("most", [3, pytest.param(12, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("name", "every"),
    [
        ("arcade_1080p.mp4", 24),
        ("one_by_one_person.mp4", 60),
        ("single_face.mp4", 60),
        ("no_face.mp4", 60),
        ("shoppers_walking.gif", 10),
        ("store_aisle.gif", 10),
    ],
)
def test_finds_what_facenet_pytorch_finds_in_videos(shared: Path, name: str, every: int, most: int) -> None:
    checked = 0
    with av.open(str(shared / "video" / name)) as video:
        for number, frame in enumerate(video.decode(video=0)):
            if checked == most:
                break
            if number % every == 0:
                assert_finds_the_same(frame.to_ndarray(format="rgb24"), 40)
                checked += 1
    assert checked >= 2


@settings(max_examples=15, deadline=None)
@given(st.integers(24, 160), st.integers(24, 160), st.integers(12, 30), st.integers(0, 2**31))
def test_finds_what_facenet_pytorch_finds_in_anything(height: int, width: int, size: int, seed: int) -> None:
    if pyramid(height, width, size):
        assert_finds_the_same(patches(height, width, seed), size)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**31))
def test_parts_are_cut_by_adaptive_average_pooling(height: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    picture = patches(height, width, seed)
    x, y = random.integers(0, (width, height))
    box = [x, y, random.integers(x + 1, width + 1), random.integers(y + 1, height + 1)]
    got = cut(picture, np.array([box, [0, 0, width, height]]), 24)
    for part, (x1, y1, x2, y2) in zip(got, [box, [0, 0, width, height]], strict=True):
        pixels = torch.from_numpy(picture[y1:y2, x1:x2].copy()).permute(2, 0, 1).float()
        wanted = (functional.adaptive_avg_pool2d(pixels, 24) - 127.5) * 0.0078125
        np.testing.assert_allclose(part, wanted.numpy(), atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(12, 100), st.integers(12, 100), st.integers(0, 2**31), st.integers(1, 4))
def test_proposals_are_those_of_pnet(height: int, width: int, seed: int, parts: int) -> None:
    picture = patches(2 * height + 1, width + 7, seed)
    pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float()
    pixels = (functional.interpolate(pixels, (height, width), mode="area") - 127.5) * 0.0078125
    with torch.no_grad():
        moves, probabilities = (a[0].numpy() for a in PNet()(pixels))
    rows = (height - 1) // 2 - 4
    edges = [rows * i // parts for i in range(parts + 1)]
    weights = engine(20)._weights
    cells = np.concatenate(
        [propose(picture, height, width, edges[i], edges[i + 1], 0.1, *weights) for i in range(parts)]
    )
    answer = np.zeros_like(probabilities[1])
    answer[cells[:, 1].astype(int), cells[:, 0].astype(int)] = cells[:, 2]
    sure = np.abs(probabilities[1] - 0.1) > 1e-4
    np.testing.assert_allclose(answer[sure], np.where(probabilities[1] >= 0.1, probabilities[1], 0)[sure], atol=1e-4)
    for x, y, _, *move in cells:
        np.testing.assert_allclose(move, moves[:, int(y), int(x)], atol=1e-4)


@pytest.mark.parametrize(("refiner", "network"), [(rnet, RNet), (onet, ONet)])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 24, 48])
def test_refiners_answer_as_their_networks_do(
    refiner: Callable[[], Refiner], network: Callable[[], torch.nn.Module], n: int
) -> None:
    n, side = min(n, refiner().batch), refiner().side
    crops = np.random.default_rng(n).uniform(-1, 1, (n, 3, side, side)).astype(np.float32)
    with torch.no_grad():
        *moves, scores = (out.numpy() for out in network().eval()(torch.from_numpy(crops)))
    seen = refiner()(crops)
    wanted = np.concatenate([scores[:, 1:], *moves], 1)
    np.testing.assert_allclose(seen[:, : wanted.shape[1]], wanted, atol=1e-5)


def test_a_refiner_refuses_more_than_a_batch() -> None:
    with pytest.raises(ValueError, match="25 crops are more than a batch of 24"):
        onet()(np.zeros((25, 3, 48, 48), np.float32))


def test_a_refiner_answers_several_threads() -> None:
    crops = np.random.default_rng(0).uniform(-1, 1, (4, 5, 3, 48, 48)).astype(np.float32)
    assert np.array_equal(np.stack(Workers(4).map(onet(), list(crops))), np.stack([onet()(few) for few in crops]))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 60), st.integers(0, 2**31), st.sampled_from([0.5, 0.7]))
def test_suppression_is_that_of_torchvision_and_of_facenet_pytorch(n: int, seed: int, threshold: float) -> None:
    random = np.random.default_rng(seed)
    begin = random.integers(0, 40, (n, 2))
    boxes = np.concatenate([begin, begin + random.integers(1, 30, (n, 2))], 1).astype(np.float32)
    scores = random.choice(np.array([0.7, 0.9, 1.0], np.float32), n)  # many are equal, as where a network is sure
    by_union = nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold).tolist()
    assert cpu._by_union(boxes, scores, threshold).tolist() == by_union
    everywhere = torch.zeros(n, dtype=torch.int64)
    by_smaller = batched_nms_numpy(torch.from_numpy(boxes), torch.from_numpy(scores), everywhere, threshold, "Min")
    assert suppress(boxes, np.argsort(scores)[::-1].copy(), threshold, True).tolist() == by_smaller.tolist()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(12, 200))
def test_a_pyramid_ends_where_no_face_fits_in(height: int, width: int, size: int) -> None:
    levels = pyramid(height, width, size)
    if min(height, width) != size:  # 12 / 47 x 47 is less than 12 in floats
        assert bool(levels) == (min(height, width) > size)
    assert all(min(level.height, level.width) >= CELL for level in levels)
    for level in levels:
        strips = cpu._strips(level)
        assert [a for a, _ in strips] == [0, *(b for _, b in strips[:-1])]
        assert strips[-1][1] == (level.height - 1) // 2 - 4


def test_neither_threads_nor_company_change_what_is_found(shared: Path) -> None:
    picture = cv2.cvtColor(cv2.imread(str(shared / "images/group_6.jpg")), cv2.COLOR_BGR2RGB)
    picture = np.asarray(picture, np.uint8)
    (alone,) = engine(20, threads=1).detect([picture])
    (in_strips,) = engine(20, threads=3).detect([picture])
    together = engine(20, threads=3).detect([picture[:200].copy(), picture, picture])
    for other in (in_strips, *together[1:]):
        for one, same in zip(alone, other, strict=True):
            np.testing.assert_allclose(one, same, atol=1e-4)


def test_sums_along_a_row_may_wrap_around() -> None:
    """450 rows of white pass 2^31 after 18,700 columns; a window of 12,000 does not."""
    white = locked(np.full((900, 24000, 3), 255, np.uint8))
    (part,) = cut(white, np.array([[0, 0, 24000, 900]]), 2)
    np.testing.assert_allclose(part, (255 - 127.5) / 128, atol=1e-5)


def test_faces_are_found_again_about_where_they_are_expected(shared: Path) -> None:
    picture = cv2.cvtColor(cv2.imread(str(shared / "images/group_6.jpg")), cv2.COLOR_BGR2RGB)
    picture = np.asarray(picture, np.uint8)
    (everywhere,) = engine(40).detect([picture])
    boxes = everywhere[0]
    shift = 0.15 * (boxes[:, 2:] - boxes[:, :2]) * np.array([[1, -1]], np.float32)
    expected = (boxes + np.concatenate([shift, shift], 1))[1:]
    again, nothing = engine(40, threads=2).refine([picture, picture], [expected, boxes[:0]])
    found = Faces(*again)
    assert len(found) == len(boxes) - 1, "whoever is not expected is not looked for"
    order = np.abs(found.boxes[:, None] - boxes[None, 1:]).max(2).argmin(1)
    assert sorted(order) == list(range(len(found)))
    np.testing.assert_allclose(found.boxes, boxes[1:][order], atol=0.12 * np.ptp(boxes[:, [0, 2]], 1).max())
    assert [len(part) for part in nothing] == [0, 0, 0]
