"""A successor goes on with what its predecessor did not deliver."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from receivers import FIRED, QUICK, Receiver, alert, chain, until

from risa_ray.config import ChainConfig
from risa_ray.live.channels import Outbox, pending_from_store
from risa_ray.live.rules import Alert
from risa_ray.store.alert_events import AlertEvents
from risa_ray.store.writer import Writer

NOW = FIRED + timedelta(minutes=1)


def config(data: Path, receiver: Receiver, *more: dict[str, Any]) -> ChainConfig:
    pager = {"id": "pager", "kind": "webhook", "url": receiver.url}
    return chain([pager, *more], data)


def committed(data: Path, outbox: Outbox, alerts: list[Alert]) -> None:
    """What the committer does with alerts that fired."""
    writer, events = Writer(str(data), "run1"), AlertEvents(str(data))
    outbox.put(alerts)
    events.add(outbox.drain_events())
    events.flush()
    writer.add_alerts(alerts)
    writer.flush()


def end(data: Path, outbox: Outbox) -> None:
    """Its process ends, after it stored what it knew."""
    outbox.close(10)
    events = AlertEvents(str(data))
    events.add(outbox.drain_events())
    events.flush()


def test_a_successor_delivers_the_rest(tmp_path: Path, receiver: Receiver) -> None:
    setup = config(tmp_path, receiver)
    assert pending_from_store(setup, NOW) == []
    first = Outbox(setup, {}, QUICK)
    committed(tmp_path, first, [alert(1)])
    until(lambda: receiver.ids == ["alert1"] and first.deliveries("alert1")[0].state == "delivered")
    receiver.status = 500
    committed(tmp_path, first, [alert(2), alert(3, rule="gone from the config")])
    end(tmp_path, first)
    receiver.requests.clear()
    receiver.status = 200

    setup = config(tmp_path, receiver, {"id": "new", "kind": "file", "path": str(tmp_path / "new.jsonl")})
    owed = pending_from_store(setup, NOW)
    assert [(o.alert, o.channels) for o in owed] == [
        (alert(2), ("pager",)),
        (alert(3, rule="gone from the config"), ("pager",)),
    ]
    second = Outbox(setup, {}, QUICK)
    second.resume(owed)
    second.resume(owed)
    until(lambda: all(second.deliveries(a)[0].state == "delivered" for a in ("alert2", "alert3")))
    assert sorted(receiver.ids) == ["alert2", "alert3"]
    assert not (tmp_path / "new.jsonl").exists(), "a new channel begins with the next alert"
    end(tmp_path, second)
    assert pending_from_store(setup, NOW) == []


def test_what_is_too_old_or_anothers_is_left(tmp_path: Path, receiver: Receiver) -> None:
    receiver.status = 500
    setup = config(tmp_path, receiver)
    outbox = Outbox(setup, {}, QUICK)
    other = alert(3, camera_id="other")
    committed(tmp_path, outbox, [alert(1), alert(2, fired_at=FIRED - timedelta(hours=23)), other])
    end(tmp_path, outbox)
    assert [o.alert.alert_id for o in pending_from_store(setup, NOW)] == ["alert2", "alert1"]
    assert [o.alert.alert_id for o in pending_from_store(setup, NOW + timedelta(hours=23))] == ["alert1"]
    assert pending_from_store(setup, NOW + timedelta(days=2)) == []


def test_what_a_channel_that_is_gone_was_owed_has_failed(tmp_path: Path, receiver: Receiver) -> None:
    receiver.status = 500
    outbox = Outbox(config(tmp_path, receiver), {}, QUICK)
    committed(tmp_path, outbox, [alert(1)])
    end(tmp_path, outbox)
    without = chain([], tmp_path)
    successor = Outbox(without, {}, QUICK)
    successor.resume(pending_from_store(without, NOW))
    assert [(d.state, d.error) for d in successor.deliveries("alert1")] == [
        ("failed", "the channel was removed from the config")
    ]
    end(tmp_path, successor)
    assert pending_from_store(without, NOW) == []


def test_alerts_from_before_there_were_channels_are_nobodys(tmp_path: Path, receiver: Receiver) -> None:
    committed(tmp_path, Outbox(chain([], tmp_path), {}, QUICK), [alert(1)])
    assert not (tmp_path / "alert_events").exists()
    assert pending_from_store(config(tmp_path, receiver), NOW) == []
