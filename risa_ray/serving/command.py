"""What `risa serve` does: check, connect, deploy, and stay until it is told to end."""

from __future__ import annotations

import os

from rich.console import Console

from risa_ray.serving.app import Settings

_LOOK_S = 5.0


def serve(settings: Settings, address: str | None = None) -> int:
    """Serve the page and the API until Ctrl-C or SIGTERM; the exit code.

    Args:
        settings: where, and of what data.
        address: of a Ray cluster, whose jobs are then found; None: as `connect`.

    Raises:
        InputError: the port is taken, or there is no such cluster.
    """
    from risa_ray.serving.deployment import deploy, running, withdraw
    from risa_ray.streaming.cluster import connect, stop_on_signals

    console = Console()
    connect(address, show_worker_logs=False)
    stop = stop_on_signals()
    deploy(settings)
    if address is None and "RAY_ADDRESS" not in os.environ:
        console.print("no cluster was named, so no job can be found: --address names one (auto: the one here)")
    console.print(f"serving {settings.serve.address} (Ctrl-C ends it)", highlight=False, soft_wrap=True)
    well = True
    while not stop.wait(_LOOK_S):
        if running(settings.serve) != well:
            well = not well
            console.print("serving again" if well else "the page is away; Serve starts it again", highlight=False)
    withdraw(settings.serve)
    return 0
