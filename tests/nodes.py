"""A run over several nodes, one removed and one added while it goes on; prints what was seen as JSON.

A script of its own, since a process can be connected to one Ray cluster only: python nodes.py CLIP MODEL DATA
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_worker_niceness", "0")

import ray
from ray.cluster_utils import Cluster

from risa_ray.inputs import config_for
from risa_ray.streaming.driver import Snapshot, stream
from risa_ray.streaming.preflight import preflight

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
LIVE = ["demo:front?seconds=600&fps=4", "demo:side?seconds=600&fps=4", "demo:front?seconds=599&fps=4"]


class Steps:
    """Things to do to the cluster, each once the run is as it should be before it."""

    def __init__(self, steps: list[tuple[str, Callable[[Snapshot], bool], Callable[[], None]]]) -> None:
        self.steps = steps
        self.stop = threading.Event()
        self.seen: list[dict[str, Any]] = []
        self.deadline = time.monotonic() + 240

    def __call__(self, snapshot: Snapshot) -> None:
        if time.monotonic() > self.deadline:
            self.stop.set()
        if not self.steps:
            self.stop.set()
        elif self.steps[0][1](snapshot):
            name, _, act = self.steps.pop(0)
            self.seen.append({"step": name, "nodes": len({a.node_id for a in snapshot.analyzers})})
            act()


def main(clip: str, model: str, data: str) -> None:
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    second = cluster.add_node(**NODE)
    cluster.connect()
    cluster.wait_for_nodes()
    config = config_for(
        [*LIVE, clip], data, {"detector": "haar", "min_face_size": 30},
        {"analyzers": "auto", "threads": 1, "model": model},
    )  # fmt: skip
    counts: dict[str, int] = {}

    def analysed_on(nodes: int) -> Callable[[Snapshot], bool]:
        """Whether every live camera goes on, with so many analyzers at work."""

        def look(snapshot: Snapshot) -> bool:
            now = snapshot.committer.analysed
            alive = {n["NodeID"] for n in ray.nodes() if n["Alive"]}
            at_work = [a for a in snapshot.analyzers if a.node_id in alive and a.frames > 0]
            going = all(
                s.state == "live" and now.get(i, 0) > counts.get(i, 0) + 3
                for i, s in snapshot.readers.items()
                if s.session is None or s.session.live
            )
            if going and len(at_work) == nodes:
                counts.update(now)
                return True
            return False

        return look

    steps = Steps(
        [
            ("two nodes", analysed_on(2), lambda: cluster.remove_node(second, allow_graceful=False)),
            ("one is lost", analysed_on(1), lambda: cluster.add_node(**NODE) and None),
            ("one has joined", analysed_on(2), lambda: None),
        ]
    )
    report = stream(config, preflight(config), stop=steps.stop, on_snapshot=steps)
    told = {"seen": steps.seen, "left": len(steps.steps), "states": {i: s.state for i, s in report.readers.items()}}
    print(json.dumps(told))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
