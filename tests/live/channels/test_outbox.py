from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clock import Clock
from receivers import FIRED, QUICK, Receiver, alert, chain, until

from risa_ray.live.channels import Delivery, Outbox
from risa_ray.live.channels import line as lines
from risa_ray.live.channels.line import Patience


def hook(url: str, channel_id: str = "pager", **values: Any) -> dict[str, Any]:
    return {"id": channel_id, "kind": "webhook", "url": url, "timeout_s": 5} | values


def log_file(folder: Path, channel_id: str = "log") -> dict[str, Any]:
    return {"id": channel_id, "kind": "file", "path": str(folder / f"{channel_id}.jsonl")}


@pytest.fixture
def outbox() -> Iterator[Callable[..., Outbox]]:
    """Makes outboxes, and ends them."""
    made: list[Outbox] = []

    def make(*channels: dict[str, Any], patience: Patience = QUICK, rules: Any = ()) -> Outbox:
        made.append(Outbox(chain(channels, rules=rules), {}, patience))
        return made[-1]

    yield make
    for entry in made:
        entry.close(0)


def states(outbox: Outbox, alert_id: str) -> dict[str, str]:
    return {d.channel: d.state for d in outbox.deliveries(alert_id)}


def kinds(events: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(e["alert_id"], e["channel"], e["kind"]) for e in events]


def written(folder: Path, channel_id: str = "log") -> list[str]:
    path = folder / f"{channel_id}.jsonl"
    return [json.loads(line)["alert_id"] for line in path.read_text().splitlines()] if path.exists() else []


def test_alerts_go_to_every_channel_and_are_accounted_for(
    outbox: Callable[..., Outbox], receiver: Receiver, tmp_path: Path
) -> None:
    box = outbox(hook(receiver.url), log_file(tmp_path))
    box.put([alert(1), alert(2)])
    until(lambda: {*states(box, "alert1").values(), *states(box, "alert2").values()} == {"delivered"})
    assert receiver.ids == written(tmp_path) == ["alert1", "alert2"]
    events = box.drain_events()
    assert sorted(kinds(events)) == [
        (a, c, k) for a in ("alert1", "alert2") for c in ("log", "pager") for k in ("delivered", "queued")
    ]
    assert [k for a, c, k in kinds(events) if (a, c) == ("alert1", "log")] == ["queued", "delivered"]
    delivered = next(e for e in events if e["kind"] == "delivered")
    assert (delivered["tries"], delivered["note"], delivered["store_id"]) == (1, "", "007")
    assert (delivered["fired_at"], delivered["camera_id"]) == (alert(1).fired_at, "door")
    assert box.drain_events() == []
    (shown, _) = sorted(box.deliveries("alert1"), key=lambda d: d.channel)
    assert shown == Delivery("log", "delivered", shown.at, 1, "")
    assert shown.at is not None
    assert shown.at.tzinfo is not None
    assert box.deliveries("unknown") == ()


def test_a_rule_names_its_channels_and_a_channel_its_severity(outbox: Callable[..., Outbox], tmp_path: Path) -> None:
    rules = [
        {"id": "quiet", "figure": "people", "above": 1, "channels": ["b"]},
        {"id": "silent", "figure": "people", "above": 1, "channels": []},
    ]
    box = outbox(log_file(tmp_path, "a"), log_file(tmp_path, "b") | {"min_severity": "warning"}, rules=rules)
    fired = [
        alert(1),
        alert(2, severity="info"),
        alert(3, rule="quiet", severity="critical"),
        alert(4, rule="quiet", severity="info"),
        alert(5, rule="silent"),
        alert(6, rule="gone from the config"),
    ]
    box.put(fired)
    box.close(10)
    assert (written(tmp_path, "a"), written(tmp_path, "b")) == (
        ["alert1", "alert2", "alert6"],
        ["alert1", "alert3", "alert6"],
    )
    assert box.deliveries("alert5") == ()


def test_a_channel_that_hangs_holds_up_nobody(
    outbox: Callable[..., Outbox], receiver: Receiver, tmp_path: Path
) -> None:
    receiver.status = 0
    box = outbox(hook(receiver.url, timeout_s=60), log_file(tmp_path))
    box.put([alert(1)])
    until(lambda: receiver.requests)
    putting = threading.Thread(target=lambda: box.put([alert(n) for n in range(2, 50)]), daemon=True)
    putting.start()
    putting.join(10)
    assert not putting.is_alive()
    until(lambda: states(box, "alert49") == {"pager": "pending", "log": "delivered"})
    assert len(written(tmp_path)) == 49


def test_a_server_that_comes_back_gets_everything_and_the_log_two_lines(
    outbox: Callable[..., Outbox], receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "risa.alerts")
    receiver.stop()
    box = outbox(hook(receiver.url))
    box.put([alert(1), alert(2), alert(3)])
    tried = until(lambda: [d for d in box.deliveries("alert1") if d.tries >= 2])
    assert (tried[0].state, tried[0].error) == ("pending", "cannot be reached (Connection refused)")
    assert tried[0].at is not None
    receiver.start()
    until(lambda: all(states(box, f"alert{n}") == {"pager": "delivered"} for n in (1, 2, 3)))
    assert sorted(receiver.ids) == ["alert1", "alert2", "alert3"]
    told = until(lambda: r if len(r := [r for r in caplog.records if r.name == "risa.alerts"]) > 1 else None)
    assert [(r.levelname, r.getMessage().split(";")[0]) for r in told] == [
        ("WARNING", "alert channel pager: cannot be reached (Connection refused)"),
        ("INFO", "alert channel pager: delivers again"),
    ]
    assert "geheim" not in caplog.text


def test_what_is_refused_has_failed(outbox: Callable[..., Outbox], receiver: Receiver) -> None:
    receiver.status = 410
    box = outbox(hook(receiver.url))
    box.put([alert(1)])
    until(lambda: states(box, "alert1") == {"pager": "failed"})
    receiver.status = 200
    box.put([alert(2)])
    until(lambda: states(box, "alert2") == {"pager": "delivered"})
    assert receiver.ids == ["alert1", "alert2"]
    failed = next(e for e in box.drain_events() if e["kind"] == "failed")
    assert (failed["alert_id"], failed["tries"], failed["note"]) == ("alert1", 1, "answered 410 Gone")


def test_an_alert_that_a_receiver_chokes_on_holds_up_no_other(
    outbox: Callable[..., Outbox], receiver: Receiver
) -> None:
    receiver.choke_on = b"alert1"
    box = outbox(hook(receiver.url))
    box.put([alert(n) for n in (1, 2, 3)])
    until(lambda: states(box, "alert2") == states(box, "alert3") == {"pager": "delivered"})
    assert states(box, "alert1") == {"pager": "pending"}
    receiver.choke_on = b""
    until(lambda: states(box, "alert1") == {"pager": "delivered"})


def test_retry_after_is_waited_for(outbox: Callable[..., Outbox], receiver: Receiver) -> None:
    receiver.status, receiver.headers = 429, {"Retry-After": "1"}
    box = outbox(hook(receiver.url))
    box.put([alert(1), alert(2)])
    until(lambda: receiver.requests)
    receiver.status, receiver.headers = 200, {}
    until(lambda: len(receiver.requests) == 3)
    assert receiver.requests[1].at - receiver.requests[0].at >= 0.99


def test_tries_are_further_and_further_apart() -> None:
    patience = Patience(first_s=1, longest_s=60)
    waits = [[patience.wait_s(failures) for _ in range(200)] for failures in (1, 2, 3, 6, 7, 8, 10_000)]
    for wait, longest in zip(waits, (1, 2, 4, 32, 60, 60, 60), strict=True):
        assert longest / 2 <= min(wait) < max(wait) <= longest


def test_an_alert_is_given_up_after_a_day(outbox: Callable[..., Outbox], receiver: Receiver) -> None:
    receiver.status = 500
    clock = Clock(FIRED.timestamp())
    box = outbox(hook(receiver.url), patience=replace(QUICK, clock=clock))
    box.put([alert(1), alert(2)])
    until(lambda: len(receiver.requests) > 5)
    clock.now += 24 * 3600 - 1
    box.put([alert(3)])
    until(lambda: any(d.tries > 1 for d in box.deliveries("alert3")))
    assert states(box, "alert1") == {"pager": "pending"}
    clock.now += 1
    until(lambda: states(box, "alert1") == states(box, "alert2") == {"pager": "failed"})
    assert states(box, "alert3") == {"pager": "pending"}
    (shown,) = box.deliveries("alert1")
    assert shown.error.startswith("given up after 24 h: answered 500")


def test_memory_is_bounded(outbox: Callable[..., Outbox], receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MOST_WAITING", 5)
    receiver.status = 0
    box = outbox(hook(receiver.url, timeout_s=60))
    box.put([alert(n) for n in range(8)])
    assert [states(box, f"alert{n}")["pager"] for n in range(8)] == ["failed"] * 3 + ["pending"] * 5
    assert {e["note"] for e in box.drain_events() if e["kind"] == "failed"} == {"more than 5 alerts wait"}


def test_closing_tries_once_more_and_ends(outbox: Callable[..., Outbox], receiver: Receiver, tmp_path: Path) -> None:
    receiver.status = 500
    slow = Patience(first_s=3600, longest_s=3600)
    box = outbox(hook(receiver.url), log_file(tmp_path), patience=slow)
    box.put([alert(1), alert(2)])
    until(lambda: receiver.requests and len(written(tmp_path)) == 2)
    until(lambda: any(d.tries for d in box.deliveries("alert1")))
    receiver.choke_on = b"alert2"
    receiver.status = 200
    box.close(10)
    assert states(box, "alert1")["pager"] == "delivered"
    assert states(box, "alert2")["pager"] == "pending"
    assert sorted(receiver.ids) == ["alert1", "alert1", "alert2"]
    count = len(receiver.requests)
    box.put([alert(3)])
    assert kinds(box.drain_events())[-2:] == [("alert3", "pager", "queued"), ("alert3", "log", "queued")]
    assert len(receiver.requests) == count


def test_closing_does_not_wait_for_a_server_that_hangs(outbox: Callable[..., Outbox], receiver: Receiver) -> None:
    receiver.status = 0
    box = outbox(hook(receiver.url, timeout_s=60))
    box.put([alert(1)])
    until(lambda: receiver.requests)
    closing = threading.Thread(target=box.close, args=(0.05,), daemon=True)
    closing.start()
    closing.join(10)
    assert not closing.is_alive()
    assert states(box, "alert1") == {"pager": "pending"}


def test_an_edited_config_is_followed(outbox: Callable[..., Outbox], receiver: Receiver, tmp_path: Path) -> None:
    receiver.status = 500
    slow = Patience(first_s=3600, longest_s=3600)
    box = outbox(hook(receiver.url), hook(receiver.url, "old"), patience=slow)
    box.put([alert(1)])
    until(lambda: len(receiver.requests) == 2 and all(d.tries for d in box.deliveries("alert1")))
    receiver.status = 200
    box.reconfigure(chain([hook(receiver.url + "/new"), log_file(tmp_path)]), {})
    until(lambda: states(box, "alert1") == {"pager": "delivered", "old": "failed"})
    assert receiver.requests[-1].path == "/hook/geheim/new", "a channel that was mended is tried at once"
    (old,) = (d for d in box.deliveries("alert1") if d.channel == "old")
    assert old.error == "the channel was removed from the config"
    box.put([alert(2)])
    until(lambda: states(box, "alert2") == {"pager": "delivered", "log": "delivered"})
    assert written(tmp_path) == ["alert2"], "a new channel begins with the next alert"


def test_a_channel_without_its_secret_keeps_its_alerts(outbox: Callable[..., Outbox], receiver: Receiver) -> None:
    box = outbox(hook(receiver.url, secret_env="PAGER_KEY"))
    box.put([alert(1)])
    (shown,) = until(lambda: [d for d in box.deliveries("alert1") if d.tries])
    assert (shown.state, shown.error.split(";")[0]) == (
        "pending",
        "the environment variable PAGER_KEY is missing",
    )
    assert receiver.requests == []
