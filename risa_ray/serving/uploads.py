"""What comes in at `POST /v1/analyze`: pictures and short clips, decoded from memory within limits.

Nothing of it touches a disk, and no name that a client gives is ever used. What an upload is, its first bytes decide,
whatever its Content-Type says.
"""

from __future__ import annotations

import io
import threading
import time
import warnings
from collections.abc import Iterator

import av
import numpy as np
from av.container import InputContainer
from PIL import Image as PilImage
from PIL import UnidentifiedImageError

from risa_ray.config_analyze import UploadLimits
from risa_ray.errors import BrokenSourceError
from risa_ray.pictures import upright
from risa_ray.sources.base import Missed, Picture, make_picture
from risa_ray.sources.clock import steady
from risa_ray.sources.decoding import Decoder, reason, to_picture
from risa_ray.sources.reading import Sampler

PICTURES = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM")
"""Formats by Pillow's names: those of picture files elsewhere (`risa_ray.pictures`)."""
CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mpeg4", "mjpeg"})
"""What cameras, telephones and browsers record. FFmpeg has hundreds of others, each with a parser to attack."""

_STILL_BRANDS = frozenset({b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_HIGHEST_FPS = 240.0


class RefusedError(Exception):
    """An upload that is not analysed.

    Args:
        status: of HTTP.
        detail: one line with what, where and the way out.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status, self.detail = status, detail


def decode(body: bytes, limits: UploadLimits) -> Iterator[Picture | Missed]:
    """The upright pictures of an upload: one of a picture, `clip_fps` a second of a clip.

    The same pixels as `risa_ray.sources` reads from a file of the same content.

    Args:
        body: the upload, whole.
        limits: sizes are checked by what the header says, before anything is decoded, and again by what comes.

    Yields:
        Pictures of at most `max_width`; in a clip, one that cannot be decoded is `Missed`.

    Raises:
        RefusedError: 400 nothing came; 413 it is too large or too long; 415 it is neither picture nor clip, or of a
            kind that is not read; 422 it cannot be decoded to its end.
    """
    if not body:
        raise RefusedError(400, "upload: it is empty; send a picture or clip as body: curl --data-binary @face.jpg")
    container = _container(body)
    try:
        if container is None:
            yield _picture(body, limits)
        else:
            yield from _clip(body, container, limits)
    except RefusedError:
        raise
    except MemoryError:
        raise RefusedError(413, "upload: it takes too much memory to decode; send a smaller one") from None
    # Hostile files make Pillow, and what comes with PyAV, raise nearly anything (struct.error, SyntaxError, ...).
    except Exception as error:
        what = "picture" if container is None else "clip"
        raise _undecodable(what, error) from None


def _container(body: bytes) -> str | None:
    """FFmpeg's name for the container of a clip, which is then the only one it tries; None: it may be a picture."""
    if body[4:8] == b"ftyp":
        if body[8:12] in _STILL_BRANDS:
            raise RefusedError(415, f"upload: HEIC and AVIF are not read; send one of {', '.join(PICTURES)}")
        return "mov"
    return "matroska" if body[:4] == b"\x1a\x45\xdf\xa3" else None


def _picture(body: bytes, limits: UploadLimits) -> Picture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd but readable files, and of sizes that are checked here
        try:
            # Pillow reads the header only, until pixels are asked for.
            opened = PilImage.open(io.BytesIO(body), formats=PICTURES)
        except UnidentifiedImageError:
            kinds = f"a picture ({', '.join(PICTURES)}) nor a clip (MP4, WebM, Matroska)"
            raise RefusedError(415, f"upload: it is neither {kinds}; convert it to one of these") from None
        except PilImage.DecompressionBombError:
            raise RefusedError(413, _too_large("picture", "more", limits.picture_pixels)) from None
        with opened:
            _check_size("picture", opened.width, opened.height, limits.picture_pixels)
            turned = upright(opened)
            rgb = np.asarray(turned if turned.mode == "RGB" else turned.convert("RGB"))
    return make_picture(rgb, 0.0, time.time(), limits.max_width)


def _clip(body: bytes, container: str, limits: UploadLimits) -> Iterator[Picture | Missed]:
    # A stream whose pictures grow half-way meets the same limit in the decoder. And nothing in a clip may have FFmpeg
    # open files or addresses.
    options = {"max_pixels": str(limits.clip_pixels), "protocol_whitelist": "none", "enable_drefs": "0"}
    with av.open(io.BytesIO(body), "r", format=container, options=options, metadata_errors="replace") as opened:
        decoder = _checked(opened, limits)
        sampler, pictures = Sampler(limits.clip_fps), 0
        for number, (pts, shot) in enumerate(steady(decoder.shots(threading.Event()), decoder.step)):
            if pts > limits.clip_s or number > limits.clip_s * _HIGHEST_FPS:
                raise RefusedError(413, _too_long(limits))
            if not sampler(pts):
                shot.skip()
            elif (frame := shot.frame()) is None:
                yield Missed(pts, time.time())
            else:
                pictures += 1
                yield to_picture(frame, pts, time.time(), limits.max_width)
        if why := decoder.missing() or (None if pictures else "there is no picture in it"):
            raise _undecodable("clip", BrokenSourceError(why))


def _checked(container: InputContainer, limits: UploadLimits) -> Decoder:
    """The decoder of a clip that is small, short and of a known codec by its header."""
    decoder = Decoder(container)
    stream = decoder.stream
    if stream is None:
        raise RefusedError(415, "upload: there is no video in the clip; send one with video")
    codec = stream.codec_context
    if codec.name not in CODECS:
        known = "H.264, H.265, VP8, VP9, AV1, MPEG-4 or MJPEG"
        raise RefusedError(415, f"upload: the clip's codec {codec.name} is not read; convert it to {known}")
    _check_size("clip", codec.width, codec.height, limits.clip_pixels)
    if stream.duration is not None and float(stream.duration * (stream.time_base or 0)) > limits.clip_s:
        raise RefusedError(413, _too_long(limits))
    # Each of FFmpeg's threads takes memory, and the cores are the models'.
    codec.thread_count = 1
    codec.options = {"max_pixels": str(limits.clip_pixels)}
    return decoder


def _check_size(what: str, width: int, height: int, most: int) -> None:
    if width * height > most:
        raise RefusedError(413, _too_large(what, f"{width}x{height}", most))


def _too_large(what: str, size: str, most: int) -> str:
    return f"upload: the {what} has {size} pixels, and {most / 1e6:.3g} million is the most; send a smaller one"


def _too_long(limits: UploadLimits) -> str:
    return f"upload: the clip is longer than {limits.clip_s:g} s; cut it, or run 'risa batch' for recordings"


def _undecodable(what: str, error: Exception) -> RefusedError:
    why = reason(error) if isinstance(error, av.FFmpegError | OSError) and error.strerror else str(error)
    told = " ".join(why.split())[:120] or type(error).__name__
    return RefusedError(422, f"upload: the {what} cannot be decoded ({told}); send it again whole, or convert it")
