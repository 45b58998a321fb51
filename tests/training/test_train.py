"""A whole small training: epochs, a resumed run, and a model that the classifier takes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

from risa_ray.errors import InputError, RunError
from risa_ray.training import train as module
from risa_ray.training.calibration import choose_min_confidence, choose_min_face_px, fit_temperature
from risa_ray.training.config import Recipe, TrainConfig, load_train_config
from risa_ray.training.data import Faces48
from risa_ray.training.run import load_state, prepare, read_split
from risa_ray.training.train import train as train_prepared
from risa_ray.training.trainer import Trainer, new_network, one_hot_labels
from risa_ray.vision import EXPRESSIONS, ExpressionClassifier
from risa_ray.vision.model_file import read_own_settings
from risa_ray.vision.preprocess import normalise

Run = Callable[..., TrainConfig]


def quiet(line: str) -> None:
    """Nobody listens."""


def train(config: TrainConfig, say: Callable[[str], None]) -> Path:
    return train_prepared(prepare(config, say), say)


def history(config: TrainConfig) -> list[dict[str, float]]:
    """What does not depend on the machine's speed."""
    rows: list[dict[str, float]] = json.loads(
        (Path(config.out) / "history.json").read_text(), parse_constant=pytest.fail
    )
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_s")} for row in rows]


def interrupted(config: TrainConfig, after: int = 1) -> None:
    """A run that is interrupted (Ctrl-C) before it has kept its next checkpoint."""
    kept = 0

    def say(line: str) -> None:
        nonlocal kept
        kept += line.startswith("epoch") and "left" in line
        if kept == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, say)


class TestARun:
    def test_leaves_a_folder_with_all_that_is_known_of_it(self, tiny_run: Run) -> None:
        config, said = tiny_run(), list[str]()
        model = train(config, said.append)
        folder = Path(config.out)
        names = {
            ".lock",
            "config.yaml",
            "progress.log",
            "history.json",
            "curves.png",
            "figures.json",
            "model.safetensors",
            "checkpoint.pt",
        }
        assert {path.name for path in folder.iterdir()} == names
        assert model == folder / "model.safetensors"
        assert [row["epoch"] for row in history(config)] == [1, 2]
        assert all(np.isfinite(list(row.values())).all() for row in history(config))
        assert json.loads((folder / "figures.json").read_text())["recipe"]["seed"] == config.recipe.seed
        with Image.open(folder / "curves.png") as picture:
            assert picture.width >= 400
        assert "images/s" in said[-1]
        assert "min left" in said[-1]

    def test_makes_a_model_that_the_classifier_takes(self, tiny_run: Run) -> None:
        classifier = ExpressionClassifier.load(str(train(tiny_run(), quiet)))
        (probabilities,) = classifier.predict([np.zeros((90, 90, 3), np.uint8)], [[[10, 10, 70, 70]]])
        assert probabilities.shape == (1, len(EXPRESSIONS))
        assert probabilities.sum() == pytest.approx(1, abs=1e-5)

    def test_resumed_from_its_checkpoint_ends_as_one_that_was_never_stopped(self, tiny_run: Run) -> None:
        whole, stopped = tiny_run("whole", mixup=0.2, plain_epochs=1), tiny_run("stopped", mixup=0.2, plain_epochs=1)
        train(whole, quiet)
        interrupted(stopped)
        assert len(load_state(Path(stopped.out) / "checkpoint.pt")["history"]) == 1
        train(stopped, quiet)
        assert history(stopped) == history(whole)
        assert Path(stopped.out, "model.safetensors").read_bytes() == Path(whole.out, "model.safetensors").read_bytes()

    def test_that_is_over_is_only_finished_again(self, tiny_run: Run) -> None:
        config = tiny_run()
        first = train(config, quiet).read_bytes()
        checkpoint = Path(config.out, "checkpoint.pt").read_bytes()
        assert train(config, quiet).read_bytes() == first
        assert Path(config.out, "checkpoint.pt").read_bytes() == checkpoint

    def test_refuses_the_folder_of_another(self, tiny_run: Run) -> None:
        train(tiny_run(), quiet)
        with pytest.raises(InputError, match="holds a run with another config; choose another 'out'"):
            train(tiny_run(widths=(4, 4)), quiet)

    def test_refuses_fewer_faces_than_a_batch(self, tiny_run: Run) -> None:
        with pytest.raises(InputError, match=r"faces to train on, but recipe\.batch 128"):
            train(tiny_run(batch=128), quiet)

    def test_can_be_run_again_from_the_config_in_its_folder(self, tiny_run: Run) -> None:
        train(config := tiny_run(), quiet)
        assert load_train_config(Path(config.out) / "config.yaml").model_dump() == config.model_dump()

    def test_refuses_a_folder_in_which_another_process_trains(self, tiny_run: Run) -> None:
        held = prepare(tiny_run(), quiet)
        with pytest.raises(InputError, match="another process trains in it"):
            prepare(tiny_run(), quiet)
        del held
        prepare(tiny_run(), quiet)

    def test_refuses_a_damaged_checkpoint(self, tiny_run: Run) -> None:
        interrupted(config := tiny_run())
        path = Path(config.out) / "checkpoint.pt"
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(InputError, match=r"checkpoint\.pt: not a whole checkpoint"):
            train(config, quiet)

    def test_that_diverges_ends_and_leaves_no_model(self, tiny_run: Run) -> None:
        config = tiny_run(peak_lr=1e30)
        with pytest.raises(RunError, match=r"the loss is no number any more; lower recipe\.peak_lr"):
            train(config, quiet)
        assert not Path(config.out, "model.safetensors").exists()

    @pytest.mark.parametrize("epochs", [1, 2, 3, 5])
    def test_may_be_as_short_as_it_likes(self, tiny_run: Run, epochs: int) -> None:
        train(config := tiny_run(epochs=epochs, batch=22), quiet)
        assert len(history(config)) == epochs

    def test_on_faces_without_original_labels_has_no_second_head(
        self, data: Path, tiny_run: Run, tmp_path: Path
    ) -> None:
        rows = (data / "labels.csv").read_text().splitlines()
        (tmp_path / "labels.csv").write_text("\n".join(",".join(r.split(",")[:2] + r.split(",")[3:]) for r in rows))
        config = tiny_run().model_copy(
            update={"images": str(data / "images.zip"), "labels": str(tmp_path / "labels.csv")}
        )
        said = list[str]()
        model = train(config, said.append)
        assert any("trained without the second head" in line for line in said)
        assert read_own_settings(model).labels == 0

    def test_without_the_second_head(self, tiny_run: Run) -> None:
        classifier = ExpressionClassifier.load(str(train(tiny_run(label_weight=0), quiet)))
        assert classifier.label_probabilities(np.zeros((1, 48, 48), np.uint8)) is None

    def test_learns_from_teachers(self, tiny_run: Run) -> None:
        teacher = train(tiny_run("teacher"), quiet)
        taught = tiny_run("taught").model_copy(update={"teachers": (str(teacher),)})
        train(taught, quiet)
        train(alone := tiny_run("alone"), quiet)
        assert history(taught)[0]["loss"] != history(alone)[0]["loss"]

    def test_takes_over_what_its_teachers_say_on_either_head(self, tiny_run: Run) -> None:
        """With a teacher's word as the only truth, the one that says it has nothing to learn."""
        faces = read_split(tiny_run(), quiet).train
        recipe = Recipe(widths=(4, 8), blocks=1, batch=8, teacher_weight=1, label_weight=1)
        teacher = new_network(recipe)
        trainer = Trainer(faces, recipe, torch.device("cpu"), teachers=[teacher])
        x = torch.rand(4, 1, 48, 48) * 255
        targets, labels = trainer._taught(x, torch.zeros(4, 8), torch.zeros(4, 7))
        votes, second = teacher.eval().both_heads(normalise(x))
        torch.testing.assert_close(targets, votes.softmax(1))
        torch.testing.assert_close(labels, second.softmax(1))
        without = Trainer(
            faces, recipe, torch.device("cpu"), teachers=[new_network(recipe.model_copy(update={"label_weight": 0}))]
        )
        assert without._taught(x, targets, labels)[1] is labels, "a teacher without a second head says nothing there"

    def test_refits_what_was_chosen_on_all_of_training(self, tiny_run: Run) -> None:
        chosen = train(first := tiny_run("first"), quiet)
        again = tiny_run("again", seed=8).model_copy(update={"refit": first.out})
        said = list[str]()
        model = train(again, said.append)
        split = read_split(first, quiet)
        whole = len(split.train) + len(split.validation)
        assert f"refit: {whole} faces to train on, none to validate on" in said
        assert read_own_settings(model) == read_own_settings(chosen)
        figures = json.loads((Path(again.out) / "figures.json").read_text())
        assert figures["refit"] == first.out
        assert figures["faces"] == {"train": whole, "validation": 0}
        assert "validation_strict" not in figures
        assert all("validation_strict" not in row for row in history(again))

    def test_refuses_to_refit_what_it_is_not(self, tiny_run: Run, tmp_path: Path) -> None:
        train(first := tiny_run("first"), quiet)
        with pytest.raises(InputError, match=r"trained with another peak_lr; copy what .*config\.yaml says"):
            train(tiny_run("other", peak_lr=0.1).model_copy(update={"refit": first.out}), quiet)
        with pytest.raises(InputError, match="not the folder of a training run"):
            train(tiny_run("other").model_copy(update={"refit": str(tmp_path / "nothing")}), quiet)
        (Path(first.out) / "model.safetensors").unlink()
        with pytest.raises(InputError, match="has not ended"):
            train(tiny_run("other").model_copy(update={"refit": first.out}), quiet)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_refuses_a_gpu_that_is_not_there(self, tiny_run: Run) -> None:
        with pytest.raises(InputError, match="no GPU is usable here"):
            train(tiny_run(gpu=True), quiet)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
    def test_resumes_on_cuda_too(self, tiny_run: Run) -> None:
        config = tiny_run(gpu=True)
        interrupted(config)
        train(config, quiet)
        assert len(history(config)) == 2


def test_training_learns_what_tells_expressions_apart() -> None:
    random = np.random.default_rng(1)
    answers = random.integers(0, 2, 128)
    ys, xs = np.mgrid[:48, :48]
    disc = 255.0 * ((ys - 24) ** 2 + (xs - 24) ** 2 < 144)
    pictures = np.where(answers[:, None, None] == 0, disc, 255 - disc) * 0.8 + random.uniform(0, 50, (128, 48, 48))
    votes = np.zeros((128, 10), np.float32)
    votes[np.arange(128), answers] = 10
    faces = Faces48(tuple(map(str, range(128))), pictures.astype(np.uint8), votes, np.full(128, -1))
    recipe = Recipe(widths=(8, 16), blocks=1, epochs=6, batch=16, peak_lr=0.05, ema=0.9)
    trainer = Trainer(faces, recipe, torch.device("cpu"))
    while not trainer.done:
        trainer.assess(trainer.epoch(), faces)
    assert trainer.best[0] > 0.95


def test_the_command_line_overrides_the_config(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("images: nowhere\nout: run\nrecipe: {widths: [4, 8], blocks: 1, epochs: 9, batch: 8}\n")
    monkeypatch.setattr("sys.argv", ["train", str(path), "--images", str(data), "--epochs", "1"])
    module.main()
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "run" / "model.safetensors")
    monkeypatch.setattr("sys.argv", ["train", str(path)])
    with pytest.raises(SystemExit) as error:
        module.main()
    assert error.value.code == 2
    assert "nowhere" in capsys.readouterr().err


def test_training_needs_neither_ray_nor_the_store_nor_video() -> None:
    blocked = (
        "ray",
        "facenet_pytorch",
        "duckdb",
        "pyarrow",
        "openvino",
        "deltalake",
        "av",
        "plotly",
        "typer",
        "skimage",
    )
    program = f"import sys\nfor name in {blocked}: sys.modules[name] = None\nimport risa_ray.training.train"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _one_of_two(rank: int, faces: Faces48, recipe: Recipe, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    trainer = Trainer(faces, recipe, torch.device("cpu"), rank=rank, world=2, share=DistributedDataParallel)
    trainer.epoch()
    torch.save(trainer._network.state_dict(), folder / f"{rank}.pt")
    distributed.destroy_process_group()


class TestWorkers:
    def test_share_every_batch_and_see_every_face_once(self, tiny_run: Run) -> None:
        config = tiny_run()
        faces = read_split(config, quiet).train
        seen: list[list[int]] = []
        for rank in range(2):
            trainer = Trainer(faces, config.recipe, torch.device("cpu"), rank=rank, world=2)
            mine: list[int] = []
            # What a worker draws from shows which faces it was given.
            trainer._step = lambda index, chance, mine=mine: mine.extend(index.tolist()) or 0.0  # type: ignore[method-assign]
            trainer.epoch()
            seen.append(mine)
        steps = len(faces) // config.recipe.batch
        assert len(seen[0]) == len(seen[1]) == steps * config.recipe.batch // 2
        assert len(set(seen[0] + seen[1])) == steps * config.recipe.batch

    def test_share_their_gradients(self, tiny_run: Run, tmp_path: Path) -> None:
        """Two processes with different faces of every batch hold the same weights afterwards."""
        config = tiny_run()
        faces = read_split(config, quiet).train
        multiprocessing.spawn(_one_of_two, (faces, config.recipe, tmp_path), nprocs=2)  # type: ignore[no-untyped-call]
        first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
        assert first.keys() == second.keys()
        for name, weights in first.items():
            # Statistics of batch normalisation are each worker's own.
            if "running" not in name:
                torch.testing.assert_close(weights, second[name])
        alone = Trainer(faces, config.recipe, torch.device("cpu"), rank=0, world=2)
        alone.epoch()
        assert not torch.allclose(alone._network.state_dict()["head.3.weight"], first["head.3.weight"])

    def test_recipe_that_cannot_be_shared_is_refused(self, data: Path) -> None:
        with pytest.raises(ValueError, match="cannot be shared by 3 workers evenly"):
            TrainConfig(images=str(data), out="run", workers=3, recipe=Recipe(batch=128))


class TestCalibration:
    @staticmethod
    def faces(answers: list[int]) -> Faces48:
        votes = np.zeros((len(answers), 10), np.float32)
        votes[np.arange(len(answers)), answers] = 10
        n = len(answers)
        return Faces48(tuple(map(str, range(n))), np.zeros((n, 48, 48), np.uint8), votes, np.full(n, -1))

    def test_temperature_makes_confidence_what_is_right(self) -> None:
        # Four of five right: the best single confidence is 0.8, whatever the network's scale.
        faces = self.faces([0] * 80 + [1] * 20)
        for scale in (2.0, 5.0):
            logits = torch.zeros(100, 8)
            logits[:, 0] = scale
            confidence = torch.softmax(logits / fit_temperature(logits, faces), 1)[0, 0]
            assert float(confidence) == pytest.approx(0.8, abs=0.02)

    def test_a_model_that_is_sure_of_nothing_still_gets_a_threshold(self) -> None:
        assert choose_min_confidence(torch.full((8, 8), 1 / 8), self.faces(list(range(8)))) == (0.2, [])

    def test_the_smallest_face_loses_a_tenth_at_most(self) -> None:
        assert choose_min_face_px({12: 0.5, 16: 0.79, 20: 0.8, 32: 0.85, 48: 0.88}) == 16.0


def test_a_face_without_a_label_adds_nothing_to_the_second_loss() -> None:
    faces = Faces48(("a", "b"), np.zeros((2, 48, 48), np.uint8), np.ones((2, 10), np.float32), np.array([3, -1]))
    assert one_hot_labels(faces).tolist() == [[0, 0, 0, 1, 0, 0, 0], [0] * 7]


def test_the_shipped_configs_are_valid_and_small_enough_to_ship() -> None:
    folder = Path(__file__).resolve().parents[2] / "configs" / "training"
    limits = {"default": 4_000_000, "large": 12_000_000}
    assert {path.stem for path in folder.glob("*.yaml")} == set(limits)
    for name, limit in limits.items():
        config = load_train_config(folder / f"{name}.yaml")
        assert sum(p.numel() for p in new_network(config.recipe).parameters()) <= limit


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"scale": (1.2, 0.9)}, "give the smaller number first"),
        ({"epochs": 5, "coarse_epochs": 5}, "leave none of 5 at full resolution"),
        ({"coarse_side": 48}, "less than 48"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Recipe(**wrong)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("recipe: {}", "images: is missing; add it"),
        ("images: a\nout: b\nrecipe: {epoch: 3}", "recipe.epoch: unknown key; did you mean 'epochs'?"),
        ("images: a\nout: b\nrecipe: {dropout: 1}", "recipe.dropout: "),
        ("- a", "expected a mapping with 'images:'; see configs/training/ for an example"),
    ],
)
def test_a_wrong_config_is_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "train.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        load_train_config(tmp_path / "train.yaml")
    assert told in str(error.value)
    assert "\n" not in str(error.value)
