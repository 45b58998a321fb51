"""The application: every route, and what they share."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI

from risa_ray.serving import models, routes_live
from risa_ray.serving.hub import Hub


@dataclass(frozen=True)
class Settings:
    """What the application is started with. `data`: of the tables; None: there is no dataset, only running jobs."""

    host: str = "127.0.0.1"
    port: int = 8787
    data: str | None = None


def build_app(settings: Settings) -> FastAPI:
    """The ASGI application; to be built in the process that serves it."""
    app = FastAPI(title="RISA", docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json")

    async def hour() -> models.HourNow | None:
        return None

    async def stored_stores() -> list[models.Store]:
        return []

    app.state.hub = Hub(hour)
    app.state.stored_stores = stored_stores
    app.include_router(routes_live.router)
    return app
