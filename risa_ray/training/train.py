"""Train the expression model on FER-2013 faces with FER+ votes.

    python -m risa_ray.training.train DATA OUT [--epochs 30] [--device cuda] [--widths 64,128,256,512]

Everything is chosen on the validation part (`split_ferplus`); `risa_ray.training.export` reports on PublicTest.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from risa_ray.errors import InputError
from risa_ray.training.augment import augment
from risa_ray.training.data import Faces48, argmax_rule, drop_single_votes, soft_targets, split_ferplus, strict_rule
from risa_ray.vision.expressions import EXPRESSIONS
from risa_ray.vision.network import ExpressionNet
from risa_ray.vision.preprocess import normalise


@dataclass(frozen=True)
class Recipe:
    widths: tuple[int, ...] = (24, 48, 96, 192)
    blocks: int = 2
    dropout: float = 0.3
    epochs: int = 30
    batch: int = 128
    peak_lr: float = 0.15
    weight_decay: float = 5e-4
    ema: float = 0.999
    seed: int = 7


def logits_of(model: nn.Module, images: npt.NDArray[np.uint8], batch: int = 256) -> Tensor:
    """Logits float32 (n, 8) on the CPU, averaged over the picture and its mirror image."""
    model.eval()
    device = next(model.parameters()).device
    out = []
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            x = normalise(torch.from_numpy(images[start : start + batch]).to(device).float().unsqueeze(1))
            out.append(((model(x).float() + model(x.flip(3)).float()) / 2).cpu())
    return torch.cat(out)


def accuracy(logits: Tensor, faces: Faces48, rule: str) -> tuple[float, int]:
    """Share of right answers among the faces that a rule ("strict" or "argmax") keeps, and their number."""
    keep = (strict_rule if rule == "strict" else argmax_rule)(faces.votes)
    truth = drop_single_votes(faces.votes).argmax(1)
    right = logits.argmax(1).numpy()[keep] == truth[keep]
    return float(right.mean()), int(keep.sum())


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature with the least cross entropy against the vote shares (Guo et al. 2017)."""
    grid = torch.linspace(0.5, 2.5, 201)
    losses = [functional.cross_entropy(logits / t, targets).item() for t in grid]
    return float(grid[int(np.argmin(losses))])


def expected_calibration_error(probabilities: Tensor, truth: npt.NDArray[np.int64], bins: int = 15) -> float:
    """ECE over equal-width confidence bins (Guo et al. 2017)."""
    confidence, answer = probabilities.max(1)
    right = torch.from_numpy(answer.numpy() == truth).float()
    error = 0.0
    for low in np.linspace(0, 1, bins, endpoint=False):
        inside = (confidence > low) & (confidence <= low + 1 / bins)
        if inside.any():
            error += float(inside.float().mean() * (right[inside].mean() - confidence[inside].mean()).abs())
    return error


class Trainer:
    """All that training changes: networks, optimizer, random numbers, history. A checkpoint holds it.

    Args:
        faces: to train on; kept on the device as bytes.
        device: where the arithmetic is done, with bfloat16 autocast.

    Raises:
        InputError: there are fewer faces than a batch has.
    """

    def __init__(self, faces: Faces48, recipe: Recipe, device: torch.device) -> None:
        if len(faces) < recipe.batch:
            raise InputError(f"{len(faces)} faces to train on are fewer than a batch of {recipe.batch}; add faces")
        self._recipe = recipe
        self._device = device
        self._generator = torch.Generator(device).manual_seed(recipe.seed)
        torch.manual_seed(recipe.seed)
        self._images = torch.from_numpy(faces.images).to(device)
        self._targets = torch.from_numpy(soft_targets(faces.votes)).to(device)
        model = ExpressionNet(recipe.widths, recipe.blocks, len(EXPRESSIONS), recipe.dropout)
        self._model = model.to(device).to(memory_format=torch.channels_last)
        self.averaged = copy.deepcopy(self._model)
        self._optimizer = _optimizer(self._model, recipe)
        self._steps = len(faces) // recipe.batch
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, recipe.peak_lr, total_steps=recipe.epochs * self._steps, pct_start=0.2, div_factor=15
        )
        self.history: list[dict[str, Any]] = []
        self.best = (0.0, _copy_of(self.averaged))

    def epoch(self) -> float:
        """One pass over the faces; returns the mean loss."""
        self._model.train()
        recipe, total = self._recipe, 0.0
        order = torch.randperm(len(self._images), generator=self._generator, device=self._device)
        for step in range(self._steps):
            total += self._step(order[step * recipe.batch : (step + 1) * recipe.batch])
            done = len(self.history) * self._steps + step + 1
            _average(self.averaged, self._model, min(recipe.ema, done / (done + 10)))
            if step % 50 == 49:
                print(f"  {step + 1}/{self._steps} loss {total / (step + 1):.4f}", flush=True)
        return total / self._steps

    def _step(self, index: Tensor) -> float:
        x = normalise(augment(self._images[index].float().unsqueeze(1), self._generator))
        with torch.autocast(self._device.type, torch.bfloat16):
            logits = self._model(x.contiguous(memory_format=torch.channels_last))
        loss = functional.cross_entropy(logits.float(), self._targets[index])
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        self._schedule.step()
        return loss.item()

    def assess(self, loss: float, validation: Faces48, seconds: float) -> dict[str, Any]:
        """Enter an epoch into the history; the averaged network is kept if it is the best on validation so far."""
        logits = logits_of(self.averaged, validation.images)
        targets = torch.from_numpy(soft_targets(validation.votes))
        strict, _ = accuracy(logits, validation, "strict")
        row = {
            "epoch": len(self.history) + 1,
            "loss": loss,
            "validation_loss": functional.cross_entropy(logits, targets).item(),
            "validation_strict": strict,
            "lr": self._schedule.get_last_lr()[0],
            "seconds": seconds,
        }
        self.history.append(row)
        if strict >= self.best[0]:
            self.best = (strict, _copy_of(self.averaged))
        return row

    def save(self, path: Path) -> None:
        """Write a checkpoint; one that is there is replaced whole or not at all."""
        part = path.with_name(f"{path.name}.part")
        torch.save(
            {
                "recipe": asdict(self._recipe),
                "device": self._device.type,
                "model": self._model.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "schedule": self._schedule.state_dict(),
                "generator": self._generator.get_state(),
                "rng": torch.get_rng_state(),
                "device_rng": torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None,
                "history": self.history,
                "best": self.best,
            },
            part,
        )
        os.replace(part, path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            InputError: it was made by another recipe, or on another kind of device (whose random numbers differ).
        """
        state = torch.load(path, map_location="cpu", weights_only=False)
        if state["recipe"] != asdict(self._recipe) or state.get("device", "cpu") != self._device.type:
            raise InputError(f"{path}: made by another recipe or device; choose another folder or remove it")
        self._model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._generator.set_state(state["generator"])
        torch.set_rng_state(state["rng"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(state["device_rng"], self._device)
        self.history, self.best = state["history"], state["best"]


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    return torch.optim.SGD(
        [{"params": decay, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=recipe.peak_lr,
        momentum=0.9,
        nesterov=True,
    )


def _average(averaged: nn.Module, model: nn.Module, momentum: float) -> None:
    """Exponential moving average of the weights (Polyak and Juditsky 1992)."""
    with torch.no_grad():
        for a, b in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
            if a.dtype.is_floating_point:
                a.lerp_(b, 1 - momentum)
            else:
                a.copy_(b)


def _copy_of(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def train(data: Path, out: Path, recipe: Recipe, device: str = "cpu") -> dict[str, Any]:
    """Train, choose the best epoch on validation, calibrate, write the weights to `out`; resumes from its checkpoint.

    Args:
        data: folder with images.zip and labels.csv, see `read_ferplus`.
        device: "cpu" or "cuda".

    Returns:
        Temperature, accuracy on validation and recipe, as in figures.json.

    Raises:
        InputError: too few faces, or a checkpoint of another recipe or device in `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    split = split_ferplus(data)
    print(f"train {len(split.train)}, validation {len(split.validation)}, removed {split.removed}", flush=True)
    trainer, checkpoint = Trainer(split.train, recipe, torch.device(device)), out / "checkpoint.pt"
    if checkpoint.exists():
        trainer.resume(checkpoint)
    while len(trainer.history) < recipe.epochs:
        began = time.perf_counter()
        loss = trainer.epoch()
        print(json.dumps(trainer.assess(loss, split.validation, time.perf_counter() - began)), flush=True)
        trainer.save(checkpoint)
        (out / "history.json").write_text(json.dumps(trainer.history, indent=1))
    return _finish(trainer, split.validation, out, recipe)


def _finish(trainer: Trainer, validation: Faces48, out: Path, recipe: Recipe) -> dict[str, Any]:
    strict, weights = trainer.best
    trainer.averaged.load_state_dict(weights)
    logits = logits_of(trainer.averaged, validation.images)
    temperature = fit_temperature(logits, torch.from_numpy(soft_targets(validation.votes)))
    figures = {"temperature": temperature, "validation_strict": strict, "recipe": asdict(recipe)}
    save_file({k: v.cpu().contiguous() for k, v in weights.items()}, out / "model.safetensors")
    (out / "figures.json").write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures), flush=True)
    return figures


def parse_widths(text: str) -> tuple[int, ...]:
    """Channels per stage from "64,128,256,512".

    Raises:
        argparse.ArgumentTypeError: it is no list of whole numbers above 0.
    """
    widths = tuple(int(part) if part.strip().isdecimal() else 0 for part in text.split(","))
    if min(widths) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of widths; write 64,128,256,512")
    return widths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--widths", type=parse_widths, default=Recipe.widths, help="channels per stage, 24,48,96,192")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error("--epochs: give at least 1")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: no GPU is usable here; use cpu")
    try:
        recipe = Recipe(epochs=arguments.epochs, widths=arguments.widths)
        train(arguments.data, arguments.out, recipe, arguments.device)
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
