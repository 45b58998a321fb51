"""Network cameras against real servers: GStreamer's for RTSP, and one for MJPEG, with their faults."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from risa_ray.benchmarks.servers import Server
from risa_ray.errors import AccessRefusedError, BrokenSourceError
from risa_ray.sources import Missed, Picture, Sampler, Source

MakeSource = Callable[..., Source]
PASSWORD = "p@ss:w/r?d#%"


def take(source: Source, count: int) -> list[Picture]:
    """The first pictures of a camera; then the connection is closed."""
    pictures = source.pictures(lambda pts: True, None)
    try:
        return [p for p in islice(pictures, count) if isinstance(p, Picture)]
    finally:
        pictures.close()  # type: ignore[attr-defined]


def broken(source: Source) -> BrokenSourceError:
    """How a camera breaks off."""
    with pytest.raises(BrokenSourceError) as error:
        list(source.pictures(lambda pts: True, None))
    return error.value


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_rtsp_has_the_cameras_clock_also_over_the_seam_of_its_loop(
    transport: str, rtsp_cameras: dict[str, str], make_source: MakeSource
) -> None:
    pictures = take(make_source(rtsp_cameras["clip"], transport=transport), 18)
    assert pictures[0].image.shape == (180, 320, 3)
    assert [p.pts for p in pictures] == pytest.approx([i / 10 for i in range(18)], abs=2e-3)


def test_rtsp_shows_its_first_picture_at_once(rtsp_cameras: dict[str, str], make_source: MakeSource) -> None:
    """FFmpeg's own settings read 20 pictures first, to find their rate: two seconds of this camera."""
    began = time.monotonic()
    assert len(take(make_source(rtsp_cameras["clip"]), 1)) == 1
    assert time.monotonic() - began < 1.5


def age_s(picture: Picture | Missed) -> float:
    """Seconds from drawing to arrival: the pattern tells when it was drawn, by the strip on its top."""
    assert isinstance(picture, Picture)
    row, bit = picture.image[4:12, :, 1].mean(axis=0), 320 / 48
    drawn_ms = sum(int(row[int((i + 0.5) * bit)] > 128) << (47 - i) for i in range(48))
    return picture.arrived_at - drawn_ms / 1000


def test_pictures_are_fresh(rtsp_cameras: dict[str, str], make_source: MakeSource) -> None:
    source = make_source(rtsp_cameras["test"])
    ages = [age_s(picture) for picture in islice(source.pictures(lambda pts: True, None), 20)]
    assert sorted(ages)[10] < 0.4


def test_delay_does_not_grow_where_decoding_is_slower_than_the_camera(
    rtsp_cameras: dict[str, str], make_source: MakeSource
) -> None:
    """At a third of the camera's rate, delay would be 10 s at the end of 15; what is passed over is told."""
    source = make_source(rtsp_cameras["test"])
    began, ages, causes = time.monotonic(), [], Counter[str]()
    for picture in source.pictures(lambda pts: True, None):
        if isinstance(picture, Missed):
            causes[picture.cause] += 1
            continue
        ages.append(age_s(picture))
        time.sleep(0.15)
        if time.monotonic() - began > 15:
            break
    assert max(ages) < 6
    assert causes["overrun"] > 50
    assert not causes["decode_error"]
    numbers = len(ages) + causes.total()
    assert numbers > 15 * 20 * 0.5, "every picture has its place"


def test_every_frame_of_a_slow_reader_is_read(rtsp_cameras: dict[str, str], make_source: MakeSource) -> None:
    source = make_source(rtsp_cameras["test"], policy="every_frame")
    for picture in islice(source.pictures(lambda pts: True, None), 40):
        assert isinstance(picture, Picture)
        time.sleep(0.08)


def test_many_readers_of_one_camera(rtsp_cameras: dict[str, str], make_source: MakeSource) -> None:
    readers = [make_source(rtsp_cameras["test"]).pictures(lambda pts: True, None) for _ in range(3)]
    for _ in range(5):
        assert all(isinstance(next(reader), Picture) for reader in readers)


def test_a_camera_with_h265_and_a_password(
    serve_rtsp: Callable[..., Server],
    short_clip: Path,
    make_source: MakeSource,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    camera = "--codec", "h265", "--camera", f"clip={short_clip}", "--user", "boss", "--password", PASSWORD
    with serve_rtsp(*camera) as server:
        address = server.urls[0]
        monkeypatch.setenv("RIGHT", f"boss:{PASSWORD}")
        monkeypatch.setenv("WRONG", "boss:geheim")
        capfd.readouterr()
        assert len(take(make_source(address, credentials_env="RIGHT"), 8)) == 8
        no_such = broken(make_source(address + "x", credentials_env="RIGHT"))
        wrong = broken(make_source(address, credentials_env="WRONG"))
        assert "no such stream" in str(no_such)
        assert not isinstance(no_such, AccessRefusedError)
        assert isinstance(wrong, AccessRefusedError)
        assert isinstance(broken(make_source(address)), AccessRefusedError)
        assert "geheim" not in str(wrong)
        assert capfd.readouterr() == ("", "")  # FFmpeg would print the address


def test_a_camera_that_hangs_dies_and_comes_back(serve_rtsp: Callable[..., Server], make_source: MakeSource) -> None:
    with serve_rtsp("--camera", "door=test:320x180@20", "--gop", "10") as server:
        settings = {"source": server.urls[0], "stall_timeout_s": 0.5}
        source = make_source(**settings)
        pictures = source.pictures(lambda pts: True, None)
        next(pictures)
        server.pause()
        began = time.monotonic()
        with pytest.raises(BrokenSourceError, match="no data for 1 s"):
            list(pictures)
        assert time.monotonic() - began < 3
        server.resume()

        pictures = source.pictures(lambda pts: True, None)
        assert isinstance(next(pictures), Picture)
        server.kill()
        with pytest.raises(BrokenSourceError):
            list(pictures)
        server.start()
        began = time.monotonic()
        assert len(take(source, 2)) == 2
        assert time.monotonic() - began < 3


def test_a_camera_whose_stream_ends_is_broken(
    serve_rtsp: Callable[..., Server], short_clip: Path, make_source: MakeSource
) -> None:
    with serve_rtsp("--camera", f"clip={short_clip}", "--once") as server:
        source = make_source(server.urls[0], stall_timeout_s=1)
        pictures = []
        with pytest.raises(BrokenSourceError):
            pictures.extend(p for p in source.pictures(lambda pts: True, None))
        assert len(pictures) >= 10


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("--half-frame-after", "no data for 0.6 s"),
        ("--silent-after", "no data for 0.6 s"),
        ("--die-after", "closed the connection"),
    ],
)
def test_mjpeg_that_stops(fault: str, says: str, serve_mjpeg: Callable[..., str], make_source: MakeSource) -> None:
    source = make_source(serve_mjpeg("--camera", "test:320x180", fault, "12"), stall_timeout_s=0.3)
    items: list[Picture | Missed] = []
    with pytest.raises(BrokenSourceError, match=says):
        items.extend(source.pictures(lambda pts: True, None))
    pictures = [item for item in items if isinstance(item, Picture)]
    assert 10 <= len(pictures) <= 12  # half a picture is none


def test_mjpeg_with_a_password(
    serve_mjpeg: Callable[..., str], make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = serve_mjpeg("--camera", "test:320x180", "--user", "boss", "--password", PASSWORD)
    monkeypatch.setenv("RIGHT", f"boss:{PASSWORD}")
    assert len(take(make_source(address, credentials_env="RIGHT"), 3)) == 3
    assert isinstance(broken(make_source(address)), AccessRefusedError)


def test_corrupt_pictures_are_counted_and_the_rest_comes_on(
    short_clip: Path, serve_mjpeg: Callable[..., str], make_source: MakeSource, capfd: pytest.CaptureFixture[str]
) -> None:
    source = make_source(serve_mjpeg("--camera", str(short_clip), "--garbage-every", "4", "--die-after", "24"))
    items = []
    with pytest.raises(BrokenSourceError):
        items.extend(source.pictures(lambda pts: True, None))
    lost = sum(isinstance(item, Missed) for item in items)
    assert source.decode_errors == lost >= 4
    assert len(items) - lost >= 16
    assert [item.pts for item in items] == sorted(item.pts for item in items)
    assert capfd.readouterr().err == ""


def test_fewer_pictures_per_second_are_sampled_evenly(serve_mjpeg: Callable[..., str], make_source: MakeSource) -> None:
    source = make_source(serve_mjpeg("--camera", "test:320x180"))
    sampled = [p.pts for p in islice(source.pictures(Sampler(5), None), 6)]
    assert sampled == pytest.approx([i / 5 for i in range(6)], abs=0.15)
