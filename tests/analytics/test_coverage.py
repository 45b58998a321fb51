"""How often the 95 % intervals of the views hold the truth: every interval, over independent days of simulated stores.

Each replicate is a store's hour or day that was drawn on its own seed and went through the whole views, with the floor
that users have. What split tracks do to the figures is a test of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
from deltalake import DeltaTable
from populations import WEEKS, Draw, Figure, Key, build, days, population

from risa_ray.analytics.dataset import DEFAULT_K, statements
from risa_ray.analytics.simulate import people, scenario
from risa_ray.store.context import write_context

BAND = (0.935, 0.965)
CHOSEN = {("next_products", "lift"): (0.90, 0.965)}
"""The floor shows a pair by the very count that its lift is made of: pairs that are barely k are shown when they happen
to be many. The interval itself is held to the band over all pairs."""
BATCH = 125

DRAWS = {
    "door": Draw("door", 2, 36, ("mood", "journey", "journey_ladder")),
    "crowded door": Draw("door", 1, 1200, ("mood_by_minute",), stores=30),
    "aisle": Draw(
        "aisle", 0.5, 90,
        ("mood", "product_engagement", "journey", "journey_ladder", "content_response", "next_products"),
    ),
    "till": Draw("till", 0.5, 30, ("mood", "operations", "service_interactions", "journey", "journey_ladder")),
    "busy till": Draw("till", 0.2, 120, ("operations",)),
}  # fmt: skip

INTERVALS = {
    "mood_by_minute": {"net_sentiment": "ci"},
    "mood": {"net_sentiment": "ci", "valence_gain": "gain", "change": "change"},
    "product_engagement": {
        "engaged_share": "engaged_share", "looked_share": "looked_share", "net_sentiment": "ci", "valence_gain": "gain",
    },
    "operations": {name: name for name in ("wait_s_median", "wait_s_p95", "service_level")},
    "service_interactions": {name: name for name in ("change_during", "change_after")},
    "journey": {"change": "ci"},
    "journey_ladder": {"valence": "ci"},
    "content_response": {
        name: name for name in ("attention", "valence", "attention_difference", "valence_difference")
    },
    "next_products": {name: name for name in ("confidence", "lift")},
}  # fmt: skip
"""View -> figure -> the name of its interval, which ends in _low and _high."""
KEYS = {
    "mood": ("zone_id",), "product_engagement": ("zone_id",), "journey_ladder": ("step",),
    "content_response": ("content_id",), "next_products": ("zone_id", "next_zone_id"),
}  # fmt: skip
"""View -> the columns that tell apart rows of different truth."""
PERIODS = ("journey", "journey_ladder", "content_response", "next_products")
"""Views without a time in their rows: each week is asked on its own."""
COMPUTED = ("weighed", "stay_observations", "open_stays", "tracks", "stays", "minutes", "shown", "waits")
"""What several views read is computed once."""


def connect(draw: Draw, numbers: range, folder: Path) -> duckdb.DuckDBPyConnection:
    """The views over some of a draw's stores."""
    stores = build(draw, numbers)
    began = {c.id: datetime.combine(WEEKS[0], time(), UTC) for store in stores for c in store.cameras}
    sizes = dict.fromkeys(began, (scenario.WIDTH, scenario.HEIGHT))
    write_context(str(folder), scenario.chain_config(stores, WEEKS, str(folder)), began, sizes)
    context = {path.name: DeltaTable(path) for path in folder.iterdir()}
    rows = [pa.concat_tables(tables) for tables in zip(*days(draw, stores, numbers), strict=True)]
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    made = list(statements(context, {}, 1, computed=dict.fromkeys(COMPUTED, "*")))
    # The tables come first, and everything else reads them.
    tables = next(i for i, statement in enumerate(made) if "CREATE VIEW" in statement)
    for statement in made[:tables]:
        connection.execute(statement)
    for target, table in zip(("people.observations", "frames"), rows, strict=True):
        connection.register("drawn", table)
        connection.execute(f"INSERT INTO {target} BY NAME FROM drawn")
        connection.unregister("drawn")
    for statement in made[tables:]:
        connection.execute(statement)
    return connection


@dataclass(frozen=True)
class Interval:
    """A row of a view that shows one; a bound that is NaN is open."""

    store: str
    key: Key
    estimate: float
    low: float
    high: float


Found = dict[Figure, list[Interval]]


def intervals(connection: duckdb.DuckDBPyConnection, views: Iterable[str]) -> Found:
    found: Found = defaultdict(list)
    for view in views:
        for since in WEEKS if view in PERIODS else (None,):
            connection.execute("SET VARIABLE since = $1::DATE", [since])
            connection.execute("SET VARIABLE until = $1::DATE", [since and since + timedelta(days=1)])
            rows = connection.sql(f"FROM {view}").fetchnumpy()
            keys = list(zip(*(rows[name] for name in KEYS.get(view, ())), strict=True)) or [()] * len(rows["store_id"])
            for figure, name in INTERVALS[view].items():
                columns = (rows[column] for column in (figure, f"{name}_low", f"{name}_high"))
                values = (np.ma.filled(np.ma.asarray(column, float), np.nan).tolist() for column in columns)
                every = (Interval(*row) for row in zip(rows["store_id"], keys, *values, strict=True))
                found[view, figure] += [i for i in every if not (np.isnan(i.low) and np.isnan(i.high))]
    return found


def measure(draw: Draw, numbers: range, folder: Path) -> Found:
    with connect(draw, numbers, folder) as connection:
        connection.execute(f"SET VARIABLE k = {DEFAULT_K}")
        found = intervals(connection, draw.views)
        if "next_products" in draw.views:
            # A pair is shown by its own count: the floor leaves out those that were rarer by chance.
            connection.execute("SET VARIABLE k = 1")
            everything = intervals(connection, ["next_products"])
            found |= {(view, f"{figure}, all pairs"): rows for (view, figure), rows in everything.items()}
    return found


@dataclass(frozen=True)
class Coverage:
    """How often a figure's intervals held the truth; `se` is the share's standard error, stores being independent."""

    count: int
    share: float
    se: float
    too_low: float
    too_high: float
    open_above: float

    def __str__(self) -> str:
        parts = (self.share, self.se, self.too_low, self.too_high, self.open_above)
        return f"{self.count:6,d} " + " ".join(f"{100 * part:6.2f}" for part in parts)


def cover(rows: Sequence[Interval], truths: dict[Key, float]) -> Coverage:
    low, high, true = np.array([(r.low, r.high, truths[r.key]) for r in rows]).T
    # Comparisons with an open bound are false.
    hits = (~(true < low) & ~(true > high)).astype(float)
    _, store = np.unique([r.store for r in rows], return_inverse=True)
    se = np.sqrt((np.bincount(store, hits - hits.mean()) ** 2).sum()) / len(hits)
    return Coverage(len(hits), hits.mean(), se, (true > high).mean(), (true < low).mean(), np.isnan(high).mean())


def run(draw: Draw, folder: Path) -> Found:
    """A draw, some stores at a time, on two cores."""
    parts = [range(start, min(start + BATCH, draw.stores)) for start in range(0, draw.stores, BATCH)]
    folders = [folder / str(part.start) for part in parts]
    found: Found = defaultdict(list)
    with ThreadPoolExecutor(2) as pool:
        for part in pool.map(measure, [draw] * len(parts), parts, folders):
            for figure, rows in part.items():
                found[figure] += rows
    return found


def test_every_interval_is_measured() -> None:
    connection = duckdb.connect()
    for statement in statements({}, {}, 1):
        connection.execute(statement)
    columns = connection.sql(
        "SELECT table_name || '.' || column_name FROM duckdb_columns() WHERE ends_with(column_name, '_low')"
    ).fetchall()
    assert {name for (name,) in columns} == {f"{v}.{name}_low" for v, of in INTERVALS.items() for name in of.values()}
    assert {view for draw in DRAWS.values() for view in draw.views} == set(INTERVALS)


HEAD = f"{'':12} {'':40} intervals  cover    +-  above  below   open"
LEGEND = "cover: % that hold the truth, +-: standard error; above, below: truth beyond the interval; open: no upper end"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_intervals_hold_the_truth_in_93_5_to_96_5_percent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Outside of the band by no more than two standard errors of the measured share."""
    outside, lines = [], [HEAD]
    for name, draw in DRAWS.items():
        truths = population(draw)
        for figure, rows in run(draw, tmp_path / name).items():
            found = cover(rows, truths[figure])
            lines.append(f"{name:12} {'.'.join(figure):40} {found}")
            low, high = CHOSEN.get(figure, BAND)
            if not low - 2 * found.se <= found.share <= high + 2 * found.se:
                outside.append(lines[-1])
    with capsys.disabled():
        print("", *lines, LEGEND, sep="\n")
    assert not outside


@pytest.mark.slow
def test_the_truths_are_what_the_people_were_drawn_from() -> None:
    """Where the scenario tells a truth that is taken from its people, both are the same but for the draw."""
    shopped, queued = population(DRAWS["aisle"]), population(DRAWS["till"])
    for pair, lift in people.affinity_lift().items():
        first, second = pair.split("+")
        assert shopped["next_products", "lift"][first, second] == pytest.approx(lift, rel=0.02)
    gamma = scipy.stats.gamma(people.WAIT_GAMMA[0], scale=people.WAIT_GAMMA[1])
    assert queued["operations", "wait_s_median"][()] == pytest.approx(gamma.ppf(0.5), rel=0.02)
    assert queued["operations", "wait_s_p95"][()] == pytest.approx(gamma.ppf(0.95), rel=0.03)
    assert queued["operations", "service_level"][()] == pytest.approx(gamma.cdf(180), abs=0.01)
    talk = scenario.SERVICE_VALENCE
    for figure, window in (("change_during", "during"), ("change_after", "after")):
        truth = queued["service_interactions", figure][()]
        assert truth == pytest.approx(talk[window] - talk["before"], abs=0.003), "valence is cut off at -1 and 1"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_track_splits_finds_a_part_of_the_split_tracks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same people without splits and with those that `risa simulate` makes; prints what they do to each figure.

    The simulator's people jump from zone to zone: a track that is lost on the way comes back further off than
    track_splits looks, and strangers begin where others ended.
    """
    lines = [f"{'':53} cover whole, split    bias, of half the interval"]
    for name, fps in (("door", 2.0), ("aisle", 2.0), ("till", 1.0)):
        whole = replace(DRAWS[name], fps=fps, stores=40)
        split = replace(whole, split_rate=0.05)
        truths = population(whole)
        seen, unsplit_suspects, before = heads(whole, tmp_path / f"{name} whole")
        tracks, suspects, after = heads(split, tmp_path / f"{name} split")
        lines.append(
            f"{name}: {seen:,.0f} people are {tracks:,.0f} tracks (+{tracks / seen - 1:.1%}); suspected are "
            f"{suspects / tracks:.1%} of them, and {unsplit_suspects / seen:.1%} where nobody was split"
        )
        for figure, rows in after.items():
            bias = mean([r.estimate for r in rows]) - mean([r.estimate for r in before[figure]])
            half = mean([(r.high - r.low) / 2 for r in rows])
            shares = (f"{100 * cover(found, truths[figure]).share:9.1f}" for found in (before[figure], rows))
            lines.append(f"{name:12} {'.'.join(figure):40} {' '.join(shares)} {bias:+9.4f} {bias / half:+9.2f}")
        assert 0.4 <= (suspects - unsplit_suspects) / (tracks - seen) <= 1.05
    with capsys.disabled():
        print("", *lines, sep="\n")


def heads(draw: Draw, folder: Path) -> tuple[float, float, Found]:
    """Tracks, those of them that track_splits suspects, and the intervals."""
    with connect(draw, range(draw.stores), folder) as connection:
        ((tracks, suspected),) = connection.sql("SELECT sum(tracks), sum(suspected) FROM track_splits").fetchall()
        connection.execute(f"SET VARIABLE k = {DEFAULT_K}")
        return tracks, suspected, intervals(connection, draw.views)


def mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan
