"""Train in this process, on a machine without Ray (`risa train` is the same on Ray, with any number of workers).

    python -m risa_ray.training.train CONFIG [--images PATH] [--out DIR] [--epochs N]

On a GPU where the config says `gpu: true`; goes on from the run folder's checkpoint.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from risa_ray.errors import InputError
from risa_ray.training.config import TrainConfig, load_train_config, override
from risa_ray.training.run import CHECKPOINT, RunFolder, load_state, read_split, read_teachers, run_epochs, save_state
from risa_ray.training.trainer import Trainer


def train(config: TrainConfig, say: Callable[[str], None]) -> Path:
    """Train as a single worker.

    Returns:
        The model file.

    Raises:
        InputError: the faces, a teacher or the run folder is no good, or there is no GPU though the config wants one.
    """
    if config.gpu and not torch.cuda.is_available():
        raise InputError("gpu: true, but no GPU is usable here; set it to false")
    folder, teachers, split = RunFolder(Path(config.out)), read_teachers(config), read_split(config, say)
    folder.take(config)
    device = torch.device("cuda" if config.gpu else "cpu")
    trainer = Trainer(split.train, config.recipe, device, teachers=teachers)
    checkpoint = folder.path / CHECKPOINT
    if checkpoint.exists():
        trainer.restore(load_state(checkpoint))

    def keep(row: dict[str, float], state: dict[str, Any]) -> None:
        save_state(state, checkpoint)

    run_epochs(trainer, split.validation, folder, keep, say)
    folder.finish(trainer, config, split)
    return folder.path / "model.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--images")
    parser.add_argument("--labels")
    parser.add_argument("--out")
    parser.add_argument("--epochs", type=int)
    arguments = vars(parser.parse_args())
    try:
        config = override(load_train_config(arguments.pop("config")), **arguments)
        print(train(config, lambda line: print(line, flush=True)))
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
