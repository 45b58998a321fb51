"""The delivery promise under kills, on real processes: `risa bench chaos`."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from risa_ray.benchmarks.chaos import KINDS, plan_kills
from risa_ray.cli import app

SEED = 2


def chaos(out: Path, model: Path, *options: str) -> dict[str, object]:
    """A run of the harness with a detector and a model that are quick: it is about delivery, not about answers."""
    fast = ["--detector", "haar", "--min-face-size", "30", "--model", str(model), "--seed", str(SEED)]
    ran = CliRunner().invoke(app, ["bench", "chaos", *fast, "--out", str(out), *options])
    assert ran.exit_code == 0, ran.output
    result: dict[str, object] = json.loads(out.read_text())
    return result


@pytest.mark.timeout(600)  # a minute on an idle machine
def test_files_survive_five_kills(tmp_path: Path, tiny_model: Path) -> None:
    result = chaos(tmp_path / "chaos.json", tiny_model, "--kills", "5", "--frames-per-kill", "12")
    promises = result["promises"]
    assert {name: p["told"] for name, p in promises.items() if not p["holds"]} == {}
    assert result["killed"] == {"reader": 2, "analyzer": 1, "committer": 1, "driver": 1}
    assert result["driver_starts"] == 2
    assert promises["files: the undisturbed run's numbers"]["faces"] > 100
    assert result["polls"]["answers"] > 0


@pytest.mark.slow
def test_live_cameras_survive_kills(tmp_path: Path, tiny_model: Path) -> None:
    result = chaos(tmp_path / "chaos.json", tiny_model, "--kills", "6", "--live")
    assert result["kept"], result["promises"]


class TestPlan:
    def test_a_seed_says_it_all(self) -> None:
        first, again, other = (plan_kills(30, random.Random(seed), 200) for seed in (5, 5, 6))
        assert first == again != other

    def test_every_kind_has_its_turn_and_some_hit_a_recovery(self) -> None:
        plan = plan_kills(30, random.Random(1), 200)
        assert {kind: sum(k.kind == kind for k in plan) for kind in KINDS} == {
            "reader": 8, "analyzer": 8, "committer": 7, "driver": 7
        }  # fmt: skip
        assert 0 < sum(k.again for k in plan) < 30
        assert not plan[0].again
