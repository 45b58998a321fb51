"""When the whole of a frame is searched for faces, and when only where the tracks expect them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Search:
    """What a camera remembers of its searches; the first frame is always searched.

    Attributes:
        last_seq: the last frame that was searched as a whole.
        interval: frames from that one to the next.
    """

    last_seq: int | None = None
    interval: int = 1

    def due(self, frame_seq: int) -> bool:
        """Whether the whole of this frame is to be searched."""
        return self.last_seq is None or frame_seq - self.last_seq >= self.interval

    def after(self, frame_seq: int, somebody_new: bool, every: int) -> Search:
        """The memory after a whole search. Where one comes in more may follow: the next search is sooner then."""
        return Search(frame_seq, (every + 1) // 2 if somebody_new else every)
