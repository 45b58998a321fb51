"""Alert rules: a rolling figure past its threshold for long enough, told once."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from risa_ray.config import CameraConfig, ChainConfig, ZoneConfig
from risa_ray.config_alerts import AlertRule
from risa_ray.live.figures import Figures
from risa_ray.live.rolling import PRESENT_S, Rolling

_MOOD = {"net_sentiment", "negative_share", "unknown_share"}
_Key = tuple[str, str, str | None]


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


@dataclass(slots=True)
class _State:
    """What one rule remembers of one place."""

    since: datetime | None = None
    armed: bool = True
    fired_at: datetime | None = None


class Rules:
    """The alert rules of a config as state machines on the cameras' clocks, which the figures carry.

    A rule fires when its figure has been past the threshold for `for_s`. It fires again only after the figure came
    back (or there was none to look at) and `cooldown_s` are over. Figures about people's mood need max(min_tracks, k)
    tracks; the number of people and the delay need `min_tracks` only where the rule sets it, and frames to count on, so
    that a dead camera never reads as an empty store.
    """

    def __init__(self, config: ChainConfig) -> None:
        self._rules: tuple[AlertRule, ...] = ()
        self._cameras: dict[str, CameraConfig] = {}
        self._states: dict[_Key, _State] = {}
        self.reconfigure(config)

    def reconfigure(self, config: ChainConfig) -> None:
        """Follow an edited config: rules that are the same remember what they held of cameras that stay."""
        same = {rule.id for rule in config.alerts if rule in self._rules}
        self._rules = tuple(config.alerts)
        self._cameras = {camera.id: camera for _, camera in config.cameras()}
        self._states = {key: s for key, s in self._states.items() if key[0] in same and key[1] in self._cameras}

    def evaluate(self, rolling: Rolling, now: float) -> list[Alert]:
        """The alerts that fire now, in the order of the rules.

        Args:
            rolling: the window of the same config.
            now: Unix seconds.
        """
        windows = {window: rolling.counted(now, window) for window in {rule.window_s for rule in self._rules}}
        alerts = []
        for rule in self._rules:
            for figures, tracks in windows[rule.window_s]:
                if _in_scope(rule, figures):
                    alert = self._step(rule, figures, tracks)
                    if alert is not None:
                        alerts.append(alert)
        return alerts

    def _step(self, rule: AlertRule, figures: Figures, tracks: int) -> Alert | None:
        key = (rule.id, figures.camera_id, figures.zone_id)
        state = self._states.setdefault(key, _State())
        value = _value(rule, figures, tracks)
        if value is None or not _past(rule, value):
            state.since, state.armed = None, True
            return None
        if state.since is None or figures.at < state.since:
            state.since = figures.at
        held = figures.at - state.since >= timedelta(seconds=rule.for_s)
        if not state.armed or not held or _cooling(rule, state, figures):
            return None
        state.armed, state.fired_at = False, figures.at
        return self._alert(rule, figures, value)

    def _alert(self, rule: AlertRule, figures: Figures, value: float) -> Alert:
        camera = self._cameras[figures.camera_id]
        zone = next((z for z in camera.zones if z.id == figures.zone_id), None)
        threshold, direction = _threshold(rule)
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
            text=rule.text or _text(rule, figures, value, _place(camera, zone)),
            fired_at=figures.at,
        )


def _in_scope(rule: AlertRule, figures: Figures) -> bool:
    if rule.camera is not None and rule.camera != figures.camera_id:
        return False
    if rule.zone is not None:
        return rule.zone == figures.zone_id
    return (figures.zone_id is None) == (rule.per == "camera")


def _threshold(rule: AlertRule) -> tuple[float, Literal["above", "below"]]:
    """The config has checked that exactly one of the two is given."""
    return (rule.above, "above") if rule.above is not None else (rule.below or 0.0, "below")


def _past(rule: AlertRule, value: float) -> bool:
    threshold, direction = _threshold(rule)
    return value > threshold if direction == "above" else value < threshold


def _cooling(rule: AlertRule, state: _State, figures: Figures) -> bool:
    if state.fired_at is None or figures.at < state.fired_at:
        return False
    return figures.at - state.fired_at < timedelta(seconds=rule.cooldown_s)


def _value(rule: AlertRule, figures: Figures, tracks: int) -> float | None:
    """The figure the rule looks at; None where there is nothing to judge, or the floor hides it."""
    if rule.figure in _MOOD:
        enough = figures.status != "suppressed" and tracks >= max(rule.min_tracks, figures.k)
    else:
        watching = figures.frames_analysed > 0 and (figures.age_s or 0.0) <= PRESENT_S
        asked = rule.min_tracks if "min_tracks" in rule.model_fields_set else 0
        enough = watching and tracks >= asked
    if not enough:
        return None
    value = figures.people_now if rule.figure == "people" else getattr(figures, rule.figure)
    return None if value is None else float(value)


def _place(camera: CameraConfig, zone: ZoneConfig | None) -> str:
    name = camera.name or camera.id
    return f"{zone.name or zone.id} ({name})" if zone is not None else name


def _text(rule: AlertRule, figures: Figures, value: float, place: str) -> str:
    """Plain words. The figures tell how faces look, never what somebody feels."""
    threshold, direction = _threshold(rule)
    side = "above" if direction == "above" else "below"
    over = f"over the last {rule.window_s:g} s"
    lasted = f" for {rule.for_s:g} s" if rule.for_s else ""
    people = f"{figures.tracks} {'person' if figures.tracks == 1 else 'people'} followed"
    signed = f"{value:+.2f}, {side} {threshold:+.2f}{lasted}"
    share = f"{value:.0%}, {side} {threshold:.0%}{lasted}"
    return {
        "people": f"{place}: {value:.0f} people now, {side} {threshold:g}{lasted}",
        "net_sentiment": f"{place}: net sentiment of the apparent expressions is {signed}; {people} {over}",
        "negative_share": f"{place}: share of people with negative apparent expressions is {share}; {people} {over}",
        "unknown_share": f"{place}: share of people without a readable expression is {share}; {people} {over}",
        "delay_p95_s": f"{place}: 95% of frames within {value:.2f} s, {side} {threshold:g} s{lasted}, {over}",
    }[rule.figure]
