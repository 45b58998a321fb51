"""A picture or a short clip in, faces and apparent expressions out; nothing of it is kept."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from starlette.requests import ClientDisconnect

from risa_ray.serving.analyze import BusyError, Service
from risa_ray.serving.models import Problem
from risa_ray.serving.models_analyze import Analysis
from risa_ray.serving.uploads import RefusedError

router = APIRouter(prefix="/v1", tags=["analyze"])

_KINDS = ("image/jpeg", "image/png", "image/webp", "video/mp4", "video/webm", "application/octet-stream")
_BODY = {
    "requestBody": {
        "required": True,
        "description": "The file itself: curl --data-binary @face.jpg. Its bytes say what it is; a form is refused.",
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _KINDS},
    }
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "nothing came"},
    408: {"model": Problem, "description": "it comes in too slowly"},
    413: {"model": Problem, "description": "too many bytes, pixels or seconds"},
    415: {"model": Problem, "description": "neither picture nor clip, or a form"},
    422: {"model": Problem, "description": "it cannot be decoded to its end"},
    500: {"model": Problem, "description": "the models fail on it"},
    503: {"model": Problem, "description": "no room now; Retry-After says when to come again"},
    504: {"model": Problem, "description": "the analysis takes too long"},
}


@router.post("/analyze", openapi_extra=_BODY, responses=_ERRORS)
async def analyze(request: Request) -> Analysis:
    """Faces and apparent expressions of a picture, or of a clip of a few seconds.

    The body is the file itself. The upload is analysed in memory and forgotten: nothing is stored or logged.
    """
    service: Service = request.app.state.analyze
    try:
        with service.place():
            return await service(await _body(request, service.limits.upload_s))
    except BusyError as busy:
        raise HTTPException(busy.status, busy.detail, {"Retry-After": str(busy.retry_s)}) from None
    except RefusedError as refused:
        raise HTTPException(refused.status, refused.detail) from None


async def _body(request: Request, longest_s: float) -> bytes:
    """The body, which the gate keeps from becoming too large."""
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise RefusedError(415, "upload: it is a form; send the file itself: curl --data-binary @face.jpg")
    try:
        async with asyncio.timeout(longest_s):
            return await request.body()
    except TimeoutError:
        raise RefusedError(408, f"upload: it comes in for more than {longest_s:g} s; send a smaller one") from None
    except ClientDisconnect:  # nobody is there to read this
        raise RefusedError(400, "upload: it broke off") from None
