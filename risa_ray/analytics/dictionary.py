"""The data dictionary: docs/views.md, made from the comments of the views and their columns' types."""

from __future__ import annotations

import re
from importlib.resources import files

import duckdb

from risa_ray.analytics.dataset import VIEWS, statements

_HEAD = """# The views

Made from the comments in `risa_ray/analytics/views/` by `python -m risa_ray.analytics.dictionary`; a test keeps the two
alike. What the figures mean: [metrics.md](metrics.md). Views of single people need `--raw` (`raw=True`).
"""


def dictionary() -> str:
    """The whole page as Markdown: each view that can be queried, what a row is, its columns with their types."""
    connection = duckdb.connect()
    for statement in statements({}, {}, 1):
        connection.execute(statement)
    parts = [_HEAD]
    for name in sorted(view for view in VIEWS if view != "macros"):
        text = _read(name)
        created = re.search(r"CREATE VIEW (\w+) AS", text)
        if created is None:
            continue
        lines = _comment(text)
        if name in ("tracks", "stays"):
            lines += _comment(_read(f"open_{name}"))[1:]
        columns = connection.sql(f"DESCRIBE {created[1]}").fetchall()
        types = ", ".join(f"`{column}` {kind.lower()}" for column, kind, *_ in columns)
        parts.append(f"## {created[1]}\n\n```\n" + "\n".join(lines) + f"\n```\n\n{types}\n")
    return "\n".join(parts)


def _read(view: str) -> str:
    return files("risa_ray.analytics").joinpath(f"views/{view}.sql").read_text(encoding="utf-8")


def _comment(text: str) -> list[str]:
    return [line.removeprefix("--")[1:] for line in text.split("CREATE VIEW")[0].splitlines()]


if __name__ == "__main__":
    print(dictionary(), end="")
