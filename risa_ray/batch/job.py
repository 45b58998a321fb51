"""The batch job: paths in, chunks out through Ray Data, committed as they come."""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray

from risa_ray.analytics.upkeep import upkeep
from risa_ray.batch.worker import FileEnd, FileTask, FileWorker
from risa_ray.config import ChainConfig
from risa_ray.errors import InputError
from risa_ray.frames import Chunk
from risa_ray.inputs import Unit
from risa_ray.sources.base import Source
from risa_ray.store import runs
from risa_ray.store.errors import StoreError
from risa_ray.store.maintenance import compact
from risa_ray.store.writer import SessionInfo, Writer
from risa_ray.streaming.cluster import analyzer_count, analyzers_per_node, check_resources
from risa_ray.streaming.driver import open_run

log = logging.getLogger("risa")

_RENEW_S = 10.0


@dataclass
class BatchProgress:
    """How far the job is."""

    files: int
    done: int = 0
    analysed: int = 0
    faces: int = 0
    elapsed_s: float = 0.0


@dataclass(frozen=True)
class BatchReport:
    """How the job ended. `broken`: sessions whose file broke half-way, with the reason; what came before is kept."""

    run_id: str
    resumed: bool
    stopped: bool
    progress: BatchProgress
    broken: dict[str, str]


def run_batch(
    config: ChainConfig,
    units: Sequence[Unit],
    sources: Mapping[str, Source],
    *,
    stop: threading.Event,
    on_progress: Callable[[BatchProgress], None],
) -> BatchReport:
    """Analyse every file of a chain config, as fast as the cluster goes. Ray must be connected.

    A job that was killed and is run again goes on where it was; after completion it starts new sessions.

    Args:
        config: with absolute paths.
        units: the files, each with its camera's settings.
        sources: what `preflight` found good, by the units' keys.
        stop: set by Ctrl-C or SIGTERM; what came so far is committed, and the same command resumes the rest.
        on_progress: called as results come.

    Raises:
        InputError: bad input, before any worker starts.
        StoreError: the store could not take the rows.
    """
    for unit in units:
        if sources[unit.key].live:
            raise InputError(f"camera {unit.camera.id}: batch reads files; use `risa stream` for live sources")
    check_resources(config)
    began = time.monotonic()
    run = open_run(config, units, sources)
    writer = Writer(config.data, run.run_id)
    tasks = _tasks(units, run, writer)
    progress = BatchProgress(files=len(tasks))
    broken: dict[str, str] = {}
    next_flush = time.monotonic() + config.pipeline.flush_s
    with _renewed(run):
        for result in _results(config, tasks):
            _take(result, writer, progress, broken)
            progress.elapsed_s = time.monotonic() - began
            on_progress(progress)
            if time.monotonic() >= next_flush:
                writer.flush()
                next_flush = time.monotonic() + config.pipeline.flush_s
            if stop.is_set():
                break
    writer.flush()
    stopped = progress.done < progress.files
    _tidy(config)
    if stopped:
        runs.release(run)
    else:
        runs.complete(run)
    return BatchReport(run.run_id, run.resumed, stopped, progress, broken)


def _tidy(config: ChainConfig) -> None:
    upkeep(config.data, config.retention)
    compact(config.data, older_than_s=0)


def _take(result: Chunk | FileEnd, writer: Writer, progress: BatchProgress, broken: dict[str, str]) -> None:
    if isinstance(result, Chunk):
        writer.add(result)
        progress.analysed += sum(outcome.cause is None for outcome in result.outcomes)
        progress.faces += len(result.faces)
        return
    writer.close_session(result.session_id, result.state, result.note)
    progress.done += 1
    if result.note:
        log.warning("camera %s: %s", result.camera_id, result.note)
    if result.state == "broken":
        broken[result.session_id] = result.note


@contextmanager
def _renewed(run: runs.RunRecord) -> Iterator[None]:
    """Keeps the run's lease while results are waited for, however long the next one takes."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(_RENEW_S):
            try:
                runs.renew(run)
            except StoreError as error:
                log.warning("%s", error)

    keeper = threading.Thread(target=renew, name="lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()


def _tasks(units: Sequence[Unit], run: runs.RunRecord, writer: Writer) -> list[FileTask]:
    tasks = []
    for unit in units:
        store, camera, record = unit.store, unit.camera, run.sessions[unit.key]
        mark = writer.open_session(SessionInfo(store.id, camera.id, record.session_id, False, record.started_at))
        tasks.append(FileTask(store.id, store.timezone, camera, record.session_id, record.started_at, mark))
    return tasks


def _results(config: ChainConfig, tasks: list[FileTask]) -> Iterator[Chunk | FileEnd]:
    context = ray.data.DataContext.get_current()
    # A block per chunk: each comes out as soon as it is made, however long the file.
    context.target_max_block_size = 1
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    pipeline = config.pipeline
    items: list[dict[str, Any]] = [{"task": pickle.dumps(task)} for task in tasks]
    results = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        FileWorker,
        batch_size=1,
        fn_constructor_args=(pipeline, analyzers_per_node(pipeline)),
        compute=ray.data.ActorPoolStrategy(size=analyzer_count(pipeline)),
        num_cpus=pipeline.cpus_per_analyzer,
        num_gpus=pipeline.gpus_per_analyzer,
    )
    for row in results.iter_rows():
        yield pickle.loads(row["result"])  # noqa: S301 (our own workers made it)
