"""A server whose jobs say something of everything, and what operators are given to watch it by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from secured import OPEN, Served, application, book_of, serving

from risa_ray.serving import models

GRAFANA = Path(__file__).parents[1] / "docs" / "grafana"
MANUAL = GRAFANA.parent / "monitoring.md"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def camera(camera_id: str, state: str, **values: Any) -> models.CameraNow:
    told: dict[str, Any] = {"store_id": "007", "camera_id": camera_id, "state": state, "note": "", "connections": 2}
    told |= {"stalls": 1, "decode_errors": 3, "fps": 4.5, "delay_p50_s": 0.1, "delay_p95_s": 0.25, "age_s": 0.0}
    return models.CameraNow(**(told | {"dropped": {"stale": 7}} | values))


def figures(camera_id: str, zone_id: str | None, people: int) -> models.FiguresNow:
    told = dict.fromkeys(("tracks", "with_mood", "positive", "neutral", "negative", "net_sentiment", "ci"))
    told |= dict.fromkeys(("negative_share", "unknown_share"))
    return models.FiguresNow(
        store_id="007", camera_id=camera_id, zone_id=zone_id, at=NOW, window_s=60, k=10, people_now=people,
        expressions={}, status="suppressed", **told,
    )  # fmt: skip


def alert(number: int, severity: str, acknowledged: bool, **deliveries: str) -> models.AlertNow:
    return models.AlertNow(
        alert_id=f"a{number}", rule_id="queue", store_id="007", camera_id="door", zone_id=None, figure="people",
        value=9, threshold=8, direction="above", tracks=12, window_s=60, severity=severity, text="", fired_at=NOW,
        deliveries=[models.Delivery(channel=channel, state=state) for channel, state in deliveries.items()],
        acknowledged_at=NOW if acknowledged else None,
    )  # fmt: skip


EVERYTHING = models.LiveNow(
    at=NOW,
    revision="1",
    runs=[models.RunNow(run_id="r1", chain='riverside "1"', started_at=NOW, silent_s=2.5, trouble="disk full")],
    cameras=[
        camera("door", "live"),
        camera("till", "backing_off", fps=0.0, delay_p50_s=None, delay_p95_s=None, age_s=None, dropped={}),
    ],
    figures=[figures("door", None, 3), figures("door", "shelf", 2), figures("till", None, 0)],
    people=[],
    alerts=[
        alert(1, "critical", False, phone="pending", mqtt="delivered"),
        alert(2, "critical", True, phone="failed", mqtt="delivered"),
        alert(3, "info", False, phone="pending"),
    ],
)


class Jobs:
    """What the hub would find running."""

    def __init__(self, now: models.LiveNow) -> None:
        self.now = now

    async def live(self) -> models.LiveNow:
        return self.now


BOOK, TOKEN = book_of(prometheus="viewer")


@contextmanager
def monitored() -> Iterator[Served]:
    """The server, with tokens."""
    app = application()
    app.state.hub = Jobs(EVERYTHING)
    with serving(OPEN.model_copy(update={"tokens_file": "tokens"}), BOOK, app) as found:
        yield found


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GRAFANA / "risa.json").read_text())
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((GRAFANA / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> list[str]:
    """Every expression of the dashboard, as it is with all stores chosen, and of the rules."""
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [e.replace("$store", ".*") for e in shown] + [rule["expr"] for rule in rules()]
