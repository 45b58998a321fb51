"""Which paths are taken, and how the others are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from risa_ray.errors import InputError
from risa_ray.store.paths import dataset_path, ensure_writable, require_dataset
from risa_ray.store.table import Table


def test_paths_have_one_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert dataset_path("~/data/") == f"{tmp_path}/data"
    assert dataset_path(f"file://{tmp_path}/my%20data") == f"{tmp_path}/my data"
    assert dataset_path("s3://bucket/data/") == "s3://bucket/data"


def test_a_percent_sign_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must not contain '%'"):
        dataset_path(str(tmp_path / "a%20b"))


def test_a_missing_folder_is_created_with_its_parents(tmp_path: Path) -> None:
    path = ensure_writable(str(tmp_path / "a" / "b c"))
    assert Path(path).is_dir()
    assert list(Path(path).iterdir()) == []


@pytest.mark.parametrize("below", [False, True])
def test_a_file_is_no_data_path(tmp_path: Path, below: bool) -> None:
    file = tmp_path / "film.mp4"
    file.write_bytes(b"x")
    with pytest.raises(InputError, match=r"film\.mp4.*--data"):
        ensure_writable(str(file / "data" if below else file))


def test_a_folder_without_tables_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "observations").mkdir()
    with pytest.raises(InputError, match="holds no RISA dataset"):
        require_dataset(str(tmp_path), ("observations",))
    with pytest.raises(InputError, match="no such folder"):
        require_dataset(str(tmp_path / "nothing"), ("observations",))
    Table(str(tmp_path), "observations")
    assert require_dataset(str(tmp_path), ("observations",)) == str(tmp_path)
