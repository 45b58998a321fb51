"""Augmented faces keep shape and range, come again with the same seed, and stay recognisable."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from risa_ray.training.augment import augment
from risa_ray.training.config import Recipe

RECIPE = Recipe()


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def faces(n: int, height: int = 48, width: int = 48) -> Tensor:
    """Smooth pictures in 0..255."""
    coarse = torch.rand(n, 1, 6, 6, generator=seeded(1)) * 255
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(24, 64), st.integers(24, 64), st.integers(0, 2**31))
def test_shape_type_and_range_stay(n: int, height: int, width: int, seed: int) -> None:
    given_faces = faces(n, height, width)
    before = given_faces.clone()
    out = augment(given_faces, RECIPE, seeded(seed))
    assert out.shape == given_faces.shape
    assert out.dtype == torch.float32
    assert out.isfinite().all()
    assert out.min() >= 0
    assert out.max() <= 255
    assert torch.equal(given_faces, before), "the input is left alone"


def test_the_same_seed_gives_the_same_and_another_does_not() -> None:
    batch = faces(16)
    assert torch.equal(augment(batch, RECIPE, seeded(4)), augment(batch, RECIPE, seeded(4)))
    assert not torch.equal(augment(batch, RECIPE, seeded(4)), augment(batch, RECIPE, seeded(5)))


def test_the_global_generator_is_not_touched() -> None:
    state = torch.get_rng_state()
    augment(faces(8), RECIPE, seeded(4))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_batch_is_varied_picture_by_picture() -> None:
    out = augment(faces(1).repeat(16, 1, 1, 1), RECIPE, seeded(4))
    differences = [(out[i] - out[j]).abs().mean() for i in range(16) for j in range(i)]
    assert min(differences) > 1


def test_augmented_faces_stay_like_themselves() -> None:
    """A variant correlates more with its own picture, as it is or mirrored, than with the others."""
    batch = faces(40)
    out = augment(batch, RECIPE, seeded(2))

    def unit(x: Tensor) -> Tensor:
        x = x.flatten(1)
        x = x - x.mean(1, keepdim=True)
        return x / x.norm(dim=1, keepdim=True)

    likeness = torch.maximum(unit(out) @ unit(batch).T, unit(out) @ unit(batch.flip(3)).T)
    assert (likeness.argmax(1) == torch.arange(40)).float().mean() > 0.7, "by chance 0.03"


def unlike(batch: Tensor, recipe: Recipe) -> int:
    """How many pictures differ between an augmentation of this recipe and the mildest one with the same chance."""
    mildest = Recipe(scale=(1.0, 1.0), reduced=0, erased=0)
    one, other = augment(batch, recipe, seeded(3)), augment(batch, mildest, seeded(3))
    return int(((one - other).abs().amax((1, 2, 3)) > 1).sum())


def test_the_recipe_says_how_many_lose_resolution_or_a_rectangle_and_how_much_larger_they_get() -> None:
    batch = faces(64)
    assert unlike(batch, Recipe(scale=(1.0, 1.0), reduced=0, erased=0)) == 0
    assert 0 < unlike(batch, Recipe(scale=(1.0, 1.0), reduced=0, erased=0.3)) < 40
    assert unlike(batch, Recipe(scale=(1.0, 1.0), reduced=0, erased=1)) > 55
    assert unlike(batch, Recipe(scale=(1.2, 1.3), reduced=0, erased=0)) == 64
    sharp = (torch.rand(64, 1, 48, 48, generator=seeded(1)) > 0.5).float() * 255
    soft = augment(sharp, Recipe(reduced=1, erased=0), seeded(3)).diff(dim=3).abs().mean((1, 2, 3))
    plain = augment(sharp, Recipe(reduced=0, erased=0), seeded(3)).diff(dim=3).abs().mean((1, 2, 3))
    assert (soft < 0.8 * plain).all()


@pytest.mark.parametrize("value", [0.0, 255.0])
def test_flat_pictures_are_taken(value: float) -> None:
    out = augment(torch.full((4, 1, 48, 48), value), RECIPE, seeded(1))
    assert out.isfinite().all()
