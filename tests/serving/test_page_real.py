"""The live page in a real browser, before the real application, beside a real run, over its tables."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from browser import CHROMIUM, Page
from live_page import NONE, Open, cell, signed
from served import chain, replicas, running
from waiting import eventually

from risa_ray.analytics import open_dataset
from risa_ray.analytics.recent import open_recent
from risa_ray.config_serve import ServeConfig
from risa_ray.serving.app import Settings
from risa_ray.serving.server import free_port
from risa_ray.sources.demo import write_clip

pytestmark = CHROMIUM

MINUTE = datetime(2026, 3, 14, 9, 15, tzinfo=UTC)
LEFT = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
RIGHT = [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("real") / "data")


@pytest.fixture(scope="module")
def server(cluster: Any, data: str) -> Iterator[str]:
    from ray import serve

    from risa_ray.serving.deployment import deploy, withdraw

    section = ServeConfig(port=free_port(0), analyze=None)
    deploy(Settings(section, data))
    yield section.address.rstrip("/")
    withdraw(section)
    serve.shutdown()


@pytest.fixture
def film(server: str, data: str, tmp_path: Path) -> Iterator[None]:
    """A run of a film of one whole minute, whose figures then stand still, and of a camera, so that the run goes on."""
    path = tmp_path / "film_20260314_091500.mp4"
    write_clip(path, "front", 60, 4, (480, 270))
    raw = chain(data, Path("default"))
    zones = [{"id": name, "kind": "product", "polygon": p} for name, p in (("left", LEFT), ("right", RIGHT))]
    camera = {"id": "film", "source": str(path), "detector": "haar", "min_face_size": 30, "zones": zones}
    raw["stores"][0]["cameras"].append(camera)
    raw["privacy"]["retention"] = {"observations": None}  # the film is from March
    with running(raw):
        eventually(lambda: [c for c in get(server, "cameras") if c["state"] == "complete"])
        yield


def get(server: str, what: str, **query: str) -> Any:
    answer = requests.get(f"{server}/v1/{what}", params=query, timeout=30)
    answer.raise_for_status()
    return answer.json()


def read(page: Page, zone: str, column: str) -> str:
    return page.text(cell("007", "film", zone, column))


@pytest.mark.usefixtures("film")
def test_page_api_and_tables_tell_the_same_and_outlive_the_server(show: Open, server: str, data: str) -> None:
    page = show(server, "store/007")
    figures = {f["zone_id"]: f for f in get(server, "figures", camera="film")}
    assert set(figures) == {None, "left", "right"}
    assert any(f["net_sentiment"] is not None for f in figures.values())
    for zone in ("left", "right"):
        told = figures[zone]
        net = NONE if told["net_sentiment"] is None else signed(told["net_sentiment"])
        assert read(page, zone, "People") == str(told["people_now"])
        assert read(page, zone, "Net sentiment") == net

    with open_recent(data, MINUTE) as tables:
        found = tables.sql("SELECT * FROM place_minutes WHERE camera_id = 'film'").to_arrow_table().to_pylist()
    assert {row["zone_id"] for row in found} == set(figures)
    for row in found:
        told = figures[row["zone_id"]]
        assert row["minute"] == MINUTE
        assert (told["status"], told["tracks"]) == (row["status"], row["tracks"])
        assert told["net_sentiment"] == pytest.approx(row["net_sentiment"], abs=5e-5)
    with open_dataset(data) as tables:
        names = ("with_mood", "positive", "neutral", "negative", "net_sentiment", "ci_low", "ci_high", "unknown_share")
        (minute,) = tables.sql(f"SELECT {', '.join(names)} FROM mood_by_minute WHERE camera_id = 'film'").fetchall()
    whole = figures[None]
    ours = [whole[name] for name in names[:5]] + [*whole["ci"], whole["unknown_share"]]
    assert ours == pytest.approx(list(minute), abs=5e-5)

    (alert,) = eventually(lambda: get(server, "alerts", camera="door"))
    assert alert["text"] in page.text(".attention")

    (replica,) = replicas(server)
    os.kill(replica, signal.SIGKILL)
    page.wait("document.documentElement.dataset.live !== 'fresh'")
    page.wait("document.documentElement.dataset.live === 'fresh'", 60)
    assert read(page, "left", "People") == str(figures["left"]["people_now"])
    assert json.loads(json.dumps(get(server, "figures", camera="film"))) == [*figures.values()]
