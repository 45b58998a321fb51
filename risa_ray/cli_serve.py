"""The `risa` command that serves the live page and the API."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from risa_ray.config import is_url, load_config
from risa_ray.config_serve import ServeConfig
from risa_ray.options import Address, Data
from risa_ray.running import with_data


def register(app: typer.Typer) -> None:
    """Add the command to the `risa` command."""
    app.command()(serve)


def serve(
    config: Annotated[
        Path | None, typer.Argument(help="A YAML config: its section `serve`, and its data path.")
    ] = None,
    data: Data = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; default: 8787.", min=1, max=65535)] = None,
    analyze: Annotated[bool, typer.Option(help="Host the models of POST /v1/analyze.")] = True,
    address: Address = None,
) -> None:
    """Serve the live page and the API, beside the jobs of a Ray cluster or over a dataset alone."""
    from risa_ray.serving.app import Settings
    from risa_ray.serving.command import serve as run

    chain = None if config is None else with_data(load_config(config), data)
    section = (chain and chain.serve) or ServeConfig()
    if not analyze:
        section = section.model_copy(update={"analyze": None})
    where = str(Path(data).expanduser().resolve()) if data is not None and not is_url(data) else data
    settings = Settings(section.override(host, port), chain.data if chain else where)
    sys.exit(run(settings, address))
