"""Nothing twice and nothing lost where a disk is full, a writer dies, or several write."""

from __future__ import annotations

import resource
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from clock import Clock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from written import FACES_ORDER, FRAMES_ORDER, finish

from risa_ray.store.errors import StoreError
from risa_ray.store.table import Table
from risa_ray.store.writer import Writer


@contextmanager
def no_space() -> Iterator[None]:
    """The kernel refuses every write to a file, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_loses_nothing(writer: Writer, tmp_path: Path, tools: Any) -> None:
    writer.open_session(tools.session())
    writer.add(tools.chunk(0, 14))
    caught: StoreError | None = None
    with no_space():
        try:
            writer.flush()
        except StoreError as error:
            caught = error
    assert str(tmp_path / "observations") in str(caught)
    assert "\n" not in str(caught)
    writer.add(tools.chunk(15, 19))
    finish(writer)
    assert len(tools.rows(tmp_path, "observations")) == sum(s % 3 for s in range(20))
    assert sum(r["read"] for r in tools.rows(tmp_path, "frames")) == 20


def test_writers_share_a_dataset(tmp_path: Path, tools: Any) -> None:
    def write(index: int) -> None:
        names = {"session_id": f"s{index}", "camera_id": f"cam{index}"}
        writer = Writer(str(tmp_path), f"run{index}")
        writer.open_session(tools.session(**names))
        for step in range(4):
            writer.add(tools.chunk(step * 10, step * 10 + 9, **names))
            writer.flush()
        finish(writer, session_id=names["session_id"])

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    assert len(tools.rows(tmp_path, "observations")) == 3 * sum(s % 3 for s in range(40))
    assert len(tools.rows(tmp_path, "frames")) == 9


def test_a_writer_taken_for_dead_adds_nothing(tmp_path: Path, tools: Any) -> None:
    """Two writers of the same session: whoever commits first wins, and the other one trims."""
    old, new = Writer(str(tmp_path), "run1"), Writer(str(tmp_path), "run1")
    for writer in (old, new):
        writer.open_session(tools.session())
        writer.add(tools.chunk(0, 25))
    old.flush()
    new.flush()
    new.add(tools.chunk(26, 39))
    old.add(tools.chunk(26, 33))
    finish(new)
    finish(old)
    rows = tools.rows(tmp_path, "observations", FACES_ORDER)
    assert [(r["frame_seq"], r["face_index"]) for r in rows] == [(s, i) for s in range(40) for i in range(s % 3)]
    assert [r["read"] for r in tools.rows(tmp_path, "frames", FRAMES_ORDER)] == [10, 20, 10]


class Crash(BaseException):
    """The process dies here."""


class CrashingTable(Table):
    """Dies before or after its nth commit."""

    def __init__(self, table: Table, fuse: dict[str, int]) -> None:
        self.__dict__ = table.__dict__
        self._fuse = fuse

    def commit(self, rows: pa.Table | None, marks: Mapping[str, int]) -> None:
        self._burn()
        super().commit(rows, marks)
        self._burn()

    def _burn(self) -> None:
        self._fuse["steps"] -= 1
        if self._fuse["steps"] == 0:
            raise Crash


def run_session(data: Path, tools: Any, steps: list[tuple[int, bool]], crashes: list[int]) -> None:
    """Send a session in pieces as a reader does: unacknowledged frames again after each crash of the writer."""
    fuses = iter(crashes)
    while True:
        writer = Writer(str(data), "run1", Clock(1_000_000.0))
        fuse = {"steps": next(fuses, 0)}
        for name in ("_observations", "_frames"):
            setattr(writer, name, CrashingTable(getattr(writer, name), fuse))
        try:
            sent = writer.open_session(tools.session())
            for last, flush in steps:
                if last > sent:
                    writer.add(tools.chunk(sent + 1, last))
                    sent = last
                if flush:
                    writer.flush()
            finish(writer)
            return
        except Crash:
            continue


def undelayed(windows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without delays: how long frames took that were durable before a crash is not known after it."""
    return [{name: value for name, value in w.items() if not name.startswith("delay_")} for w in windows]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(st.tuples(st.integers(1, 25), st.booleans()), min_size=1, max_size=6),
    crashes=st.lists(st.integers(1, 12), max_size=4),
)
def test_a_writer_that_dies_anywhere_leaves_the_same_tables(
    pieces: list[tuple[int, bool]], crashes: list[int], tools: Any
) -> None:
    steps, last = [], -1
    for length, flush in pieces:
        last += length
        steps.append((last, flush))
    folder = Path(tempfile.mkdtemp())
    try:
        run_session(folder / "calm", tools, steps, [])
        run_session(folder / "rough", tools, steps, crashes)
        faces = tools.rows(folder / "rough", "observations", FACES_ORDER)
        assert faces == tools.rows(folder / "calm", "observations", FACES_ORDER)
        windows = tools.rows(folder / "rough", "frames", FRAMES_ORDER)
        assert undelayed(windows) == undelayed(tools.rows(folder / "calm", "frames", FRAMES_ORDER))
        assert sum(w["read"] for w in windows) == last + 1
        assert len({w["window_start"] for w in windows}) == len(windows)
    finally:
        shutil.rmtree(folder)
