"""What training changes: the network, its average, the optimizer; one epoch at a time, alone or as one of many."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from risa_ray.errors import InputError, RunError
from risa_ray.training.augment import augment
from risa_ray.training.config import Recipe
from risa_ray.training.data import FER2013_LABELS, Faces48, drop_single_votes, soft_targets, strict_rule
from risa_ray.vision.expressions import EXPRESSIONS
from risa_ray.vision.network import ExpressionNet
from risa_ray.vision.preprocess import normalise


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


def strict_accuracy(logits: Tensor, faces: Faces48) -> float:
    """Share of right answers among the faces that the strict rule keeps."""
    keep = strict_rule(faces.votes)
    truth = drop_single_votes(faces.votes).argmax(1)
    return float((logits.argmax(1).numpy()[keep] == truth[keep]).mean())


class _Heads(nn.Module):
    """The network as training calls it: logits of the expressions and, where there is one, of the second head."""

    def __init__(self, network: ExpressionNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return (self.network(x), None) if self.network.label_head is None else self.network.both_heads(x)


_COMMON = 2**31
"""Stands for a rank that no worker has."""


class Trainer:
    """One worker's part in a training. All workers hold the same weights; each takes its share of every batch.

    Random numbers are drawn anew for every epoch from seed, epoch and rank, so that a checkpoint need not hold them.

    Args:
        faces: to train on; kept on the device as bytes.
        device: where the arithmetic is done, with bfloat16 autocast.
        rank, world: which worker of how many.
        share: makes gradients common to all workers (`ray.train.torch.prepare_model`).
        teachers: networks whose mean answer is learned from as well.

    Raises:
        InputError: there are fewer faces than a batch has.
    """

    def __init__(
        self,
        faces: Faces48,
        recipe: Recipe,
        device: torch.device,
        *,
        rank: int = 0,
        world: int = 1,
        share: Callable[[nn.Module], nn.Module] = lambda model: model,
        teachers: Sequence[ExpressionNet] = (),
    ) -> None:
        if len(faces) < recipe.batch:
            raise InputError(f"{len(faces)} faces to train on are fewer than a batch of {recipe.batch}; add faces")
        self._recipe, self._device, self._rank, self._world = recipe, device, rank, world
        self._images = torch.from_numpy(faces.images).to(device)
        self._targets = torch.from_numpy(soft_targets(faces.votes)).to(device)
        self._labels = torch.from_numpy(one_hot_labels(faces)).to(device)
        torch.manual_seed(recipe.seed)
        self._network = new_network(recipe).to(device).to(memory_format=torch.channels_last)
        self._model = share(_Heads(self._network))
        self._teachers = [_Heads(teacher).to(device).eval() for teacher in teachers]
        self.averaged = copy.deepcopy(self._network)
        self._optimizer = _optimizer(self._network, recipe)
        self._steps = len(faces) // recipe.batch
        total = max(3, recipe.epochs * self._steps)
        # With a warm-up or a descent of no length OneCycleLR divides by zero.
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, recipe.peak_lr, total, pct_start=max(0.2, 2 / total), div_factor=15
        )
        self.history: list[dict[str, float]] = []
        self.best = (0.0, _copy_of(self.averaged))

    @property
    def epochs(self) -> int:
        return self._recipe.epochs

    @property
    def done(self) -> bool:
        return len(self.history) >= self._recipe.epochs

    def epoch(self, on_step: Callable[[int, int, float], None] = lambda step, steps, loss: None) -> dict[str, float]:
        """One pass over the faces.

        Args:
            on_step: called with the steps done, the steps of an epoch and the mean loss so far.

        Returns:
            Loss (mean of this worker's share), learning rate, seconds, and faces per second of all workers.

        Raises:
            RunError: the training has diverged.
        """
        began, recipe, total = time.perf_counter(), self._recipe, 0.0
        self._model.train()
        number = len(self.history)
        # The order is common to all workers, chance is each one's own.
        common = torch.Generator().manual_seed(_seed(recipe.seed, number, _COMMON))
        order = torch.randperm(len(self._images), generator=common)
        torch.manual_seed(_seed(recipe.seed, number, self._rank))
        chance = torch.Generator(self._device).manual_seed(_seed(recipe.seed, number, self._rank))
        for step in range(self._steps):
            batch = order[step * recipe.batch : (step + 1) * recipe.batch][self._rank :: self._world]
            total += self._step(batch.to(self._device), chance)
            _average(self.averaged, self._network, min(recipe.ema, (s := number * self._steps + step + 1) / (s + 10)))
            on_step(step + 1, self._steps, total / (step + 1))
        if not math.isfinite(total):
            raise RunError(f"epoch {number + 1}: the loss is no number any more; lower recipe.peak_lr and start anew")
        seconds = time.perf_counter() - began
        return {
            "loss": total / self._steps,
            "lr": float(self._schedule.get_last_lr()[0]),
            "seconds": seconds,
            "images_per_s": self._steps * recipe.batch / seconds,
        }

    def assess(self, epoch: dict[str, float], validation: Faces48) -> dict[str, float]:
        """Enter an epoch into the history; the averaged network is kept if it is the best on validation so far.

        Without faces to validate on the last one is kept.
        """
        if not len(validation):
            row = {"epoch": len(self.history) + 1, **epoch}
            self.skip(row)
            self.best = (0.0, _copy_of(self.averaged))
            return row
        logits = logits_of(self.averaged, validation.images)
        loss = functional.cross_entropy(logits, torch.from_numpy(soft_targets(validation.votes))).item()
        strict = strict_accuracy(logits, validation)
        row = {"epoch": len(self.history) + 1, **epoch, "validation_loss": loss, "validation_strict": strict}
        self.skip(row)
        if strict >= self.best[0]:
            self.best = (strict, _copy_of(self.averaged))
        return row

    def skip(self, row: dict[str, float]) -> None:
        """Enter an epoch that another worker assesses."""
        self.history.append(row)

    def state(self) -> dict[str, Any]:
        """All that `restore` needs to go on from here; tensors and plain values only."""
        return {
            "recipe": self._recipe.model_dump_json(),
            "network": self._network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "history": self.history,
            "best": list(self.best),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`.

        Raises:
            InputError: it was made by another recipe.
        """
        if state["recipe"] != self._recipe.model_dump_json():
            raise InputError("the checkpoint was made by another recipe; choose another folder or remove it")
        self._network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self.history, self.best = state["history"], (state["best"][0], state["best"][1])

    def _step(self, index: Tensor, chance: torch.Generator) -> float:
        x = augment(self._images[index].float().unsqueeze(1), self._recipe, chance)
        targets, labels = self._targets[index], self._labels[index]
        if self._recipe.mixup and len(self.history) < self._recipe.epochs - self._recipe.plain_epochs:
            x, targets, labels = _mixed(x, targets, labels, self._recipe.mixup)
        with torch.autocast(self._device.type, torch.bfloat16):
            targets, labels = self._taught(x, targets, labels)
            if len(self.history) < self._recipe.coarse_epochs:
                x = functional.interpolate(x, size=(self._recipe.coarse_side,) * 2, mode="bilinear", antialias=True)
            votes, second = self._model(_input(x))
        loss = functional.cross_entropy(votes.float(), targets)
        if second is not None:
            loss = loss + self._recipe.label_weight * functional.cross_entropy(second.float(), labels)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        self._schedule.step()
        return float(loss.item())

    def _taught(self, x: Tensor, targets: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The targets of both heads with the teachers' mean answers mixed in; not every teacher has a second head."""
        with torch.no_grad():
            both = [teacher(_input(x)) for teacher in self._teachers]
        return (
            _blended(targets, [votes for votes, _ in both], self._recipe.teacher_weight),
            _blended(labels, [second for _, second in both if second is not None], self._recipe.teacher_weight),
        )


def new_network(recipe: Recipe) -> ExpressionNet:
    """The network of a recipe, untrained."""
    labels = len(FER2013_LABELS) if recipe.label_weight else 0
    return ExpressionNet(recipe.widths, recipe.blocks, len(EXPRESSIONS), recipe.dropout, labels, recipe.stem)


def one_hot_labels(faces: Faces48) -> npt.NDArray[np.float32]:
    """The original labels as float32 (n, 7); a face without one is a row of zeros, no target at all."""
    out = np.zeros((len(faces), len(FER2013_LABELS)), np.float32)
    rows = np.flatnonzero(faces.labels >= 0)
    out[rows, faces.labels[rows]] = 1
    return out


def _seed(seed: int, epoch: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0])


def _blended(targets: Tensor, logits: list[Tensor], weight: float) -> Tensor:
    if not logits:
        return targets
    answer = torch.stack([torch.softmax(one.float(), 1) for one in logits]).mean(0)
    return targets + weight * (answer - targets)


def _input(faces: Tensor) -> Tensor:
    return normalise(faces).contiguous(memory_format=torch.channels_last)


def _mixed(x: Tensor, targets: Tensor, labels: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    other = torch.randperm(len(x), device=x.device)
    x, targets, labels = (share * v + (1 - share) * v[other] for v in (x, targets, labels))
    return x, targets, labels


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
    return {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
