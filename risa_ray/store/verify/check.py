"""What a check found, and how one is run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
from deltalake.exceptions import DeltaError

from risa_ray.config import redact
from risa_ray.store.errors import StoreError

_SHOWN = 3
"""So many places are named per check; the others are counted."""
UNREADABLE = (OSError, DeltaError, pa.ArrowException)


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `problems` is empty where all is well; `seen` says how much was looked at."""

    name: str
    problems: tuple[str, ...]
    seen: str

    def line(self) -> str:
        """What the check found, in one line."""
        if not self.problems:
            return f"{self.name}: ok ({self.seen})"
        more = f"; and {len(self.problems) - _SHOWN} more" if len(self.problems) > _SHOWN else ""
        return f"{self.name}: WRONG: {'; '.join(self.problems[:_SHOWN])}{more}"


def check(name: str, work: Callable[[list[str]], str]) -> Check:
    """Run a check; what cannot be read is a problem, and stops nothing but the check.

    Args:
        work: appends problems, and returns how much it looked at.
    """
    problems: list[str] = []
    try:
        seen = work(problems)
    except UNREADABLE as error:
        return Check(name, (*problems, f"cannot be checked ({reason(error)})"), "")
    except StoreError as error:
        return Check(name, (*problems, str(error)), "")
    return Check(name, tuple(problems), seen)


def reason(error: BaseException) -> str:
    """An error in one line without credentials."""
    return redact(" ".join(str(error).split()))[:200] or type(error).__name__
