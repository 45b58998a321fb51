"""Whether a run started again goes on, starts over, or is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from risa_ray.errors import InputError
from risa_ray.store.errors import StoreError
from risa_ray.store.process import ProcessId
from risa_ray.store.runs import RunSource, amend, complete, release, renew, start_run
from risa_ray.store.table import Table

AT = datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)
FILE = RunSource("007", "film.mp4 12345 678", False, AT)
LIVE = RunSource("007", "rtsp://camera/1", True, AT)


def at(now: float) -> Callable[[], float]:
    return lambda: now


def test_an_interrupted_run_keeps_its_file_sessions(tmp_path: Path) -> None:
    first = start_run(str(tmp_path), {"a": FILE, "b": LIVE}, "model-1", clock=at(1000))
    later = FILE._replace(started_at=datetime(2027, 1, 1, tzinfo=UTC))
    second = start_run(str(tmp_path), {"a": later, "b": LIVE}, "model-1", clock=at(1031))
    assert second.resumed
    assert not first.resumed
    assert second.run_id == first.run_id
    assert second.sessions["a"] == first.sessions["a"]
    assert second.sessions["b"].session_id != first.sessions["b"].session_id


def test_a_run_that_is_alive_is_refused_in_one_line(tmp_path: Path) -> None:
    run = start_run(str(tmp_path), {"a": FILE}, "model-1", clock=at(1000))
    with pytest.raises(InputError, match=f"run {run.run_id} .*process {run.pid}") as caught:
        start_run(str(tmp_path), {"a": FILE}, "model-1", clock=at(1029))
    assert "\n" not in str(caught.value)


def test_renewing_keeps_a_run_alive(tmp_path: Path) -> None:
    run = start_run(str(tmp_path), {"a": FILE}, "model-1", clock=at(1000))
    renew(run, clock=at(1025))
    with pytest.raises(InputError):
        start_run(str(tmp_path), {"a": FILE}, "model-1", clock=at(1050))
    start_run(str(tmp_path), {"a": FILE}, "model-1", clock=at(1056))
    with pytest.raises(StoreError, match="resumed by another process"):
        renew(run, clock=at(1057))


def test_a_process_that_lives_here_keeps_its_run_however_late_it_renews(tmp_path: Path) -> None:
    code = """if True:
        import sys
        from datetime import UTC, datetime
        from risa_ray.store.runs import start_run
        film = ("007", "film.mp4", False, datetime(2026, 1, 1, tzinfo=UTC))
        start_run(sys.argv[1], {"a": film}, "m", clock=lambda: 1000)
        print("started", flush=True)
        sys.stdin.read()
    """
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "started\n"
    film = FILE._replace(fingerprint="film.mp4")
    with pytest.raises(InputError, match=f"process {child.pid}") as caught:
        start_run(str(tmp_path), {"a": film}, "m", clock=at(5000))
    assert "wait" not in str(caught.value)
    child.communicate()
    assert start_run(str(tmp_path), {"a": film}, "m", clock=at(5000)).resumed


def test_a_released_run_is_resumed_at_once(tmp_path: Path) -> None:
    first = start_run(str(tmp_path), {"a": FILE}, "model-1", clock=at(1000))
    release(first, clock=at(1001))
    second = start_run(str(tmp_path), {"a": FILE}, "model-1", clock=at(1002))
    assert (second.run_id, second.resumed, second.sessions) == (first.run_id, True, first.sessions)


def test_a_run_whose_marks_may_be_forgotten_starts_over(tmp_path: Path) -> None:
    first = start_run(str(tmp_path), {"a": FILE}, "model-1", clock=at(1000))
    release(first, clock=at(1001))
    second = start_run(str(tmp_path), {"a": FILE}, "model-1", clock=at(1000 + 30 * 86400))
    assert not second.resumed
    assert second.sessions["a"].session_id != first.sessions["a"].session_id
    assert second.generation > first.generation


def test_a_dead_process_is_resumed_at_once(tmp_path: Path) -> None:
    code = """if True:
        import sys
        from datetime import UTC, datetime
        from risa_ray.store.runs import start_run
        run = start_run(sys.argv[1], {"a": ("007", "film.mp4", False, datetime(2026, 1, 1, tzinfo=UTC))}, "m")
        print(run.run_id)
    """
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    run = start_run(str(tmp_path), {"a": FILE._replace(fingerprint="film.mp4")}, "m")
    assert (run.run_id, run.resumed) == (done.stdout.strip(), True)


@pytest.mark.parametrize("other", ["settings", "file", "camera"])
def test_other_work_is_another_run(tmp_path: Path, other: str) -> None:
    first = start_run(str(tmp_path), {"a": FILE}, "model-1")
    source = FILE._replace(fingerprint="other") if other == "file" else FILE
    second = start_run(
        str(tmp_path), {"b" if other == "camera" else "a": source}, "model-2" if other == "settings" else "model-1"
    )
    assert first.run_id != second.run_id


def test_a_completed_run_starts_over(tmp_path: Path) -> None:
    first = start_run(str(tmp_path), {"a": FILE}, "model-1")
    complete(first)
    second = start_run(str(tmp_path), {"a": FILE}, "model-1")
    assert not second.resumed
    assert second.run_id != first.run_id
    assert second.sessions["a"].session_id != first.sessions["a"].session_id


def test_a_process_knows_whether_it_lives() -> None:
    child = subprocess.Popen(["sleep", "60"])
    me = ProcessId.own()
    place = me.token.rsplit(" ", 1)[0]
    assert me.is_dead() is False
    assert ProcessId(me.host, child.pid, f"{place} 1").is_dead() is True, "the number belongs to another process now"
    child.kill()
    child.wait()
    assert ProcessId(me.host, child.pid, f"{place} 1").is_dead() is True
    assert ProcessId("elsewhere", me.pid, "another boot 1").is_dead() is None


OTHER = RunSource("007", "other.mp4 1 2", False, AT)


def test_an_amended_run_is_resumed_under_its_new_key_alone(tmp_path: Path) -> None:
    first = start_run(str(tmp_path), {"a": FILE, "b": LIVE, "c": OTHER}, "m", clock=at(1000))
    edited = {"a": FILE, "b": LIVE, "c": OTHER._replace(fingerprint="changed"), "d": OTHER}
    run = amend(first, edited, "m", clock=at(1001))
    assert run.run_id == first.run_id
    assert run.sessions["a"] == first.sessions["a"]
    ids = [s.session_id for s in (*first.sessions.values(), *run.sessions.values())]
    assert len(set(ids)) == 6, "a live camera and a changed file begin anew"
    renew(run, clock=at(1002))
    resumed = start_run(str(tmp_path), edited, "m", clock=at(1100))
    for record in (first, run):
        with pytest.raises(StoreError, match="resumed by another process"):
            renew(record, clock=at(1101))
    assert (resumed.resumed, resumed.run_id) == (True, run.run_id)
    assert {c: resumed.sessions[c].session_id for c in "acd"} == {c: run.sessions[c].session_id for c in "acd"}
    old = start_run(str(tmp_path), {"a": FILE, "b": LIVE, "c": OTHER}, "m", clock=at(1100))
    assert (old.resumed, old.run_id == run.run_id) == (False, False)


def test_an_edit_that_is_taken_back_is_followed(tmp_path: Path) -> None:
    first = start_run(str(tmp_path), {"a": FILE}, "m", clock=at(1000))
    more = amend(first, {"a": FILE, "b": OTHER}, "m", clock=at(1001))
    back = amend(more, {"a": FILE}, "m", clock=at(1002))
    assert (back.key, back.sessions) == (first.key, first.sessions)
    complete(back, clock=at(1003))
    assert not start_run(str(tmp_path), {"a": FILE}, "m", clock=at(1004)).resumed
    assert not start_run(str(tmp_path), {"a": FILE, "b": OTHER}, "m", clock=at(1004)).resumed


def test_an_edit_that_leaves_the_work_as_it_is_changes_no_record(tmp_path: Path) -> None:
    first = start_run(str(tmp_path), {"a": FILE, "b": LIVE}, "m", clock=at(1000))
    run = amend(first, {"a": FILE, "b": LIVE}, "m", clock=at(1001))
    assert (run.key, run.generation, run.sessions["a"]) == (first.key, first.generation, first.sessions["a"])
    assert run.sessions["b"].session_id != first.sessions["b"].session_id
    renew(run, clock=at(1002))


def test_an_edit_to_what_another_live_run_does_is_refused(tmp_path: Path) -> None:
    other = start_run(str(tmp_path), {"a": OTHER}, "m", clock=at(1000))
    run = start_run(str(tmp_path), {"a": FILE}, "m", clock=at(1000))
    with pytest.raises(InputError, match=f"run {other.run_id} .*is under way"):
        amend(run, {"a": OTHER}, "m", clock=at(1001))
    renew(run, clock=at(1002))
    renew(other, clock=at(1002))


FIRST = {"a": FILE, "b": OTHER, "c": LIVE}
EDITED = FIRST | {"b": OTHER._replace(fingerprint="changed")}
ANOTHER = EDITED | {"d": OTHER._replace(fingerprint="new")}


@pytest.mark.parametrize("then", [EDITED, ANOTHER, FIRST, None], ids=["again", "another", "taken back", "over"])
@pytest.mark.parametrize("durable", [True, False])
def test_an_edit_whose_commit_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool, then: dict[str, RunSource] | None
) -> None:
    """It may be in the store all the same, which cannot be read at that moment either."""
    first = run = start_run(str(tmp_path), FIRST, "m", clock=at(1000))
    commit = Table.commit

    def unreadable(*_: Any) -> None:
        raise StoreError("no answer")

    def failing(*args: Any) -> None:
        if durable:
            commit(*args)
        patch.setattr(Table, "refresh", unreadable)
        raise StoreError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(Table, "commit", failing)
        with pytest.raises(StoreError, match="no answer"):
            amend(run, EDITED, "m", clock=at(1001))
    renew(run, clock=at(1002))
    if then is not None:
        run = amend(run, then, "m", clock=at(1003))
        renew(run, clock=at(1004))
        assert set(run.sessions) == set(then)
        assert run.sessions["a"] == first.sessions["a"]
        assert (run.sessions["b"] == first.sessions["b"]) == (then is FIRST)
    release(run, clock=at(1005))
    resumed = start_run(str(tmp_path), then or (EDITED if durable else FIRST), "m", clock=at(1006))
    assert (resumed.resumed, resumed.run_id) == (True, first.run_id)
    if then is not None:
        assert [resumed.sessions[c] for c in "ab"] == [run.sessions[c] for c in "ab"], (
            "what is read now, under its names"
        )


def test_an_edit_whose_commit_fails_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start_run(str(tmp_path), FIRST, "m", clock=at(1000))
    commit = Table.commit

    def failing(*args: Any) -> None:
        commit(*args)
        raise StoreError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(Table, "commit", failing)
        for second, edit in enumerate((EDITED, ANOTHER), start=1):
            with pytest.raises(StoreError, match="no answer"):
                amend(run, edit, "m", clock=at(1000 + second))
    complete(run, clock=at(1005))
    for sources in (FIRST, EDITED, ANOTHER):
        assert not start_run(str(tmp_path), sources, "m", clock=at(1006)).resumed
