from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as PilImage

from risa_ray.errors import BrokenSourceError, SourceError
from risa_ray.sources import Missed, Picture, Sampler, Source
from risa_ray.sources.decoding import Decoder
from risa_ray.sources.demo import render, write_clip

MakeSource = Callable[..., Source]
Remux = Callable[..., None]


def _read(source: Source, into: list[Picture], max_width: int | None = None) -> list[Picture]:
    into.extend(p for p in source.pictures(lambda pts: True, max_width) if isinstance(p, Picture))
    return into


def test_every_picture_in_order_from_zero(clip: Path, make_source: MakeSource) -> None:
    source = make_source(clip)
    source.check()
    pictures = _read(source, [])
    assert [p.pts for p in pictures] == pytest.approx([i / 10 for i in range(40)])
    assert (source.size(), source.live, source.decode_errors) == ((320, 180), False, 0)
    # colours and places are those of the scene: RGB, not BGR, not turned
    scene = np.asarray(PilImage.fromarray(render("front", 3.0)).resize((320, 180), PilImage.Resampling.BOX))
    assert np.abs(pictures[30].image.astype(int) - scene).mean() < 8


def test_what_is_not_wanted_is_drained_but_not_converted(clip: Path, make_source: MakeSource) -> None:
    asked: list[float] = []

    def wants(pts: float) -> bool:
        asked.append(pts)
        return pts > 3.75

    assert [p.pts for p in make_source(clip).pictures(wants, None)] == pytest.approx([3.8, 3.9])
    assert len(asked) == 40


@pytest.mark.parametrize(("rotation", "quarters"), [(90, 1), (-90, -1), (180, 2)])
def test_rotation_is_applied(
    rotation: int, quarters: int, clip: Path, tmp_path: Path, make_source: MakeSource, remux: Remux
) -> None:
    remux(clip, tmp_path / "turned.mp4", rotation=rotation)
    source = make_source(tmp_path / "turned.mp4")
    straight = _read(make_source(clip), [])[5].image
    turned = _read(source, [])[5].image
    np.testing.assert_array_equal(turned, np.rot90(straight, quarters))
    assert source.size() == (turned.shape[1], turned.shape[0])
    small = _read(source, [], max_width=90)[5]
    assert small.image.shape[1] == 90
    assert small.scale == turned.shape[1] / 90


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_cut_off_file_breaks_after_what_came_before(
    suffix: str, clip: Path, tmp_path: Path, make_source: MakeSource
) -> None:
    path = tmp_path / f"cut{suffix}"
    if suffix == ".mp4":
        path.write_bytes(clip.read_bytes())
    else:
        write_clip(path, "front", 4, 10, (320, 180))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = make_source(path)
    source.check()
    pictures: list[Picture] = []
    with pytest.raises(BrokenSourceError, match=r"cut.*breaks off at \d+\.\d s") as broken:
        _read(source, pictures)
    assert 5 <= len(pictures) < 35
    assert "\n" not in str(broken.value)


def test_damage_that_never_heals_breaks_the_file(clip: Path, tmp_path: Path, make_source: MakeSource) -> None:
    content = clip.read_bytes()
    middle = len(content) // 2
    (tmp_path / "bad.mp4").write_bytes(content[:middle] + bytes(len(content) - middle))
    source = make_source(tmp_path / "bad.mp4")
    places: list[tuple[float, bool]] = []
    with pytest.raises(BrokenSourceError, match="cannot be decoded"):
        places.extend((p.pts, isinstance(p, Picture)) for p in source.pictures(lambda pts: True, None))
    assert source.decode_errors > 5
    assert [pts for pts, _ in places] == sorted(pts for pts, _ in places)
    assert len(places) == 40, "every picture is there or has its place"
    assert not any(intact for _, intact in places[-5:])


def test_a_stream_that_never_ends_does_not_keep_its_lost_pictures(clip: Path, tmp_path: Path) -> None:
    content = clip.read_bytes()
    middle = len(content) // 2
    (tmp_path / "bad.mp4").write_bytes(content[:middle] + bytes(len(content) - middle))
    with av.open(str(tmp_path / "bad.mp4")) as container:
        decoder = Decoder(container, most_lost=3)
        shots = decoder.shots(threading.Event())
        assert next(stamp for stamp, shot in shots if shot.frame() is None) is not None
        assert decoder.errors == 4


def test_damage_with_pictures_out_of_order_keeps_every_place(
    clip: Path, tmp_path: Path, make_source: MakeSource
) -> None:
    """H.264 sends pictures in another order than it shows them."""
    content = bytearray(clip.read_bytes())
    with av.open(str(clip)) as reader:
        packets = [p for p in reader.demux(video=0) if p.pos is not None and p.size]
    assert [p.pts for p in packets] != sorted(p.pts for p in packets)
    hit = packets[18]
    content[hit.pos : hit.pos + hit.size] = bytes(hit.size)
    (tmp_path / "hole.mp4").write_bytes(content)
    source = make_source(tmp_path / "hole.mp4")
    places = list(source.pictures(lambda pts: True, None))
    assert source.decode_errors >= 1
    assert [p.pts for p in places] == pytest.approx([i / 10 for i in range(40)])
    assert any(isinstance(p, Missed) for p in places)
    assert isinstance(places[-1], Picture)


def test_skipped_pictures_of_mjpeg_are_not_decoded_and_the_others_stay_the_same(
    clip: Path, tmp_path: Path, make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mjpeg.avi"
    with av.open(str(clip)) as reader, av.open(str(path), "w") as writer:
        stream = writer.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuvj420p"
        for frame in reader.decode(video=0):
            writer.mux(stream.encode(frame.reformat(format="yuvj420p")))
        writer.mux(stream.encode())
    decoded: list[int | None] = []
    decode = Decoder._decode_alone

    def counted(self: Decoder, packet: av.Packet) -> object:
        decoded.append(packet.pts)
        return decode(self, packet)

    monkeypatch.setattr(Decoder, "_decode_alone", counted)
    every = [p for p in make_source(path).pictures(lambda pts: True, None) if isinstance(p, Picture)]
    assert (len(every), len(decoded)) == (40, 40)

    decoded.clear()
    kept = [p for p in make_source(path).pictures(Sampler(3), None) if isinstance(p, Picture)]
    sampler = Sampler(3)
    expected = [p for p in every if sampler(p.pts)]
    assert [p.pts for p in kept] == [p.pts for p in expected]
    assert all(np.array_equal(k.image, e.image) for k, e in zip(kept, expected, strict=True))
    assert len(decoded) == len(kept) == 12


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_size_that_changes_in_the_middle(codec: str, tmp_path: Path, make_source: MakeSource) -> None:
    path = tmp_path / "sizes.raw"
    for width, height in [(320, 180), (640, 360), (96, 128)]:
        encoder = av.CodecContext.create(codec, "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        encoder.framerate, encoder.time_base = Fraction(10), Fraction(1, 10)
        encoder.options = {"tune": "zerolatency", f"{codec[3:]}-params": "repeat-headers=1:log-level=none"}
        frames = [av.VideoFrame.from_ndarray(np.full((height, width, 3), g, np.uint8), "rgb24") for g in range(6)]
        with path.open("ab") as file:
            file.writelines(bytes(p) for frame in [*frames, None] for p in encoder.encode(frame))
    pictures = [p for p in make_source(path).pictures(lambda pts: True, 320) if isinstance(p, Picture)]
    sizes = [(p.image.shape[1], p.image.shape[0], p.scale) for p in pictures]
    assert sizes == [(320, 180, 1.0)] * 6 + [(320, 180, 2.0)] * 6 + [(96, 128, 1.0)] * 6


def test_damage_in_between_is_counted_and_read_over(
    tmp_path: Path, make_source: MakeSource, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "mjpeg.avi"
    with av.open(str(path), "w") as writer:
        stream = writer.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuvj420p"
        for index in range(20):
            grey = np.full((96, 160, 3), 10 * index, np.uint8)
            writer.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        writer.mux(stream.encode())
    content = path.read_bytes()
    begin, end = [i for i in range(len(content)) if content.startswith(b"\xff\xd8\xff", i)][3:5]
    path.write_bytes(content[:begin] + bytes(end - 8 - begin) + content[end - 8 :])
    source = make_source(path)
    pictures = list(source.pictures(lambda pts: True, None))
    assert source.decode_errors == 1
    assert [round(p.pts * 10) for p in pictures] == list(range(20))
    assert [i for i, p in enumerate(pictures) if isinstance(p, Missed)] == [3]
    assert "mjpeg.avi: 1 pictures could not be decoded" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.mp4", None, "no such file"),
        ("empty.mp4", b"", "cannot be read as video"),
        ("letter.mp4", b"Dear store manager,\n" * 50, "cannot be read as video"),
        ("notes.txt", b"Dear store manager,\n" * 50, "cannot be read as video|no video in it"),
    ],
)
def test_what_is_no_video_is_refused(
    name: str, content: bytes | None, says: str, tmp_path: Path, make_source: MakeSource
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=says) as refused:
        make_source(tmp_path / name).check()
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


def test_capture_time_comes_from_config_then_name_then_container_then_file(
    clip: Path, tmp_path: Path, make_source: MakeSource, remux: Remux
) -> None:
    made = {"creation_time": "2026-02-01T10:00:00Z"}
    remux(clip, tmp_path / "cam1_20260314_091500.mp4", metadata=made)
    remux(clip, tmp_path / "made.mp4", metadata=made)
    remux(clip, tmp_path / "plain.mp4")
    os.utime(tmp_path / "plain.mp4", (1e9, 1e9))
    configured = make_source(tmp_path / "cam1_20260314_091500.mp4", start="2026-01-01T12:00:00+01:00")
    assert configured.started_at() == datetime(2026, 1, 1, 11, tzinfo=UTC)
    assert make_source(tmp_path / "cam1_20260314_091500.mp4").started_at() == datetime(2026, 3, 14, 8, 15, tzinfo=UTC)
    assert make_source(tmp_path / "made.mp4").started_at() == datetime(2026, 2, 1, 10, tzinfo=UTC)
    assert make_source(tmp_path / "plain.mp4").started_at() == datetime.fromtimestamp(1e9, UTC)


def test_the_fingerprint_tells_contents_apart(clip: Path, tmp_path: Path, make_source: MakeSource) -> None:
    one = tmp_path / "a.mp4"
    one.write_bytes(clip.read_bytes())
    before = make_source(one).fingerprint()
    assert make_source(one).fingerprint() == before
    one.write_bytes(clip.read_bytes() + b"\0")
    assert make_source(one).fingerprint() != before


def test_a_name_with_a_colon_is_a_file(clip: Path, tmp_path: Path, make_source: MakeSource) -> None:
    (tmp_path / "09:15 till.mp4").write_bytes(clip.read_bytes())
    make_source(tmp_path / "09:15 till.mp4").check()


def test_realtime_plays_at_the_files_own_speed(clip: Path, make_source: MakeSource) -> None:
    source = make_source(clip, realtime=True)
    assert source.live
    pictures = []
    for picture in source.pictures(lambda pts: True, None):
        pictures.append(picture)
        if picture.pts > 0.45:
            source.close()
    assert len(pictures) == 6
    assert pictures[-1].arrived_at - pictures[0].arrived_at > 0.35


def test_closing_ends_the_pictures(clip: Path, make_source: MakeSource) -> None:
    source = make_source(clip)
    pictures = source.pictures(lambda pts: True, None)
    next(pictures)
    source.close()
    assert len(list(pictures)) < 5


def test_gif_is_a_video(tmp_path: Path, make_source: MakeSource) -> None:
    stills = [PilImage.new("RGB", (64, 48), (40 * i, 200, 90)) for i in range(5)]
    stills[0].save(tmp_path / "a.gif", save_all=True, append_images=stills[1:], duration=200)
    pictures = _read(make_source(tmp_path / "a.gif"), [])
    assert [p.pts for p in pictures] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert np.abs(pictures[2].image[0, 0].astype(int) - (80, 200, 90)).max() < 12


@pytest.mark.parametrize(
    ("name", "count", "size"),
    [("arcade_1080p.mp4", 105, (1920, 1080)), ("single_face.mp4", 72, (640, 360)), ("no_face.mp4", 95, (960, 540))],
)
def test_real_videos(shared: Path, name: str, count: int, size: tuple[int, int], make_source: MakeSource) -> None:
    source = make_source(shared / "video" / name)
    source.check()
    asked: list[float] = []
    assert list(source.pictures(lambda pts: bool(asked.append(pts)), None)) == []
    assert len(asked) == count
    assert asked == sorted(asked)
    assert source.size() == size
