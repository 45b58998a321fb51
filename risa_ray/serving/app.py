"""The application: every route, what they share, and the gate before them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer
from pydantic import SecretStr

from risa_ray.config_serve import ServeConfig
from risa_ray.serving import (
    problems,
    routes_alerts,
    routes_analyze,
    routes_data,
    routes_live,
    routes_metrics,
    routes_page,
    routes_pictures,
)
from risa_ray.serving.alert_book import AlertBook
from risa_ray.serving.analyze import Service
from risa_ray.serving.hub import Hub
from risa_ray.serving.prometheus import Traffic
from risa_ray.serving.security import REFUSALS, App, secure
from risa_ray.serving.tables import Tables
from risa_ray.serving.tokens import open_book

TITLE = "RISA: real-time in-store sentiment analysis"


@dataclass(frozen=True)
class Settings:
    """What the application is started with.

    Attributes:
        serve: the section of the config, with absolute paths.
        data: of the tables; None: there are only running jobs.
        secrets: environment variables that `serve` names, since a replica has another environment.
    """

    serve: ServeConfig = field(default_factory=ServeConfig)
    data: str | None = None
    secrets: Mapping[str, SecretStr] = field(default_factory=dict)


def build_app(settings: Settings, models: Any = None) -> App:
    """The ASGI application, to be built on the event loop that serves it.

    Args:
        models: the handle that `/v1/analyze` asks; None: it is off.
    """
    app = FastAPI(
        title=TITLE,
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        generate_unique_id_function=lambda route: route.name,  # what clients made from the document call them
        redirect_slashes=False,  # behind a proxy that does TLS it would send clients away from it
        responses=problems.responses(*REFUSALS),
        # The gate has seen to it; this is for the document, and for clients made from it.
        dependencies=[Depends(HTTPBearer(auto_error=False))] if settings.serve.with_tokens else [],
    )
    problems.install(app)
    state, analyze = app.state, settings.serve.analyze
    state.tables = Tables(settings.data)
    state.alerts = AlertBook(state.tables)
    state.hub = Hub(state.tables.hour, state.alerts.latest)
    state.traffic = Traffic()
    routes = [routes_page, routes_live, routes_pictures, routes_alerts, routes_data, routes_metrics]
    if models is not None and analyze is not None:
        state.analyze = Service(models, analyze)
        routes.append(routes_analyze)
    for module in routes:
        app.include_router(module.router)
    environ = {name: value.get_secret_value() for name, value in settings.secrets.items()}
    return secure(app, settings.serve, open_book(settings.serve, environ), state.traffic)
