"""The dashboard against Grafana's own schema, as its Foundation SDK has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

RISA = Path(__file__).parents[2] / "docs/grafana/risa.json"
# What the list of variables in Grafana's settings shows; Grafana writes it itself, and the schema leaves it out.
BESIDE = {"/templating/list/1/definition"}


def changed(ours: Any, read: Any, where: str = "") -> Iterator[str]:
    """Where a value is lost or another one once Grafana's types have read it; what they add is a default."""
    if isinstance(ours, dict) and isinstance(read, dict):
        for name, value in ours.items():
            yield from changed(value, read.get(name), f"{where}/{name}")
    elif isinstance(ours, list) and isinstance(read, list) and len(ours) == len(read):
        for number, (value, other) in enumerate(zip(ours, read, strict=True)):
            yield from changed(value, other, f"{where}/{number}")
    elif ours != read:
        yield where


def test_grafana_knows_every_field_of_the_dashboard() -> None:
    ours = json.loads(RISA.read_text(encoding="utf-8"))
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(ours)))
    assert set(changed(ours, read)) <= BESIDE


def test_a_field_that_grafana_does_not_know_is_found() -> None:
    ours = json.loads(RISA.read_text(encoding="utf-8"))
    ours["panels"][1]["fieldConfig"]["defaults"]["untis"] = "s"
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(ours)))
    assert "/panels/1/fieldConfig/defaults/untis" in set(changed(ours, read))
