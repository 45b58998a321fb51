"""Which frame killed the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from risa_ray.streaming.journal import Journal


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("risa_ray.streaming.journal._MEMORY", tmp_path)
    return tmp_path


def die_of(*keys: tuple[str, int]) -> Journal:
    """A process at work on these frames dies; its successor's journal."""
    Journal("analyzer").begin(keys)
    return Journal("analyzer")


def test_frames_at_work_when_the_process_died_are_suspected_and_no_others() -> None:
    journal = die_of(("a", 1), ("b", 7))
    assert [journal.suspects(k) for k in [("a", 1), ("b", 7), ("a", 2)]] == [True, True, False]
    assert not journal.poison(("a", 1)), "it was in company"


def test_a_frame_that_kills_twice_alone_is_poison() -> None:
    die_of(("a", 1), ("a", 2))
    assert not die_of(("a", 1)).poison(("a", 1))
    journal = die_of(("a", 1))
    assert journal.poison(("a", 1))
    assert not journal.poison(("a", 2))


def test_a_frame_that_passes_alone_is_suspected_no_more() -> None:
    journal = die_of(("a", 1), ("a", 2))
    journal.begin([("a", 1)])
    journal.end([("a", 1)])
    assert not Journal("analyzer").suspects(("a", 1))
    assert Journal("analyzer").suspects(("a", 2))


def test_suspects_that_never_come_again_do_not_pile_up(folder: Path) -> None:
    for death in range(60):
        die_of(*[("live", death * 8 + i) for i in range(8)])
    journal = die_of(("live", 999))
    assert (folder / "risa-analyzer.journal").stat().st_size < 10_000
    assert [journal.suspects(("live", seq)) for seq in (0, 479, 999)] == [False, True, True]


def test_however_many_were_at_work_all_are_suspected() -> None:
    at_work = [("a", seq) for seq in range(500)]
    journal = die_of(*at_work)
    assert all(journal.suspects(key) for key in at_work)


def test_where_there_is_no_folder_in_memory_it_lies_with_the_temporary_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("risa_ray.streaming.journal._MEMORY", folder / "missing")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    assert die_of(("a", 1)).suspects(("a", 1))
    assert list(folder.iterdir())


def test_a_run_that_ends_leaves_nothing_behind(folder: Path) -> None:
    journal = die_of(("a", 1))
    journal.close()
    assert not list(folder.iterdir())
    assert not Journal("analyzer").suspects(("a", 1))


def test_without_a_name_nothing_is_written(folder: Path) -> None:
    journal = Journal(None)
    journal.begin([("a", 1)])
    assert not list(folder.iterdir())
