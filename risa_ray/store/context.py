"""The context tables: what the chain looked like, so that a dataset explains itself without its YAML.

A row holds from its `valid_from` until the next row of the same key; the first of a key also holds for all time before.
A description starts with the footage it was used for, to the millisecond. When the same footage is run again with
another one, the microseconds of `valid_from` number the descriptions, and the last of a millisecond is in force.
What describes a content is its schedule on a screen: a row per showing (`starts_at`), all of one `valid_from`.
Only `privacy`, which is about whoever reads the dataset now, is dated by the wall clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pyarrow as pa

from risa_ray.config import CameraConfig, ChainConfig, StoreConfig, redact
from risa_ray.frames import from_unix
from risa_ray.store.paths import ensure_writable
from risa_ray.store.table import Table, with_new_columns

KEYS: dict[str, tuple[str, ...]] = {
    "stores": ("store_id",),
    "cameras": ("store_id", "camera_id"),
    "zones": ("store_id", "camera_id", "zone_id"),
    "content": ("store_id", "camera_id", "zone_id", "content_id"),
    "privacy": ("chain",),
}
"""Table -> the columns that name what a row describes. Of `content` several rows together do, one per `starts_at`."""

_SAME_MOMENT = timedelta(milliseconds=1)
_NEXT = timedelta(microseconds=1)
_Row = dict[str, Any]
_Key = tuple[Any, ...]
_Version = list[_Row]
"""The rows of one key and one `valid_from`: one, but a content's showings."""
_Camera = tuple[str, str]


def write_context(
    data: str,
    config: ChainConfig,
    started: Mapping[str, datetime],
    sizes: Mapping[str, tuple[int, int]] | None = None,
    clock: Callable[[], float] = time.time,
) -> None:
    """Record what a run's cameras, their zones and stores look like; only what differs from what held is appended.

    A config made from a command line says nothing about privacy, and leaves the dataset's own setting alone.

    Args:
        data: path or URL of the dataset.
        config: the chain.
        started: camera_id -> aware UTC of its first frame, for each camera that is run. Others are not described.
        sizes: camera_id -> source (width, height) in px, where they are known.
        clock: Unix seconds.

    Raises:
        InputError: the path cannot be written.
        StoreError: a table cannot be written.
    """
    path = ensure_writable(data)
    now = from_unix(clock())
    run = {(s.id, c.id): _moment(started[c.id]) for s, c in config.cameras() if c.id in started}
    for name, rows in _describe(config, run, sizes or {}, now).items():
        if not rows and name not in ("zones", "content"):
            continue
        table = Table(path, name)
        columns = with_new_columns(table)
        table.decide(partial(_bring, table, rows, run, columns))


def _bring(table: Table, rows: list[_Row], run: Mapping[_Camera, datetime], columns: pa.Schema) -> None:
    news = _privacy_news(table, rows) if table.name == "privacy" else _news(table, rows, run)
    if news:
        # The mark makes a second process that writes the same rows at this moment conflict and look again.
        table.commit(pa.Table.from_pylist(news, schema=columns), {"context": table.mark("context") + 1})


def _describe(
    config: ChainConfig, run: Mapping[_Camera, datetime], sizes: Mapping[str, tuple[int, int]], now: datetime
) -> dict[str, list[_Row]]:
    """Table -> rows that hold from `valid_from` on."""
    rows: dict[str, list[_Row]] = {name: [] for name in KEYS}
    for store in config.stores:
        moments = [run[store.id, camera.id] for camera in store.cameras if (store.id, camera.id) in run]
        if moments:
            place = {"store_id": store.id, "valid_from": min(moments)}
            rows["stores"].append(place | {"name": store.name, "timezone": store.timezone})
    for store, camera in config.cameras():
        if (store.id, camera.id) in run:
            _describe_camera(rows, store, camera, run[store.id, camera.id], sizes.get(camera.id))
    if not config.ad_hoc:
        days = {f"{name}_days": kept for name, kept in config.privacy.retention.model_dump().items()}
        privacy = {"k": config.privacy.k} | days
        rows["privacy"].append({"chain": config.chain, "valid_from": now} | privacy)
    return rows


def _describe_camera(
    rows: dict[str, list[_Row]],
    store: StoreConfig,
    camera: CameraConfig,
    valid_from: datetime,
    size: tuple[int, int] | None,
) -> None:
    width, height = size or (None, None)
    place = {"store_id": store.id, "camera_id": camera.id, "valid_from": valid_from}
    rows["cameras"].append(
        place
        | {
            "name": camera.name,
            "source": redact(camera.source),
            "detector": camera.detector,
            "sampling_fps": camera.sampling_fps,
            "policy": camera.policy,
            "width": width,
            "height": height,
        }
    )
    for zone in camera.zones:
        rows["zones"].append(
            place
            | {
                "zone_id": zone.id,
                "name": zone.name,
                "kind": zone.kind,
                "tags": list(zone.tags),
                "polygon": [{"x": x, "y": y} for x, y in zone.polygon],
                "look_yaw": zone.look_yaw,
                "target_wait_s": zone.target_wait_s,
                "active": True,
            }
        )
        rows["content"] += [
            place
            | {
                "zone_id": zone.id,
                "content_id": item.id,
                "starts_at": item.from_,
                "ends_at": item.to,
                "active": True,
            }
            for item in zone.content
        ]


def _news(table: Table, rows: list[_Row], run: Mapping[_Camera, datetime]) -> list[_Row]:
    """The rows to append: what is new or different, and an inactive one for each zone or showing that is gone."""
    keys = KEYS[table.name]
    histories = _histories(table.read().to_pylist(), keys)
    wanted: dict[_Key, tuple[datetime, _Version]] = {}
    for row in rows:
        wanted.setdefault(_key(row, keys), (row["valid_from"], []))[1].append(row)
    if "active" in table.schema.names:
        for key, history in histories.items():
            valid_from = run.get((history[0][0]["store_id"], history[0][0]["camera_id"]))
            if key not in wanted and valid_from is not None:
                wanted[key] = (valid_from, [])
    news = []
    for key, (valid_from, version) in wanted.items():
        before = _held(histories[key], valid_from) if key in histories else []
        news += _after(before, _changed(before, version, valid_from))
    return news


def _changed(before: _Version, version: _Version, valid_from: datetime) -> _Version:
    """The whole version, with what is gone as inactive rows; nothing where it says the same as the one before."""
    was = {row.get("starts_at"): row for row in before if row.get("active", True)}
    now = {row.get("starts_at"): _with_known_size(row, was.get(row.get("starts_at"))) for row in version}
    if was.keys() == now.keys() and not any(_differs(row, was[start]) for start, row in now.items()):
        return []
    gone = [row | {"active": False, "valid_from": valid_from} for start, row in was.items() if start not in now]
    return [*now.values(), *gone]


def _privacy_news(table: Table, rows: list[_Row]) -> list[_Row]:
    """The rows to append where the newest one of the chain says something else, whatever footage is run."""
    histories = _histories(table.read().to_pylist(), KEYS["privacy"])
    news = []
    for row in rows:
        history = histories.get(_key(row, KEYS["privacy"]))
        before = history[-1][0] if history else None
        if before is None or _differs(row, before):
            # A clock that was set back must not hide what is written now.
            late = before is not None and before["valid_from"] >= row["valid_from"]
            news.append(row | {"valid_from": before["valid_from"] + _NEXT} if before is not None and late else row)
    return news


def _histories(rows: Iterable[_Row], keys: tuple[str, ...]) -> dict[_Key, list[_Version]]:
    """Key -> its versions, oldest first."""
    found: dict[_Key, list[_Version]] = {}
    for row in sorted(rows, key=lambda r: r["valid_from"]):
        history = found.setdefault(_key(row, keys), [])
        if history and history[-1][0]["valid_from"] == row["valid_from"]:
            history[-1].append(row)
        else:
            history.append([row])
    return found


def _held(history: list[_Version], moment: datetime) -> _Version:
    """The version that holds at a moment: the last of its millisecond, or the first of all where none is that old."""
    return [history[0], *(v for v in history if v[0]["valid_from"] < moment + _SAME_MOMENT)][-1]


def _after(before: _Version, version: _Version) -> _Version:
    """The version, dated after one of the same moment that it replaces."""
    if before and version:
        held, valid_from = before[0]["valid_from"], version[0]["valid_from"]
        if valid_from <= held < valid_from + _SAME_MOMENT:
            return [row | {"valid_from": held + _NEXT} for row in version]
    return version


def _with_known_size(row: _Row, before: _Row | None) -> _Row:
    """A camera that is down at the start keeps the size it had."""
    if before is not None and row.get("width", 0) is None:
        return row | {"width": before["width"], "height": before["height"]}
    return row


def _differs(row: _Row, before: _Row) -> bool:
    return any(_plain(row[name]) != _plain(before[name]) for name in row if name != "valid_from")


def _moment(at: datetime) -> datetime:
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _key(row: _Row, keys: tuple[str, ...]) -> _Key:
    return tuple(row[name] for name in keys)


def _plain(value: Any) -> Any:
    return value.timestamp() if isinstance(value, datetime) else value
