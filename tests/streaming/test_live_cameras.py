"""Cameras that are down, stall, die and come back, from a real RTSP server, through the whole pipeline."""

from __future__ import annotations

import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from support import FAST, assert_accounted, rows

from risa_ray.benchmarks.servers import Server, find_script
from risa_ray.config import ChainConfig
from risa_ray.inputs import config_for
from risa_ray.streaming.driver import Snapshot, StreamReport, stream
from risa_ray.streaming.metrics import Metrics
from risa_ray.streaming.preflight import preflight

STALL_S = 1.0


@pytest.fixture(scope="module")
def _gstreamer() -> None:
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    found = subprocess.run(["/usr/bin/python3", "-c", probe], check=False, capture_output=True)
    if found.returncode:
        pytest.skip("GStreamer's RTSP server is not installed: see scripts/rtsp-server")


@pytest.fixture
def servers(_gstreamer: None, clip: Path) -> Iterator[dict[str, Server]]:
    """Three servers of one camera each: `steady` runs, `shaky` does not, `locked` asks for a password."""
    video = ["--camera", f"door={clip}"]
    made = {
        "steady": Server([str(find_script("rtsp-server"))], video),
        "shaky": Server([str(find_script("rtsp-server"))], video),
        "locked": Server([str(find_script("rtsp-server"))], [*video, "--user", "shop", "--password", "right"]),
    }
    for server in made.values():
        server.start()
    made["shaky"].kill()  # its address is known, and nobody is there
    yield made
    for server in made.values():
        server.kill()


def chain(servers: dict[str, Server], data: Path, model: Path) -> ChainConfig:
    urls = {
        "steady": servers["steady"].urls[0],
        "shaky": servers["shaky"].urls[0],
        "locked": servers["locked"].urls[0].replace("rtsp://", "rtsp://shop:wrong@"),
        "nowhere": "rtsp://camera.invalid/door",
    }
    config = config_for(list(urls.values()), str(data), FAST, {"threads": 1, "model": str(model)})
    cameras = tuple(
        camera.model_copy(update={"id": name, "stall_timeout_s": STALL_S, "sampling_fps": 5.0})
        for name, (_, camera) in zip(urls, config.cameras(), strict=True)
    )
    return config.model_copy(update={"stores": (config.stores[0].model_copy(update={"cameras": cameras}),)})


class Script:
    """Goes through steps: each waits for a state of the cameras, then does something to them."""

    def __init__(self, steps: list[tuple[Callable[[Snapshot], bool], Callable[[], object]]]) -> None:
        self.steps = steps
        self.stop = threading.Event()
        self.states: dict[str, list[str]] = {}
        self.notes: dict[str, set[str]] = {}
        self.deadline = time.monotonic() + 150

    def __call__(self, snapshot: Snapshot) -> None:
        for camera_id, status in snapshot.readers.items():
            seen = self.states.setdefault(camera_id, [])
            if seen[-1:] != [status.state]:
                seen.append(status.state)
            self.notes.setdefault(camera_id, set()).add(status.note)
        assert time.monotonic() < self.deadline, (len(self.steps), self.states, self.notes)
        if not self.steps:
            self.stop.set()
        elif self.steps[0][0](snapshot):
            self.steps.pop(0)[1]()

    def run(self, config: ChainConfig) -> StreamReport:
        metrics = Metrics()

        def see(snapshot: Snapshot) -> None:
            metrics(snapshot)
            self(snapshot)

        return stream(config, preflight(config), stop=self.stop, on_snapshot=see, interval_s=0.1)


def is_now(camera_id: str, *states: str) -> Callable[[Snapshot], bool]:
    return lambda snapshot: snapshot.readers[camera_id].state in states


def scraped() -> str:
    """What Prometheus would read from Ray's agent on this node."""
    (node,) = (n for n in ray.nodes() if n["Alive"])
    with urllib.request.urlopen(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics") as page:
        text: str = page.read().decode()
    return text


@pytest.mark.usefixtures("cluster")
def test_cameras_come_and_go_and_hold_up_no_other(servers: dict[str, Server], tmp_path: Path, tiny_model: Path) -> None:
    shaky = servers["shaky"]
    counted: dict[str, Any] = {}

    def analysed(camera_id: str) -> Callable[[Snapshot], bool]:
        """Live, with more frames than when the step before was done."""

        def look(snapshot: Snapshot) -> bool:
            number = snapshot.committer.analysed.get(camera_id, 0)
            done = snapshot.readers[camera_id].state == "live" and number > counted.get(camera_id, 0) + 3
            if done:
                counted[camera_id] = number
            return done

        return look

    def published(_: Snapshot) -> bool:
        return "ray_risa_frames_total" in scraped()

    script = Script(
        [
            (analysed("steady"), lambda: None),  # with the other three down
            (is_now("shaky", "backing_off"), shaky.start),
            (analysed("shaky"), shaky.pause),
            (is_now("shaky", "stalled"), lambda: None),
            (is_now("shaky", "backing_off"), shaky.resume),
            (analysed("shaky"), shaky.kill),
            (is_now("shaky", "backing_off"), shaky.start),
            (analysed("shaky"), lambda: None),
            (analysed("steady"), lambda: None),
            (published, lambda: None),
        ]
    )
    config = chain(servers, tmp_path / "data", tiny_model)
    report = script.run(config)
    metrics = scraped()

    assert not report.stopped
    assert set(s.state for s in report.readers.values()) == {"stopped"}
    assert script.states["steady"][:2] == ["connecting", "live"]
    assert set(script.states["steady"]) <= {"connecting", "live", "stopped"}
    assert {"stalled", "backing_off", "live"} <= set(script.states["shaky"])
    assert "live" not in script.states["locked"] + script.states["nowhere"]
    assert any("access refused" in note for note in script.notes["locked"]), script.notes
    assert any("unknown host" in note for note in script.notes["nowhere"])
    assert report.readers["shaky"].connections >= 3

    assert_accounted(tmp_path / "data")
    sessions = dict(rows(tmp_path / "data", "SELECT camera_id, count(DISTINCT session_id) FROM frames GROUP BY 1"))
    assert sessions["steady"] == 1
    assert sessions["shaky"] >= 3
    assert (sessions["locked"], sessions["nowhere"]) == (0, 0), "what never connected leaves no session"
    states = rows(tmp_path / "data", "SELECT DISTINCT camera_id, state FROM frames WHERE read = 0")
    assert {("locked", "backing_off"), ("nowhere", "backing_off")} & set(states)

    told = "".join(note for notes in script.notes.values() for note in notes) + metrics
    assert "wrong" not in told
    assert "ray_risa_camera_state{" in metrics
    assert 'outcome="analysed"' in metrics
