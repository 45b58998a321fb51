"""Training on Ray Train: one worker or many, on CPUs or GPUs; the only module of training that needs Ray."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
import ray.train.torch
import torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer

from risa_ray.errors import InputError, RunError
from risa_ray.training.config import TrainConfig
from risa_ray.training.data import Split
from risa_ray.training.run import (
    CHECKPOINT,
    RAY_CHECKPOINTS,
    Prepared,
    RunFolder,
    load_state,
    read_teachers,
    run_epochs,
    save_state,
)
from risa_ray.training.trainer import Trainer
from risa_ray.vision.model_file import ModelSettings

_RESTARTS = 3
"""Times that workers which died are started again, from the last checkpoint."""
_POLL_S = 0.5


def train(run: Prepared, say: Callable[[str], None]) -> Path:
    """Train on the Ray cluster joined; goes on from the run folder's last checkpoint, if there is one.

    Args:
        run: its folder must be on storage that all nodes share.
        say: called with every line of progress.

    Returns:
        The model file.

    Raises:
        InputError: the cluster lacks the CPUs, GPUs or memory, or the folder's checkpoint is no good.
        RunError: the workers failed again and again, or the training was stopped.
    """
    config, folder = run.config, run.folder
    _check_resources(run)
    folder.refuse_other(CHECKPOINT, "`python -m risa_ray.training.train`")
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    # Workers have no use for the test part.
    split = replace(run.split, test=run.split.test[np.zeros(0, np.int64)])
    trainer = TorchTrainer(
        _work,
        train_loop_config={"config": config.model_dump(mode="json"), "split": ray.put(split), "kept": run.kept},
        scaling_config=ScalingConfig(
            num_workers=config.workers,
            use_gpu=config.gpu,
            resources_per_worker={"CPU": config.cpus_per_worker, **({"GPU": 1} if config.gpu else {})},
        ),
        run_config=RunConfig(
            # A run of the same name and place goes on from its checkpoint.
            name=RAY_CHECKPOINTS,
            storage_path=str(folder.path.resolve()),
            failure_config=FailureConfig(max_failures=_RESTARTS),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    with _following(folder.progress, say):
        try:
            trainer.fit()
        except TrainingFailedError as error:
            reason = str(error).strip().splitlines()[-1][:300]
            raise RunError(f"{folder.path}: the training failed ({reason}); see {folder.progress}") from None
        except (SystemExit, KeyboardInterrupt):
            # Ray Train turns Ctrl-C into an exit with code 0.
            raise RunError(f"{folder.path}: stopped; the same command goes on from the last epoch") from None
    return folder.path / "model.safetensors"


def _work(settings: dict[str, Any]) -> None:
    """One worker, from its start (or its new start after a fault) to the end of the training."""
    config = TrainConfig.model_validate(settings["config"])
    folder = RunFolder(Path(config.out))
    try:
        _train(config, folder, ray.get(settings["split"]), settings["kept"])
    except Exception as error:
        folder.say(f"worker {ray.train.get_context().get_world_rank()}: {type(error).__name__}: {error}")
        raise


def _train(config: TrainConfig, folder: RunFolder, split: Split, kept: ModelSettings | None) -> None:
    context = ray.train.get_context()
    rank = context.get_world_rank()
    if not config.gpu:
        torch.set_num_threads(config.cpus_per_worker)
    trainer = Trainer(
        split.train,
        config.recipe,
        ray.train.torch.get_device(),
        rank=rank,
        world=context.get_world_size(),
        share=ray.train.torch.prepare_model,
        teachers=read_teachers(config),
    )
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as path:
            trainer.restore(load_state(Path(path) / CHECKPOINT))
        if not rank:
            folder.say(f"going on after epoch {len(trainer.history)}")
    if rank:
        while not trainer.done:
            row = trainer.epoch()
            trainer.skip(row)
            ray.train.report(row)
        return
    run_epochs(trainer, split.validation, folder, _report, folder.say)
    folder.finish(trainer.best, trainer.history, config, split, kept)


def _report(row: dict[str, float], state: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as path:
        save_state(state, Path(path) / CHECKPOINT)
        ray.train.report(row, checkpoint=Checkpoint.from_directory(path))


def _check_resources(run: Prepared) -> None:
    """Refuse what the cluster can never place; Ray would wait for ever."""
    config = run.config
    each = {"CPU": config.cpus_per_worker, "GPU": int(config.gpu)}
    nodes = [node["Resources"] for node in ray.nodes() if node.get("Alive")]
    places = sum(min(int(node.get(what, 0) // n) for what, n in each.items() if n) for node in nodes)
    if places < config.workers:
        raise InputError(
            f"{config.workers} workers of {each['CPU']} CPUs and {each['GPU']} GPUs, but the cluster has places for "
            f"{places}; lower workers or cpus_per_worker"
        )
    size = sum(faces.images.nbytes for faces in (run.split.train, run.split.validation))
    store = min(node.get("object_store_memory", 0) for node in nodes)
    if size > 0.8 * store:
        raise InputError(
            f"{size / 1e6:.0f} MB of faces do not fit the object store of {store / 1e6:.0f} MB; give Ray a larger one "
            "(ray start --object-store-memory) and --address, or train with python -m risa_ray.training.train"
        )


@contextmanager
def _following(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hand on the lines that are added to a file meanwhile; the worker that writes them may be on another node."""
    position = path.stat().st_size if path.exists() else 0
    over = threading.Event()

    def follow() -> None:
        nonlocal position
        while True:
            last = over.wait(_POLL_S)
            if path.exists():
                with path.open("rb") as file:
                    file.seek(position)
                    added = file.read()
                # A line that is half written waits for its other half.
                whole = added[: added.rfind(b"\n") + 1]
                position += len(whole)
                for line in whole.decode().splitlines():
                    say(line)
            if last:
                return

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow)
        try:
            yield
        finally:
            over.set()
        following.result()
