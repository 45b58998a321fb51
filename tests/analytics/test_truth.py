"""The views against the truth of simulated stores, and how often the 95 % intervals hold it."""

from __future__ import annotations

from datetime import date
from typing import Any

import duckdb
import numpy as np
import pytest
import scipy.stats

from risa_ray import open_dataset
from risa_ray.analytics.dataset import statements
from risa_ray.analytics.simulate import Truth, simulate

SEEDS = 4000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[duckdb.DuckDBPyConnection, Truth]:
    """Two days of one store: frames are dropped and expressions unknown, nobody's track is split."""
    data = str(tmp_path_factory.mktemp("store"))
    truth = simulate(data, 1, 2, start=date(2026, 10, 24), fps=2, split_rate=0, outages=False)
    connection = open_dataset(data, raw=True)
    connection.register("visits", truth.visits)
    connection.register("true_stays", truth.stays)
    return connection, truth


def asked(store: tuple[duckdb.DuckDBPyConnection, Truth], sql: str) -> list[tuple[Any, ...]]:
    return store[0].sql(sql).fetchall()


def test_footfall_is_the_visits_that_came_in(store: Any) -> None:
    came = asked(
        store,
        "SELECT count(DISTINCT v.visit_id) FROM visits v JOIN true_stays s USING (store_id, visit_id)"
        " WHERE s.zone_kind = 'entrance' AND s.entered_at = v.first_seen AND s.left_at < v.last_seen",
    )
    ((counted,),) = asked(store, "SELECT sum(footfall) FROM footfall")
    assert abs(counted - came[0][0]) <= 0.01 * counted, "a dropped first frame can make a stay too short"


def test_shares_of_who_looked_hold_the_truth(store: Any) -> None:
    wanted = store[1].parameters["zone_attention"]
    found = asked(store, "SELECT zone_id, looked_share_low, looked_share_high FROM product_engagement")
    inside = [low <= wanted[zone] <= high for zone, low, high in found]
    assert len(inside) == 8
    assert sum(inside) >= 7


def test_the_better_content_wins_by_its_true_margin(store: Any) -> None:
    true = store[1].parameters["content_attention"]
    found = {
        content: rest
        for content, *rest in asked(
            store,
            "SELECT content_id, attention_verdict, attention_difference_low, attention_difference_high"
            " FROM content_response",
        )
    }
    verdict, low, high = found["promotion"]
    assert (verdict, found["brand"][0]) == ("best", "worse")
    assert low <= true["promotion"] - true["brand"] <= high


def test_lift_is_near_the_truth(store: Any) -> None:
    """One draw: within 3.3 standard errors, as 999 of 1,000 are."""
    found = {(a, b): rest for a, b, *rest in asked(
        store, "SELECT zone_id, next_zone_id, ln(lift), ln(lift_high / lift) / 1.96 FROM next_products"
    )}  # fmt: skip
    for pair, lift in store[1].parameters["affinity_lift"].items():
        log_lift, error = found[tuple(pair.split("+"))]
        assert abs(log_lift - np.log(lift)) <= 3.3 * error


def test_a_talk_changes_valence_by_what_it_does(store: Any) -> None:
    true = store[1].parameters["service_valence"]
    for low, high in asked(store, "SELECT change_during_low, change_during_high FROM service_interactions"):
        assert low - 0.01 <= true["during"] - true["before"] <= high + 0.01, "valence is cut off at -1 and 1"


def test_service_levels_hold_the_truth(store: Any) -> None:
    gamma = store[1].parameters["wait_gamma"]
    found = asked(
        store,
        "SELECT service_level_low, service_level_high, target_wait_s FROM operations"
        " WHERE status = 'ok' AND waits >= 10",
    )
    levels = [float(scipy.stats.gamma.cdf(target, gamma["shape"], scale=gamma["scale_s"])) for *_, target in found]
    inside = [low <= level <= high for (low, high, _), level in zip(found, levels, strict=True)]
    assert len(inside) > 10
    assert sum(inside) >= scipy.stats.binom.ppf(0.001, len(inside), 0.95)


@pytest.fixture(scope="module")
def macros() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    for statement in statements({}, {}, 1, views=("macros",)):
        connection.execute(statement)
    return connection


def coverage(connection: duckdb.DuckDBPyConnection, low: str, high: str, truth: float, **columns: Any) -> float:
    cells = {name: np.asarray(values) for name, values in columns.items()}
    connection.register("cells", cells)
    query = f"SELECT avg(({low} <= {truth} AND {truth} <= {high})::INTEGER) FROM cells"
    ((share,),) = connection.sql(query).fetchall()
    connection.unregister("cells")
    return float(share)


@pytest.mark.parametrize("size", [30, 100, 1000])
@pytest.mark.parametrize("shares", [(0.3, 0.5, 0.2), (0.6, 0.3, 0.1)])
def test_intervals_of_net_sentiment_cover_the_truth(
    macros: duckdb.DuckDBPyConnection, size: int, shares: tuple[float, float, float]
) -> None:
    counts = np.random.default_rng(size).multinomial(size, shares, SEEDS)
    found = coverage(
        macros, "net_low(p, q, n)", "net_high(p, q, n)", shares[0] - shares[2],
        p=counts[:, 0], q=counts[:, 2], n=np.full(SEEDS, size),
    )  # fmt: skip
    assert 0.935 <= found <= 0.965


@pytest.mark.parametrize("size", [5, 10, 50])
def test_intervals_of_means_cover_the_truth(macros: duckdb.DuckDBPyConnection, size: int) -> None:
    drawn = np.random.default_rng(size).normal(0.1, 0.3, (SEEDS, size))
    found = coverage(
        macros, "m - mean_half(s, n)", "m + mean_half(s, n)", 0.1,
        m=drawn.mean(1), s=drawn.std(1, ddof=1), n=np.full(SEEDS, size),
    )  # fmt: skip
    assert 0.935 <= found <= 0.965


@pytest.mark.parametrize(("size", "share"), [(50, 0.5), (100, 0.3), (1000, 0.1)])
def test_intervals_of_shares_cover_the_truth(macros: duckdb.DuckDBPyConnection, size: int, share: float) -> None:
    counts = np.random.default_rng(size).binomial(size, share, SEEDS)
    found = coverage(macros, "wilson_low(x, n)", "wilson_high(x, n)", share, x=counts, n=np.full(SEEDS, size))
    assert 0.93 <= found <= 0.97, "a share of few people can only take so many values"
