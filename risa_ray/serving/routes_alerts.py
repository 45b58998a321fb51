"""Alerts that fired, and who has seen to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request

from risa_ray.errors import InputError
from risa_ray.serving import models
from risa_ray.serving.problems import responses
from risa_ray.serving.routes_live import CameraId, StoreId
from risa_ray.store.errors import StoreError

router = APIRouter(prefix="/v1/alerts", tags=["alerts"], responses=responses(422, 503))

_MOST = 10_000
Hours = Annotated[float, Query(gt=0, le=24 * 400, description="of the last so many hours")]
Limit = Annotated[int, Query(ge=1, le=_MOST)]
AlertId = Annotated[str, Path(pattern="^[0-9a-zA-Z_-]{1,64}$")]


@router.get("", responses=responses(504))
async def alerts(
    request: Request, store: StoreId = None, camera: CameraId = None, hours: Hours = 24, limit: Limit = 100
) -> list[models.AlertNow]:
    """What fired, the newest first: with its deliveries, and who has acknowledged it."""
    state = request.app.state
    since = datetime.now(UTC) - timedelta(hours=hours)
    try:
        # The filters come after it.
        stored = await state.tables.alerts(since, limit if store is None and camera is None else _MOST)
    except HTTPException as error:
        if error.status_code != 404:  # no dataset yet: the jobs alone tell
            raise
        stored = []
    found = state.alerts.join(await state.hub.alerts(), stored)
    wanted = [a for a in found if a.fired_at >= since and store in (None, a.store_id) and camera in (None, a.camera_id)]
    return wanted[:limit]


@router.post("/{alert_id}/acknowledge", responses=responses(404))
async def acknowledge(request: Request, alert_id: AlertId) -> models.Acknowledgement:
    """Tell that somebody sees to it. A second time changes nothing, and says who was first."""
    state, by = request.app.state, request.state.identity.name
    again = {"Retry-After": "2"}
    try:
        done = await state.hub.acknowledge(alert_id, by)
    except InputError:
        raise HTTPException(503, "the alert is not stored yet; try again", again) from None
    except StoreError as error:
        raise HTTPException(503, f"it cannot be noted now: {error}; try again", again) from None
    try:
        done = done or await state.alerts.acknowledge(alert_id, by)
    except InputError:
        raise HTTPException(404, f"there is no alert {alert_id}; /v1/alerts has those that fired") from None
    except StoreError as error:
        raise HTTPException(503, f"it cannot be noted now: {error}; try again", again) from None
    state.alerts.note(alert_id, done)
    return models.Acknowledgement(alert_id=alert_id, acknowledged_at=done.at, acknowledged_by=done.by)
