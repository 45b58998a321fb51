"""What RISA promises about people, proven on a whole run of the real pipeline.

The run has a Ray cluster of its own with a full object store. It is searched for pictures on disk, for anything about
people in staff zones, and for anything about single people that the views let out.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from PIL import Image as PilImage
from portraits import LEFT_HALF, SIZE, Picture, pictures_in, scene

from risa_ray.analytics import open_dataset
from risa_ray.analytics.query import run_query
from risa_ray.config import PrivacyConfig, load_config
from risa_ray.errors import InputError
from risa_ray.store.context import write_context
from risa_ray.store.schema import TABLES
from risa_ray.store.table import Table
from risa_ray.vision import EXPRESSIONS

ALL = [[0, 0], [1, 0], [1, 1], [0, 1]]
PICTURES = 8
# Lately, since a recording older than its retention is refused.
START = (datetime.now(UTC) - timedelta(days=2)).replace(hour=9, minute=0, second=0, microsecond=0)

_DRIVER = """
import json, os, sys
from pathlib import Path
import numpy as np, ray
from PIL import Image
from risa_ray.running import run_stream
from risa_ray.config import load_config
from risa_ray.streaming import cluster

def parents():
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                pass

def descendants():
    of, family = dict(parents()), {os.getpid()}
    while more := {pid for pid, parent in of.items() if parent in family} - family:
        family |= more
    return family

def stores():
    found = set()
    for pid in descendants():
        try:
            lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        except OSError:
            continue
        found |= {l.split(None, 5)[5] for l in lines if "/plasma" in l and len(l.split(None, 5)) == 6}
    return sorted(found)

cluster.LOCAL_OBJECT_STORE_MB = 80
cluster.connect("local", num_cpus=2, num_gpus=0)
pictures = [np.asarray(Image.open(p)) for p in sorted(Path(sys.argv[2]).iterdir())]
# More pictures than the store takes, held to the end: every frame of the run finds it full.
full = [ray.put(np.stack(pictures * 3)) for _ in range(5)]
before = stores()
code = run_stream(lambda: load_config(Path(sys.argv[1])), events=sys.argv[3])
session = ray._private.worker._global_node.get_session_dir_path()
told = {"code": code, "before": before, "after": stores(), "session": session}
told["held"] = sum(len(ray.get(r)) for r in full)
Path(sys.argv[4]).write_text(json.dumps(told))
"""


@dataclass(frozen=True)
class WholeRun:
    """A run over three cameras that see the same two people.

    Attributes:
        folder: everything that the run wrote: data, events, temporary files, Ray's session.
        told: what the driver saw of its cluster.
        output: of the command, both streams.
    """

    folder: Path
    told: dict[str, Any]
    output: str

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "events.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeRun]:
    """The stream of a folder of pictures, with a cluster of its own whose object store is full throughout."""
    pictures = tmp_path_factory.mktemp("pictures")
    for i in range(PICTURES):
        PilImage.fromarray(scene(i)).save(pictures / f"{i}.png")
    # Short, since Ray has its sockets in it.
    folder = Path(tempfile.mkdtemp(prefix="risa-"))
    desk = {"id": "desk", "kind": "staff", "polygon": LEFT_HALF}
    aisle = {"id": "aisle", "kind": "product", "polygon": ALL}
    cameras = [
        {"id": "open", "source": str(pictures), "zones": [aisle]},
        {"id": "half", "source": str(pictures), "zones": [desk, aisle]},
        {"id": "closed", "source": str(pictures), "zones": [desk | {"polygon": ALL}, aisle]},
    ]
    rules = [
        {"id": f"{figure}-{c['id']}", "figure": figure, "camera": c["id"], "above": -2, "text": f"{figure} {c['id']}"}
        for c in cameras
        for figure in ("people", "net_sentiment", "unknown_share")
    ]
    for rule in rules:
        rule["above"] = 0 if rule["figure"] == "people" else -2
    config = {
        "data": str(folder / "data"),
        "stores": [{"id": "s", "cameras": [c | {"detector": "mtcnn", "start": START.isoformat()} for c in cameras]}],
        "pipeline": {"threads": 1},
        "privacy": {"k": 1},
        "alerts": rules,
    }
    (folder / "chain.yaml").write_text(json.dumps(config))
    told = folder / "told.json"
    environment = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "RAY_TMPDIR")}
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER, "chain.yaml", str(pictures), "events.jsonl", str(told)],
        cwd=folder, env=environment | {"TMPDIR": str(folder)}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        yield WholeRun(folder, json.loads(told.read_text()), done.stdout + done.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stored(data: Path, table: str) -> list[dict[str, Any]]:
    """The rows of a table as they lie in the store, past every view."""
    found: list[dict[str, Any]] = DeltaTable(str(data / table)).to_pyarrow_table().to_pylist()
    return found


def test_no_row_of_a_run_is_of_a_face_in_a_staff_zone(whole_run: WholeRun) -> None:
    assert whole_run.told["code"] == 0
    faces = stored(whole_run.data, "observations")
    places = Counter((row["camera_id"], (row["x1"] + row["x2"]) / 2 <= SIZE[1] / 2) for row in faces)
    assert places == {("half", False): PICTURES, ("open", False): PICTURES, ("open", True): PICTURES}
    analysed_, counted = Counter[str](), Counter[str]()
    for row in stored(whole_run.data, "frames"):
        analysed_[row["camera_id"]] += row["analysed"]
        counted[row["camera_id"]] += row["faces"]
    assert analysed_ == {"open": PICTURES, "half": PICTURES, "closed": PICTURES}
    assert counted == {"open": 2 * PICTURES, "half": PICTURES, "closed": 0}
    for table, schema in TABLES.items():
        if "track_id" in schema.names and (whole_run.data / table).is_dir():
            assert "closed" not in {row["camera_id"] for row in stored(whole_run.data, table)}


def test_nor_is_an_alert_or_an_event_about_one(whole_run: WholeRun) -> None:
    fired = stored(whole_run.data, "alerts")
    assert {row["camera_id"] for row in fired} == {"open", "half"}
    most_people = {row["camera_id"]: row["value"] for row in fired if row["figure"] == "people"}
    assert most_people == {"open": 2, "half": 1}
    events = whole_run.events
    assert {"open", "half"} <= {e["camera_id"] for e in events if e["type"] == "alert"} <= {"open", "half"}
    people = {"open": 2, "half": 1, "closed": 0}
    for event in (e for e in events if e["type"] == "figures"):
        most = people[event["camera_id"]]
        assert event["people_now"] <= most
        assert sum(event["expressions"].values()) <= most
        assert (event["tracks"] or 0) <= most
        assert (event["with_mood"] or 0) <= most
    about_closed = [e for e in events if e.get("camera_id") == "closed"]
    assert {e["type"] for e in about_closed} <= {"figures", "camera"}
    for event in about_closed:
        assert event.get("net_sentiment") is None
        assert not event.get("expressions")


def test_no_log_tells_an_expression_or_a_track(whole_run: WholeRun) -> None:
    tracks = sorted({row["track_id"] for row in stored(whole_run.data, "observations")})
    assert tracks
    words = re.compile("|".join([*(rf"\b{name}\b" for name in EXPRESSIONS), *map(re.escape, tracks)]), re.IGNORECASE)
    session = Path(whole_run.told["session"])
    logs = [path for path in (session / "logs").rglob("*") if path.is_file()]
    assert logs
    for path in logs:
        assert not words.search(path.read_text(errors="replace")), path
    assert not [track for track in tracks if track in whole_run.output]
    for line in whole_run.output.splitlines():
        if "closed" in line:
            assert not words.search(line), line


def test_what_a_full_object_store_cannot_take_stays_in_memory(whole_run: WholeRun) -> None:
    told = whole_run.told
    assert told["held"] == 5 * 3 * PICTURES, "more pictures than the store takes, all there"
    for stores in (told["before"], told["after"]):
        assert len(stores) > 1, "the store was full: Ray made files for the rest"
        assert [path for path in stores if not path.startswith("/dev/shm/")] == []


def test_a_run_with_a_full_object_store_writes_no_picture_to_disk(whole_run: WholeRun) -> None:
    assert Path(whole_run.told["session"]).is_relative_to(whole_run.folder), "Ray's session is searched, too"
    written = [path for path in whole_run.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.suffix == ".parquet" for path in written)
    assert any("logs" in path.parts for path in written)
    assert [path for path in whole_run.folder.rglob("*") if "spill" in path.name] == []
    assert [path for path in written if pictures_in(path.read_bytes())] == []


def test_the_tables_of_a_run_have_no_room_for_pictures(whole_run: WholeRun) -> None:
    """Compressed columns do not show their bytes to a search: they must be known, and hold no blob."""
    for path in whole_run.data.rglob("*.parquet"):
        table = path.relative_to(whole_run.data).parts[0]
        names = set(pq.read_schema(path).names)
        assert names <= set(TABLES[table].names), table
        content = pq.ParquetFile(path).read()
        for field, column in zip(content.schema, content.columns, strict=True):
            assert not _is_blob(field.type), (table, field.name)
            for value in column.to_pylist():
                assert len(json.dumps(value, default=str)) < 2_000, (table, field.name)


def _is_blob(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        return _is_blob(kind.value_type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_the_search_finds_encoded_pictures(suffix: str) -> None:
    _, encoded = cv2.imencode(suffix, scene(0))
    assert pictures_in(b"x" * 1000 + encoded.tobytes() + b"x" * 10)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p,
        lambda p: p[..., ::-1],
        lambda p: p[100:300, 33:400],
        lambda p: p[130:300, 70:240],
        lambda p: p.transpose(2, 0, 1),
        lambda p: (p / np.float32(255)).astype(np.float32),
    ],
)
def test_the_search_finds_raw_pictures(change: Callable[[Picture], npt.NDArray[Any]]) -> None:
    assert pictures_in(b"y" * 77 + np.ascontiguousarray(change(scene(0))).tobytes())
    assert not pictures_in(np.random.default_rng(1).bytes(200_000))


@pytest.fixture(scope="module")
def floored(whole_run: WholeRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's tables under the default settings."""
    data = tmp_path_factory.mktemp("floored") / "data"
    shutil.copytree(whole_run.data, data)
    config = load_config(whole_run.folder / "chain.yaml").model_copy(update={"privacy": PrivacyConfig()})
    write_context(str(data), config, {})
    # Whatever keeps single people must be refused also while it has rows.
    table = Table(str(data), "closed_tracks")
    seen = stored(data, "observations")[0]
    row = {name: seen[name] for name in ("date", "store_id", "camera_id", "session_id", "track_id", "expression")}
    table.commit(pa.Table.from_pylist([row | {"first_seen": seen["captured_at"]}], schema=table.schema), {"test": 0})
    return data


@pytest.mark.parametrize("view", ["observations", "tracks", "stays"])
def test_views_of_single_people_refuse(view: str, floored: Path) -> None:
    with pytest.raises(InputError, match="raw"):
        run_query(str(floored), f"FROM {view}")
    assert run_query(str(floored), f"FROM {view}", raw=True).num_rows >= 1


def test_no_relation_gives_single_people_without_raw(floored: Path) -> None:
    """Every table and view that the connection has, whatever it is called: no track, no face, no figure of few."""
    tracks = {row["track_id"] for row in stored(floored, "observations")}
    assert tracks
    connection = open_dataset(str(floored))
    listed = connection.sql(
        "SELECT table_schema || '.\"' || table_name || '\"' FROM information_schema.tables"
    ).fetchall()
    assert len(listed) > 10
    answered = []
    for (name,) in listed:
        try:
            answer = connection.sql(f"FROM {name}").to_arrow_table()
        except duckdb.Error:
            continue
        answered.append(name)
        if answer.num_rows:
            assert not {"track_id", "face_index", "x1"} & set(answer.schema.names), name
        texts = [field.name for field in answer.schema if not pa.types.is_temporal(field.type)]
        text = json.dumps(answer.select(texts).to_pylist(), default=str)
        assert not [track for track in tracks if track in text], name
        if "net_sentiment" in answer.schema.names:
            assert set(answer["net_sentiment"].to_pylist()) <= {None}, name
    assert len(answered) > 5


@pytest.mark.parametrize("table", [name for name, schema in TABLES.items() if "track_id" in schema.names])
def test_no_table_of_single_people_gives_a_row_without_raw(table: str, floored: Path) -> None:
    assert stored(floored, table)
    for name in (table, f"main.{table}", f"people.{table}"):
        try:
            answer = run_query(str(floored), f"SELECT track_id FROM {name}")
        except InputError:
            continue
        # A table of the name may stand in for what is not there; it has none to give.
        assert answer.num_rows == 0, name


Command = Callable[..., tuple[int, str, str]]


def test_the_command_exports_no_single_person_without_raw(floored: Path, tmp_path: Path, risa: Command) -> None:
    for format_ in ("csv", "json", "parquet"):
        out = tmp_path / f"people.{format_}"
        arguments = ["query", "FROM observations", "--data", floored, "--format", format_, "--out", out]
        code, shown, error = risa(*arguments)
        assert (code, shown) == (2, "")
        assert "raw" in error
        assert not out.exists()
    assert risa(*arguments, "--raw")[0] == 0
    assert pq.read_table(out).num_rows == 3 * PICTURES
