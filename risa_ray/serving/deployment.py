"""The application on Ray Serve: a replica of the API on the head node, and those that `/v1/analyze` needs."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from typing import Any

import ray
from pydantic import SecretStr
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from risa_ray.config_serve import ServeConfig
from risa_ray.errors import InputError
from risa_ray.serving import protocol
from risa_ray.serving.analyze import application
from risa_ray.serving.app import Settings, build_app
from risa_ray.serving.server import Server, listen
from risa_ray.serving.tokens import open_book

_ANSWER_S = 10.0
_START_S = 60.0
_QUIET: dict[str, Any] = {
    # Serve's own HTTP proxies are of no use here; those that other applications of the cluster use stay.
    "proxy_location": "Disabled",
    "logging_config": {"log_level": "WARNING", "enable_access_log": False},
}


@serve.deployment(
    name="api",
    num_replicas=1,
    max_constructor_retry_count=3,
    health_check_period_s=2,
    graceful_shutdown_timeout_s=3,
)
class Api:
    """The page and the API, on a port of its own."""

    def __init__(self, settings: Settings, models: Any = None) -> None:
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
        self._made_of = _made_of(settings)
        serve_config = settings.serve
        self._server = Server(
            build_app(settings, models),
            listen(serve_config.host, serve_config.port),
            protocol.settings(serve_config),
        )
        self._server.start()

    def made_of(self) -> str:
        """What this application was started with, see `_made_of`."""
        return self._made_of

    def check_health(self) -> None:
        """Serve starts a replica anew that raises here."""
        if not self._server.running:
            raise RuntimeError("the HTTP server has ended")

    async def __del__(self) -> None:
        await self._server.stop()


def deploy(settings: Settings) -> None:
    """Start the application, in place of the one that was on its port before. Ray must be connected.

    Raises:
        InputError: the port is taken, tokens are missing, the certificate cannot be used, there is no such model, or
            it does not start. What was there before goes on where it is refused for its tokens or certificate.
    """
    config, name = settings.serve, _name(settings.serve)
    variable = config.tokens_env
    if variable is not None and variable in os.environ:
        settings = replace(settings, secrets={variable: SecretStr(os.environ[variable])})
    serve.start(**_QUIET)
    protocol.check_tls(config.tls)
    open_book(config)
    if name in serve.status().applications:
        serve.delete(name)
    listen(config.host, config.port).close()
    api: Any = Api
    # Files of a local data path, tokens and certificates are on this node.
    here = {"num_cpus": 0, "resources": {f"node:{ray.util.get_node_ip_address()}": 0.001}}
    models = None if config.analyze is None else application(config.analyze)
    try:
        serve.run(api.options(ray_actor_options=here).bind(settings, models), name=name, route_prefix=None)
    except RuntimeError as error:
        reason = str(error).strip().splitlines() or ["no reason given"]
        raise InputError(f"serve: the live page does not start: {reason[-1]}") from None


def ensure(settings: Settings) -> None:
    """Start the application, unless it runs on this port already: it serves every job of the cluster.

    Raises:
        InputError: as `deploy`, or the one that runs was started with other settings.
    """
    serve.start(**_QUIET)
    name = _name(settings.serve)
    if not _comes(settings.serve):
        deploy(settings)
        return
    try:
        made_of = serve.get_app_handle(name).made_of.remote().result(timeout_s=_ANSWER_S)
    except (RayError, RayServeException, TimeoutError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"serve: the live page on port {settings.serve.port} does not answer ({reason[-1]})") from None
    if made_of != _made_of(settings):
        raise InputError(
            f"serve: port {settings.serve.port} of this cluster has a live page with other settings or other data; "
            "choose another serve.port, or start `risa serve` anew"
        )


def running(config: ServeConfig) -> bool:
    """Whether the application is there and well."""
    application = serve.status().applications.get(_name(config))
    return application is not None and application.status == "RUNNING"


def _comes(config: ServeConfig) -> bool:
    """Whether the application is there; one that another job starts, or Serve starts anew, is waited for."""
    deadline = time.monotonic() + _START_S
    while (found := serve.status().applications.get(_name(config))) is not None and found.status != "DEPLOY_FAILED":
        if found.status == "RUNNING":
            return True
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    return False


def withdraw(config: ServeConfig) -> None:
    """End the application."""
    serve.delete(_name(config))


def _name(config: ServeConfig) -> str:
    """Its name on Serve: one per port."""
    return f"risa-{config.port}"


def _made_of(settings: Settings) -> str:
    return f"{settings.serve.model_dump_json()} {settings.data}"
