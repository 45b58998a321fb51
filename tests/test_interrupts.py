"""Ctrl-C ends a command at once: one line, exit code 130, and nothing in the way of a second try."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

LINE = "risa: interrupted; the same command can be run again"
HEARS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
"""A suite that runs in the background of a script ignores Ctrl-C, and so would its commands."""
QUERY = """
import os, signal, threading
import duckdb
from risa_ray.interrupts import ended_by_interrupt
with ended_by_interrupt():
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    duckdb.sql("SELECT sum(a.range * b.range) FROM range(10_000_000) a, range(10_000_000) b").fetchall()
"""


def test_a_simulation_leaves_nothing_behind(tmp_path: Path) -> None:
    words = ("simulate", "--stores", "1", "--days", "600", "--start", "2010-01-01", "--visits-per-hour", "1")
    process = subprocess.Popen(
        [sys.executable, "-c", f"{HEARS}from risa_ray.cli import main; main()", *words, f"--data={tmp_path / 'data'}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().startswith("day 1 of 600")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error.strip()) == (130, LINE)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_long_query_ends(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HEARS + QUERY], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (130, LINE)
