"""The counts of a committer that was restarted go on."""

from __future__ import annotations

from dataclasses import replace

from risa_ray.streaming.committer import CommitterStatus
from risa_ray.streaming.process import ProcessUse
from risa_ray.streaming.totals import Totals


def status(pid: int, faces: int, **outcomes: dict[str, int]) -> CommitterStatus:
    return CommitterStatus((), (), 0, outcomes, faces, 1, 0.5, "", ProcessUse(pid, 1.0, 1, 1))


def test_counts_of_all_processes_add_up() -> None:
    totals = Totals()
    assert totals.take(status(1, 3, door={"analysed": 4}))
    assert not totals.take(status(1, 5, door={"analysed": 6, "stale": 1}))
    assert totals.total().faces == 5
    assert totals.take(status(2, 1, till={"analysed": 1}))
    assert totals.take(status(3, 2, door={"analysed": 1}))
    total = totals.total()
    assert (total.faces, total.commits, total.commit_s) == (8, 3, 1.5)
    assert total.outcomes == {"door": {"analysed": 7, "stale": 1}, "till": {"analysed": 1}}
    assert total.process.pid == 3


def test_alerts_of_a_new_process_are_all_told_once() -> None:
    totals = Totals()
    totals.take(replace(status(1, 0), alert_count=5))
    assert totals.seen_alerts == 5
    # Asked for those after its fifth, it tells one of six: all six come with the next answer.
    totals.take(replace(status(2, 0), alerts=("sixth",), alert_count=6))
    assert (totals.seen_alerts, totals.total().alerts) == (0, ())
    totals.take(replace(status(2, 0), alerts=("first", "sixth"), alert_count=6))
    assert (totals.seen_alerts, totals.total().alerts) == (6, ("first", "sixth"))
