"""A small set of faces in the format of the shared one, and a recipe that trains on it in a moment."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from risa_ray.training.config import Recipe, TrainConfig
from risa_ray.training.data import FER2013_LABELS, VOTE_COLUMNS
from risa_ray.vision import EXPRESSIONS

TINY = Recipe(widths=(4, 8), blocks=1, epochs=2, batch=8)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 smooth random faces to train and validate on, 6 to test, each of one expression."""
    folder, random = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    with (
        zipfile.ZipFile(folder / "images.zip", "w") as pictures,
        (folder / "labels.csv").open("w", newline="") as table,
    ):
        writer = csv.writer(table)
        writer.writerow(["image", "usage", "fer2013", *VOTE_COLUMNS])
        for index in range(30):
            coarse = random.uniform(0, 255, (8, 8)).astype(np.float32)
            face = cv2.resize(coarse, (48, 48), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(face).save(buffer, "PNG")
            name = f"face{index:02}.png"
            pictures.writestr(name, buffer.getvalue())
            ballot = [0] * len(VOTE_COLUMNS)
            ballot[index % len(EXPRESSIONS)] = 10
            usage = "Training" if index < 24 else "PublicTest"
            writer.writerow([name, usage, FER2013_LABELS[index % len(FER2013_LABELS)], *ballot])
    return folder


@pytest.fixture
def tiny_run(data: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """A config of a run in the test's folder: its name there, and what differs from the tiny recipe."""

    def make(name: str = "run", workers: int = 1, gpu: bool = False, **recipe: object) -> TrainConfig:
        changed = Recipe.model_validate(TINY.model_dump() | recipe)
        return TrainConfig(images=str(data), out=str(tmp_path / name), workers=workers, gpu=gpu, recipe=changed)

    return make
