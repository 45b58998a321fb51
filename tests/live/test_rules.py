from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest
from helpers_live import chain, chunk, outcome, people, wall

from risa_ray.live import Alert, Rolling, Rules

HAPPY, SAD, PLAIN = (0.8, "happiness"), (-0.6, "sadness"), (0.0, "neutral")


class Run:
    """A camera that shows somebody, a second at a time."""

    def __init__(self, rule: dict[str, Any], **config: Any) -> None:
        self.config = chain(alerts=[{"id": "r", **rule}], **config)
        self.rolling = Rolling(self.config)
        self.rules = Rules(self.config)
        self.second = 0

    def wait(self, seconds: int) -> list[Alert]:
        """Time goes by, and the camera delivers nothing."""
        fired = []
        for _ in range(seconds):
            self.second += 1
            fired += self.rules.evaluate(self.rolling, wall(self.second))
        return fired

    def show(self, tracks: dict[str, tuple[float, str]], seconds: int = 1, zones: Any = None) -> list[Alert]:
        fired = []
        for _ in range(seconds):
            named = {f"{name}{self.second // 1000}": mood for name, mood in tracks.items()}
            places = {f"{name}{self.second // 1000}": z for name, z in (zones or {}).items()}
            self.rolling.add(people(named, 1, start_seq=self.second * 5, zones=places), wall(self.second + 1))
            self.second += 1
            fired += self.rules.evaluate(self.rolling, wall(self.second))
        return fired


def test_fires_once_while_the_figure_stays_past_its_threshold() -> None:
    run = Run({"figure": "people", "above": 1, "cooldown_s": 0})
    assert run.show({"a": PLAIN}, 3) == []
    fired = run.show({"a": PLAIN, "b": PLAIN}, 5)
    assert len(fired) == 1
    alert = fired[0]
    assert (alert.rule_id, alert.store_id, alert.camera_id, alert.zone_id) == ("r", "007", "front", None)
    assert (alert.figure, alert.value, alert.threshold, alert.direction) == ("people", 2, 1, "above")
    assert alert.fired_at.tzinfo is UTC
    assert len(alert.alert_id) == 32


def test_must_hold_for_its_time() -> None:
    run = Run({"figure": "people", "above": 1, "for_s": 3})
    assert run.show({"a": PLAIN, "b": PLAIN}, 3) == []
    assert len(run.show({"a": PLAIN, "b": PLAIN}, 2)) == 1


def test_an_interruption_starts_the_time_anew() -> None:
    run = Run({"figure": "people", "above": 1, "for_s": 4})
    assert run.show({"a": PLAIN, "b": PLAIN}, 3) == []
    assert run.show({}, 3) == []
    assert run.show({"a": PLAIN, "b": PLAIN}, 4) == []


def test_re_arms_after_the_figure_came_back_but_not_within_the_cooldown() -> None:
    run = Run({"figure": "people", "above": 1, "cooldown_s": 20})
    two = {"a": PLAIN, "b": PLAIN}
    assert len(run.show(two, 3)) == 1
    assert run.show({}, 4) == []
    assert run.show(two, 3) == [], "still cooling down"
    assert run.show({}, 4) == []
    assert run.show(two, 3) == []
    assert run.show({}, 10) == []
    assert len(run.show(two, 3)) == 1


def test_a_condition_that_outlasts_the_cooldown_is_told_then() -> None:
    run = Run({"figure": "people", "above": 1, "cooldown_s": 12})
    two = {"a": PLAIN, "b": PLAIN}
    assert len(run.show(two, 2)) == 1
    run.show({}, 4)
    assert len(run.show(two, 10)) == 1


def test_mood_rules_obey_the_floor_and_min_tracks() -> None:
    rule = {"figure": "net_sentiment", "below": -0.2}
    sad = {name: SAD for name in "abc"}
    assert Run(rule, k=4).show(sad, 5) == []
    assert len(Run(rule, k=3).show(sad, 5)) == 1
    assert Run({**rule, "min_tracks": 4}, k=1).show(sad, 5) == []


def test_a_rule_per_zone_fires_where_it_holds() -> None:
    run = Run({"figure": "negative_share", "above": 0.5, "per": "zone", "severity": "critical"})
    fired = run.show({"a": SAD, "b": HAPPY}, 5, {"a": ("desk",), "b": ("shelf",)})
    assert [(a.zone_id, a.value, a.severity) for a in fired] == [("desk", 1.0, "critical")]


def test_a_rule_for_one_zone_leaves_the_others_alone() -> None:
    run = Run({"figure": "people", "above": 0, "zone": "shelf"})
    fired = run.show({"a": SAD, "b": HAPPY}, 3, {"a": ("desk",), "b": ("shelf",)})
    assert [a.zone_id for a in fired] == ["shelf"]


def test_an_empty_store_is_not_a_dead_camera() -> None:
    rule = {"figure": "people", "below": 1, "for_s": 5}
    empty = Run(rule, source="rtsp://shop/1")
    assert len(empty.show({}, 8)) == 1
    dead = Run(rule, source="rtsp://shop/1")
    dead.show({"a": PLAIN}, 2)
    assert [a for s in range(2, 200, 5) for a in dead.rules.evaluate(dead.rolling, wall(s))] == []


def test_delay_needs_no_people() -> None:
    config = chain(alerts=[{"id": "slow", "figure": "delay_p95_s", "above": 1.5}])
    rolling, rules = Rolling(config), Rules(config)
    rolling.add(chunk([outcome(s, s / 5) for s in range(10)]), now=wall(4))
    assert [a.rule_id for a in rules.evaluate(rolling, wall(4))] == ["slow"]


def test_each_rule_sees_its_own_window() -> None:
    rules = [
        {"id": "short", "figure": "net_sentiment", "above": 0.5, "window_s": 5},
        {"id": "long", "figure": "net_sentiment", "above": 0.5, "window_s": 120},
    ]
    config = chain(alerts=rules)
    rolling, machine = Rolling(config), Rules(config)
    rolling.add(people({"a": SAD, "b": SAD}, 5))
    rolling.add(people({"c": HAPPY, "d": HAPPY}, 10, start_seq=50))
    fired = machine.evaluate(rolling, wall(20))
    assert [(a.rule_id, a.window_s) for a in fired] == [("short", 5)]


@pytest.mark.parametrize(
    ("figure", "limit"),
    [
        ("people", 0),
        ("queue_length", 0),
        ("longest_wait_s", 0),
        ("net_sentiment", -1.5),
        ("positive_share", -0.1),
        ("negative_share", -0.1),
        ("negative_s", 0),
        ("unknown_share", -0.1),
        ("delay_p95_s", 0),
        ("camera_down_s", -1),
    ],
)
def test_texts_speak_of_what_is_seen(figure: str, limit: float) -> None:
    run = Run({"figure": figure, "above": limit, "cooldown_s": 900}, zones=("queue",))
    (alert,) = run.show({"a": SAD}, 3, {"a": ("queue",)})
    assert "front" in alert.text
    assert "feel" not in alert.text
    if figure in ("net_sentiment", "positive_share", "negative_share", "negative_s"):
        assert "apparent expression" in alert.text
    assert "\n" not in alert.text


def test_the_users_own_text_is_kept() -> None:
    (alert,) = Run({"figure": "people", "above": 0, "text": "Open a second till"}).show({"a": PLAIN})
    assert alert.text == "Open a second till"


def test_rules_on_heads_work_below_the_floor_and_tell_no_tracks() -> None:
    (alert,) = Run({"figure": "people", "above": 1, "min_tracks": 2}, k=10).show({"a": PLAIN, "b": PLAIN}, 2)
    assert (alert.value, alert.tracks) == (2, None)
    assert "None" not in alert.text


def test_moods_of_too_few_fire_nothing() -> None:
    crowd = {"a": SAD, **{f"u{i}": (0.0, "unknown") for i in range(4)}}
    assert Run({"figure": "negative_share", "above": 0.1}, k=3).show(crowd, 3) == []


def test_a_rule_for_a_kind_of_zone_looks_at_each_of_them() -> None:
    run = Run({"figure": "people", "above": 0, "zone_kind": "queue"}, zones=("queue", "shelf"))
    fired = run.show({"a": PLAIN, "b": PLAIN}, 2, {"a": ("queue",), "b": ("shelf",)})
    assert [a.zone_id for a in fired] == ["queue"]


def test_figures_of_queues_look_at_queues_without_being_told() -> None:
    run = Run({"figure": "queue_length", "above": 0.5}, zones=("queue", "checkout", "shelf"), k=10)
    fired = run.show({"a": PLAIN}, 2, {"a": ("queue", "checkout", "shelf")})
    assert [a.zone_id for a in fired] == ["queue", "checkout"]
    wait = Run({"figure": "longest_wait_s", "above": 90, "window_s": 5}, zones=("queue", "checkout"), k=10)
    fired = wait.show({"a": PLAIN}, 120, {"a": ("queue", "checkout")})
    assert [(a.zone_id, round(a.value)) for a in fired] == [("queue", 91)]


def test_accumulated_negative_expression_obeys_the_floor() -> None:
    rule = {"figure": "negative_s", "above": 3}
    sad = {name: SAD for name in "abc"}
    assert Run(rule, k=4).show(sad, 10) == []
    (alert,) = Run(rule, k=3).show(sad, 10)
    assert alert.value == pytest.approx(3.6)


def test_a_camera_that_is_down_is_told_once_and_again_after_it_came_back() -> None:
    run = Run({"figure": "camera_down_s", "above": 20, "cooldown_s": 0}, source="rtsp://shop/1")
    assert run.show({}, 5) == []
    (alert,) = run.wait(60)
    assert (alert.zone_id, alert.fired_at.second, alert.value > 20) == (None, 25, True)
    assert run.show({}, 2) == []
    assert len(run.wait(60)) == 1


def test_a_camera_that_never_came_is_down() -> None:
    run = Run({"figure": "camera_down_s", "above": 20, "for_s": 10}, source="rtsp://shop/1")
    assert len(run.wait(60)) == 1
    assert Run({"figure": "camera_down_s", "above": 20}).wait(60) == [], "a film is not waited for"


@pytest.mark.parametrize("looked", [True, False], ids=["judged meanwhile", "not judged meanwhile"])
@pytest.mark.parametrize("source", ["rtsp://shop/1", "film.mp4"])
def test_after_an_outage_nothing_fires_by_what_was_before(source: str, looked: bool) -> None:
    rule = {"figure": "net_sentiment", "below": -0.2, "for_s": 20, "window_s": 120, "cooldown_s": 0}
    run = Run(rule, source=source, k=3)
    sad = {name: SAD for name in "abc"}
    assert run.show(sad, 18) == []
    if looked:
        assert run.wait(30) == []
    else:
        run.second += 30
    assert run.show({"d": SAD}, 30) == [], "one person was seen since, and three before"
    assert len(run.show({name: SAD for name in "defg"}, 25)) == 1


def test_a_short_stall_keeps_the_window() -> None:
    run = Run({"figure": "net_sentiment", "below": -0.2, "window_s": 60}, source="rtsp://shop/1", k=3)
    run.show({"a": SAD}, 5)
    run.wait(4)
    assert len(run.show({"b": SAD, "c": SAD}, 5)) == 1


def test_a_camera_whose_frames_are_all_dropped_is_no_empty_store() -> None:
    run = Run({"figure": "people", "below": 1, "for_s": 2}, source="rtsp://shop/1")
    run.show({"a": PLAIN}, 3)
    for second in range(3, 30):
        outcomes = [outcome(seq, seq / 5, "overrun") for seq in range(second * 5, second * 5 + 5)]
        run.rolling.add(chunk(outcomes), wall(second + 1))
        assert run.rules.evaluate(run.rolling, wall(second + 1)) == []


def test_rules_are_judged_in_their_hours_on_the_clock_of_the_store() -> None:
    """The scene begins on a Saturday at 09:00 UTC, which is 18:00 in Tokyo."""
    two = {"a": PLAIN, "b": PLAIN}

    def fired(timezone: str, **hours: Any) -> list[Alert]:
        rule = {"figure": "people", "above": 1, "for_s": 10, "cooldown_s": 900, "hours": [hours]}
        return Run(rule, timezone=timezone).show(two, 75)

    assert len(fired("UTC", **{"from": "09:00", "to": "20:00"})) == 1
    assert fired("Asia/Tokyo", **{"from": "09:00", "to": "18:00"}) == []
    assert fired("UTC", days=["mon", "sun"], **{"from": "00:00", "to": "24:00"}) == []
    (alert,) = fired("UTC", **{"from": "09:01", "to": "09:30"})
    assert (alert.fired_at.minute, alert.fired_at.second) == (1, 10), "what was before opening does not count"


def test_what_is_past_its_threshold_is_known_before_it_fires() -> None:
    run = Run({"figure": "people", "above": 1, "for_s": 30})
    assert run.rules.past == {}
    run.show({"a": PLAIN, "b": PLAIN}, 11)
    ((where, stretch),) = run.rules.past.items()
    assert where == ("r", "front", None)
    assert stretch.seconds == pytest.approx(10)


def test_a_long_window_is_not_counted_for_every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run({"figure": "net_sentiment", "below": -0.2, "window_s": 3600})
    run.show({"a": PLAIN}, 2)
    counted = []
    camera = run.rolling._cameras["front"]
    count = camera._count
    monkeypatch.setattr(camera, "_count", lambda *args: counted.append(1) or count(*args))
    run.show({"a": SAD}, 60)
    assert 3 <= len(counted) <= 5
