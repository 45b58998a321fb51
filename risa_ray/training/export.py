"""From a finished training run to a shipped model: thresholds chosen on validation, weights and figures written.

The card (.md) beside the figures (.json) is written by hand from them.

python -m risa_ray.training.export DATA RUN models/default.safetensors
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from risa_ray.training.data import Faces48, argmax_rule, drop_single_votes, split_ferplus, strict_rule
from risa_ray.training.train import accuracy, expected_calibration_error, logits_of
from risa_ray.vision.expressions import EXPRESSIONS
from risa_ray.vision.model_file import ModelSettings, header
from risa_ray.vision.network import FACE_SIZE, ExpressionNet

CROP_SCALE = 1.09
"""Side of a FER-2013 picture over the geometric mean of the sides of the MTCNN box in it: the median of 417 training
pictures on which MTCNN found the face (box 0.80 x 1.05 of the picture, centred)."""
BOX_SHORT_SIDE = 0.80
"""Shorter side of the MTCNN box over the picture's, from the same pictures."""
MAX_YAW_DEG = 60.0
"""Beyond it an eye is hidden. Not measured: FER-2013 has no head poses."""
_WANTED_ACCURACY = 0.90
_SIZES = (12, 14, 16, 20, 24, 28, 32, 40, 48)


def choose_min_confidence(probabilities: torch.Tensor, faces: Faces48) -> tuple[float, list[dict[str, float]]]:
    """The lowest threshold at which the answers given are right on `_WANTED_ACCURACY` of the faces (argmax rule).

    Returns:
        The threshold, and the coverage/accuracy curve that it was read off.
    """
    keep = argmax_rule(faces.votes)
    truth = drop_single_votes(faces.votes).argmax(1)[keep]
    confidence, answer = (v.numpy()[keep] for v in probabilities.max(1))
    curve: list[dict[str, float]] = []
    thresholds = np.arange(0.2, 0.91, 0.05)
    for threshold in thresholds:
        answered = confidence >= threshold
        if not answered.any():
            break
        curve.append(
            {
                "threshold": round(float(threshold), 2),
                "coverage": float(answered.mean()),
                "accuracy": float((answer[answered] == truth[answered]).mean()),
            }
        )
    good = [c["threshold"] for c in curve if c["accuracy"] >= _WANTED_ACCURACY]
    strictest = curve[-1]["threshold"] if curve else float(thresholds[0])
    return (good[0] if good else strictest), curve


def accuracy_by_size(model: nn.Module, faces: Faces48) -> dict[int, float]:
    """Strict accuracy when the pictures are reduced to a side of so many pixels and enlarged again."""
    result = {}
    for size in _SIZES:
        pictures = torch.from_numpy(faces.images).float().unsqueeze(1)
        if size < FACE_SIZE:
            small = functional.interpolate(pictures, size=(size, size), mode="area").round()
            pictures = functional.interpolate(small, size=(FACE_SIZE, FACE_SIZE), mode="bilinear")
        reduced = pictures.squeeze(1).round().clamp(0, 255).to(torch.uint8).numpy()
        result[size] = accuracy(logits_of(model, reduced), faces, "strict")[0]
    return result


def choose_min_face_px(by_size: dict[int, float]) -> float:
    """Shorter side of the smallest face on which at most a tenth of the full-size accuracy is lost."""
    full = by_size[FACE_SIZE]
    return round(min(size for size, value in by_size.items() if value >= 0.9 * full) * BOX_SHORT_SIDE, 1)


def report(model: nn.Module, faces: Faces48, temperature: float) -> dict[str, Any]:
    """Every figure of the card for one part of the data."""
    logits = logits_of(model, faces.images)
    keep = strict_rule(faces.votes)
    truth = drop_single_votes(faces.votes).argmax(1)[keep]
    probabilities = torch.softmax(logits[torch.from_numpy(keep)] / temperature, 1)
    right = probabilities.argmax(1).numpy() == truth
    return {
        "strict": accuracy(logits, faces, "strict"),
        "argmax": accuracy(logits, faces, "argmax"),
        "ece_strict": expected_calibration_error(probabilities, truth),
        "recall_strict": {
            e: (float(right[truth == i].mean()) if (truth == i).any() else None, int((truth == i).sum()))
            for i, e in enumerate(EXPRESSIONS)
        },
    }


def export(data: Path, run: Path, out: Path) -> dict[str, Any]:
    """Write the model file and the figures for its card (`out` with .json); returns the figures."""
    trained = json.loads((run / "figures.json").read_text())
    recipe, temperature = trained["recipe"], trained["temperature"]
    weights = load_file(run / "model.safetensors")
    model = ExpressionNet(recipe["widths"], recipe["blocks"], len(EXPRESSIONS), recipe["dropout"])
    model.load_state_dict(weights)
    split = split_ferplus(data)
    validation = logits_of(model, split.validation.images)
    min_confidence, curve = choose_min_confidence(torch.softmax(validation / temperature, 1), split.validation)
    by_size = accuracy_by_size(model, split.validation)
    settings = ModelSettings(
        widths=tuple(recipe["widths"]),
        blocks=recipe["blocks"],
        temperature=temperature,
        crop_scale=CROP_SCALE,
        min_confidence=min_confidence,
        min_face_px=choose_min_face_px(by_size),
        max_yaw_deg=MAX_YAW_DEG,
    )
    save_file({k: v.contiguous() for k, v in weights.items()}, out, header(settings))
    figures = {
        "recipe": recipe,
        "faces": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        "removed": split.removed,
        "settings": {"min_confidence": min_confidence, "min_face_px": settings.min_face_px},
        "temperature": temperature,
        "coverage_accuracy_validation": curve,
        "strict_by_size_validation": by_size,
        "validation": report(model, split.validation, temperature),
        "public_test": report(model, split.test, temperature),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    print(json.dumps(export(arguments.data, arguments.run, arguments.out), indent=1))


if __name__ == "__main__":
    main()
