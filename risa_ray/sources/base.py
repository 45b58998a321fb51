"""What every source of pictures offers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from risa_ray.frames import Image

Wants = Callable[[float], bool]
"""Asked once per picture, in order, with its pts in seconds."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a source.

    Attributes:
        pts: seconds on the stream's clock; the first picture of a source has 0.
        arrived_at: Unix seconds at which the picture was read.
        image: RGB uint8 (H, W, 3), C-contiguous, read-only.
        scale: source pixels per image pixel, 1.0 unless the picture was reduced.
    """

    pts: float
    arrived_at: float
    image: Image
    scale: float


@dataclass(frozen=True, slots=True)
class Missed:
    """The place of a wanted picture that is not there; pts and arrived_at as in `Picture`.

    `cause`: it could not be decoded, or there was no time to (the stream is read more slowly than it comes).
    """

    pts: float
    arrived_at: float
    cause: Literal["decode_error", "overrun"] = "decode_error"


class Source(Protocol):
    """A file, a folder or a camera.

    What `started_at`, `fingerprint` and `size` tell of files stays as it was at `check`, whatever becomes of the files.

    Attributes:
        live: the arrival clock counts, and `freshest` is the policy by default.
        decode_errors: pictures so far that could not be decoded; an unwanted one may go untried.
    """

    live: bool
    decode_errors: int

    def check(self) -> None:
        """Decode the first picture of a file; of a live source, check what needs no connection (it may be down).

        Raises:
            SourceError: it cannot be opened, or there is nothing to read.
        """

    def started_at(self) -> datetime:
        """Aware UTC time of capture of pts 0; for a live source the present."""

    def fingerprint(self) -> str:
        """Tells one content from another without reading it; for a live source its redacted address."""

    def size(self) -> tuple[int, int] | None:
        """Width and height in source pixels, if they are known without a connection."""

    def pictures(self, wants: Wants, max_width: int | None) -> Iterator[Picture | Missed]:
        """Read to the end; only pictures whose pts is wanted are converted and yielded.

        A picture that cannot be decoded, but whose pts is known, is asked for as any other and yielded as
        `Missed`. After a yes, one of the two is yielded before `wants` is asked again, so that a caller may
        number pictures in `wants`. pts never decrease.

        Args:
            max_width: wider pictures are reduced to it; None leaves them.

        Raises:
            BrokenSourceError: the source broke off; what came before has been yielded.
        """

    def close(self) -> None:
        """Make `pictures` end soon. Idempotent, from any thread."""


def fitted_size(width: int, height: int, max_width: int | None) -> tuple[int, int]:
    """Width and height after reduction to at most `max_width`, the aspect ratio kept."""
    if max_width is None or width <= max_width:
        return width, height
    return max_width, max(1, round(height * max_width / width))


def make_picture(rgb: npt.NDArray[Any], pts: float, arrived_at: float, max_width: int | None) -> Picture:
    """A picture from an RGB array (H, W, 3), reduced to `max_width` by area averaging."""
    height, width = rgb.shape[:2]
    fitted = fitted_size(width, height, max_width)
    image = rgb if fitted == (width, height) else cv2.resize(rgb, fitted, interpolation=cv2.INTER_AREA)
    return freeze(image, pts, arrived_at, width / fitted[0])


def freeze(image: npt.NDArray[Any], pts: float, arrived_at: float, scale: float) -> Picture:
    """A picture whose image nobody can write to."""
    contiguous = np.ascontiguousarray(image, dtype=np.uint8)
    contiguous.flags.writeable = False
    return Picture(pts, arrived_at, contiguous, scale)
