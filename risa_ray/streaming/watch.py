"""Following the config file of a running job."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from risa_ray.config import ChainConfig
from risa_ray.errors import InputError
from risa_ray.sources.base import Source
from risa_ray.streaming.preflight import preflight

log = logging.getLogger("risa")

_LOOK_EVERY_S = 1.0

Sources = Mapping[str, Source]


class ConfigWatch:
    """Notices that a config file was edited, and checks it before anybody uses it.

    A faulty edit is told once and changes nothing. What cannot change while a job runs (the data path, the pipeline,
    the chain's name) is told too, and stays as it was.

    Args:
        config: what the file says now.
        load: reads the file.
        path: the file.
    """

    def __init__(self, config: ChainConfig, load: Callable[[], ChainConfig], path: Path) -> None:
        self._config = config
        self._load = load
        self._path = path
        self._seen = self._stamp()
        self._next = 0.0

    def __call__(self) -> tuple[ChainConfig, Sources] | None:
        """The new config with its checked sources, or None while nothing has changed."""
        if time.monotonic() < self._next:
            return None
        self._next = time.monotonic() + _LOOK_EVERY_S
        stamp = self._stamp()
        if stamp == self._seen or stamp is None:  # editors replace a file: it may be away for a moment
            return None
        self._seen = stamp
        try:
            config = self._load()
            sources = preflight(config)
        except InputError as error:
            log.error("%s; the running job goes on as before", error)
            return None
        kept = {key: getattr(self._config, key) for key in ("chain", "data", "pipeline", "ad_hoc")}
        fixed = [key for key, value in kept.items() if getattr(config, key) != value]
        if fixed:
            log.warning("%s: %s changes at the next start only", self._path, ", ".join(fixed))
        config = config.model_copy(update=kept)
        if config == self._config:
            return None
        log.warning("%s: %s", self._path, describe(self._config, config))
        self._config = config
        return config, sources

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


def describe(old: ChainConfig, new: ChainConfig) -> str:
    """What an edit does to the cameras, in a line."""
    before = {camera.id: (store.id, store.timezone, camera) for store, camera in old.cameras()}
    after = {camera.id: (store.id, store.timezone, camera) for store, camera in new.cameras()}
    told = {
        "added": [i for i in after if i not in before],
        "changed": [i for i in after if i in before and after[i] != before[i]],
        "removed": [i for i in before if i not in after],
    }
    parts = [f"{what} {', '.join(ids)}" for what, ids in told.items() if ids]
    return "; ".join(parts) or "no camera has changed, the rest is followed"
