"""The simulated shops that reports are made of."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake

from risa_ray.analytics.closing import close_days
from risa_ray.analytics.simulate import simulate
from risa_ray.store.schema import TABLES

FIRST, LAST = date(2026, 11, 14), date(2026, 11, 15)
STAFF = "Staff & <only>"


def simulate_busy(folder: Path) -> str:
    """Two stores and days with enough people; a staff zone in the first store's aisle."""
    data = str(folder)
    simulate(data, stores=2, days=2, seed=4, start=FIRST, fps=1, visits_per_hour=45)
    corners = [{"x": x, "y": y} for x, y in ((0.1, 0.7), (0.4, 0.7), (0.4, 0.95), (0.1, 0.95))]
    row = {"store_id": "sim001", "camera_id": "sim001-aisle", "zone_id": "staff-only", "name": STAFF, "kind": "staff",
           "tags": [], "polygon": corners, "active": True, "valid_from": datetime(2026, 11, 1, tzinfo=UTC)}  # fmt: skip
    write_deltalake(f"{data}/zones", pa.Table.from_pylist([row], schema=TABLES["zones"]), mode="append")
    close_days(data)
    return data


def simulate_quiet(folder: Path) -> str:
    """One store with too few people for any cell of ten."""
    data = str(folder)
    simulate(data, stores=1, days=1, seed=5, start=FIRST, fps=1, visits_per_hour=2, outages=False)
    return data
