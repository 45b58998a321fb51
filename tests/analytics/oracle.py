"""docs/metrics.md in plain Python, slow and literal: what the SQL views must agree with."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import mean, median
from typing import Any
from zoneinfo import ZoneInfo

Row = dict[str, Any]


@dataclass(frozen=True)
class World:
    """Rows of the tables, and the one camera's and store's context."""

    observations: list[Row]
    frames: list[Row]
    zones: dict[str, str]
    timezone: str
    sampling_fps: float | None
    size: tuple[int, int] | None
    runs: list[Row] = field(default_factory=list)


def weights(world: World) -> dict[int, float]:
    """id of an observation -> seconds it stands for."""
    fps = world.sampling_fps
    cap = max(1.0, 2 / fps) if fps else 1.0
    found = {}
    for rows in _tracks(world.observations).values():
        for row, following in zip(rows, [*rows[1:], None], strict=True):
            step = following["pts"] - row["pts"] if following else (1 / fps if fps else 1.0)
            found[id(row)] = min(max(step, 1e-6), cap)
    return found


def valence(rows: Iterable[Row], weight: dict[int, float]) -> float | None:
    known = [r for r in rows if r["expression"] != "unknown"]
    if len(known) < 3:
        return None
    return sum(r["valence"] * weight[id(r)] for r in known) / sum(weight[id(r)] for r in known)


def mood(value: float | None) -> str:
    if value is None:
        return "unknown"
    return "positive" if value >= 0.2 else "negative" if value <= -0.2 else "neutral"


def tracks(world: World) -> list[Row]:
    weight = weights(world)
    result = []
    for (session_id, track_id), rows in _tracks(world.observations).items():
        by_expression: dict[str, float] = defaultdict(float)
        for row in rows:
            by_expression[row["expression"]] += weight[id(row)]
        unknown = by_expression.pop("unknown", 0.0)
        most = max(by_expression.values(), default=None)
        value = valence(rows, weight)
        result.append(
            {
                "session_id": session_id,
                "track_id": track_id,
                "first_seen": rows[0]["captured_at"],
                "last_seen": rows[-1]["captured_at"],
                "duration_s": _seconds(rows[0], rows[-1]),
                "observations": len(rows),
                "known": sum(r["expression"] != "unknown" for r in rows),
                "unknown_share": unknown / sum(weight[id(r)] for r in rows),
                "valence": value,
                "mood": mood(value),
                "expressions": {e for e, w in by_expression.items() if most is not None and w > most - 1e-9},
            }
        )
    return result


def stays(world: World) -> list[Row]:
    weight = weights(world)
    result = []
    for (session_id, track_id), rows in _tracks(world.observations).items():
        for zone_id in {z for r in rows for z in r["zone_ids"]}:
            for stay in _split([r for r in rows if zone_id in r["zone_ids"]], _bridge(world)):
                dwell = _seconds(stay[0], stay[-1])
                if dwell >= 1:
                    value = valence(stay, weight)
                    result.append(
                        {
                            "session_id": session_id,
                            "track_id": track_id,
                            "zone_id": zone_id,
                            "zone_kind": world.zones.get(zone_id),
                            "entered_at": stay[0]["captured_at"],
                            "left_at": stay[-1]["captured_at"],
                            "dwell_s": dwell,
                            "valence": value,
                            "mood": mood(value),
                            "censored": _censored(world, stay),
                            "rows": stay,
                        }
                    )
    return result


def _bridge(world: World) -> float:
    return max(2, 2 / world.sampling_fps) if world.sampling_fps else 2


def _split(rows: list[Row], bridge: float) -> list[list[Row]]:
    parts: list[list[Row]] = []
    for row in rows:
        if parts and row["captured_at"] - parts[-1][-1]["captured_at"] <= timedelta(seconds=bridge):
            parts[-1].append(row)
        else:
            parts.append([row])
    return parts


def _censored(world: World, stay: list[Row]) -> bool:
    last = stay[-1]
    windows = [f for f in world.frames if f["session_id"] == last["session_id"]]
    if not windows:
        return True
    pace = _seconds(stay[0], last) / (last["frame_seq"] - stay[0]["frame_seq"])
    after = max(f["last_seq"] for f in windows) - last["frame_seq"]
    bridge = _bridge(world)
    moment = last["captured_at"] + timedelta(seconds=bridge)
    watched = any(
        f["analysed"] and f["window_start"] <= moment < f["window_start"] + timedelta(seconds=10) for f in windows
    )
    width, height = world.size or (math.inf, math.inf)
    left, top = (0.01 * width, 0.01 * height) if world.size else (0, 0)
    edge = last["x1"] <= left or last["y1"] <= top or last["x2"] >= 0.99 * width or last["y2"] >= 0.99 * height
    return after * pace < bridge or not watched or edge


def mood_by_minute(world: World, k: int) -> dict[Any, Row]:
    weight = weights(world)
    cells: dict[Any, dict[Any, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in world.observations:
        cells[_floor(row["captured_at"], 60)][row["session_id"], row["track_id"]].append(row)
    coverage = _coverage(world, lambda t: _floor(t, 60), 6)
    result = {}
    for minute in {*cells, *coverage}:
        moods = [mood(valence(rows, weight)) for rows in cells[minute].values()]
        local = minute.astimezone(ZoneInfo(world.timezone)).replace(tzinfo=None)
        result[minute] = _cell(moods, coverage.get(minute, 0.0), k) | {"minute_local": local}
    return result


def zone_hour(world: World, k: int) -> dict[Any, Row]:
    weight = weights(world)
    cells: dict[Any, list[Row]] = defaultdict(list)
    for stay in stays(world):
        cells[stay["zone_id"], local_hour(stay["entered_at"], world.timezone)].append(stay)
    coverage = _coverage(world, lambda t: local_hour(t, world.timezone), 360)
    keys = {*cells, *((zone, hour) for zone in world.zones for hour in coverage)}
    moods: dict[Any, list[str]] = {}
    for key in keys:
        people: dict[Any, list[Row]] = defaultdict(list)
        for stay in cells[key]:
            people[stay["session_id"], stay["track_id"]] += stay["rows"]
        moods[key] = [mood(valence(rows, weight)) for rows in people.values()]
    second = _second_cells(world, moods, coverage, k)
    result = {}
    for zone_id, hour in keys:
        inside = cells[zone_id, hour]
        cell = _cell(moods[zone_id, hour], coverage.get(hour, 0.0), k, second.get((zone_id, hour)))
        shown = cell["status"] in ("ok", "no_mood", "mood_suppressed")
        dwell = [stay["dwell_s"] for stay in inside]
        result[zone_id, hour] = cell | {
            "hour_local": hour.astimezone(ZoneInfo(world.timezone)).replace(tzinfo=None),
            "stays": len(inside) if shown else None,
            "dwell_s_mean": mean(dwell) if shown and dwell else None,
            "dwell_s_median": median(dwell) if shown and dwell else None,
            "dwell_s_total": sum(dwell) if shown else None,
        }
    return result


def _second_cells(world: World, moods: dict[Any, list[str]], coverage: dict[datetime, float], k: int) -> dict[Any, str]:
    """Hours of shelves that are hidden because the day's figures minus those of the other hours would tell of few."""
    found: dict[Any, str] = {}
    days: dict[Any, list[Any]] = defaultdict(list)
    for zone_id, hour in moods:
        if world.zones.get(zone_id) == "product":
            days[zone_id, hour.astimezone(ZoneInfo(world.timezone)).date()].append((zone_id, hour))
    for keys in days.values():
        keys.sort(key=lambda key: key[1])
        status = {key: _cell(moods[key], coverage.get(key[1], 0.0), k)["status"] for key in keys}
        known = {key: sum(m != "unknown" for m in moods[key]) for key in keys}
        for hidden, size, into in (
            (("suppressed", "low_coverage"), {key: len(moods[key]) for key in keys}, "suppressed"),
            (("suppressed", "low_coverage", "mood_suppressed"), known, "mood_suppressed"),
        ):
            few = sum(size[key] for key in keys if status[key] in hidden)
            rest = [key for key in keys if status[key] not in hidden and size[key] >= k]
            if 0 < few < k and rest:
                smallest = min(rest, key=lambda key: size[key])
                status[smallest] = found[smallest] = into
    return found


def local_hour(moment: datetime, timezone: str) -> datetime:
    local = moment.astimezone(ZoneInfo(timezone))
    past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return moment - past


def _cell(moods: list[str], coverage: float, k: int, second: str | None = None) -> Row:
    names = ("positive", "neutral", "negative")
    counts = {name: moods.count(name) for name in names}
    n, people = sum(counts.values()), len(moods)
    status = "suppressed" if 0 < people < k else "low_coverage" if coverage < 0.5 else "no_mood" if n == 0 else "ok"
    status = "suppressed" if second == "suppressed" else status
    if status in ("suppressed", "low_coverage"):
        figures = dict.fromkeys(("tracks", "with_mood", *names, "net_sentiment", "ci_low", "ci_high", "unknown_share"))
        return {**figures, "coverage": coverage, "status": status}
    p, q = counts["positive"], counts["negative"]
    if 0 < n < k or second == "mood_suppressed":
        status = "mood_suppressed"
        hidden = dict.fromkeys((*names, "net_sentiment", "ci_low", "ci_high"))
        more = {"tracks": people, "with_mood": n, "unknown_share": 1 - n / people}
        return {**hidden, **more, "coverage": coverage, "status": status}
    low = high = net = None
    if n:
        net = (p - q) / n
        a, b = (p + 0.5) / (n + 2), (q + 0.5) / (n + 2)
        half = 1.959963984540054 * math.sqrt((a + b - (a - b) ** 2) / (n + 2))
        low, high = max(-1, a - b - half), min(1, a - b + half)
    return {
        "tracks": people,
        "with_mood": n,
        **counts,
        "net_sentiment": net,
        "ci_low": low,
        "ci_high": high,
        "unknown_share": 1 - n / people if people else None,
        "coverage": coverage,
        "status": status,
    }


def _coverage(world: World, floor: Callable[[datetime], datetime], windows: int) -> dict[datetime, float]:
    found: dict[datetime, set[datetime]] = defaultdict(set)
    for frame in world.frames:
        period = found[floor(frame["window_start"])]
        if frame["analysed"]:
            period.add(frame["window_start"])
    return {period: len(starts) / windows for period, starts in found.items()}


def _tracks(rows: list[Row]) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda r: r["frame_seq"]):
        found[row["session_id"], row["track_id"]].append(row)
    return found


def _floor(moment: datetime, seconds: int) -> datetime:
    whole = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) // seconds * seconds
    return datetime.fromtimestamp(whole, UTC)


def _seconds(first: Row, last: Row) -> float:
    return (last["captured_at"] - first["captured_at"]).total_seconds()
