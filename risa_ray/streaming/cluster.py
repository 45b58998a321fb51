"""Joining a Ray cluster, or starting a small one here."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import AuthenticationError

from risa_ray.config import ChainConfig, PipelineConfig
from risa_ray.errors import InputError

LOCAL_OBJECT_STORE_MB = 512
"""Of a cluster that we start: a few hundred frames, far more than are ever in flight."""

_WORKER_ENVIRONMENT = {
    # Ray runs its workers at the lowest priority but four, for the sake of a desktop; these ones are the work itself.
    "RAY_worker_niceness": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - memory, not a folder on disk


def connect(
    address: str | None = None,
    *,
    show_worker_logs: bool = True,
    num_cpus: int | None = None,
    num_gpus: int | None = None,
) -> None:
    """Join the cluster at `address` or RAY_ADDRESS (set within `ray job submit`), or start a local one.

    Args:
        address: of a cluster; "local" starts one whatever the environment says.
        show_worker_logs: print what the actors log.
        num_cpus, num_gpus: of a local cluster, where they are not to be what the machine has.

    A local cluster keeps objects off the disk, since they are pictures of people: nothing is spilled, and what no
    longer fits into the object store goes to shared memory too. A warning tells where /dev/shm is too small for it.

    Raises:
        InputError: there is no cluster at the address, or it lets only those in who know its token.
    """
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Shown where there is no terminal: a file or `ray job logs`, where colours are noise.
    os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    address = address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"log_to_driver": show_worker_logs, "logging_level": logging.ERROR}
    if address and address != "local":
        _join(address, options)
        return
    for name, value in _WORKER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    _warn_of_small_memory()
    ray.init(
        address="local",
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        include_dashboard=False,
        object_store_memory=LOCAL_OBJECT_STORE_MB * 1024 * 1024,
        # Even without spilling, Ray allocates what a full store cannot take in files of the spilling folder.
        object_spilling_directory=_SHARED_MEMORY,
        _system_config={"automatic_object_spilling_enabled": False},
        **options,
    )


def _join(address: str, options: dict[str, Any]) -> None:
    # The nodes' own environment is not ours, and that of a submitted job loses the niceness on its way.
    workers = {"env_vars": {name: os.environ.get(name, value) for name, value in _WORKER_ENVIRONMENT.items()}}
    try:
        ray.init(address=address, runtime_env=workers, **options)
    except AuthenticationError:
        raise InputError(
            "RAY_AUTH_MODE is 'token' and no token is here; name its file in RAY_AUTH_TOKEN_PATH"
        ) from None
    except (ConnectionError, ValueError) as error:
        raise InputError(
            f"no Ray cluster at {address!r} ({error}); start one with `ray start --head`, or, if it asks for a token, "
            "export RAY_AUTH_MODE=token and name the token's file in RAY_AUTH_TOKEN_PATH"
        ) from None


def _warn_of_small_memory() -> None:
    """Ray says nothing aloud when it keeps a store that does not fit into shared memory in a file on disk."""
    space = os.statvfs(_SHARED_MEMORY)
    free_mb = space.f_bavail * space.f_frsize // 2**20
    if free_mb < LOCAL_OBJECT_STORE_MB:
        print(
            f"risa: warning: {_SHARED_MEMORY} has {free_mb} MB free, so Ray keeps pictures on their way in a file on "
            f"disk while it runs; give it {LOCAL_OBJECT_STORE_MB} MB (docker run --shm-size=1g)",
            file=sys.stderr,
            flush=True,
        )


def check_resources(config: ChainConfig) -> None:
    """Refuse a pipeline that the cluster can never place; Ray would wait for ever.

    Raises:
        InputError: the CPUs or GPUs asked for are more than the cluster or any node has, or a camera's node is none.
    """
    pipeline, nodes = config.pipeline, alive_nodes()
    wanted = analyzer_count(pipeline)
    for what, per_analyzer, key in (
        ("GPU", pipeline.gpus_per_analyzer, "gpus_per_analyzer"),
        ("CPU", pipeline.cpus_per_analyzer, "cpus_per_analyzer"),
    ):
        there = [n["Resources"].get(what, 0.0) for n in nodes]
        places = sum(int(t // per_analyzer) for t in there) if per_analyzer else wanted
        if places < wanted:
            raise InputError(
                f"pipeline: {wanted} analyzers with {key}: {per_analyzer:g} need "
                f"{wanted * per_analyzer:g} {what}s, the cluster has {sum(there):g}; lower either"
            )
    for _, camera in config.cameras():
        if camera.node is not None:
            node_id(camera.node, camera.id)


def node_id(name: str, camera_id: str) -> str:
    """The id of a node given by id, address or host name.

    Raises:
        InputError: the cluster has no such node.
    """
    for node in alive_nodes():
        if name in (node["NodeID"], node["NodeManagerAddress"], node["NodeManagerHostname"]):
            return str(node["NodeID"])
    raise InputError(f"camera {camera_id}: no node {name!r} in the cluster; `ray status` lists them")


def analyzer_count(pipeline: PipelineConfig) -> int:
    """Analyzers to run on the cluster as it is now, at least one.

    With `auto` every node takes as many as it has GPUs for, or one when they use none: on a CPU an analyzer has threads
    for all of the node's cores.
    """
    return max(1, len(analyzer_places(pipeline))) if pipeline.analyzers == "auto" else pipeline.analyzers


def analyzer_places(pipeline: PipelineConfig) -> list[str]:
    """The id of the node for each analyzer that the cluster can take now; see `analyzer_count`."""
    gpus = pipeline.gpus_per_analyzer
    counts = {str(n["NodeID"]): int(n["Resources"]["GPU"] // gpus) if gpus else 1 for n in _able(pipeline)}
    return [node for node, count in counts.items() for _ in range(count)]


def analyzers_per_node(pipeline: PipelineConfig) -> int:
    """Analyzers that share a node when they are spread over those that can take one."""
    return -(-analyzer_count(pipeline) // max(1, len(_able(pipeline))))


def _able(pipeline: PipelineConfig) -> list[dict[str, Any]]:
    """The nodes that can take an analyzer."""
    able = [n for n in alive_nodes() if n["Resources"].get("CPU", 0) >= pipeline.cpus_per_analyzer]
    return [n for n in able if n["Resources"].get("GPU", 0) >= pipeline.gpus_per_analyzer]


def alive_nodes() -> list[dict[str, Any]]:
    """The cluster's nodes, as `ray.nodes` tells them, without those that are gone."""
    return [n for n in ray.nodes() if n.get("Alive")]


def frame_bytes_per_camera(cameras: int) -> int:
    """Bytes of frames that one camera may have in flight: all together at most 30 % of the smallest object store."""
    stores = [n["Resources"].get("object_store_memory", 0) for n in alive_nodes()]
    return int(0.3 * min(stores) / max(1, cameras))


def answers(timeout_s: float = 1.0) -> bool:
    """Whether the head of the connected cluster takes connections. Ray's own calls wait a minute for one that is gone,
    and then end the process."""
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout_s):
            return True
    except OSError:
        return False


def stop_on_signals(told: str = "what was read is analysed and committed first") -> threading.Event:
    """An event that Ctrl-C and SIGTERM set; a second Ctrl-C ends the process at once.

    To be called after `connect`, since Ray installs handlers of its own.

    Args:
        told: to whoever stops it.
    """
    line = f"risa: stopping; {told}\n".encode()
    stop = threading.Event()

    def handle(number: int, frame: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            sys.exit(130)
        stop.set()
        # Not `print`, which fails where the signal comes in the middle of another one's.
        with suppress(OSError):
            os.write(2, line)

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
    return stop
