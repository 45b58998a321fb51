"""What a user types on a command line becomes a valid config, and folders become the units of a batch."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risa_ray.errors import InputError
from risa_ray.inputs import camera_ids, config_for, find_files


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=80), max_size=6))
def test_any_sources_give_unique_and_valid_camera_ids(sources: list[str]) -> None:
    ids = camera_ids(sources)
    assert len(ids) == len(sources) == len(set(ids))
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", i) for i in ids)


@pytest.mark.parametrize(
    ("sources", "ids"),
    [
        (["films/door.mp4"], ["door"]),
        (["a/till.mp4", "b/till.mp4", "c/till-2.mp4"], ["till", "till-2", "till-2-2"]),
        (["usb:0", "usb:/dev/video0", "demo:front"], ["usb-0", "video0", "demo-front"]),
        (["rtsp://admin:S3cr3t@10.0.0.5:554/live/1"], ["10.0.0.5-554-live-1"]),
        (["_hidden.mp4", "東京.mp4"], ["c_hidden", "camera"]),
        (["."], ["camera"]),
    ],
)
def test_camera_ids_are_readable(sources: list[str], ids: list[str]) -> None:
    assert camera_ids(sources) == ids


@given(st.text("abcXYZ019@:/?#", max_size=6), st.text("abcXYZ019@:/?#", max_size=6))
def test_camera_ids_hold_no_credentials(before: str, after: str) -> None:
    assert "S3cr3t" not in camera_ids([f"rtsp://admin:{before}S3cr3t{after}@10.0.0.5/live"])[0]


def test_a_config_for_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = config_for(["door.mp4", "usb:0"], "tables", {"detector": "haar"}, {"max_batch": 4})
    cameras = [c for _, c in config.cameras()]
    assert [(c.id, c.source, c.detector) for c in cameras] == [
        ("door", str(tmp_path / "door.mp4"), "haar"),
        ("usb-0", "usb:0", "haar"),
    ]
    assert (config.data, config.pipeline.max_batch) == (str(tmp_path / "tables"), 4)


def test_a_wrong_setting_names_the_command_line() -> None:
    with pytest.raises(
        InputError, match=r"^command line: stores\[store\]\.cameras\[door\]\.detector: .*'yolo'"
    ) as caught:
        config_for(["door.mp4"], "tables", {"detector": "yolo"}, {})
    assert "\n" not in str(caught.value)


def touch(root: Path, *names: str) -> list[Path]:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return [(root / n).resolve() for n in names]


def test_a_folder_gives_its_videos_and_its_folders_of_pictures(tmp_path: Path) -> None:
    a, b, *_ = touch(
        tmp_path, "a.MP4", "deep/er/b.mkv", "shots/1.jpg", "shots/2.PNG", "notes.txt", ".hidden.mp4", ".cache/x.jpg"
    )
    assert find_files([tmp_path]) == [a, b, (tmp_path / "shots").resolve()]


def test_each_unit_comes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = touch(tmp_path, "a.mp4", "b.mp4")
    monkeypatch.chdir(tmp_path)
    assert find_files([Path("b.mp4"), tmp_path, Path("./a.mp4")]) == [b, a]


def test_a_hidden_folder_that_is_asked_for_is_searched(tmp_path: Path) -> None:
    (a,) = touch(tmp_path, ".films/a.mp4")
    assert find_files([tmp_path / ".films"]) == [a]


def test_nothing_to_read_is_refused_in_one_line(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    for path, message in [(tmp_path, "no video and no picture"), (tmp_path / "gone.mp4", "no such file or folder")]:
        with pytest.raises(InputError, match=message) as caught:
            find_files([path])
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
