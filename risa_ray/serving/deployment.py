"""The application on Ray Serve: a replica of the API on the head node, and those that `/v1/analyze` needs."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import Any

from pydantic import SecretStr
from ray import serve

from risa_ray.config_serve import ServeConfig
from risa_ray.serving import protocol
from risa_ray.serving.analyze import application
from risa_ray.serving.app import Settings, build_app
from risa_ray.serving.server import Server, listen
from risa_ray.serving.tokens import open_book

_HEAD = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}
"""The tables of a local data path are on the head node, and people look for the page there."""

_QUIET: dict[str, Any] = {
    # Serve's own HTTP proxies are of no use here; those that other applications of the cluster use stay.
    "proxy_location": "Disabled",
    "logging_config": {"log_level": "WARNING", "enable_access_log": False},
}


@serve.deployment(
    name="api",
    num_replicas=1,
    ray_actor_options=_HEAD,
    max_constructor_retry_count=3,
    health_check_period_s=2,
    graceful_shutdown_timeout_s=3,
)
class Api:
    """The page and the API, on a port of its own."""

    def __init__(self, settings: Settings, models: Any = None) -> None:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
        serve_config = settings.serve
        self._server = Server(
            build_app(settings, models),
            listen(serve_config.host, serve_config.port),
            protocol.settings(serve_config),
        )
        self._server.start()

    def check_health(self) -> None:
        """Serve starts a replica anew that raises here."""
        if not self._server.running:
            raise RuntimeError("the HTTP server has ended")

    async def __del__(self) -> None:
        await self._server.stop()


def check(config: ServeConfig) -> None:
    """Refuse what can be refused before Ray is started.

    Raises:
        InputError: the port is taken, tokens are missing, or the certificate cannot be used.
    """
    listen(config.host, config.port).close()
    protocol.check_tls(config.tls)
    open_book(config)


def deploy(settings: Settings) -> None:
    """Start the application, or put a new one in its place. Ray must be connected.

    Raises:
        InputError: there is no such model.
        RuntimeError: it does not start.
    """
    config = settings.serve
    variable = config.tokens_env
    if variable is not None and variable in os.environ:
        settings = replace(settings, secrets={variable: SecretStr(os.environ[variable])})
    serve.start(**_QUIET)
    api: Any = Api
    models = None if config.analyze is None else application(config.analyze)
    serve.run(api.bind(settings, models), name=_name(config), route_prefix=None)


def ensure(settings: Settings) -> None:
    """Start the application, unless the cluster has it on this port already: it serves every job.

    Raises:
        InputError: as `check`.
        RuntimeError: it does not start.
    """
    serve.start(**_QUIET)
    if _name(settings.serve) not in serve.status().applications:
        check(settings.serve)
        deploy(settings)


def withdraw(config: ServeConfig) -> None:
    """End the application."""
    serve.delete(_name(config))


def _name(config: ServeConfig) -> str:
    """Its name on Serve: one per port."""
    return f"risa-{config.port}"
