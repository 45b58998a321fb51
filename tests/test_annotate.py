"""Drawing on files: the picture has the drawings, the video its frames and times."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from risa_ray.annotate import annotate_file
from risa_ray.errors import InputError
from risa_ray.sources.demo import render

SETTINGS = {"detector": "haar", "min_face_size": 30}


def test_a_video_keeps_its_frames_and_times(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    frames, faces = annotate_file(clip, out, SETTINGS, "default", None, None)
    assert (frames, faces > 40) == (40, True)
    with av.open(str(out)) as container:
        pictures = list(container.decode(video=0))
    assert len(pictures) == 40
    assert (pictures[0].width, pictures[0].height) == (480, 270)
    assert [round(float(p.time or 0) * 8) for p in pictures] == list(range(40))


def test_a_picture_shows_boxes_and_the_cameras_zones(tmp_path: Path) -> None:
    picture, out = tmp_path / "scene.png", tmp_path / "out.png"
    Image.fromarray(render("front", 6.0)).save(picture)
    config = Path(__file__).parents[1] / "configs" / "demo.yaml"
    frames, faces = annotate_file(picture, out, SETTINGS, "default", config, "demo-front")
    assert frames == 1
    assert faces >= 1
    drawn, plain = np.asarray(Image.open(out).convert("RGB"), int), np.asarray(render("front", 6.0), int)
    assert drawn.shape == plain.shape
    assert (np.abs(drawn - plain).max(2) > 20).mean() > 0.05


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        annotate_file(tmp_path / "none.mp4", tmp_path / "out.mp4", SETTINGS, "default", None, None)


def test_an_unknown_camera(clip: Path, tmp_path: Path) -> None:
    config = Path(__file__).parents[1] / "configs" / "demo.yaml"
    with pytest.raises(InputError, match="demo-front, demo-side"):
        annotate_file(clip, tmp_path / "out.mp4", SETTINGS, "default", config, "nobody")
