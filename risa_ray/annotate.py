"""`risa annotate`: boxes, track numbers, apparent expressions and zones drawn on a video or a picture."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import av
import numpy as np
from PIL import Image as Pictures

from risa_ray.config import CameraConfig, load_config
from risa_ray.errors import BrokenSourceError, InputError, SourceError
from risa_ray.frames import FaceRow, Frame, Image
from risa_ray.inputs import PICTURE_SUFFIXES, config_for
from risa_ray.sources import create_source, read_frames
from risa_ray.vision.analyze import Analyzer, CameraSetup, CameraState
from risa_ray.vision.draw import draw_faces, draw_zones

_RUN_FRAMES = 8
_SESSION = "annotate"
_TIME_BASE = Fraction(1, 90_000)


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
        InputError: the file, the output or the camera is wrong.
    """
    still = file.suffix.lower() in PICTURE_SUFFIXES
    _check_output(file, out, still)
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


def _check_output(file: Path, out: Path, still: bool) -> None:
    wanted = (".jpg", ".jpeg", ".png") if still else (".mp4",)
    if out.suffix.lower() not in wanted:
        raise InputError(f"{out}: give an output that ends in {' or '.join(wanted)}")
    if out.resolve() == file.resolve():
        raise InputError(f"{out}: is the input itself; give another output")
    if not out.parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}; create it first")


def _camera(file: Path, settings: dict[str, Any], config: Path | None, camera_id: str | None) -> CameraConfig:
    if config is None:
        _, camera = next(config_for([str(file)], "data", settings, {}).cameras())
        return camera
    cameras = {c.id: c for _, c in load_config(config).cameras()}
    if camera_id not in cameras:
        raise InputError(f"--camera {camera_id or '(none)'}: {config} has {', '.join(cameras)}; name one of them")
    return cameras[camera_id].model_copy(update={"source": str(file.resolve()), "realtime": False})


def _draw(
    camera: CameraConfig, frames: Iterator[Frame], analyzer: Analyzer
) -> Iterator[tuple[Frame, Image, list[FaceRow]]]:
    setup, state, numbers = CameraSetup.of("annotate", camera), CameraState.start(_SESSION, 0), dict[str, int]()
    while True:
        run, broken = _take(frames)
        if run:
            chunk, state = analyzer.analyze(run, setup, state)
            for frame in run:
                rows = [f for f in chunk.faces if f.frame_seq == frame.frame_seq]
                image = draw_zones(setup.zones.mask(frame.image), camera.zones)
                yield frame, draw_faces(image, rows, numbers, frame.scale), rows
        if broken:
            raise broken
        if not run:
            return


def _take(frames: Iterator[Frame]) -> tuple[list[Frame], BrokenSourceError | None]:
    run: list[Frame] = []
    try:
        while len(run) < _RUN_FRAMES:
            frame = next(frames, None)
            if frame is None:
                break
            run.append(frame)
    except BrokenSourceError as error:
        return run, error
    return run, None


def _write_picture(out: Path, drawn: Iterator[tuple[Frame, Image, list[FaceRow]]]) -> Iterator[list[FaceRow]]:
    for _, image, rows in drawn:
        Pictures.fromarray(image).save(out, quality=92)
        yield rows


def _write_video(out: Path, drawn: Iterator[tuple[Frame, Image, list[FaceRow]]]) -> Iterator[list[FaceRow]]:
    """H.264 with the source's own time stamps, so that a variable frame rate stays what it was."""
    with av.open(str(out), "w") as container:
        stream = None
        for frame, image, rows in drawn:
            height, width = (side - side % 2 for side in image.shape[:2])  # H.264 halves the colour planes
            if stream is None:
                stream = container.add_stream("libx264", rate=30)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.options = {"crf": "20", "preset": "veryfast"}
                stream.codec_context.time_base = _TIME_BASE
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[: stream.height, : stream.width]), "rgb24")
            picture.pts, picture.time_base = round(frame.pts / _TIME_BASE), _TIME_BASE
            container.mux(stream.encode(picture))
            yield rows
        if stream is not None:
            container.mux(stream.encode())
