"""What can go wrong between a chunk and its rows on disk."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot take rows now (disk full, no access, too many conflicts). Nothing that waits is lost."""


class ConflictError(StoreError):
    """Another writer committed for the same session in between; read the marks again and retry."""


class GapError(Exception):
    """Frames between what the store has and a chunk are missing; send again from `expected_seq`."""

    def __init__(self, expected_seq: int, message: str = "") -> None:
        super().__init__(expected_seq, message)
        self.expected_seq = expected_seq

    def __str__(self) -> str:
        return str(self.args[1] or f"frame {self.expected_seq} is expected next")
