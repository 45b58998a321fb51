"""Following an edited config file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from risa_ray.config import load_config
from risa_ray.sources.demo import write_clip
from risa_ray.streaming.preflight import preflight
from risa_ray.streaming.watch import ConfigWatch


def text(tmp_path: Path, *cameras: str, **more: object) -> str:
    listed = [{"id": camera, "source": f"demo:front?seconds=9&fps={i + 1}"} for i, camera in enumerate(cameras)]
    return yaml.safe_dump({"data": str(tmp_path / "data"), "stores": [{"id": "berlin", "cameras": listed}], **more})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "chain.yaml"
    path.write_text(text(tmp_path, "a", "b"))
    return path


@pytest.fixture
def watch(path: Path, monkeypatch: pytest.MonkeyPatch) -> ConfigWatch:
    monkeypatch.setattr("risa_ray.streaming.watch._LOOK_EVERY_S", 0.0)
    monkeypatch.setattr("risa_ray.streaming.watch._RETRY_S", 0.0)
    config = load_config(path)
    return ConfigWatch(config, preflight(config), lambda: load_config(path), path)


def ids(watch: ConfigWatch) -> list[str] | None:
    """The cameras of the edit that the watch has taken, after it has rested."""
    taken = [watch() for _ in range(3)]
    found = [edit for edit in taken if edit is not None]
    assert len(found) <= 1
    if not found:
        return None
    config, sources = found[0]
    cameras = [camera.id for _, camera in config.cameras()]
    assert set(cameras) <= set(sources)
    return cameras


def test_an_edit_is_taken_once(path: Path, tmp_path: Path, watch: ConfigWatch) -> None:
    assert ids(watch) is None
    path.write_text(text(tmp_path, "a", "b", "c"))
    assert ids(watch) == ["a", "b", "c"]
    assert ids(watch) is None
    path.write_text(text(tmp_path, "a"))
    assert ids(watch) == ["a"]


def test_a_file_that_is_still_written_is_not_taken(path: Path, tmp_path: Path, watch: ConfigWatch) -> None:
    whole = text(tmp_path, "a", "b", "c")
    for length in (120, 160, len(whole) - 1):
        path.write_text(whole[:length])
        assert watch() is None
    path.write_text(whole)
    assert ids(watch) == ["a", "b", "c"]


def test_an_edit_between_reading_and_watching_counts(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    path.write_text(text(tmp_path, "a", "b", "new"))
    watch = ConfigWatch(config, preflight(config), lambda: load_config(path), path)
    watch._next = 0.0
    assert watch() is None
    watch._next = 0.0
    taken = watch()
    assert taken is not None
    assert [camera.id for _, camera in taken[0].cameras()] == ["a", "b", "new"]


def test_a_fault_is_told_once_and_looked_at_again(
    path: Path, tmp_path: Path, watch: ConfigWatch, caplog: pytest.LogCaptureFixture
) -> None:
    recording = tmp_path / "missing" / "film.mp4"
    faulty = yaml.safe_load(text(tmp_path, "a"))
    faulty["stores"][0]["cameras"].append({"id": "film", "source": str(recording)})
    path.write_text(yaml.safe_dump(faulty))
    assert ids(watch) is None
    assert ids(watch) is None
    assert sum("film.mp4" in record.message for record in caplog.records) == 1
    recording.parent.mkdir()
    write_clip(recording, "front", 1.0, 4, (160, 90))
    assert ids(watch) == ["a", "film"], "the fault lay outside the file"


def test_what_cannot_change_stays(
    path: Path, tmp_path: Path, watch: ConfigWatch, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(text(tmp_path, "a", pipeline={"analyzers": 3}, chain="other"))
    taken = [edit for edit in (watch() for _ in range(3)) if edit]
    assert taken[0][0].pipeline.analyzers == 1
    assert "chain, pipeline changes at the next start only" in caplog.text


def test_a_running_file_that_is_deleted_does_not_hinder_an_edit(path: Path, tmp_path: Path, watch: ConfigWatch) -> None:
    film = tmp_path / "film.mp4"
    write_clip(film, "front", 1.0, 4, (160, 90))
    edited = yaml.safe_load(text(tmp_path, "a"))
    edited["stores"][0]["cameras"].append({"id": "film", "source": str(film)})
    path.write_text(yaml.safe_dump(edited))
    assert ids(watch) == ["a", "film"]
    source = watch._sources["film"]
    known_by = source.fingerprint(), source.started_at()
    film.unlink()
    edited["stores"][0]["cameras"][0]["sampling_fps"] = 3
    path.write_text(yaml.safe_dump(edited))
    assert ids(watch) == ["a", "film"]
    source = watch._sources["film"]
    assert (source.fingerprint(), source.started_at()) == known_by, "or it would be taken for another session"


def test_a_source_that_cannot_be_looked_at_is_told(
    path: Path, tmp_path: Path, watch: ConfigWatch, caplog: pytest.LogCaptureFixture
) -> None:
    edited = yaml.safe_load(text(tmp_path, "a"))
    edited["stores"][0]["cameras"][0]["source"] = f"{'x' * 300}.mp4"
    path.write_text(yaml.safe_dump(edited))
    assert ids(watch) is None
    assert "camera a: " in caplog.text
    assert "file name too long" in caplog.text
