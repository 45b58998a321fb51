"""Drawing on files: the picture has the drawings, the video its frames and times."""

from __future__ import annotations

import io
from fractions import Fraction
from itertools import pairwise
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


def test_a_picture_shows_boxes_and_the_cameras_zones(tmp_path: Path, tiny_model: Path) -> None:
    picture, out = tmp_path / "scene.png", tmp_path / "out.png"
    Image.fromarray(render("front", 6.0)).save(picture)
    config = Path(__file__).parents[1] / "configs" / "demo.yaml"
    frames, faces = annotate_file(picture, out, SETTINGS, str(tiny_model), config, "demo-front")
    assert frames == 1
    assert faces >= 1
    drawn, plain = np.asarray(Image.open(out).convert("RGB"), int), np.asarray(render("front", 6.0), int)
    assert drawn.shape == plain.shape
    assert (np.abs(drawn - plain).max(2) > 20).mean() > 0.05


def test_a_file_that_is_not_there(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        annotate_file(tmp_path / "none.mp4", tmp_path / "out.mp4", SETTINGS, str(tiny_model), None, None)


def test_an_undecodable_frame_is_passed_over(clip: Path, tmp_path: Path, tiny_model: Path) -> None:
    """H.264 with one packet of zeros: the frames around it are drawn, on their own times."""
    content = bytearray(clip.read_bytes())
    with av.open(str(clip)) as container:
        packets = [p for p in container.demux(video=0) if p.pos is not None and p.size]
    hit = packets[20]
    assert hit.pos is not None
    content[hit.pos : hit.pos + hit.size] = bytes(hit.size)
    (tmp_path / "hole.mp4").write_bytes(content)
    frames, _ = annotate_file(tmp_path / "hole.mp4", tmp_path / "out.mp4", SETTINGS, str(tiny_model), None, None)
    assert 0 < frames < 40
    with av.open(str(tmp_path / "out.mp4")) as container:
        times = [float(p.time or 0) for p in container.decode(video=0)]
    assert len(times) == frames
    assert times[-1] == pytest.approx(39 / 8, abs=1e-3)


def test_frames_of_one_time_are_written_all(tmp_path: Path, tiny_model: Path) -> None:
    """A camera whose time stamps jitter back: the clock holds them, so that several frames have one time."""
    source, out = tmp_path / "jitter.mkv", tmp_path / "out.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuvj420p"
        for index, millis in enumerate([0, 100, 200, 200, 200, 300]):
            for packet in stream.encode(
                av.VideoFrame.from_ndarray(np.full((96, 160, 3), 30 * index, np.uint8), "rgb24")
            ):
                packet.time_base, packet.pts, packet.dts = Fraction(1, 1000), millis, millis
                container.mux(packet)
    frames, _ = annotate_file(source, out, SETTINGS, str(tiny_model), None, None)
    with av.open(str(out)) as container:
        times = [float(p.time or 0) for p in container.decode(video=0)]
    assert len(times) == frames == 6
    assert all(a < b for a, b in pairwise(times))


def _refusal(tiny_model: Path, file: Path, out: Path, camera: str | None = None) -> str:
    with pytest.raises(InputError) as refused:
        annotate_file(file, out, SETTINGS, str(tiny_model), None, camera)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_folder_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    for index, size in enumerate([(64, 48), (80, 60)]):
        Image.new("RGB", size).save(tmp_path / f"{index}.png")
    assert "is a folder; annotate takes one video or one picture" in _refusal(
        tiny_model, tmp_path, tmp_path / "out.mp4"
    )


def test_a_video_that_changes_its_size_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    source = tmp_path / "two.mjpeg"
    stills = []
    for size in [(160, 96)] * 3 + [(128, 96)] * 3:
        buffer = io.BytesIO()
        Image.new("RGB", size, (90, 90, 90)).save(buffer, "jpeg")
        stills.append(buffer.getvalue())
    source.write_bytes(b"".join(stills))
    assert "the pictures change from 160x96 to 128x96" in _refusal(tiny_model, source, tmp_path / "out.mp4")


def test_an_output_that_cannot_be_written_is_refused(clip: Path, tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    assert "is a folder" in _refusal(tiny_model, clip, tmp_path / "folder.mp4")
    assert "no folder" in _refusal(tiny_model, clip, tmp_path / "none" / "out.mp4")
    full = Path("/dev/full")
    if full.exists():  # a disk without room
        picture = tmp_path / "scene.png"
        Image.fromarray(render("front", 6.0)).save(picture)
        (tmp_path / "full.png").symlink_to(full)
        assert "cannot be written" in _refusal(tiny_model, picture, tmp_path / "full.png")
        (tmp_path / "full.mp4").symlink_to(full)
        assert "cannot be written" in _refusal(tiny_model, clip, tmp_path / "full.mp4")


def test_a_camera_without_a_config_is_refused(clip: Path, tmp_path: Path, tiny_model: Path) -> None:
    assert "give --config too" in _refusal(tiny_model, clip, tmp_path / "out.mp4", "demo-front")


def test_an_unknown_camera(clip: Path, tmp_path: Path, tiny_model: Path) -> None:
    config = Path(__file__).parents[1] / "configs" / "demo.yaml"
    with pytest.raises(InputError, match="demo-front, demo-side"):
        annotate_file(clip, tmp_path / "out.mp4", SETTINGS, str(tiny_model), config, "nobody")
