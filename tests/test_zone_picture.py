"""`risa zones`: the zones lie where the config says, and nobody can be known by the picture."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import yaml
from PIL import Image

from risa_ray.errors import InputError
from risa_ray.vision.detectors import create_detector
from risa_ray.zone_picture import draw_camera

DEMO = Path(__file__).parents[1] / "configs" / "demo.yaml"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """One camera that sees a portrait; a shelf in the lower left quarter, a mask in the upper right corner."""
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "portrait.png")
    zones = [
        {"id": "shelf", "kind": "product", "polygon": [[0, 0.6], [0.4, 0.6], [0.4, 1], [0, 1]]},
        {"id": "street", "kind": "mask", "polygon": [[0.8, 0], [1, 0], [1, 0.2], [0.8, 0.2]]},
    ]
    camera = {"id": "door", "source": str(tmp_path / "portrait.png"), "zones": zones}
    chain = {"data": str(tmp_path / "data"), "stores": [{"id": "shop", "cameras": [camera]}]}
    (tmp_path / "chain.yaml").write_text(yaml.safe_dump(chain), encoding="utf-8")
    return tmp_path / "chain.yaml"


def test_the_still_has_its_zones_and_no_face(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "zones.png"
    drawn = draw_camera(config, None, out, 0)
    assert (drawn.width, drawn.height, drawn.zones, drawn.blurred) == (512, 512, 2, 1)
    plain, picture = skimage.data.astronaut(), np.asarray(Image.open(out).convert("RGB"))
    changed = np.abs(picture.astype(int) - plain).max(2) > 8
    assert changed[330:500, 20:190].mean() > 0.9  # the shelf is tinted
    assert not changed[300:500, 400:500].any()  # where there is no zone, nothing is
    assert picture[30:90, 430:500].max() < 130  # behind the mask's tint it is black
    assert len(create_detector("mtcnn", min_face_size=20).detect([picture])[0]) == 0


@pytest.mark.parametrize(
    ("camera", "out", "at", "told"),
    [
        ("window", "zones.png", 0, "--camera window: .* has door; name one of them"),
        ("door", "zones.gif", 0, "ends in .png or .jpg"),
        ("door", "none/zones.png", 0, "there is no folder"),
        ("door", "zones.png", 9, "camera door: no picture 9 s after its first; give an earlier --at"),
    ],
)
def test_what_cannot_be_drawn(config: Path, tmp_path: Path, camera: str, out: str, at: float, told: str) -> None:
    with pytest.raises(InputError, match=told):
        draw_camera(config, camera, tmp_path / out, at)
    assert not (tmp_path / out).exists()


@pytest.mark.parametrize(
    ("source", "told"), [("noise.mp4", "cannot be read as video"), ("empty", "no picture in this")]
)
def test_a_source_without_a_picture(config: Path, tmp_path: Path, source: str, told: str) -> None:
    (tmp_path / "noise.mp4").write_bytes(os.urandom(5000))
    (tmp_path / "empty").mkdir()
    config.write_text(config.read_text(encoding="utf-8").replace("portrait.png", source), encoding="utf-8")
    with pytest.raises(InputError, match=f"{source}: {told}"):
        draw_camera(config, "door", tmp_path / "zones.png", 0)


def test_a_camera_that_does_not_answer(config: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"rtsp://admin:secret@127.0.0.1:{taken.getsockname()[1]}/1"
        config.write_text(
            config.read_text(encoding="utf-8").replace(str(tmp_path / "portrait.png"), url), encoding="utf-8"
        )
        with pytest.raises(InputError, match=r"camera door: .*connection refused; check its source") as caught:
            draw_camera(config, "door", tmp_path / "zones.png", 0)
    assert "secret" not in str(caught.value)


def test_the_source_is_not_written_over(config: Path, tmp_path: Path) -> None:
    before = (tmp_path / "portrait.png").read_bytes()
    with pytest.raises(InputError, match="is the input itself"):
        draw_camera(config, "door", tmp_path / "portrait.png", 0)
    assert (tmp_path / "portrait.png").read_bytes() == before


def test_of_several_cameras_one_is_to_be_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="demo-front, demo-side; name one"):
        draw_camera(DEMO, None, tmp_path / "zones.png", 0)
    assert draw_camera(DEMO, "demo-side", tmp_path / "zones.png", 2).zones >= 1
