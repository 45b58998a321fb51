"""What the API says, as its OpenAPI document describes it. docs/metrics.md defines every figure."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Rounded = Annotated[float, AfterValidator(lambda value: round(value, 4))]
"""To four decimals: an event of 200 cameras is a sixth smaller, and nobody sees more."""


class Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Zone(Answer):
    """`polygon`: corners in 0..1 of the picture."""

    zone_id: str
    name: str
    kind: str
    tags: list[str]
    polygon: list[tuple[float, float]]
    target_wait_s: float


class CameraZone(Zone):
    """A zone and whose it is."""

    store_id: str
    camera_id: str


class Camera(Answer):
    """A camera as the config has it; never its source, which may hold a password."""

    store_id: str
    camera_id: str
    name: str
    zones: list[Zone]


class Store(Answer):
    store_id: str
    name: str
    timezone: str
    cameras: list[Camera]


class CameraNow(Answer):
    """How a camera is. Delay, fps and drops are those of the last 60 s; `dropped`: cause -> frames.

    `age_s`: seconds since its newest frame, above 0 only for a camera that has gone quiet; None: no frame came yet.
    `aspect`: width of its picture divided by the height; None before its first frame. `picture`: its config allows a
    picture with blurred faces, /v1/cameras/{camera_id}/picture.
    """

    store_id: str
    camera_id: str
    state: str
    note: str
    connections: int
    stalls: int
    decode_errors: int
    fps: Rounded
    delay_p50_s: Rounded | None
    delay_p95_s: Rounded | None
    age_s: Rounded | None
    dropped: dict[str, int]
    aspect: Rounded | None = None
    picture: bool = False


class FiguresNow(Answer):
    """A camera (`zone_id` None) or one of its zones over the last `window_s` seconds.

    What the floor `k` hides is None, and `status` says so. `queue_length`: people standing there at a time, averaged
    over the window; for zones of kind queue and checkout, else None. `longest_wait_s`: how long the person who came
    first to a zone of kind queue, and is still there, has been there, else None.
    """

    store_id: str
    camera_id: str
    zone_id: str | None
    at: datetime
    window_s: Rounded
    k: int
    people_now: int
    tracks: int | None
    with_mood: int | None
    positive: int | None
    neutral: int | None
    negative: int | None
    net_sentiment: Rounded | None
    ci: tuple[Rounded, Rounded] | None
    negative_share: Rounded | None
    unknown_share: Rounded | None
    expressions: dict[str, int]
    queue_length: Rounded | None = None
    longest_wait_s: Rounded | None = None
    status: Literal["ok", "suppressed", "no_mood", "mood_suppressed"]


class PersonNow(Answer):
    """A face seen in the last 2 s. `x`, `y`: its centre, `size`: its height, in 0..1 of the picture.

    `number` tells people of one camera apart while they are in view, and nothing else. `expression` is the apparent
    one; None where it cannot be read, or fewer than k people are there.
    """

    store_id: str
    camera_id: str
    number: int
    x: Rounded
    y: Rounded
    size: Rounded
    zone_ids: list[str]
    expression: str | None


class Delivery(Answer):
    """An alert on one of its channels. `at`: of the delivery, or of the last try."""

    channel: str
    state: Literal["pending", "delivered", "failed"]
    at: datetime | None = None
    tries: int = 0
    error: str = ""


class AlertNow(Answer):
    """An alert that fired. `tracks` is None where the floor hides it."""

    alert_id: str
    rule_id: str
    store_id: str
    camera_id: str
    zone_id: str | None
    figure: str
    value: float
    threshold: float
    direction: Literal["above", "below"]
    tracks: int | None
    window_s: float
    severity: Literal["info", "warning", "critical"]
    text: str
    fired_at: datetime
    deliveries: list[Delivery] = Field(default_factory=list)
    acknowledged_at: datetime | None = None
    acknowledged_by: str = ""


class Acknowledgement(Answer):
    """The first one of an alert, which counts."""

    alert_id: str
    acknowledged_at: datetime
    acknowledged_by: str


class RunNow(Answer):
    """A streaming job that was found. `silent_s`: since its last answer; `trouble`: of its store, empty when well."""

    run_id: str
    chain: str
    started_at: datetime
    silent_s: float
    trouble: str


class LiveNow(Answer):
    """Everything now. Sent as server-sent event `live`, at most twice a second.

    `runs` is empty while no job is running: cameras and figures are then empty too. `revision` changes whenever
    /v1/stores does. `alerts`: of the last 24 h, newest first, at most 50.
    """

    at: datetime
    revision: str
    runs: list[RunNow]
    cameras: list[CameraNow]
    figures: list[FiguresNow]
    people: list[PersonNow]
    alerts: list[AlertNow]


class HourMood(Answer):
    """The last hour of a camera (`zone_id` None) or of one of its zones, minute by minute.

    `tracks` and `net_sentiment` (three decimals) have an entry per minute, the first for `HourNow.since`; None: not
    known, or not to be shown. `hidden`: why a minute has no net sentiment, as statuses of view `mood_by_minute` ->
    numbers of the minutes, 0 the first. Minutes of which nothing is known are in none of its lists.
    """

    store_id: str
    camera_id: str
    zone_id: str | None
    tracks: list[int | None]
    net_sentiment: list[float | None]
    hidden: dict[str, list[int]]


class QueueHour(Answer):
    """Waits in a queue zone in a local hour, as view `operations` has it.

    `zone_id` None: of all the queues of a camera that watches several, which the view has together. `hour_local`: when
    the hour began, in the store's time zone: the hour under way, or the one before while that tells no waits yet.
    `target_wait_s`: the largest of the queues'.
    """

    store_id: str
    camera_id: str
    zone_id: str | None
    hour_local: datetime
    wait_p50_s: float | None
    wait_p95_s: float | None
    service_level: float | None
    target_wait_s: float | None
    status: str


class HourNow(Answer):
    """The last hour from the tables. Sent as server-sent event `hour`, every 30 s.

    `since`: when the first of the 60 minutes of `moods` began.
    """

    at: datetime
    since: datetime
    moods: list[HourMood]
    queues: list[QueueHour]


class Health(Answer):
    """`status`: ok; degraded: a camera or the store is in trouble, or a job does not answer; no_run: no job runs."""

    status: Literal["ok", "degraded", "no_run"]
    at: datetime
    version: str
    runs: list[RunNow]
    cameras: dict[str, int] = Field(description="cameras by state")
    notes: list[str]


class Problem(Answer):
    """What every error says, in one line: what, where and the way out."""

    detail: str
