"""What a camera sees now, faces blurred: of cameras whose config allows it, and never otherwise."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request
from starlette.responses import Response

from risa_ray.serving.hub import Hub
from risa_ray.serving.problems import responses
from risa_ray.serving.routes_live import StoreId

router = APIRouter(prefix="/v1/cameras", tags=["live"], responses=responses(404, 422, 503))

_WAIT_S = 3.0
"""The first one is drawn when somebody asks, of the next frame that is analysed."""
_AGAIN_S = 0.1

CameraId = Annotated[str, Path(max_length=64)]


@router.get(
    "/{camera_id}/picture",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def picture(request: Request, camera_id: CameraId, store: StoreId = None) -> Response:
    """A JPEG, at most 480 pixels wide, in which the faces that are found are blurred; X-Captured-At says of when.

    A new one is drawn once a second at most, while somebody asks. Nothing is kept.
    """
    hub: Hub = request.app.state.hub
    if not await hub.shows_picture(camera_id, store):
        raise HTTPException(404, f"no camera {camera_id!r} with `blurred_picture: true` in its config is running")
    deadline = time.monotonic() + _WAIT_S
    while (found := await hub.picture(camera_id, store)) is None:
        if time.monotonic() > deadline:
            raise HTTPException(503, f"camera {camera_id} has no picture now; try again", {"Retry-After": "2"})
        await asyncio.sleep(_AGAIN_S)
    captured = found.captured_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    headers = {"Cache-Control": "no-store", "X-Captured-At": captured}
    return Response(found.jpeg, media_type="image/jpeg", headers=headers)
