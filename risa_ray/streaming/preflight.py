"""Everything that can be refused before any actor starts."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from datetime import UTC

from risa_ray.config import ChainConfig, redact
from risa_ray.errors import InputError, SourceError
from risa_ray.inputs import Unit, refuse_job_folder, units_of
from risa_ray.live.channels import read_secrets
from risa_ray.sources import create_source
from risa_ray.sources.base import Source
from risa_ray.store.paths import ensure_writable
from risa_ray.store.purge import cutoff
from risa_ray.vision.model_file import model_path, read_settings


def preflight(config: ChainConfig, units: Sequence[Unit] | None = None) -> dict[str, Source]:
    """Open every source, look for every detector, the model and the channels' secrets, and try the data path.

    Args:
        config: with absolute paths.
        units: what is run; every camera of the config by default.

    Returns:
        The checked sources by the units' keys, closed.

    Raises:
        InputError: the first fault, in one line.
    """
    sources = {}
    for unit in units_of(config) if units is None else units:
        store, camera = unit.store, unit.camera
        try:
            source = create_source(camera, store.tzinfo)
            source.check()
            source.close()
        except SourceError as error:
            raise InputError(f"camera {camera.id}: {error}") from None
        if camera.policy == "freshest" and not source.live and not camera.realtime:
            raise InputError(
                f"camera {camera.id}: policy 'freshest' would drop most of {redact(camera.source)}, a file; "
                "use 'every_frame', or 'realtime: true' to play it as if it were live"
            )
        if camera.detector == "dlib" and importlib.util.find_spec("dlib") is None:
            raise InputError(f"camera {camera.id}: dlib is not installed; install the extra 'dlib' or choose mtcnn")
        _refuse_outlived(config, camera.id, source, camera.source)
        sources[unit.key] = source
    if units is None:  # recordings tell nobody at once
        read_secrets(config.channels)
    read_settings(model_path(config.pipeline.model))
    refuse_job_folder(config.data, "data path")
    ensure_writable(config.data)
    return sources


def _refuse_outlived(config: ChainConfig, camera_id: str, source: Source, path: str) -> None:
    """A recording that is older than what is kept would be analysed for hours and deleted at once."""
    days = config.retention.observations if config.retention else None
    if days is None or source.live:
        return
    recorded = source.started_at().astimezone(UTC).date()
    if recorded < cutoff(days, time.time()):
        raise InputError(
            f"camera {camera_id}: {redact(path)} was recorded on {recorded}, and observations are kept for {days} "
            "days: its rows would be deleted at once; raise privacy.retention.observations, or set it to null"
        )
