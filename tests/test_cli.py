"""The command as a user meets it: what it prints, how it exits, what it refuses."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import assert_every_frame_once, rows

FAST = ("--detector", "haar", "--min-face-size", "30")


Command = Callable[..., tuple[int, str, str]]
Refusal = Callable[..., str]


def process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own, for what is about the process or about Ray."""
    return subprocess.run(
        [sys.executable, "-m", "risa_ray.cli", *map(str, arguments)],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


CONFIG = """\
stores:
  - id: s1
    cameras:
      - id: door
        source: {source}
        detector: {detector}
        zones:
          - {{id: in, kind: entrance, polygon: [[0, 0], [{x}, 0], [1, 1]]}}
"""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x": "1.5"}, "zones[in].polygon[1][0]"),
        ({"detector": "yolo"}, "'mtcnn', 'haar' or 'dlib'"),
        ({"source": "missing.mp4"}, "missing.mp4: no such file"),
        ({"source": "empty.mp4"}, "empty.mp4"),
        ({"source": "noise.mp4"}, "noise.mp4"),
        ({"source": "folder"}, "folder"),
        ({"source": "demo:back"}, "demo:back"),
    ],
)
def test_check_refuses_a_bad_config_in_one_line(
    change: dict[str, str], says: str, tmp_path: Path, refused: Refusal
) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "noise.mp4").write_bytes(os.urandom(5000))
    (tmp_path / "folder").mkdir()
    values = {"source": "demo:front", "detector": "haar", "x": "1"} | change
    config = tmp_path / "shop.yaml"
    config.write_text(CONFIG.format(**values))
    assert says in refused("check", config, "--data", tmp_path / "data")
    assert not (tmp_path / "data").exists() or not list((tmp_path / "data").iterdir())


def test_check_passes_a_good_config_and_starts_nothing(tmp_path: Path) -> None:
    config = tmp_path / "shop.yaml"
    config.write_text(CONFIG.format(source="demo:front", detector="haar", x="1"))
    result = process("check", config, "--data", tmp_path / "data")
    assert result.returncode == 0, result.stderr
    assert "ok" in result.stdout
    assert "960x540" in result.stdout


def test_every_command_refuses_bad_input(clip: Path, tmp_path: Path, refused: Refusal) -> None:
    (tmp_path / "a-file").write_text("")
    empty = tmp_path / "empty"
    empty.mkdir()
    data = tmp_path / "data"
    assert "no such" in refused("stream", tmp_path / "missing.mp4", "--data", data)
    done = process("batch", tmp_path / "missing.mp4", "--data", data)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "missing.mp4: no such" in done.stderr
    assert "no video and no picture" in refused("batch", empty, "--data", data)
    assert "'yolo'" in refused("stream", clip, "--detector", "yolo", "--data", data)
    assert "unknown model 'huge'" in refused("stream", clip, "--model", "huge", "--data", data)
    assert "a-file" in refused("stream", clip, "--data", tmp_path / "a-file")
    assert "no such config file" in refused("stream", tmp_path / "missing.yaml")
    assert "no such" in refused("query", "FROM frames", "--data", tmp_path / "nowhere")
    assert "holds no RISA dataset" in refused("query", "FROM frames", "--data", empty)
    assert "ends in .mp4" in refused("annotate", clip, "--out", tmp_path / "x.avi")
    assert "is the input itself" in refused("annotate", clip, "--out", clip)


def test_stream_query_and_sql_on_a_file(clip: Path, tmp_path: Path, risa: Command, refused: Refusal) -> None:
    data, events = tmp_path / "data", tmp_path / "events.jsonl"
    done = process("stream", clip, "--data", data, "--events", events, *FAST)
    assert done.returncode == 0, done.stderr
    assert "40 frames analysed" in done.stdout
    kinds = [json.loads(line)["type"] for line in events.read_text().splitlines()]
    assert {"figures", "camera", "run"} <= set(kinds)

    answer = process("query", "SELECT sum(analysed)::INT AS n FROM frames", "--data", data, "--format", "json")
    assert json.loads(answer.stdout) == [{"n": 40}]
    assert clip.stem in risa("query", "SELECT camera_id FROM cameras", "--data", data)[1]
    many = "SELECT count(*) > 1 AS many FROM tracks"
    text = risa("query", many, "--data", data, "--raw", "--format", "csv")[1]
    assert list(csv.DictReader(text.splitlines())) == [{"many": "true"}]
    assert "raw" in refused("query", "FROM tracks", "--data", data)
    assert "nothing" in refused("query", "SELECT nothing", "--data", data)
    assert "CREATE" in risa("sql", "--data", data)[1]


def _start(clip: Path, data: Path) -> subprocess.Popen[str]:
    """A stream slow enough to be interrupted; returns once rows are in the store."""
    child = subprocess.Popen(
        [sys.executable, "-m", "risa_ray.cli", "stream", str(clip), "--data", str(data), "--min-face-size", "20"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while child.poll() is None:
        if (data / "observations").is_dir() and list((data / "observations").rglob("*.parquet")):
            return child
        time.sleep(0.05)
    raise AssertionError(f"ended before it could be interrupted: {child.communicate()}")


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from risa_ray.sources.demo import write_clip

    path = tmp_path_factory.mktemp("clips") / "long.mp4"
    write_clip(path, "front", 12.0, 8, (640, 360))
    return path


@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGTERM, signal.SIGINT))],
)
def test_an_interrupted_file_resumes_without_loss_or_doubles(number: int, long_clip: Path, tmp_path: Path) -> None:
    child = _start(long_clip, tmp_path)
    child.send_signal(number)
    out, err = child.communicate(timeout=120)
    if number != signal.SIGKILL:
        assert child.returncode == 0, err
        assert "the same command goes on" in out
        assert rows(tmp_path, "SELECT sum(analysed) FROM frames")[0][0] == _rows_of_last_frame(tmp_path) + 1
    again = process("stream", long_clip, "--data", tmp_path, "--min-face-size", "20")
    assert again.returncode == 0, again.stderr
    assert "(resumed)" in again.stdout
    assert rows(tmp_path, "SELECT count(DISTINCT session_id) FROM frames WHERE session_id IS NOT NULL") == [(1,)]
    assert_every_frame_once(tmp_path, "long", 96)


def _rows_of_last_frame(data: Path) -> int:
    return int(rows(data, "SELECT max(last_seq) FROM frames")[0][0])
