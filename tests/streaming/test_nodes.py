"""A run over several nodes of a real Ray cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support import assert_accounted, assert_every_frame_once

SCRIPT = Path(__file__).parents[1] / "nodes.py"


def test_cameras_of_a_lost_node_move_and_spread_to_one_that_joins(clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = [sys.executable, str(SCRIPT), str(clip), str(tiny_model), str(data)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert [(s["step"], s["nodes"]) for s in told["seen"]] == [
        ("two nodes", 2), ("one is lost", 1), ("one has joined", 2)
    ]  # fmt: skip
    assert told["states"].pop(clip.stem) == "complete"
    assert set(told["states"].values()) == {"stopped"}
    assert_every_frame_once(data, clip.stem, 40)
    assert_accounted(data)
