"""The live page: static files of our own, which need no token since they hold no data."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

# What a machine's own tables say of these differs, and browsers run no script of another type.
for _suffix, _type in {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}.items():
    mimetypes.add_type(_type, _suffix)

_files = StaticFiles(directory=Path(__file__).parent / "page")

router = APIRouter(include_in_schema=False)


@router.get("/")
async def index(request: Request) -> Response:
    """The page."""
    return await _file("index.html", request)


@router.get("/page/{name}")
async def asset(name: str, request: Request) -> Response:
    """One of its scripts, styles or pictures."""
    return await _file(name, request)


async def _file(name: str, request: Request) -> Response:
    answer = await _files.get_response(name, request.scope)
    # Asked for each time, and answered by 304 if it is still the same: scripts of two versions never meet.
    answer.headers["Cache-Control"] = "no-cache"
    return answer
