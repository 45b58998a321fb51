"""docs/views.md says what the views are."""

from __future__ import annotations

import re
from pathlib import Path

from risa_ray.analytics.dataset import VIEWS
from risa_ray.analytics.dictionary import dictionary

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs/views.md").read_text() == dictionary(), "run python -m risa_ray.analytics.dictionary"


def test_every_column_is_described() -> None:
    for part in dictionary().split("\n## ")[1:]:
        name = part.split("\n")[0]
        comment, types = part.split("```")[1:3]
        if "Columns of `" in comment or name == "observations":
            continue
        missing = [
            column
            for column in re.findall(r"`(\w+)`", types)
            if column not in comment
            and not re.fullmatch(r"store_id|camera_id|zone_id|zone_kind|session_id|track_id|.*_(low|high)", column)
        ]
        assert not missing, f"{name}: {missing}"


def test_every_view_file_is_used() -> None:
    found = {path.stem for path in (ROOT / "risa_ray/analytics/views").glob("*.sql")}
    assert found == set(VIEWS)
