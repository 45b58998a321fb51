"""The application on a real cluster, beside a real run."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests
from served import chain, page, replicas, running
from waiting import eventually

from risa_ray.analytics import open_dataset
from risa_ray.config_serve import ServeConfig
from risa_ray.errors import InputError
from risa_ray.serving.app import Settings
from risa_ray.serving.server import free_port, listen


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("served") / "data")


@pytest.fixture(scope="module")
def server(cluster: Any, data: str) -> Iterator[str]:
    from ray import serve

    from risa_ray.serving.deployment import deploy, withdraw

    section = ServeConfig(port=free_port(0), analyze=None)
    deploy(Settings(section, data))
    yield f"http://127.0.0.1:{section.port}"
    withdraw(section)
    serve.shutdown()


@pytest.fixture
def job(cluster: Any, data: str, tmp_path: Path, tiny_model: Path) -> Iterator[threading.Event]:
    """A run of the demo's camera, until the event is set."""
    log = {"id": "log", "kind": "file", "path": str(tmp_path / "alerts.jsonl")}
    with running(chain(data, tiny_model, channels=[log])) as stop:
        yield stop


def test_a_job_is_found_followed_and_missed(server: str, data: str, job: threading.Event, tmp_path: Path) -> None:
    (camera,) = eventually(lambda: [c for c in requests.get(f"{server}/v1/cameras").json() if c["state"] == "live"])
    assert (camera["store_id"], camera["camera_id"], camera["connections"]) == ("007", "door", 1)
    assert camera["picture"]
    (person, *_) = eventually(lambda: requests.get(f"{server}/v1/tracks").json())
    assert 0 <= person["x"] <= 1
    assert 0 <= person["y"] <= 1
    assert person["zone_ids"] == ["all"]
    (camera,) = requests.get(f"{server}/v1/cameras").json()
    assert camera["aspect"] == pytest.approx(16 / 9, rel=0.01)
    with page(server) as events:
        first, second = events.next(), events.next()
    assert first["runs"][0]["chain"] == "test"
    assert {(f["camera_id"], f["zone_id"]) for f in first["figures"]} == {("door", None), ("door", "all")}
    assert second["at"] > first["at"]
    (store,) = requests.get(f"{server}/v1/stores").json()
    assert store["name"] == "Riverside"
    assert "source" not in store["cameras"][0]
    health = requests.get(f"{server}/v1/health").json()
    assert (health["status"], health["cameras"]) == ("ok", {"live": 1})
    (alert,) = eventually(lambda: [a for a in requests.get(f"{server}/v1/alerts").json() if delivered(a)])
    assert (alert["rule_id"], alert["camera_id"]) == ("somebody", "door")
    assert json.loads((tmp_path / "alerts.jsonl").read_text())["alert_id"] == alert["alert_id"]
    seen = eventually(lambda: acknowledged(server, alert["alert_id"]))
    assert (seen["acknowledged_by"], seen["alert_id"]) == ("local", alert["alert_id"])
    assert acknowledged(server, alert["alert_id"]) == seen, "the first one counts"
    with page(server) as events:
        (shown,) = events.next()["alerts"]
    assert (shown["alert_id"], shown["acknowledged_by"]) == (alert["alert_id"], "local")
    check_picture(server)
    job.set()
    eventually(lambda: requests.get(f"{server}/v1/health").json()["status"] == "no_run")
    assert requests.get(f"{server}/v1/figures").json() == []
    with open_dataset(data) as tables:
        rows = tables.sql("SELECT alert_id, acknowledged_by, deliveries[1].state FROM alert_log").fetchall()
    assert rows == [(alert["alert_id"], "local", "delivered")]
    (kept,) = eventually(lambda: requests.get(f"{server}/v1/stores").json())  # a snapshot may be half a minute old
    assert kept["store_id"] == "007", "the dataset tells when no job does"


def check_picture(server: str) -> None:
    """Its config allows a picture, which is small, new and kept by nobody."""

    def there() -> requests.Response | None:
        answer = requests.get(f"{server}/v1/cameras/door/picture", params={"store": "007"})
        assert answer.status_code in (200, 503), answer.text
        return answer if answer.ok else None

    answer = eventually(there)
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("image/jpeg", "no-store")
    assert datetime.now(UTC) - datetime.fromisoformat(answer.headers["x-captured-at"]) < timedelta(seconds=30)
    picture = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape[1] == 480
    for camera, store in (("another", "007"), ("door", "another")):
        answer = requests.get(f"{server}/v1/cameras/{camera}/picture", params={"store": store})
        assert answer.status_code == 404
        assert "blurred_picture" in answer.json()["detail"]


def delivered(alert: dict[str, Any]) -> bool:
    return [d["state"] for d in alert["deliveries"]] == ["delivered"]


def acknowledged(server: str, alert_id: str) -> dict[str, Any]:
    """The first acknowledgement; empty while the alert is not stored."""
    answer = requests.post(f"{server}/v1/alerts/{alert_id}/acknowledge")
    return dict(answer.json()) if answer.ok else {}


def test_a_server_that_was_killed_is_back_on_its_port(server: str) -> None:
    (replica,) = replicas(server)
    with requests.get(f"{server}/v1/events", stream=True, timeout=30):  # a connection that is open when it dies
        os.kill(replica, signal.SIGKILL)
    eventually(lambda: requests.get(f"{server}/v1/health", timeout=30).ok and replicas(server) not in ([], [replica]))


def test_a_port_that_is_taken_is_told_at_once() -> None:
    with listen("127.0.0.1", 0) as sock:
        sock.listen()
        port = sock.getsockname()[1]
        with pytest.raises(InputError, match=rf"127.0.0.1:{port} cannot be served .*choose another port"):
            listen("127.0.0.1", port)
    with pytest.raises(InputError, match="host 'no such host' is not known"):
        listen("no such host", 0)
