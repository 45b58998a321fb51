from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from risa_ray.errors import BrokenSourceError, SourceError
from risa_ray.sources import Picture, Source

MakeSource = Callable[..., Source]


def _read(source: Source) -> tuple[list[Picture], BrokenSourceError | None]:
    pictures: list[Picture] = []
    try:
        pictures.extend(p for p in source.pictures(lambda pts: True, None) if isinstance(p, Picture))
    except BrokenSourceError as error:
        return pictures, error
    return pictures, None


def test_rtsp_is_read_over_tcp_with_the_cameras_clock(rtsp_camera: str, make_source: MakeSource) -> None:
    source = make_source(f"rtsp://{rtsp_camera}/stream")
    source.check()
    pictures, error = _read(source)
    assert len(pictures) >= 28  # what the decoder still held when the camera went is lost
    assert error is not None
    assert [p.pts for p in pictures[:20]] == pytest.approx([i / 10 for i in range(20)], abs=1e-3)
    assert pictures[0].image.shape == (180, 320, 3)
    assert source.live


def test_mjpeg_has_the_arrival_clock(http_camera: str, make_source: MakeSource) -> None:
    pictures, error = _read(make_source(f"http://{http_camera}/live"))
    assert len(pictures) >= 10
    assert pictures[0].pts == 0
    assert [p.pts for p in pictures] == sorted(p.pts for p in pictures)
    assert pictures[-1].pts <= pictures[-1].arrived_at - pictures[0].arrived_at + 0.1
    assert "closed the connection" in str(error)


def test_a_video_file_over_http_is_complete_at_its_end(http_camera: str, make_source: MakeSource) -> None:
    pictures, error = _read(make_source(f"http://{http_camera}/clip.mp4"))
    assert error is None
    assert len(pictures) == 40


def test_a_video_file_over_http_that_stops_early_is_broken(http_camera: str, make_source: MakeSource) -> None:
    pictures, error = _read(make_source(f"http://{http_camera}/cut.mp4"))
    assert 5 <= len(pictures) < 35
    assert error is not None


def test_a_live_stream_that_ends_is_broken(http_camera: str, make_source: MakeSource) -> None:
    pictures, error = _read(make_source(f"http://u:geheim@{http_camera}/live.ts"))
    assert len(pictures) >= 28
    assert "closed the connection" in str(error)
    assert "geheim" not in str(error)


def test_a_stream_that_ends_after_close_is_not_broken(http_camera: str, make_source: MakeSource) -> None:
    source = make_source(f"http://{http_camera}/live")
    pictures = source.pictures(lambda pts: True, None)
    next(pictures)
    source.close()
    assert list(pictures) == []


def test_a_refusal_is_explained_without_the_password(http_camera: str, make_source: MakeSource) -> None:
    source = make_source(f"http://boss:geheim@{http_camera}/private")
    pictures, error = _read(source)
    assert not pictures
    assert "check user and password" in str(error)
    assert "geheim" not in str(error) + source.fingerprint()
    assert "boss" not in str(error) + source.fingerprint()


def test_a_camera_that_is_down_passes_the_check_and_breaks_on_reading(make_source: MakeSource) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        source = make_source(f"rtsp://u:geheim@127.0.0.1:{port}/x")
        source.check()
        with pytest.raises(BrokenSourceError, match="refused") as broken:
            list(source.pictures(lambda pts: True, None))
    assert "geheim" not in str(broken.value)


def test_a_closed_source_gives_nothing_more(http_camera: str, make_source: MakeSource) -> None:
    source = make_source(f"http://{http_camera}/clip.mp4")
    pictures = source.pictures(lambda pts: True, None)
    next(pictures)
    source.close()
    source.close()
    assert list(pictures) == []


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("ftp://u:geheim@host/x", "cannot read ftp://"),
        ("rtsp://u:geheim@/x", "names no host"),
        ("rtsp://u:geheim@host:99999/x", "not a valid address"),
    ],
)
def test_wrong_addresses_are_refused_without_the_password(address: str, says: str, make_source: MakeSource) -> None:
    with pytest.raises(SourceError, match=says) as refused:
        make_source(address)
    assert "geheim" not in str(refused.value)
    assert "\n" not in str(refused.value)
