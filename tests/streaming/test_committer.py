"""The committer without a cluster: what must not keep rows from the store."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from risa_ray.batch.job import _tidy
from risa_ray.config import ChainConfig, RetentionConfig, parse_config
from risa_ray.frames import Chunk, Outcome
from risa_ray.store.errors import StoreError
from risa_ray.store.writer import SessionInfo, Writer
from risa_ray.streaming.committer import CommitterActor
from risa_ray.streaming.housekeeping import keep_house

START = datetime(2025, 11, 22, 10, tzinfo=UTC)


KEEP_ALL = {"observations": None, "tracks": None, "frames": None, "alerts": None}


def config(data: Path, retention: Mapping[str, int | None] = KEEP_ALL) -> ChainConfig:
    raw: dict[str, Any] = {
        "data": str(data),
        "pipeline": {"flush_s": 2},
        "privacy": {"retention": dict(retention)},
        "stores": [{"id": "007", "cameras": [{"id": "cam1", "source": "film.mp4"}]}],
        "alerts": [{"id": "r", "figure": "people", "above": -1}],
    }
    return parse_config(raw, "test")


def committer(data: Path, retention: Mapping[str, int | None] = KEEP_ALL) -> CommitterActor:
    actor = CommitterActor(config(data, retention), "run1")
    actor.open_session(SessionInfo("007", "cam1", "s1", False, START))
    return actor


def chunk(last: int) -> Chunk:
    times = [START + timedelta(seconds=seq) for seq in range(last + 1)]
    outcomes = tuple(Outcome(seq, float(seq), at, at.timestamp()) for seq, at in enumerate(times))
    return Chunk("007", "cam1", "s1", "haar", "m", outcomes)


def test_a_rule_that_fails_keeps_nothing_from_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a rule's own fault")

    actor = committer(tmp_path)
    monkeypatch.setattr(actor._scene.alerting._rules, "evaluate", fail)
    actor.add(chunk(14))
    with caplog.at_level(logging.ERROR):
        actor.flush()
        actor.flush()
    assert actor.acknowledged("s1") == 9
    assert [r.getMessage() for r in caplog.records].count("alert rules failed; rows are stored all the same") == 1


def test_alerts_that_cannot_be_stored_hold_no_acknowledgement_up(tmp_path: Path) -> None:
    actor = committer(tmp_path)
    actor.add(chunk(14))
    folder = tmp_path / "alerts"
    folder.rename(tmp_path / "gone")
    folder.write_text("")
    with pytest.raises(StoreError, match="alerts"):
        actor.flush()
    assert actor.acknowledged("s1") == 9
    actor.lost(SessionInfo("007", "cam1", "s1", False, START), 19, "the reader died")  # all but the alerts is stored
    assert actor.acknowledged("s1") == 19
    folder.unlink()
    (tmp_path / "gone").rename(folder)
    actor.flush()
    assert DeltaTable(str(folder)).to_pyarrow_table().num_rows == 1


def test_a_closed_session_still_answers(tmp_path: Path) -> None:
    actor = committer(tmp_path)
    actor.add(chunk(14))
    actor.close_session("s1", "complete", "")
    actor.flush()
    assert actor.acknowledged("s1") == 14
    assert actor.add(chunk(14)) == 14
    with pytest.raises(KeyError):
        actor.acknowledged("another")


def test_a_dead_readers_frames_are_stored_when_the_answer_comes(tmp_path: Path) -> None:
    """Told again, by a driver that did not hear, and to a committer that was started anew: the same."""
    session = SessionInfo("007", "cam1", "s1", True, START)
    actor = committer(tmp_path)
    actor.add(chunk(14))
    for told in (actor, actor, committer(tmp_path)):
        told.lost(session, 19, "the reader died")
        found = DeltaTable(str(tmp_path / "frames")).to_pyarrow_table().sort_by("first_seq").to_pylist()
        assert [(r["read"], r["dropped_lost_in_crash"], r["state"]) for r in found] == [
            (10, 0, "reading"),
            (10, 5, "broken"),
        ]
    assert actor.status(0, {}).outcomes["cam1"] == {"analysed": 15, "lost_in_crash": 5}


@pytest.mark.parametrize("restarted", [False, True])
def test_lost_frames_are_asked_for_again_while_the_store_is_in_trouble(tmp_path: Path, restarted: bool) -> None:
    actor, session = committer(tmp_path), SessionInfo("007", "cam1", "s1", True, START)
    actor.add(chunk(4))
    folder = tmp_path / "frames"
    folder.rename(tmp_path / "gone")
    folder.write_text("")
    for _ in range(2):
        with pytest.raises(StoreError, match="frames"):
            actor.lost(session, 9, "the reader died")
    folder.unlink()
    (tmp_path / "gone").rename(folder)
    (committer(tmp_path) if restarted else actor).lost(session, 9, "the reader died")
    assert [r["read"] for r in DeltaTable(str(folder)).to_pyarrow_table().to_pylist()] == [10]


def test_an_edited_config_is_followed_without_losing_what_stays(tmp_path: Path) -> None:
    actor = committer(tmp_path)
    actor.add(chunk(14))
    actor.flush()
    assert actor.status(0, {}).alert_count == 1
    raw: dict[str, Any] = {
        "data": str(tmp_path),
        "stores": [
            {
                "id": "007",
                "cameras": [
                    {"id": "cam0", "source": "other.mp4"},
                    {
                        "id": "cam1",
                        "source": "film.mp4",
                        "zones": [{"id": "shelf", "kind": "product", "polygon": [[0, 0], [1, 0], [1, 1]]}],
                    },
                ],
            }
        ],
        "alerts": [
            {"id": "r", "figure": "people", "above": -1},
            {"id": "long", "figure": "people", "above": -1, "window_s": 300, "camera": "cam1"},
        ],
    }
    for _ in range(2):
        actor.reconfigure(parse_config(raw, "test"))
    figures = {(f.camera_id, f.zone_id): f for f in actor.status(0, {}).figures}
    assert list(figures) == [("cam0", None), ("cam1", None), ("cam1", "shelf")]
    assert figures["cam1", None].frames_analysed == 15
    actor.flush()
    alerts = DeltaTable(str(tmp_path / "alerts")).to_pyarrow_table().to_pylist()
    assert sorted(a["rule_id"] for a in alerts) == ["long", "r"], "the old rule has fired already"


def test_a_camera_that_left_the_config_has_its_last_frames_stored(tmp_path: Path) -> None:
    actor = committer(tmp_path)
    actor.add(chunk(4))
    cameras = [{"id": "cam2", "source": "other.mp4"}]
    actor.reconfigure(parse_config({"data": str(tmp_path), "stores": [{"id": "007", "cameras": cameras}]}, "test"))
    actor.add(chunk(14))
    actor.close_session("s1", "stopped", "")
    actor.flush()
    assert actor.acknowledged("s1") == 14
    assert {f.camera_id for f in actor.status(0, {}).figures} == {"cam2"}


def old_rows(data: Path) -> None:
    writer = Writer(str(data), "run0")
    writer.open_session(SessionInfo("007", "cam1", "s1", False, START))
    writer.add(chunk(14))
    writer.close_session("s1", "complete")
    writer.flush()


def rows(data: Path) -> int:
    return int(DeltaTable(str(data / "frames")).to_pyarrow_table().num_rows)


def test_what_outlived_its_retention_goes_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("risa_ray.streaming.committer._FIRST_UPKEEP_S", 0)
    old_rows(tmp_path)
    assert rows(tmp_path) == 2
    actor = committer(tmp_path, KEEP_ALL | {"frames": 1})
    assert rows(tmp_path) == 2
    actor.reconfigure(config(tmp_path, KEEP_ALL | {"frames": 7}))  # the config in force, not the one it began with
    deadline = time.monotonic() + 60
    while rows(tmp_path):
        assert time.monotonic() < deadline, "the rows of a year ago are still there"
        time.sleep(0.1)


def test_what_outlived_its_retention_goes_at_the_end_of_a_batch(tmp_path: Path) -> None:
    camera = {"id": "cam1", "source": "film.mp4"}
    raw: dict[str, Any] = {"data": str(tmp_path), "stores": [{"id": "007", "cameras": [camera]}]}
    old_rows(tmp_path)
    _tidy(parse_config(raw | {"privacy": {"retention": KEEP_ALL | {"observations": 1}}}, "test"))
    assert rows(tmp_path) == 2
    _tidy(parse_config(raw | {"ad_hoc": True, "privacy": {"retention": {"frames": 1}}}, "test"))
    assert rows(tmp_path) == 2, "a config made from a command line says nothing about retention"
    _tidy(parse_config(raw | {"privacy": {"retention": KEEP_ALL | {"frames": 1}}}, "test"))
    assert rows(tmp_path) == 0


def test_upkeep_keeps_house_and_takes_its_memory_with_it(tmp_path: Path) -> None:
    old_rows(tmp_path)
    assert keep_house(str(tmp_path), RetentionConfig(frames=None)) == []
    assert rows(tmp_path) == 2
    assert keep_house(str(tmp_path), RetentionConfig(frames=7)) == []
    assert rows(tmp_path) == 0


def test_upkeep_tells_what_failed_in_a_line_each(tmp_path: Path) -> None:
    old_rows(tmp_path)
    (log_file,) = (tmp_path / "frames" / "_delta_log").glob("*0.json")
    log_file.write_text("no JSON")
    failed = keep_house(str(tmp_path), RetentionConfig(frames=7))
    assert failed[0].startswith("upkeep: days are not closed: ")


def test_upkeep_that_crashes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))  # a Python that cannot start
    failed = keep_house(str(tmp_path), None)
    assert failed[-1].startswith("its process ended with ")


@pytest.mark.parametrize("what", ["flush", "flush_alerts", "open_session"])
def test_the_live_page_hears_and_rules_are_looked_at_while_the_store_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    hanging, freed = threading.Event(), threading.Event()
    looks = 0

    def hang(*_: object) -> None:
        hanging.set()
        assert freed.wait(60)

    def look(*arguments: Any) -> Any:
        nonlocal looks
        looks += 1
        return evaluate(*arguments)

    monkeypatch.setattr("risa_ray.streaming.committer._HANGS_S", 0)
    actor = committer(tmp_path)
    evaluate = actor._scene.alerting.evaluate
    monkeypatch.setattr(actor._scene.alerting, "evaluate", look)
    monkeypatch.setattr(actor._writer, what, hang)
    actor.add(chunk(14))  # its alert is stored by the actor's own thread
    other = SessionInfo("007", "cam1", "s2", False, START)
    waiting = threading.Thread(target=lambda: actor.open_session(other), daemon=True)
    if what == "open_session":
        waiting.start()
    try:
        assert hanging.wait(60)
        before = looks
        deadline = time.monotonic() + 60
        while looks < before + 3 or not actor.live().alerts:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        live = actor.live()
        assert [figures.frames_analysed for figures in live.figures] == [15]
        assert live.trouble.startswith("the store has not answered for")
        actor.reconfigure(config(tmp_path).model_copy(update={"chain": "edited"}))
        assert actor.live().chain == "edited", "a config may forbid what was allowed"
        actor._scene.add(chunk(29).after(14))
        assert actor.live().figures[0].frames_analysed == 30
    finally:
        freed.set()


def test_cool_downs_go_on_in_the_next_process(tmp_path: Path) -> None:
    patient = config(tmp_path).model_dump(exclude_unset=True)
    patient["alerts"][0]["cooldown_s"] = 3600
    settings = parse_config(patient, "test")
    for fired in (1, 0):
        actor = CommitterActor(settings, "run1")
        session = f"s{fired}"
        actor.open_session(SessionInfo("007", "cam1", session, False, datetime.now(UTC)))
        actor.add(recent(session))  # before it is told anything
        actor.flush()
        assert actor._scene.alerting._informed.wait(60)
        actor.reconfigure(settings)
        actor.flush()
        assert len(actor.live().alerts) == fired


def recent(session: str) -> Chunk:
    """Some frames of now."""
    times = [datetime.now(UTC) + timedelta(seconds=seq) for seq in range(15)]
    outcomes = tuple(Outcome(seq, float(seq), at, at.timestamp()) for seq, at in enumerate(times))
    return Chunk("007", "cam1", session, "haar", "m", outcomes)
