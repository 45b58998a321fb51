"""Frames that dead readers had in hand, until the committer has accounted for them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from risa_ray.store.reached import forget, left
from risa_ray.store.writer import SessionInfo
from risa_ray.streaming.calls import last_line

log = logging.getLogger("risa")


@dataclass
class _Loss:
    """`answer` refers to the committer's."""

    camera_id: str
    session: SessionInfo
    last_seq: int
    reason: str
    answer: Any = None
    trouble: str = ""


class Losses:
    """Tells the committer, which may be restarting itself, until it has heard.

    Args:
        committer: the actor.
        run_id: of the run.
    """

    def __init__(self, committer: Any, run_id: str) -> None:
        self._committer = committer
        self._run_id = run_id
        self._losses: list[_Loss] = []

    def __len__(self) -> int:
        """Dead readers whose frames are not accounted for yet."""
        return len(self._losses)

    def of(self, camera_id: str) -> bool:
        """Whether a dead reader of the camera is among them."""
        return any(loss.camera_id == camera_id for loss in self._losses)

    def add(self, camera_id: str, session: SessionInfo, last_seq: int, reason: str) -> None:
        """A live reader died: its session is to be closed, with frames up to `last_seq`, or how far it noted to be."""
        noted = {one.session.session_id: one for one in left(self._run_id, camera_id)}
        own = noted.pop(session.session_id, None)
        self._losses.append(_Loss(camera_id, session, max(last_seq, own.last_seq if own else -1), reason))
        for one in noted.values():  # begun since it was last heard of
            self._losses.append(_Loss(camera_id, one.session, one.last_seq, reason))

    def tell(self) -> None:
        """Tell what was not told, and take the answers that have come; waits for none."""
        for loss in list(self._losses):
            if loss.answer is None:
                loss.answer = self._committer.lost.remote(loss.session, loss.last_seq, loss.reason)
            if not ray.wait([loss.answer], timeout=0)[0]:
                continue
            try:
                ray.get(loss.answer)
                self._losses.remove(loss)
                forget(self._run_id, loss.session.session_id)
            except RayError as error:
                loss.answer = None
                if str(error) != loss.trouble and not isinstance(error, RayActorError):
                    log.error(
                        "camera %s: the frames of its dead reader are not accounted for yet: %s",
                        loss.camera_id, last_line(error),
                    )  # fmt: skip
                loss.trouble = str(error)
