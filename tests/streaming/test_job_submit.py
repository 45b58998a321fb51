"""Jobs, by `risa submit` and by `ray job submit`, on a real local cluster that asks for a token."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import cv2
import numpy as np
import pytest
from support import assert_every_frame_once, rows

from risa_ray.vision import EXPRESSIONS

LIVE = "demo:front?seconds=500&fps=2"
ROOT = Path(__file__).parents[2]
RAY, RISA = (Path(sys.executable).with_name(name) for name in ("ray", "risa"))


@dataclass(frozen=True)
class Cluster:
    """A local cluster that asks for a token: the address of its job server, and the environment of its clients."""

    address: str
    environment: dict[str, str]

    def run(self, *command: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*map(str, command)],
            capture_output=True, text=True, timeout=280, check=False, env=self.environment | environment,
        )  # fmt: skip

    def job(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`ray job ...`"""
        return self.run(RAY, "job", verb, "--address", self.address, *arguments)

    def ask(self, path: str) -> Any:
        """What the job server answers; far cheaper than a command."""
        token = Path(self.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
        with urlopen(Request(self.address + path, headers={"Authorization": f"Bearer {token}"}), timeout=60) as answer:
            return json.load(answer)

    def status(self, job: str) -> str:
        return str(self.ask(f"/api/jobs/{job}")["status"])

    def up(self) -> bool:
        try:
            return self.ask("/api/jobs/") == []
        except OSError:
            return False

    def submit(self, config: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """`risa submit`"""
        return self.run(RISA, "submit", config, "--address", self.address, *options, **environment)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A fresh one; `--block` ties it to one process, which ends it alone."""
    port, dashboard_port, token = free_port(), free_port(), tmp_path_factory.mktemp("cluster") / "token"
    token.write_text(secrets.token_hex(32))
    environment = os.environ | {
        # The job's python is the first on the head's path.
        "PATH": f"{RAY.parent}:{os.environ['PATH']}",
        "RAY_ADDRESS": "",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
    }
    fresh = Cluster(f"http://127.0.0.1:{dashboard_port}", environment)
    head = subprocess.Popen(
        [
            str(RAY), "start", "--head", "--block", f"--port={port}", "--num-cpus=4",
            "--object-store-memory=300000000", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard_port}",
            f"--ray-client-server-port={free_port()}", f"--dashboard-agent-listen-port={free_port()}",
            "--disable-usage-stats",
        ],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not fresh.up():
        assert head.poll() is None
        time.sleep(0.2)
    yield fresh
    head.terminate()
    head.wait(60)


def ray_submit(cluster: Cluster, job: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return cluster.job(
        "submit", "--working-dir", str(ROOT), "--submission-id", job,
        "--runtime-env-json", '{"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60"}, "excludes": ["/tests/", "/.git/"]}',
        "--", "python", *arguments,
    )  # fmt: skip


def config_file(folder: Path, source: str, model: Path | str = "default") -> Path:
    path = folder / "chain.yaml"
    path.write_text(
        # The clip is of a day long ago.
        f"data: {folder / 'data'}\nprivacy: {{retention: {{observations: null}}}}\npipeline: {{model: {model}}}\n"
        "stores:\n  - id: s\n    cameras:\n"
        f"      - {{id: cam, source: '{source}', detector: haar, min_face_size: 30}}\n"
    )
    return path


@pytest.mark.slow
def test_a_file_is_streamed_by_a_job(cluster: Cluster, clip: Path, tmp_path: Path) -> None:
    done = ray_submit(cluster, "file", "jobs/stream.py", str(config_file(tmp_path, str(clip))))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 frames analysed" in done.stdout
    assert_every_frame_once(tmp_path / "data", "cam", 40)


@pytest.mark.slow
def test_a_batch_is_run_by_a_job(cluster: Cluster, clip: Path, tmp_path: Path) -> None:
    arguments = ("jobs/batch.py", str(clip), "--data", str(tmp_path), "--detector", "haar", "--min-face-size", "30")
    done = ray_submit(cluster, "batch", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_every_frame_once(tmp_path, clip.stem, 40)


@pytest.mark.slow
def test_a_model_is_trained_by_a_job(cluster: Cluster, tmp_path: Path) -> None:
    for number in range(40):
        folder = tmp_path / "faces" / EXPRESSIONS[number % 8]
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (60, 50), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), noise)
    config = tmp_path / "train.yaml"
    config.write_text("images: faces\nout: run\nworkers: 2\nrecipe: {widths: [4], blocks: 1, epochs: 1, batch: 8}\n")
    done = ray_submit(cluster, "train", "jobs/train.py", str(config))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "epoch 1/1" in done.stdout
    assert (tmp_path / "run" / "model.safetensors").exists()
    lost = ray_submit(cluster, "lost", "jobs/train.py", str(config), "--out", "run")
    assert lost.returncode != 0
    assert "give an absolute out" in lost.stdout


def test_bad_input_ends_a_job_with_its_line_and_exit_code(cluster: Cluster, tmp_path: Path) -> None:
    done = cluster.submit(config_file(tmp_path, "/nowhere.mp4"), "--wait")
    assert done.returncode == 2
    assert "risa: camera cam: /nowhere.mp4: no such file" in done.stdout
    assert done.stderr == ""


def test_a_cluster_lets_nobody_in_without_its_token(cluster: Cluster, tmp_path: Path) -> None:
    config = config_file(tmp_path, "demo:front")
    wrong = cluster.submit(config, RAY_AUTH_TOKEN="wrong", RAY_AUTH_TOKEN_PATH="")
    none = cluster.submit(config, RAY_AUTH_MODE="disabled")
    assert (wrong.returncode, none.returncode) == (2, 2)
    assert "the cluster refuses our token" in wrong.stderr
    assert "the cluster asks for a token; export RAY_AUTH_MODE=token" in none.stderr
    assert len(wrong.stderr.splitlines()) == len(none.stderr.splitlines()) == 1


def wait_for(camera_id: str, data: Path, cluster: Cluster, job: str) -> None:
    """Until the store has rows of the camera."""
    while not (data / "observations").is_dir() or not rows(data, f"FROM observations WHERE camera_id = '{camera_id}'"):
        assert cluster.status(job) in ("PENDING", "RUNNING")
        time.sleep(1)


def test_stopping_a_submitted_config_drains_and_commits(cluster: Cluster, tmp_path: Path, tiny_model: Path) -> None:
    data = tmp_path / "data"
    done = cluster.submit(config_file(tmp_path, LIVE, tiny_model))
    assert done.returncode == 0, done.stderr
    job = done.stdout.split()[1]
    assert f"ray job stop --address {cluster.address} {job}" in done.stdout
    wait_for("cam", data, cluster, job)
    cluster.job("stop", job)
    assert cluster.status(job) == "STOPPED"
    dropped = "dropped_overrun + dropped_stale + dropped_decode_error + dropped_lost_in_crash"
    sums = f"SELECT sum(read) = sum(analysed + {dropped}), max(last_seq) + 1 = sum(read) FROM frames"
    assert rows(data, f"{sums} WHERE session_id IS NOT NULL") == [(True, True)]
    assert rows(data, "SELECT state FROM frames ORDER BY window_start DESC LIMIT 1") == [("stopped",)]
    told = cluster.job("logs", job).stdout.split("jobs/stream.py", 1)[1]
    assert "frames analysed" in told
    assert "\x1b" not in told  # no colours, no cursor movements


@pytest.mark.slow
def test_the_config_of_a_running_job_is_followed(cluster: Cluster, tmp_path: Path, tiny_model: Path) -> None:
    config = config_file(tmp_path, LIVE, tiny_model)
    job = cluster.submit(config).stdout.split()[1]
    wait_for("cam", tmp_path / "data", cluster, job)
    with config.open("a") as edited:
        edited.write("      - {id: second, source: 'demo:side?seconds=500&fps=2', detector: haar, min_face_size: 30}\n")
    wait_for("second", tmp_path / "data", cluster, job)
    cluster.job("stop", job)
    assert "added second" in cluster.job("logs", job).stdout


@pytest.mark.slow
def test_leaving_the_log_leaves_the_job(cluster: Cluster, tmp_path: Path) -> None:
    """Ctrl-C while waiting."""
    config = config_file(tmp_path, LIVE)
    following = subprocess.Popen(
        [str(RISA), "submit", str(config), "--address", cluster.address, "--wait"],
        env=cluster.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert following.stdout is not None
    job = following.stdout.readline().split()[1]
    while "cameras" not in following.stdout.readline():
        assert following.poll() is None
    following.send_signal(signal.SIGINT)
    errors = following.communicate(timeout=60)[1]
    assert following.returncode == 130
    assert errors == f"risa: {job} goes on; `ray job stop --address {cluster.address} {job}` stops it\n"
    assert cluster.status(job) == "RUNNING"
    cluster.job("stop", job)
    assert cluster.status(job) == "STOPPED"
