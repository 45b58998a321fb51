"""Augmentation of batches of grey faces, as one geometric resampling plus photometric changes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from risa_ray.training.config import Recipe


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return _random(n, generator) * (high - low) + low


def _random(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, device=generator.device)


def reduced(images: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Pictures uint8 (n, s, s) averaged down to a side of `size` pixels and enlarged again (bilinear), same shape."""
    side = images.shape[1]
    if size >= side:
        return images
    pictures = torch.from_numpy(images).float().unsqueeze(1)
    small = functional.interpolate(pictures, size=(size, size), mode="area").round()
    large = functional.interpolate(small, size=(side, side), mode="bilinear").round().clamp(0, 255)
    return np.asarray(large.squeeze(1).to(torch.uint8).numpy(), np.uint8)


def augment(faces: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Random variants of faces float32 (n, 1, H, W) in 0..255, same shape; the generator is on the faces' device.

    Flip, rotation to 15 deg, shift to 10 %, scale, loss of resolution, contrast, brightness, random erasing; how much
    of what the recipe leaves open is its `scale`, `reduced` and `erased`.
    """
    n, _, height, width = faces.shape
    angle = _uniform(n, -15, 15, generator) * math.pi / 180
    scale = 1 / _uniform(n, *recipe.scale, generator)
    flip = torch.where(_random(n, generator) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    shift = _uniform(2 * n, -0.2, 0.2, generator).view(2, n)
    theta = torch.stack([torch.stack([cos * flip, -sin, shift[0]], 1), torch.stack([sin * flip, cos, shift[1]], 1)], 1)
    grid = functional.affine_grid(theta, [n, 1, height, width], align_corners=False)
    out = functional.grid_sample(faces, grid, mode="bilinear", padding_mode="border", align_corners=False)

    small = _random(n, generator) < recipe.reduced
    if bool(small.any()):
        side = int(torch.randint(14, 40, (1,), generator=generator, device=generator.device))
        reduced = functional.interpolate(out[small], size=(side, side), mode="area")
        out[small] = functional.interpolate(reduced, size=(height, width), mode="bilinear", align_corners=False)

    mean = out.mean((2, 3), keepdim=True)
    contrast = _uniform(n, 0.7, 1.3, generator).view(n, 1, 1, 1)
    brightness = _uniform(n, -30, 30, generator).view(n, 1, 1, 1)
    out = (out - mean) * contrast + mean + brightness

    ys = torch.arange(height, device=faces.device).view(1, -1, 1)
    xs = torch.arange(width, device=faces.device).view(1, 1, -1)
    eh, ew = _uniform(n, 6, 18, generator), _uniform(n, 6, 18, generator)
    cy, cx = _uniform(n, 0, height, generator), _uniform(n, 0, width, generator)
    erase = _random(n, generator) < recipe.erased
    hole = ((ys - cy.view(n, 1, 1)).abs() < eh.view(n, 1, 1) / 2) & (
        (xs - cx.view(n, 1, 1)).abs() < ew.view(n, 1, 1) / 2
    )
    hole &= erase.view(n, 1, 1)
    return torch.where(hole.unsqueeze(1), mean, out).clamp(0, 255)
