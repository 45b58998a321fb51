"""What the harnesses over live runs judge by."""

from __future__ import annotations

import json
import math
import multiprocessing
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from deltalake import DeltaTable, write_deltalake

from risa_ray.benchmarks.accounts import Reached, faces_accounted, files_whole, frames_accounted, same_rows
from risa_ray.benchmarks.cli import judge
from risa_ray.benchmarks.density import Search
from risa_ray.benchmarks.growth import Growths, Series, counts_flat, growth, memory_flat
from risa_ray.benchmarks.polling import Poller
from risa_ray.benchmarks.processes import Process
from risa_ray.benchmarks.watching import committed_delays, figure_delays, quantile
from risa_ray.frames import Chunk, FaceRow, Outcome
from risa_ray.store.schema import DELAY_EDGES_S
from risa_ray.store.writer import SessionInfo, Writer
from risa_ray.streaming.process import ProcessUse

START = datetime(2026, 11, 23, 10, tzinfo=UTC)
FRAMES = 30


def write(data: Path, x1: float = 10.0, expression: str = "neutral") -> str:
    """A dataset of one camera: 30 frames, 2 a second, each with a face."""
    writer = Writer(str(data), "run")
    writer.open_session(SessionInfo("store", "cam", "s", False, START))
    at = [START + timedelta(seconds=i / 2) for i in range(FRAMES)]
    outcomes = tuple(Outcome(i, i / 2, at[i], at[i].timestamp(), None, 1) for i in range(FRAMES))
    faces = tuple(
        FaceRow(
            i, 0, at[i], i / 2, "t", (), x1, 10, 50, 50, 0.9, 40, None, (0.3, *(0.1,) * 7), expression, None, 0.3, 0.0
        )
        for i in range(FRAMES)
    )
    writer.add(Chunk("store", "cam", "s", "haar", "model", outcomes, faces))
    writer.close_session("s", "complete")
    writer.flush()
    return str(data)


def without(data: str, table: str, predicate: str) -> None:
    """Lose rows, behind the store's back."""
    DeltaTable(f"{data}/{table}").delete(predicate)


def snapshot(last_seq: int, live: bool = True) -> dict[str, Any]:
    """One of a driver whose camera is at a frame of the session that `write` writes."""
    return {"readers": {"cam": {"session": {"session_id": "s", "live": live}, "last_seq": last_seq}}}


class TestAccounts:
    def test_a_whole_dataset_keeps_every_promise(self, tmp_path: Path) -> None:
        data = write(tmp_path / "a")
        found = [frames_accounted(data), faces_accounted(data), files_whole(data, {"cam": FRAMES})]
        assert [p["holds"] for p in found] == [True] * 3, found

    def test_a_lost_window_is_found(self, tmp_path: Path) -> None:
        data = write(tmp_path / "a")
        without(data, "frames", "first_seq = 0")
        for found in (frames_accounted(data), faces_accounted(data), files_whole(data, {"cam": FRAMES})):
            assert found["holds"] is False
        assert "20 rows of frames 0..19, which no window counts" in faces_accounted(data)["told"]

    def test_a_lost_tail_is_found_by_the_mark(self, tmp_path: Path) -> None:
        data = write(tmp_path / "a")
        without(data, "frames", "first_seq = 20")
        assert "20 read, 20 accounted, 30 due" in frames_accounted(data)["told"]

    def test_frames_that_were_seen_have_to_be_there(self, tmp_path: Path) -> None:
        data, reached = write(tmp_path / "a"), Reached()
        reached.note(snapshot(FRAMES - 1))
        reached.note(snapshot(5))
        assert frames_accounted(data, reached)["holds"] is True
        reached.note(snapshot(FRAMES))
        assert "30 accounted, 31 due" in frames_accounted(data, reached)["told"]

    def test_a_lost_session_is_found(self, tmp_path: Path) -> None:
        data, reached = write(tmp_path / "a"), Reached()
        reached.note({"readers": {"cam": {"session": {"session_id": "lost", "live": True}, "last_seq": 3}}})
        assert "camera cam session lost: 0 read, 0 accounted, 4 due" in frames_accounted(data, reached)["told"]

    def test_an_empty_dataset_proves_nothing(self, tmp_path: Path) -> None:
        Writer(str(tmp_path / "a"), "run").flush()
        assert frames_accounted(str(tmp_path / "a"))["holds"] is False

    def test_a_window_that_is_there_twice_is_found(self, tmp_path: Path) -> None:
        data = write(tmp_path / "a")
        table = DeltaTable(f"{data}/frames")
        write_deltalake(table, table.to_pyarrow_table(), mode="append")
        assert frames_accounted(data)["holds"] is False

    def test_a_file_that_was_not_read_is_found(self, tmp_path: Path) -> None:
        data = write(tmp_path / "a")
        assert "camera other: 9 frames in the file; 0 read" in files_whole(data, {"cam": FRAMES, "other": 9})["told"]

    def test_the_same_numbers_are_the_same(self, tmp_path: Path) -> None:
        found = same_rows(write(tmp_path / "a"), write(tmp_path / "b", x1=10.0005))
        assert (found["holds"], found["faces"]) == (True, FRAMES)
        assert 0 < found["apart"] < 1e-3

    def test_other_numbers_are_found(self, tmp_path: Path) -> None:
        found = same_rows(write(tmp_path / "a"), write(tmp_path / "b", x1=10.01))
        assert found["holds"] is False
        assert f"{FRAMES} faces differ" in found["told"]

    def test_a_label_may_differ_with_a_number_only(self, tmp_path: Path) -> None:
        whole = write(tmp_path / "a")
        found = same_rows(whole, write(tmp_path / "b", expression="unknown"))
        assert found["holds"] is False
        assert f"{FRAMES} faces have other labels from the same numbers" in found["told"]
        near = same_rows(whole, write(tmp_path / "c", x1=10.0005, expression="unknown"))
        assert (near["holds"], near["labels_differ"]) == (True, FRAMES)

    def test_faces_of_one_run_only_are_found(self, tmp_path: Path) -> None:
        whole, part = write(tmp_path / "a"), write(tmp_path / "b")
        without(part, "observations", "frame_seq = 7")
        for found in (same_rows(whole, part), same_rows(part, whole)):
            assert found["holds"] is False
            assert f"1 of {FRAMES} faces are in one of the runs only" in found["told"]


class TestGrowth:
    def series(self, megabytes: Callable[[int], float], samples: int = 100, pid: int = 7) -> Series:
        return Series("reader cam", pid, [ProcessUse(pid, megabytes(i), 20, 30) for i in range(samples)])

    def test_what_rises_at_the_start_only_is_flat(self) -> None:
        assert memory_flat([self.series(lambda i: 100 if i >= 10 else 10 * i)])["holds"] is True

    def test_what_rises_all_along_grows(self) -> None:
        found = memory_flat([self.series(lambda _: 100), self.series(lambda i: 100 + i / 5)])
        assert found["holds"] is False
        assert "reader cam (7): 103 to 119 MB" in found["told"]

    def test_a_short_life_says_nothing(self) -> None:
        assert growth([1.0] * 29) is None
        assert memory_flat([self.series(lambda _: 1, 29)])["holds"] is None

    def test_growth_is_that_of_the_nine_tenths_after_the_first(self) -> None:
        found = growth([100 + i for i in range(1000)])
        assert found is not None
        assert found["growth"] == pytest.approx((949.5 - 149.5) / 249.5 * 9 / 8)

    def test_short_lives_are_counted(self) -> None:
        found = memory_flat([self.series(lambda _: 100), self.series(lambda i: 100 + i, 29, pid=8)])
        assert found["holds"] is True
        assert "1 of less than 30 samples not judged" in found["told"]

    @pytest.mark.parametrize("files", [list(range(100)), [0] * 20 + [500] * 80])
    def test_files_left_in_shared_memory_are_found(self, files: list[int]) -> None:
        found = counts_flat([], files)
        assert found["holds"] is False
        assert "files in /dev/shm" in found["told"]

    def test_two_files_more_than_none_are_no_growth(self) -> None:
        found = counts_flat([], [0] * 50 + [2] * 50)
        assert found["holds"] is True
        assert "2 from 0" in found["told"]

    def test_a_process_is_one_series_whatever_it_is_called(self) -> None:
        growths = Growths()
        for names in ({7: "analyzer 1"}, {}, {7: "analyzer 0"}):
            growths.take(names, {7: Process("ray::IDLE", 0.0, ProcessUse(7, 1.0, 2, 3))})
        assert [(s.kind, len(s.uses)) for s in growths.series] == [("analyzer 0", 3)]

    def test_one_descriptor_more_is_no_growth(self) -> None:
        assert counts_flat([], [5] * 50 + [6] * 50)["holds"] is True


def test_quantiles_are_read_off_a_histogram() -> None:
    hist = [0.0] * (len(DELAY_EDGES_S) + 1)
    assert quantile(hist, 0.5) is None
    hist[3] = 100  # from 0.2 to 0.3 s
    assert quantile(hist, 0.5) == pytest.approx(0.25)
    hist[-1] = 100  # above every edge: who knows how long
    assert quantile(hist, 0.95) == math.inf


@pytest.mark.parametrize(
    ("at", "worst"), [({"a": 0.2, "b": 0.4}, 0.4), ({"a": 0.2}, None), ({"a": 0.2, "b": None}, None)]
)
def test_a_camera_without_a_figure_leaves_its_delay_unknown(at: dict[str, float | None], worst: float | None) -> None:
    figures = [{"camera_id": i, "zone_id": None, "delay_p50_s": s, "delay_p95_s": s} for i, s in at.items()]
    assert figure_delays({"committer": {"figures": figures}}, ["a", "b"])["p95"] == worst


class TestJudge:
    @pytest.mark.parametrize(
        ("promise", "fails"),
        [
            ({"holds": True, "told": ""}, False),
            ({"holds": False, "told": ""}, True),
            ({"holds": None, "told": ""}, True),
            ({"holds": None, "told": "", "optional": True}, False),
            ({"holds": False, "told": "", "optional": True}, True),
        ],
    )
    def test_what_was_not_measured_was_not_kept(self, tmp_path: Path, promise: dict[str, Any], fails: bool) -> None:
        out = tmp_path / "out.json"
        if fails:
            with pytest.raises(typer.Exit):
                judge(lambda: {"promises": {"it": promise}}, out)
        else:
            judge(lambda: {"promises": {"it": promise}}, out)
        assert json.loads(out.read_text())["promises"] == {"it": promise}

    def test_an_infinite_delay_is_valid_json(self, tmp_path: Path) -> None:
        judge(lambda: {"promises": {}, "delays": [{"p95": math.inf}]}, tmp_path / "out.json")
        assert json.loads((tmp_path / "out.json").read_text(), parse_constant=pytest.fail)["delays"] == [{"p95": "inf"}]


class TestSearch:
    @pytest.mark.parametrize("density", range(14))
    @pytest.mark.parametrize("step", [1, 5, 20])
    def test_the_density_is_found_between_two_neighbours(self, density: int, step: int) -> None:
        search, results = Search(3, step, 12), dict[int, bool]()
        while (count := search.next()) is not None:
            assert count not in results
            results[count] = count <= density
            search.tried(count, results[count])
        assert search.reached == min(density, 12)
        assert search.reached == 12 or results[search.reached + 1] is False
        assert len(results) <= 12 / step + 6

    def test_steps_are_halved_after_a_miss(self) -> None:
        search, counts = Search(20, 20, 60), list[int]()
        while (count := search.next()) is not None:
            counts.append(count)
            search.tried(count, count <= 47)
        assert counts == [20, 40, 60, 50, 45, 47, 48]


def test_a_poller_that_died_broke_its_promise(tmp_path: Path) -> None:
    with Poller(write(tmp_path / "a")) as poller:
        for child in multiprocessing.active_children():
            child.kill()
    assert poller.promise == {"holds": False, "told": "the reader died or hung"}


def test_delays_are_those_of_whole_windows_within_the_time(tmp_path: Path) -> None:
    data, began = write(tmp_path / "a"), START.timestamp()
    assert committed_delays(data, ["cam"], began, began + 20)["frames"] == FRAMES
    assert committed_delays(data, ["cam"], began + 1, began + 20)["frames"] == 10
    assert committed_delays(data, ["other"], began, began + 20)["p50"] is None
