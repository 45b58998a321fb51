"""Analyzers that die or hang of a certain frame, or at their start."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from risa_ray.streaming.analyzer import AnalyzerActor


def deadly(what: str, frame_seq: int, note: Path) -> type[AnalyzerActor]:
    """A kind of analyzer; each time that the frame has its effect a line is added to `note`.

    Args:
        what: "kill" the process, "hang" it, or "hang once".
    """

    class Deadly(AnalyzerActor):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            harmless = self._analyzer.analyze_many

            def analyze_many(works: Any) -> Any:
                frames = [item.frame_seq for run, _, _ in works for item in run if hasattr(item, "image")]
                if frame_seq in frames and (what != "hang once" or not note.exists()):
                    with note.open("a") as lines:
                        lines.write(f"{len(frames)}\n")
                    if what == "kill":
                        os._exit(1)
                    time.sleep(3600)
                return harmless(works)

            self._analyzer.analyze_many = analyze_many  # type: ignore[method-assign]

    return Deadly


def frail(note: Path) -> type[AnalyzerActor]:
    """A kind of analyzer whose first process dies while it loads its models, and writes `note`."""

    class Frail(AnalyzerActor):
        async def prepare(self, cameras: Any) -> None:
            if not note.exists():
                note.touch()
                os._exit(1)
            await super().prepare(cameras)

    return Frail


def refusing(why: str) -> type[AnalyzerActor]:
    """A kind of analyzer that cannot be made."""

    class Refusing(AnalyzerActor):
        def __init__(self, *_: Any) -> None:
            raise ValueError(why)

    return Refusing
