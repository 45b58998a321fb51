"""The embedded default: real time, real pipeline, and a page at its end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support import rows


def test_the_demo_runs_and_leaves_a_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "risa_ray.cli", "demo", "--data", str(tmp_path), "--seconds", "8"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert "invented" in done.stdout
    assert "demo.html" in done.stdout
    page = (tmp_path / "demo.html").read_text(encoding="utf-8")
    assert "invented" in page
    read, analysed = rows(tmp_path, "SELECT sum(read), sum(analysed) FROM frames WHERE session_id IS NOT NULL")[0]
    assert read == 2 * 8 * 5
    assert 0 < analysed <= read
    assert rows(tmp_path, "SELECT count(DISTINCT camera_id), count(DISTINCT track_id) >= 2 FROM tracks") == [(2, True)]
    assert rows(tmp_path, "SELECT k FROM privacy") == [(1,)]
