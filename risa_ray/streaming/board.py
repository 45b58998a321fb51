"""What a running job tells those who ask, such as the live page. It is found by name from anywhere in the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray

from risa_ray.config import ChainConfig
from risa_ray.live.channels import Delivery
from risa_ray.live.figures import Figures
from risa_ray.live.presence import Person
from risa_ray.live.rules import Alert
from risa_ray.streaming.reader import ReaderStatus

NAMESPACE = "risa"
"""Of the named actors; Ray keeps the names of one job from another's otherwise."""
_PREFIX = "run-"
SHOWN_ALERTS = 50


@dataclass(frozen=True)
class Live:
    """A run now.

    Attributes:
        started_at: Unix seconds at which its committer's process began.
        revision: rises whenever the config changes, see `CommitterActor.describe`.
        aspects: camera_id -> width / height of its picture.
        readers: camera_id -> what the driver last heard of it.
        readers_age_s: seconds since the driver told.
        alerts: the latest `SHOWN_ALERTS`, oldest first, and how each fares on its channels.
        trouble: of the store; empty when all is well.
    """

    run_id: str
    chain: str
    started_at: float
    revision: int
    figures: tuple[Figures, ...]
    people: tuple[Person, ...]
    aspects: Mapping[str, float]
    readers: Mapping[str, ReaderStatus]
    readers_age_s: float
    alerts: Mapping[Alert, tuple[Delivery, ...]]
    trouble: str


def name_of(run_id: str, generation: int) -> str:
    """The name of a run's committer. A run that was resumed has another: the dead one's may linger."""
    return f"{_PREFIX}{run_id}-{generation}"


def names() -> list[str]:
    """The names of the jobs that run on this cluster."""
    actors = ray.util.list_named_actors(all_namespaces=True)
    return sorted(a["name"] for a in actors if a["namespace"] == NAMESPACE and a["name"].startswith(_PREFIX))


def find(name: str) -> Any:
    """The handle of a run's committer.

    Raises:
        ValueError: it is gone.
    """
    return ray.get_actor(name, namespace=NAMESPACE)


def public(config: ChainConfig) -> ChainConfig:
    """The config as others may see it: without addresses of cameras and channels, which may hold secrets."""
    stores = tuple(
        store.model_copy(
            update={
                "cameras": tuple(c.model_copy(update={"source": "", "credentials_env": None}) for c in store.cameras)
            }
        )
        for store in config.stores
    )
    return config.model_copy(update={"stores": stores, "channels": ()})
