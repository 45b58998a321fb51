"""What becomes of a run whose parts die, hang, or change, on real Ray."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from deadly import deadly, frail, refusing
from support import FAST, assert_accounted, assert_every_frame_once, config_of, rows, run

from risa_ray.config import load_config
from risa_ray.errors import InputError
from risa_ray.streaming.driver import Snapshot, StreamReport, stream
from risa_ray.streaming.preflight import preflight
from risa_ray.streaming.watch import ConfigWatch

FRAMES = 40


@pytest.mark.usefixtures("cluster")
class TestAnalyzers:
    def test_a_frame_that_kills_every_process_is_skipped_counted_and_named(
        self, clip: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("risa_ray.streaming.fleet.AnalyzerActor", deadly("kill", 9, tmp_path / "deaths"))
        report = run(config_of([clip], tmp_path / "data", model=str(tiny_model)))
        assert report.readers[clip.stem].state == "complete"
        assert dict(report.committer.outcomes[clip.stem]) == {"analysed": FRAMES - 1, "poison": 1}
        read = "SELECT sum(read), sum(analysed), sum(dropped_poison), min(first_seq), max(last_seq) FROM frames"
        assert rows(tmp_path / "data", read) == [(FRAMES, FRAMES - 1, 1, 0, FRAMES - 1)]
        assert rows(tmp_path / "data", "SELECT count(*) FROM observations WHERE frame_seq = 9") == [(0,)]
        deaths = (tmp_path / "deaths").read_text().split()
        assert 2 <= len(deaths) <= 3, "in company it is only suspected; alone it kills twice"

    def test_an_analyzer_that_hangs_is_replaced(
        self, clip: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("risa_ray.streaming.fleet.AnalyzerActor", deadly("hang once", 9, tmp_path / "deaths"))
        report = run(config_of([clip], tmp_path / "data", model=str(tiny_model), analyzer_timeout_s=2))
        assert (tmp_path / "deaths").exists()
        assert report.readers[clip.stem].state == "complete"
        assert_every_frame_once(tmp_path / "data", clip.stem, FRAMES)

    def test_a_frame_that_hangs_every_process_is_skipped_also_before_they_are_ready(
        self, clip: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("risa_ray.streaming.fleet.AnalyzerActor", deadly("hang", 9, tmp_path / "deaths"))
        monkeypatch.setattr("risa_ray.streaming.fleet._START_S", 3600.0)  # so long is a hang not to be waited for
        deadline = time.monotonic() + 120

        def see(snapshot: Snapshot) -> None:
            assert time.monotonic() < deadline, snapshot.readers

        report = run(config_of([clip], tmp_path / "data", model=str(tiny_model), analyzer_timeout_s=2), see)
        assert report.readers[clip.stem].state == "complete"
        assert dict(report.committer.outcomes[clip.stem]) == {"analysed": FRAMES - 1, "poison": 1}

    def test_an_analyzer_that_refuses_its_settings_refuses_the_run(
        self, clip: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("risa_ray.streaming.fleet.AnalyzerActor", refusing("no such network"))
        with pytest.raises(InputError, match=r"an analyzer cannot start .*no such network"):
            run(config_of([clip], tmp_path / "data", model=str(tiny_model)))

    def test_a_crash_at_the_start_is_no_reason_to_refuse_the_run(
        self, clip: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("risa_ray.streaming.fleet.AnalyzerActor", frail(tmp_path / "deaths"))
        report = run(config_of([clip], tmp_path / "data", model=str(tiny_model)))
        assert (tmp_path / "deaths").exists()
        assert report.readers[clip.stem].state == "complete"
        assert_every_frame_once(tmp_path / "data", clip.stem, FRAMES)


def edit(path: Path, data: Path, model: Path, cameras: Sequence[dict[str, Any]]) -> None:
    settings = [FAST | {"source": "demo:front?seconds=300&fps=10"} | camera for camera in cameras]
    chain = {"data": str(data), "pipeline": {"threads": 1, "model": str(model)}, "privacy": {"retention": None}}
    del chain["privacy"]
    draft = path.with_suffix(".draft")
    draft.write_text(yaml.safe_dump(chain | {"stores": [{"id": "berlin", "cameras": settings}]}))
    draft.replace(path)


class Watched:
    """A run of a config file that is edited while it goes on: one step after the other, each once the run is ready."""

    def __init__(self, path: Path, steps: Sequence[tuple[Callable[[Snapshot], bool], Callable[[], object]]]) -> None:
        self.path = path
        self.steps = list(steps)
        self.stop = threading.Event()
        self.deadline = time.monotonic() + 120

    def see(self, snapshot: Snapshot) -> None:
        assert time.monotonic() < self.deadline, f"{len(self.steps)} steps left: {snapshot.readers}"
        if self.steps and self.steps[0][0](snapshot):
            self.steps.pop(0)[1]()
        elif not self.steps:
            self.stop.set()

    def run(self) -> StreamReport:
        config = load_config(self.path)
        sources = preflight(config)

        watch = ConfigWatch(config, sources, lambda: load_config(self.path), self.path)
        return stream(config, sources, stop=self.stop, on_snapshot=self.see, interval_s=0.1, watch=watch)


def live(*cameras: str) -> Callable[[Snapshot], bool]:
    """Whether these cameras, and no others, are live and have frames analysed."""

    def seen(snapshot: Snapshot) -> bool:
        states = {i: s.state for i, s in snapshot.readers.items()}
        analysed = snapshot.committer.analysed
        return states == dict.fromkeys(cameras, "live") and all(analysed.get(i) for i in cameras)

    return seen


@pytest.mark.usefixtures("cluster")
class TestConfigFile:
    def test_cameras_are_added_changed_and_removed_while_the_others_go_on(
        self, tmp_path: Path, tiny_model: Path
    ) -> None:
        path, data = tmp_path / "chain.yaml", tmp_path / "data"
        write = partial(edit, path, data, tiny_model)
        write([{"id": "a"}, {"id": "b"}])
        changed: dict[str, str] = {}

        def b_is_new(snapshot: Snapshot) -> bool:
            session = snapshot.readers["b"].session
            return live("a", "b", "c")(snapshot) and session is not None and session.session_id != changed["b"]

        def remember(snapshot: Snapshot) -> bool:
            if live("a", "b", "c")(snapshot) and (session := snapshot.readers["b"].session):
                changed["b"] = session.session_id
            return "b" in changed

        zone = {"id": "shelf", "kind": "product", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]}
        watched = Watched(
            path,
            [
                (live("a", "b"), lambda: write([{"id": "a"}, {"id": "b"}, {"id": "c"}])),
                (remember, lambda: write([{"id": "a"}, {"id": "b", "zones": [zone]}, {"id": "c"}])),
                (b_is_new, lambda: write([{"id": "b", "zones": [zone]}])),
                (live("b"), lambda: None),
            ],
        )
        report = watched.run()
        assert set(report.readers) == {"b"}
        sessions = "SELECT camera_id, count(DISTINCT session_id) FROM frames WHERE session_id IS NOT NULL GROUP BY 1"
        assert dict(rows(data, sessions)) == {"a": 1, "b": 2, "c": 1}
        assert_accounted(data)
        assert rows(data, "SELECT DISTINCT zone_id FROM zones") == [("shelf",)]

    def test_a_faulty_edit_is_told_and_changes_nothing(
        self, tmp_path: Path, tiny_model: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path, data = tmp_path / "chain.yaml", tmp_path / "data"
        write = partial(edit, path, data, tiny_model)
        write([{"id": "a"}])

        def told(_: Snapshot) -> bool:
            return "goes on as before" in caplog.text

        watched = Watched(
            path, [(live("a"), lambda: write([{"id": "a"}, {"id": "b", "detecter": "haar"}])), (told, lambda: None)]
        )
        report = watched.run()
        assert set(report.readers) == {"a"}
        assert "detecter" in caplog.text
