"""The YAML that describes a chain: stores, cameras, zones, the pipeline, privacy and alert rules."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from risa_ray.config_alerts import AlertRule, Hours, check_scopes
from risa_ray.config_base import Identifier, Model
from risa_ray.config_channels import ChannelConfig, FileChannel, MqttChannel, WebhookChannel
from risa_ray.config_faults import StrictLoader, explain
from risa_ray.config_serve import SECTIONS as SERVE_SECTIONS
from risa_ray.config_serve import ServeConfig
from risa_ray.errors import InputError
from risa_ray.redaction import redact as redact

Point = tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]]
ZoneKind = Literal["entrance", "exit", "product", "service", "queue", "checkout", "screen", "staff", "mask"]
Policy = Literal["every_frame", "freshest"]
Detector = Literal["mtcnn", "haar", "dlib"]


class ContentItem(Model):
    """What a screen shows from one time to another (aware times). A content that comes back has an item per showing."""

    id: Identifier
    from_: datetime = Field(alias="from")
    to: datetime

    @model_validator(mode="after")
    def _ordered(self) -> ContentItem:
        for value in (self.from_, self.to):
            if value.tzinfo is None:
                raise ValueError(f"content {self.id}: give times with their zone, as 2026-11-22T09:00:00+01:00")
        if self.to <= self.from_:
            raise ValueError(f"content {self.id}: 'to' must come after 'from'")
        return self


class ZoneConfig(Model):
    """A polygon in relative picture coordinates (0..1), drawn where faces appear."""

    id: Identifier
    kind: ZoneKind
    polygon: tuple[Point, ...] = Field(min_length=3)
    name: str = ""
    tags: tuple[str, ...] = ()
    look_yaw: float | None = Field(default=None, ge=-90, le=90)
    target_wait_s: float = Field(default=180, gt=0)
    content: tuple[ContentItem, ...] = ()

    @property
    def hidden(self) -> bool:
        """Whether nothing is told of anybody in it."""
        return self.kind in ("staff", "mask")

    @field_validator("polygon")
    @classmethod
    def _simple(cls, polygon: tuple[Point, ...]) -> tuple[Point, ...]:
        """A polygon that crosses itself has no inside worth the name."""
        n = len(polygon)
        edges = [(polygon[i], polygon[(i + 1) % n]) for i in range(n)]
        area = sum(a[0] * b[1] - b[0] * a[1] for a, b in edges) / 2
        crossing = any(
            _cross(edges[i], edges[j]) for i in range(n) for j in range(i + 2, n) if not (i == 0 and j == n - 1)
        )
        if crossing:
            raise ValueError("the polygon crosses itself; list its corners in order around the zone")
        if abs(area) < 1e-6:
            raise ValueError("the polygon has no area; give at least three corners that are not in one line")
        return polygon

    @model_validator(mode="after")
    def _one_content_at_a_time(self) -> ZoneConfig:
        for item, later in pairwise(sorted(self.content, key=lambda item: item.from_)):
            if later.from_ < item.to:
                raise ValueError(
                    f"content {item.id} runs to {item.to.isoformat()} and {later.id} from {later.from_.isoformat()}; "
                    "a screen shows one at a time, so let one end before the next begins"
                )
        return self


def _cross(a: tuple[Point, Point], b: tuple[Point, Point]) -> bool:
    def side(p: Point, q: Point, r: Point) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return side(*a, b[0]) * side(*a, b[1]) < 0 and side(*b, a[0]) * side(*b, a[1]) < 0


class CameraConfig(Model):
    """One camera.

    `source` is a video or picture file, a folder of pictures, a URL (rtsp, http), `usb:0` or `usb:/dev/video0`, or
    `demo:front` and `demo:side`. `policy` defaults to `every_frame` for files and `freshest` for live sources.
    `credentials_env` names an environment variable that holds `user:password` for the URL.
    """

    id: Identifier
    source: str = Field(min_length=1)
    name: str = ""
    sampling_fps: float | None = Field(default=None, gt=0, le=240, description="None: every frame of the source")
    policy: Policy | None = None
    max_staleness_s: float = Field(default=0.5, gt=0)
    stall_timeout_s: float = Field(
        default=5, gt=0, le=600, description="without a picture for so long a camera is stalled, for twice as long lost"
    )
    transport: Literal["tcp", "udp"] = Field(default="tcp", description="of RTSP; udp loses packets, never waits")
    credentials_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    detector: Detector = "mtcnn"
    min_face_size: int = Field(default=40, ge=12, description="in pixels of the analysed picture")
    detect_every: int = Field(default=1, ge=1, description="frames from one full detection to the next, at most")
    max_width: int | None = Field(default=None, ge=64, description="wider pictures are reduced before analysis")
    start: datetime | None = Field(default=None, description="capture time of a file's first frame, with its zone")
    realtime: bool = Field(default=False, description="play a file at its own speed, as if it were live")
    node: str | None = Field(default=None, description="Ray node (IP or id) that the reader is pinned to")
    blurred_picture: bool = Field(
        default=False, description="the live page may show its picture, reduced and with the faces found blurred"
    )
    zones: tuple[ZoneConfig, ...] = ()

    @property
    def real_time(self) -> bool:
        """Whether the wall clock holds for it: anything else is read as fast as it goes."""
        return self.realtime or is_url(self.source) or self.source.startswith(("usb:", "demo:"))

    @field_validator("start")
    @classmethod
    def _aware(cls, start: datetime | None) -> datetime | None:
        if start is not None and start.tzinfo is None:
            raise ValueError("give the time with its zone, as 2026-11-22T09:00:00+01:00")
        return start

    @model_validator(mode="after")
    def _reachable(self) -> CameraConfig:
        if self.transport == "udp" and not self.source.lower().startswith("rtsp://"):
            raise ValueError("transport udp is for rtsp:// addresses; leave it out")
        if self.credentials_env is not None:
            if not is_url(self.source):
                raise ValueError("credentials_env is for addresses such as rtsp://host/path; leave it out")
            if re.match(r"[^:]+://[^/?#]*@", self.source):
                raise ValueError("give the credentials either in the address or by credentials_env")
        return self

    @model_validator(mode="after")
    def _refinable(self) -> CameraConfig:
        if self.detect_every > 1 and self.detector != "mtcnn":
            raise ValueError(f"detect_every {self.detect_every} needs detector mtcnn; {self.detector} has no stages")
        return self

    @model_validator(mode="after")
    def _unique_zones(self) -> CameraConfig:
        _unique("zone", [z.id for z in self.zones], f"camera {self.id}")
        return self


class StoreConfig(Model):
    id: Identifier
    name: str = ""
    timezone: str = "UTC"
    cameras: tuple[CameraConfig, ...] = Field(min_length=1)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"unknown time zone {value!r}; use a name such as Europe/Berlin")
        return value

    @property
    def tzinfo(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


class PipelineConfig(Model):
    """How the work is spread over the cluster."""

    analyzers: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default=1, description="auto: as many as the cluster's nodes can take, also when nodes join or leave"
    )
    analyzer_timeout_s: float = Field(default=60, gt=0, description="a batch that takes longer hangs: a new process")
    gpus_per_analyzer: float = Field(default=0, ge=0)
    cpus_per_analyzer: float = Field(default=1, gt=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(default=None, ge=1, description="of one analyzer; None: the node's cores shared out")
    batch_window_ms: float = Field(default=5, ge=0, le=1000)
    max_batch: int = Field(default=16, ge=1, description="frames in one detector call")
    flush_s: float = Field(default=1.0, gt=0, le=2)
    model: str = Field(default="default", description="a name under models/, or a path")


class RetentionConfig(Model):
    """For how many days the tables keep their rows, by capture time in whole UTC days; None keeps them for good.

    `observations` are the raw rows, one per face and frame; `tracks` those of table `closed_tracks`, one per person
    followed, which tell the same views about days whose raw rows are gone.
    """

    observations: int | None = Field(default=30, ge=1, le=36500)
    tracks: int | None = Field(default=395, ge=1, le=36500)
    frames: int | None = Field(default=395, ge=1, le=36500)
    alerts: int | None = Field(default=395, ge=1, le=36500)


class PrivacyConfig(Model):
    """`k`: figures about fewer than k people are suppressed. `retention`: what is kept for how long."""

    k: int = Field(default=10, ge=1)
    retention: RetentionConfig = RetentionConfig()


class ChainConfig(Model):
    """A whole config file.

    `ad_hoc` marks a config made from a command line: what it leaves at its default, it does not claim for the dataset.
    """

    chain: Identifier = "chain"
    ad_hoc: bool = False
    data: str = "data"
    stores: tuple[StoreConfig, ...] = Field(min_length=1)
    pipeline: PipelineConfig = PipelineConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    alerts: tuple[AlertRule, ...] = ()
    channels: tuple[ChannelConfig, ...] = ()
    serve: ServeConfig | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ChainConfig:
        _unique("store", [s.id for s in self.stores])
        _unique("camera", [c.id for _, c in self.cameras()])
        _unique("alert", [a.id for a in self.alerts])
        check_scopes(self.alerts, self.stores)
        return self

    @model_validator(mode="after")
    def _known_channels(self) -> ChainConfig:
        ids = [c.id for c in self.channels]
        _unique("channel", ids)
        for rule in self.alerts:
            unknown = [channel for channel in rule.channels or () if channel not in ids]
            if unknown:
                there = ", ".join(ids) or "none"
                raise ValueError(f"alert {rule.id}: no channel {unknown[0]!r}; there are {there}")
        return self

    @property
    def retention(self) -> RetentionConfig | None:
        """What the config says about retention; None for one made from a command line, which purges nothing."""
        return None if self.ad_hoc else self.privacy.retention

    def cameras(self) -> Iterator[tuple[StoreConfig, CameraConfig]]:
        """Every camera with its store, in the file's order."""
        for store in self.stores:
            for camera in store.cameras:
                yield store, camera


def _unique(what: str, ids: list[str], where: str = "the chain") -> None:
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise ValueError(f"{what} id {twice[0]!r} is used twice; ids must be unique in {where}")


_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def is_url(source: str) -> bool:
    return bool(_URL.match(source))


def load_config(path: Path) -> ChainConfig:
    """Read and check a config file. Relative paths in it are relative to the file.

    Raises:
        InputError: one line that names the file, the key, the value and the way out.
    """
    config = parse_config(read_yaml(path, "stores"), str(path))
    return resolve_paths(config, path.resolve().parent)


def read_yaml(path: Path, expected: str, example: str = "configs/") -> dict[str, Any]:
    """The mapping in a config file.

    Args:
        expected: a key that it must have, named when the file holds no mapping at all.
        example: where to look for one.

    Raises:
        InputError: it cannot be read, or is no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such config file; see {example} for an example") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: cannot be read as a config file (not UTF-8 text); save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a config file ({error.strerror}); give a YAML file") from None
    try:
        raw = yaml.load(text, StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "syntax error"
        raise InputError(f"{path}{where}: not valid YAML ({problem}); correct this line or the one above") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: expected a mapping with '{expected}:'; see {example} for an example")
    return raw


def parse_config(raw: dict[str, Any], origin: str) -> ChainConfig:
    """Validate a config given as a mapping; `origin` names it in errors.

    Raises:
        InputError: as `load_config`.
    """
    try:
        return ChainConfig.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{origin}: {explain(error, raw, _known_keys)}") from None


def _known_keys(section: str) -> list[str]:
    return [field.alias or name for name, field in _SECTIONS.get(section, ChainConfig).model_fields.items()]


_SECTIONS: dict[str, type[Model]] = {
    "stores": StoreConfig,
    "cameras": CameraConfig,
    "zones": ZoneConfig,
    "content": ContentItem,
    "alerts": AlertRule,
    "hours": Hours,
    # Their kind stands before their keys.
    "webhook": WebhookChannel,
    "mqtt": MqttChannel,
    "file": FileChannel,
    "pipeline": PipelineConfig,
    "privacy": PrivacyConfig,
    "retention": RetentionConfig,
    **SERVE_SECTIONS,
}


def resolve_paths(config: ChainConfig, base: Path) -> ChainConfig:
    """The same config with file sources, data and model paths made absolute against `base`."""

    def absolute(value: str) -> str:
        return str(base / os.path.expanduser(value))

    stores = tuple(
        store.model_copy(
            update={
                "cameras": tuple(
                    camera
                    if is_url(camera.source) or camera.source.startswith(("usb:", "demo:"))
                    else camera.model_copy(update={"source": absolute(camera.source)})
                    for camera in store.cameras
                )
            }
        )
        for store in config.stores
    )
    data = config.data if is_url(config.data) else absolute(config.data)
    pipeline = config.pipeline
    if "/" in pipeline.model or pipeline.model.endswith((".safetensors", ".onnx")):
        pipeline = pipeline.model_copy(update={"model": absolute(pipeline.model)})
    channels = tuple(channel.resolved(absolute) for channel in config.channels)
    update = {"stores": stores, "data": data, "pipeline": pipeline, "channels": channels}
    return config.model_copy(update=update | {"serve": config.serve and config.serve.resolved(absolute)})
