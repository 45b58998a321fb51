"""What is read off the validation part once a network is trained: temperature, thresholds, the settings that travel."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from risa_ray.training.augment import reduced
from risa_ray.training.config import Recipe
from risa_ray.training.data import Faces48, argmax_rule, drop_single_votes
from risa_ray.training.metrics import coverage_curve
from risa_ray.training.trainer import logits_of, strict_accuracy
from risa_ray.vision.model_file import ModelSettings
from risa_ray.vision.network import FACE_SIZE, ExpressionNet

CROP_SCALE = 1.09
"""Side of a FER-2013 picture over the geometric mean of the sides of the MTCNN box in it: the median of 417 training
pictures on which MTCNN found the face (box 0.80 x 1.05 of the picture, centred)."""
BOX_SHORT_SIDE = 0.80
"""Shorter side of the MTCNN box over the picture's, from the same pictures."""
MAX_YAW_DEG = 60.0
"""Beyond it an eye is hidden. Not measured: FER-2013 has no head poses."""
_WANTED_ACCURACY = 0.90
_THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(4, 19))
_SIZES = (12, 14, 16, 20, 24, 28, 32, 40, 48)


def calibrate(network: ExpressionNet, recipe: Recipe, validation: Faces48) -> tuple[ModelSettings, dict[str, object]]:
    """Temperature, thresholds and crop of a trained network, and the curves they were read off."""
    logits = logits_of(network, validation.images)
    temperature = fit_temperature(logits, validation)
    min_confidence, curve = choose_min_confidence(torch.softmax(logits / temperature, 1), validation)
    by_size = accuracy_by_size(network, validation)
    settings = ModelSettings(
        widths=recipe.widths,
        blocks=recipe.blocks,
        stem=recipe.stem,
        temperature=temperature,
        crop_scale=CROP_SCALE,
        min_confidence=min_confidence,
        min_face_px=choose_min_face_px(by_size),
        max_yaw_deg=MAX_YAW_DEG,
        labels=0 if network.label_head is None else network.label_head.out_features,
    )
    reached = any(point["accuracy"] >= _WANTED_ACCURACY for point in curve)
    return settings, {"wanted_accuracy_reached": reached, "coverage_accuracy": curve, "strict_by_size": by_size}


def fit_temperature(logits: Tensor, faces: Faces48) -> float:
    """The temperature with the least cross entropy against the raters' winners (Guo et al. 2017).

    Over the faces of the argmax rule, the widest one with a right answer, since a store does not see only faces that
    people agree on.
    """
    keep = torch.from_numpy(argmax_rule(faces.votes))
    truth = torch.from_numpy(drop_single_votes(faces.votes).argmax(1))[keep]
    grid = torch.linspace(0.3, 3.0, 271)
    losses = [functional.cross_entropy(logits[keep] / t, truth).item() for t in grid]
    return round(float(grid[int(np.argmin(losses))]), 2)


def choose_min_confidence(probabilities: Tensor, faces: Faces48) -> tuple[float, list[dict[str, float]]]:
    """The lowest threshold at which the answers given are right on `_WANTED_ACCURACY` of the faces (argmax rule).

    Returns:
        The threshold, and the coverage/accuracy curve that it was read off.
    """
    keep = argmax_rule(faces.votes)
    truth = drop_single_votes(faces.votes).argmax(1)[keep]
    confidence, answer = (v.numpy()[keep] for v in probabilities.max(1))
    curve: list[dict[str, float]] = [
        point | {"accuracy": point["accuracy"][0]}
        for point in coverage_curve(confidence, answer == truth, _THRESHOLDS)
        if point["accuracy"]
    ]
    good = [point["threshold"] for point in curve if point["accuracy"] >= _WANTED_ACCURACY]
    return (good[0] if good else curve[-1]["threshold"] if curve else _THRESHOLDS[0]), curve


def accuracy_by_size(model: nn.Module, faces: Faces48) -> dict[int, float]:
    """Strict accuracy when the pictures are reduced to a side of so many pixels and enlarged again."""
    return {size: strict_accuracy(logits_of(model, reduced(faces.images, size)), faces) for size in _SIZES}


def choose_min_face_px(by_size: dict[int, float]) -> float:
    """Shorter side of the smallest face on which at most a tenth of the full-size accuracy is lost."""
    full = by_size[FACE_SIZE]
    return round(min(size for size, value in by_size.items() if value >= 0.9 * full) * BOX_SHORT_SIDE, 1)
