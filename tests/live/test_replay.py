"""`risa alerts test`: what the rules would have fired on stored rows is what they did fire."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from deltalake import DeltaTable
from helpers_live import SQUARE, START, chain, people, wall

from risa_ray.analytics.dataset import open_dataset
from risa_ray.analytics.simulate.job import simulate
from risa_ray.config import ChainConfig, parse_config
from risa_ray.frames import Chunk, DropCause, Outcome
from risa_ray.live.history import History
from risa_ray.live.replay import Replayed, replay
from risa_ray.store.context import write_context
from risa_ray.store.rows import frames_table
from risa_ray.store.table import Table
from risa_ray.store.windows import empty_row, frames_row
from risa_ray.store.writer import SessionInfo
from risa_ray.streaming.committer import CommitterActor

HAPPY, SAD, PLAIN = (0.8, "happiness"), (-0.6, "sadness"), (0.0, "neutral")
PLACE = ("007", "front")

RULES: list[dict[str, Any]] = [
    {"id": "crowd", "figure": "people", "above": 2, "for_s": 4, "cooldown_s": 0},
    {"id": "empty", "figure": "people", "below": 1, "for_s": 8, "cooldown_s": 30},
    {"id": "queue", "figure": "queue_length", "above": 1.5, "for_s": 3, "window_s": 10},
    {"id": "wait", "figure": "longest_wait_s", "above": 15},
    {"id": "mood", "figure": "net_sentiment", "below": -0.2, "for_s": 10, "window_s": 30, "min_tracks": 3},
    {"id": "sour", "figure": "negative_s", "above": 3, "window_s": 30, "cooldown_s": 20},
    {"id": "never", "figure": "people", "above": 50},
    {"id": "slow", "figure": "delay_p95_s", "above": 0.001},
]


def scene(second: int) -> tuple[dict[str, tuple[float, str]], dict[str, tuple[str, ...]]]:
    """Who is there: two in the queue, nobody, four who frown, a film that breaks off, a crowd, nobody."""
    if second < 22:
        return {"a": PLAIN, "b": HAPPY}, {"a": ("queue",), "b": ("queue",)}
    if 40 <= second < 60:
        return {name: SAD for name in "cdef"}, {"c": ("queue",)}
    if 90 <= second < 100:
        return {name: HAPPY for name in "ghi"}, {"g": ("checkout",)}
    return {}, {}


def played() -> list[Chunk]:
    """A second each: a session of a minute, a pause of half a minute, and another; one frame in five is dropped."""
    chunks = []
    for second in [*range(60), *range(90, 130)]:
        tracks, zones = scene(second)
        first = 0 if second < 60 else 450
        chunk = people(tracks, 1, start_seq=second * 5, zones=zones)
        causes: Sequence[DropCause | None] = (None, None, "stale", None, None)
        outcomes = tuple(
            replace(o, cause=cause, frame_seq=o.frame_seq - first, faces=0 if cause else len(tracks))
            for o, cause in zip(chunk.outcomes, causes, strict=True)
        )
        kept = {o.frame_seq for o in outcomes if o.cause is None}
        faces = [replace(f, frame_seq=f.frame_seq - first) for f in chunk.faces]
        chunks.append(
            replace(
                chunk,
                session_id="s1" if second < 60 else "s2",
                outcomes=outcomes,
                faces=tuple(f for f in faces if f.frame_seq in kept),
            )
        )
    return chunks


def config_for(data: Path, rules: Sequence[Mapping[str, Any]] = RULES, source: str = "film.mp4") -> ChainConfig:
    return chain(alerts=[dict(r) for r in rules], zones=("queue", "checkout"), data=str(data), source=source)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A run that the committer stored: its dataset, and the alerts that it fired."""
    data = tmp_path_factory.mktemp("run")
    write_context(str(data), config_for(data), {"front": START}, {"front": (640, 480)})
    actor = CommitterActor(config_for(data), "run1")
    session = ""
    for number, chunk in enumerate(played()):
        if chunk.session_id != session:
            if session:
                actor.close_session(session, "complete", "")
            session = chunk.session_id
            actor.open_session(SessionInfo(*PLACE, session, False, chunk.outcomes[0].captured_at))
        actor.add(chunk)
        if number % 2:
            actor.flush()
    actor.close_session(session, "complete", "")
    actor.flush(last=True)
    return data, DeltaTable(str(data / "alerts")).to_pyarrow_table().sort_by("fired_at").to_pylist()


def fired(found: Replayed) -> list[tuple[str, str | None, datetime, float]]:
    alerts = (f.alert for judged in found.rules for f in judged.fired)
    return [(a.rule_id, a.zone_id, a.fired_at, a.value) for a in alerts]


def test_what_fired_in_a_run_is_what_the_replay_finds(run: tuple[Path, list[dict[str, Any]]]) -> None:
    data, stored = run
    stored = [row for row in stored if row["rule_id"] != "slow"]
    assert {row["rule_id"] for row in stored} == {rule["id"] for rule in RULES} - {"never", "slow"}
    found = fired(replay(config_for(data)))
    assert len(found) == len(stored)
    for row in stored:
        same = [f for f in found if f[:2] == (row["rule_id"], row["zone_id"])]
        # The committer looked every 2 s, the replay every second.
        (match,) = [f for f in same if abs(f[2] - row["fired_at"]) <= timedelta(seconds=2)]
        assert match[3] == pytest.approx(row["value"], abs=2.1 if "_s" in row["figure"] else 0.2)


def test_how_long_each_rule_was_past_its_threshold(run: tuple[Path, list[dict[str, Any]]]) -> None:
    found = replay(config_for(run[0]))
    judged = {j.rule.id: j for j in found.rules}
    wait = judged["wait"]
    assert (len(wait.fired), wait.stretches) == (1, 2), "the second is within the cool-down"
    assert wait.longest_s == pytest.approx(7, abs=2), "22 s in the queue, the last 15 of them allowed"
    assert wait.fired[0].past_s == wait.longest_s
    assert (judged["never"].fired, judged["never"].stretches) == ([], 0)
    assert judged["crowd"].watched_s == 100, "nobody looked between the films"
    assert "slow" not in judged
    assert any(note.startswith("slow: not judged") for note in found.notes)


def test_a_dataset_that_has_the_footage_twice_is_judged_once(tmp_path: Path) -> None:
    config = config_for(tmp_path, RULES[:1])
    for name in ("run1", "run2"):
        actor = CommitterActor(config, name)
        session = f"{name}-s"
        actor.open_session(SessionInfo(*PLACE, session, False, START))
        for number, chunk in enumerate(played()[:60]):
            faces = tuple(replace(f, track_id=f"{name}{f.track_id}") for f in chunk.faces)
            actor.add(replace(chunk, session_id=session, faces=faces))
            if number % 20 == 19:
                actor.flush()
        actor.close_session(session, "complete", "")
        actor.flush(last=True)
    (judged,) = replay(config).rules
    assert [f.alert.value for f in judged.fired] == [4]
    assert judged.watched_s == 60


def row(start: float, read: int = 0, first_seq: int = 0, run_id: str = "run1", **columns: Any) -> dict[str, Any]:
    """A row of `frames`: `read` frames of session s1, or none at all."""
    begun = frames_row(run_id, PLACE, START + timedelta(seconds=start)) | empty_row() | {"state": "down"}
    if read:
        last = first_seq + read - 1
        begun |= {"session_id": "s1", "first_seq": first_seq, "last_seq": last, "state": "live"}
        begun |= {"read": read, "analysed": read}
    return begun | columns


def frames_of(data: Path, rows: Sequence[dict[str, Any]]) -> None:
    Table(str(data), "frames").commit(frames_table(rows), {})


DOWN = [{"id": "down", "figure": "camera_down_s", "above": 25, "cooldown_s": 0}]


def test_a_camera_that_was_away_is_found_by_the_rows_that_say_so(tmp_path: Path) -> None:
    """20 s of pictures, of which the last stop after 4 s, then 60 s of nothing, and pictures again."""
    frames_of(
        tmp_path,
        [
            row(0, 50),
            row(10, 20, 50),
            *(row(start) for start in range(20, 80, 10)),
            row(80, 50, 70),
            *(row(start) for start in range(90, 110, 10)),
        ],
    )
    (judged,) = replay(config_for(tmp_path, DOWN, "rtsp://shop/1")).rules
    (only,) = judged.fired
    assert only.alert.fired_at == pytest.approx(START + timedelta(seconds=14 + 25), abs=timedelta(seconds=1.5))
    assert only.past_s == pytest.approx(66 - 25, abs=2)
    assert judged.watched_s == 110


def test_time_without_rows_is_no_outage(tmp_path: Path) -> None:
    """The job did not run, or its rows were deleted; another run starts anew, too."""
    frames_of(tmp_path, [row(0, 50), row(10), row(20), row(100), row(110), row(120, run_id="run2"), row(130)])
    (judged,) = replay(config_for(tmp_path, DOWN, "rtsp://shop/1")).rules
    assert judged.fired == []
    assert judged.watched_s == 70


def test_frames_without_faces_get_their_times_from_those_around_them(tmp_path: Path) -> None:
    frames_of(tmp_path, [row(4 * 10, 30), row(50, 50, 30, analysed=45, dropped_stale=5), row(60, 10, 80)])
    connection = open_dataset(tmp_path, raw=True)
    (_, camera), *_ = config_for(tmp_path).cameras()
    windows = list(History(connection, "007", camera).windows(START, START + timedelta(minutes=2)))
    outcomes: list[Outcome] = [o for window in windows if window.chunk for o in window.chunk.outcomes]
    assert [o.frame_seq for o in outcomes] == list(range(90))
    # 5 frames a second, which began 6 s before the second window and ended 2 s after the third one's start.
    expected = [44 + 0.2 * (seq + 0.5) for seq in range(90)]
    assert [o.arrived_at - wall(0) for o in outcomes] == pytest.approx(expected, abs=0.01)
    dropped = [o.frame_seq for o in outcomes if o.cause == "stale"]
    assert dropped == [35, 45, 55, 65, 75]


def test_observations_that_were_deleted_are_told_and_not_taken_for_nobody(tmp_path: Path) -> None:
    frames_of(tmp_path, [row(0, 50, faces=20), row(10, 50, 50, faces=9), *(row(s, 50, s * 5) for s in (20, 30))])
    found = replay(config_for(tmp_path, [{"id": "empty", "figure": "people", "below": 1, "for_s": 5}]))
    (judged,) = found.rules
    assert judged.watched_s == 20
    assert [f.alert.fired_at.second for f in judged.fired] == [25]
    assert any("deleted" in note for note in found.notes)


def written(tmp_path: Path, data: Path, **changes: Any) -> Path:
    raw = config_for(data).model_dump(mode="json", by_alias=True, exclude_defaults=True) | changes
    path = tmp_path / "chain.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def test_the_command(run: tuple[Path, list[dict[str, Any]]], tmp_path: Path, risa: Callable[..., Any]) -> None:
    path = written(tmp_path, run[0])
    code, output, _ = risa("alerts", "test", path)
    assert code == 0
    assert "never: fired 0 times in 1.7 min of its cameras (people above 50); never past its threshold" in output
    assert "wait: fired once" in output
    code, output, errors = risa("alerts", "test", path, "--format", "json", "--to", "2026-03-14T09:00:50Z")
    alerts = json.loads(output)
    assert {a["rule_id"] for a in alerts} == {"crowd", "empty", "queue", "wait", "sour"}
    assert {"fired_at", "camera_id", "zone_id", "value", "past_s"} < set(alerts[0])
    assert "wait: fired once" in errors
    code, output, _ = risa("alerts", "test", path, "--format", "csv", "--store", "007")
    assert len(output.splitlines()) == 1 + len([row for row in run[1] if row["rule_id"] != "slow"])


@pytest.mark.parametrize(
    ("arguments", "changes", "says"),
    [
        (["--data", "{tmp}/nothing"], {}, "no such folder"),
        (["--from", "yesterday"], {}, "--from yesterday: is no time"),
        (["--from", "2026-03-15", "--to", "2026-03-14"], {}, "must come before --to"),
        (["--from", "2027-01-01"], {}, "its frames are from 2026-03-14 09:00"),
        (["--store", "008"], {}, "no store 008"),
        ([], {"alerts": []}, "no alert rules"),
        (
            [],
            {"alerts": [{"id": "r", "figure": "people", "above": 1, "zone": "new"}]},
            "there are 007/front/checkout, 007/front/queue",
        ),
    ],
)
def test_wrong_inputs_are_refused_in_one_line(
    arguments: list[str],
    changes: dict[str, Any],
    says: str,
    run: tuple[Path, list[dict[str, Any]]],
    tmp_path: Path,
    refused: Callable[..., str],
) -> None:
    path = written(tmp_path, run[0], **changes)
    if "new" in str(changes):
        path.write_text(path.read_text().replace("id: checkout\n", "id: new\n"))
    assert says in refused("alerts", "test", path, *(a.format(tmp=tmp_path) for a in arguments))


def test_a_camera_that_the_dataset_does_not_know(
    run: tuple[Path, list[dict[str, Any]]], tmp_path: Path, refused: Callable[..., str]
) -> None:
    path = written(tmp_path, run[0])
    path.write_text(path.read_text().replace("id: front\n", "id: back\n"))
    assert "alert crowd" in (line := refused("alerts", "test", path))
    assert "there are 007/front" in line


def test_a_simulated_store_is_judged_by_its_truth(tmp_path: Path) -> None:
    """Whenever somebody has stood in the queue for more than 60 s, and only then, the rule fires."""
    data = tmp_path / "data"
    truth = simulate(str(data), 1, 1, start=START.date(), visits_per_hour=60, split_rate=0, outages=False)
    (camera,) = [c for c in truth.parameters["sampling_fps"] if c.endswith("-till")]
    since, until = START + timedelta(hours=2), START + timedelta(hours=3, minutes=5)
    stays = [s for s in truth.stays.to_pylist() if s["zone_kind"] == "queue" and s["entered_at"] >= since]
    late = sorted(
        (s["entered_at"] + timedelta(seconds=60), s["left_at"])
        for s in stays
        if s["left_at"] - s["entered_at"] >= timedelta(seconds=61)  # it is judged every second
    )
    begins, ends = [late[0][0]], late[0][1]
    for begin, end in late[1:]:
        if begin > ends + timedelta(seconds=4) and begin < until:
            begins.append(begin)
        ends = max(ends, end)
    raw = {
        "data": str(data),
        "stores": [
            {
                "id": truth.stays["store_id"][0].as_py(),
                "cameras": [
                    {
                        "id": camera,
                        "source": "till.mp4",
                        "sampling_fps": truth.parameters["sampling_fps"][camera],
                        "zones": [{"id": "queue", "kind": "queue", "polygon": SQUARE}],
                    }
                ],
            }
        ],
        "alerts": [{"id": "w", "figure": "longest_wait_s", "above": 60, "window_s": 5, "cooldown_s": 0}],
    }
    (judged,) = replay(parse_config(raw, "test"), since, until).rules
    assert len(begins) > 8
    assert [f.alert.fired_at for f in judged.fired] == pytest.approx(begins, abs=timedelta(seconds=2))
