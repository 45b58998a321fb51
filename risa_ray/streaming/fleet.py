"""The analyzers of a run: started, watched, replaced when they hang, and the cameras shared among them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from risa_ray.config import CameraConfig, PipelineConfig
from risa_ray.errors import InputError
from risa_ray.streaming.analyzer import AnalyzerActor, AnalyzerStatus
from risa_ray.streaming.calls import hopeless, last_line
from risa_ray.streaming.cluster import alive_nodes, analyzer_places, analyzers_per_node
from risa_ray.streaming.polling import Polled

log = logging.getLogger("risa")

_ABSENT_S = 20.0
"""Without an answer for so long an analyzer loses its cameras to the others. A restart takes less."""
_START_S = 120.0
"""How long the start of a process and the loading of its models may take."""
_LAST_ANSWER_S = 5.0
_AGAIN_S = 5.0
_WAIT_S = 60.0
"""How long the other analyzers are waited for once one is ready."""
_LOOK_ROUND_S = 2.0
"""How often the cluster is asked for its nodes."""

Cameras = Sequence[tuple[str, CameraConfig]]
Move = Callable[[str, Any, bool], None]
"""Called with a camera's id, its new analyzer, and whether the old one is to be waited for no more."""


@dataclass
class _Analyzer:
    """`place`: the node it is bound to (`analyzers: auto`), or None; `preparing`: until its models are loaded.

    `since`: when its process was asked for. `again_at`: when another is, after this one could not start; `told`: why.
    `crashed_at`: when it died first since it was ready.
    """

    number: int
    actor: Any
    place: str | None
    preparing: Any
    poll: Polled[AnalyzerStatus]
    cameras: set[str] = field(default_factory=set)
    ready: bool = False
    since: float = field(default_factory=time.monotonic)
    again_at: float | None = None
    told: str = ""
    crashed_at: float | None = None


class Fleet:
    """Starts as many analyzers as the config says, and keeps every camera with one that works.

    Args:
        pipeline: the config's.
        run_id: names what an analyzer leaves for its successor; another for every process of a driver.
        cameras: all cameras, each with its store's id, whose models every analyzer loads at its start.
        move: how a camera is told of its new analyzer.
    """

    def __init__(self, pipeline: PipelineConfig, run_id: str, cameras: Cameras, move: Move) -> None:
        self._pipeline = pipeline
        self._run_id = run_id
        self._cameras = list(cameras)
        self._move = move
        self._started = 0
        self._nodes: set[str] = set()
        self._looked_at = 0.0
        self._analyzers: list[_Analyzer] = []
        for place in self._places():
            self._start(place)

    def wait_ready(self, stop: threading.Event) -> None:
        """Wait until every analyzer has its models, or `stop` is set; when one has, a minute at most for the others.

        Raises:
            InputError: an analyzer cannot start, or the first ones crash for two minutes.
        """
        began = said = time.monotonic()
        while (waiting := [a for a in self._analyzers if not a.ready]) and not stop.is_set():
            now, ready, wanted = time.monotonic(), len(self._analyzers) - len(waiting), len(self._analyzers)
            if ready and now - began > _WAIT_S:
                log.warning("beginning with %d of %d analyzers", ready, wanted)
                return
            for analyzer in waiting:
                why = self._see_to_models(analyzer)
                if not ready and now - (analyzer.crashed_at or now) > _START_S:
                    why = why or "its process dies again and again"
                if why:
                    raise InputError(f"pipeline: an analyzer cannot start ({why})")
            if now - said > 30:
                said = now
                log.warning("waiting for the cluster to place and start %d of %d analyzers", len(waiting), wanted)
            stop.wait(0.1)

    def assign(self, camera_id: str) -> tuple[Any, str | None]:
        """The analyzer that a camera is to use, the one with the fewest, and the id of its node if that is known."""
        able = [a for a in self._analyzers if self._works(a)] or self._analyzers
        chosen = min(able, key=lambda a: len(a.cameras))
        chosen.cameras.add(camera_id)
        return chosen.actor, chosen.poll.value.node_id if chosen.poll.value else None

    def release(self, camera_id: str) -> None:
        """The camera has ended or was removed."""
        for analyzer in self._analyzers:
            analyzer.cameras.discard(camera_id)

    def pictures(self) -> dict[str, Any]:
        """Camera -> the analyzer that has it, of those whose picture may be shown."""
        shown = {camera.id for _, camera in self._cameras if camera.blurred_picture}
        return {camera_id: a.actor for a in self._analyzers for camera_id in sorted(a.cameras & shown)}

    def recamera(self, cameras: Cameras) -> None:
        """The config's cameras have changed; analyzers load what they need beside their work."""
        self._cameras = list(cameras)
        for analyzer in self._analyzers:
            analyzer.actor.prepare.remote(self._cameras)

    def step(self) -> None:
        """See how everybody is: end those that hang, follow the cluster's nodes, and share out the cameras."""
        for analyzer in self._analyzers:
            self._tend(analyzer)
        if time.monotonic() - self._looked_at > _LOOK_ROUND_S:
            self._looked_at = time.monotonic()
            self._nodes = {str(n["NodeID"]) for n in alive_nodes()}
            self._follow_nodes()
        self._leave_the_absent()
        self._balance()

    def statuses(self) -> tuple[AnalyzerStatus, ...]:
        """The last answer of each analyzer that has given one."""
        return tuple(a.poll.value for a in self._analyzers if a.poll.value is not None)

    def last_statuses(self) -> tuple[AnalyzerStatus, ...]:
        """How each analyzer is now; waits a moment for those that answer."""
        answers = [a.actor.status.remote() for a in self._analyzers]
        ready, _ = ray.wait(answers, num_returns=len(answers), timeout=_LAST_ANSWER_S) if answers else ([], [])
        statuses = []
        for answer in ready:
            try:
                statuses.append(ray.get(answer))
            except RayActorError:
                continue  # it is being restarted
            except RayError as error:
                log.warning("an analyzer answered with an error: %s", last_line(error))
        return tuple(statuses)

    def kill(self) -> None:
        """End every analyzer; what they keep for a successor goes too."""
        closing = [a.actor.close.remote() for a in self._analyzers]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=2)
        for analyzer in self._analyzers:
            ray.kill(analyzer.actor)

    def _places(self) -> list[str | None]:
        """A place for each analyzer: a node with `auto`, else wherever Ray finds room."""
        if self._pipeline.analyzers == "auto":
            return list(analyzer_places(self._pipeline)) or [None]
        return [None] * self._pipeline.analyzers

    def _start(self, place: str | None) -> None:
        self._analyzers.append(self._made(self._started, place))
        self._started += 1

    def _made(self, number: int, place: str | None) -> _Analyzer:
        p = self._pipeline
        strategy: Any = "SPREAD" if place is None else NodeAffinitySchedulingStrategy(place, soft=False)
        settings = (p.model, p.device, p.threads, analyzers_per_node(p), p.max_batch, p.batch_window_ms / 1000)
        name = f"{self._run_id}-{number}"
        actor: Any = ray.remote(AnalyzerActor).options(
            num_cpus=p.cpus_per_analyzer, num_gpus=p.gpus_per_analyzer, max_restarts=-1, scheduling_strategy=strategy,
            enable_task_events=False,
        ).remote(*settings, name)  # fmt: skip
        poll: Polled[AnalyzerStatus] = Polled(actor.status.remote)
        return _Analyzer(number, actor, place, actor.prepare.remote(self._cameras), poll)

    def _now_ready(self, analyzer: _Analyzer) -> None:
        analyzer.ready, analyzer.preparing, analyzer.crashed_at = True, None, None
        analyzer.poll.patience()

    def _tend(self, analyzer: _Analyzer) -> None:
        if analyzer.again_at is not None:
            if time.monotonic() >= analyzer.again_at:
                self._renew(analyzer)
            return
        status = analyzer.poll.look()
        if analyzer.poll.dead:
            self._fail(analyzer, "its process cannot start")
            return
        timeout_s = self._pipeline.analyzer_timeout_s
        busy_s = status.busy_s if status is not None and analyzer.poll.news else 0.0
        # A frame that hangs it may be there again before it is ready; and an answer may still be of the process before.
        hangs = timeout_s < busy_s < time.monotonic() - analyzer.since
        silent = analyzer.ready and analyzer.poll.silent_s > timeout_s and self._node_lives(analyzer)
        if hangs or silent:
            log.error("analyzer %d hangs for %.0f s: a new process takes its place", analyzer.number, timeout_s)
            self._kill_process(analyzer)
        elif analyzer.preparing is not None:
            self._see_to_start(analyzer)

    def _kill_process(self, analyzer: _Analyzer) -> None:
        """Ray starts another, which finds in the journal what this one was at work on."""
        ray.kill(analyzer.actor, no_restart=False)
        analyzer.poll.patience()
        analyzer.ready, analyzer.since = False, time.monotonic()
        analyzer.preparing = analyzer.actor.prepare.remote(self._cameras)

    def _see_to_start(self, analyzer: _Analyzer) -> None:
        """An analyzer that was started beside the run is used once it has its models."""
        if not ray.wait([analyzer.preparing], timeout=0)[0]:
            placed = analyzer.poll.value is not None
            if placed and time.monotonic() - analyzer.since > self._pipeline.analyzer_timeout_s + _START_S:
                log.error("analyzer %d does not get ready: a new process takes its place", analyzer.number)
                self._kill_process(analyzer)
            return
        if why := self._see_to_models(analyzer):
            self._fail(analyzer, why)

    def _see_to_models(self, analyzer: _Analyzer) -> str:
        """Note whether it has its models; after a crash they are loaded anew. Why it cannot start, or ""."""
        if not ray.wait([analyzer.preparing], timeout=0)[0]:
            return ""
        try:
            ray.get(analyzer.preparing)
            self._now_ready(analyzer)
        except RayError as error:
            if hopeless(error) or not isinstance(error, RayActorError):
                return last_line(error)
            analyzer.crashed_at = analyzer.crashed_at or time.monotonic()
            analyzer.preparing = analyzer.actor.prepare.remote(self._cameras)
        return ""

    def _fail(self, analyzer: _Analyzer, why: str) -> None:
        """An analyzer cannot start: its cameras move where others work, and it is tried again and again."""
        if why != analyzer.told:
            log.error("analyzer %d cannot start (%s); trying again every %.0f s", analyzer.number, why, _AGAIN_S)
        analyzer.told, analyzer.ready, analyzer.preparing = why, False, None
        analyzer.again_at = time.monotonic() + _AGAIN_S

    def _renew(self, analyzer: _Analyzer) -> None:
        """Another actor in the place of one that Ray has given up."""
        ray.kill(analyzer.actor)
        fresh = self._made(analyzer.number, analyzer.place)
        analyzer.actor, analyzer.poll, analyzer.preparing = fresh.actor, fresh.poll, fresh.preparing
        analyzer.since, analyzer.again_at = fresh.since, None
        for camera_id in sorted(analyzer.cameras):
            self._move(camera_id, analyzer.actor, True)

    def _node_lives(self, analyzer: _Analyzer) -> bool:
        status = analyzer.poll.value
        return status is None or not self._nodes or status.node_id in self._nodes

    def _works(self, analyzer: _Analyzer) -> bool:
        return analyzer.ready and analyzer.poll.silent_s < _ABSENT_S and self._node_lives(analyzer)

    def _follow_nodes(self) -> None:
        """With `auto`: an analyzer for every place that has none, and none for places that are gone."""
        if self._pipeline.analyzers != "auto":
            return
        missing = self._places()
        for analyzer in list(self._analyzers):
            if analyzer.place in missing:
                missing.remove(analyzer.place)
            elif analyzer.place not in self._nodes and len(self._analyzers) > 1:
                log.warning("analyzer %d: its node has left the cluster", analyzer.number)
                self._analyzers.remove(analyzer)
                ray.kill(analyzer.actor)
                self._rehome(analyzer.cameras, abandon=True)
        for place in missing:
            if place is not None:
                log.warning("analyzer %d: starting on a node that has room", self._started)
                self._start(place)

    def _leave_the_absent(self) -> None:
        if not any(self._works(a) for a in self._analyzers):
            return
        for analyzer in self._analyzers:
            if analyzer.cameras and not self._works(analyzer) and not self._soon_back(analyzer):
                log.warning("analyzer %d does not answer: its cameras move to the others", analyzer.number)
                cameras, analyzer.cameras = analyzer.cameras, set()
                self._rehome(cameras, abandon=True)

    def _soon_back(self, analyzer: _Analyzer) -> bool:
        """Silent for a moment only, as one that crashed and is restarted on its node."""
        return analyzer.again_at is None and analyzer.poll.silent_s < _ABSENT_S and self._node_lives(analyzer)

    def _rehome(self, cameras: set[str], abandon: bool) -> None:
        for camera_id in sorted(cameras):
            actor, _ = self.assign(camera_id)
            self._move(camera_id, actor, abandon)

    def _balance(self) -> None:
        """Move cameras from the fullest analyzer to the emptiest until none has two more than another."""
        able = [a for a in self._analyzers if self._works(a)]
        while len(able) > 1:
            least, most = min(able, key=lambda a: len(a.cameras)), max(able, key=lambda a: len(a.cameras))
            if len(most.cameras) - len(least.cameras) < 2:
                return
            camera_id = max(most.cameras)
            most.cameras.remove(camera_id)
            least.cameras.add(camera_id)
            self._move(camera_id, least.actor, False)
