"""Decoding where a hostile upload can do no harm: each in a process of its own, which ends with it.

Pillow is robust, but FFmpeg's decoders are a million lines of C, and a fault in one must not take the models along, let
alone the live page. A fork of a process that has everything loaded costs a few milliseconds. It can open no file and no
socket, write nothing to disk, take no more than its share of CPU time and memory, and leaves no dump of a picture
behind; when it ends, whatever the upload was is gone. What it answers is read as numbers and pixels, never unpickled.
"""

from __future__ import annotations

import asyncio
import ctypes
import io
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NoReturn

import av
import numpy as np
from PIL import Image as PilImage

from risa_ray.config_analyze import UploadLimits
from risa_ray.serving.uploads import PICTURES, RefusedError, decode
from risa_ray.sources.base import Missed, Picture, freeze

_PR_SET_DUMPABLE = 4  # of prctl.h
_BUFFER = 2**20
_SILENCED = (asyncio.IncompleteReadError, ConnectionError, ValueError, TypeError, KeyError)
"""What shows on this side when a process ends in the middle of a word, or an upload has taken it over."""


class Decoders:
    """Decodes uploads, each in a process of its own.

    Args:
        limits: of every upload.
        longest_s: a process that has not ended so long after its start is killed, whatever it waits for.
    """

    def __init__(self, limits: UploadLimits, longest_s: float) -> None:
        self._limits, self._longest_s = limits, longest_s
        self._parent: tuple[subprocess.Popen[bytes], socket.socket] | None = self._start()

    async def decode(self, body: bytes) -> AsyncGenerator[Picture | Missed, None]:
        """The pictures of an upload as they are decoded, at the pace they are taken; see `uploads.decode`.

        Raises:
            RefusedError: as `uploads.decode`; 422 too where decoding takes too much time, or crashes.
        """
        reader, writer = await asyncio.open_connection(sock=self._fork(), limit=_BUFFER)
        sending = asyncio.create_task(_send(writer, body))
        try:
            while (told := await _line(reader)) and "end" not in told:
                yield await self._item(reader, told)
            if not told:
                raise _given_up(self._limits)
        except _SILENCED:
            raise _given_up(self._limits) from None
        finally:
            sending.cancel()
            writer.close()

    def close(self) -> None:
        """End. Processes still at work end with their upload."""
        if self._parent is not None:
            process, control = self._parent
            control.close()
            process.wait()
            self._parent = None

    async def _item(self, reader: asyncio.StreamReader, told: dict[str, Any]) -> Picture | Missed:
        if "refused" in told:
            raise RefusedError(*told["refused"])
        if "missed" in told:
            return Missed(told["missed"], time.time())
        width, height = told["size"]
        most = max(self._limits.picture_pixels, self._limits.clip_pixels)
        if not (0 < width <= self._limits.max_width and 0 < height <= most // width):
            raise ValueError(f"{width}x{height} pixels")
        pixels = np.frombuffer(await reader.readexactly(3 * width * height), np.uint8)
        return freeze(pixels.reshape(height, width, 3), told["pts"], time.time(), told["scale"])

    def _fork(self) -> socket.socket:
        """A connection to a new process; blocks no longer than it takes to start one."""
        ours, theirs = socket.socketpair()
        with theirs:
            for _ in range(2):
                if self._parent is None:
                    self._parent = self._start()
                try:
                    socket.send_fds(self._parent[1], [b"\0"], [theirs.fileno()])
                    break
                except OSError:  # somebody killed it
                    self.close()
        return ours

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair()
        with theirs:
            limits, longest_s = self._limits.model_dump_json(), str(self._longest_s)
            process = subprocess.Popen(  # noqa: S603 - this very program
                [sys.executable, "-m", __name__, str(theirs.fileno()), limits, longest_s],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # Nothing else of the environment: there may be secrets in it. A process with threads cannot be forked.
                env={"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        return process, ours


async def _send(writer: asyncio.StreamWriter, body: bytes) -> None:
    with suppress(ConnectionError):  # the process has ended
        writer.write(body)
        writer.write_eof()
        await writer.drain()


async def _line(reader: asyncio.StreamReader) -> dict[str, Any]:
    """What comes next; empty when the process has ended without a word."""
    told: dict[str, Any] = json.loads(await reader.readline() or b"{}")
    return told


def _given_up(limits: UploadLimits) -> RefusedError:
    why = f"it crashes the decoder, or takes it more than {limits.decode_s} s"
    return RefusedError(422, f"upload: decoding was given up ({why}); convert it, or send a smaller one")


def _main(control: socket.socket, limits: UploadLimits, longest_s: float) -> None:
    """Fork for every connection that comes, until the other side closes."""
    _load()
    libc = ctypes.CDLL(None)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            _lock_down(libc, limits, longest_s)
            _answer(socket.socket(fileno=descriptors[0]), limits)
        os.close(descriptors[0])


def _load() -> None:
    """Import what decoding takes, as long as files can be opened: several modules are imported at their first use."""
    blank = PilImage.new("RGB", (64, 64))
    for name in PICTURES:
        upload = io.BytesIO()
        blank.save(upload, name)
        list(decode(upload.getvalue(), UploadLimits()))
    for name in ("mp4", "matroska"):
        upload = io.BytesIO()
        with av.open(upload, "w", format=name) as clip:
            stream = clip.add_stream("mpeg4", rate=5, width=64, height=64)
            clip.mux([*stream.encode(av.VideoFrame(64, 64)), *stream.encode(None)])
        list(decode(upload.getvalue(), UploadLimits()))


def _lock_down(libc: Any, limits: UploadLimits, longest_s: float) -> None:
    loaded = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    signal.setitimer(signal.ITIMER_REAL, longest_s)  # SIGALRM kills
    for what, most in (
        (resource.RLIMIT_CPU, limits.decode_s),
        (resource.RLIMIT_AS, loaded + limits.decode_mb * 1_000_000),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        resource.setrlimit(what, (most, most))


def _answer(connection: socket.socket, limits: UploadLimits) -> NoReturn:
    """Take an upload in, answer with its pictures, and end."""
    try:
        with connection.makefile("rb") as upload, connection.makefile("wb") as answer:
            try:
                for item in decode(upload.read(), limits):
                    _tell(answer, item)
                _put(answer, {"end": True})
            except RefusedError as refused:
                _put(answer, {"refused": [refused.status, refused.detail]})
    finally:
        os._exit(0)


def _tell(stream: IO[bytes], item: Picture | Missed) -> None:
    if isinstance(item, Missed):
        _put(stream, {"missed": item.pts})
        return
    height, width = item.image.shape[:2]
    _put(stream, {"size": [width, height], "pts": item.pts, "scale": item.scale})
    stream.write(item.image.data)


def _put(stream: IO[bytes], told: dict[str, Any]) -> None:
    stream.write(json.dumps(told).encode() + b"\n")


if __name__ == "__main__":
    _main(socket.socket(fileno=int(sys.argv[1])), UploadLimits.model_validate_json(sys.argv[2]), float(sys.argv[3]))
