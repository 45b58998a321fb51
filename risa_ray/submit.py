"""`risa submit`: a config becomes a job on a Ray cluster, through the job server on its dashboard."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from risa_ray.config import ChainConfig, is_url, parse_config, read_yaml
from risa_ray.config_channels import FileChannel
from risa_ray.errors import InputError, RunError
from risa_ray.redaction import redact
from risa_ray.vision.model_file import model_path

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
STOP_WAIT_S = 120
"""After so long `ray job stop` kills (after 3 s if nobody says so): longer than the driver takes in the worst case."""

_CONNECT_S = 10.0
_END_S = 30.0
"""How long after its last line a job may take to be known as ended."""

_GIVE_TOKEN = "put the head's token into ~/.ray/auth_token, or name its file in RAY_AUTH_TOKEN_PATH"  # noqa: S105
_CHECKOUT = Path(__file__).resolve().parents[1]
_UPLOADED = ("risa_ray", "models", "configs", "jobs")
_NO_PYTHON = 127


@dataclass(frozen=True)
class Job:
    """A submitted job: its id, and the dashboard's URL."""

    id: str
    address: str

    def command(self, verb: str, *options: str) -> str:
        """The command line that does something to it: logs, status, stop."""
        return shlex.join(["ray", "job", verb, *options, "--address", redact(self.address), self.id])


def check_config(path: Path, data: str | None = None, events: str | None = None) -> ChainConfig:
    """Check a config as far as a machine can on which its files may not be.

    Args:
        data: replaces the config's data path.
        events: file for JSON lines, or "-".

    Raises:
        InputError: a fault of the config, a path that is not absolute, credentials in `data`, or what is written lies
            in a folder that is uploaded.
    """
    config = parse_config(read_yaml(path, "stores"), str(path))
    if data is not None and redact(data) != data:
        raise InputError(
            f"--data {redact(data)}: holds credentials, and a job's command line is shown on the dashboard; "
            "write it as 'data' into the config"
        )
    for _, camera in config.cameras():
        if not (is_url(camera.source) or camera.source.startswith(("usb:", "demo:"))):
            _refuse_relative(f"{path}: camera {camera.id}: source", camera.source)
    _check_written("--data" if data is not None else f"{path}: data", data or config.data)
    model = config.pipeline.model
    if "/" in model or model.endswith((".safetensors", ".onnx")):
        _refuse_relative(f"{path}: pipeline.model", model)
    else:
        model_path(model)
    if events not in (None, "-"):
        _check_written("--events", str(events))
    for channel in config.channels:
        if isinstance(channel, FileChannel):
            told = path.resolve().parent / Path(channel.path).expanduser()
            _refuse_uploaded(f"{path}: channel {channel.id}: path", told)
    return config


def _refuse_relative(key: str, value: str) -> None:
    if not (is_url(value) or os.path.isabs(value)):
        raise InputError(
            f"{key} {value!r}: not absolute, and a job runs on another machine or in a copy of this folder; give the "
            "absolute path that it has on the cluster's nodes, or a URL"
        )


def _check_written(key: str, value: str) -> None:
    _refuse_relative(key, value)
    if not is_url(value):
        _refuse_uploaded(key, Path(value))


def _refuse_uploaded(key: str, path: Path) -> None:
    """What a job writes there, every later job would send to all nodes."""
    if _from_checkout() and any(path.resolve().is_relative_to(_CHECKOUT / name) for name in _UPLOADED):
        raise InputError(
            f"{key} {str(path)!r}: lies in a folder that each job uploads to all nodes ({', '.join(_UPLOADED)} in "
            f"{_CHECKOUT}); give a path elsewhere"
        )


def submit(path: Path, *, address: str | None = None, data: str | None = None, events: str | None = None) -> Job:
    """Submit a config as a job of `risa stream`.

    The config is not uploaded: the job reads and follows the file of this absolute path on the head node.

    Args:
        address: of the dashboard; default: RAY_API_SERVER_ADDRESS, RAY_ADDRESS, or this machine's.
        data, events: as `risa stream`.

    Raises:
        InputError: a fault of the config, no cluster at the address, or one that refuses us.
        RunError: the cluster could not take the job.
    """
    check_config(path, data, events)
    given = {"--data": data, "--events": events}
    options = [part for name, value in given.items() if value is not None for part in (name, value)]
    command = [*_entrypoint(), str(path.absolute()), *options]
    url = _dashboard(address)
    with _told(url):
        client = _client(url)
        return Job(client.submit_job(entrypoint=shlex.join(command), runtime_env=runtime_env()), url)


def follow(job: Job) -> int:
    """Print the job's log until it ends; Ctrl-C leaves the job running.

    Returns:
        The exit code: the job's own, 0 if it was stopped, 130 after Ctrl-C.

    Raises:
        RunError: the cluster was lost, or could not start the job.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        # With Python's own handler asyncio ends at Ctrl-C in good order.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with _told(job.address, f"{job.id} may go on; look with `{job.command('status')}`"):
            client = _client(job.address)
            asyncio.run(_print_log(client, job.id))
            details = _end(client, job.id)
    except KeyboardInterrupt:
        print(f"risa: {job.id} goes on; `{job.command('stop')}` stops it", file=sys.stderr)
        return 130
    return _exit_code(job, details)


def runtime_env() -> dict[str, Any]:
    """What the job needs of Ray: time to drain, and from a checkout the code, which goes to every node.

    An installed package uploads nothing: the nodes have it installed too, as they have all that it needs.
    """
    # Everybody who sees the dashboard reads it: never a password here.
    wanted: dict[str, Any] = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}}
    if _from_checkout():
        others = [f"/{escape(path.name)}" for path in _CHECKOUT.iterdir() if path.name not in _UPLOADED]
        wanted |= {"working_dir": str(_CHECKOUT), "excludes": [*others, "__pycache__"]}
    return wanted


def _from_checkout() -> bool:
    return (_CHECKOUT / "jobs" / "stream.py").is_file()


def _entrypoint() -> list[str]:
    return ["python", "jobs/stream.py"] if _from_checkout() else ["python", "-m", "risa_ray.cli", "stream"]


def _dashboard(given: str | None) -> str:
    """The dashboard's URL: reachable, and on this machine or protected by a token."""
    address = given or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS") or DEFAULT_ADDRESS
    url, port = _url(address)
    host = str(url.hostname)
    if _token_mode() and not _has_token():
        raise InputError(f"RAY_AUTH_MODE is 'token' and no token is here; {_GIVE_TOKEN}")
    if not (_is_loopback(host) or _token_mode()):
        raise InputError(
            f"{redact(address)}: whoever reaches a cluster on the network can run anything there unless it asks for a "
            f"token; export RAY_AUTH_MODE=token on all its nodes and here, and {_GIVE_TOKEN}"
        )
    try:
        socket.create_connection((host, port), _CONNECT_S).close()
    except OSError as error:
        raise InputError(
            f"{redact(address)}: not reachable ({error.strerror or error}); `ray start --head` prints the dashboard's "
            "address, which --address takes"
        ) from None
    return address.rstrip("/")


def _url(address: str) -> tuple[SplitResult, int]:
    try:
        url = urlsplit(address)
        if url.scheme in ("http", "https") and url.hostname:
            return url, url.port or (443 if url.scheme == "https" else 80)
    except ValueError:  # a port or an IPv6 address that is none
        pass
    raise InputError(f"{redact(address)}: give the URL of the cluster's dashboard, as http://head:8265")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _token_mode() -> bool:
    return os.environ.get("RAY_AUTH_MODE", "").lower() == "token"


def _has_token() -> bool:
    """Whether Ray's client finds a token: https://docs.ray.io/en/latest/ray-security/token-auth.html."""
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or file.is_file()


def _client(url: str) -> JobSubmissionClient:
    from ray.job_submission import JobSubmissionClient

    # It overrides whatever the client is given, so --address would lose against it.
    os.environ["RAY_API_SERVER_ADDRESS"] = url
    return JobSubmissionClient(url)


@contextmanager
def _told(url: str, way_out: str = "see the dashboard's log on the head node") -> Iterator[None]:
    """What goes wrong between here and the job server, in one line each."""
    import aiohttp
    import requests
    from ray.exceptions import AuthenticationError

    shown = redact(url)
    logging.disable(logging.WARNING)  # Ray tells of every folder that it leaves out
    try:
        yield
    except AuthenticationError:
        if _token_mode():
            raise InputError(f"{shown}: the cluster refuses our token; {_GIVE_TOKEN}") from None
        raise InputError(
            f"{shown}: the cluster asks for a token; export RAY_AUTH_MODE=token, and {_GIVE_TOKEN}"
        ) from None
    except (ConnectionError, requests.JSONDecodeError, requests.HTTPError):
        raise InputError(f"{shown}: no Ray dashboard answers there; check the address") from None
    except (RuntimeError, ValueError, OSError, aiohttp.ClientError) as error:
        if "Version check returned 404" in str(error):
            raise InputError(f"{shown}: no Ray dashboard answers there; check the address") from None
        raise RunError(f"{shown}: {_first_line(error)}; {way_out}") from None
    finally:
        logging.disable(logging.NOTSET)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return redact(lines[0].rstrip(".")) if lines else type(error).__name__


async def _print_log(client: JobSubmissionClient, job_id: str) -> None:
    async for lines in client.tail_job_logs(job_id):
        print(lines, end="", flush=True)


def _end(client: JobSubmissionClient, job_id: str) -> JobDetails:
    """The job after its end, which is noted a little after its last line."""
    deadline = time.monotonic() + _END_S
    while not (details := client.get_job_info(job_id)).status.is_terminal():
        if time.monotonic() > deadline:
            raise RuntimeError(f"the log of {job_id} broke off")
        time.sleep(0.2)
    return details


def _exit_code(job: Job, details: JobDetails) -> int:
    if details.status == "SUCCEEDED":
        return 0
    if details.status == "STOPPED":
        print(f"{job.id} was stopped; submitted again, it goes on with files where it stopped")
        return 0
    code = details.driver_exit_code
    if code is None:
        lines = (details.message or "").strip().splitlines() or ["no reason given"]
        raise RunError(f"{job.id} did not start: {redact(lines[-1])}; see `{job.command('logs')}`")
    if code == _NO_PYTHON:
        raise RunError(f"{job.id}: no python on the head's PATH; activate RISA's environment there before `ray start`")
    return int(code)
