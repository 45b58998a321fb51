"""What happens now: states, figures, people in view, alerts, and the stream of it all."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import StreamingResponse

from risa_ray.serving import models
from risa_ray.serving.hub import Hub
from risa_ray.serving.problems import responses

router = APIRouter(prefix="/v1", tags=["live"], responses=responses(422))

_TROUBLED = ("stalled", "backing_off", "broken")

StoreId = Annotated[str | None, Query(alias="store", max_length=64, description="only of this store")]
CameraId = Annotated[str | None, Query(alias="camera", max_length=64, description="only of this camera")]
ZoneId = Annotated[str | None, Query(alias="zone", max_length=64, description="only of this zone")]


def _hub(request: Request) -> Hub:
    hub: Hub = request.app.state.hub
    return hub


@router.get("/health")
async def health(request: Request) -> models.Health:
    """Whether all is well, and where not. Answers 200 whenever the server itself works."""
    now = await _hub(request).live()
    notes = [f"run {run.run_id}: {run.trouble}" for run in now.runs if run.trouble]
    notes += [f"run {run.run_id} has not answered for {run.silent_s:.0f} s" for run in now.runs if run.silent_s]
    notes += [f"{c.camera_id}: {c.state}{': ' + c.note if c.note else ''}" for c in now.cameras if c.state in _TROUBLED]
    unheard = _hub(request).unheard
    notes += [f"{name} has not answered yet" for name in unheard]
    return models.Health(
        status="no_run" if not now.runs and not unheard else "degraded" if notes else "ok",
        at=datetime.now(UTC),
        version=version("risa-ray"),
        runs=now.runs,
        cameras=dict(Counter(camera.state for camera in now.cameras)),
        notes=notes,
    )


@router.get("/stores", responses=responses(503, 504))
async def stores(request: Request) -> list[models.Store]:
    """Stores with their cameras and zones: of the running jobs, or of the dataset while none is running."""
    running = await _hub(request).stores()
    return running or await request.app.state.tables.stores()


@router.get("/cameras")
async def cameras(request: Request, store: StoreId = None) -> list[models.CameraNow]:
    """How each camera of the running jobs is."""
    now = await _hub(request).live()
    return [camera for camera in now.cameras if store in (None, camera.store_id)]


@router.get("/zones", responses=responses(503, 504))
async def zones(request: Request, store: StoreId = None, camera: CameraId = None) -> list[models.CameraZone]:
    """Every zone with its place in the picture."""
    return [
        models.CameraZone(store_id=place.store_id, camera_id=place.camera_id, **zone.model_dump())
        for shop in await stores(request)
        for place in shop.cameras
        for zone in place.zones
        if store in (None, place.store_id) and camera in (None, place.camera_id)
    ]


@router.get("/figures")
async def figures(
    request: Request, store: StoreId = None, camera: CameraId = None, zone: ZoneId = None
) -> list[models.FiguresNow]:
    """The last 60 s of each camera and zone."""
    now = await _hub(request).live()
    return [
        f
        for f in now.figures
        if store in (None, f.store_id) and camera in (None, f.camera_id) and zone in (None, f.zone_id)
    ]


@router.get("/tracks")
async def tracks(request: Request, store: StoreId = None, camera: CameraId = None) -> list[models.PersonNow]:
    """Faces in view now."""
    now = await _hub(request).live()
    return [p for p in now.people if store in (None, p.store_id) and camera in (None, p.camera_id)]


@router.get("/events", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
async def events(request: Request) -> StreamingResponse:
    """Server-sent events: `live` (LiveNow) at most twice a second, `hour` (HourNow) every 30 s."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(_hub(request)), media_type="text/event-stream", headers=headers)


async def _events(hub: Hub) -> AsyncIterator[bytes]:
    yield b"retry: 1000\n\n"
    async with aclosing(hub.frames()) as frames:  # at once, not when it happens to be collected
        async for frame in frames:
            yield frame
