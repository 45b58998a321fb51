from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from risa_ray.analytics import open_dataset
from risa_ray.config import RetentionConfig
from risa_ray.errors import InputError
from risa_ray.store.alert_events import AlertEvents, acknowledge, event, read_events
from risa_ray.store.errors import StoreError
from risa_ray.store.maintenance import compact
from risa_ray.store.purge import erase, purge_outlived
from risa_ray.store.schema import PURGES
from risa_ray.store.verify import verify
from risa_ray.store.writer import Writer

FIRED = datetime(2026, 11, 22, 23, 59, 30, tzinfo=UTC)
LATER = FIRED + timedelta(minutes=5)


def fired(number: int, camera_id: str = "cam1", at: datetime = FIRED) -> dict[str, Any]:
    return {
        "alert_id": f"alert{number}",
        "rule_id": "crowd",
        "store_id": "007",
        "camera_id": camera_id,
        "figure": "people",
        "value": 7.0,
        "threshold": 5.0,
        "direction": "above",
        "window_s": 60.0,
        "severity": "warning",
        "text": "many people",
        "fired_at": at,
    }


def write(data: Path, *alerts: dict[str, Any], events: Any = ()) -> None:
    writer = Writer(str(data), "run1")
    writer.add_alerts(alerts)
    writer.flush()
    log = AlertEvents(str(data))
    log.add(events)
    log.flush()


def log_of(data: Path) -> list[tuple[Any, ...]]:
    return (
        open_dataset(data)
        .sql("SELECT alert_id, acknowledged_at, acknowledged_by, deliveries FROM alert_log ORDER BY alert_id")
        .fetchall()
    )


def test_the_log_tells_what_became_of_each_alert(tmp_path: Path) -> None:
    one, two = fired(1), fired(2)
    events = [
        event(one, "queued", FIRED, channel="pager"),
        event(one, "queued", FIRED, channel="log"),
        event(one, "queued", FIRED, channel="broker"),
        event(one, "delivered", LATER, channel="pager", tries=3),
        event(one, "delivered", LATER + timedelta(hours=1), channel="pager", tries=1),
        event(one, "failed", LATER, channel="broker", tries=9, note="given up after 24 h"),
    ]
    write(tmp_path, one, two, events=events)
    acknowledge(str(tmp_path), "alert1", "Ada", LATER)
    assert log_of(tmp_path) == [
        ("alert1", LATER, "Ada", [
            {"channel": "broker", "state": "failed", "at": LATER, "tries": 9, "error": "given up after 24 h"},
            {"channel": "log", "state": "pending", "at": None, "tries": 0, "error": ""},
            {"channel": "pager", "state": "delivered", "at": LATER, "tries": 3, "error": ""},
        ]),
        ("alert2", None, None, []),
    ]  # fmt: skip
    assert [check.line() for check in verify(str(tmp_path)) if check.problems] == []


def test_the_first_acknowledgement_counts(tmp_path: Path) -> None:
    write(tmp_path, fired(1))
    assert acknowledge(str(tmp_path), "alert1", " Ada\nLovelace ", LATER) == (LATER, "Ada Lovelace")
    assert acknowledge(str(tmp_path), "alert1", "Grace", LATER + timedelta(hours=1)) == (LATER, "Ada Lovelace")
    assert [(e["kind"], e["by"], e["date"]) for e in read_events(str(tmp_path), FIRED)] == [
        ("acknowledged", "Ada Lovelace", FIRED.date())
    ]


def test_two_at_once_are_one(tmp_path: Path) -> None:
    write(tmp_path, fired(1), fired(2))
    acknowledge(str(tmp_path), "alert2", "Ada", LATER)
    answers = []
    barrier = threading.Barrier(4)

    def click(number: int) -> None:
        barrier.wait()
        answers.append(acknowledge(str(tmp_path), "alert1", f"person {number}", LATER + timedelta(seconds=number)))

    threads = [threading.Thread(target=click, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert len(set(answers)) == 1
    assert len(read_events(str(tmp_path), FIRED)) == 2


def test_an_alert_can_be_acknowledged_beside_a_running_job_and_after_a_compaction(tmp_path: Path) -> None:
    log = AlertEvents(str(tmp_path))
    for number in range(9):
        write(tmp_path, fired(number))
        log.add([event(fired(number), "queued", FIRED, channel="pager")])
        log.flush()
        acknowledge(str(tmp_path), f"alert{number}", "Ada", LATER)
    compact(str(tmp_path), older_than_s=-60)
    assert acknowledge(str(tmp_path), "alert3", "Grace", LATER + timedelta(hours=1)) == (LATER, "Ada")
    log.add([event(fired(3), "delivered", LATER, channel="pager", tries=1)])
    log.flush()
    assert len(read_events(str(tmp_path), FIRED)) == 19
    assert [check.line() for check in verify(str(tmp_path)) if check.problems] == []


def test_an_unknown_alert_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        acknowledge(str(tmp_path / "nowhere"), "alert1", "Ada", LATER)
    write(tmp_path, fired(1))
    with pytest.raises(InputError, match=r"alert 'alert2': .* has no such alert; take the id of one that fired"):
        acknowledge(str(tmp_path), "alert2", "Ada", LATER)
    assert not (tmp_path / "alert_events").exists()


def test_what_cannot_be_stored_waits(tmp_path: Path) -> None:
    log = AlertEvents(str(tmp_path))
    log.flush()
    assert not (tmp_path / "alert_events").exists(), "a dataset without channels has no such table"
    log.add([event(fired(1), "queued", FIRED, channel="pager")])
    log.flush()
    (tmp_path / "alert_events").rename(tmp_path / "away")
    (tmp_path / "alert_events").write_text("in the way")
    log.add([event(fired(1), "delivered", LATER, channel="pager", tries=1)])
    with pytest.raises(StoreError, match="alert_events"):
        log.flush()
    (tmp_path / "alert_events").unlink()
    (tmp_path / "away").rename(tmp_path / "alert_events")
    log.flush()
    assert [e["kind"] for e in sorted(read_events(str(tmp_path), FIRED), key=lambda e: e["at"])] == [
        "queued",
        "delivered",
    ]


def test_events_go_with_their_alerts(tmp_path: Path) -> None:
    """Also those of the day after, and where only one camera's are erased."""
    alerts = [fired(1), fired(2, "cam2"), fired(3, "cam1", LATER)]
    write(tmp_path, *alerts, events=[event(a, "delivered", LATER, channel="pager", tries=1) for a in alerts])
    counts = erase(str(tmp_path), "cam1", FIRED, FIRED + timedelta(seconds=1), commit_s=0)[2]
    assert (counts["alerts"], counts["alert_events"]) == (1, 1)
    assert {e["alert_id"] for e in read_events(str(tmp_path), FIRED)} == {"alert2", "alert3"}
    kept = RetentionConfig(alerts=1)
    after = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
    counts = purge_outlived(str(tmp_path), kept, clock=lambda: after)
    assert (counts["alerts"], counts["alert_events"]) == (1, 1)
    assert {e["alert_id"] for e in read_events(str(tmp_path), FIRED)} == {"alert3"}
    assert [check.line() for check in verify(str(tmp_path)) if check.problems] == []


def test_purges_are_logged_in_a_dataset_of_before_there_were_events(tmp_path: Path) -> None:
    write(tmp_path, fired(1))
    old = pa.schema([field for field in PURGES if field.name != "alert_events"])
    row = {"at": FIRED, "kind": "older_than", "until": FIRED, "alerts": 4}
    write_deltalake(str(tmp_path / "purges"), pa.Table.from_pylist([row], schema=old))
    after = datetime(2026, 11, 30, tzinfo=UTC).timestamp()
    purge_outlived(str(tmp_path), RetentionConfig(alerts=1), clock=lambda: after)
    logged = open_dataset(tmp_path).sql("SELECT alerts, alert_events FROM purges ORDER BY alerts DESC").fetchall()
    assert logged == [(4, None), (1, 0)]
