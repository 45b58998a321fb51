"""The small tables are readable, and say what they describe."""

from __future__ import annotations

from risa_ray.store.context import KEYS
from risa_ray.store.schema import PARTITIONED
from risa_ray.store.table import Table
from risa_ray.store.verify.check import UNREADABLE, Check, check, reason


def check_context(tables: dict[str, Table]) -> Check:
    """The small tables are readable, and their rows say what they describe and since when."""

    def work(problems: list[str]) -> str:
        count = 0
        for name, table in tables.items():
            if name in PARTITIONED:
                continue
            try:
                rows = table.read()
            except UNREADABLE as error:
                problems.append(f"{name}: cannot be read ({reason(error)})")
                continue
            count += rows.num_rows
            for column in (*KEYS[name], "valid_from") if name in KEYS else ():
                if missing := rows[column].null_count:
                    problems.append(f"{name}: {missing} rows without {column}")
        return f"{count:,} rows"

    return check("context is readable", work)
