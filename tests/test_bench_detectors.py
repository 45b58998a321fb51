"""The comparison of detectors: what counts as equal, and the command from end to end."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from risa_ray.benchmarks.agreement import keeps_contract
from risa_ray.benchmarks.peak import peak_mib
from risa_ray.cli import app
from risa_ray.vision import Faces, create_detector


def faces(*boxes: tuple[float, float, float, float], score: float = 0.99, marks: float = 50) -> Faces:
    n = len(boxes)
    return Faces(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(n, score, np.float32),
        np.full((n, 5, 2), marks, np.float32),
    )


ONE = (10.0, 10.0, 110.0, 110.0)
SHIFTED = (12.0, 10.0, 112.0, 110.0)
FAR = (15.0, 15.0, 115.0, 115.0)


@pytest.mark.parametrize(
    ("found", "wanted", "kept"),
    [
        (faces(ONE), faces(ONE), True),
        (faces(SHIFTED), faces(ONE), True),
        (faces(FAR), faces(ONE), False),
        (faces(ONE, score=0.96), faces(ONE), False),
        (faces(ONE, marks=52), faces(ONE), False),
        (faces(), faces(ONE), False),
        (faces(), faces(ONE, score=0.8), True),
        (faces(ONE), faces(), False),
        (faces(ONE, score=0.94), faces(), True),
        (faces(), faces(), True),
        (Faces(faces(ONE).boxes, faces(ONE).scores, None), faces(ONE), False),
    ],
    ids=[
        "same",
        "near",
        "far",
        "score",
        "landmarks",
        "lost",
        "unsure",
        "extra",
        "unsure extra",
        "none",
        "no landmarks",
    ],
)
def test_the_contract_of_the_exact_engine(found: Faces, wanted: Faces, kept: bool) -> None:
    assert keeps_contract(found, wanted) == kept


@pytest.fixture
def _own_threads() -> Iterator[None]:
    """The command sets the threads of the whole process."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


@pytest.mark.usefixtures("_own_threads")
def test_the_comparison_leaves_a_table_a_json_a_csv_and_a_chart(tmp_path: Path) -> None:
    arguments = [
        "bench",
        "detectors",
        "--frames",
        "1",
        "--repeats",
        "1",
        "--min-face-size",
        "40",
        "--threads",
        "1",
        "--no-memory",
        "--out",
    ]
    done = CliRunner().invoke(app, [*arguments, str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out/detectors.json").read_text())
    assert list(result["sizes"]) == ["1080p", "720p", "540p", "360p"]
    for detectors in result["sizes"].values():
        assert {"facenet-pytorch", "mtcnn", "haar"} <= set(detectors)
        ours = detectors["mtcnn"]
        assert ours["equal"]
        assert ours["faces"] >= 1
        assert ours["recall"] == ours["precision"] == 1
        assert ours["times_pnet_floor"] > 0
        assert set(ours["stage_ms"]) == {"propose", "screen", "locate"}
    assert "1080p" in done.output
    with (tmp_path / "out/detectors.csv").open() as file:
        assert len(list(csv.DictReader(file))) == sum(map(len, result["sizes"].values()))
    with Image.open(tmp_path / "out/detectors.png") as chart:
        assert chart.width == 800


def test_peak_memory_is_what_a_frame_adds_to_a_loaded_detector() -> None:
    peak = peak_mib(partial(create_detector, "haar", threads=1), "cpu", (3840, 2160), 1)
    assert peak is not None
    assert peak > 8, "the grey picture alone has 8 MiB"


def test_a_detector_that_dies_over_a_frame_has_no_peak() -> None:
    assert peak_mib(partial(os._exit, 1), "cpu", (64, 64), 1) is None


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ("11", "min_face_size 11 is too small; the least is 12 pixels"),
        ("361", "--min-face-size 361: no such face fits into 360 rows; give 360 at most"),
    ],
)
def test_a_face_size_that_cannot_be_is_told_in_one_line(size: str, told: str) -> None:
    done = CliRunner().invoke(app, ["bench", "detectors", "--min-face-size", size])
    assert str(done.exception) == told


def test_a_video_that_is_none_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "note.mp4").write_text("no video")
    done = CliRunner().invoke(app, ["bench", "detectors", "--video", str(tmp_path / "note.mp4")])
    assert done.exit_code != 0
    assert "cannot be read as video" in str(done.exception)
