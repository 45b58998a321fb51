"""Alert rules on what the tables keep: what would have fired, by the same code that fires it live."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby

import duckdb

from risa_ray.analytics.dataset import open_dataset, readable
from risa_ray.config import CameraConfig, ChainConfig, StoreConfig
from risa_ray.config_alerts import AlertRule, places
from risa_ray.errors import InputError
from risa_ray.frames import Chunk, from_unix
from risa_ray.live.history import History, Stored
from risa_ray.live.rolling import Rolling
from risa_ray.live.rules import Alert, Rules, Stretch, Where
from risa_ray.store.schema import WINDOW_S

STEP_S = 1.0
"""The rules are judged once per so many seconds of the camera's clock."""

NOT_STORED = ("delay_p95_s",)
"""Figures that the tables cannot tell again: they have the delay up to the commit, the rule that up to the analysis."""


@dataclass(slots=True)
class Fired:
    """An alert, and for how long (s) its figure was past the threshold, from before it fired."""

    alert: Alert
    past_s: float = 0.0


@dataclass(slots=True)
class Judged:
    """What became of one rule.

    Attributes:
        watched_s: seconds that its cameras delivered, or were waited for, added up over cameras.
        fired: in time order.
        past_s, longest_s: for how long it was past its threshold in all places together, and at most at a time. A
            stretch ends when it was last seen past, so that it fires when it lasts `for_s`.
        stretches: how many there were.
    """

    rule: AlertRule
    watched_s: float = 0.0
    fired: list[Fired] = field(default_factory=list)
    past_s: float = 0.0
    longest_s: float = 0.0
    stretches: int = 0


@dataclass(slots=True)
class Replayed:
    """The rules in the config's order, and what could not be looked at, in plain words."""

    since: datetime
    until: datetime
    rules: list[Judged]
    notes: list[str]


def replay(
    config: ChainConfig,
    since: datetime | None = None,
    until: datetime | None = None,
    store: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Replayed:
    """Judge the rules of a config on the rows of its dataset; the faces of one camera's hour are in memory at a time.

    Args:
        since, until: aware times; default: the last 7 days that the dataset has frames of.
        store: this one alone.
        progress: told how far it is, at each window.

    Raises:
        InputError: there are no rules or rows to judge, or a file cannot be read.
    """
    _check_config(config, store)
    data = config.data
    connection = open_dataset(data, raw=True, store=store)
    with closing(connection), readable(data):
        first, last = _period(connection, data, since, until)
        if store is not None:
            config = config.model_copy(update={"stores": tuple(s for s in config.stores if s.id == store)})
        rules, notes = _judgeable(connection, config, data)
        config = config.model_copy(update={"alerts": rules})
        judged = {rule.id: Judged(rule) for rule in config.alerts}
        gone_s = 0.0
        for part, camera in config.cameras():
            alone = _alone(config, part, camera)
            if alone.alerts:
                camera_replay = _CameraReplay(alone, {rule.id: judged[rule.id] for rule in alone.alerts})
                for window in History(connection, part.id, camera).windows(first, last):
                    if progress is not None:
                        progress(f"{camera.id} {from_unix(window.start):%Y-%m-%d %H:%M} UTC")
                    gone_s += WINDOW_S * window.gone
                    camera_replay.take(window)
                camera_replay.restart()
    if not any(found.watched_s for found in judged.values()):
        raise InputError(
            f"{data}: has nothing to judge by of these cameras from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} "
            "UTC; choose other times with --from and --to"
        )
    if gone_s:
        notes.append(f"{gone_s / 3600:.1f} h were passed over: their observations are deleted (privacy.retention)")
    for found in judged.values():
        found.fired.sort(key=lambda fired: fired.alert.fired_at)
    return Replayed(first, last, list(judged.values()), notes)


def _check_config(config: ChainConfig, store: str | None) -> None:
    if not config.alerts:
        raise InputError("the config has no alert rules; add some under 'alerts:', see docs/alert-rules.md")
    if store is not None and store not in {s.id for s in config.stores}:
        raise InputError(f"the config has no store {store}; there are {', '.join(s.id for s in config.stores)}")


def _period(
    connection: duckdb.DuckDBPyConnection, data: str, since: datetime | None, until: datetime | None
) -> tuple[datetime, datetime]:
    """From a whole window on, which its frames belong to."""
    if since is not None and until is not None and since >= until:
        raise InputError(f"--from {since.isoformat()} must come before --to {until.isoformat()}")
    row = connection.execute("SELECT min(window_start), max(window_start) FROM frames").fetchone()
    if row is None or row[0] is None:
        raise InputError(f"{data}: holds no frames; give the data path of a run with --data")
    first, last = row[0], row[1] + timedelta(seconds=WINDOW_S)
    last = min(last, until or last)
    first = max(first, since or max(first, last - timedelta(days=7)))
    if first >= last:
        raise InputError(
            f"{data}: holds nothing of that time; its frames are from {row[0]:%Y-%m-%d %H:%M} to "
            f"{row[1]:%Y-%m-%d %H:%M} UTC"
        )
    return first, last


def _judgeable(
    connection: duckdb.DuckDBPyConnection, config: ChainConfig, data: str
) -> tuple[tuple[AlertRule, ...], list[str]]:
    """The rules that the dataset can tell about, and notes on what it cannot."""
    cameras = set(connection.execute("SELECT DISTINCT store_id, camera_id FROM frames").fetchall())
    zones = set(connection.execute("SELECT DISTINCT store_id, camera_id, zone_id FROM zones").fetchall())
    rules, notes = [], []
    for rule in config.alerts:
        if rule.figure in NOT_STORED:
            notes.append(f"{rule.id}: not judged, since the tables have no {rule.figure} as the rule sees it")
            continue
        asked = [(p.store.id, p.camera.id, p.zone.id if p.zone else None) for p in places(rule, config.stores)]
        unknown = [p for p in asked if p[:2] not in cameras or (p[2] is not None and p not in zones)]
        if asked and len(unknown) == len(asked):
            there = ", ".join(sorted({"/".join(p) for p in (zones if rule.by_zone else cameras)})) or "none"
            what = "zones" if rule.by_zone else "cameras"
            raise InputError(f"alert {rule.id}: {data} has rows of none of its {what}; there are {there}")
        notes += [f"{rule.id}: the dataset has nothing of {'/'.join(filter(None, p))}" for p in unknown]
        rules.append(rule)
    return tuple(rules), notes


def _alone(config: ChainConfig, store: StoreConfig, camera: CameraConfig) -> ChainConfig:
    """The config of one camera, with the rules that look at it."""
    alone = store.model_copy(update={"cameras": (camera,)})
    rules = tuple(rule for rule in config.alerts if any(True for _ in places(rule, (alone,))))
    return config.model_copy(update={"stores": (alone,), "alerts": rules})


@dataclass(slots=True)
class _Open:
    """A rule past its threshold in one place, and what it fired."""

    past: Stretch
    fired: Fired | None = None


class _CameraReplay:
    """One camera's window and rules; each run, and each time that nobody looked, starts them anew as it did live."""

    def __init__(self, config: ChainConfig, judged: Mapping[str, Judged]) -> None:
        self._config, self._judged = config, judged
        self._real_time = any(camera.real_time for _, camera in config.cameras())
        self._run_id = ""
        self._covered = self._clock = float("-inf")
        self._open: dict[Where, _Open] = {}
        self.restart()

    def restart(self) -> None:
        """Forget everything but the cool-downs of a live camera, as its next run does; what was past it ends."""
        for key in list(self._open):
            self._close(key)
        self._rolling, self._rules = Rolling(self._config), Rules(self._config)
        if self._real_time:
            self._rules.remember(fired.alert for judged in self._judged.values() for fired in judged.fired)

    def take(self, window: Stored) -> None:
        """Go on by a window, in time order."""
        if window.gone:
            return
        gap = window.start > self._covered
        # A job has rows of its cameras for as long as it runs: where there are none, they were deleted.
        if window.run_id != self._run_id or (gap and self._real_time):
            self.restart()
            self._run_id = window.run_id
        if gap:
            self._clock = window.start
        if window.end > self._covered:
            for found in self._judged.values():
                found.watched_s += WINDOW_S
        self._covered = max(self._covered, window.end)
        if window.chunk is None:
            self._wait(window.end)
            return
        for chunk in _steps(window.chunk):
            self._wait(chunk.outcomes[0].arrived_at)
            self._rolling.add(chunk)
            self._clock = max(self._clock, chunk.outcomes[-1].arrived_at)
            self._judge()

    def _wait(self, until: float) -> None:
        """Let time go by without a frame; only a live camera's figures change by that."""
        while self._real_time and self._clock + STEP_S < until:
            self._clock += STEP_S
            self._judge()

    def _judge(self) -> None:
        fired = {_where(alert): alert for alert in self._rules.evaluate(self._rolling, self._clock)}
        past = self._rules.past
        for key in [k for k, open_ in self._open.items() if k not in past or past[k].since != open_.past.since]:
            self._close(key)
        for key, stretch in past.items():
            open_ = self._open.setdefault(key, _Open(stretch))
            open_.past = stretch
            if key in fired:
                open_.fired = Fired(fired[key])
                self._judged[key[0]].fired.append(open_.fired)

    def _close(self, key: Where) -> None:
        open_, judged = self._open.pop(key), self._judged[key[0]]
        judged.past_s += open_.past.seconds
        judged.longest_s = max(judged.longest_s, open_.past.seconds)
        judged.stretches += 1
        if open_.fired is not None:
            open_.fired.past_s = open_.past.seconds


def _where(alert: Alert) -> Where:
    return alert.rule_id, alert.camera_id, alert.zone_id


def _steps(chunk: Chunk) -> Iterator[Chunk]:
    """A chunk in parts of about `STEP_S`, each of at least one frame."""
    began = chunk.outcomes[0].arrived_at
    for _, part in groupby(chunk.outcomes, lambda outcome: int((outcome.arrived_at - began) / STEP_S)):
        outcomes = tuple(part)
        seqs = range(outcomes[0].frame_seq, outcomes[-1].frame_seq + 1)
        yield replace(chunk, outcomes=outcomes, faces=tuple(f for f in chunk.faces if f.frame_seq in seqs))
