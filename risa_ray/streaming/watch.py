"""Following the config file of a running job."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from risa_ray.config import ChainConfig
from risa_ray.errors import InputError
from risa_ray.inputs import Unit, units_of
from risa_ray.sources.base import Source
from risa_ray.streaming.preflight import preflight

log = logging.getLogger("risa")

_LOOK_EVERY_S = 1.0

_RETRY_S = 10.0

Sources = Mapping[str, Source]
Stamp = tuple[int, int, int]


class ConfigWatch:
    """Notices that a config file was edited, and checks it before anybody uses it.

    A faulty edit is told once and changes nothing; it is looked at again now and then, since the fault may lie outside
    the file. What cannot change while a job runs (data path, pipeline, the chain's name) is told too, and stays.

    Args:
        config: what the run began with.
        sources: its sources, checked.
        load: reads the file.
        path: the file.
    """

    def __init__(self, config: ChainConfig, sources: Sources, load: Callable[[], ChainConfig], path: Path) -> None:
        self._config = config
        self._sources = dict(sources)
        self._load = load
        self._path = path
        self._seen: Stamp | None = None  # an edit since the config was read counts
        self._settling: Stamp | None = None
        self._next = self._retry_at = 0.0
        self._fault = ""

    def __call__(self) -> tuple[ChainConfig, Sources] | None:
        """The new config with its checked sources, or None while nothing has changed."""
        if time.monotonic() < self._next:
            return None
        self._next = time.monotonic() + _LOOK_EVERY_S
        stamp, settled = self._stamp(), self._settling
        self._settling = stamp
        # Editors replace a file, or write it in parts: it may be away for a moment, and is taken once it rests.
        if stamp is None or stamp != settled:
            return None
        if stamp == self._seen and not (self._fault and time.monotonic() >= self._retry_at):
            return None
        self._seen = stamp
        try:
            return self._changed()
        except InputError as error:
            if str(error) != self._fault:
                log.error("%s; the running job goes on as before", error)
            self._fault, self._retry_at = str(error), time.monotonic() + _RETRY_S
            return None

    def _changed(self) -> tuple[ChainConfig, Sources] | None:
        config = self._load()
        known = {unit.key: unit for unit in units_of(self._config)}
        new = [unit for unit in units_of(config) if not _same(unit, known.get(unit.key))]
        sources = preflight(config, new)
        self._fault = ""
        kept = {key: getattr(self._config, key) for key in ("chain", "data", "pipeline", "ad_hoc")}
        fixed = [key for key, value in kept.items() if getattr(config, key) != value]
        if fixed:
            log.warning("%s: %s changes at the next start only", self._path, ", ".join(fixed))
        config = config.model_copy(update=kept)
        if config == self._config:
            return None
        log.warning("%s: %s", self._path, describe(self._config, config))
        self._config = config
        self._sources |= sources
        return config, self._sources

    def _stamp(self) -> Stamp | None:
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


def _same(unit: Unit, other: Unit | None) -> bool:
    return other is not None and (unit.store.timezone, unit.camera) == (other.store.timezone, other.camera)
