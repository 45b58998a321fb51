"""The harnesses over live runs, each of them small, on real servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from risa_ray.benchmarks.footage import frames_in, write_footage
from risa_ray.benchmarks.live_run import LiveRun, RunFailedError
from risa_ray.benchmarks.processes import in_session
from risa_ray.benchmarks.servers import mjpeg_server, rtsp_server
from risa_ray.cli import app
from risa_ray.errors import InputError
from risa_ray.inputs import config_for

has_gstreamer = (
    subprocess.run(
        ["/usr/bin/python3", "-c", "import gi; gi.require_version('GstRtspServer', '1.0')"],
        capture_output=True,
        check=False,
    ).returncode
    == 0
)
needs_rtsp = pytest.mark.skipif(not has_gstreamer, reason="GStreamer's RTSP server is not installed")


def test_footage_is_as_long_as_asked(tmp_path: Path) -> None:
    path = write_footage(tmp_path, 0, (160, 90), 1, 45)
    assert frames_in(path) == 60  # three times 20 s


class TestLiveRun:
    def test_bad_input_is_told_in_its_own_words(self, tmp_path: Path) -> None:
        config = config_for([str(tmp_path / "none.mp4")], str(tmp_path / "data"), {}, {})
        with LiveRun(config, tmp_path / "r") as run:
            run.start()
            with pytest.raises(RunFailedError, match=r"none\.mp4"):
                run.wait(lambda: False, 60, "frames")
            assert not run.alive

    def test_the_processes_of_a_session_are_found(self) -> None:
        code = "import subprocess; subprocess.run(['sleep', '60'])"
        with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as leader:
            while len(found := in_session(leader.pid)) < 2 or "sleep" not in {p.name for p in found.values()}:
                assert leader.poll() is None
            assert found[leader.pid].use.threads >= 1
            for pid in found:
                subprocess.run(["kill", str(pid)], check=True)


class TestServers:
    def test_a_server_that_cannot_start_says_why(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"none\.mp4"), mjpeg_server(tmp_path / "none.mp4", 5):
            pass

    @needs_rtsp
    def test_a_server_keeps_its_addresses_over_a_restart(self, tmp_path: Path) -> None:
        files = [write_footage(tmp_path, number, (160, 90), 5, 2) for number in range(2)]
        with rtsp_server(files) as server:
            urls = list(server.urls)
            assert [url.rpartition("/")[2] for url in urls] == ["cam0", "cam1"]
            server.restart()
            assert server.urls == urls
            assert server.cpu_s > 0

    def test_a_server_ends_with_whoever_started_it(self, tmp_path: Path) -> None:
        video = write_footage(tmp_path, 0, (160, 90), 5, 2)
        code = (
            "import sys, time\nfrom pathlib import Path\nfrom risa_ray.benchmarks.servers import mjpeg_server\n"
            "with mjpeg_server(Path(sys.argv[1]), 5) as server:\n"
            "    server.pause()\n    print('paused', flush=True)\n    time.sleep(600)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(video)], stdout=subprocess.PIPE, start_new_session=True
        ) as harness:
            assert harness.stdout is not None
            assert harness.stdout.readline() == b"paused\n"
            assert "mjpeg-server" in " ".join(Path(f"/proc/{p}/cmdline").read_text() for p in in_session(harness.pid))
            harness.kill()
        while in_session(harness.pid):
            time.sleep(0.05)

    def test_a_port_is_none_that_a_connection_may_get(self, tmp_path: Path) -> None:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        with mjpeg_server(write_footage(tmp_path, 0, (160, 90), 5, 2), 5) as server:
            assert int(server.urls[0].rstrip("/").rpartition(":")[2]) < first


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


FAST = ("--size", "320x180", "--fps", "5", "--detector", "haar", "--min-face-size", "30")


def bench(out: Path, model: Path, command: str, *options: str) -> dict[str, Any]:
    """The result of a command, whatever it found."""
    ran = CliRunner().invoke(app, ["bench", command, *FAST, "--model", str(model), "--out", str(out), *options])
    assert out.exists(), ran.output
    result: dict[str, Any] = json.loads(out.read_text())
    return result


@needs_rtsp
@pytest.mark.slow
class TestHarnesses:
    def test_density_counts_cameras(self, tmp_path: Path, tiny_model: Path) -> None:
        options = ("--first", "1", "--step", "2", "--most", "3", "--settle-s", "10", "--samples", "20")
        result = bench(tmp_path / "density.json", tiny_model, "density", *options)
        assert [step["cameras"] for step in result["steps"]][:2] == [1, 3]
        assert result["density"] == max((s["cameras"] for s in result["steps"] if s["reached"]), default=0)
        assert result["at_80_percent"]["row_delay_s"]["frames"] > 0

    def test_an_outage_is_measured_from_the_return(self, tmp_path: Path, tiny_model: Path) -> None:
        options = ("--cameras", "3", "--rounds", "2", "--down-s", "20", "--quiet-s", "25", "--seed", "7")
        result = bench(tmp_path / "outage.json", tiny_model, "outage", *options)
        assert [r["how"] for r in result["rounds"]] == ["killed", "paused"]
        assert all(r["back_s"] is not None for r in result["rounds"])
        assert result["others"]["quiet"]["outcomes"]["analysed"] > 0

    def test_a_soak_tells_of_every_process(self, tmp_path: Path, tiny_model: Path) -> None:
        options = ("--cameras", "3", "--minutes", "1.5", "--faults", "--fault-every-s", "15", "--seed", "1")
        result = bench(tmp_path / "soak.json", tiny_model, "soak", *options)
        kinds = {p["kind"].split()[0] for p in result["processes"]}
        assert {"driver", "reader", "analyzer", "committer", "raylet"} <= kinds
        assert result["faults"]
        assert result["promises"]["every frame ends analysed or dropped"]["holds"]
        assert result["promises"]["memory is flat"]["holds"] is None  # too short to tell
        assert set(result["states_at_end"].values()) == {"live"}

    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
    def test_nothing_outlives_the_command(self, tmp_path: Path, tiny_model: Path, how: signal.Signals) -> None:
        soak = ["bench", "soak", "--cameras", "2", "--minutes", "9", "--model", str(tiny_model), *FAST]
        with (
            # for what a killed command leaves; short, since Ray's sockets lie in it
            tempfile.TemporaryDirectory(prefix="risa-", ignore_cleanup_errors=True) as left,
            subprocess.Popen(
                [sys.executable, "-m", "risa_ray.cli", *soak, "--out", str(tmp_path / "soak.json")],
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
                env=os.environ | {"TMPDIR": left},
            ) as command,
        ):
            assert command.stderr is not None
            while " 'live'" not in (line := command.stderr.readline()).replace("{", " "):
                assert line, "it ended"
            runs = [pid for pid in children(command.pid) if in_session(pid)]
            assert runs
            command.send_signal(how)
            assert command.wait(60) in (-how, 128 + how)
            while in_session(command.pid) or any(in_session(pid) for pid in runs):
                time.sleep(0.1)
            assert how == signal.SIGKILL or not any(path.name.startswith("risa-") for path in Path(left).iterdir())


def test_a_size_that_cannot_be_encoded_is_refused(refused: Callable[..., str]) -> None:
    assert "--size 641x360" in refused("bench", "density", "--size", "641x360")
