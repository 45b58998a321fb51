"""Whether a dataset holds what its writer promises: nothing twice, nothing lost, every file whole."""

from __future__ import annotations

from collections.abc import Iterator

from risa_ray.store.paths import has_table, require_dataset
from risa_ray.store.schema import PARTITIONED, TABLES
from risa_ray.store.table import Table
from risa_ray.store.verify.check import Check
from risa_ray.store.verify.context import check_context
from risa_ray.store.verify.faces import check_faces, erasures
from risa_ray.store.verify.files import check_dates, check_files
from risa_ray.store.verify.once import check_keys, check_marks, check_windows

__all__ = ["Check", "verify"]


def verify(data: str) -> Iterator[Check]:
    """Check a dataset, also beside a running job. Memory holds the keys of one day of one store at a time.

    Args:
        data: path or URL of the dataset.

    Yields:
        Each check when it is done.

    Raises:
        InputError: there is no dataset.
        StoreError: the log of a table cannot be read.
    """
    path = require_dataset(data, tuple(TABLES))
    # Marks are written first in observations, so this order cannot find one that a running job is about to write.
    order = ["frames", "observations", *(name for name in TABLES if name not in ("frames", "observations"))]
    tables = {name: Table(path, name) for name in order if has_table(path, name)}
    for name in TABLES:
        if name in tables:
            yield check_files(tables[name])
    for name in PARTITIONED:
        if name in tables:
            yield check_dates(tables[name])
    if "observations" in tables:
        yield check_keys(tables["observations"])
    if "frames" in tables:
        yield check_windows(tables["frames"])
    if "frames" in tables and "observations" in tables:
        yield check_marks(tables["frames"], tables["observations"])
        yield check_faces(tables["frames"], tables["observations"], erasures(tables.get("purges")))
    yield check_context(tables)
