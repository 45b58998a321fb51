"""The `risa` command that serves the live page and the API."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from risa_ray.options import Address, Data


def register(app: typer.Typer) -> None:
    """Add the command to the `risa` command."""
    app.command()(serve)


def serve(
    data: Data = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8787,
    address: Address = None,
) -> None:
    """Serve the live page and the API, beside the jobs of a Ray cluster or over a dataset alone."""
    from risa_ray.serving.app import Settings
    from risa_ray.serving.command import serve as run

    sys.exit(run(Settings(host, port, data), address))
