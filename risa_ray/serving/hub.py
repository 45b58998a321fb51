"""What the running jobs say now, asked once for everybody who looks."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ray.exceptions import RayActorError, RayError

from risa_ray.config import ChainConfig
from risa_ray.frames import from_unix
from risa_ray.serving import models
from risa_ray.store.alert_events import Acknowledged
from risa_ray.store.errors import StoreError
from risa_ray.streaming import board
from risa_ray.streaming.pictures import Picture

log = logging.getLogger("risa.serve")

FRESH_S = 0.2
"""An answer this new is given again."""
TICK_S = 0.5
"""Open pages get figures this often."""
HOUR_EVERY_S = 30.0
"""How often they get the last hour from the tables."""
HOUR_KEPT = timedelta(minutes=5)
"""An hour that was read for pages that have gone is not shown later."""
LOOK_S = 2.0
"""How often jobs that came or went are looked for."""
OLD_S = 10.0
"""A camera that the driver has not told of for longer is said to be as it was."""
FORGET_S = 3.0
"""What a job that is silent for longer has said of people is not shown any more."""
ACKNOWLEDGE_S = 10.0
PATIENCE_S = 1.0
"""A job that has not answered for so long is shown with its last answer, and how old that is."""


@dataclass
class _Job:
    """One running job: its actor, and the last it said."""

    actor: Any
    live: board.Live | None = None
    config: ChainConfig | None = None
    described: tuple[float, int] | None = None
    heard_at: float = field(default_factory=time.monotonic)
    asking: asyncio.Task[None] | None = None

    @property
    def silent_s(self) -> float:
        """Seconds since its last answer."""
        return time.monotonic() - self.heard_at

    async def ask(self) -> None:
        """Ask it, or wait for the answer to the question before; a job that hangs keeps nobody waiting for long."""
        if self.asking is None or self.asking.done():
            self.asking = asyncio.create_task(self._ask())
        await asyncio.wait([self.asking], timeout=PATIENCE_S)

    async def _ask(self) -> None:
        try:
            live = await self.actor.live.remote()
            if (live.started_at, live.revision) != self.described:
                revision, self.config = await self.actor.describe.remote()
                self.described = live.started_at, revision
            self.live, self.heard_at = live, time.monotonic()
        except Exception as error:
            # It restarts, is gone, or is of another version; `silent_s` tells for how long.
            log.debug("a job does not answer: %s", error)


class Hub:
    """Finds the jobs of the cluster, asks them, and tells every page the same bytes.

    Args:
        hour: what the tables say of the last hour; None: they cannot tell.
        latest: joins alerts of the tables to those of the jobs, see `AlertBook.latest`.
        names, find: of the jobs' actors, see `streaming.board`.
    """

    def __init__(
        self,
        hour: Callable[[], Awaitable[models.HourNow | None]],
        latest: Callable[[Iterable[models.AlertNow]], list[models.AlertNow]],
        names: Callable[[], Sequence[str]] = board.names,
        find: Callable[[str], Any] = board.find,
    ) -> None:
        self._hour, self._latest = hour, latest
        self._names, self._find = names, find
        self._jobs: dict[str, _Job] = {}
        self._looked_at = self._asked_at = float("-inf")
        self._asking = asyncio.Lock()
        self._listeners = 0
        self._ticking: asyncio.Task[None] | None = None
        self._ticked = asyncio.Event()
        self._frame = self._hour_frame = b""
        self._hour_at = float("-inf")
        self._reading: asyncio.Future[models.HourNow | None] | None = None

    @property
    def listeners(self) -> int:
        """Pages that are open."""
        return self._listeners

    async def jobs(self) -> list[_Job]:
        """The jobs that have answered, each with what it said at most `FRESH_S` ago, if it can."""
        async with self._asking:
            if time.monotonic() - self._asked_at > FRESH_S:
                await self._look()
                await asyncio.gather(*(job.ask() for job in self._jobs.values()))
                self._asked_at = time.monotonic()
        return [job for job in self._jobs.values() if job.live is not None and job.config is not None]

    @property
    def unheard(self) -> list[str]:
        """Names of jobs that are there and have never answered."""
        return [name for name, job in self._jobs.items() if job.live is None or job.config is None]

    async def live(self) -> models.LiveNow:
        """Everything now."""
        jobs = await self.jobs()
        lives = [job.live for job in jobs if job.live is not None]
        heard = [job.live for job in jobs if job.live is not None and job.silent_s < FORGET_S]
        return models.LiveNow(
            at=datetime.now(UTC),
            revision="/".join(f"{live.run_id}.{live.started_at:.0f}.{live.revision}" for live in lives),
            runs=[_run(job) for job in jobs],
            cameras=[camera for job in jobs for camera in _cameras(job)],
            figures=[models.FiguresNow.model_validate(f) for live in heard for f in live.figures],
            people=[models.PersonNow.model_validate(p) for live in heard for p in live.people],
            alerts=self._latest(alert for live in lives for alert in _alerts(live)),
        )

    async def alerts(self) -> list[models.AlertNow]:
        """The latest alerts of the running jobs, oldest first."""
        return [alert for job in await self.jobs() if job.live for alert in _alerts(job.live)]

    async def stores(self) -> list[models.Store]:
        """The stores of the running jobs, as their configs have them; jobs may share one."""
        found: dict[str, models.Store] = {}
        for store in (store for job in await self.jobs() if job.config for store in job.config.stores):
            told = _store(store)
            if store.id in found:
                known = found[store.id].cameras
                ids = {camera.camera_id for camera in known}
                known.extend(camera for camera in told.cameras if camera.camera_id not in ids)
            else:
                found[store.id] = told
        return list(found.values())

    async def acknowledge(self, alert_id: str, by: str) -> Acknowledged | None:
        """Have the job that an alert is of note that somebody sees to it; None: no job tells of it.

        Raises:
            InputError: it is not stored yet.
            StoreError: it cannot be noted now.
        """
        for job in await self.jobs():
            if job.live is not None and any(alert.alert_id == alert_id for alert in job.live.alerts):
                try:
                    async with asyncio.timeout(ACKNOWLEDGE_S):
                        done: Acknowledged = await job.actor.acknowledge.remote(alert_id, by)
                        return done
                except (RayActorError, TimeoutError):
                    raise StoreError("the job does not answer") from None
        return None

    async def shows_picture(self, camera_id: str, store_id: str | None = None) -> bool:
        """Whether a running job has such a camera, whose config allows a picture with blurred faces."""
        return await self._showing(camera_id, store_id) is not None

    async def picture(self, camera_id: str, store_id: str | None = None) -> Picture | None:
        """The newest picture of such a camera. Asking has the next one drawn; None: there is none now."""
        job = await self._showing(camera_id, store_id)
        if job is None:
            return None
        with suppress(RayError, TimeoutError):  # it restarts, or hangs
            async with asyncio.timeout(PATIENCE_S):
                analyzer = await job.actor.analyzer_of.remote(camera_id)
                found: Picture | None = analyzer and await analyzer.picture.remote(camera_id)
                return found
        return None

    async def _showing(self, camera_id: str, store_id: str | None) -> _Job | None:
        for job in await self.jobs():
            for store, camera in job.config.cameras() if job.config else ():
                if camera.id == camera_id and store_id in (None, store.id) and camera.blurred_picture:
                    return job
        return None

    async def frames(self) -> AsyncGenerator[bytes]:
        """The events of every tick, as long as somebody asks for the next ones."""
        self._listeners += 1
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.create_task(self._tick())
        hour = b""
        try:
            while True:
                ticked = self._ticked
                await ticked.wait()
                yield self._frame
                if self._hour_frame is not hour and (hour := self._hour_frame):
                    yield hour
        finally:
            self._listeners -= 1

    async def _tick(self) -> None:
        while self._listeners:
            began = time.monotonic()
            try:
                self._frame = _event("live", await self.live())
                await self._see_hour()
            except Exception:
                # Pages would wait for ever, and nobody would know why.
                log.exception("the jobs could not be asked")
                self._frame = b": the jobs could not be asked\n\n"
            ticked, self._ticked = self._ticked, asyncio.Event()
            ticked.set()
            await asyncio.sleep(max(0.05, TICK_S - (time.monotonic() - began)))
        # Whoever looks next must not begin with an old hour. A reading that is under way is not begun twice.
        self._hour_frame, self._hour_at = b"", float("-inf")

    async def _see_hour(self) -> None:
        """Have the last hour read beside the ticks, which do not wait for the tables."""
        if self._reading is not None and self._reading.done():
            reading, self._reading = self._reading, None
            hour = reading.result()
            fresh = hour is not None and datetime.now(UTC) - hour.at < HOUR_KEPT
            self._hour_frame = _event("hour", hour) if hour is not None and fresh else b""
        if self._reading is None and time.monotonic() - self._hour_at > HOUR_EVERY_S:
            self._hour_at = time.monotonic()
            self._reading = asyncio.ensure_future(self._hour())

    async def _look(self) -> None:
        """See which jobs there are; one that is gone is forgotten."""
        if time.monotonic() - self._looked_at < LOOK_S:
            return
        self._looked_at = time.monotonic()
        try:
            names = await asyncio.wait_for(asyncio.to_thread(self._names), PATIENCE_S)
        except (RayError, TimeoutError) as error:
            log.debug("jobs cannot be listed: %s", error)
            return
        self._jobs = {name: job for name, job in self._jobs.items() if name in names}
        for name in names:
            if name not in self._jobs:
                with suppress(RayError, ValueError, TimeoutError):  # it ended between the two questions
                    self._jobs[name] = _Job(await asyncio.wait_for(asyncio.to_thread(self._find, name), PATIENCE_S))


def _event(name: str, value: models.Answer) -> bytes:
    return f"event: {name}\ndata: {value.model_dump_json()}\n\n".encode()


def _run(job: _Job) -> models.RunNow:
    assert job.live is not None
    silent_s = job.silent_s
    return models.RunNow(
        run_id=job.live.run_id,
        chain=job.live.chain,
        started_at=from_unix(job.live.started_at),
        silent_s=silent_s if silent_s > PATIENCE_S else 0.0,
        trouble=job.live.trouble,
    )


def _cameras(job: _Job) -> list[models.CameraNow]:
    live, silent_s = job.live, job.silent_s
    assert live is not None
    assert job.config is not None
    shown = {camera.id for _, camera in job.config.cameras() if camera.blurred_picture}
    figures = {f.camera_id: f for f in live.figures if f.zone_id is None}
    late_s = silent_s if silent_s > PATIENCE_S else 0.0
    told_s = live.readers_age_s + late_s
    found = []
    for camera_id, reader in live.readers.items():
        seen, note = figures.get(camera_id), reader.note
        if told_s > OLD_S:
            note = f"as it was {told_s:.0f} s ago{': ' + note if note else ''}"
        camera = models.CameraNow(
            store_id=reader.store_id,
            camera_id=camera_id,
            state=reader.state,
            note=note,
            connections=reader.connections,
            stalls=reader.stalls,
            decode_errors=reader.decode_errors,
            fps=seen.fps_analysed if seen else 0.0,
            delay_p50_s=seen.delay_p50_s if seen else None,
            delay_p95_s=seen.delay_p95_s if seen else None,
            age_s=seen.age_s + late_s if seen and seen.age_s is not None else None,
            dropped=dict(seen.dropped) if seen else {},
            aspect=live.aspects.get(camera_id),
            picture=camera_id in shown,
        )
        found.append(camera)
    return found


def _alerts(live: board.Live) -> list[models.AlertNow]:
    return [
        models.AlertNow.model_validate(alert).model_copy(
            update={"deliveries": [models.Delivery.model_validate(delivery) for delivery in deliveries]}
        )
        for alert, deliveries in live.alerts.items()
    ]


def _store(store: Any) -> models.Store:
    return models.Store(
        store_id=store.id,
        name=store.name,
        timezone=store.timezone,
        cameras=[
            models.Camera(
                store_id=store.id,
                camera_id=camera.id,
                name=camera.name,
                zones=[
                    models.Zone(
                        zone_id=zone.id,
                        name=zone.name,
                        kind=zone.kind,
                        tags=list(zone.tags),
                        polygon=list(zone.polygon),
                        target_wait_s=zone.target_wait_s,
                    )
                    for zone in camera.zones
                ],
            )
            for camera in store.cameras
        ],
    )
