"""The context tables: what the chain looked like, so that a dataset explains itself without its YAML.

A row holds from its `valid_from` until the next row of the same key; the first of a key also holds for all time before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from risa_ray.config import ChainConfig, redact
from risa_ray.store.errors import ConflictError
from risa_ray.store.paths import ensure_writable
from risa_ray.store.table import Table

KEYS: dict[str, tuple[str, ...]] = {
    "stores": ("store_id",),
    "cameras": ("store_id", "camera_id"),
    "zones": ("store_id", "camera_id", "zone_id"),
    "content": ("store_id", "camera_id", "zone_id", "content_id"),
    "privacy": ("chain",),
}
"""Table -> the columns that name what a row describes."""

_ATTEMPTS = 8
_Row = dict[str, Any]
_Key = tuple[Any, ...]


def write_context(
    data: str, config: ChainConfig, valid_from: datetime, sizes: Mapping[str, tuple[int, int]] | None = None
) -> None:
    """Record a config from `valid_from` on; only what differs from what held then is appended.

    Args:
        data: path or URL of the dataset.
        config: the chain.
        valid_from: aware UTC; the start of the run, for archives the capture time of the first frame.
        sizes: camera_id -> source (width, height) in px, where they are known.

    Raises:
        InputError: the path cannot be written.
        StoreError: a table cannot be written.
    """
    path = ensure_writable(data)
    described = _describe(config, sizes or {})
    for name, rows in described.items():
        table = Table(path, name)
        for attempt in range(_ATTEMPTS):
            news = _news(table, rows, config, valid_from)
            if not news:
                break
            try:
                # The mark makes a second process that writes the same rows at this moment conflict and look again.
                table.commit(pa.Table.from_pylist(news, schema=table.schema), {"context": table.mark("context") + 1})
                break
            except ConflictError:
                if attempt == _ATTEMPTS - 1:
                    raise
                table.refresh()


def _describe(config: ChainConfig, sizes: Mapping[str, tuple[int, int]]) -> dict[str, list[_Row]]:
    """Table -> rows without `valid_from`."""
    rows: dict[str, list[_Row]] = {name: [] for name in KEYS}
    for store in config.stores:
        rows["stores"].append({"store_id": store.id, "name": store.name, "timezone": store.timezone})
    for store, camera in config.cameras():
        width, height = sizes.get(camera.id, (None, None))
        place = {"store_id": store.id, "camera_id": camera.id}
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
    rows["privacy"].append(
        {"chain": config.chain, "k": config.privacy.k, "retention_days": config.privacy.retention_days}
    )
    return rows


def _news(table: Table, rows: list[_Row], config: ChainConfig, valid_from: datetime) -> list[_Row]:
    """The rows to append: new or different ones, and an inactive one for each zone or content that is gone."""
    keys = KEYS[table.name]
    known = _valid_at(table.read().to_pylist(), keys, valid_from)
    wanted = {_key(row, keys): row for row in rows}
    if "active" in table.schema.names:
        cameras = {camera.id for _, camera in config.cameras()}
        gone = {k: r for k, r in known.items() if k not in wanted and r["camera_id"] in cameras}
        wanted |= {key: row | {"active": False} for key, row in gone.items()}
    news = []
    for key, row in wanted.items():
        before = known.get(key)
        new = row if before is None else _with_known_size(row, before)
        if before is None or any(_plain(new[name]) != _plain(before[name]) for name in new if name != "valid_from"):
            news.append(new | {"valid_from": _after(before, valid_from)})
    return news


def _with_known_size(row: _Row, before: _Row) -> _Row:
    """A camera that is down at the start keeps the size it had."""
    if row.get("width", 0) is None:
        return row | {"width": before["width"], "height": before["height"]}
    return row


def _after(before: _Row | None, valid_from: datetime) -> datetime:
    if before is not None and before["valid_from"] == valid_from:
        return valid_from + timedelta(microseconds=1)
    return valid_from


def _valid_at(rows: Iterable[_Row], keys: tuple[str, ...], moment: datetime) -> dict[_Key, _Row]:
    """Key -> the row that holds at a moment."""
    found: dict[_Key, _Row] = {}
    for row in sorted(rows, key=lambda r: r["valid_from"]):
        key = _key(row, keys)
        if key not in found or row["valid_from"] <= moment:
            found[key] = row
    return found


def _key(row: _Row, keys: tuple[str, ...]) -> _Key:
    return tuple(row[name] for name in keys)


def _plain(value: Any) -> Any:
    return value.timestamp() if isinstance(value, datetime) else value
