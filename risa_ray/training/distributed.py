"""Training on Ray Train: one worker or many, on CPUs or GPUs; the only module of training that needs Ray."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from risa_ray.errors import InputError
from risa_ray.training.config import TrainConfig
from risa_ray.training.run import CHECKPOINT, RunFolder, load_state, read_split, read_teachers, run_epochs, save_state
from risa_ray.training.trainer import Trainer

_RESTARTS = 3
"""Times that workers which died are started again, from the last checkpoint."""
_POLL_S = 0.5


def train(config: TrainConfig, say: Callable[[str], None]) -> Path:
    """Train on the Ray cluster joined; goes on from the run folder's last checkpoint, if there is one.

    Args:
        config: `out` must be on storage that all nodes share.
        say: called with every line of progress.

    Returns:
        The model file.

    Raises:
        InputError: the faces, a teacher or the run folder is no good, or the cluster lacks the CPUs or GPUs.
    """
    _check_resources(config)
    read_teachers(config)
    split = read_split(config, say)
    folder = RunFolder(Path(config.out))
    folder.take(config)
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    trainer = TorchTrainer(
        _work,
        train_loop_config={"config": config.model_dump(mode="json"), "split": ray.put(split)},
        scaling_config=ScalingConfig(
            num_workers=config.workers,
            use_gpu=config.gpu,
            resources_per_worker={"CPU": config.cpus_per_worker, **({"GPU": 1} if config.gpu else {})},
        ),
        run_config=RunConfig(
            # A run of the same name and place goes on from its checkpoint.
            name="checkpoints",
            storage_path=str(folder.path.resolve()),
            failure_config=FailureConfig(max_failures=_RESTARTS),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    with _following(folder.progress, say):
        trainer.fit()
    return folder.path / "model.safetensors"


def _work(settings: dict[str, Any]) -> None:
    """One worker, from its start (or its new start after a fault) to the end of the training."""
    config = TrainConfig.model_validate(settings["config"])
    split = ray.get(settings["split"])
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    if not config.gpu:
        torch.set_num_threads(config.cpus_per_worker)
    trainer = Trainer(
        split.train,
        config.recipe,
        ray.train.torch.get_device(),
        rank=rank,
        world=world,
        share=ray.train.torch.prepare_model,
        teachers=read_teachers(config),
    )
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as path:
            trainer.restore(load_state(Path(path) / CHECKPOINT))
    if rank:
        while not trainer.done:
            row = trainer.epoch()
            trainer.skip(row)
            ray.train.report(row)
        return
    folder = RunFolder(Path(config.out))
    run_epochs(trainer, split.validation, folder, _report, folder.say)
    folder.finish(trainer, config, split)


def _report(row: dict[str, float], state: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as path:
        save_state(state, Path(path) / CHECKPOINT)
        ray.train.report(row, checkpoint=Checkpoint.from_directory(path))


def _check_resources(config: TrainConfig) -> None:
    there = ray.cluster_resources()
    for what, each, key in (("GPU", int(config.gpu), "gpu"), ("CPU", config.cpus_per_worker, "cpus_per_worker")):
        wanted = each * config.workers
        if wanted > there.get(what, 0):
            raise InputError(
                f"{config.workers} workers with {key} {each} need {wanted} {what}s, the cluster has "
                f"{there.get(what, 0):g}; lower workers or {key}"
            )


@contextmanager
def _following(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hand on the lines that are added to a file meanwhile; the worker that writes them may be on another node."""
    start = path.stat().st_size if path.exists() else 0
    over = threading.Event()

    def follow() -> None:
        position = start
        while True:
            last = over.wait(_POLL_S)
            if path.exists():
                with path.open(encoding="utf-8") as file:
                    file.seek(position)
                    for line in file:
                        say(line.rstrip("\n"))
                    position = file.tell()
            if last:
                return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
