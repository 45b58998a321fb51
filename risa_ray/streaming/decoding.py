"""The thread that decodes one session of a camera into its buffer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from risa_ray.config import CameraConfig, redact
from risa_ray.errors import AccessRefusedError, BrokenSourceError, SourceError
from risa_ray.sources.base import Source
from risa_ray.sources.reading import read_frames, undecoded
from risa_ray.store.writer import SessionInfo
from risa_ray.streaming.buffer import FrameBuffer
from risa_ray.streaming.lifecycle import Lifecycle

_PATIENCE_S = 1.0
"""How long a thread that is to end is waited for. One that hangs in a read is left to its time-out."""


@dataclass(frozen=True)
class Ending:
    """How a session ended; `refused`: the camera did not take the credentials."""

    word: Literal["complete", "broken", "stopped"]
    note: str = ""
    refused: bool = False


class Decoding:
    """Drains a source into a buffer, in a thread of its own, since a read may hang for as long as its time-out.

    Args:
        after_seq: frames up to this number are stored already.
        on_frame: told the number of each frame, before the buffer has it.

    Attributes:
        last_seq: number of the last frame that the buffer took.
        read: frames that it took.
        decode_s: seconds spent reading and decoding.
    """

    def __init__(
        self,
        source: Source,
        camera: CameraConfig,
        session: SessionInfo,
        after_seq: int,
        buffer: FrameBuffer,
        lifecycle: Lifecycle,
        on_frame: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._on_frame = on_frame
        self.last_seq = after_seq
        self.read = 0
        self.decode_s = 0.0
        self._source = source
        self._camera = camera
        self._session = session
        self._buffer = buffer
        self._lifecycle = lifecycle
        self._closed = threading.Event()
        self._ending: Ending | None = None
        self._given_up = ""
        self._thread = threading.Thread(target=self._run, name="decode", daemon=True)

    @property
    def decode_errors(self) -> int:
        """Pictures so far that could not be decoded."""
        return self._source.decode_errors

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Read no further. The buffer takes no more frames, whether or not the thread ends soon."""
        self._closed.set()
        self._source.close()
        self._buffer.close()

    def give_up(self, reason: str) -> None:
        """This session is worth nothing any more."""
        if not self._closed.is_set():
            self._given_up = f"{redact(self._camera.source)}: {reason}"
            self.close()

    def ending(self) -> Ending:
        """After `close`, or once the buffer is exhausted: how the session ended."""
        self._thread.join(_PATIENCE_S)
        if self._given_up:
            return Ending("broken", self._given_up)
        return self._ending or Ending("stopped")  # a read that hangs while the run ends is left alone

    def _run(self) -> None:
        """Always leaves a word on how it ended."""
        try:
            self._drain()
            self._ending = Ending("stopped" if self._closed.is_set() else "complete", undecoded(self._source))
        except (BrokenSourceError, SourceError) as error:
            self._ending = Ending("broken", str(error), isinstance(error, AccessRefusedError))
        except Exception as error:
            # Whatever a decoder throws must end this session, named, and nothing else.
            what = f"{type(error).__name__}: {redact(str(error))}"
            self._ending = Ending("broken", f"{redact(self._camera.source)}: {what}")
        finally:
            self._buffer.close()

    def _drain(self) -> None:
        source, session = self._source, self._session
        heard = self._heard if source.live else lambda: None
        items = read_frames(source, self._camera, session.session_id, session.started_at, self.last_seq, heard)
        while True:
            began = time.perf_counter()
            item = next(items, None)
            self.decode_s += time.perf_counter() - began
            if item is None:
                return
            self._lifecycle.hold()  # while the buffer is full it is not the camera that is silent
            self._on_frame(item.frame_seq)
            taken = self._buffer.put(item)
            self._lifecycle.release()
            if not taken:
                return
            self.last_seq = item.frame_seq
            self.read += 1

    def _heard(self) -> None:
        if not self._closed.is_set():
            self._lifecycle.heard()
