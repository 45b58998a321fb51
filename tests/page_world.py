"""Invented stores for the live page, and a server that tells of them as the API does."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Literal
from zoneinfo import ZoneInfo

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from risa_ray.config_serve import ServeConfig
from risa_ray.serving import models, routes_page
from risa_ray.serving.security import App, secure

K = 10
_EXPRESSIONS = ["neutral"] * 6 + ["happiness"] * 5 + ["surprise", "sadness", "anger", "contempt", "disgust", "fear"]
_PLANS = [
    [
        ("entrance", "entrance", "Entrance", 0.02, 0.1, 0.3, 0.9),
        ("promo", "product", "Promotion", 0.36, 0.15, 0.66, 0.85),
        ("exit", "staff", "Staff door", 0.8, 0.05, 0.98, 0.6),
    ],
    [
        ("coffee", "product", "Coffee", 0.04, 0.15, 0.3, 0.9),
        ("tea", "product", "Tea", 0.34, 0.15, 0.6, 0.9),
        ("desk", "service", "Service desk", 0.66, 0.2, 0.97, 0.9),
    ],
    [("queue", "queue", "Queue", 0.03, 0.2, 0.58, 0.95), ("till", "checkout", "Till", 0.62, 0.2, 0.97, 0.95)],
]
_CAMERAS = ["Door", "Coffee aisle", "Till"]
_STORES = [
    ("Riverside", "Europe/Berlin"),
    ("Airport", "America/New_York"),
    ("Old Market", "Europe/Lisbon"),
    ("Harbour", "Europe/Oslo"),
]


@dataclass
class World:
    """What the server tells, to be changed at will; `hour` None: the tables cannot tell.

    Attributes:
        token: who sends it may look; empty: everybody.
        operator: who sends it may acknowledge; empty: everybody.
        acknowledged: ids of alerts, as they were acknowledged.
        every_s: between two `live` events.
        events: `live` events so far.
        clock: what time it is; None: the real one.
        picture: a JPEG that the cameras with `picture` show; None: there is none yet.
        picture_s: how long the server takes to give it.
    """

    stores: list[models.Store]
    live: models.LiveNow
    hour: models.HourNow | None
    token: str = ""
    operator: str = ""
    acknowledged: list[str] = field(default_factory=list)
    every_s: float = 0.1
    events: int = 0
    clock: datetime | None = None
    moving: bool = False
    picture: bytes | None = None
    picture_s: float = 0.0

    def acknowledge(self, alert_id: str) -> None:
        """Mark an alert."""
        for alert in self.live.alerts:
            if alert.alert_id == alert_id:
                alert.acknowledged_at, alert.acknowledged_by = datetime.now(UTC), "till-tablet"
        self.acknowledged.append(alert_id)

    def tick(self) -> models.LiveNow:
        """What is told now; where the world moves, everybody in it does."""
        self.events += 1
        self.live.at = self.clock or datetime.now(UTC)
        if self.moving:
            t = self.live.at.timestamp()
            for person in self.live.people:
                phase = person.number * 2.4
                person.x = min(max(person.x + 0.002 * math.cos(t / 3 + phase), 0.04), 0.96)
                person.y = min(max(person.y + 0.0015 * math.sin(t / 4 + phase), 0.1), 0.9)
        return self.live


def world(stores: int = 2, cameras: int = 3, zones: int | None = None, seed: int = 1) -> World:
    """Stores with cameras, people and figures. Invented, and the same for the same seed.

    Args:
        stores: how many.
        cameras: in each.
        zones: in each camera; None: as a shop has them.
        seed: of all that is drawn by chance.
    """
    random = Random(seed)
    now = datetime.now(UTC)
    shops = [_store(i, cameras, zones) for i in range(stores)]
    live = models.LiveNow(at=now, revision="1", runs=[], cameras=[], figures=[], people=[], alerts=[])
    live.runs = [models.RunNow(run_id="r1", chain="example", started_at=now, silent_s=0, trouble="")]
    since = now.replace(second=0, microsecond=0) - timedelta(minutes=60)
    hour = models.HourNow(at=now, since=since, moods=[], queues=[])
    for shop in shops:
        for camera in shop.cameras:
            _fill(random, live, hour, camera, ZoneInfo(shop.timezone))
    return World(shops, live, hour)


def _store(index: int, cameras: int, zones: int | None) -> models.Store:
    name, timezone = _STORES[index % len(_STORES)]
    store_id = f"{index + 7:03d}"
    return models.Store(
        store_id=store_id,
        name=name if index < len(_STORES) else f"{name} {index // len(_STORES) + 1}",
        timezone=timezone,
        cameras=[_camera(store_id, number, zones) for number in range(cameras)],
    )


def _camera(store_id: str, number: int, zones: int | None) -> models.Camera:
    plan = _PLANS[number % len(_PLANS)]
    if zones is not None:
        step = 1 / max(zones, 1)
        plan = [
            (f"z{i}", ("queue", "product")[i % 2], f"Shelf {i + 1}", i * step + 0.01, 0.1, (i + 1) * step - 0.01, 0.9)
            for i in range(zones)
        ]
    name = _CAMERAS[number % len(_CAMERAS)]
    return models.Camera(
        store_id=store_id,
        camera_id=f"{store_id}-cam{number + 1}",
        name=name if number < len(_CAMERAS) else f"{name} {number // len(_CAMERAS) + 1}",
        zones=[
            models.Zone(
                zone_id=zone_id,
                name=label,
                kind=kind,
                tags=[zone_id] if kind == "product" else [],
                polygon=[(x1, y1), (x2, y1), (x2, y2), (x1, y2)],
                target_wait_s=180,
            )
            for zone_id, kind, label, x1, y1, x2, y2 in plan
        ],
    )


def _fill(
    random: Random, live: models.LiveNow, hour: models.HourNow, camera: models.Camera, timezone: ZoneInfo
) -> None:
    store_id, camera_id = camera.store_id, camera.camera_id
    live.cameras.append(
        models.CameraNow(
            store_id=store_id,
            camera_id=camera_id,
            state="live",
            note="",
            connections=1,
            stalls=0,
            decode_errors=0,
            fps=random.uniform(4.6, 5.0),
            delay_p50_s=random.uniform(0.12, 0.25),
            delay_p95_s=random.uniform(0.3, 0.6),
            age_s=0.0,
            dropped={"overrun": 2} if random.random() < 0.4 else {},
            aspect=16 / 9,
        )
    )
    shown: list[models.Zone] = [z for z in camera.zones if z.kind != "staff"]
    number = 0
    base = random.uniform(-0.1, 0.4)
    for zone in shown:
        there = random.randint(2, 7) if len(shown) < 4 else random.randint(0, 2)
        for _ in range(there):
            number += 1
            (x1, y1), _, (x2, y2), _ = zone.polygon
            live.people.append(
                models.PersonNow(
                    store_id=store_id,
                    camera_id=camera_id,
                    number=number,
                    x=random.uniform(x1 + 0.04, x2 - 0.04),
                    y=random.uniform(y1 + 0.1, y2 - 0.05),
                    size=random.uniform(0.12, 0.2),
                    zone_ids=[zone.zone_id],
                    expression=random.choice([*_EXPRESSIONS, None]),
                )
            )
        tracks = random.randint(12, 40) if random.random() < 0.85 else 6
        live.figures.append(figures(store_id, camera_id, zone.zone_id, tracks, there, base + random.uniform(-0.2, 0.2)))
        if zone.kind in ("queue", "checkout"):
            live.figures[-1].queue_length = random.uniform(1, 6)
        if zone.kind == "queue":
            live.figures[-1].longest_wait_s = random.uniform(40, 170)
            hour.queues.append(_queue(random, hour, camera, zone, timezone))
        hour.moods.append(_mood(random, camera, zone, base))
    for person in live.people[-number:] if number < K else []:
        person.expression = None
    live.figures.append(figures(store_id, camera_id, None, 40 + number, number, base))
    faces = [p.expression or "unknown" for p in live.people if p.camera_id == camera_id]
    live.figures[-1].expressions = {e: faces.count(e) for e in sorted(set(faces))} if number >= K else {}
    hour.moods.append(_mood(random, camera, None, base))


def figures(
    store_id: str, camera_id: str, zone_id: str | None, tracks: int, people: int = 3, net: float = 0.2
) -> models.FiguresNow:
    """Those of a place where so many people were; suppressed where they are fewer than the floor."""
    about: dict[str, Any] = {"store_id": store_id, "camera_id": camera_id, "zone_id": zone_id}
    about |= {"at": datetime.now(UTC), "window_s": 60, "k": K, "people_now": people, "expressions": {}}
    if tracks < K:
        names = ("tracks", "with_mood", "positive", "neutral", "negative", "net_sentiment", "ci")
        hidden = dict.fromkeys((*names, "negative_share", "unknown_share"))
        return models.FiguresNow(**about, **hidden, status="suppressed")
    unknown = tracks // 10
    with_mood = tracks - unknown
    positive = max(0, min(with_mood, round(with_mood * (0.4 + net / 2))))
    negative = max(0, min(with_mood - positive, round(positive - net * with_mood)))
    found = (positive - negative) / with_mood
    half = 1.9 * math.sqrt(max(positive + negative, 1) / with_mood - found**2) / math.sqrt(with_mood + 2)
    return models.FiguresNow(
        **about,
        tracks=tracks,
        with_mood=with_mood,
        positive=positive,
        neutral=with_mood - positive - negative,
        negative=negative,
        net_sentiment=found,
        ci=(max(-1, found - half), min(1, found + half)),
        negative_share=negative / with_mood,
        unknown_share=unknown / tracks,
        status="ok",
    )


def _mood(random: Random, camera: models.Camera, zone: models.Zone | None, base: float) -> models.HourMood:
    found = models.HourMood(
        store_id=camera.store_id,
        camera_id=camera.camera_id,
        zone_id=zone.zone_id if zone else None,
        tracks=[],
        net_sentiment=[],
        hidden={},
    )
    net, phase = base, random.uniform(0, 6)
    for minute in range(60):
        net += 0.25 * (base + 0.25 * math.sin(phase - minute / 9) - net) + random.uniform(-0.06, 0.06)
        few = zone is not None and random.random() < 0.12
        found.tracks.append(None if few else random.randint(10, 30))
        found.net_sentiment.append(None if few else round(max(-1, min(1, net)), 3))
        if few:
            found.hidden.setdefault("suppressed", []).append(minute)
    return found


def _queue(
    random: Random, hour: models.HourNow, camera: models.Camera, zone: models.Zone, timezone: ZoneInfo
) -> models.QueueHour:
    wait = random.uniform(60, 160)
    return models.QueueHour(
        store_id=camera.store_id,
        camera_id=camera.camera_id,
        zone_id=zone.zone_id,
        hour_local=hour.at.astimezone(timezone).replace(minute=0, second=0, microsecond=0),
        wait_p50_s=wait,
        wait_p95_s=wait * 2.2,
        service_level=random.uniform(0.7, 0.95),
        target_wait_s=zone.target_wait_s,
        status="ok",
    )


def alert(
    world: World, alert_id: str, severity: Literal["info", "warning", "critical"] = "critical", text: str = ""
) -> models.AlertNow:
    """An alert of the world's last camera that fires now."""
    camera = world.stores[-1].cameras[-1]
    fired = models.AlertNow(
        alert_id=alert_id,
        rule_id="queue-length",
        store_id=camera.store_id,
        camera_id=camera.camera_id,
        zone_id=camera.zones[0].zone_id,
        figure="people",
        value=9,
        threshold=6,
        direction="above",
        tracks=14,
        window_s=60,
        severity=severity,
        text=text or "Open another till",
        fired_at=datetime.now(UTC),
    )
    world.live.alerts.insert(0, fired)
    return fired


def app_of(world: World) -> App:
    """The page, and what it asks of the API, behind the gate of the real one."""
    app = FastAPI()
    app.include_router(routes_page.router)

    def check(request: Request, token: str, status: int) -> None:
        if token and request.headers.get("authorization") != f"Bearer {token}":
            raise HTTPException(status, "this needs a token with the right role; ask whoever runs the server")

    @app.get("/v1/stores")
    async def stores(request: Request) -> list[models.Store]:
        check(request, world.token, 401)
        return world.stores

    @app.post("/v1/alerts/{alert_id}/acknowledge")
    async def acknowledge(alert_id: str, request: Request) -> Response:
        check(request, world.operator, 403)
        world.acknowledge(alert_id)
        return JSONResponse({})

    @app.get("/v1/cameras/{camera_id}/picture")
    async def picture(camera_id: str, store: str, request: Request) -> Response:
        check(request, world.token, 401)
        shown = [(c.store_id, c.camera_id) for c in world.live.cameras if c.picture]
        if (store, camera_id) not in shown:
            raise HTTPException(404, f"no camera {camera_id!r} with `blurred_picture: true` in its config is running")
        await asyncio.sleep(world.picture_s)
        if world.picture is None:
            raise HTTPException(503, f"camera {camera_id} has no picture now; try again")
        headers = {"Cache-Control": "no-store", "X-Captured-At": "2026-07-01T12:30:05.000Z"}
        return Response(world.picture, media_type="image/jpeg", headers=headers)

    @app.get("/v1/events")
    async def events(request: Request) -> StreamingResponse:
        check(request, world.token, 401)
        return StreamingResponse(_events(world), media_type="text/event-stream")

    return secure(app, ServeConfig(), None)


async def _events(world: World) -> AsyncIterator[str]:
    yield "retry: 100\n\n"
    hour = None
    while True:
        yield f"event: live\ndata: {world.tick().model_dump_json()}\n\n"
        if world.hour is not None and world.hour is not hour:
            hour = world.hour
            yield f"event: hour\ndata: {hour.model_dump_json()}\n\n"
        await asyncio.sleep(world.every_s)


@contextlib.contextmanager
def serving(world: World, port: int = 0) -> Iterator[str]:
    """A real server on the loopback address; its URL."""
    with socket.create_server(("127.0.0.1", port)) as sock:
        config = uvicorn.Config(
            app_of(world), log_level="critical", lifespan="off", timeout_graceful_shutdown=0, access_log=False
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            thread.join(timeout=30)
            assert not thread.is_alive()
