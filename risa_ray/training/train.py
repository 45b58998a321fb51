"""Train the expression model on FER-2013 faces with FER+ votes.

    python -m risa_ray.training.train DATA OUT [--epochs 30]

Everything is chosen on the validation part (`split_ferplus`); `risa_ray.training.export` reports on PublicTest.
"""

from __future__ import annotations

import argparse
import copy
import json
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
    """Logits float32 (n, 8), averaged over the picture and its mirror image."""
    model.eval()
    out = []
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            x = normalise(torch.from_numpy(images[start : start + batch]).float().unsqueeze(1))
            out.append((model(x).float() + model(x.flip(3)).float()) / 2)
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


def train(data: Path, out: Path, recipe: Recipe) -> dict[str, Any]:
    """Train, choose the best epoch on validation, calibrate, export to `out`; resumes from its checkpoint."""
    out.mkdir(parents=True, exist_ok=True)
    split = split_ferplus(data)
    print(f"train {len(split.train)}, validation {len(split.validation)}, removed {split.removed}", flush=True)
    generator = torch.Generator().manual_seed(recipe.seed)
    torch.manual_seed(recipe.seed)
    images = torch.from_numpy(split.train.images)
    targets = torch.from_numpy(soft_targets(split.train.votes))
    model = ExpressionNet(recipe.widths, recipe.blocks, len(EXPRESSIONS), recipe.dropout)
    model = model.to(memory_format=torch.channels_last)
    averaged = copy.deepcopy(model)
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD(
        [{"params": decay, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=recipe.peak_lr,
        momentum=0.9,
        nesterov=True,
    )
    steps = len(images) // recipe.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.peak_lr, total_steps=recipe.epochs * steps, pct_start=0.2, div_factor=15
    )
    checkpoint = out / "checkpoint.pt"
    history: list[dict[str, Any]] = []
    best = (0.0, {k: v.clone() for k, v in averaged.state_dict().items()})
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=False)
        if state["recipe"] != asdict(recipe):
            raise SystemExit(f"{checkpoint}: made by another recipe; choose another folder or remove it")
        model.load_state_dict(state["model"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        generator.set_state(state["generator"])
        torch.set_rng_state(state["rng"])
        history, best = state["history"], state["best"]
    for epoch in range(len(history), recipe.epochs):
        model.train()
        began, total = time.perf_counter(), 0.0
        order = torch.randperm(len(images), generator=generator)
        for step in range(steps):
            index = order[step * recipe.batch : (step + 1) * recipe.batch]
            x = normalise(augment(images[index].float().unsqueeze(1), generator))
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(x.contiguous(memory_format=torch.channels_last))
            loss = functional.cross_entropy(logits.float(), targets[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            done = epoch * steps + step + 1
            momentum = min(recipe.ema, done / (done + 10))
            with torch.no_grad():
                for a, b in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
                    if a.dtype.is_floating_point:
                        a.lerp_(b, 1 - momentum)
                    else:
                        a.copy_(b)
            total += loss.item()
            if step % 50 == 49:
                print(f"  {step + 1}/{steps} loss {total / (step + 1):.4f}", flush=True)
        logits = logits_of(averaged, split.validation.images)
        validation_loss = functional.cross_entropy(
            logits, torch.from_numpy(soft_targets(split.validation.votes))
        ).item()
        strict, _ = accuracy(logits, split.validation, "strict")
        row = {
            "epoch": epoch + 1,
            "loss": total / steps,
            "validation_loss": validation_loss,
            "validation_strict": strict,
            "lr": schedule.get_last_lr()[0],
            "seconds": time.perf_counter() - began,
        }
        history.append(row)
        if strict >= best[0]:
            best = (strict, {k: v.clone() for k, v in averaged.state_dict().items()})
        print(json.dumps(row), flush=True)
        torch.save(
            {
                "recipe": asdict(recipe),
                "model": model.state_dict(),
                "averaged": averaged.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "generator": generator.get_state(),
                "rng": torch.get_rng_state(),
                "history": history,
                "best": best,
            },
            checkpoint,
        )
        (out / "history.json").write_text(json.dumps(history, indent=1))
    averaged.load_state_dict(best[1])
    logits = logits_of(averaged, split.validation.images)
    temperature = fit_temperature(logits, torch.from_numpy(soft_targets(split.validation.votes)))
    figures = {"temperature": temperature, "validation_strict": best[0], "recipe": asdict(recipe)}
    save_file({k: v.contiguous() for k, v in best[1].items()}, out / "model.safetensors")
    (out / "figures.json").write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures), flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    arguments = parser.parse_args()
    train(arguments.data, arguments.out, Recipe(epochs=arguments.epochs))


if __name__ == "__main__":
    main()
