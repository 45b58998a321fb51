"""What a run sees now: figures, people in view, alerts. With a lock of its own, which no store's trouble holds."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from risa_ray.config import ChainConfig
from risa_ray.frames import Chunk
from risa_ray.live.channels import Secrets
from risa_ray.live.figures import Figures
from risa_ray.live.presence import Presence
from risa_ray.live.rolling import Rolling
from risa_ray.live.rules import Alert
from risa_ray.streaming.alerting import Alerting
from risa_ray.streaming.board import SHOWN_ALERTS, Live, public
from risa_ray.streaming.reader import ReaderStatus


class Scene:
    """Fed by the chunks that the store takes; asked by the driver, the rules and the live page, each at its own pace.

    Args:
        config: of the run.
        run_id: of its record.
        secrets: of its alert channels.

    Attributes:
        alerting: what fired, and what became of it.
    """

    def __init__(self, config: ChainConfig, run_id: str, secrets: Secrets) -> None:
        self.alerting = Alerting(config, secrets)
        self._run_id, self._began = run_id, time.time()
        self._config, self._revision = config, 0
        self._rolling = Rolling(config)
        self._presence = Presence(config)
        self._readers: Mapping[str, ReaderStatus] = {}
        self._readers_at = self._began
        self._analyzers: Mapping[str, Any] = {}
        self._outcomes: dict[str, Counter[str]] = {}
        self._faces = 0
        self._ended = False
        self._lock = threading.Lock()

    def reconfigure(self, config: ChainConfig, secrets: Secrets) -> None:
        """Follow the config in force: what stays keeps what it holds."""
        with self._lock:
            if config != self._config:
                self._config, self._revision = config, self._revision + 1
            self._rolling.reconfigure(config)
            self._presence.reconfigure(config)
            self.alerting.reconfigure(config, secrets)

    def add(self, chunk: Chunk) -> None:
        """Take in frames that are new."""
        with self._lock:
            # A camera that an edited config adds or removes may be ahead of it, or behind.
            if self._rolling.watches(chunk.camera_id):
                self._rolling.add(chunk, time.time())
                self._presence.add(chunk)
            self._count(chunk.camera_id, Counter(o.cause or "analysed" for o in chunk.outcomes))
            self._faces += len(chunk.faces)

    def count(self, camera_id: str, outcomes: Mapping[str, int]) -> None:
        """Frames that no chunk tells of."""
        with self._lock:
            self._count(camera_id, outcomes)

    def evaluate(self, last: bool = False) -> bool:
        """Fire the alert rules; whether one did.

        Args:
            last: none may fire after this.
        """
        with self._lock:
            fired = not self._ended and self.alerting.evaluate(self._rolling)
            self._ended = self._ended or last
            return fired

    def told(self, readers: Mapping[str, ReaderStatus], analyzers: Mapping[str, Any]) -> None:
        """Note how the driver knows each camera to be, and which analyzers can show a picture of one."""
        with self._lock:
            self._readers, self._readers_at, self._analyzers = readers, time.time(), analyzers

    def analyzer_of(self, camera_id: str) -> Any:
        """The handle of the analyzer to ask for a camera's picture, or None."""
        with self._lock:
            return self._analyzers.get(camera_id)

    def counts(self) -> tuple[tuple[Figures, ...], dict[str, dict[str, int]], int]:
        """The figures now; per camera, frames by what became of them; faces."""
        with self._lock:
            outcomes = {camera_id: dict(counts) for camera_id, counts in self._outcomes.items()}
            return tuple(self._rolling.figures(time.time())), outcomes, self._faces

    def alerts_since(self, seen: int) -> tuple[tuple[Alert, ...], int]:
        """The alerts after the first `seen` of this process, as far as they are kept, and how many there were."""
        with self._lock:
            new = max(0, self.alerting.count - seen)
            return tuple(list(self.alerting.recent)[-new:] if new else ()), self.alerting.count

    def live(self, trouble: str) -> Live:
        """The run now."""
        with self._lock:
            now = time.time()
            # A file that is read as fast as it goes has no clock by which its people leave.
            ended = {camera_id for camera_id, reader in self._readers.items() if reader.state in ("complete", "broken")}
            return Live(
                run_id=self._run_id,
                started_at=self._began,
                chain=self._config.chain,
                revision=self._revision,
                figures=tuple(self._rolling.figures(now)),
                people=tuple(p for p in self._presence.people(now) if p.camera_id not in ended),
                aspects=self._presence.aspects(),
                readers=self._readers,
                readers_age_s=now - self._readers_at,
                alerts=self.alerting.latest(SHOWN_ALERTS),
                trouble=trouble,
            )

    def describe(self) -> tuple[int, ChainConfig]:
        """The config's revision, and the config as others may see it."""
        with self._lock:
            return self._revision, public(self._config)

    def _count(self, camera_id: str, outcomes: Mapping[str, int]) -> None:
        self._outcomes.setdefault(camera_id, Counter()).update(outcomes)
