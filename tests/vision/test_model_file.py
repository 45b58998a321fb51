"""Model files carry their settings, and what is no model of RISA's is refused with one line and the way out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from risa_ray.errors import InputError
from risa_ray.vision.classifier import ExpressionClassifier
from risa_ray.vision.model_file import ModelSettings, header, model_id, model_path, models_folder, read_settings

WEIGHTS = {"a": np.zeros(2, np.float32)}
KNOWN = "known models: "
GOOD = {
    "widths": [4, 8],
    "blocks": 1,
    "temperature": 1.0,
    "crop_scale": 1.0,
    "min_confidence": 0.3,
    "min_face_px": 9.0,
    "max_yaw_deg": 60.0,
}


def refusal(name: str | Path) -> str:
    with pytest.raises(InputError) as caught:
        ExpressionClassifier.load(str(name))
    line = str(caught.value)
    assert "\n" not in line
    return line


@given(
    st.builds(
        ModelSettings,
        widths=st.lists(st.integers(1, 512), min_size=1, max_size=5).map(tuple),
        blocks=st.integers(1, 4),
        temperature=st.floats(0.1, 10),
        crop_scale=st.floats(0.1, 3),
        min_confidence=st.floats(0, 1),
        min_face_px=st.floats(0, 100),
        max_yaw_deg=st.floats(0, 90),
        labels=st.sampled_from([0, 7]),
    )
)
def test_settings_survive_the_file(tmp_path_factory: pytest.TempPathFactory, settings: ModelSettings) -> None:
    path = tmp_path_factory.getbasetemp() / "settings.safetensors"
    save_file(WEIGHTS, path, header(settings))
    assert read_settings(path) == settings


def test_a_header_without_a_second_head_is_one_of_an_older_model(tmp_path: Path) -> None:
    path = tmp_path / "older.safetensors"
    save_file(WEIGHTS, path, {"risa": json.dumps(GOOD)})
    assert read_settings(path) == ModelSettings(**GOOD | {"widths": (4, 8), "labels": 0})  # type: ignore[arg-type]


def test_settings_are_read_without_torch(tiny_model: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from risa_ray.vision.model_file import read_settings;"
        f"print(read_settings(Path({str(tiny_model)!r})).blocks, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]


def test_the_id_is_the_name_and_follows_the_content(tmp_path: Path) -> None:
    one, same, other = (tmp_path / d / "shop.safetensors" for d in "abc")
    for path, value in ((one, b"x"), (same, b"x"), (other, b"y")):
        path.parent.mkdir()
        path.write_bytes(value)
    assert model_id(one) == model_id(same) != model_id(other)
    assert model_id(one).startswith("shop@")


def test_a_path_is_taken_with_home_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.safetensors").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert model_path("~/own.safetensors") == tmp_path / "own.safetensors"
    assert model_path("own.safetensors").resolve() == (tmp_path / "own.safetensors").resolve()


def test_every_shipped_model_is_found_by_its_name() -> None:
    for path in models_folder().glob("*.safetensors"):
        assert model_path(path.stem) == path
        assert path.stem in refusal("no-such-model")


@pytest.mark.parametrize("name", ["no-such-model", "", "no/such/model.safetensors", "gone.safetensors"])
def test_a_missing_model_is_refused_with_the_known_names(name: str) -> None:
    line = refusal(name)
    assert name in line
    assert KNOWN in line


@pytest.mark.parametrize("name", ["own.pt", "a/b.PTH", "own.pkl", "pytorch_model.bin", "epoch.ckpt", "own.joblib"])
def test_pickles_are_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    trap = tmp_path / name
    trap.parent.mkdir(exist_ok=True)
    # what pickle would do on loading: call open("ran", "w")
    trap.write_bytes(b"cbuiltins\nopen\n(S'ran'\nS'w'\ntR.")
    line = refusal(name)
    assert name in line
    assert "pickles" in line
    assert "export the model to ONNX" in line
    assert not (tmp_path / "ran").exists()


def test_a_file_that_is_not_safetensors(tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"hello", b"\xff" * 100)):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(content)
        line = refusal(path)
        assert f"{path}: not a safetensors file" in line
        assert KNOWN in line


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    assert "no such file" in refusal(f"{tmp_path}/")


def test_a_foreign_safetensors_file(tmp_path: Path) -> None:
    for number, foreign in enumerate((None, {"format": "pt"})):
        path = tmp_path / f"{number}.safetensors"
        save_file(WEIGHTS, path, foreign)
        line = refusal(path)
        assert f"{path}: a safetensors file, but no RISA expression model" in line
        assert KNOWN in line


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[1, 2]",
        "3",
        "{}",
        json.dumps(GOOD | {"blocks": "many"}),
        json.dumps(GOOD | {"temperature": None}),
        json.dumps(GOOD | {"labels": 6}),
    ],
)
def test_broken_settings(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.safetensors"
    save_file(WEIGHTS, path, {"risa": text})
    line = refusal(path)
    assert f"{path}: its RISA settings cannot be read" in line
    assert KNOWN in line


def test_a_truncated_file(write_model: Callable[..., Path]) -> None:
    path = write_model()
    path.write_bytes(path.read_bytes()[:-100])
    assert "not a safetensors file" in refusal(path)


def test_weights_that_do_not_fit_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    settings = ModelSettings(**GOOD | {"widths": (4, 8)})  # type: ignore[arg-type]
    assert asdict(settings)["blocks"] == 1
    save_file(WEIGHTS, path, header(settings))
    assert f"{path}: its weights do not fit its settings" in refusal(path)
