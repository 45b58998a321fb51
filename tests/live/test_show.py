"""What a streaming run tells the programs that listen."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from helpers_live import chain, people, wall
from rich.console import Console

from risa_ray.live import Alert, Rolling, Rules
from risa_ray.streaming import show
from risa_ray.streaming.committer import CommitterStatus
from risa_ray.streaming.driver import Snapshot
from risa_ray.streaming.lifecycle import CameraState
from risa_ray.streaming.process import process_use
from risa_ray.streaming.reader import ReaderStatus
from risa_ray.streaming.show import RunView


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Monotonic seconds of the view."""
    now = [100.0]
    monkeypatch.setattr(show.time, "monotonic", lambda: now[0])
    return now


def alert() -> Alert:
    config = chain(alerts=[{"id": "r", "figure": "people", "above": 0, "text": "crowded"}])
    rolling = Rolling(config)
    rolling.add(people({"a": (0.8, "happiness")}), wall(2))
    return Rules(config).evaluate(rolling, wall(2))[0]


def snapshot(states: dict[str, CameraState], alerts: tuple[Alert, ...] = ()) -> Snapshot:
    figures = tuple(Rolling(chain(zones=())).figures(wall(2)))
    committer = CommitterStatus(figures, alerts, len(alerts), {}, 0, 0, 0.0, "", process_use())
    readers = {camera: ReaderStatus(camera, "007", state) for camera, state in states.items()}
    return Snapshot("abc", 1.0, committer, readers, ())


def view(events: str) -> RunView:
    return RunView(Console(file=io.StringIO()), events)


def told(text: str, kind: str) -> list[dict[str, Any]]:
    return [event for event in map(json.loads, text.splitlines()) if event["type"] == kind]


def test_a_camera_that_leaves_the_config_is_told_as_stopped_once(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    with view(str(events)) as shown:
        shown(snapshot({"door": "live", "till": "live", "film": "complete"}))
        for _ in range(3):
            shown(snapshot({"till": "live"}))
    states = [(e["store_id"], e["camera_id"], e["state"]) for e in told(events.read_text(), "camera")]
    assert sorted(states[:3]) == [("007", "door", "live"), ("007", "film", "complete"), ("007", "till", "live")]
    assert states[3:] == [("007", "door", "stopped")], "a film that has ended did not stop"


def test_a_file_gets_figures_now_and_then_and_what_happens_at_once(tmp_path: Path, clock: list[float]) -> None:
    events = tmp_path / "events.jsonl"
    with view(str(events)) as shown:
        for second in range(25):
            clock[0] = 100.0 + second
            shown(snapshot({"door": "stalled" if second == 13 else "live"}, (alert(),) if second == 5 else ()))
            if second == 5:
                assert len(told(events.read_text(), "alert")) == 1
            if second == 13:
                assert told(events.read_text(), "camera")[-1]["state"] == "stalled"
        assert len(told(events.read_text(), "figures")) == 3
        shown.run("abc", "complete")
        assert [json.loads(line)["type"] for line in events.read_text().splitlines()][-2:] == ["figures", "run"]
    assert len(told(events.read_text(), "figures")) == 4, "the last ones once"


def test_standard_output_gets_figures_each_second(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with view("-") as shown:
        for half in range(10):
            clock[0] = 100.0 + half / 2
            shown(snapshot({"door": "live"}))
        assert len(told(capsys.readouterr().out, "figures")) == 5
