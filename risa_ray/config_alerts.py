"""The alert rules of a config file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from risa_ray.config_base import Identifier, Model

if TYPE_CHECKING:  # it imports this module
    from risa_ray.config import CameraConfig, StoreConfig, ZoneConfig

Figure = Literal[
    "people",
    "queue_length",
    "longest_wait_s",
    "net_sentiment",
    "positive_share",
    "negative_share",
    "negative_s",
    "unknown_share",
    "delay_p95_s",
    "camera_down_s",
]
CountedKind = Literal["entrance", "exit", "product", "service", "queue", "checkout", "screen"]
"""The kinds of zones that people are counted in: a rule on a staff zone or a mask would never fire."""
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

KINDS: dict[str, tuple[CountedKind, ...]] = {"queue_length": ("queue", "checkout"), "longest_wait_s": ("queue",)}
"""Figures that only zones of some kinds have."""
_MOST = {"net_sentiment": 1, "positive_share": 1, "negative_share": 1, "unknown_share": 1}
_DAY_MINUTES = 24 * 60


def _minutes(value: object) -> object:
    """Minutes since midnight of "HH:MM". YAML reads 20:00 without quotes as a number to base 60, which is the same."""
    if isinstance(value, str) and (match := re.fullmatch(r"(\d{1,2}):([0-5]\d)", value)):
        value = int(match[1]) * 60 + int(match[2])
    elif isinstance(value, str) or (isinstance(value, int) and value < 60):
        raise ValueError("give a time of day as 09:00, up to 24:00")
    return value


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


TimeOfDay = Annotated[int, Field(strict=True, le=_DAY_MINUTES), BeforeValidator(_minutes), PlainSerializer(_clock)]


class Hours(Model):
    """A span of the store's local clock on some weekdays. One that does not end after it began ends on the next day."""

    days: tuple[Day, ...] = Field(default=DAYS, min_length=1)
    from_: TimeOfDay = Field(alias="from")
    to: TimeOfDay

    def hold(self, local: datetime) -> bool:
        """Whether a local time lies within."""
        minute = local.hour * 60 + local.minute
        today, yesterday = (DAYS[local.weekday() - back] in self.days for back in (0, 1))
        if self.from_ < self.to:
            return today and self.from_ <= minute < self.to
        return (today and minute >= self.from_) or (yesterday and minute < self.to)

    def __str__(self) -> str:
        return f"{', '.join(self.days)} {_clock(self.from_)} to {_clock(self.to)}"


class AlertRule(Model):
    """Fires when a rolling figure is past its threshold for `for_s`, in each camera or zone in scope.

    docs/alert-rules.md tells what every figure means. Give `above` or `below`. `store`, `camera`, `zone` and
    `zone_kind` narrow the scope; with a zone, a kind (or `per: zone`) the figure is that of each such zone. No figure
    is a sum over cameras. `hours` are those in which the rule is judged, by the store's local clock; none: always.
    `channels` are those that are told; None: all.
    """

    id: Identifier
    figure: Figure
    above: float | None = None
    below: float | None = None
    store: str | None = None
    camera: str | None = None
    zone: str | None = None
    zone_kind: CountedKind | None = None
    per: Literal["camera", "zone"] = "camera"
    window_s: float = Field(default=60, gt=0, le=3600)
    for_s: float = Field(default=0, ge=0)
    min_tracks: int = Field(default=1, ge=1)
    cooldown_s: float = Field(default=60, ge=0, le=366 * 86400)
    hours: tuple[Hours, ...] = ()
    severity: Literal["info", "warning", "critical"] = "warning"
    text: str = ""
    channels: tuple[Identifier, ...] | None = None

    @model_validator(mode="after")
    def _one_threshold(self) -> AlertRule:
        if (self.above is None) == (self.below is None):
            raise ValueError(f"alert {self.id}: give either 'above' or 'below'")
        most = _MOST.get(self.figure)
        if most is not None and self.above is not None and self.above >= most:
            raise ValueError(f"alert {self.id}: {self.figure} is never above {most}; 30 % is 0.3")
        return self

    @model_validator(mode="after")
    def _one_scope(self) -> AlertRule:
        if self.zone is not None and self.zone_kind is not None:
            raise ValueError(f"alert {self.id}: give either 'zone' or 'zone_kind'")
        kinds = KINDS.get(self.figure)
        if kinds and self.zone_kind is not None and self.zone_kind not in kinds:
            raise ValueError(f"alert {self.id}: {self.figure} is of zones of kind {' or '.join(kinds)}")
        if self.figure == "camera_down_s":
            if self.by_zone:
                raise ValueError(f"alert {self.id}: camera_down_s is of a whole camera; leave zones out")
            if "min_tracks" in self.model_fields_set:
                raise ValueError(f"alert {self.id}: nobody is seen by a camera that is down; leave min_tracks out")
        return self

    @property
    def by_zone(self) -> bool:
        """Whether the figure is that of zones, and not of whole cameras."""
        return self.per == "zone" or self.zone is not None or self.zone_kind is not None or self.figure in KINDS

    @property
    def threshold(self) -> tuple[float, Literal["above", "below"]]:
        """The value, and the side on which the rule fires."""
        return (self.above, "above") if self.above is not None else (self.below or 0.0, "below")

    def past(self, value: float) -> bool:
        """Whether a value is past the threshold."""
        threshold, side = self.threshold
        return value > threshold if side == "above" else value < threshold

    def open(self, local: datetime) -> bool:
        """Whether the rule is judged at a local time of the store."""
        return not self.hours or any(hours.hold(local) for hours in self.hours)


class Place(NamedTuple):
    """Where a rule looks. `zone` is None for a whole camera."""

    store: StoreConfig
    camera: CameraConfig
    zone: ZoneConfig | None


def places(rule: AlertRule, stores: Sequence[StoreConfig]) -> Iterator[Place]:
    """The cameras or zones in scope of a rule, in the config's order."""
    kinds = (rule.zone_kind,) if rule.zone_kind else KINDS.get(rule.figure)
    for store in stores:
        for camera in store.cameras:
            if rule.store not in (None, store.id) or rule.camera not in (None, camera.id):
                continue
            if not rule.by_zone:
                yield Place(store, camera, None)
                continue
            for zone in camera.zones:
                counted = not zone.hidden and (kinds is None or zone.kind in kinds)
                if counted and rule.zone in (None, zone.id):
                    yield Place(store, camera, zone)


def check_scopes(rules: Sequence[AlertRule], stores: Sequence[StoreConfig]) -> None:
    """Refuse rules that would never look anywhere.

    Raises:
        ValueError: one line.
    """
    cameras = {camera.id: (store.id, camera) for store in stores for camera in store.cameras}
    for rule in rules:
        if rule.store is not None and rule.store not in {store.id for store in stores}:
            there = ", ".join(store.id for store in stores)
            raise ValueError(f"alert {rule.id}: no store {rule.store!r}; there are {there}")
        if rule.camera is not None:
            if rule.camera not in cameras:
                raise ValueError(f"alert {rule.id}: no camera {rule.camera!r}; there are {', '.join(cameras)}")
            if rule.store not in (None, cameras[rule.camera][0]):
                raise ValueError(f"alert {rule.id}: camera {rule.camera} is not in store {rule.store}")
        if any(True for _ in places(rule, stores)):
            continue
        scope = [c for s, c in cameras.values() if rule.store in (None, s) and rule.camera in (None, c.id)]
        zones = [z for c in scope for z in c.zones if not z.hidden]
        # nobody is counted in a staff or mask zone: a rule on one would never fire
        if rule.zone is not None and rule.zone not in {z.id for z in zones}:
            there = ", ".join(dict.fromkeys(z.id for z in zones)) or "none"
            raise ValueError(f"alert {rule.id}: no zone {rule.zone!r} that people are counted in; there are {there}")
        kinds = (rule.zone_kind,) if rule.zone_kind else KINDS.get(rule.figure)
        if kinds is None:
            raise ValueError(f"alert {rule.id}: no zone that people are counted in; draw one, or leave out 'per: zone'")
        named = f"zone {rule.zone} is none" if rule.zone else "there is no zone"
        raise ValueError(f"alert {rule.id}: {rule.figure} needs a zone; {named} of kind {' or '.join(kinds)}")
