"""Errors of the API in one line: what, where and the way out."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from risa_ray.serving import models

log = logging.getLogger("risa.serve")

_SHOWN = 80
_ROUTES = {
    404: "there is no such route; /v1/openapi.json lists them",
    405: "this route takes another method; /v1/openapi.json tells which",
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: these statuses say a `Problem`."""
    return {status: {"model": models.Problem} for status in statuses}


def install(app: FastAPI) -> None:
    """Have the application say every error as a `Problem`."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _said)
    app.add_exception_handler(Exception, _broken)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place, *where = first["loc"]
    name = ".".join(str(part) for part in where) or str(place)
    # What came in a body is the caller's own, and may be a picture.
    got = "" if place == "body" or first["type"] == "missing" else f" (got {str(first['input'])[:_SHOWN]!r})"
    said = str(first["msg"])
    return JSONResponse({"detail": f"{name}: {said[:1].lower()}{said[1:]}{got}"}, 422)


async def _said(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    unsaid = error.detail == HTTPStatus(error.status_code).phrase  # the framework's own
    detail = _ROUTES.get(error.status_code, error.detail) if unsaid else error.detail
    # Words of the caller may stand in it.
    return JSONResponse({"detail": " ".join(detail.split())}, error.status_code, error.headers)


async def _broken(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": f"the server failed ({type(error).__name__}); its log tells more"}, 500)
