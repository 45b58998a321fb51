"""`risa submit` without a cluster: what it refuses, and what it would send. With one: streaming/test_job_submit.py."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from risa_ray import submit
from risa_ray.streaming import driver

ROOT = Path(__file__).parents[1]
CONFIG = """
data: /shared/tables
pipeline: {model: default}
stores:
  - id: s
    cameras:
      - {id: cam, source: 'rtsp://10.0.0.7/stream', credentials_env: NOT_SET_ON_THIS_MACHINE}
      - {id: archive, source: /shared/not_on_this_machine.mp4}
"""

Refused = Callable[..., str]


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "chain.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def closed_port() -> Iterator[str]:
    """The address of a port that nobody listens on, and that nobody else is given meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def edited(config: Path, old: str, new: str) -> Path:
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    return config


def test_files_and_variables_of_the_cluster_need_not_be_here(config: Path) -> None:
    assert [camera.id for _, camera in submit.check_config(config).cameras()] == ["cam", "archive"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("/shared/not_on", "videos/not_on", "camera archive: source 'videos/not_on_this_machine.mp4': not absolute"),
        ("/shared/not_on", "~/not_on", "camera archive: source '~/not_on_this_machine.mp4': not absolute"),
        ("data: /shared/tables", "data: tables", "data 'tables': not absolute"),
        ("data: /shared/tables", "", "data 'data': not absolute"),
        ("model: default", "model: ours/best.onnx", "pipeline.model 'ours/best.onnx': not absolute"),
        ("model: default", "model: nobody", "unknown model 'nobody'"),
        ("id: cam", "idd: cam", "unknown key; did you mean 'id'?"),
    ],
)
def test_a_fault_of_the_config_is_told_in_a_line(config: Path, refused: Refused, old: str, new: str, told: str) -> None:
    assert told in refused("submit", edited(config, old, new))


def test_relative_options_are_refused(config: Path, refused: Refused) -> None:
    assert "--data 'tables': not absolute" in refused("submit", config, "--data", "tables")
    assert "--events 'events.jsonl': not absolute" in refused("submit", config, "--events", "events.jsonl")
    assert "no such config file" in refused("submit", config.with_name("other.yaml"))


CHANNEL = "channels: [{id: log, kind: file, path: %s}]\ndata: /shared/tables"


def test_what_is_uploaded_is_written_by_no_job(config: Path, refused: Refused) -> None:
    uploaded = ROOT / "configs"
    told = f"lies in a folder that each job uploads to all nodes (risa_ray, models, configs, jobs in {ROOT}); give a"
    for option, name in (("--data", "tables"), ("--events", "events.jsonl")):
        assert f"{option} '{uploaded / name}': {told}" in refused("submit", config, option, uploaded / name)
    edited(config, "data: /shared/tables", CHANNEL % (uploaded / "alerts.jsonl"))
    assert f"channel log: path '{uploaded}/alerts.jsonl': {told}" in refused("submit", config)


def test_a_file_of_alerts_may_lie_beside_the_config(config: Path) -> None:
    submit.check_config(edited(config, "data: /shared/tables", CHANNEL % "alerts.jsonl"))
    submit.check_config(config, data=str(ROOT / "tables"))  # beside what is uploaded


def test_credentials_never_reach_the_command_line_of_a_job(config: Path, refused: Refused) -> None:
    line = refused("submit", config, "--data", "s3://key:hunter2@bucket/tables")
    assert "holds credentials" in line
    assert "hunter2" not in line


@pytest.mark.parametrize("address", ["http://10.1.2.3:8265", "https://head.example:8265", "http://[fe80::1]:8265"])
def test_a_cluster_on_the_network_needs_a_token(
    config: Path, refused: Refused, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "export RAY_AUTH_MODE=token" in refused("submit", config, "--address", address)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert "export RAY_AUTH_MODE=token" in refused("submit", config, "--address", address)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(config.with_name("nothing")))
    assert "no token is here" in refused("submit", config, "--address", address)


@pytest.mark.parametrize("address", ["head:8265", "auto", "ray://127.0.0.1:10001", "http://127.0.0.1:many", "http://"])
def test_an_address_is_that_of_the_dashboard(config: Path, refused: Refused, address: str) -> None:
    assert "give the URL of the cluster's dashboard" in refused("submit", config, "--address", address)


def test_the_address_comes_from_the_environment_too(
    config: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch, closed_port: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://10.1.2.3:8265")
    assert "http://10.1.2.3:8265" in refused("submit", config)
    assert f"{closed_port}: not reachable (Connection refused)" in refused("submit", config, "--address", closed_port)


class NoDashboard(BaseHTTPRequestHandler):
    """Answers 501 to all."""

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_that_is_no_dashboard(config: Path, refused: Refused) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), NoDashboard)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        line = refused("submit", config, "--address", f"http://user:hunter2@127.0.0.1:{server.server_port}/")
    finally:
        server.shutdown()
        server.server_close()
    assert "no Ray dashboard answers there" in line
    assert "hunter2" not in line


def test_a_checkout_sends_its_code_and_nothing_else() -> None:
    sent = submit.runtime_env()
    left_out = set(sent["excludes"])
    assert sent["working_dir"] == str(ROOT)
    assert {p.name for p in ROOT.iterdir() if f"/{p.name}" not in left_out} <= {"risa_ray", "models", "configs", "jobs"}


def test_an_installed_package_sends_nothing(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "risa_ray", tmp_path / "risa_ray", ignore=shutil.ignore_patterns("__pycache__"))
    code = "from risa_ray import submit; print(submit.__file__, list(submit.runtime_env()), *submit._entrypoint())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{tmp_path / 'risa_ray/submit.py'} ['env_vars'] python -m risa_ray.cli stream"


def test_a_job_has_the_time_to_drain() -> None:
    assert driver._STOP_S + 2 * driver._LAST_ANSWER_S + 20 <= submit.STOP_WAIT_S
    assert submit.runtime_env()["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": str(submit.STOP_WAIT_S)}
