"""What the serving side knows, as Prometheus metrics.

Names and labels are those of the job's own metrics (`streaming.metrics`), which Ray's agents serve with `ray_` before
them. Nothing here is about moods or single zones: a time series in Prometheus knows neither the floor `k` nor the
retention of the tables.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from risa_ray.serving.models import AlertNow, CameraNow, LiveNow
from risa_ray.streaming.lifecycle import CAMERA_STATES

_CAMERA = ("store_id", "camera_id")
_RUN = ("run_id", "chain")
_DELIVERIES = ("pending", "delivered", "failed")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class LiveCollector(Collector):
    """The running jobs, as `live` tells them at the moment they are asked for.

    Counters begin at 0 with each process of the job, as `rate` expects. What is not known is left out.
    """

    def __init__(self, live: Callable[[], LiveNow]) -> None:
        self._live = live

    def collect(self) -> Iterable[Metric]:
        now = self._live()
        yield from _runs(now)
        yield from _cameras(now.cameras)
        # Without a picture nothing is known: that is no empty shop.
        seen = {(camera.store_id, camera.camera_id) for camera in now.cameras if camera.fps > 0}
        yield _gauge(
            "risa_people", "People in view now", _CAMERA,
            {
                (f.store_id, f.camera_id): f.people_now
                for f in now.figures
                if f.zone_id is None and (f.store_id, f.camera_id) in seen
            },
        )  # fmt: skip
        yield from _alerts(now.alerts)


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float | None]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        if value is not None:
            family.add_metric(key, float(value))
    return family


def _counter(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, float(value))
    return family


def _runs(now: LiveNow) -> Iterable[Metric]:
    runs = {(run.run_id, run.chain): run for run in now.runs}
    yield _gauge("risa_runs", "Streaming jobs that are running", (), {(): len(now.runs)})
    yield _gauge(
        "risa_run_start_time_seconds", "Unix time at which the job's committer began", _RUN,
        {key: run.started_at.timestamp() for key, run in runs.items()},
    )  # fmt: skip
    yield _gauge(
        "risa_run_silent_seconds", "Since the job last answered, while it does not", _RUN,
        {key: run.silent_s for key, run in runs.items()},
    )  # fmt: skip
    yield _gauge(
        "risa_store_trouble", "1 while the store cannot take rows: nothing is lost, all waits", _RUN,
        {key: bool(run.trouble) for key, run in runs.items()},
    )  # fmt: skip


def _cameras(found: list[CameraNow]) -> Iterable[Metric]:
    cameras = {(camera.store_id, camera.camera_id): camera for camera in found}

    def each(value: Callable[[CameraNow], Any]) -> dict[tuple[str, ...], Any]:
        return {key: value(camera) for key, camera in cameras.items()}

    yield _gauge(
        "risa_camera_state", "1 for the state that a camera is in, else 0", (*_CAMERA, "state"),
        {(*key, state): camera.state == state for key, camera in cameras.items() for state in CAMERA_STATES},
    )  # fmt: skip
    yield _counter("risa_camera_connections", "Times that a camera connected", _CAMERA, each(lambda c: c.connections))
    yield _counter("risa_camera_stalls", "Times that a camera stalled", _CAMERA, each(lambda c: c.stalls))
    yield _counter(
        "risa_camera_decode_errors", "Pictures that could not be decoded", _CAMERA, each(lambda c: c.decode_errors)
    )
    yield _gauge("risa_camera_frame_rate", "Frames analysed per second, over 60 s", _CAMERA, each(lambda c: c.fps))
    yield _gauge("risa_camera_age_seconds", "Since the newest frame", _CAMERA, each(lambda c: c.age_s))
    yield _gauge(
        "risa_delay_p50_seconds", "As risa_delay_p95_seconds, the median", _CAMERA, each(lambda c: c.delay_p50_s)
    )
    yield _gauge(
        "risa_delay_p95_seconds",
        "From a frame's arrival to its rolling figures",
        _CAMERA,
        each(lambda c: c.delay_p95_s),
    )
    yield _gauge(
        "risa_camera_dropped_frames", "Frames dropped in the last 60 s, by cause", (*_CAMERA, "cause"),
        {(*key, cause): number for key, camera in cameras.items() for cause, number in camera.dropped.items()},
    )  # fmt: skip


def _alerts(alerts: list[AlertNow]) -> Iterable[Metric]:
    """Of the latest, at most 50 of 24 hours, which is what the job tells."""
    channels = {delivery.channel for alert in alerts for delivery in alert.deliveries}
    tally: Tally[tuple[str, str]] = Tally(
        (delivery.channel, delivery.state) for alert in alerts for delivery in alert.deliveries
    )
    yield _gauge(
        "risa_alert_deliveries", "The latest alerts on each channel, by what became of them", ("channel", "state"),
        {(channel, state): tally[channel, state] for channel in sorted(channels) for state in _DELIVERIES},
    )  # fmt: skip
    waiting = Tally(alert.severity for alert in alerts if alert.acknowledged_at is None)
    yield _gauge(
        "risa_alerts_unacknowledged", "The latest alerts that nobody has acknowledged", ("severity",),
        {(severity,): waiting[severity] for severity in ("info", "warning", "critical")},
    )  # fmt: skip


class Traffic:
    """Counts the server's own requests, and what its process takes."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "risa_serve_requests", "Requests answered", ("route", "method", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "risa_serve_request_seconds", "From a request to the end of its answer, but for open pages", ("route",),
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._refused = Counter(
            "risa_serve_refused", "Requests that were not let through, by reason", ("reason",), registry=self._registry
        )
        self._streams = Gauge("risa_serve_event_streams", "Pages that are open", registry=self._registry)

    def watch_streams(self, count: Callable[[], int]) -> None:
        """Where to ask how many pages are open."""
        self._streams.set_function(count)

    def note(self, method: str, route: str, status: int, seconds: float, refused: str) -> None:
        """A request that ended.

        Args:
            route: the pattern of its path, never the path itself: anybody can ask for any number of paths.
            status: 0: the client went before there was an answer.
            refused: the reason, where the gate has refused it.
        """
        known = method if method in ("GET", "HEAD", "POST") else "other"
        self._requests.labels(route, known, str(status)).inc()
        if refused:
            self._refused.labels(refused).inc()
        else:
            self._seconds.labels(route).observe(seconds)

    def render(self, live: LiveNow) -> bytes:
        """All metrics as text: the server's own and those of the running jobs."""
        jobs = CollectorRegistry()
        jobs.register(LiveCollector(lambda: live))
        return generate_latest(self._registry) + generate_latest(jobs)
