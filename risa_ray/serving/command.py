"""What `risa serve` does: check, connect, deploy, and stay until it is told to end."""

from __future__ import annotations

import logging
import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor

from rich.console import Console

from risa_ray.serving.app import Settings

_LOOK_S = 1.0
_GONE_LOOKS = 20
"""So many times in a row without an answer, and the cluster is gone."""


def serve(settings: Settings, address: str | None = None) -> int:
    """Serve the page and the API until Ctrl-C or SIGTERM; the exit code, 1 when the cluster ended first.

    Args:
        settings: where, and of what data.
        address: of a Ray cluster, whose jobs are then found; None: as `connect`.

    Raises:
        InputError: the port is taken, or there is no such cluster.
    """
    from risa_ray.serving.deployment import deploy, running, withdraw
    from risa_ray.streaming.cluster import answers, connect, stop_on_signals

    console = Console()
    connect(address, show_worker_logs=False)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # it tells of each step
    stop = stop_on_signals("the page and the API end")
    deploy(settings)
    if address is None and "RAY_ADDRESS" not in os.environ:
        told = "no cluster was named, so no job can be found: --address names one (auto: the one here)"
        console.print(told, highlight=False, soft_wrap=True)
    console.print(f"serving {settings.serve.address} (Ctrl-C ends it)", highlight=False, soft_wrap=True)
    well, silent = True, 0
    # A question to a cluster that is gone has no answer for a minute.
    asker = ThreadPoolExecutor(1, "look")
    asked: Future[bool] = asker.submit(running, settings.serve)
    while not stop.wait(_LOOK_S):
        silent = 0 if answers() else silent + 1
        if silent == _GONE_LOOKS:
            print("risa: the Ray cluster is gone, and the page with it; serve again once it is back", file=sys.stderr)
            sys.stderr.flush()
            os._exit(1)  # Ray would wait for it
        if silent == 0 and asked.done():
            if (asked.exception() is None and asked.result()) != well:
                well = not well
                console.print("serving again" if well else "the page is away; Serve starts it again", highlight=False)
            asked = asker.submit(running, settings.serve)
    withdraw(settings.serve)
    return 0
