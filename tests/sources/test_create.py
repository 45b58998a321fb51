from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image as PilImage

from risa_ray.config import CameraConfig
from risa_ray.errors import BrokenSourceError, SourceError
from risa_ray.sources import Picture, Source, is_live, policy_of

MakeSource = Callable[..., Source]


@pytest.mark.parametrize(
    ("source", "live"),
    [
        ("/recordings/a.mp4", False),
        ("a.gif", False),
        ("rtsp://host/x", True),
        ("https://host/x.mp4", True),
        ("usb:0", True),
        ("demo:side?seed=2", True),
    ],
)
def test_cameras_are_live_and_recordings_are_not(source: str, live: bool) -> None:
    assert is_live(source) is live


def test_the_policy_follows_the_source_unless_configured(clip: Path, make_source: MakeSource) -> None:
    def policy(source: str, **settings: object) -> str:
        camera = CameraConfig.model_validate({"id": "c", "source": source, **settings})
        return policy_of(camera, make_source(source, **settings))

    assert policy(str(clip)) == "every_frame"
    assert policy(str(clip), realtime=True) == "freshest"
    assert policy(str(clip), policy="freshest") == "freshest"
    assert policy("usb:0") == "freshest"
    assert policy("demo:front", policy="every_frame") == "every_frame"


@pytest.fixture(params=["film.mp4", "still.png", "folder"])
def recording(request: pytest.FixtureRequest, clip: Path, tmp_path: Path) -> Path:
    """A video, a picture, or a folder of pictures."""
    path = tmp_path / str(request.param)
    if path.suffix == ".mp4":
        shutil.copy(clip, path)
        return path
    picture = path / "a.png" if path.name == "folder" else path
    picture.parent.mkdir(exist_ok=True)
    PilImage.new("RGB", (16, 12)).save(picture)
    return path


def test_what_a_recording_told_at_its_check_stays(recording: Path, make_source: MakeSource) -> None:
    source = make_source(recording)
    source.check()
    told = source.fingerprint(), source.started_at(), source.size()
    for file in [recording] if recording.is_file() else recording.iterdir():
        file.write_bytes(b"another")
    assert (source.fingerprint(), source.started_at(), source.size()) == told
    shutil.rmtree(recording) if recording.is_dir() else recording.unlink()
    assert (source.fingerprint(), source.started_at(), source.size()) == told


def test_a_recording_that_is_gone_is_named(recording: Path, make_source: MakeSource) -> None:
    source = make_source(recording)
    shutil.rmtree(recording) if recording.is_dir() else recording.unlink()
    for ask in (source.fingerprint, source.started_at, source.size, source.check):
        with pytest.raises(SourceError, match=recording.name) as refused:
            ask()
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("suffix", [".mp4", ".png", ""])
def test_a_name_that_no_file_can_have_is_refused(suffix: str, tmp_path: Path, make_source: MakeSource) -> None:
    with pytest.raises(SourceError, match="file name too long; check 'source' of camera cam"):
        make_source(tmp_path / f"{'x' * 300}{suffix}")


@pytest.mark.parametrize("source", ["usb:", "usb:one", "usb:-1", "usb:video0"])
def test_wrong_usb_cameras_are_refused(source: str, make_source: MakeSource) -> None:
    with pytest.raises(SourceError, match=r"write usb:0 or usb:/dev/video0"):
        make_source(source)


def test_a_usb_camera_that_is_not_plugged_in(make_source: MakeSource) -> None:
    source = make_source("usb:/dev/video987")
    source.check()
    assert source.size() is None
    with pytest.raises(BrokenSourceError, match="plugged in"):
        list(source.pictures(lambda pts: True, None))


def test_usb_pictures_are_rgb_and_end_when_the_device_does(clip: Path, make_source: MakeSource) -> None:
    # OpenCV captures from a file as it does from a device
    source = make_source(f"usb:{clip}")
    pictures: list[Picture] = []
    with pytest.raises(BrokenSourceError, match="unplugged"):
        pictures.extend(source.pictures(lambda pts: True, 160))
    assert len(pictures) == 40
    assert pictures[0].image.shape == (90, 160, 3)
    red, blue = pictures[0].image[..., 0].mean(), pictures[0].image[..., 2].mean()
    assert red > blue + 10  # the front view is lit warmly


def test_every_usb_picture_is_asked_about_and_only_wanted_ones_come(clip: Path, make_source: MakeSource) -> None:
    asked: list[float] = []

    def wants(pts: float) -> bool:
        asked.append(pts)
        return len(asked) % 4 == 1

    pictures: list[Picture] = []
    with pytest.raises(BrokenSourceError):
        pictures.extend(make_source(f"usb:{clip}").pictures(wants, None))
    assert [p.pts for p in pictures] == asked[::4]
    assert (asked[0], len(asked)) == (0, 40)
