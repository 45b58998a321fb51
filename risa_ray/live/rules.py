"""Alert rules: a rolling figure past its threshold for long enough, told once."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from risa_ray.config import ChainConfig
from risa_ray.config_alerts import AlertRule, Place, places
from risa_ray.live.figures import Figures
from risa_ray.live.rolling import Counted, Rolling

LOOKS = 240
"""So many times is a window looked at while it passes once, at most: one of a minute every 0.25 s, of an hour every
15 s. More often would cost more and tell nothing new."""

_MOOD = {"net_sentiment", "positive_share", "negative_share", "negative_s", "unknown_share"}

Where = tuple[str, str, str | None]
"""rule_id, camera_id, and zone_id or None."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A row of `alerts`: what fired, when and why. `fired_at` is aware UTC on the clock of the camera.

    `tracks` is None where the k-floor hides it.
    """

    alert_id: str
    rule_id: str
    store_id: str
    camera_id: str
    zone_id: str | None
    figure: str
    value: float
    threshold: float
    direction: Literal["above", "below"]
    tracks: int | None
    window_s: float
    severity: Literal["info", "warning", "critical"]
    text: str
    fired_at: datetime


@dataclass(frozen=True, slots=True)
class Stretch:
    """Aware UTC times, on the clock of the camera, at which a rule was first and last seen past its threshold."""

    since: datetime
    last: datetime

    @property
    def seconds(self) -> float:
        return (self.last - self.since).total_seconds()


@dataclass(slots=True)
class _State:
    """What one rule remembers of one place. `watched`: the camera's `Counted.since` when it was looked at last."""

    watched: float | None = None
    past: Stretch | None = None
    armed: bool = True
    fired_at: datetime | None = None


class Rules:
    """The alert rules of a config as state machines on the cameras' clocks, which the figures carry.

    A rule fires when its figure has been past the threshold for `for_s`. It fires again only after the figure came
    back (or there was none to look at) and `cooldown_s` are over. Outside the rule's hours, and while no analysed
    frames come, there is nothing to look at, so that a dead camera never reads as an empty store; after an outage the
    rule starts anew, on what was seen since. Figures about people's mood need max(min_tracks, k) tracks; all others
    need `min_tracks` only where the rule sets it.
    """

    def __init__(self, config: ChainConfig) -> None:
        self._rules: tuple[AlertRule, ...] = ()
        self._states: dict[Where, _State] = {}
        self.reconfigure(config)

    def reconfigure(self, config: ChainConfig) -> None:
        """Follow an edited config: rules that are the same remember what they held of cameras that stay."""
        same = {rule.id for rule in config.alerts if rule in self._rules}
        self._rules = tuple(config.alerts)
        self._places: dict[Where, Place] = {
            (rule.id, place.camera.id, place.zone.id if place.zone else None): place
            for rule in config.alerts
            for place in places(rule, config.stores)
        }
        self._states = {key: s for key, s in self._states.items() if key[0] in same and key in self._places}

    def remember(self, alerts: Iterable[Alert]) -> None:
        """Alerts that a process before this one fired: their cool-downs go on."""
        for alert in alerts:
            key = (alert.rule_id, alert.camera_id, alert.zone_id)
            if key in self._places:
                state = self._states.setdefault(key, _State())
                if state.fired_at is None or state.fired_at < alert.fired_at:
                    state.fired_at = alert.fired_at

    @property
    def past(self) -> dict[Where, Stretch]:
        """Where rules are past their threshold, fired or not, and for how long."""
        return {key: state.past for key, state in self._states.items() if state.past is not None}

    def evaluate(self, rolling: Rolling, now: float) -> list[Alert]:
        """The alerts that fire now, in the order of the rules.

        Args:
            rolling: the window of the same config.
            now: Unix seconds.
        """
        windows = {w: rolling.counted(now, w, w / LOOKS) for w in {rule.window_s for rule in self._rules}}
        alerts = []
        for rule in self._rules:
            for counted in windows[rule.window_s]:
                key = (rule.id, counted.figures.camera_id, counted.figures.zone_id)
                place = self._places.get(key)
                if place is not None:
                    alert = self._step(rule, place, counted, self._states.setdefault(key, _State()))
                    if alert is not None:
                        alerts.append(alert)
        return alerts

    def _step(self, rule: AlertRule, place: Place, counted: Counted, state: _State) -> Alert | None:
        at = counted.figures.at
        if counted.since != state.watched:  # the camera came, came back, or its clock was set
            state.watched, state.past, state.armed = counted.since, None, True
        value = _value(rule, counted) if rule.open(at.astimezone(place.store.tzinfo)) else None
        if value is None or not rule.past(value):
            state.past, state.armed = None, True
            return None
        since = at if state.past is None else min(at, state.past.since)
        state.past = Stretch(since, at)
        if not state.armed or state.past.seconds < rule.for_s or _cooling(rule, state, at):
            return None
        state.armed, state.fired_at = False, at
        return _alert(rule, place, counted.figures, value)


def _cooling(rule: AlertRule, state: _State, at: datetime) -> bool:
    if state.fired_at is None or at < state.fired_at:
        return False
    return at - state.fired_at < timedelta(seconds=rule.cooldown_s)


def _value(rule: AlertRule, counted: Counted) -> float | None:
    """The figure the rule looks at; None where there is nothing to judge, or the floor hides it."""
    figures = counted.figures
    if rule.figure == "camera_down_s":
        return figures.camera_down_s
    if rule.figure in _MOOD:
        asked = max(rule.min_tracks, figures.k)
        enough = figures.status != "suppressed" and counted.tracks >= asked
    else:
        asked = rule.min_tracks if "min_tracks" in rule.model_fields_set else 0
        enough = counted.tracks >= asked
    if not (counted.watched and enough):
        return None
    value = figures.people_now if rule.figure == "people" else getattr(figures, rule.figure)
    return None if value is None else float(value)


def _alert(rule: AlertRule, place: Place, figures: Figures, value: float) -> Alert:
    threshold, direction = rule.threshold
    return Alert(
        alert_id=uuid.uuid4().hex,
        rule_id=rule.id,
        store_id=figures.store_id,
        camera_id=figures.camera_id,
        zone_id=figures.zone_id,
        figure=rule.figure,
        value=value,
        threshold=threshold,
        direction=direction,
        tracks=figures.tracks,
        window_s=rule.window_s,
        severity=rule.severity,
        text=rule.text or _text(rule, figures, value, _named(place)),
        fired_at=figures.at,
    )


def _named(place: Place) -> str:
    camera, zone = place.camera.name or place.camera.id, place.zone
    return f"{zone.name or zone.id} ({camera})" if zone is not None else camera


def _text(rule: AlertRule, figures: Figures, value: float, place: str) -> str:
    """Plain words. The figures tell how faces look, never what somebody feels."""
    threshold, side = rule.threshold
    over = f"over the last {rule.window_s:g} s"
    lasted = f" for {rule.for_s:g} s" if rule.for_s else ""
    people = f"{figures.tracks} {'person' if figures.tracks == 1 else 'people'} followed"
    signed = f"{value:+.2f}, {side} {threshold:+.2f}{lasted}"
    share = f"{value:.0%}, {side} {threshold:.0%}{lasted}"
    seconds = f"{value:.0f} s, {side} {threshold:g} s{lasted}"
    return {
        "people": f"{place}: {value:.0f} people now, {side} {threshold:g}{lasted}",
        "queue_length": f"{place}: {value:.1f} people in the queue at a time, {side} {threshold:g}{lasted}, {over}",
        "longest_wait_s": f"{place}: somebody has been in the queue for {seconds}",
        "net_sentiment": f"{place}: net sentiment of the apparent expressions is {signed}; {people} {over}",
        "positive_share": f"{place}: share of people with positive apparent expressions is {share}; {people} {over}",
        "negative_share": f"{place}: share of people with negative apparent expressions is {share}; {people} {over}",
        "negative_s": f"{place}: negative apparent expressions add up to {value:.1f} s per person, {side} "
        f"{threshold:g} s{lasted}; {people} {over}",
        "unknown_share": f"{place}: share of people without a readable expression is {share}; {people} {over}",
        "delay_p95_s": f"{place}: 95% of frames within {value:.2f} s, {side} {threshold:g} s{lasted}, {over}",
        "camera_down_s": f"{place}: the camera has delivered nothing for {seconds}",
    }[rule.figure]
