"""What may come in, and that what may not does no harm."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from PIL import Image
from uploads import FORMATS, exif, jpeg_of, malformed, pixels, png_of, same_picture_clip, scene, written

from risa_ray.config import CameraConfig
from risa_ray.config_analyze import UploadLimits
from risa_ray.serving.sandbox import Decoders
from risa_ray.serving.uploads import RefusedError, decode
from risa_ray.sources import Missed, Picture, Sampler, create_source
from risa_ray.streaming.process import give_memory_back, process_use

LIMITS = UploadLimits()
MALFORMED = 1200


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    decoders = Decoders(LIMITS, longest_s=60)
    yield decoders
    decoders.close()


def refusal(body: bytes, limits: UploadLimits = LIMITS) -> tuple[int, str]:
    with pytest.raises(RefusedError) as refused:
        list(decode(body, limits))
    assert "\n" not in refused.value.detail
    return refused.value.status, refused.value.detail


def apart(decoders: Decoders, body: bytes) -> list[Picture | Missed]:
    """The pictures of an upload, decoded in a process of its own."""

    async def all_of_it() -> list[Picture | Missed]:
        return [item async for item in decoders.decode(body)]

    return asyncio.run(all_of_it())


def from_file(path: Path, limits: UploadLimits) -> list[Any]:
    """What the pipeline reads from a file of the same content."""
    camera = CameraConfig(id="file", source=str(path))
    return list(create_source(camera, ZoneInfo("UTC")).pictures(Sampler(limits.clip_fps), limits.max_width))


def assert_same(found: list[Any], wanted: list[Any]) -> None:
    assert [(p.pts, p.scale, p.image.shape) for p in found] == [(p.pts, p.scale, p.image.shape) for p in wanted]
    assert all((p.image == q.image).all() for p, q in zip(found, wanted, strict=True))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_has_the_pixels_that_the_pipeline_reads(kind: str, tmp_path: Path, decoders: Decoders) -> None:
    body = written(scene(), kind)
    path = tmp_path / f"picture.{kind.lower()}"
    path.write_bytes(body)
    wanted = from_file(path, LIMITS)
    assert len(wanted) == 1
    assert_same(list(decode(body, LIMITS)), wanted)
    assert_same(apart(decoders, body), wanted)


def test_a_clip_has_the_pixels_and_times_that_the_pipeline_reads(clip: Path, decoders: Decoders) -> None:
    wanted = from_file(clip, LIMITS)
    assert len(wanted) > 20
    assert_same(list(decode(clip.read_bytes(), LIMITS)), wanted)
    assert_same(apart(decoders, clip.read_bytes()), wanted)


def test_a_large_picture_is_reduced_and_a_turned_one_set_upright(tmp_path: Path) -> None:
    body = written(scene((800, 450)), "JPEG", exif=exif(6))
    path = tmp_path / "turned.jpg"
    path.write_bytes(body)
    limits = UploadLimits(max_width=300)
    (found,) = decode(body, limits)
    assert isinstance(found, Picture)
    assert found.image.shape == (533, 300, 3)
    assert found.scale == 1.5
    assert_same([found], from_file(path, limits))


def test_no_more_is_decoded_of_a_clip_than_is_looked_at() -> None:
    found = list(decode(same_picture_clip(240, 30, (96, 64)), LIMITS))
    assert [p.pts for p in found] == pytest.approx([n / 5 for n in range(40)], abs=0.04)


def test_what_does_not_fit_is_refused_in_one_line(clip: Path) -> None:
    small = UploadLimits(picture_pixels=1024, clip_pixels=1024)
    short = UploadLimits(clip_s=2)
    body = clip.read_bytes()
    for found, status, told in (
        (refusal(b""), 400, "empty; send a picture or clip"),
        (refusal(b"GIF89a" + bytes(50)), 415, "neither a picture .* nor a clip"),
        (refusal(b"<svg/>"), 415, "neither a picture"),
        (refusal(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), 415, "neither a picture"),
        (refusal(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"), 415, "neither a picture"),
        (refusal(b"\0\0\0\x20ftypheic" + bytes(50)), 415, "HEIC and AVIF are not read; send one of JPEG"),
        (refusal(written(scene(), "JPEG")[:5000]), 422, "picture cannot be decoded .*truncated"),
        (refusal(body[: len(body) // 2]), 422, "clip cannot be decoded"),
        (refusal(png_of(60_000, 60_000)), 413, "pixels, and 40 million is the most"),
        (refusal(png_of(10_000, 10_000)), 413, "10000x10000 pixels"),
        (refusal(jpeg_of(65_500, 65_500)), 413, "pixels"),
        (refusal(written(scene(), "WEBP"), small), 413, "640x360 pixels"),
        (refusal(body, small), 413, "clip has 480x270 pixels"),
        (refusal(body, short), 413, "longer than 2 s; cut it"),
        (refusal(same_picture_clip(20, 5, (96, 64)), short), 413, "longer than 2 s"),
    ):
        assert found[0] == status, found
        assert re.search(told, found[1]), found


def test_malformed_uploads_neither_crash_nor_leak(clip: Path) -> None:
    resident: list[float] = []
    read = 0
    refused: list[tuple[int, str]] = []
    for number, body in enumerate(malformed(7, MALFORMED, clip)):
        try:
            read += any(isinstance(item, Picture) for item in decode(body, LIMITS))
        except RefusedError as error:
            refused.append((error.status, error.detail))  # the error itself would hold the upload
        if number in (MALFORMED // 3, MALFORMED - 1):
            give_memory_back()
            resident.append(process_use().resident_mb)
    assert read + len(refused) == MALFORMED
    assert len(refused) > MALFORMED / 2
    assert {413, 415, 422} <= {status for status, _ in refused} <= {400, 413, 415, 422}
    assert all(re.fullmatch("upload: .*; .*", detail) for _, detail in refused)
    assert resident[1] <= 1.05 * resident[0]


def test_malformed_uploads_leave_the_decoding_process_as_it_was(clip: Path, decoders: Decoders) -> None:
    async def all_of_them() -> list[int | None]:
        return [await status(decoders, body) for body in malformed(8, 100, clip)]

    found = asyncio.run(all_of_them())
    assert {400, 413, 415, 422} >= set(found) - {None}
    assert len(apart(decoders, clip.read_bytes())) > 20


async def status(decoders: Decoders, body: bytes) -> int | None:
    try:
        async for _ in decoders.decode(body):
            pass
    except RefusedError as refused:
        return refused.status
    return None


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_decoder_may_open_and_write_nothing_and_crashes_alone(decoders: Decoders) -> None:
    body = same_picture_clip(300, 60, (640, 360))
    (parent,) = [pid for pid in children(os.getpid()) if b"risa_ray.serving.sandbox" in command(pid)]

    async def crash() -> None:
        async for _ in decoders.decode(body):
            for child in children(parent):
                may = Path(f"/proc/{child}/limits").read_text()
                for what in ("open files", "file size", "core file size"):
                    assert re.search(rf"Max {what} +0 +0 ", may), may
                os.kill(child, signal.SIGSEGV)

    with pytest.raises(RefusedError, match=r"decoding was given up \(it crashes the decoder") as refused:
        asyncio.run(crash())
    assert refused.value.status == 422
    os.kill(parent, signal.SIGKILL)
    assert len(apart(decoders, written(scene(), "PNG"))) == 1


def command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_time_and_memory_of_decoding_are_limited() -> None:
    limits = UploadLimits(decode_s=1, decode_mb=256, clip_fps=60)
    decoders = Decoders(limits, longest_s=60)
    try:
        with pytest.raises(RefusedError, match="takes it more than 1 s"):
            apart(decoders, same_picture_clip(600, 60, (1920, 1080)))
        with pytest.raises(RefusedError, match="too much memory") as refused:
            apart(decoders, written(Image.new("RGB", (8000, 4900)), "PNG", compress_level=1))
        assert refused.value.status == 413
        assert len(apart(decoders, written(Image.fromarray(pixels((300, 200), 1)), "PNG"))) == 1
    finally:
        decoders.close()


def test_sixteen_bits_are_reduced_as_elsewhere(tmp_path: Path) -> None:
    deep = Image.fromarray((np.arange(64 * 64, dtype=np.uint16) * 16).reshape(64, 64))
    path = tmp_path / "deep.png"
    deep.save(path)
    assert_same(list(decode(path.read_bytes(), LIMITS)), from_file(path, LIMITS))
