"""Footage of the demo scene, as long as one likes without drawing all of it."""

from __future__ import annotations

from pathlib import Path

import av

from risa_ray.sources.demo import VIEWS, write_clip

_DRAWN_S = 20.0


def write_footage(folder: Path, number: int, size: tuple[int, int], fps: float, seconds: float) -> Path:
    """Write a video file of at least so many seconds: 20 s of the scene (or all, when shorter), again and again.

    Args:
        number: views take turns, so that two numbers in a row differ.
    """
    view = tuple(VIEWS)[number % len(VIEWS)]
    drawn_s = min(_DRAWN_S, seconds)
    drawn = folder / f"drawn-{view}-{size[0]}x{size[1]}.mp4"
    if not drawn.exists():
        write_clip(drawn, view, drawn_s, fps, size)
    path = folder / f"cam{number}.mp4"
    _repeat(drawn, path, -int(-seconds // drawn_s))
    return path


def frames_in(path: Path) -> int:
    """Pictures in a file, counted as packets."""
    with av.open(str(path)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


def _repeat(source: Path, target: Path, times: int) -> None:
    """The packets of a clip several times after each other, without encoding them again."""
    with av.open(str(target), "w") as writer:
        stream, offset = None, 0
        for _ in range(times):
            with av.open(str(source)) as reader:
                video = reader.streams.video[0]
                stream = stream or writer.add_stream_from_template(video)
                length = 0
                for packet in reader.demux(video):
                    if packet.dts is None or packet.pts is None:
                        continue
                    length = max(length, packet.pts + (packet.duration or 0))
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = stream
                    writer.mux(packet)
                offset += length
