"""A whole small training: an epoch, a resumed one, and a model that the classifier takes."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from risa_ray.errors import InputError
from risa_ray.training.data import VOTE_COLUMNS, split_ferplus
from risa_ray.training.export import choose_min_confidence, export
from risa_ray.training.train import Recipe, parse_widths, train
from risa_ray.vision import EXPRESSIONS, ExpressionClassifier

TINY = Recipe(widths=(4, 8), blocks=1, epochs=1, batch=8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 smooth random faces to train and validate on, 6 to test, each of one expression, in the set's own format."""
    folder, random = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    with (
        zipfile.ZipFile(folder / "images.zip", "w") as pictures,
        (folder / "labels.csv").open("w", newline="") as table,
    ):
        writer = csv.writer(table)
        writer.writerow(["image", "usage", "fer2013", *VOTE_COLUMNS])
        for index in range(30):
            coarse = random.uniform(0, 255, (8, 8)).astype(np.float32)
            face = cv2.resize(coarse, (48, 48), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(face).save(buffer, "PNG")
            name = f"face{index:02}.png"
            pictures.writestr(name, buffer.getvalue())
            ballot = [0] * len(VOTE_COLUMNS)
            ballot[index % len(EXPRESSIONS)] = 10
            writer.writerow([name, "Training" if index < 24 else "PublicTest", "-", *ballot])
    split = split_ferplus(folder)
    assert len(split.train) >= TINY.batch
    assert len(split.validation) >= 1
    assert len(split.test) == 6
    return folder


def history(out: Path) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = json.loads((out / "history.json").read_text())
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_a_model_is_trained_exported_and_taken_by_the_classifier(data: Path, tmp_path: Path) -> None:
    figures = train(data, tmp_path / "run", TINY)
    assert figures == json.loads((tmp_path / "run" / "figures.json").read_text()) | {"recipe": figures["recipe"]}
    assert len(history(tmp_path / "run")) == 1
    assert np.isfinite(history(tmp_path / "run")[0]["loss"])
    assert not list((tmp_path / "run").glob("*.part"))
    exported = export(data, tmp_path / "run", tmp_path / "tiny.safetensors")
    written = json.loads((tmp_path / "tiny.json").read_text(), parse_constant=pytest.fail)
    assert written["temperature"] == exported["temperature"] == figures["temperature"]
    classifier = ExpressionClassifier.load(str(tmp_path / "tiny.safetensors"))
    (probabilities,) = classifier.predict([np.zeros((90, 90, 3), np.uint8)], [[[10, 10, 70, 70]]])
    assert probabilities.shape == (1, len(EXPRESSIONS))
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)


def interrupted(data: Path, out: Path, recipe: Recipe, device: str = "cpu") -> None:
    """A run that is interrupted (Ctrl-C) while it puts its second checkpoint in place of the first."""
    replace_file, replaced = os.replace, 0

    def interrupt(part: Path, whole: Path) -> None:
        nonlocal replaced
        replaced += 1
        if replaced == 2:
            raise KeyboardInterrupt
        replace_file(part, whole)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("risa_ray.training.train.os.replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(data, out, recipe, device)


def test_a_run_resumed_from_its_checkpoint_ends_as_one_that_was_never_stopped(data: Path, tmp_path: Path) -> None:
    recipe, whole, stopped = replace(TINY, epochs=2), tmp_path / "whole", tmp_path / "stopped"
    train(data, whole, recipe)
    interrupted(data, stopped, recipe)
    assert len(torch.load(stopped / "checkpoint.pt", weights_only=False)["history"]) == 1, "the old one is whole"
    train(data, stopped, recipe)
    assert history(stopped) == history(whole)
    assert (stopped / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_finished_run_is_only_finished_again(data: Path, tmp_path: Path) -> None:
    first = train(data, tmp_path, TINY)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    assert train(data, tmp_path, TINY) == first
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_checkpoint_of_another_recipe_is_refused(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path, TINY)
    with pytest.raises(InputError, match="another recipe or device"):
        train(data, tmp_path, replace(TINY, widths=(4, 4)))


def test_fewer_faces_than_a_batch_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fewer than a batch of 128"):
        train(data, tmp_path, Recipe(widths=(4, 8), blocks=1, epochs=1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_training_on_cuda_resumes_too(data: Path, tmp_path: Path) -> None:
    recipe = replace(TINY, epochs=2)
    interrupted(data, tmp_path, recipe, "cuda")
    train(data, tmp_path, recipe, "cuda")
    assert len(history(tmp_path)) == 2
    assert all(np.isfinite(row["loss"]) for row in history(tmp_path))
    with pytest.raises(InputError, match="another recipe or device"):
        train(data, tmp_path, recipe, "cpu")


def test_a_model_that_is_sure_of_nothing_still_gets_a_threshold(data: Path) -> None:
    faces = split_ferplus(data).validation
    threshold, curve = choose_min_confidence(torch.full((len(faces), 8), 1 / 8), faces)
    assert (threshold, curve) == (0.2, [])


def test_widths_on_the_command_line() -> None:
    assert parse_widths("64,128, 256") == (64, 128, 256)
    for wrong in ("", "64,,128", "64,x", "0", "-4"):
        with pytest.raises(argparse.ArgumentTypeError, match="no list of widths"):
            parse_widths(wrong)
