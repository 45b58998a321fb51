"""What the k-floor hides of a camera and its zones."""

from __future__ import annotations

import numpy as np
import pytest

from risa_ray.live.cells import FACE, Cell, Moods, suppress

NOBODY = np.empty(0, FACE)


def cell(people: range | list[int], zone: str | None = None) -> Cell:
    tracks = frozenset(people)
    return Cell(zone, None, NOBODY, Moods(tracks, tracks, len(tracks), 0, 0, 0.0))


@pytest.mark.parametrize(
    ("zones", "hidden"),
    [
        ({"hall": range(16), "counter": range(15)}, {"counter"}),  # 16 - 15 would be one person's mood
        ({"hall": range(16), "counter": range(11)}, set()),
        ({"hall": range(16), "counter": range(16)}, set()),
        ({"hall": range(16), "counter": range(12), "till": range(9)}, {"counter", "till"}),
        ({"hall": range(16), "aisle": range(2, 18)}, set()),  # beside each other: nobody knows who went through both
        ({"hall": range(4), "counter": range(3)}, {"hall", "counter"}),
    ],
)
def test_a_zone_within_another_must_not_tell_of_those_beside_it(zones: dict[str, range], hidden: set[str]) -> None:
    cells = [cell(range(40)), *(cell(people, zone) for zone, people in zones.items())]
    suppress(cells, k=5)
    assert {c.zone_id for c in cells if c.suppressed} == hidden
    assert not cells[0].suppressed
