"""What becomes of an open page and of the API when jobs die, come back, are two, and when the application changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from served import chain, page, replicas, running
from waiting import eventually

from risa_ray.analytics import open_dataset
from risa_ray.config_serve import ServeConfig
from risa_ray.errors import InputError
from risa_ray.serving.app import Settings
from risa_ray.serving.server import free_port
from risa_ray.streaming import board


@pytest.fixture(scope="module")
def section() -> ServeConfig:
    return ServeConfig(port=free_port(0), analyze=None)


@pytest.fixture(scope="module")
def server(cluster: Any, section: ServeConfig) -> Iterator[str]:
    """The application without a dataset of its own."""
    from ray import serve

    from risa_ray.serving.deployment import deploy, withdraw

    deploy(Settings(section))
    yield section.address.rstrip("/")
    withdraw(section)
    serve.shutdown()


def alerts(server: str, store: str) -> list[dict[str, Any]]:
    answer = requests.get(f"{server}/v1/alerts", params={"store": store})
    answer.raise_for_status()
    return list(answer.json())


def analysed(event: dict[str, Any]) -> bool:
    """Whether figures come, of frames of this moment."""
    return any(camera["state"] == "live" and camera["fps"] > 0 for camera in event["cameras"])


def gone(event: dict[str, Any]) -> bool:
    return event["runs"] == [] and event["cameras"] == [] and event["figures"] == [] and event["people"] == []


def test_an_open_page_sees_the_committer_die_and_come_back(server: str, tmp_path: Path, tiny_model: Path) -> None:
    import ray

    with running(chain(str(tmp_path / "data"), tiny_model)), page(server) as events:
        before = events.next(analysed)
        (name,) = board.names()
        ray.kill(board.find(name), no_restart=False)
        after = events.next(lambda e: e["runs"] and e["runs"][0]["started_at"] != before["runs"][0]["started_at"])
        assert after["runs"][0]["run_id"] == before["runs"][0]["run_id"]
        assert after["revision"] != before["revision"], "stores are asked for again"
        assert events.next(analysed)["cameras"][0]["camera_id"] == "door"


def test_an_open_page_sees_a_job_killed_and_its_run_go_on(
    server: str, cluster: Any, tmp_path: Path, tiny_model: Path
) -> None:
    config = tmp_path / "chain.yaml"
    config.write_text(yaml.safe_dump(chain("data", tiny_model)))
    address = cluster.get_runtime_context().gcs_address
    command = [sys.executable, "-m", "risa_ray.cli", "stream", str(config), "--address", address]
    with page(server) as events:
        for kill in (signal.SIGKILL, signal.SIGTERM):
            driver = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                events.next(analysed)
            finally:
                os.kill(driver.pid, kill)
                driver.wait()
            events.next(gone)
    assert requests.get(f"{server}/v1/health").json()["status"] == "no_run"


def test_two_jobs_share_a_page_and_keep_their_own_data(server: str, tmp_path: Path, tiny_model: Path) -> None:
    places = {"north": str(tmp_path / "north"), "south": str(tmp_path / "south")}
    north, south = (chain(data, tiny_model, f"door-{store}", store) for store, data in places.items())
    with running(north), running(south):
        for store, data in places.items():
            (alert,) = eventually(lambda store=store: alerts(server, store))
            assert alert["camera_id"] == f"door-{store}"
            where = f"{server}/v1/alerts/{alert['alert_id']}/acknowledge"
            eventually(lambda where=where: requests.post(where).ok)
            with open_dataset(data) as tables:
                assert tables.sql("SELECT camera_id, acknowledged_by FROM alert_log").fetchall() == [
                    (f"door-{store}", "local")
                ]
        assert {s["store_id"] for s in requests.get(f"{server}/v1/stores").json()} == set(places)
        assert {c["camera_id"] for c in requests.get(f"{server}/v1/cameras").json()} == {"door-north", "door-south"}
        with page(server) as events:
            assert {run["chain"] for run in events.next()["runs"]} == {"test"}
    eventually(lambda: requests.get(f"{server}/v1/cameras").json() == [])


def test_a_second_job_finds_the_page_that_runs(server: str, section: ServeConfig, tmp_path: Path) -> None:
    from risa_ray.serving.deployment import ensure

    before = replicas(server)
    ensure(Settings(section))
    assert replicas(server) == before, "the one that runs serves it, too"
    with pytest.raises(InputError, match=rf"port {section.port} .* other settings .*choose another serve.port"):
        ensure(Settings(section, str(tmp_path)))
    assert replicas(server) == before


def test_a_new_application_takes_the_place_of_the_one_on_its_port(
    server: str, section: ServeConfig, tmp_path: Path
) -> None:
    from risa_ray.serving.deployment import deploy

    before = replicas(server)
    deploy(Settings(section, str(tmp_path)))
    assert requests.get(f"{server}/v1/health").ok
    assert not set(replicas(server)) & set(before)
    deploy(Settings(section))
    assert requests.get(f"{server}/v1/health").ok
