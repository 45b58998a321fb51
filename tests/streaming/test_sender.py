"""A reader's side of the delivery, against a store that is away for long and analyzers that come and go."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import ray

from risa_ray.config import CameraConfig
from risa_ray.frames import Chunk, Frame, Outcome, Run
from risa_ray.store.errors import StoreError
from risa_ray.store.writer import SessionInfo
from risa_ray.streaming.sender import Sender

START = datetime(2026, 11, 23, tzinfo=UTC)
CAMERA = CameraConfig(id="door", source="rtsp://camera/door")


class Store:
    """A committer that acknowledges nothing until it is well."""

    def __init__(self, opens: bool = True) -> None:
        self.last, self.well, self.opens = -1, False, opens

    def open_session(self, session: SessionInfo) -> int:
        if not (self.opens or self.well):
            raise StoreError("the disk is away")
        return -1

    def add(self, chunk: Chunk) -> int:
        self.last = chunk.last_seq
        return self.acknowledged("")

    def acknowledged(self, session_id: str) -> int:
        return self.last if self.well else -1

    def recover(self) -> None:
        self.well = True

    def close_session(self, session_id: str, state: str, note: str) -> None:
        pass

    def flush(self) -> None:
        pass


class Sees:
    """An analyzer that finds nothing; `slow` answers only after a while."""

    def __init__(self, slow_s: float = 0.0) -> None:
        self.slow_s, self.runs = slow_s, 0

    def analyze(
        self, store: str, camera: CameraConfig, session: str, run: Run, fresh: bool, age: Any, sent_at: float
    ) -> Chunk:
        time.sleep(self.slow_s)
        self.runs += 1
        outcomes = tuple(Outcome(i.frame_seq, i.pts, i.captured_at, i.arrived_at) for i in run)
        return Chunk(store, camera.id, session, "haar", "m", outcomes)

    def forget(self, camera_id: str) -> None:
        pass

    def count(self) -> int:
        return self.runs


@pytest.fixture
def actor(cluster: Any) -> Callable[..., Any]:
    """Starts an actor of one of the kinds above."""
    return lambda kind, *arguments: ray.remote(kind).options(num_cpus=0, max_restarts=-1).remote(*arguments)


def sender(analyzer: Any, store: Any, mark: int | None = -1) -> Sender:
    session = SessionInfo("berlin", CAMERA.id, "s1", True, START)
    return Sender("berlin", CAMERA, session, "freshest", analyzer, store, 10**9, mark, lambda: None)


def frame(seq: int) -> Frame:
    return Frame(CAMERA.id, "s1", seq, float(seq), START, time.time(), np.zeros((8, 8, 3), np.uint8))


def until(done: Callable[[], bool], step: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)
        step()


def test_after_a_long_outage_of_the_store_it_goes_on(
    actor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("risa_ray.streaming.sender._UNACKNOWLEDGED_OUTCOMES", 5)
    store = actor(Store)
    sending = sender(actor(Sees), store)
    for seq in range(5):
        until(lambda: sending.has_room, sending.settle)
        sending.send([frame(seq)])
    until(lambda: not sending.busy, sending.settle)
    assert not sending.has_room, "as much as may wait does"
    ray.get(store.recover.remote())
    until(lambda: sending.has_room, sending.settle)


def test_a_camera_that_connects_while_the_store_is_away_waits_for_it(actor: Callable[..., Any]) -> None:
    store = actor(Store, False)
    sending = sender(actor(Sees), store, mark=None)
    sending.open()
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        sending.settle()
        assert not sending.has_room
        time.sleep(0.01)
    ray.get(store.recover.remote())
    until(lambda: sending.has_room, lambda: (sending.open(), sending.settle()))
    sending.send([frame(0)])
    until(lambda: not sending.busy, sending.settle)
    sending.finish("broken", "gone")
    assert ray.get(store.acknowledged.remote("")) == 0


def test_what_a_dead_store_never_kept_is_sent_to_its_successor(actor: Callable[..., Any]) -> None:
    store = actor(Store)
    sending = sender(actor(Sees), store)
    for seq in range(3):
        until(lambda: sending.has_room, sending.settle)
        sending.send([frame(seq)])
    until(lambda: not sending.busy, sending.settle)
    ray.kill(store, no_restart=False)
    ray.get(store.recover.options(max_task_retries=-1).remote())
    sending.finish("complete", "")
    assert ray.get(store.acknowledged.remote("")) == 2


def test_a_camera_moves_also_from_an_analyzer_that_is_dead_for_good(actor: Callable[..., Any]) -> None:
    store, old, new = actor(Store), actor(Sees, 600.0), actor(Sees)
    sending = sender(old, store)
    sending.send([frame(0)])
    sending.use(new, abandon=False)
    ray.kill(old)
    until(lambda: not sending.busy, sending.settle)
    assert ray.get(new.count.remote()) == 1


def test_a_camera_that_moves_waits_for_what_was_sent(actor: Callable[..., Any]) -> None:
    store, old, new = actor(Store), actor(Sees, 0.5), actor(Sees)
    sending = sender(old, store)
    sending.send([frame(0)])
    sending.use(new, abandon=False)
    assert not sending.has_room
    until(lambda: sending.has_room, sending.settle)
    sending.send([frame(1)])
    until(lambda: not sending.busy, sending.settle)
    assert (ray.get(old.count.remote()), ray.get(new.count.remote())) == (1, 1)
