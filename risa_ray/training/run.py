"""The folder of a training run and the loop that fills it, alike under Ray and without."""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from risa_ray.errors import InputError
from risa_ray.training.calibration import calibrate
from risa_ray.training.config import TrainConfig
from risa_ray.training.data import Faces48, Split, split_faces, strict_rule
from risa_ray.training.plots import write_curves
from risa_ray.training.readers import read_faces
from risa_ray.training.trainer import Trainer, new_network
from risa_ray.vision.classifier import read_model
from risa_ray.vision.model_file import ModelSettings, header, read_own_settings
from risa_ray.vision.network import ExpressionNet

CHECKPOINT = "checkpoint.pt"
RAY_CHECKPOINTS = "checkpoints"
"""Ray Train's folder of checkpoints, each with a CHECKPOINT in it."""
_PROGRESS_S = 10


class RunFolder:
    """config.yaml and progress.log; history.json and curves.png after every epoch; in the end model.safetensors."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def progress(self) -> Path:
        return self.path / "progress.log"

    def take(self, config: TrainConfig) -> None:
        """Make the folder this run's; one that holds the same run already is gone on with.

        Raises:
            InputError: it holds another run, or cannot be written.
        """
        # As it lies in the folder it can be run again.
        text = yaml.safe_dump(config.model_dump(mode="json") | {"out": "."})
        kept = self.path / "config.yaml"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock()
            if kept.exists() and kept.read_text(encoding="utf-8") != text:
                raise InputError(f"{self.path}: holds a run with another config; choose another 'out' or remove it")
            kept.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror}); choose another 'out'") from None

    def _lock(self) -> None:
        """Keep other processes out until this one ends."""
        self._held = (self.path / ".lock").open("w")
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{self.path}: another process trains in it; wait, or choose another 'out'") from None

    def refuse_other(self, name: str, way_on: str) -> None:
        """The two ways to train keep their checkpoints apart, so a run is gone on with as it was begun.

        Raises:
            InputError: there is a checkpoint of the other way.
        """
        if (self.path / name).exists():
            raise InputError(f"{self.path}: holds a run that was begun in another way; go on with {way_on}")

    def say(self, line: str) -> None:
        with self.progress.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def epoch(self, history: list[dict[str, float]]) -> None:
        replace_text(self.path / "history.json", json.dumps(history, indent=1, allow_nan=False))
        write_curves(history, self.path / "curves.png")

    def finish(
        self,
        best: tuple[float, dict[str, Tensor]],
        history: list[dict[str, float]],
        config: TrainConfig,
        split: Split,
        kept: ModelSettings | None,
    ) -> None:
        """Calibrate the best network on validation and write it as a model that the classifier takes.

        Args:
            best: strict accuracy on validation, and weights.
            kept: settings of the run that is refitted, in place of a calibration.
        """
        self.epoch(history)
        strict, weights = best
        stored = {k: in_half(v) for k, v in weights.items()}
        network = new_network(config.recipe)
        # Calibrated is what ships, rounding included.
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in stored.items()})
        settings, curves = (kept, {}) if kept else calibrate(network.eval(), config.recipe, split.validation)
        part = self.path / "model.safetensors.part"
        save_file(stored, part, header(settings))
        os.replace(part, self.path / "model.safetensors")
        figures = {
            **({"refit": config.refit} if kept else {"validation_strict": strict, "best_epoch": _best_epoch(history)}),
            "faces": {"train": len(split.train), "validation": len(split.validation)},
            "removed": split.removed,
            "parameters": sum(p.numel() for p in network.parameters()),
            "temperature": settings.temperature,
            "min_confidence": settings.min_confidence,
            "min_face_px": settings.min_face_px,
            "recipe": config.recipe.model_dump(mode="json"),
            "workers": config.workers,
            "gpu": config.gpu,
            "torch": torch.__version__,
            **curves,
        }
        replace_text(self.path / "figures.json", json.dumps(figures, indent=1, allow_nan=False))


def _best_epoch(history: list[dict[str, float]]) -> float:
    return max(history, key=lambda row: (row["validation_strict"], row["epoch"]))["epoch"]


@dataclass(frozen=True)
class _Chosen:
    """The run that another one refits."""

    config: TrainConfig
    settings: ModelSettings
    faces: int


def _read_chosen(folder: Path) -> _Chosen:
    """A finished run.

    Raises:
        InputError: it is not there, or has not ended.
    """
    try:
        config = TrainConfig.model_validate(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))
        if not (folder / "model.safetensors").is_file():
            raise InputError(f"refit {folder}: the run has not ended; go on with it first")
        faces = json.loads((folder / "figures.json").read_text(encoding="utf-8"))["faces"]
        settings = read_own_settings(folder / "model.safetensors")
        return _Chosen(config, settings, sum(faces.values()))
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"refit {folder}: not the folder of a training run; give one that has ended") from None


def _check_repeats(config: TrainConfig, faces: int, chosen: _Chosen) -> None:
    """Refuse a refit of something else than what was chosen.

    Raises:
        InputError: it differs in the recipe (but for the seed), the teachers or the faces.
    """
    mine, its = (
        c.recipe.model_dump() | {"teachers": [Path(t).name for t in c.teachers]} for c in (config, chosen.config)
    )
    other = [name for name in mine if name != "seed" and mine[name] != its[name]]
    if faces != chosen.faces:
        other.append(f"faces ({chosen.faces:,}, not {faces:,})")
    if other:
        way_out = f"copy what {config.refit}/config.yaml says"
        raise InputError(f"refit {config.refit}: trained with another {', '.join(other)}; {way_out}")


def in_half(weights: Tensor) -> Tensor:
    """Weights of convolutions and linear maps in half precision; statistics and biases stay as they are."""
    return weights.half().contiguous() if weights.ndim > 1 else weights.contiguous()


@dataclass(frozen=True)
class Prepared:
    """A run of which everything has been read and checked that can be before it starts."""

    config: TrainConfig
    split: Split
    folder: RunFolder
    kept: ModelSettings | None
    """Settings of the run that is refitted."""


def prepare(config: TrainConfig, say: Callable[[str], None]) -> Prepared:
    """Read the faces, look for the teachers, take the run's folder.

    Args:
        say: told what was left out of the faces.

    Raises:
        InputError: the faces, a teacher, the run to refit or the run folder is no good.
    """
    read_teachers(config)
    chosen = None if config.refit is None else _read_chosen(Path(config.refit))
    split = read_split(config, say)
    if chosen is not None:
        split = split.joined()
        say(f"refit: {len(split.train):,} faces to train on, none to validate on")
    if config.recipe.label_weight and not (split.train.labels >= 0).any():
        say("no face has an original FER-2013 label: trained without the second head")
        config = config.model_copy(update={"recipe": config.recipe.model_copy(update={"label_weight": 0.0})})
    if chosen is not None:
        _check_repeats(config, len(split.train), chosen)
    folder = RunFolder(Path(config.out))
    folder.take(config)
    return Prepared(config, split, folder, None if chosen is None else chosen.settings)


def read_split(config: TrainConfig, say: Callable[[str], None]) -> Split:
    """The faces of a run, told what was left out of them.

    Raises:
        InputError: they cannot be read, or are too few to train or to validate on.
    """
    faces = read_faces(Path(config.images), Path(config.labels) if config.labels else None)
    if faces.faults:
        say(faces.describe_faults())
    split = split_faces(faces)
    if not strict_rule(split.validation.votes).any():
        raise InputError(
            f"{config.images}: of {len(split.train)} faces none is left to validate on that raters agree on; add faces"
        )
    if len(split.train) < config.recipe.batch:
        raise InputError(
            f"{config.images}: {len(split.train)} faces to train on, but recipe.batch {config.recipe.batch}"
        )
    removed = "; ".join(f"{count:,} ({reason})" for reason, count in split.removed.items() if count)
    say(f"{len(split.train):,} faces to train on, {len(split.validation):,} to validate on; left out: {removed or 0}")
    return split


def read_teachers(config: TrainConfig) -> list[ExpressionNet]:
    """The networks of a config's teachers.

    Raises:
        InputError: one cannot be read.
    """
    return [read_model(name)[0] for name in config.teachers]


def run_epochs(
    trainer: Trainer,
    validation: Faces48,
    folder: RunFolder,
    keep: Callable[[dict[str, float], dict[str, Any]], None],
    say: Callable[[str], None],
) -> None:
    """Train to the end as the worker that keeps the books; `keep` stores each epoch's row and state."""
    epochs = trainer.epochs
    while not trainer.done:
        number, said = len(trainer.history) + 1, time.monotonic()

        def on_step(step: int, steps: int, loss: float, number: int = number) -> None:
            nonlocal said
            if time.monotonic() - said >= _PROGRESS_S:
                said = time.monotonic()
                say(f"epoch {number}/{epochs}  step {step}/{steps}  loss {loss:.4f}")

        row = trainer.assess(trainer.epoch(on_step), validation)
        keep(row, trainer.state())
        folder.epoch(trainer.history)
        seen = ""
        if len(validation):
            seen = f"  validation {row['validation_loss']:.4f}  strict {row['validation_strict']:.2%}"
        say(
            f"epoch {number}/{epochs}  loss {row['loss']:.4f}{seen}  lr {row['lr']:.4f}"
            f"  {row['images_per_s']:.0f} images/s  {(epochs - number) * row['seconds'] / 60:.0f} min left"
        )


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint; one that is there is replaced whole or not at all."""
    part = path.with_name(path.name + ".part")
    torch.save(state, part)
    os.replace(part, path)


def load_state(path: Path) -> dict[str, Any]:
    """A checkpoint: tensors and plain values; anything else in it is refused, not executed.

    Raises:
        InputError: it is none, or damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(f"{path}: not a whole checkpoint ({reason}); remove it to start anew") from None
    return state


def replace_text(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text + "\n", encoding="utf-8")
    os.replace(part, path)
