from __future__ import annotations

import json
from pathlib import Path

import pytest
from disks import fill
from receivers import alert

from risa_ray.config_channels import FileChannel
from risa_ray.live import EventWriter
from risa_ray.live.channels.base import NotNowError
from risa_ray.live.channels.file import File


def file(path: Path) -> File:
    return File(FileChannel(id="log", kind="file", path=str(path)))


def test_alerts_are_the_lines_that_events_are(tmp_path: Path) -> None:
    channel, events = file(tmp_path / "alerts.jsonl"), EventWriter(str(tmp_path / "events.jsonl"))
    for number in (1, 2):
        channel.send(alert(number))
        events.alert(alert(number))
    events.close()
    lines, expected = (
        [json.loads(line) for line in (tmp_path / name).read_text(encoding="utf-8").splitlines()]
        for name in ("alerts.jsonl", "events.jsonl")
    )
    assert lines == expected
    assert [line["alert_id"] for line in lines] == ["alert1", "alert2"]


def test_a_log_rotator_may_move_the_file(tmp_path: Path) -> None:
    channel = file(tmp_path / "alerts.jsonl")
    channel.send(alert(1))
    (tmp_path / "alerts.jsonl").rename(tmp_path / "alerts.jsonl.1")
    channel.send(alert(2))
    assert json.loads((tmp_path / "alerts.jsonl").read_text())["alert_id"] == "alert2"


def test_what_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    channel = file(tmp_path / "gone" / "alerts.jsonl")
    with pytest.raises(NotNowError, match=r"cannot be written \(No such file or directory\)"):
        channel.send(alert())
    (tmp_path / "gone").mkdir()
    channel.send(alert())


def has_room(channel: File, number: int) -> bool:
    try:
        channel.send(alert(number))
    except NotNowError as error:
        return "No space left" not in str(error)
    return True


def test_a_full_disk_leaves_no_half_lines(disk: Path) -> None:
    channel = file(disk / "alerts.jsonl")
    channel.send(alert(0))
    fill(disk)
    last = next(number for number in range(1, 100) if not has_room(channel, number))
    (disk / "filler").unlink()
    channel.send(alert(last))
    lines = [json.loads(line) for line in (disk / "alerts.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["alert_id"] for line in lines] == [f"alert{number}" for number in range(last + 1)]
