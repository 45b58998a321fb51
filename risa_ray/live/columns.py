"""A growing table of numbers with a time, kept for some seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[Any]


class Columns:
    """Rows of one dtype with a time `t`, appended at the end and forgotten from the start."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._rows: Rows = np.zeros(256, dtype)
        self._start = 0
        self._stop = 0
        self._offset = 0

    @property
    def rows(self) -> Rows:
        return self._rows[self._start : self._stop]

    @property
    def first(self) -> int:
        """The number, counted from the very first row, of the oldest row still kept."""
        return self._offset + self._start

    def append(self, row: tuple[float, ...]) -> int:
        """Add a row; its number."""
        if self._stop == len(self._rows):
            kept = self.rows
            size = len(self._rows) if len(kept) <= len(self._rows) // 2 else 2 * len(self._rows)
            rows = np.zeros(size, self._rows.dtype)
            rows[: len(kept)] = kept
            self._offset += self._start
            self._rows, self._start, self._stop = rows, 0, len(kept)
        self._rows[self._stop] = row
        self._stop += 1
        return self._offset + self._stop - 1

    def set(self, number: int, name: str, value: float) -> None:
        """Correct a field of a row that may be forgotten already."""
        if number >= self.first:
            self._rows[number - self._offset][name] = value

    def forget_before(self, bound: float) -> None:
        recent = self.rows["t"] > bound
        self._start += int(recent.argmax()) if recent.any() else len(recent)
