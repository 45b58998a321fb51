"""The application on Ray Serve: one replica of the API on the head node, and those that `/v1/analyze` needs."""

from __future__ import annotations

import logging
from typing import Any

from ray import serve

from risa_ray.serving.app import Settings, build_app
from risa_ray.serving.server import Server, listen

HEAD = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}
"""The tables of a local data path are on the head node, and people look for the page there."""


@serve.deployment(
    name="api",
    num_replicas=1,
    ray_actor_options=HEAD,
    max_constructor_retry_count=3,
    health_check_period_s=2,
    graceful_shutdown_timeout_s=3,
)
class Api:
    """The page and the API, on a port of its own."""

    def __init__(self, settings: Settings) -> None:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
        self._server = Server(build_app(settings), listen(settings.host, settings.port))
        self._server.start()

    def check_health(self) -> None:
        """Serve starts a replica anew that raises here."""
        if not self._server.running:
            raise RuntimeError("the HTTP server has ended")

    async def __del__(self) -> None:
        await self._server.stop()


def deploy(settings: Settings) -> None:
    """Start the application, or put a new one in its place. Ray must be connected.

    Raises:
        RuntimeError: it does not start.
    """
    # Serve's own HTTP proxies are of no use here; those that other applications of the cluster use stay.
    serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING", "enable_access_log": False})
    api: Any = Api
    serve.run(api.bind(settings), name=name_of(settings), route_prefix=None)


def withdraw(settings: Settings) -> None:
    """End the application."""
    serve.delete(name_of(settings))


def name_of(settings: Settings) -> str:
    """Its name on Serve: one per port."""
    return f"risa-{settings.port}"
