from __future__ import annotations

import io
import os
import struct
import tempfile
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PilImage

from risa_ray.config import CameraConfig
from risa_ray.errors import BrokenSourceError, SourceError
from risa_ray.sources import Missed, Picture, Source, create_source
from risa_ray.sources.images import Pictures

MakeSource = Callable[..., Source]


def _save(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> None:
    PilImage.new("RGB", size, colour).save(path)


def _read(source: Source, max_width: int | None = None) -> list[Picture]:
    return [p for p in source.pictures(lambda pts: True, max_width) if isinstance(p, Picture)]


def test_a_folder_is_read_in_the_order_of_names(
    tmp_path: Path, make_source: MakeSource, caplog: pytest.LogCaptureFixture
) -> None:
    _save(tmp_path / "b.png", (0, 200, 0))
    _save(tmp_path / "a.png", (200, 0, 0), (80, 60))
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "c.png").write_bytes(b"broken")
    _save(tmp_path / "d.bmp", (0, 0, 200))
    source = make_source(tmp_path)
    source.check()
    assert isinstance(source, Pictures)
    places = list(source.pictures(lambda pts: True, 40))
    assert [p.pts for p in places] == [0.0, 1.0, 2.0, 3.0]
    assert isinstance(places[2], Missed)
    assert [(p.pts, tuple(p.image[0, 0]), p.scale) for p in places if isinstance(p, Picture)] == [
        (0.0, (200, 0, 0), 2.0),
        (1.0, (0, 200, 0), 1.0),
        (3.0, (0, 0, 200), 1.0),
    ]
    assert source.unreadable == ["c.png"]
    assert "c.png: cannot be read" in caplog.text
    assert source.decode_errors == 1
    assert source.size() == (80, 60)
    assert not source.live


def test_one_picture_upright_by_its_exif(tmp_path: Path, make_source: MakeSource) -> None:
    picture = PilImage.fromarray(np.repeat(np.arange(0, 240, 8, np.uint8)[:, None, None], 3, 2).repeat(20, 1))
    exif = PilImage.Exif()
    exif[0x0112] = 6  # turn clockwise by a quarter to see it upright
    picture.save(tmp_path / "a.png", exif=exif)
    source = make_source(tmp_path / "a.png")
    (shown,) = _read(source)
    np.testing.assert_array_equal(shown.image, np.rot90(np.asarray(picture), -1))
    assert source.size() == (30, 20)
    assert not shown.image.flags.writeable


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "I;16", "1"])
def test_every_kind_of_picture_becomes_rgb(mode: str, tmp_path: Path, make_source: MakeSource) -> None:
    grey = PilImage.new("L", (8, 6), 255)
    picture = PilImage.new("I;16", (8, 6), 65535) if mode == "I;16" else grey.convert("RGB").convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    picture.save(path)
    (shown,) = _read(make_source(path))
    assert shown.image.shape == (6, 8, 3)
    assert shown.image.min() == 255


def test_nothing_to_read_is_refused(tmp_path: Path, make_source: MakeSource) -> None:
    with pytest.raises(SourceError, match="no picture in this folder"):
        make_source(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff broken")
    source = make_source(tmp_path / "a.jpg")
    with pytest.raises(SourceError, match=r"a\.jpg: no picture can be decoded"):
        source.check()
    with pytest.raises(BrokenSourceError):
        list(source.pictures(lambda pts: True, None))


def test_a_half_written_picture_is_unreadable(tmp_path: Path, make_source: MakeSource) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    PilImage.fromarray(noise).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(content[: len(content) // 2])
    source = make_source(tmp_path)
    assert len(_read(source)) == 1
    assert source.decode_errors == 1


def test_a_picture_nobody_wants_has_no_place_but_is_named(tmp_path: Path, make_source: MakeSource) -> None:
    _save(tmp_path / "a.png", (1, 2, 3))
    (tmp_path / "b.png").write_bytes(b"broken")
    source = make_source(tmp_path)
    assert [p.pts for p in source.pictures(lambda pts: pts < 1, None)] == [0.0]
    assert isinstance(source, Pictures)
    assert source.unreadable == ["b.png"]


@given(st.sampled_from(["png", "tiff", "bmp", "webp", "jpeg", "ppm"]), st.data())
def test_no_damage_raises(suffix: str, data: st.DataObject) -> None:
    """Whatever the bytes are: a picture, or None."""
    buffer = io.BytesIO()
    exif = PilImage.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2026:01:02 13:00:00"
    PilImage.new("RGB", (12, 9), (10, 200, 30)).save(
        buffer, suffix, **({} if suffix in ("bmp", "ppm") else {"exif": exif})
    )
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on broken files
        path = Path(folder, f"a.{suffix}")
        path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
        source = create_source(CameraConfig(id="cam", source=str(path)), ZoneInfo("UTC"))
        assert isinstance(source, Pictures)
        source.started_at()
        with suppress(BrokenSourceError):
            assert len(list(source.pictures(lambda pts: True, None))) == 1


@pytest.mark.parametrize(
    "error",
    [
        struct.error("unpack requires 4 bytes"),
        zlib.error("bad data"),
        TypeError("not a number"),
        PilImage.DecompressionBombError("too large"),
    ],
)
def test_whatever_the_picture_library_throws_names_the_picture(
    error: Exception, tmp_path: Path, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These come up only with some versions of the library, so they are thrown here."""
    _save(tmp_path / "a.png", (1, 2, 3))
    os.utime(tmp_path / "a.png", (1e9, 1e9))

    def throw(*_: object) -> None:
        raise error

    monkeypatch.setattr("risa_ray.pictures.ImageOps.exif_transpose", throw)
    monkeypatch.setattr(PilImage.Image, "getexif", throw)
    source = make_source(tmp_path / "a.png")
    assert source.started_at() == datetime.fromtimestamp(1e9, UTC)
    with pytest.raises(SourceError, match="no picture can be decoded"):
        source.check()


def test_a_picture_too_large_to_be_one_is_unreadable(tmp_path: Path, make_source: MakeSource) -> None:
    (tmp_path / "bomb.ppm").write_bytes(b"P6 60000 60000 255 " + bytes(100))
    source = make_source(tmp_path / "bomb.ppm")
    with pytest.raises(SourceError, match="no picture can be decoded"):
        source.check()


def test_capture_time_and_fingerprint(tmp_path: Path, make_source: MakeSource) -> None:
    folder = tmp_path / "20260714T091500Z"
    folder.mkdir()
    _save(folder / "a.png", (1, 2, 3))
    source = make_source(folder)
    assert source.started_at() == datetime(2026, 7, 14, 9, 15, tzinfo=UTC)
    before = source.fingerprint()
    _save(folder / "b.png", (1, 2, 3))
    assert make_source(folder).fingerprint() != before
    _save(tmp_path / "plain.png", (1, 2, 3))
    os.utime(tmp_path / "plain.png", (1e9, 1e9))
    assert make_source(tmp_path / "plain.png").started_at() == datetime.fromtimestamp(1e9, UTC)
    exif = PilImage.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2026:01:02 13:00:00"
    PilImage.new("RGB", (8, 8)).save(tmp_path / "photo.jpg", exif=exif)
    assert make_source(tmp_path / "photo.jpg").started_at() == datetime(2026, 1, 2, 12, tzinfo=UTC)
    exif.get_ifd(0x8769)[0x9003] = "1970:01:01 00:00:00"
    PilImage.new("RGB", (8, 8)).save(tmp_path / "unset.jpg", exif=exif)
    os.utime(tmp_path / "unset.jpg", (1e9, 1e9))
    assert make_source(tmp_path / "unset.jpg").started_at() == datetime.fromtimestamp(1e9, UTC)


def test_real_pictures(shared: Path, make_source: MakeSource) -> None:
    source = make_source(shared / "images")
    source.check()
    assert all(p.image.shape[2] == 3 for p in _read(source, 640))
    assert source.decode_errors == 0
