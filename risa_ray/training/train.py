"""Train in this process, on a machine without Ray (`risa train` is the same on Ray, with any number of workers).

    python -m risa_ray.training.train CONFIG [--images PATH] [--out DIR] [--epochs N]

On a GPU where the config says `gpu: true`; goes on from the run folder's checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from risa_ray.errors import InputError, RunError
from risa_ray.training.config import load_train_config, override
from risa_ray.training.run import (
    CHECKPOINT,
    RAY_CHECKPOINTS,
    Prepared,
    load_state,
    prepare,
    read_teachers,
    run_epochs,
    save_state,
)
from risa_ray.training.trainer import Trainer


def train(run: Prepared, say: Callable[[str], None]) -> Path:
    """Train as a single worker.

    Returns:
        The model file.

    Raises:
        InputError: there is no GPU though the config wants one, or the folder's checkpoint is no good.
        RunError: the training diverged.
    """
    config, folder = run.config, run.folder
    if config.gpu and not torch.cuda.is_available():
        raise InputError("gpu: true, but no GPU is usable here; set it to false")
    folder.refuse_other(RAY_CHECKPOINTS, "`risa train`")
    device = torch.device("cuda" if config.gpu else "cpu")
    trainer = Trainer(run.split.train, config.recipe, device, teachers=read_teachers(config))
    checkpoint = folder.path / CHECKPOINT
    if checkpoint.exists():
        trainer.restore(load_state(checkpoint))

    def keep(row: dict[str, float], state: dict[str, Any]) -> None:
        save_state(state, checkpoint)

    def tell(line: str) -> None:
        folder.say(line)
        say(line)

    run_epochs(trainer, run.split.validation, folder, keep, tell)
    folder.finish(trainer.best, trainer.history, config, run.split, run.kept)
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
        print(train(prepare(config, _say), _say))
    except InputError as error:
        parser.error(str(error))
    except RunError as error:
        sys.exit(f"{parser.prog}: {error}")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
