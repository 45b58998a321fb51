"""jobs/stream.py and jobs/batch.py under `ray job submit`, against a real local cluster."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import assert_every_frame_once, rows

from risa_ray.vision import EXPRESSIONS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")


# A new cluster asks for the token that it made; the command line sends it only when told to.
ENVIRONMENT = os.environ | {
    "PATH": f"{RAY.parent}:{os.environ['PATH']}",
    "RAY_ADDRESS": "",
    "RAY_AUTH_MODE": "token",
}


def ray(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(RAY), *arguments], capture_output=True, text=True, timeout=280, check=check, env=ENVIRONMENT
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def dashboard() -> Iterator[str]:
    """Address of a fresh cluster's job server; `--block` ties the cluster to one process, which ends it alone."""
    port, dashboard_port = free_port(), free_port()
    address = f"http://127.0.0.1:{dashboard_port}"
    head = subprocess.Popen(
        [
            str(RAY), "start", "--head", "--block", f"--port={port}", "--num-cpus=4",
            "--object-store-memory=300000000", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard_port}",
            "--disable-usage-stats",
        ],
        env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while ray("job", "list", "--address", address, check=False).returncode != 0:
        assert head.poll() is None
        time.sleep(1)
    yield address
    head.terminate()
    head.wait(60)


def submit(dashboard: str, job: str, *arguments: str, wait: bool = True) -> subprocess.CompletedProcess[str]:
    return ray(
        "job", "submit", "--address", dashboard, "--working-dir", str(ROOT), "--submission-id", job,
        "--runtime-env-json", '{"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60"}, "excludes": ["/tests/", "/.git/"]}',
        *(() if wait else ("--no-wait",)), "--", sys.executable, *arguments, check=False,
    )  # fmt: skip


def config_file(folder: Path, source: str) -> Path:
    path = folder / "chain.yaml"
    path.write_text(
        # The clip is of a day long ago.
        f"data: {folder / 'data'}\nprivacy: {{retention: {{observations: null}}}}\nstores:\n  - id: s\n    cameras:\n"
        f"      - {{id: cam, source: '{source}', detector: haar, min_face_size: 30}}\n"
    )
    return path


def test_a_file_is_streamed_by_a_job(dashboard: str, clip: Path, tmp_path: Path) -> None:
    done = submit(dashboard, "file", "jobs/stream.py", str(config_file(tmp_path, str(clip))))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 frames analysed" in done.stdout
    assert_every_frame_once(tmp_path / "data", "cam", 40)


def test_a_batch_is_run_by_a_job(dashboard: str, clip: Path, tmp_path: Path) -> None:
    arguments = ("jobs/batch.py", str(clip), "--data", str(tmp_path), "--detector", "haar", "--min-face-size", "30")
    done = submit(dashboard, "batch", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_every_frame_once(tmp_path, clip.stem, 40)


def test_a_model_is_trained_by_a_job(dashboard: str, tmp_path: Path) -> None:
    for number in range(40):
        folder = tmp_path / "faces" / EXPRESSIONS[number % 8]
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (60, 50), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), noise)
    config = tmp_path / "train.yaml"
    config.write_text("images: faces\nout: run\nworkers: 2\nrecipe: {widths: [4], blocks: 1, epochs: 1, batch: 8}\n")
    done = submit(dashboard, "train", "jobs/train.py", str(config))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "epoch 1/1" in done.stdout
    assert (tmp_path / "run" / "model.safetensors").exists()
    lost = submit(dashboard, "lost", "jobs/train.py", str(config), "--out", "run")
    assert lost.returncode != 0
    assert "give an absolute out" in lost.stdout


def test_bad_input_ends_the_job_with_one_line(dashboard: str, tmp_path: Path) -> None:
    done = submit(dashboard, "bad", "jobs/stream.py", str(config_file(tmp_path, "/nowhere.mp4")))
    assert done.returncode != 0
    assert "/nowhere.mp4: no such file" in done.stdout


def test_stopping_a_job_drains_and_commits(dashboard: str, tmp_path: Path) -> None:
    submit(dashboard, "live", "jobs/stream.py", str(config_file(tmp_path, "demo:front?seconds=500&fps=10")), wait=False)
    data = tmp_path / "data"
    while not list(data.glob("observations/**/*.parquet")):
        assert "FAILED" not in ray("job", "status", "--address", dashboard, "live", check=False).stdout
        time.sleep(0.5)
    ray("job", "stop", "--address", dashboard, "live")
    sql = (
        "SELECT sum(read) = sum(analysed + dropped_overrun + dropped_stale), max(last_seq) + 1 = sum(read) FROM frames"
    )
    assert rows(data, f"{sql} WHERE session_id IS NOT NULL") == [(True, True)]
    assert rows(data, "SELECT state FROM frames ORDER BY window_start DESC LIMIT 1") == [("stopped",)]
    assert "frames analysed" in ray("job", "logs", "--address", dashboard, "live").stdout
