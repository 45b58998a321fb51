"""The simulated chain: stores, cameras, zones, opening hours, and the effects that an analysis should find again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from risa_ray.config import CameraConfig, ChainConfig, ContentItem, StoreConfig, ZoneConfig, ZoneKind

WIDTH, HEIGHT = 1280, 720
TIMEZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata")
ROUND_THE_CLOCK = 4
"""Every fourth store never closes: its tracks cross midnight, and its days have 23 or 25 hours when clocks change."""

CONTENTS = ("promotion", "brand")
CONTENT_VALENCE = (0.12, 0.0)
CONTENT_ATTENTION = (0.6, 0.35)
SLOT_S = 1800
"""Contents take turns by the half hour, so that each runs in every hour of the week."""

SERVICE_VALENCE = {"before": -0.1, "during": 0.15, "after": 0.1}
SHARE_OF_ARRIVALS = {"door": 1.0, "aisle": 0.7, "till": 0.4}
HOUR_WEIGHTS = (
    0.1, 0.1, 0.05, 0.05, 0.05, 0.1, 0.2, 0.4, 0.6, 0.7, 0.8, 1.0, 1.4, 1.3, 1.0, 0.9, 1.1, 1.5, 1.6, 1.2, 0.7, 0.5,
    0.3, 0.2,
)  # fmt: skip

_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Zone:
    """A rectangle in pixels; `valence` and `attention` (chance that somebody who stays looks) are the truth."""

    id: str
    kind: ZoneKind
    x1: int
    y1: int
    x2: int
    y2: int
    tags: tuple[str, ...] = ()
    look_yaw: float | None = None
    valence: float = 0.0
    attention: float = 0.0


@dataclass(frozen=True, slots=True)
class Camera:
    id: str
    role: str
    fps: float
    zones: tuple[Zone, ...]


@dataclass(frozen=True, slots=True)
class Store:
    """`opens` and `closes` are local hours; 0 and 24 never close."""

    id: str
    timezone: str
    opens: int
    closes: int
    cameras: tuple[Camera, ...]

    def opening(self, day: date) -> tuple[int, int]:
        """Unix microseconds between which the store is open on a local day."""
        zone = ZoneInfo(self.timezone)
        shut = datetime.combine(day + timedelta(days=self.closes // 24), time(self.closes % 24), zone)
        return to_us(datetime.combine(day, time(self.opens), zone)), to_us(shut)


_ZONES: dict[str, tuple[Zone, ...]] = {
    "door": (
        Zone("entrance", "entrance", 100, 120, 500, 420),
        Zone("exit", "exit", 780, 120, 1180, 420),
    ),
    "aisle": (
        Zone("coffee", "product", 60, 240, 330, 440, ("coffee", "drinks"), -20, 0.15, 0.7),
        Zone("cake", "product", 360, 240, 630, 440, ("cake", "sweets"), 0, 0.0, 0.5),
        Zone("tea", "product", 660, 240, 930, 440, ("tea", "drinks"), 10, -0.15, 0.4),
        Zone("biscuits", "product", 960, 240, 1220, 440, ("biscuits", "sweets"), 25, 0.05, 0.6),
        Zone("screen", "screen", 400, 40, 880, 210, (), 0),
    ),
    "till": (
        Zone("queue", "queue", 80, 150, 520, 420),
        Zone("service", "service", 600, 150, 860, 420),
        Zone("checkout", "checkout", 920, 150, 1200, 420),
    ),
}
_FPS = {"door": 5.0, "aisle": 3.0, "till": 2.0}


def build_stores(count: int, fps: float | None = None) -> tuple[Store, ...]:
    """The stores of the chain; `fps` overrides every camera's rate."""
    return tuple(_store(number, fps) for number in range(count))


def _store(number: int, fps: float | None) -> Store:
    name = f"sim{number + 1:03d}"
    cameras = tuple(Camera(f"{name}-{role}", role, fps or _FPS[role], zones) for role, zones in _ZONES.items())
    always = number % ROUND_THE_CLOCK == ROUND_THE_CLOCK - 1
    opens, closes = (0, 24) if always else (9, 21)
    return Store(name, TIMEZONES[number % len(TIMEZONES)], opens, closes, cameras)


def chain_config(stores: tuple[Store, ...], dates: tuple[date, ...], data: str) -> ChainConfig:
    """The chain as a config; ad hoc, so that it claims nothing about the dataset's privacy settings."""
    return ChainConfig(
        chain="simulated",
        ad_hoc=True,
        data=data,
        stores=tuple(
            StoreConfig(
                id=s.id,
                name=f"Simulated {s.id}",
                timezone=s.timezone,
                cameras=tuple(_camera(camera, _schedule(s, dates)) for camera in s.cameras),
            )
            for s in stores
        ),
    )


def _camera(camera: Camera, schedule: tuple[ContentItem, ...]) -> CameraConfig:
    return CameraConfig(
        id=camera.id,
        source="simulated",
        name=camera.role,
        sampling_fps=camera.fps,
        policy="freshest",
        zones=tuple(_zone(zone, schedule if zone.kind == "screen" else ()) for zone in camera.zones),
    )


def _zone(zone: Zone, schedule: tuple[ContentItem, ...]) -> ZoneConfig:
    left, right, top, bottom = zone.x1 / WIDTH, zone.x2 / WIDTH, zone.y1 / HEIGHT, zone.y2 / HEIGHT
    return ZoneConfig(
        id=zone.id,
        kind=zone.kind,
        polygon=((left, top), (right, top), (right, bottom), (left, bottom)),
        name=zone.id,
        tags=zone.tags,
        look_yaw=zone.look_yaw,
        content=schedule,
    )


def _schedule(store: Store, dates: tuple[date, ...]) -> tuple[ContentItem, ...]:
    """What the screens of a store show: a content per slot of the opening hours."""
    return tuple(
        ContentItem.model_validate({"id": CONTENTS[slot % len(CONTENTS)], "from": _at(slot), "to": _at(slot + 1)})
        for slot in _slots(store, dates)
    )


def _slots(store: Store, dates: tuple[date, ...]) -> Iterator[int]:
    last = -1
    for day in dates:
        opens, closes = store.opening(day)
        for slot in range(max(opens // (SLOT_S * _US), last + 1), -(-closes // (SLOT_S * _US))):
            yield slot
            last = slot


def to_us(moment: datetime) -> int:
    return round(moment.timestamp()) * _US


def _at(slot: int) -> datetime:
    return datetime.fromtimestamp(slot * SLOT_S, UTC)
