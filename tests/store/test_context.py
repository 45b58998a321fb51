"""The context tables tell what held when, and grow only when something changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from risa_ray.config import ChainConfig, parse_config
from risa_ray.store.context import write_context

AT = datetime(2026, 11, 22, tzinfo=UTC)


def config(*, source: str = "rtsp://user:secret@cam/1", zones: tuple[str, ...] = ("z1",), k: int = 10) -> ChainConfig:
    square = [[0, 0], [1, 0], [1, 1], [0, 1]]
    content = [{"id": "ad", "from": "2026-11-22T09:00:00+01:00", "to": "2026-11-22T10:00:00+01:00"}]
    zone: dict[str, Any] = {"kind": "product", "polygon": square, "tags": ["tea"], "content": content}
    camera = {"id": "cam1", "source": source, "sampling_fps": 5, "zones": [zone | {"id": name} for name in zones]}
    raw = {
        "privacy": {"k": k},
        "stores": [{"id": "007", "timezone": "Europe/Berlin", "name": "Mitte", "cameras": [camera]}],
    }
    return parse_config(raw, "test")


def test_a_config_is_described_without_credentials(tmp_path: Path, tools: Any) -> None:
    write_context(str(tmp_path), config(), AT, {"cam1": (1920, 1080)})
    (store,) = tools.rows(tmp_path, "stores")
    assert store == {"store_id": "007", "name": "Mitte", "timezone": "Europe/Berlin", "valid_from": AT}
    (camera,) = tools.rows(tmp_path, "cameras")
    assert camera["source"] == "rtsp://***@cam/1"
    assert (camera["sampling_fps"], camera["width"], camera["policy"]) == (5.0, 1920, None)
    (zone,) = tools.rows(tmp_path, "zones")
    assert (zone["kind"], zone["tags"], zone["polygon"][2]) == ("product", ["tea"], {"x": 1.0, "y": 1.0})
    (content,) = tools.rows(tmp_path, "content")
    assert content["starts_at"] == datetime(2026, 11, 22, 8, tzinfo=UTC)
    (privacy,) = tools.rows(tmp_path, "privacy")
    assert (privacy["k"], privacy["retention_days"]) == (10, None)


def test_only_changes_are_appended(tmp_path: Path, tools: Any) -> None:
    write_context(str(tmp_path), config(), AT, {"cam1": (1920, 1080)})
    write_context(str(tmp_path), config(), AT + timedelta(days=1))
    write_context(str(tmp_path), config(k=5), AT + timedelta(days=2))
    assert [len(tools.rows(tmp_path, name)) for name in ("stores", "cameras", "zones", "content")] == [1, 1, 1, 1]
    assert [r["k"] for r in tools.rows(tmp_path, "privacy", ["valid_from"])] == [10, 5]


def test_a_zone_that_is_gone_is_inactive(tmp_path: Path, tools: Any) -> None:
    write_context(str(tmp_path), config(zones=("z1", "z2")), AT)
    write_context(str(tmp_path), config(), AT + timedelta(days=1))
    write_context(str(tmp_path), config(), AT + timedelta(days=2))
    rows = tools.rows(tmp_path, "zones", ["valid_from", "zone_id"])
    assert [(r["zone_id"], r["active"]) for r in rows] == [("z1", True), ("z2", True), ("z2", False)]


def test_a_change_at_the_same_moment_comes_after(tmp_path: Path, tools: Any) -> None:
    write_context(str(tmp_path), config(k=3), AT)
    write_context(str(tmp_path), config(k=4), AT)
    assert [r["k"] for r in tools.rows(tmp_path, "privacy", ["valid_from"])] == [3, 4]
