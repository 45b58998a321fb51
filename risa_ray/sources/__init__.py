"""Sources of pictures: files, folders, network and USB cameras, and the demo scene."""

from __future__ import annotations

from types import ModuleType
from zoneinfo import ZoneInfo

from risa_ray.config import CameraConfig, Policy, redact
from risa_ray.errors import SourceError
from risa_ray.sources import demo, file, images, network, usb
from risa_ray.sources.base import Missed, Picture, Source, Wants
from risa_ray.sources.network import with_credentials
from risa_ray.sources.reading import Sampler, read_frames

__all__ = [
    "Missed",
    "Picture",
    "Sampler",
    "Source",
    "Wants",
    "create_source",
    "is_live",
    "policy_of",
    "read_frames",
    "with_credentials",
]

KINDS: tuple[ModuleType, ...] = (demo, usb, network, images, file)
"""Asked in this order. Each has `matches(source) -> bool`, `open_source(camera, timezone) -> Source` and `LIVE`."""


def create_source(camera: CameraConfig, timezone: ZoneInfo) -> Source:
    """The source that a camera's config names; nothing is connected to or decoded yet.

    Args:
        timezone: of the store, for times in file names.

    Raises:
        SourceError: one line that says what is wrong with the source, or with the variable of its credentials.
    """
    source: Source = _kind(camera.source).open_source(with_credentials(camera), timezone)
    return source


def is_live(source: str) -> bool:
    """Whether a source string names a camera rather than a recording (which `realtime` may play as if live)."""
    return bool(_kind(source).LIVE)


def policy_of(camera: CameraConfig, source: Source) -> Policy:
    """The frame policy in force: the configured one, else `freshest` for live sources and `every_frame` for files."""
    return camera.policy or ("freshest" if source.live else "every_frame")


def _kind(source: str) -> ModuleType:
    for kind in KINDS:
        if kind.matches(source):
            return kind
    raise SourceError(f"{redact(source)}: no such kind of source; give a file, a folder, a URL, usb:0 or demo:front")
