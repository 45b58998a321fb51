"""What is wrong in the YAML beside an ONNX model is told in one line, before any runtime is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from onnx_writer import Node, Value, write_onnx

from risa_ray.errors import InputError
from risa_ray.vision import EXPRESSIONS
from risa_ray.vision.model_file import model_id, model_path, read_settings
from risa_ray.vision.onnx_file import OnnxSettings

SEVEN = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
MAP = {"angry": "anger", "happy": "happiness", "sad": "sadness"}
GOOD: dict[str, Any] = {"input_size": 48, "colour": "grey", "normalisation": "raw", "labels": SEVEN, "map": MAP}


def write_pair(folder: Path, text: str | None = None, external: str | None = None, **changes: Any) -> Path:
    """An ONNX file and its YAML, `GOOD` with changes; a value of None leaves the key out."""
    values = {k: v for k, v in (GOOD | changes).items() if v is not None}
    (folder / "own.yaml").write_text(yaml.safe_dump(values) if text is None else text)
    weights = {"w": np.ones((48 * 48, 7), np.float32)}
    nodes = [Node("Flatten", ["x"], "flat"), Node("MatMul", ["flat", "w"], "y")]
    inputs, outputs = [Value("x", [None, 1, 48, 48])], [Value("y", [None, 7])]
    return write_onnx(folder / "own.onnx", inputs, nodes, weights, outputs, external)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_settings(path)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_what_the_yaml_leaves_out_has_a_default(tmp_path: Path) -> None:
    found = read_settings(write_pair(tmp_path))
    assert found == OnnxSettings.model_validate(GOOD)
    assert isinstance(found, OnnxSettings)
    assert (found.layout, found.output, found.temperature, found.picture_shape) == ("NCHW", "logits", 1, (1, 48, 48))


@pytest.mark.parametrize("key", ["input_size", "colour", "normalisation", "labels"])
def test_what_cannot_be_seen_from_the_file_must_be_given(tmp_path: Path, key: str) -> None:
    line = refusal(write_pair(tmp_path, **{key: None}))
    assert f"own.yaml: {key}: is missing" in line


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"color": "grey"}, "color: unknown key; did you mean 'colour'?"),
        ({"colour": "gray"}, "colour: must be 'grey', 'rgb' or 'bgr' (got 'gray')"),
        ({"input_size": 0}, "input_size: "),
        ({"normalisation": "imagenet"}, "normalisation: must be 'per_picture', 'scaled' or 'raw'"),
        ({"scale": 255}, "scale: belongs to normalisation 'scaled', not to 'raw'"),
        ({"normalisation": "scaled", "mean": [0.5, 0.5, 0.5]}, "mean: 3 numbers, but colour 'grey' takes 1"),
        ({"normalisation": "scaled", "std": [0]}, "every deviation must be above 0"),
        ({"normalisation": "scaled", "scale": 0}, "scale: "),
        ({"layout": "NWHC"}, "layout: must be 'NCHW' or 'NHWC'"),
        ({"labels": ["anger"]}, "labels: give at least 2"),
        ({"labels": [1, 2]}, "labels[0]: must be text"),
        ({"labels": [*SEVEN, "sad"]}, "labels: 'sad' is given twice"),
        ({"labels": [*SEVEN, "joy"]}, "labels: 'joy' is no expression; map it to one of neutral"),
        ({"map": MAP | {"joy": "happiness"}}, "map: 'joy' is none of the labels angry"),
        ({"map": MAP | {"sad": "sorrow"}}, "map: sad: 'sorrow' is no expression; use one of neutral"),
        ({"map": dict.fromkeys(SEVEN)}, "map: every label is left out"),
        ({"output": "softmax"}, "output: must be 'logits' or 'probabilities'"),
        ({"temperature": 0}, "temperature: "),
        ({"min_confidence": 1.5}, "min_confidence: "),
    ],
)
def test_a_wrong_value_is_named_with_its_key(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    line = refusal(write_pair(tmp_path, **changes))
    assert line.startswith(f"{tmp_path}/own.yaml: ")
    assert told in line


@pytest.mark.parametrize("text", ["", "- a", "input_size: [", "input_size: 48\ninput_size: 64", "\x00"])
def test_what_is_no_yaml_mapping(tmp_path: Path, text: str) -> None:
    assert "own.yaml" in refusal(write_pair(tmp_path, text))


def test_python_objects_in_yaml_are_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = refusal(write_pair(tmp_path, "labels: !!python/object/apply:os.mkdir [made]"))
    assert "not valid YAML" in line
    assert not (tmp_path / "made").exists()


def test_a_missing_yaml(tmp_path: Path) -> None:
    path = write_pair(tmp_path)
    (tmp_path / "own.yaml").unlink()
    line = refusal(path)
    assert f"{path}: own.yaml is missing beside it" in line
    assert "docs/models.md" in line


def test_weights_in_other_files_are_refused_since_the_id_would_not_cover_them(tmp_path: Path) -> None:
    line = refusal(write_pair(tmp_path, external="weights.bin"))
    assert "its weights lie in other files" in line
    assert "save it as one file" in line


def test_a_missing_onnx_file_is_refused_with_the_known_names(tmp_path: Path) -> None:
    for name in ("gone.onnx", str(tmp_path / "gone.onnx")):
        with pytest.raises(InputError, match="no such file; known models"):
            model_path(name)


def test_settings_are_read_without_torch_or_the_runtime(tmp_path: Path) -> None:
    path = write_pair(tmp_path)
    code = (
        "import sys; from pathlib import Path; from risa_ray.vision.model_file import read_settings;"
        f"print(read_settings(Path({str(path)!r})).input_size, 'torch' in sys.modules, 'openvino' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["48", "False", "False"]


def test_the_id_follows_the_file_and_its_yaml(tmp_path: Path) -> None:
    path = write_pair(tmp_path)
    first = model_id(path)
    assert first.startswith("own@")
    assert model_id(write_pair(tmp_path)) == first
    write_pair(tmp_path, temperature=2.0)
    other = model_id(path)
    path.write_bytes(path.read_bytes() + b"\x00")
    assert len({first, other, model_id(path)}) == 3


@given(st.lists(st.sampled_from([*EXPRESSIONS, None]), min_size=2, max_size=12).filter(any))
def test_every_label_counts_for_its_expression_alone(targets: list[str | None]) -> None:
    labels = [f"class {i}" for i in range(len(targets))]
    changes = {"labels": labels, "map": dict(zip(labels, targets, strict=True))}
    fold = OnnxSettings.model_validate(GOOD | changes).fold()
    assert fold.shape == (len(targets), 8)
    for row, target in zip(fold, targets, strict=True):
        assert row.sum() == (target is not None)
        assert target is None or row[EXPRESSIONS.index(target)] == 1
