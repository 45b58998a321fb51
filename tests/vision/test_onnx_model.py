"""An ONNX model brought along is fed and read as its YAML says, and refused at loading when the two do not fit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import skimage.data
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from onnx_writer import Attribute, Node, Value, write_onnx

from risa_ray.config import ChainConfig
from risa_ray.errors import InputError
from risa_ray.inputs import config_for
from risa_ray.streaming.preflight import preflight
from risa_ray.vision import EXPRESSIONS
from risa_ray.vision.classifier import ExpressionClassifier, crop_face
from risa_ray.vision.model_file import model_id
from risa_ray.vision.onnx_file import OnnxSettings
from risa_ray.vision.onnx_model import to_probabilities

Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
DOCS = Path(__file__).parents[2] / "docs" / "models.md"
SIDE = 8
SEVEN = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
MAP = {"angry": "anger", "happy": "happiness", "sad": "sadness"}
BOXES = np.array([[180, 62, 268, 172], [100, 100, 150, 160], [-30, -40, 60, 70], [480, 470, 560, 600]], np.float32)


def kernel(size: int, classes: int) -> Floats:
    return np.random.default_rng(2).normal(0, 0.05, (size, classes)).astype(np.float32)


def write_model(
    folder: Path,
    shape: Sequence[int | None] = (None, 1, SIDE, SIDE),
    classes: int = 8,
    softmax: bool = False,
    flatten: tuple[str, dict[str, Attribute]] = ("Flatten", {"axis": 1}),
    dtype: str = "float32",
    outputs: int = 1,
    text: dict[str, Any] | None = None,
) -> Path:
    """A linear model on the picture's values, with the YAML that fits it but for the changes in `text`."""
    size = int(np.prod([d or SIDE for d in shape[1:]]))
    kind, attributes = flatten
    inputs = [Value("x", shape, dtype)]
    nodes = [Node("Cast", ["x"], "c", {"to": 1}), Node("MatMul", ["f", "w"], "logits"), Node("Relu", ["logits"], "y2")]
    nodes.insert(1, Node(kind, ["c", "flat"] if kind == "Reshape" else ["c"], "f", attributes))
    nodes.append(Node("Softmax" if softmax else "Identity", ["logits"], "y", {"axis": 1} if softmax else {}))
    weights: dict[str, npt.NDArray[np.generic]] = {"w": kernel(size, classes), "flat": np.array([1, size], np.int64)}
    ends = [Value("y", [None, None]), Value("y2", [None, None])][:outputs]
    settings = {"input_size": SIDE, "colour": "grey", "normalisation": "raw", "temperature": 2.0, "crop_scale": 1.2}
    settings |= {"labels": list(EXPRESSIONS), "output": "probabilities" if softmax else "logits"}
    (folder / "own.yaml").write_text(yaml.safe_dump(settings | (text or {})))
    return write_onnx(folder / "own.onnx", inputs, nodes, weights, ends)


def softmax(logits: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float64)


def frame() -> Picture:
    return np.asarray(skimage.data.astronaut())


def crops(grey: bool = True, scale: float = 1.2) -> Picture:
    return np.stack([crop_face(frame(), box, scale, SIDE, grey) for box in BOXES])


def predicted(path: Path, device: str = "cpu") -> Floats:
    (found,) = ExpressionClassifier.load(str(path), device=device, threads=1).predict([frame()], [BOXES])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    return found


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        ExpressionClassifier.load(str(path), threads=1)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    return line


def test_a_model_is_run_on_the_crops_of_the_boxes(tmp_path: Path) -> None:
    logits = crops().reshape(4, -1).astype(np.float32) @ kernel(64, 8)
    path = write_model(tmp_path)
    found = predicted(path)
    np.testing.assert_allclose(found, softmax(logits / 2), atol=1e-4)
    classifier = ExpressionClassifier.load(str(path), threads=1)
    np.testing.assert_allclose(classifier.probabilities(crops()), found, atol=1e-6)
    assert classifier.model_id == model_id(path)
    assert classifier.label_probabilities(crops()) is None
    assert [p.shape for p in classifier.predict([frame()] * 2, [[], BOXES[:1]])] == [(0, 8), (1, 8)]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("colour", "text"),
    [
        ("grey", {"normalisation": "scaled", "scale": 127.5, "mean": [1.0]}),
        ("rgb", {"normalisation": "scaled", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}),
        ("bgr", {"normalisation": "raw"}),
        ("bgr", {"normalisation": "scaled", "scale": 1.0, "mean": [91.5, 103.9, 131.1]}),
        ("grey", {"normalisation": "per_picture"}),
        ("rgb", {"normalisation": "per_picture"}),
    ],
)
def test_pictures_go_in_as_the_yaml_says(tmp_path: Path, layout: str, colour: str, text: dict[str, Any]) -> None:
    faces = crops(grey=colour == "grey").astype(np.float64).reshape(4, SIDE, SIDE, -1)
    channels = faces.shape[3]
    x = np.empty_like(faces)
    for c in range(channels):
        source = faces[..., channels - 1 - c if colour == "bgr" else c]
        if text["normalisation"] == "per_picture":
            x[..., c] = [(p - p.mean()) / (p.std() + 8) for p in source]
        elif text["normalisation"] == "scaled":
            mean, std = text.get("mean", [0.0]), text.get("std", [1.0])
            x[..., c] = (source / text.get("scale", 255) - mean[c % len(mean)]) / std[c % len(std)]
        else:
            x[..., c] = source
    shape = (None, channels, SIDE, SIDE) if layout == "NCHW" else (None, SIDE, SIDE, channels)
    x = x.transpose(0, 3, 1, 2) if layout == "NCHW" else x
    expected = softmax(x.reshape(4, -1) @ kernel(64 * channels, 8).astype(np.float64) / 2)
    path = write_model(tmp_path, shape, text=text | {"colour": colour, "layout": layout})
    np.testing.assert_allclose(predicted(path), expected, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch_gets_its_faces_in_groups(tmp_path: Path, batch: int) -> None:
    expected = predicted(write_model(tmp_path))
    np.testing.assert_allclose(predicted(write_model(tmp_path, (batch, 1, SIDE, SIDE))), expected, atol=1e-5)


@pytest.mark.parametrize("flatten", [("Reshape", {}), ("Flatten", {"axis": 0})])
@pytest.mark.parametrize("batch", [None, 1])
def test_a_network_for_one_face_gets_them_one_by_one(
    tmp_path: Path, batch: int | None, flatten: tuple[str, dict[str, Attribute]]
) -> None:
    expected = predicted(write_model(tmp_path))
    fixed = write_model(tmp_path, (batch, 1, SIDE, SIDE), flatten=flatten)
    np.testing.assert_allclose(predicted(fixed), expected, atol=1e-5)


def test_more_faces_than_go_in_at_once(tmp_path: Path) -> None:
    faces = np.random.default_rng(0).integers(0, 256, (70, SIDE, SIDE), np.uint8)
    found = ExpressionClassifier.load(str(write_model(tmp_path)), threads=1).probabilities(faces)
    logits = faces.reshape(70, -1).astype(np.float32) @ kernel(64, 8)
    np.testing.assert_allclose(found, softmax(logits / 2), atol=1e-4)


def test_free_sides_take_the_size_of_the_yaml(tmp_path: Path) -> None:
    free = write_model(tmp_path, (None, 1, None, None))
    np.testing.assert_allclose(predicted(free), predicted(write_model(tmp_path)), atol=1e-5)


def documented(number: int) -> dict[str, Any]:
    """A worked YAML of docs/models.md."""
    blocks = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    found: dict[str, Any] = yaml.safe_load([b for b in blocks if "input_size" in b][number])
    return found


def test_the_yaml_documented_for_fer_plus_fits_a_network_of_its_kind(tmp_path: Path) -> None:
    """Convolution, pooling, one face at a time, and weights listed among the inputs as files of that age do."""
    rng = np.random.default_rng(4)
    filters, w = rng.normal(0, 0.1, (3, 1, 3, 3)).astype(np.float32), rng.normal(0, 0.01, (3072, 8)).astype(np.float32)
    nodes = [
        Node("Conv", ["x", "filters"], "c", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        Node("Relu", ["c"], "r"),
        Node("MaxPool", ["r"], "p", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        Node("Reshape", ["p", "one"], "f"),
        Node("MatMul", ["f", "w"], "y"),
    ]
    weights = {"filters": filters, "w": w, "one": np.array([1, 3072], np.int64)}
    inputs = [Value("x", [1, 1, 64, 64]), Value("filters", [3, 1, 3, 3]), Value("w", [3072, 8])]
    path = write_onnx(tmp_path / "emotion-ferplus-8.onnx", inputs, nodes, weights, [Value("y", [1, 8])])
    path.with_suffix(".yaml").write_text(yaml.safe_dump(documented(0)))
    classifier = ExpressionClassifier.load(str(path), threads=1)
    faces = np.stack([crop_face(frame(), box, classifier.settings.crop_scale, 64) for box in BOXES])
    x = torch.conv2d(torch.from_numpy(faces).float()[:, None], torch.from_numpy(filters), padding=1).relu()
    logits = torch.max_pool2d(x, 2).flatten(1).numpy() @ w
    np.testing.assert_allclose(predicted(path), softmax(logits), atol=1e-4)


def test_the_yaml_documented_for_a_keras_model_fits_a_network_of_its_kind(tmp_path: Path) -> None:
    text = documented(1)
    side = text["input_size"]
    weights = {"w": kernel(side * side, 7)}
    nodes = [Node("Flatten", ["x"], "f", {"axis": 1}), Node("MatMul", ["f", "w"], "l")]
    nodes.append(Node("Softmax", ["l"], "y", {"axis": 1}))
    outputs = [Value("y", [None, 7])]
    path = write_onnx(tmp_path / "keras.onnx", [Value("x", [None, side, side, 1])], nodes, weights, outputs)
    path.with_suffix(".yaml").write_text(yaml.safe_dump(text))
    np.testing.assert_array_equal(predicted(path)[:, EXPRESSIONS.index("contempt")], 0)


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_other_input_types(tmp_path: Path, dtype: str) -> None:
    expected = predicted(write_model(tmp_path))
    np.testing.assert_allclose(predicted(write_model(tmp_path, dtype=dtype)), expected, atol=1e-4)


def test_bytes_in_cannot_be_normalised(tmp_path: Path) -> None:
    line = refusal(write_model(tmp_path, dtype="uint8", text={"normalisation": "scaled"}))
    assert "it reads uint8, which cannot take 'scaled' pictures" in line


def test_seven_classes_leave_contempt_at_zero(tmp_path: Path) -> None:
    text = {"labels": SEVEN, "map": MAP, "normalisation": "scaled", "layout": "NHWC"}
    found = predicted(write_model(tmp_path, (None, SIDE, SIDE, 1), 7, softmax=True, text=text))
    own = softmax(crops().reshape(4, -1).astype(np.float32) / 255 @ kernel(64, 7) / 2)
    order = ["neutral", "happy", "surprise", "sad", "angry", "disgust", "fear"]
    np.testing.assert_allclose(found[:, :7], own[:, [SEVEN.index(label) for label in order]], atol=1e-4)
    np.testing.assert_array_equal(found[:, 7], 0)


def settings(**changes: Any) -> OnnxSettings:
    plain = {"input_size": SIDE, "colour": "grey", "normalisation": "raw", "labels": list(EXPRESSIONS)}
    return OnnxSettings.model_validate(plain | changes)


def test_labels_of_one_expression_add_up_and_left_out_ones_are_renormalised() -> None:
    labels = ["calm", "neutral", "joy", "no face"]
    mapped = {"calm": "neutral", "joy": "happiness", "no face": None}
    out = np.array([[0.1, 0.2, 0.3, 0.4], [0, 0, 0, 1]], np.float32)
    found = to_probabilities(out, settings(labels=labels, map=mapped, output="probabilities"))
    np.testing.assert_allclose(found[0], [0.5, 0.5, 0, 0, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found[1], [2 / 3, 1 / 3, 0, 0, 0, 0, 0, 0], atol=1e-6)  # nothing told: each label alike


@given(st.lists(st.floats(-40, 40), min_size=8, max_size=8), st.floats(0.2, 5))
def test_logits_and_their_probabilities_give_the_same(logits: list[float], temperature: float) -> None:
    out = np.array([logits], np.float32)
    from_logits = to_probabilities(out, settings(temperature=temperature))
    from_shares = to_probabilities(
        softmax(out).astype(np.float32), settings(temperature=temperature, output="probabilities")
    )
    np.testing.assert_allclose(from_logits, softmax(out / temperature), atol=1e-6)
    np.testing.assert_allclose(from_shares, from_logits, atol=1e-4)


def test_it_abstains_by_the_thresholds_of_the_yaml(tmp_path: Path) -> None:
    path = write_model(tmp_path, text={"min_confidence": 0.9, "min_face_px": 30})
    classifier = ExpressionClassifier.load(str(path), threads=1)
    sure = np.eye(8, dtype=np.float32)[1]
    assert classifier.decide(sure, 30, None).expression == "happiness"
    assert classifier.decide(sure, 29, None).abstain_reason == "too_small"
    assert classifier.decide(sure * 0.89, 30, None).abstain_reason == "low_confidence"


@pytest.mark.parametrize(
    ("model", "text", "told"),
    [
        ({}, {"labels": SEVEN, "map": MAP}, "it gives 8 numbers a face, but own.yaml names 7 labels"),
        ({}, {"colour": "rgb"}, "its input is ?x1x8x8, but own.yaml says 3x8x8 a face"),
        ({}, {"input_size": 16}, "its input is ?x1x8x8, but own.yaml says 1x16x16 a face"),
        ({}, {"layout": "NHWC"}, "its input is ?x1x8x8, but own.yaml says 8x8x1 a face"),
        ({"shape": (None, SIDE * SIDE)}, {}, "its input is ?x64, but own.yaml says 1x8x8 a face"),
        ({"softmax": True}, {"output": "logits"}, "its outputs sum to 1 for a face; say 'output: probabilities'"),
        ({}, {"output": "probabilities"}, "its outputs do not sum to 1 for a face; say 'output: logits'"),
        ({"outputs": 2}, {}, "it has 1 inputs and 2 outputs"),
        ({"shape": (None, 1, None, None)}, {"input_size": 10}, "it fails on two trial faces"),
        ({"flatten": ("Unheard", {})}, {}, "Unheard"),
    ],
)
def test_a_model_and_a_yaml_that_do_not_fit(
    tmp_path: Path, model: dict[str, Any], text: dict[str, Any], told: str
) -> None:
    assert told in refusal(write_model(tmp_path, **model, text=text))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02}q\x00."])
def test_a_file_that_is_not_onnx(tmp_path: Path, content: bytes) -> None:
    path = write_model(tmp_path)
    path.write_bytes(content)
    assert "export it" in refusal(path)


def test_any_device_serves_it_on_the_cpu(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    np.testing.assert_array_equal(predicted(path, "auto"), predicted(path))


def chain(tmp_path: Path, clip: Path, model: Path) -> ChainConfig:
    return config_for([str(clip)], str(tmp_path / "data"), {"detector": "haar"}, {"model": str(model)})


def test_a_config_may_name_it(tmp_path: Path, clip: Path) -> None:
    assert preflight(chain(tmp_path, clip, write_model(tmp_path)))


def test_a_config_that_names_a_broken_one_is_refused_before_the_start(tmp_path: Path, clip: Path) -> None:
    path = write_model(tmp_path, text={"labels": ["joy", "anger"]})
    with pytest.raises(InputError, match="'joy' is no expression"):
        preflight(chain(tmp_path, clip, path))
    with pytest.raises(InputError, match="pickles"):
        preflight(chain(tmp_path, clip, path.with_suffix(".pt")))
