"""What becomes of a picture: grey, upright and 48 x 48, or a fault."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from face_files import Picture, encoded, noise, write_folder, write_zip
from PIL import Image

from risa_ray.training.readers import read_faces


def one(tmp_path: Path, data: bytes) -> Picture:
    """What a picture becomes, (48, 48)."""
    (part,) = read_faces(write_folder(tmp_path / "one", {"happy/a.png": data})).parts.values()
    return part.images[0]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_grey_pictures_of_the_right_size_stay_byte_for_byte(tmp_path: Path, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(one(tmp_path, encoded(noise(1), kind, **options)), noise(1))
    np.testing.assert_array_equal(one(tmp_path, encoded(np.stack([noise(1)] * 3, 2), kind, **options)), noise(1))


def test_larger_pictures_are_reduced_by_area_around_their_centre(tmp_path: Path) -> None:
    picture = noise(1, 96, 140)
    central = picture[:, 22:118].reshape(48, 2, 48, 2).mean((1, 3))
    assert np.abs(one(tmp_path, encoded(picture)) - central).max() <= 0.5


def test_smaller_pictures_are_enlarged_smoothly(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(24, dtype=np.uint8) * 10, (24, 1))
    enlarged = one(tmp_path, encoded(ramp)).astype(int)
    assert enlarged.shape == (48, 48)
    assert set(np.diff(enlarged[0])) <= set(range(6))


def test_colours_become_grey_by_their_brightness(tmp_path: Path) -> None:
    green = np.zeros((48, 48, 3), np.uint8)
    green[..., 1] = 200
    assert (one(tmp_path, encoded(green)) == round(0.587 * 200)).all()


def test_pictures_lie_upright_as_their_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    np.testing.assert_array_equal(one(tmp_path, encoded(noise(1), exif=exif)), np.rot90(noise(1), -1))


def test_sixteen_bits_keep_their_brightness(tmp_path: Path) -> None:
    deep = noise(1).astype(np.uint16) << 8
    np.testing.assert_array_equal(one(tmp_path, encoded(deep)), noise(1))


def test_pictures_beyond_pillows_limit_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"happy/huge.png": encoded(noise(1, 100, 150)), "happy/small.png": encoded(noise(1, 90, 90))}
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)  # 1.5 times: Pillow alone would only warn
    assert read_faces(write_folder(tmp_path, files)).faults == {"undecodable picture": ("happy/huge.png",)}


def test_truncated_and_encrypted_pictures_are_faults(tmp_path: Path) -> None:
    whole = encoded(noise(1))
    path = write_zip(tmp_path / "a.zip", {"happy/whole.png": whole, "happy/half.png": whole[: len(whole) // 2]})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("happy/secret.png", whole)
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1  # the flag of encryption, in the directory
    path.write_bytes(data)
    face_set = read_faces(path)
    assert face_set.parts["Training"].names == ("happy/whole.png",)
    assert face_set.faults == {"undecodable picture": ("happy/half.png", "happy/secret.png")}
