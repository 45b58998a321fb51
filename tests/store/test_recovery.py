"""A start accounts for what dead runs of the dataset left open: frames s with s % 3 faces, two a second."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dead_runs import NOW, A, B, at, begin, deliver, ends, moment

from risa_ray.store import reached, recovery
from risa_ray.store.errors import StoreError
from risa_ray.store.reached import Reached
from risa_ray.store.recovery import recover
from risa_ray.store.runs import RunSource, amend, complete, renew
from risa_ray.store.table import Table
from risa_ray.store.writer import SessionInfo, Writer

DAY = 86_400


def test_what_a_dead_run_left_open_is_accounted_when_it_is_resumed(data: Path, tools: Any) -> None:
    run = begin(data)
    deliver(data, run, tools, "first", 44)
    deliver(data, run, tools, "second", 7, seconds=30)
    again = begin(data, seconds=600)
    assert again.run_id == run.run_id
    known = sum(1 for seq in range(40, 45) if seq % 3)
    assert recover(again, at(600)) == (45 - 40) + 8
    assert ends(data, tools) == {
        "first": {
            "read": 45,
            "analysed": 40 + known,
            "lost": 5 - known,
            "faces": sum(s % 3 for s in range(45)),
            "state": "broken",
        },
        "second": {"read": 8, "analysed": 5, "lost": 3, "faces": sum(s % 3 for s in range(8)), "state": "broken"},
    }
    (row,) = [r for r in tools.rows(data, "frames") if r["session_id"] == "second"]
    assert (row["run_id"], row["delay_p50_s"]) == (run.run_id, None)
    assert "process died" in row["note"]
    assert 0 <= (row["window_start"] - moment(20)).total_seconds() <= 20, "when it was taken, not when it was found"


def test_recovering_again_changes_nothing(data: Path, tools: Any) -> None:
    run = begin(data)
    deliver(data, run, tools, "first", 44)
    again = begin(data, seconds=600)
    assert recover(again, at(600)) == 5
    assert recover(again, at(600)) == 0
    third = begin(data, seconds=1200)
    assert recover(third, at(1200)) == 0
    assert ends(data, tools)["first"]["read"] == 45


@pytest.mark.parametrize("place", ["sessions are found", "frames", "runs"])
def test_two_that_recover_at_once_account_for_each_frame_once(
    data: Path, tools: Any, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The second recovers all of it while the first has got to where it knows the sessions, or to a commit."""
    deliver(data, begin(data), tools, A, 44)
    first, second = (begin(data, seconds=600, settings=name) for name in ("first", "second"))
    meanwhile = [lambda: recover(second, at(600))]
    find, commit = recovery.open_sessions, Table.commit

    def found(*args: Any, **names: Any) -> Any:
        sessions = find(*args, **names)
        if place == "sessions are found" and meanwhile:
            assert meanwhile.pop()() == 5
        return sessions

    def committed(table: Table, *args: Any) -> None:
        if place == table.name and meanwhile:
            meanwhile.pop()()
        commit(table, *args)

    monkeypatch.setattr(recovery, "open_sessions", found)
    monkeypatch.setattr(Table, "commit", committed)
    recover(first, at(600))
    assert not meanwhile
    end = ends(data, tools)[A]
    assert (end["read"], end["analysed"], end["state"]) == (45, 44, "broken")
    assert recover(begin(data, seconds=700, settings="third"), at(700)) == 0


def test_a_death_before_the_recovery_of_another_leaves_both_to_be_accounted(data: Path, tools: Any) -> None:
    deliver(data, begin(data), tools, "first", 44)
    second = begin(data, seconds=600)  # dies before it recovers anything
    deliver(data, second, tools, "second", 44, seconds=600)
    assert recover(begin(data, seconds=1200), at(1200)) == 10
    assert {s: e["read"] for s, e in ends(data, tools).items()} == {"first": 45, "second": 45}


def test_the_config_was_edited_in_between(data: Path, tools: Any) -> None:
    """A dead run under another key is looked after by whichever run comes next; it can still be resumed."""
    dead = begin(data)
    deliver(data, dead, tools, "first", 44)
    other = begin(data, seconds=600, settings="edited")
    assert other.run_id != dead.run_id
    assert recover(other, at(600)) == 5
    assert recover(begin(data, seconds=700), at(700)) == 0


def test_sessions_of_an_amended_run_are_found(data: Path, tools: Any) -> None:
    run = begin(data)
    deliver(data, run, tools, "first", 7, seconds=20)
    amend(run, {"cam2": RunSource("007", "rtsp://d", True, moment(0))}, "m", clock=at(25))
    assert recover(begin(data, seconds=600), at(600)) == 8
    assert ends(data, tools)["first"]["state"] == "broken"


def test_runs_that_are_alive_or_ended_are_left_alone(data: Path, tools: Any) -> None:
    ended, alive = begin(data, settings="ended"), begin(data, settings="alive")
    writer = deliver(data, alive, tools, "s1", 44)
    complete(ended, clock=at(5))
    me = begin(data, seconds=10, settings="me")
    assert recover(me, at(10)) == 0
    writer.add(tools.chunk(45, 50, session_id="s1", start=moment(0)))
    writer.close_session("s1", "stopped")
    writer.flush()
    assert ends(data, tools)["s1"] | {"faces": 0} == {
        "read": 51, "analysed": 51, "lost": 0, "faces": 0, "state": "stopped",
    }  # fmt: skip


def test_files_are_left_to_be_resumed(data: Path, tools: Any) -> None:
    run = begin(data, live=False)
    deliver(data, run, tools, run.sessions["cam1"].session_id, 44, live=False)
    assert recover(begin(data, seconds=600, live=False), at(600)) == 0
    writer = Writer(str(data), run.run_id)
    session = SessionInfo("007", "cam1", run.sessions["cam1"].session_id, False, moment(0))
    assert writer.open_session(session) == 39
    writer.add(tools.chunk(40, 50, session_id=session.session_id, start=moment(0)))
    writer.close_session(session.session_id, "complete")
    writer.flush()
    assert ends(data, tools)[session.session_id]["analysed"] == 51


def test_a_run_taken_for_dead_that_goes_on_still_counts_each_frame_once(data: Path, tools: Any) -> None:
    run = begin(data)
    writer = deliver(data, run, tools, "first", 44)
    assert recover(begin(data, seconds=600), at(600)) == 5
    writer.add(tools.chunk(45, 64, session_id="first", start=moment(0)))
    writer.close_session("first", "stopped")
    writer.flush()
    assert ends(data, tools)["first"]["read"] == 65


def test_the_reader_died_and_then_the_writer(data: Path, tools: Any) -> None:
    """The driver tells the new writer: stored faces count as analysed, and what came after them as lost."""
    deliver(data, begin(data), tools, "first", 44)
    writer = Writer(str(data), "run1", at(60))
    info = SessionInfo("007", "cam1", "first", True, moment(0))
    for _ in range(2):
        writer.open_session(info)
        counts = writer.lost("first", 49)
        writer.close_session("first", "broken", "the reader died")
        writer.flush()
        assert sum(counts.values()) in (10, 0)
    known = sum(1 for seq in range(40, 45) if seq % 3)
    end = ends(data, tools)["first"]
    assert (end["read"], end["analysed"], end["lost"], end["state"]) == (50, 40 + known, 10 - known, "broken")


def test_stored_faces_are_found_over_midnight_and_among_many_days(data: Path, tools: Any) -> None:
    midnight = 86_400 - NOW % 86_400
    writer = Writer(str(data), "run1", at(0))
    for day in range(-3, 1):
        name = f"day{day}"
        writer.open_session(SessionInfo("007", "cam1", name, True, moment(0)))
        writer.add(tools.chunk(0, 30, session_id=name, start=moment(midnight) + timedelta(days=day, seconds=-10.5)))
    writer.flush()
    again = Writer(str(data), "run1", at(0))
    again.open_session(SessionInfo("007", "cam1", "day0", True, moment(0)))
    counts = again.lost("day0", -1)
    assert counts == {"analysed": sum(1 for s in range(21, 31) if s % 3), "lost_in_crash": 4}
    again.close_session("day0", "broken")
    again.flush()


def test_a_broken_file_of_the_store_is_told(tmp_path: Path, tools: Any) -> None:
    deliver(tmp_path, begin(tmp_path), tools, "first", 44)
    for uri in Table(str(tmp_path), "observations").delta.file_uris():
        Path(uri).write_bytes(b"broken")
    with pytest.raises(StoreError, match="observations"):
        recover(begin(tmp_path, seconds=600), at(600))


def test_days_after_a_death_and_other_stores_are_not_read(tmp_path: Path, tools: Any) -> None:
    deliver(tmp_path, begin(tmp_path), tools, A, 44)
    sound = {name: Table(str(tmp_path), name).delta.file_uris() for name in ("frames", "observations")}
    writer = Writer(str(tmp_path), "another", at(0))
    for name, store, day in (("elsewhere", "008", 0), ("later", "007", 3)):
        writer.open_session(SessionInfo(store, "cam1", name, True, moment(day * DAY)))
        writer.add(tools.chunk(0, 44, session_id=name, store_id=store, start=moment(day * DAY)))
    writer.flush()
    for table, files in sound.items():
        for uri in set(Table(str(tmp_path), table).delta.file_uris()) - set(files):
            if table == "frames" or "store_id=008" in uri:
                Path(uri).write_bytes(b"broken")
    assert recover(begin(tmp_path, seconds=9 * DAY, settings="other"), at(9 * DAY)) == 5


def test_a_run_that_was_open_for_weeks(data: Path, tools: Any) -> None:
    run = begin(data)
    for day in range(1, 36):
        renew(run, clock=at(day * DAY))
    deliver(data, run, tools, "first", 7, seconds=35 * DAY)
    again = begin(data, seconds=35 * DAY + 60)
    assert recover(again, at(35 * DAY + 60)) == 8
    assert recover(begin(data, seconds=70 * DAY, settings="other"), at(70 * DAY)) == 0, "long ago"


@pytest.mark.parametrize("connected", [0, 5, 40])
def test_sessions_of_a_run_that_lives_are_not_those_of_its_predecessor(
    data: Path, tools: Any, connected: float
) -> None:
    deliver(data, begin(data), tools, A, 44)
    resumed = begin(data, seconds=604)
    writer = deliver(data, resumed, tools, B, 44, seconds=604 + connected)
    other = begin(data, seconds=610, settings="other")
    renew(resumed, clock=at(610))
    assert recover(other, at(611)) == 5, "those of the dead"
    assert ends(data, tools)[B]["state"] == "live"
    writer.close_session(B, "stopped")
    writer.flush()
    assert {s: (e["read"], e["lost"] > 0) for s, e in ends(data, tools).items()} == {A: (45, True), B: (45, False)}


@pytest.mark.parametrize("before", [0, 45])
@pytest.mark.parametrize("faces", [3, 1])
@pytest.mark.parametrize(("looked", "renewed"), [(31, True), (31, False), (430, True)])
def test_a_run_that_was_cut_off_for_a_while_and_died_later(
    data: Path, tools: Any, before: int, faces: int, looked: int, renewed: bool
) -> None:
    """Its lease was over, for so long even that it counted as dead; another run looked after it, and it went on."""
    run = begin(data)
    writer = deliver(data, run, tools, A, before - 1) if before else Writer(str(data), run.run_id, at(looked + 4))
    other = begin(data, seconds=looked, settings="other")
    recover(other, at(looked))
    complete(other, clock=at(looked + 1))
    if not before:
        writer.open_session(SessionInfo("007", "cam1", A, True, moment(0)))
    if renewed:
        renew(run, clock=at(looked + 9))
    names = {"session_id": A, "start": moment(0 if before else looked + 4), "faces": lambda seq: seq % faces}
    writer.add(tools.chunk(before, before + 6, **names))
    writer._clock = at(looked + 10)
    writer.flush()
    assert recover(begin(data, seconds=900, settings="third"), at(900)) == 7
    assert ends(data, tools)[A]["read"] == before + 7
    assert recover(begin(data, seconds=1000, settings="fourth"), at(1000)) == 0


@pytest.mark.parametrize(("name", "connected"), [(B, 5), (B, 27), ("without marks", 27)])
def test_a_session_that_another_run_has_just_begun_is_left_to_it(
    data: Path, tools: Any, name: str, connected: float
) -> None:
    """It has faces, and no row in frames yet."""
    deliver(data, begin(data), tools, A, 44)
    edited = begin(data, seconds=connected - 1, settings="edited")
    writer = deliver(data, edited, tools, name, 4, seconds=connected)
    assert recover(begin(data, seconds=31, settings="third"), at(31)) == 5
    writer.close_session(name, "stopped")
    writer.flush()
    (row,) = [r for r in tools.rows(data, "frames") if r["session_id"] == name]
    assert (row["run_id"], row["read"], row["analysed"], row["state"]) == (edited.run_id, 5, 5, "stopped")


def test_frames_that_only_their_reader_knew_are_accounted_for(
    data: Path, tools: Any, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reached, "_MEMORY", tmp_path_factory.mktemp("memory"))
    monkeypatch.setattr(recovery, "_ORPHANS_S", 0)  # the "dead" readers are this process
    run = begin(data)
    deliver(data, run, tools, A, 44)
    ahead, unheard, ended = (
        Reached(run.run_id, run.generation, SessionInfo("007", "cam1", session_id, True, moment(seconds)))
        for session_id, seconds in ((A, 0), (B, 30), ("00000000000c", -30))
    )
    ahead.note(60)  # 16 frames after those that the store has a trace of
    unheard.note(4)  # a session that the store has never heard of
    ended.note(9)
    over = deliver(data, run, tools, "00000000000c", 9, seconds=-30)
    over.close_session("00000000000c", "broken")
    over.flush()
    again = begin(data, seconds=600)
    assert recover(again, at(600)) == (61 - 40) + 5
    found = ends(data, tools)
    assert (found[A]["read"], found[B]["read"], found["00000000000c"]["read"]) == (61, 5, 10)
    assert (found[B]["lost"], found[B]["state"]) == (5, "broken")
    assert reached.left(run.run_id) == []
    assert recover(again, at(600)) == 0


def test_readers_of_a_run_that_was_resumed_are_left_alone(
    data: Path, tools: Any, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reached, "_MEMORY", tmp_path_factory.mktemp("memory"))
    monkeypatch.setattr(recovery, "_ORPHANS_S", 0)
    run = begin(data)
    deliver(data, run, tools, A, 44)
    again = begin(data, seconds=600)
    living = Reached(again.run_id, again.generation, SessionInfo("007", "cam1", B, True, moment(600)))
    living.note(3)
    recover(begin(data, seconds=610, settings="edited"), at(610))
    assert [left.session.session_id for left in reached.left(run.run_id)] == [B]
    assert B not in ends(data, tools)
