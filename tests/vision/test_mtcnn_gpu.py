"""The GPU engine of MTCNN finds what facenet-pytorch and the CPU engine find, on a GPU too where there is one."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from facenet_pytorch import MTCNN
from hypothesis import given, settings
from hypothesis import strategies as st
from noise import noise
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torchvision.ops import nms

from risa_ray.benchmarks.agreement import keeps_contract
from risa_ray.vision import Faces
from risa_ray.vision.mtcnn import gpu, gpu_suppression
from risa_ray.vision.mtcnn.gpu import GpuMtcnn
from risa_ray.vision.mtcnn.gpu_batch import Batch, round_up
from risa_ray.vision.mtcnn.gpu_suppression import Boxes, Cells, suppress, suppress_near
from risa_ray.vision.mtcnn.pyramid import CELL, Level, pyramid

Picture = npt.NDArray[np.uint8]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@cache
def engine(device: str, min_face_size: int) -> GpuMtcnn:
    return GpuMtcnn(min_face_size, 2, device)


def picture_of(shared: Path, name: str, side: int) -> Picture:
    """A picture whose longer side is `side`."""
    picture = np.asarray(Image.open(shared / f"images/{name}.jpg").convert("RGB"))
    factor = side / max(picture.shape)
    return np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("min_face_size", [20, 40])
def test_finds_what_facenet_pytorch_finds(shared: Path, device: str, min_face_size: int) -> None:
    names = ["group_5", "group_6", "portrait_1", "single"]
    pictures = [picture_of(shared, name, 400) for name in names]
    reference = MTCNN(keep_all=True, min_face_size=min_face_size)
    for picture, found in zip(pictures, engine(device, min_face_size).detect(pictures), strict=True):
        rows = reference.detect(picture, landmarks=True)
        wanted = Faces(*(np.asarray(a, np.float32) for a in rows))
        assert len(wanted)
        assert keeps_contract(Faces(*found), wanted)


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_of_all_sizes_gives_what_each_picture_gives_alone(shared: Path, device: str) -> None:
    group = picture_of(shared, "group_6", 320)
    pictures = [
        group,
        np.zeros((1, 1, 3), np.uint8),
        picture_of(shared, "single", 240),
        np.zeros_like(group),
        np.ascontiguousarray(group[:, ::-1]),
        noise(90, 130, 3),
    ]
    mtcnn = engine(device, 30)
    together = mtcnn.detect(pictures)
    for picture, found in zip(pictures, together, strict=True):
        for some, same in zip(found, mtcnn.detect([picture])[0], strict=True):
            np.testing.assert_allclose(some, same, atol=0.01)
    assert [len(boxes) for boxes, _, _ in together] == [6, 0, 1, 0, 6, 0]
    assert mtcnn.detect([]) == []


@pytest.mark.parametrize("device", DEVICES)
def test_finds_again_what_the_cpu_engine_finds_again(shared: Path, device: str) -> None:
    pytest.importorskip("numba")
    from risa_ray.vision.mtcnn.cpu import CpuMtcnn

    single = picture_of(shared, "single", 240)
    pictures = [picture_of(shared, "group_6", 320), single, single]
    cpu = CpuMtcnn(30, 1)
    expected = [boxes + 3 for boxes, _, _ in cpu.detect(pictures)]
    expected[2] = expected[2][:0]
    again = engine(device, 30).refine(pictures, expected)
    for found, wanted in zip(again, cpu.refine(pictures, expected), strict=True):
        for some, same in zip(found, wanted, strict=True):
            np.testing.assert_allclose(some, same, atol=0.01)
    assert [len(boxes) for boxes, _, _ in again] == [6, 1, 0]


@pytest.mark.parametrize("device", DEVICES)
def test_work_in_small_parts_gives_the_same(shared: Path, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    group = picture_of(shared, "group_6", 320)
    pictures = [group, np.ascontiguousarray(group[::-1]), group]
    at_once = engine(device, 30).detect(pictures)
    for name, small in {"_BYTES": 1, "_RNET_BATCH": 5, "_ONET_BATCH": 3}.items():
        monkeypatch.setattr(gpu, name, small)
    monkeypatch.setattr(gpu_suppression, "_PAIRS", 1)
    for found, wanted in zip(engine(device, 30).detect(pictures), at_once, strict=True):
        for some, same in zip(found, wanted, strict=True):
            np.testing.assert_allclose(some, same, atol=0.01)


def test_full_precision_is_asked_for_and_given_back() -> None:
    def precision() -> tuple[str, str]:
        return torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision  # type: ignore[attr-defined]

    before = precision()
    with gpu._in_float32():
        assert precision() == ("ieee", "ieee")
    assert precision() == before


def test_a_frame_without_pixels_has_no_face() -> None:
    assert [len(part) for part in engine("cpu", 20).detect([np.zeros((0, 40, 3), np.uint8)])[0]] == [0, 0, 0]


def test_batches_have_few_sizes() -> None:
    sizes = {round_up(count) for count in range(2049)}
    assert all(round_up(count) >= max(1, count) for count in range(2049))
    assert len(sizes) < 20


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(12, 60), st.integers(0, 2**31))
def test_levels_and_parts_are_adaptive_averages(height: int, width: int, side: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    pictures = torch.from_numpy(random.integers(0, 256, (2, height, width, 3), np.uint8))
    batch, planes = Batch(pictures), pictures.permute(0, 3, 1, 2).float()

    def wanted(pixels: Tensor, size: tuple[int, int]) -> Tensor:
        return (functional.adaptive_avg_pool2d(pixels, size) - 127.5) * 0.0078125

    torch.testing.assert_close(batch.level(Level(1.0, side, 13)), wanted(planes, (side, 13)), atol=1e-5, rtol=0)
    x, y = random.integers(0, (width, height))
    begin, end = torch.tensor([[x, y]]), torch.tensor([[random.integers(x, width) + 1, random.integers(y, height) + 1]])
    part = batch._cut(torch.tensor([1]), begin, end, 24)
    inside = planes[1:, :, y : end[0, 1], x : end[0, 0]]
    torch.testing.assert_close(part, wanted(inside, (24, 24)), atol=1e-5, rtol=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.integers(1, 3), st.integers(0, 2**31), st.sampled_from([0.5, 0.7]))
def test_suppression_frame_by_frame_is_torchvisions(n: int, frames: int, seed: int, threshold: float) -> None:
    random = np.random.default_rng(seed)
    begin = random.integers(0, 40, (n, 2))
    corners = torch.from_numpy(np.concatenate([begin, begin + random.integers(1, 30, (n, 2))], 1).astype(np.float32))
    scores = torch.from_numpy(random.choice(np.array([0.7, 0.9, 1.0], np.float32), n))  # many are equal
    frame = torch.from_numpy(np.sort(random.integers(0, frames, n)))
    wanted = []
    for number in range(frames):
        mine = (frame == number).nonzero()[:, 0]
        wanted += mine[nms(corners[mine], scores[mine], threshold)].tolist()
    assert suppress(Boxes(frame, corners), scores, threshold, frames).tolist() == wanted


@settings(max_examples=15, deadline=None)
@given(st.integers(40, 120), st.integers(40, 120), st.integers(12, 30), st.integers(0, 2**31))
def test_suppression_among_neighbours_is_torchvisions_on_each_level(
    height: int, width: int, size: int, seed: int
) -> None:
    """With every cell a candidate, whatever could overlap does."""
    levels = pyramid(height, width, size)
    counts = [((level.height - 1) // 2 - 4) * ((level.width - 1) // 2 - 4) for level in levels]
    if not levels:
        return
    cells = Cells(levels, torch.device("cpu"))
    random = np.random.default_rng(seed)
    scores = torch.from_numpy(random.integers(1, 40, (1, sum(counts))).astype(np.float32))
    frame, cell = (scores > 0).nonzero(as_tuple=True)
    kept = suppress_near(cells, scores, frame, cell)
    boxes, first, wanted = cells.boxes(*cells.places(cell)), 0, []
    for level, count in zip(levels, counts, strict=True):
        part = slice(first, first + count)
        assert (boxes[part][:, :2] >= 0).all()
        assert float(boxes[part].max()) <= (max(level.width, level.height) + CELL) / level.scale
        wanted += sorted((first + nms(boxes[part], scores[0, part], 0.5)).tolist())
        first += count
    assert kept.nonzero()[:, 0].tolist() == wanted


def test_sums_over_a_frame_may_wrap_around() -> None:
    """9.6 million white pixels pass 2^31; no window does."""
    batch = Batch(torch.full((1, 3000, 3200, 3), 255, dtype=torch.uint8))
    torch.testing.assert_close(batch.level(Level(0.004, 13, 14)), torch.full((1, 3, 13, 14), (255 - 127.5) / 128))
