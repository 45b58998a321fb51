"""Alert rules as they stand in a config: what is refused, where they look, and when."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
import yaml

from risa_ray.cli_alerts import told
from risa_ray.config import ChainConfig, parse_config
from risa_ray.config_alerts import Hours, places
from risa_ray.errors import InputError

SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1]]


def chain(**rule: Any) -> ChainConfig:
    def camera(name: str, *kinds: str) -> dict[str, Any]:
        return {"id": name, "source": "a.mp4", "zones": [{"id": k, "kind": k, "polygon": SQUARE} for k in kinds]}

    stores = [
        {"id": "north", "cameras": [camera("door", "entrance", "staff"), camera("till", "queue", "checkout")]},
        {"id": "south", "cameras": [camera("desk", "queue", "service")]},
    ]
    return parse_config({"stores": stores, "alerts": [{"id": "r", **rule}]}, "x.yaml")


def looks(**rule: Any) -> list[str]:
    config = chain(**({"figure": "people", "above": 1} | rule))
    return [f"{p.camera.id}/{p.zone.id}" if p.zone else p.camera.id for p in places(config.alerts[0], config.stores)]


def test_where_a_rule_looks() -> None:
    assert looks() == ["door", "till", "desk"]
    assert looks(store="south") == ["desk"]
    assert looks(camera="till") == ["till"]
    assert looks(zone="queue") == ["till/queue", "desk/queue"]
    assert looks(zone_kind="queue", store="north") == ["till/queue"]
    assert looks(per="zone") == ["door/entrance", "till/queue", "till/checkout", "desk/queue", "desk/service"]
    assert looks(figure="queue_length") == ["till/queue", "till/checkout", "desk/queue"]
    assert looks(figure="longest_wait_s") == ["till/queue", "desk/queue"]
    assert looks(figure="queue_length", zone_kind="checkout") == ["till/checkout"]


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"store": "west"}, "no store 'west'; there are north, south"),
        ({"store": "south", "camera": "door"}, "camera door is not in store south"),
        ({"zone": "staff"}, "no zone 'staff' that people are counted in"),
        ({"zone_kind": "staff"}, "zone_kind"),
        ({"zone_kind": "screen"}, "people needs a zone; there is no zone of kind screen"),
        ({"zone": "queue", "zone_kind": "queue"}, "either 'zone' or 'zone_kind'"),
        ({"figure": "queue_length", "zone": "service"}, "zone service is none of kind queue or checkout"),
        ({"figure": "longest_wait_s", "zone_kind": "checkout"}, "longest_wait_s is of zones of kind queue"),
        ({"figure": "longest_wait_s", "camera": "door"}, "there is no zone of kind queue"),
        ({"figure": "camera_down_s", "zone": "queue"}, "leave zones out"),
        ({"figure": "camera_down_s", "min_tracks": 3}, "leave min_tracks out"),
        ({"figure": "negative_share", "above": 30}, "never above 1; 30 % is 0.3"),
        ({"figure": "mood"}, "figure"),
        ({"hours": [{"from": "9h", "to": "20:00"}]}, "time of day as 09:00"),
        ({"hours": [{"from": 9, "to": "20:00"}]}, "time of day as 09:00"),
        ({"hours": [{"from": "09:00", "to": "24:30"}]}, "hours"),
        ({"hours": [{"from": "09:00", "until": "20:00"}]}, "unknown key"),
        ({"hours": [{"days": ["monday"], "from": "09:00", "to": "20:00"}]}, "'mon'"),
        ({"hours": [{"days": [], "from": "09:00", "to": "20:00"}]}, "give at least 1"),
    ],
)
def test_a_rule_that_is_wrong_is_refused_in_one_line(rule: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as refused:
        chain(**({"figure": "people", "above": 1} | rule))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("hours", "holds", "not_"),
    [
        (
            "{from: 09:00, to: 20:00}",
            ["2026-11-23 09:00", "2026-11-29 19:59"],
            ["2026-11-23 08:59", "2026-11-23 20:00"],
        ),
        ("{days: [mon], from: 10:30, to: 24:00}", ["2026-11-23 23:59"], ["2026-11-23 10:29", "2026-11-24 11:00"]),
        (
            "{days: [fri], from: 18:00, to: 02:00}",
            ["2026-11-27 18:00", "2026-11-28 01:59"],
            ["2026-11-27 01:00", "2026-11-28 02:00", "2026-11-28 19:00"],
        ),
        ("{days: [sun, mon], from: 00:00, to: 00:00}", ["2026-11-23 12:00", "2026-11-29 00:00"], ["2026-11-25 12:00"]),
    ],
)
def test_hours_as_yaml_has_them_with_and_without_quotes(hours: str, holds: list[str], not_: list[str]) -> None:
    span = Hours.model_validate(yaml.safe_load(hours))
    assert all(span.hold(datetime.fromisoformat(local)) for local in holds)
    assert not any(span.hold(datetime.fromisoformat(local)) for local in not_)
    assert Hours.model_validate(span.model_dump(by_alias=True, mode="json")) == span


def test_channels_are_all_unless_named() -> None:
    rule = {"figure": "people", "above": 1}
    assert chain(**rule).alerts[0].channels is None


def test_what_risa_check_says_of_a_rule() -> None:
    hours = [{"days": ["sat", "sun"], "from": "10:00", "to": "18:00"}]
    config = chain(figure="queue_length", above=4, for_s=60, hours=hours, severity="critical")
    assert list(told(config)) == [
        "alert r: queue_length above 4 for 60 s in till/queue, till/checkout, desk/queue, "
        "sat, sun 10:00 to 18:00 local time (critical)"
    ]
