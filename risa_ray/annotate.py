"""`risa annotate`: boxes, track numbers, apparent expressions and zones drawn on a video or a picture."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import av
import numpy as np
from PIL import Image as Pictures

from risa_ray.config import CameraConfig, load_config
from risa_ray.errors import BrokenSourceError, InputError, SourceError
from risa_ray.frames import FaceRow, Frame, Image, Outcome
from risa_ray.inputs import camera_of, config_for
from risa_ray.outputs import check_output
from risa_ray.pictures import PICTURE_SUFFIXES
from risa_ray.sources import create_source, read_frames
from risa_ray.vision.analyze import Analyzer, CameraSetup, CameraState
from risa_ray.vision.draw import draw_faces, draw_zones

_RUN_FRAMES = 8
_SESSION = "annotate"
_TIME_BASE = Fraction(1, 90_000)

Drawn = tuple[Frame, Image, list[FaceRow]]


def annotate_file(
    file: Path, out: Path, settings: dict[str, Any], model: str, config: Path | None, camera_id: str | None
) -> tuple[int, int]:
    """Draw on every frame of a file. It is an explicit command because it writes pictures of people.

    Args:
        file: a video or a picture.
        out: .mp4 for a video; .jpg or .png for a picture.
        settings: of the camera (detector, min_face_size, sampling_fps), where no config is given.
        config, camera_id: take settings and zones of this camera.

    Returns:
        Frames and faces drawn.

    Raises:
        InputError: the file, the output or the camera is wrong, or the output cannot be written.
    """
    still = file.suffix.lower() in PICTURE_SUFFIXES
    if os.path.isdir(file):  # Path.is_dir raises where a name is too long
        raise InputError(f"{file}: is a folder; annotate takes one video or one picture, give a file in it")
    check_output(out, (".jpg", ".jpeg", ".png") if still else (".mp4",), file)
    camera = _camera(file, settings, config, camera_id)
    try:
        source = create_source(camera, ZoneInfo("UTC"))
        source.check()
    except SourceError as error:
        raise InputError(str(error)) from None
    if source.live:
        raise InputError(f"{file}: annotate takes files only")
    analyzer = Analyzer.load(model, device="cpu")
    frames = faces = 0
    drawn = _draw(camera, read_frames(source, camera, _SESSION, source.started_at()), analyzer)
    write = _write_picture if still else _write_video
    try:
        for rows in write(out, drawn):
            frames += 1
            faces += len(rows)
    except BrokenSourceError as error:
        raise InputError(f"{error}; {out} ends there") from None
    return frames, faces


def _camera(file: Path, settings: dict[str, Any], config: Path | None, camera_id: str | None) -> CameraConfig:
    if config is None:
        if camera_id is not None:
            raise InputError(f"--camera {camera_id}: of which config? give --config too, or leave --camera out")
        _, camera = next(config_for([str(file)], "data", settings, {}).cameras())
        return camera
    camera = camera_of(load_config(config), camera_id).camera
    return camera.model_copy(update={"source": str(file.resolve()), "realtime": False})


def _draw(camera: CameraConfig, frames: Iterator[Frame | Outcome], analyzer: Analyzer) -> Iterator[Drawn]:
    setup, state, numbers = CameraSetup.of("annotate", camera), CameraState.start(_SESSION, 0), dict[str, int]()
    while True:
        run, broken = _take(frames)
        if run:
            chunk, state = analyzer.analyze(run, setup, state)
            for frame in run:
                if isinstance(frame, Outcome):  # cannot be decoded: there is nothing to draw on
                    continue
                rows = [f for f in chunk.faces if f.frame_seq == frame.frame_seq]
                image = draw_zones(setup.zones.mask(frame.image), camera.zones)
                yield frame, draw_faces(image, rows, numbers, frame.scale), rows
        if broken:
            raise broken
        if not run:
            return


def _take(frames: Iterator[Frame | Outcome]) -> tuple[list[Frame | Outcome], BrokenSourceError | None]:
    run: list[Frame | Outcome] = []
    try:
        while len(run) < _RUN_FRAMES:
            frame = next(frames, None)
            if frame is None:
                break
            run.append(frame)
    except BrokenSourceError as error:
        return run, error
    return run, None


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error}); give another output") from None


def _write_picture(out: Path, drawn: Iterator[Drawn]) -> Iterator[list[FaceRow]]:
    for _, image, rows in drawn:
        with _writing(out):
            Pictures.fromarray(image).save(out, quality=92)
        yield rows


def _write_video(out: Path, drawn: Iterator[Drawn]) -> Iterator[list[FaceRow]]:
    video: _Video | None = None
    try:
        for frame, image, rows in drawn:
            if video is None:
                video = _Video(out, image)
            video.add(frame, image)
            yield rows
    finally:
        if video is not None:
            video.close()


class _Video:
    """H.264 with the source's own time stamps, so that a variable frame rate stays what it was."""

    def __init__(self, out: Path, first: Image) -> None:
        self._out = out
        self._shape = first.shape
        self._height, self._width = (side - side % 2 for side in first.shape[:2])  # H.264 halves the colour planes
        self._last = -1
        self._failed = False
        with _writing(out):
            self._container = av.open(str(out), "w")
            self._stream = self._container.add_stream("libx264", rate=30)
            self._stream.width, self._stream.height, self._stream.pix_fmt = self._width, self._height, "yuv420p"
            self._stream.options = {"crf": "20", "preset": "veryfast"}
            self._stream.codec_context.time_base = _TIME_BASE

    def add(self, frame: Frame, image: Image) -> None:
        if image.shape != self._shape:
            was, now = (f"{shape[1]}x{shape[0]}" for shape in (self._shape, image.shape))
            raise InputError(
                f"{self._out}: ends at {frame.pts:.1f} s, where the pictures change from {was} to {now}; "
                "convert the file to one size first"
            )
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[: self._height, : self._width]), "rgb24")
        # jitter may give two frames one time, which a file cannot hold
        self._last = max(round(frame.pts / _TIME_BASE), self._last + 1)
        picture.pts, picture.time_base = self._last, _TIME_BASE
        self._mux(picture)

    def close(self) -> None:
        try:
            self._mux(None)
        finally:
            with _writing(self._out):
                self._container.close()

    def _mux(self, picture: av.VideoFrame | None) -> None:
        if self._failed:  # FFmpeg's muxer crashes on anything more
            return
        try:
            with _writing(self._out):
                self._container.mux(self._stream.encode(picture))
        except InputError:
            self._failed = True
            raise
