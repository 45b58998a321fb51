"""The classifier cuts the right picture, answers each face by itself, and abstains for a reason it names."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import skimage.data
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from risa_ray.errors import InputError
from risa_ray.vision import EXPRESSIONS
from risa_ray.vision.classifier import ExpressionClassifier, crop_face, read_model
from risa_ray.vision.expressions import valence
from risa_ray.vision.model_file import ModelSettings, header
from risa_ray.vision.network import FACE_SIZE, ExpressionNet
from risa_ray.vision.preprocess import fit, normalise, resize

Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@cache
def loaded(name: str) -> ExpressionClassifier:
    return ExpressionClassifier.load(name)


@pytest.fixture(params=["tiny", "shipped"])
def model(request: pytest.FixtureRequest, tiny_model: Path) -> str:
    """Name or path of a model; the shipped one must be there."""
    return str(tiny_model) if request.param == "tiny" else "default"


@pytest.fixture
def classifier(model: str) -> ExpressionClassifier:
    return loaded(model)


@cache
def astronaut() -> Picture:
    return np.asarray(skimage.data.astronaut())


FACES = np.array([[180, 62, 268, 172], [100, 100, 150, 160], [-30, -40, 60, 70], [480, 470, 560, 600]], np.float32)


def check_contract(probabilities: list[Floats], counts: list[int]) -> None:
    assert [p.shape for p in probabilities] == [(n, 8) for n in counts]
    for p in probabilities:
        assert p.dtype == np.float32
        assert ((p >= 0) & (p <= 1)).all()
        np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)


def test_one_array_of_eight_probabilities_per_frame(classifier: ExpressionClassifier) -> None:
    frames = [astronaut(), astronaut()[:100, :200], np.zeros((1, 1, 3), np.uint8)]
    none = np.zeros((0, 4), np.float32)
    check_contract(classifier.predict(frames, [FACES, none, FACES[:1]]), [4, 0, 1])
    check_contract(classifier.predict(frames, [none, none, none]), [0, 0, 0])
    check_contract(classifier.predict(frames[:1], [[]]), [0])
    assert classifier.predict([], []) == []


def test_boxes_are_taken_as_lists_and_as_other_numbers(classifier: ExpressionClassifier) -> None:
    (expected,) = classifier.predict([astronaut()], [FACES])
    for boxes in (FACES.tolist(), FACES.astype(np.float64), FACES.astype(np.int64)):
        np.testing.assert_array_equal(classifier.predict([astronaut()], [boxes])[0], expected)


def test_as_many_boxes_as_frames(classifier: ExpressionClassifier) -> None:
    with pytest.raises(ValueError, match="2 frames but boxes for 1"):
        classifier.predict([astronaut(), astronaut()], [FACES])


def test_each_face_is_answered_by_itself(classifier: ExpressionClassifier) -> None:
    rng = np.random.default_rng(1)
    corners = rng.uniform(-40, 480, (9, 2))
    boxes = np.hstack([corners, corners + rng.uniform(4, 200, (9, 2))]).astype(np.float32)
    (together,) = classifier.predict([astronaut()], [boxes])
    alone = np.concatenate([classifier.predict([astronaut()], [box[None]])[0] for box in boxes])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    spread = classifier.predict([astronaut()] * 3, [boxes[:2], boxes[2:3], boxes[3:]])
    np.testing.assert_allclose(np.concatenate(spread), together, atol=1e-5)


def test_faces_differ(classifier: ExpressionClassifier) -> None:
    (p,) = classifier.predict([astronaut()], [FACES[:2]])
    assert np.abs(p[0] - p[1]).max() > 0.01


def test_how_a_frame_lies_in_memory_does_not_matter(classifier: ExpressionClassifier) -> None:
    plain = astronaut().copy()
    locked = plain.copy()
    locked.setflags(write=False)
    strided = np.repeat(plain, 2, 1)[:, ::2]
    expected, *others = classifier.predict([plain, locked, strided, np.asfortranarray(plain)], [FACES] * 4)
    for other in others:
        np.testing.assert_allclose(other, expected, atol=1e-6)
    np.testing.assert_array_equal(plain, astronaut())


def test_answers_are_the_callers_own(classifier: ExpressionClassifier) -> None:
    (first,) = classifier.predict([astronaut()], [FACES[:1]])
    kept = first.copy()
    classifier.predict([astronaut()], [FACES[1:]])
    np.testing.assert_array_equal(first, kept)


def test_a_mirrored_face_gets_the_same_answer(classifier: ExpressionClassifier) -> None:
    frame = astronaut()
    box = np.array([[180, 62, 268, 172]], np.float32)
    mirrored = np.array([[512 - 268, 62, 512 - 180, 172]], np.float32)
    a, b = classifier.predict([frame, frame[:, ::-1]], [box, mirrored])
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_the_cpu_runtime_gives_what_the_network_gives(model: str) -> None:
    network, setup, model_id = read_model(model)
    crops = np.stack([crop_face(astronaut(), box, setup.crop_scale) for box in FACES])
    with torch.inference_mode():
        faces = normalise(torch.from_numpy(crops).float()[:, None])
        network.eval()
        logits = (network(faces) + network(faces.flip(3))) / 2
        expected = torch.softmax(logits / setup.temperature, 1).numpy()
    (found,) = loaded(model).predict([astronaut()], [FACES])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert loaded(model).model_id == model_id


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_gives_what_the_cpu_gives(model: str) -> None:
    on_gpu = ExpressionClassifier.load(model, device="cuda").predict([astronaut()], [FACES])[0]
    np.testing.assert_allclose(on_gpu, loaded(model).predict([astronaut()], [FACES])[0], atol=1e-3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(tiny_model: Path) -> None:
    with pytest.raises(InputError, match="no GPU is usable here"):
        ExpressionClassifier.load(str(tiny_model), device="cuda")


def distribution(best: str, confidence: float) -> Floats:
    p = np.full(8, (1 - confidence) / 7, np.float32)
    p[EXPRESSIONS.index(best)] = confidence
    return p


def head(yaw: float) -> Floats:
    """Landmarks (5, 2) of a head that is turned so far, its nose tip 0.55 eye distances before its eyes."""
    nose = 0.55 * np.sin(np.radians(yaw)) / np.cos(np.radians(yaw))
    points = [(-0.5, 0), (0.5, 0), (nose, 0.6), (-0.4, 1.1), (0.4, 1.1)]
    return (np.array(points, np.float32) * 30 + 200).astype(np.float32)


@pytest.mark.parametrize(
    ("confidence", "face_px", "yaw", "reason"),
    [
        (0.9, 40, 0.0, None),
        (0.9, 40, None, None),
        (0.31, 20, 49.9, None),
        (0.29, 40, 0.0, "low_confidence"),
        (0.9, 19.9, 0.0, "too_small"),
        (0.9, 40, 50.1, "turned_away"),
        (0.9, 40, -50.1, "turned_away"),
        (0.29, 40, -60.0, "turned_away"),
        (0.29, 10, -60.0, "too_small"),
    ],
)
def test_decisions(tiny_model: Path, confidence: float, face_px: float, yaw: float | None, reason: str | None) -> None:
    landmarks = None if yaw is None else head(yaw)
    decision = loaded(str(tiny_model)).decide(distribution("anger", confidence), face_px, landmarks)
    assert decision.abstain_reason == reason
    assert decision.expression == ("unknown" if reason else "anger")
    assert decision.confidence == pytest.approx(confidence)


def test_thresholds_travel_with_the_model(write_model: Callable[..., Path]) -> None:
    classifier = ExpressionClassifier.load(str(write_model(min_confidence=0.95)))
    assert classifier.decide(distribution("fear", 0.9), 99, head(0)).abstain_reason == "low_confidence"


def test_landmarks_that_tell_nothing_are_no_reason_to_abstain(tiny_model: Path) -> None:
    decision = loaded(str(tiny_model)).decide(distribution("fear", 0.9), 99, np.zeros((5, 2)))
    assert decision.expression == "fear"


def crops_of(scale: float, size: int = FACE_SIZE, grey: bool = True) -> Picture:
    return np.stack([crop_face(astronaut(), box, scale, size, grey) for box in FACES])


def test_given_crops_get_what_the_boxes_get(classifier: ExpressionClassifier) -> None:
    found = classifier.probabilities(crops_of(classifier.settings.crop_scale))
    np.testing.assert_allclose(found, classifier.predict([astronaut()], [FACES])[0], atol=1e-5)
    check_contract([classifier.probabilities(np.zeros((0, 48, 48), np.uint8))], [0])


def test_given_crops_of_another_size_are_resized(classifier: ExpressionClassifier) -> None:
    for size in (20, 96):
        crops = crops_of(1.1, size)
        expected = classifier.probabilities(np.stack([resize(c, FACE_SIZE) for c in crops]))
        np.testing.assert_array_equal(classifier.probabilities(crops), expected)


def test_given_crops_in_colour_are_read_in_grey(classifier: ExpressionClassifier) -> None:
    grey, colour = crops_of(1.1), crops_of(1.1, grey=False)
    np.testing.assert_allclose(classifier.probabilities(colour), classifier.probabilities(grey), atol=0.05)


def test_thousands_of_crops_are_answered_as_a_few(tiny_model: Path) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (600, 48, 48), np.uint8)
    together = loaded(str(tiny_model)).probabilities(crops)
    check_contract([together], [600])
    picked = [0, 255, 256, 599]
    np.testing.assert_allclose(loaded(str(tiny_model)).probabilities(crops[picked]), together[picked], atol=1e-5)


@pytest.mark.parametrize(
    "faces",
    [np.zeros((1, 48, 48), np.float32), np.zeros((48, 48), np.uint8), np.zeros((1, 48, 40), np.uint8),
     np.zeros((1, 48, 48, 1), np.uint8)],
)  # fmt: skip
def test_what_is_no_crop_is_refused(tiny_model: Path, faces: Picture) -> None:
    with pytest.raises(ValueError, match="faces must be uint8"):
        loaded(str(tiny_model)).probabilities(faces)


@pytest.fixture(scope="module")
def two_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file with a second head, in half precision."""
    torch.manual_seed(5)
    state = ExpressionNet((4, 8), 1, dropout=0.0, labels=7).state_dict()
    # large last layers, so that the answers differ clearly from face to face
    weights = {k: v * 20 if k in ("head.3.weight", "label_head.weight") else v for k, v in state.items()}
    halved = {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}
    path = tmp_path_factory.mktemp("two") / "two.safetensors"
    save_file(halved, path, header(ModelSettings((4, 8), 1, 1.5, 1.1, 0.3, 20.0, 50.0, labels=7)))
    return path


def test_labels_come_from_the_second_head(two_heads: Path) -> None:
    crops = crops_of(1.1)
    found = loaded(str(two_heads)).label_probabilities(crops)
    network, _, _ = read_model(str(two_heads))
    network.eval()
    x = normalise(torch.from_numpy(crops).float()[:, None])
    with torch.inference_mode():
        logits = (network.both_heads(x)[1] + network.both_heads(x.flip(3))[1]) / 2
    assert found is not None
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, torch.softmax(logits, 1).numpy(), atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 0.01
    empty = loaded(str(two_heads)).label_probabilities(crops[:0])
    assert empty is not None
    assert empty.shape == (0, 7)


def test_a_model_without_a_second_head_gives_no_labels(tiny_model: Path) -> None:
    assert loaded(str(tiny_model)).label_probabilities(crops_of(1.1)) is None


def test_half_precision_is_read_as_float32(two_heads: Path) -> None:
    stored, (network, _, _) = load_file(two_heads), read_model(str(two_heads))
    assert stored["head.3.weight"].dtype == torch.float16
    for name, value in network.state_dict().items():
        assert value.dtype in (torch.float32, torch.int64)
        np.testing.assert_array_equal(value.numpy(), stored[name].to(value.dtype).numpy())
    expected = loaded(str(two_heads)).predict([astronaut()], [FACES])
    check_contract(expected, [4])


@given(st.lists(st.floats(0.001, 1), min_size=8, max_size=8))
def test_valence_lies_between_minus_one_and_one(weights: list[float]) -> None:
    p = np.array([weights], np.float32) / np.sum(weights, dtype=np.float32)
    (value,) = valence(p)
    assert -1 <= value <= 1
    assert value == pytest.approx(p[0, 1] - p[0, 3:].max())


def test_valence_of_pure_expressions() -> None:
    values = dict(zip(EXPRESSIONS, valence(np.eye(8, dtype=np.float32)), strict=True))
    assert values.pop("happiness") == 1
    assert [values.pop(e) for e in ("neutral", "surprise")] == [0, 0]
    assert set(values.values()) == {-1}
    assert valence(np.zeros((0, 8), np.float32)).shape == (0,)


def gradient(height: int, width: int) -> Picture:
    """A picture whose grey value rises by one a column."""
    return np.repeat(np.arange(width, dtype=np.uint8)[None, :, None].repeat(height, 0), 3, 2)


def test_a_crop_is_the_square_around_the_box() -> None:
    frame = gradient(120, 200)
    crop = crop_face(frame, (76, 36, 124, 84), 1.0)
    assert crop.shape == (FACE_SIZE, FACE_SIZE)
    assert crop.dtype == np.uint8
    np.testing.assert_array_equal(crop, frame[36:84, 76:124, 0])


def test_the_side_is_the_geometric_mean_times_the_scale() -> None:
    frame = gradient(256, 256)
    crop = crop_face(frame, (100 - 18, 128 - 32, 100 + 18, 128 + 32), 2.0)  # sqrt(36 * 64) * 2 = 96, halved to 48
    np.testing.assert_allclose(crop.mean(0), 100 - 48 + 2 * np.arange(48) + 0.5, atol=0.5)


def test_a_small_face_is_enlarged() -> None:
    crop = crop_face(gradient(100, 100), (40, 40, 64, 64), 1.0)
    np.testing.assert_allclose(crop.mean(0)[1:-1], 40 + (np.arange(48)[1:-1] + 0.5) / 2 - 0.5, atol=1)


def test_a_crop_in_colour_has_the_channels_of_the_frame() -> None:
    frame = astronaut()
    crop = crop_face(frame, (100, 100, 164, 164), 1.0, 64, grey=False)
    np.testing.assert_array_equal(crop, frame[100:164, 100:164])


def test_grey_faces_for_a_model_in_colour_have_three_equal_channels() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (2, 10, 10), np.uint8)
    np.testing.assert_array_equal(fit(grey, 10, grey=False), np.stack([grey] * 3, -1))
    assert fit(grey, 7, grey=False).shape == (2, 7, 7, 3)


def test_beyond_the_edge_the_edge_repeats() -> None:
    frame = astronaut()[:60, :60]
    crop = crop_face(frame, (-24, -12, 24, 36), 1.0)
    grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
    padded = cv2.copyMakeBorder(grey, 48, 48, 48, 48, cv2.BORDER_REPLICATE)
    np.testing.assert_array_equal(crop, padded[36:84, 24:72])


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.tuples(st.floats(-200, 200), st.floats(-200, 200)),
    st.tuples(st.floats(0, 300), st.floats(0, 300)),
)
def test_any_box_gives_a_picture_out_of_the_frame(
    size: tuple[int, int], corner: tuple[float, float], extent: tuple[float, float]
) -> None:
    frame = np.random.default_rng(0).integers(50, 200, (*size, 3), np.uint8)
    crop = crop_face(frame, (*corner, corner[0] + extent[0], corner[1] + extent[1]), 1.1)
    assert crop.shape == (FACE_SIZE, FACE_SIZE)
    assert 49 <= crop.min() <= crop.max() <= 200


@given(st.floats(0.5, 2), st.floats(-40, 40), st.integers(0, 9))
def test_preprocessing_takes_out_contrast_and_brightness(contrast: float, brightness: float, seed: int) -> None:
    face = torch.from_numpy(np.random.default_rng(seed).uniform(60, 120, (1, 1, 48, 48)))
    a, b = normalise(face), normalise(face * contrast + brightness)
    assume(face.std() * contrast > 8)
    assert a.mean().abs() < 1e-6
    torch.testing.assert_close(a / a.std(), b / b.std())


def test_a_flat_picture_is_all_zero() -> None:
    assert normalise(torch.full((1, 1, 48, 48), 128.0)).abs().max() == 0


def test_the_cpu_runtime_reports_to_nobody(tiny_model: Path) -> None:
    """OpenVINO has the stub in place of what would send statistics to its maker."""
    ExpressionClassifier.load(str(tiny_model))
    from openvino.tools.ovc import telemetry_utils

    assert telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub"
