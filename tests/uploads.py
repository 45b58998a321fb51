"""Uploads for the tests, good ones and malformed ones; all of invented people."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from PIL import Image

from risa_ray.sources.demo import render

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM")


def scene(size: tuple[int, int] = (640, 360), seconds: float = 1.0) -> Image.Image:
    """A moment of the demo store, with faces."""
    return Image.fromarray(cv2.resize(render("front", seconds), size, interpolation=cv2.INTER_AREA))


def written(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture as a file of a kind."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def same_picture_clip(frames: int, fps: int, size: tuple[int, int], container: str = "matroska") -> bytes:
    """A clip of one picture again and again; small, and quickly made, however much it is decoded to."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as clip:
        stream: Any = clip.add_stream("mjpeg", rate=fps, width=size[0], height=size[1])
        stream.pix_fmt = "yuvj420p"
        (packet,) = [*stream.encode(av.VideoFrame(*size)), *stream.encode(None)]
        picture, base = bytes(packet), packet.time_base
        for number in range(frames):
            again = av.Packet(picture)
            again.stream, again.time_base, again.is_keyframe = stream, base, True
            again.pts = again.dts = round(number / fps / base)
            clip.mux(again)
    return file.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size, and holds hardly anything."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(bytes(1000))),
            (b"IEND", b""),
        )
    )


def jpeg_of(width: int, height: int) -> bytes:
    """A JPEG that claims a size: its frame header says so, its pixels are those of a small one."""
    body = bytearray(written(Image.new("RGB", (32, 32)), "JPEG"))
    at = body.index(b"\xff\xc0")
    body[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(body)


def malformed(seed: int, count: int, clip: Path) -> Iterator[bytes]:
    """Broken uploads, always the same of a seed: cut off, bits flipped, of the wrong kind, of huge size, spliced."""
    rng = random.Random(seed)
    picture = scene((160, 90))
    whole = [written(picture, kind) for kind in FORMATS]
    whole.append(written(picture, "JPEG", progressive=True, exif=exif(6)))
    whole.append(written(picture.convert("RGBA"), "PNG"))
    whole += [clip.read_bytes(), same_picture_clip(6, 5, (96, 64)), same_picture_clip(6, 5, (96, 64), "mp4")]
    for _ in range(count):
        body = rng.choice(whole)
        yield rng.choice((_cut, _flipped, _flipped, _mistyped, _huge, _spliced, _noise))(rng, body, rng.choice(whole))


def exif(orientation: int) -> bytes:
    found = Image.Exif()
    found[0x0112] = orientation
    return found.tobytes()


def _cut(rng: random.Random, body: bytes, _: bytes) -> bytes:
    return body[: rng.randrange(len(body))]


def _flipped(rng: random.Random, body: bytes, _: bytes) -> bytes:
    changed = bytearray(body)
    # Half of the time in the headers, which decide more.
    reach = len(body) if rng.random() < 0.5 else min(len(body), 400)
    for _ in range(rng.choice((1, 4, 30, 300))):
        changed[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _mistyped(rng: random.Random, body: bytes, other: bytes) -> bytes:
    """The beginning of one kind before the rest of another."""
    at = rng.choice((4, 8, 12, 32))
    return other[:at] + body[at:]


def _huge(rng: random.Random, body: bytes, _: bytes) -> bytes:
    width, height = rng.choice((1, 20_000, 65_500)), rng.choice((20_000, 65_500))
    return rng.choice((png_of, jpeg_of))(width, height)


def _spliced(rng: random.Random, body: bytes, other: bytes) -> bytes:
    at = rng.randrange(len(body))
    return body[:at] + other[rng.randrange(len(other)) :] + body[at:]


def _noise(rng: random.Random, body: bytes, _: bytes) -> bytes:
    return body[: rng.choice((0, 4, 12))] + rng.randbytes(rng.randrange(4000))


def pixels(size: tuple[int, int], seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
