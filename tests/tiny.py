"""A small, randomly initialised expression model: loaded in a tenth of the time of the one that ships."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from risa_ray.vision.model_file import ModelSettings, header
from risa_ray.vision.network import ExpressionNet

SETTINGS = ModelSettings(
    widths=(4, 8),
    blocks=1,
    temperature=1.5,
    crop_scale=1.1,
    min_confidence=0.3,
    min_face_px=20.0,
    max_yaw_deg=50.0,
)


def write_tiny_model(folder: Path, **changes: Any) -> Path:
    """Write a model file whose settings differ from the usual ones as asked."""
    settings = replace(SETTINGS, **changes)
    torch.manual_seed(3)
    network = ExpressionNet(settings.widths, settings.blocks, 8, dropout=0.0)
    # a large last layer, so that the answers differ clearly from face to face
    weights = {k: v.contiguous() * (20 if k == "head.3.weight" else 1) for k, v in network.state_dict().items()}
    path = folder / "tiny.safetensors"
    save_file(weights, path, header(settings))
    return path
