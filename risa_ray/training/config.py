"""The YAML that describes a training run: the faces, the recipe, the workers, the folder for what comes of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from risa_ray.config import read_yaml
from risa_ray.config_base import Model
from risa_ray.config_faults import explain
from risa_ray.errors import InputError
from risa_ray.vision.network import FACE_SIZE

Share = Annotated[float, Field(ge=0, le=1)]


class Recipe(Model):
    """How a network is trained. Runs of the same recipe, faces, workers and kind of device differ by rounding alone.

    Attributes:
        widths, blocks, stem, dropout: shape of the network, see `ExpressionNet`.
        batch: faces per step, of all workers together; batch normalisation sees a worker's share of it.
        peak_lr, weight_decay: of SGD with Nesterov momentum in one cycle, the momentum falling from 0.95 to 0.85 and
            rising again (Smith and Topin 2019).
        ema: momentum of the averaged weights, which are what is kept (Polyak and Juditsky 1992).
        label_weight: weight of the second head's loss, on the original FER-2013 labels; 0 trains without it.
        scale: the least and the greatest enlargement of a face; a detector's box is tighter than a FER-2013 picture.
        reduced: share of the faces that lose resolution, down to a side of 14..40 pixels.
        erased: share of the faces that lose a rectangle (random erasing, Zhong et al. 2020).
        mixup: alpha of mixup (Zhang et al. 2018); 0 for none.
        plain_epochs: epochs at the end without mixup.
        coarse_epochs: epochs at the start on pictures reduced to a side of `coarse_side` pixels, which cost the less
            for it (progressive resizing; Touvron et al. 2019 on why the last epochs have full resolution).
        teacher_weight: share of the teachers' answers in the targets (Hinton et al. 2015).
    """

    widths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (32, 64, 128, 256)
    blocks: int = Field(default=2, ge=1)
    stem: int = Field(default=0, ge=0)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    epochs: int = Field(default=45, ge=1)
    batch: int = Field(default=128, ge=2)
    peak_lr: float = Field(default=0.15, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    ema: float = Field(default=0.999, ge=0, lt=1)
    label_weight: float = Field(default=0.2, ge=0)
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.85, 1.25)
    reduced: Share = 0.25
    erased: Share = 0.25
    mixup: float = Field(default=0, ge=0)
    plain_epochs: int = Field(default=10, ge=0)
    coarse_epochs: int = Field(default=0, ge=0)
    coarse_side: int = Field(default=32, ge=8, lt=FACE_SIZE)
    teacher_weight: Share = 0.5
    seed: int = Field(default=7, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _sensible(self) -> Recipe:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale {list(self.scale)}: give the smaller number first")
        if self.coarse_epochs >= self.epochs:
            raise ValueError(f"coarse_epochs {self.coarse_epochs} leave none of {self.epochs} at full resolution")
        return self


class TrainConfig(Model):
    """A run: `images` and `labels` as `read_faces` takes them, `out` is the run's folder.

    Attributes:
        teachers: names or paths of models whose answers are learned from as well.
        refit: folder of a finished run of the same recipe. All of Training is trained on, the part too that chose
            there; the last epoch is kept, with that run's temperature and thresholds.
        workers: processes that share each batch; with `gpu` a GPU each, else `cpus_per_worker` cores.
    """

    images: str
    labels: str | None = None
    out: str
    teachers: tuple[str, ...] = ()
    refit: str | None = None
    workers: int = Field(default=1, ge=1)
    cpus_per_worker: int = Field(default=1, ge=1)
    gpu: bool = False
    recipe: Recipe = Recipe()

    @model_validator(mode="after")
    def _divisible(self) -> TrainConfig:
        if self.recipe.batch % self.workers:
            raise ValueError(f"recipe.batch {self.recipe.batch} cannot be shared by {self.workers} workers evenly")
        return self


def load_train_config(path: Path) -> TrainConfig:
    """Read and check a training config. Relative paths in it are relative to the file.

    Raises:
        InputError: one line that names the file, the key, the value and the way out.
    """
    raw = read_yaml(path, "images", "configs/training/")
    try:
        config = TrainConfig.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error, raw, _known_keys)}") from None
    base = path.resolve().parent

    def absolute(value: str) -> str:
        return str(base / os.path.expanduser(value))

    teachers = tuple(absolute(t) if "/" in t or t.endswith(".safetensors") else t for t in config.teachers)
    labels = None if config.labels is None else absolute(config.labels)
    refit = None if config.refit is None else absolute(config.refit)
    paths = {"images": absolute(config.images), "labels": labels, "out": absolute(config.out)}
    return config.model_copy(update={**paths, "teachers": teachers, "refit": refit})


def override(
    config: TrainConfig,
    *,
    images: str | None = None,
    labels: str | None = None,
    out: str | None = None,
    epochs: int | None = None,
) -> TrainConfig:
    """The config with what the command line says instead; None keeps what is there.

    Raises:
        InputError: epochs below 1, or none beyond the recipe's coarse ones.
    """
    if epochs is not None and epochs < 1:
        raise InputError(f"--epochs {epochs}: give at least 1")
    if epochs is not None and epochs <= config.recipe.coarse_epochs:
        raise InputError(f"--epochs {epochs}: the recipe has {config.recipe.coarse_epochs} coarse_epochs; give more")
    if images and not labels:
        config = config.model_copy(update={"labels": None})
    given = {"images": images, "labels": labels, "out": out}
    config = config.model_copy(update={k: os.path.abspath(v) for k, v in given.items() if v})
    return (
        config
        if epochs is None
        else config.model_copy(update={"recipe": config.recipe.model_copy(update={"epochs": epochs})})
    )


def _known_keys(section: str) -> list[str]:
    return list((Recipe if section == "recipe" else TrainConfig).model_fields)
