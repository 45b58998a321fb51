"""How far a reader got is known after its death."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from disks import fill

from risa_ray.store import reached
from risa_ray.store.reached import Reached, forget, left, tidy
from risa_ray.store.sessions import SessionInfo

NOW = datetime(2026, 3, 14, 9, tzinfo=UTC)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(reached, "_MEMORY", tmp_path)
    return tmp_path


def session(name: str = "s1", camera: str = "cam1", started_at: datetime = NOW) -> SessionInfo:
    return SessionInfo("007", camera, name, True, started_at)


def test_the_last_frame_is_there_while_the_session_is_open() -> None:
    note = Reached("run", 2, session())
    assert [one.last_seq for one in left("run")] == [-1]
    note.note(0)
    note.note(41)
    (one,) = left("run")
    assert (one.session, one.last_seq, one.generation) == (session(), 41, 2)
    assert one.process.is_dead() is False
    note.close()
    note.note(42)
    assert left("run") == []


def test_it_outlives_the_process(folder: Path) -> None:
    code = (
        "import os, signal\n"
        "from datetime import UTC, datetime\n"
        "from pathlib import Path\n"
        "from risa_ray.store import reached\n"
        "from risa_ray.store.sessions import SessionInfo\n"
        f"reached._MEMORY = Path({str(folder)!r})\n"
        "note = reached.Reached('run', 0, SessionInfo('007', 'cam1', 's1', True, datetime.now(UTC)))\n"
        "for seq in range(1000): note.note(seq)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    (one,) = left("run")
    assert one.last_seq == 999
    assert one.process.is_dead() is True
    forget("run", "s1")
    assert left("run") == []


def test_runs_and_cameras_are_told_apart_oldest_first() -> None:
    Reached("run", 0, session("b", started_at=NOW + timedelta(seconds=1)))
    Reached("run", 0, session("a"))
    Reached("run", 0, session("c", camera="cam2"))
    Reached("other", 0, session("d"))
    assert [one.session.session_id for one in left("run", "cam1")] == ["a", "b"]
    assert {one.session.session_id for one in left("run")} == {"a", "b", "c"}


def test_what_nobody_asked_for_in_a_month_goes(folder: Path) -> None:
    month = timedelta(days=40)
    code = "; ".join(
        [
            "from datetime import datetime",
            "from pathlib import Path",
            "from risa_ray.store import reached",
            "from risa_ray.store.sessions import SessionInfo",
            f"reached._MEMORY = Path({str(folder)!r})",
            f"reached.Reached('run', 0, SessionInfo('007', 'cam1', 'dead', True, datetime.fromisoformat('{NOW}')))",
        ]
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    Reached("run", 0, session("alive"))
    tidy((NOW + timedelta(days=1)).timestamp())
    assert {one.session.session_id for one in left("run")} == {"dead", "alive"}
    tidy((NOW + month).timestamp())
    assert {one.session.session_id for one in left("run")} == {"alive"}, "a camera may be connected for months"


def test_a_full_folder_costs_no_frame(
    disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reached, "_MEMORY", disk)
    fill(disk)
    note = Reached("run", 0, session())
    note.note(7)
    note.close()
    assert "No space left" in caplog.text
    assert left("run") == []


def test_a_file_that_is_none_of_ours_is_passed_over(folder: Path) -> None:
    (folder / "risa-run-x.reached").write_bytes(b"")
    (folder / "risa-run-y.reached").write_bytes(b"12345678not json")
    assert left("run") == []
