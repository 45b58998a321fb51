from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from helpers_live import START, chain, people, wall

from risa_ray.errors import InputError
from risa_ray.live import EventWriter, Rolling, Rules


def lines(path: Path) -> list[dict[str, object]]:
    def never(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return [json.loads(line, parse_constant=never) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_kind_of_event_is_a_line_of_json(tmp_path: Path) -> None:
    config = chain(alerts=[{"id": "r", "figure": "people", "above": 0, "text": "Käse"}])
    rolling = Rolling(config)
    rolling.add(people({"a": (0.8, "happiness")}), wall(2))
    target = tmp_path / "events.jsonl"
    writer = EventWriter(str(target))
    writer.figures(rolling.figures(wall(2)))
    for alert in Rules(config).evaluate(rolling, wall(2)):
        writer.alert(alert)
    writer.camera("007", "front", "live", START)
    assert len(lines(target)) == 5, "every line is there at once"
    writer.run("abc", "complete", START, rows=10)
    writer.close()
    writer.close()
    got = lines(target)
    assert [e["type"] for e in got] == ["figures"] * 3 + ["alert", "camera", "run"]
    assert got[0]["expressions"] == {"happiness": 1}
    assert got[0]["zone_id"] is None
    assert got[3]["text"] == "Käse"
    assert got[4] == {"type": "camera", "store_id": "007", "camera_id": "front", "state": "live",
                      "at": "2026-03-14T09:00:00Z", "note": ""}  # fmt: skip
    assert got[5]["rows"] == 10


def test_times_are_utc_and_nan_is_null(tmp_path: Path) -> None:
    target = tmp_path / "events.jsonl"
    writer = EventWriter(str(target))
    figures = Rolling(chain()).figures(wall(0))[0]
    writer.figures([replace(figures, delay_p95_s=float("nan"), ci=(float("-inf"), 1.0))])
    writer.camera("007", "front", "live", datetime(2026, 3, 14, 10, tzinfo=timezone(timedelta(hours=1))))
    got = lines(target)
    assert got[0]["delay_p95_s"] is None
    assert got[0]["ci"] == [None, 1.0]
    assert got[1]["at"] == "2026-03-14T09:00:00Z"


def test_appends_to_what_is_there(tmp_path: Path) -> None:
    target = tmp_path / "events.jsonl"
    for state in ("started", "complete"):
        writer = EventWriter(str(target))
        writer.run("abc", state, START)
        writer.close()
    assert [e["state"] for e in lines(target)] == ["started", "complete"]


def test_a_log_rotator_may_empty_the_file(tmp_path: Path) -> None:
    target = tmp_path / "events.jsonl"
    writer = EventWriter(str(target))
    writer.run("abc", "started", START)
    os.truncate(target, 0)  # logrotate's copytruncate
    writer.run("abc", "complete", START)
    assert [e["state"] for e in lines(target)] == ["complete"]


def test_a_target_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written") as error:
        EventWriter(str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_reader_that_goes_away_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader: list[int] = []
    opener = threading.Thread(target=lambda: reader.append(os.open(pipe, os.O_RDONLY)))
    opener.start()
    writer = EventWriter(str(pipe))
    opener.join()
    writer.run("abc", "started", START)
    os.close(reader[0])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            writer.run("abc", "complete", START)
    assert not writer.writing
    assert [r.getMessage() for r in caplog.records if "cannot be written" in r.getMessage()] == [
        f"events: {pipe} cannot be written any more (its reader is gone); the run goes on without them"
    ]


def test_standard_output_that_is_closed_does_not_end_the_program() -> None:
    code = """
from datetime import UTC, datetime
import sys
from risa_ray.live.events import EventWriter
writer = EventWriter("-")
for i in range(100_000):
    writer.run("abc", "started", datetime(2026, 1, 1, tzinfo=UTC))
    if not writer.writing:
        break
print("went on", file=sys.stderr)
"""
    shell = f'"{sys.executable}" -c "$CODE" | head -n 1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", shell], env={**os.environ, "CODE": code}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["type"] == "run"
    assert done.stderr.count("cannot be written any more") == 1
    assert "went on" in done.stderr
    assert "Exception ignored" not in done.stderr
