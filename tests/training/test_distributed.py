"""Training on real Ray Train workers: several that share the work, one that is killed, a command run again."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from risa_ray.errors import InputError
from risa_ray.training.config import TrainConfig
from risa_ray.training.run import prepare
from risa_ray.vision import ExpressionClassifier

# Training alone runs on machines without Ray.
pytest.importorskip("ray")

Run = Callable[..., TrainConfig]


def train(config: TrainConfig, say: Callable[[str], None]) -> Path:
    from risa_ray.training.distributed import train as train_prepared

    return train_prepared(prepare(config, say), say)


def history(config: TrainConfig) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = json.loads((Path(config.out) / "history.json").read_text())
    return rows


@pytest.mark.slow
def test_two_workers_train_one_model_and_one_that_is_killed_is_started_again(cluster: Any, tiny_run: Run) -> None:
    config, said, killed = tiny_run(workers=2, epochs=4), list[str](), list[int]()

    def say(line: str) -> None:
        said.append(line)
        # By the report of the second epoch the checkpoint of the first is kept.
        if line.startswith("epoch 2/") and not killed:
            killed.extend(train_workers())
            os.kill(killed[0], signal.SIGKILL)

    model = train(config, say)
    assert len(killed) == 2
    assert any(line.startswith("going on after epoch ") and not line.endswith(" 0") for line in said)
    assert [row["epoch"] for row in history(config)] == [1, 2, 3, 4]
    assert ExpressionClassifier.load(str(model)).model_id.startswith("model@")
    # Run again after its end it has nothing left to do.
    before = history(config)
    train(config, said.append)
    assert history(config) == before


def train_workers() -> list[int]:
    """Processes of Ray Train workers on this machine."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if b"RayTrainWorker" in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def test_more_than_the_cluster_has_is_refused(cluster: Any, tiny_run: Run) -> None:
    with pytest.raises(InputError, match="lower workers or cpus_per_worker"):
        train(tiny_run(workers=8), print)
