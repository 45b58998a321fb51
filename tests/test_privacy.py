"""What RISA promises about people, proven on the real pipeline.

The classifier is watched at its door; a whole run on a Ray cluster of its own, with a full object store, is searched
for pictures on disk and for anything about people in staff zones.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import cv2
import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skimage.data
from deltalake import DeltaTable
from PIL import Image as PilImage

from risa_ray.analytics import open_dataset
from risa_ray.analytics.query import run_query
from risa_ray.config import CameraConfig, ChainConfig, PrivacyConfig, load_config, parse_config
from risa_ray.errors import InputError
from risa_ray.frames import FaceRow, Frame
from risa_ray.privacy import NEVER_STORED, PURPOSES, WIDTH, columns_in_words, privacy_report, sign
from risa_ray.sources import create_source
from risa_ray.sources.reading import read_frames
from risa_ray.store.context import write_context
from risa_ray.store.schema import TABLES
from risa_ray.store.table import Table
from risa_ray.store.writer import SessionInfo
from risa_ray.streaming.buffer import FrameBuffer
from risa_ray.streaming.decoding import Decoding, Ending
from risa_ray.streaming.lifecycle import Lifecycle
from risa_ray.vision import EXPRESSIONS
from risa_ray.vision import classifier as classifier_module
from risa_ray.vision.analyze import Analyzer, CameraSetup, CameraState
from risa_ray.vision.classifier import ExpressionClassifier

Picture = npt.NDArray[np.uint8]
LEFT_HALF = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
ALL = [[0, 0], [1, 0], [1, 1], [0, 1]]
PICTURES, SIZE = 8, (480, 640)
# Lately, since a recording older than its retention is refused.
START = (datetime.now(UTC) - timedelta(days=2)).replace(hour=9, minute=0, second=0, microsecond=0)


def _pattern() -> Picture:
    """Noise that repeats every 32 pixels: any piece of any row is known by its bytes."""
    tile = np.random.default_rng(7).integers(90, 160, (32, 32, 3), np.uint8)
    return np.tile(tile, (SIZE[0] // 32, SIZE[1] // 32, 1))


def _portrait() -> Picture:
    """A face in the public domain."""
    return np.asarray(skimage.data.astronaut()[20:220, 130:320], np.uint8)


def scene(step: int) -> Picture:
    """A face in the left half and one in the right half, which move a little, on the pattern."""
    picture = _pattern()
    face = _portrait()
    h, w = face.shape[:2]
    for x in (60 + 4 * step, 390 - 4 * step):
        picture[120 : 120 + h, x : x + w] = face
    return picture


def in_left_half(row: FaceRow, width: float) -> bool:
    return (row.x1 + row.x2) / 2 <= width / 2


# --- (a) no expression of a face in a staff zone: the analysis -----------------------------------------------------


@cache
def _analyzer() -> Analyzer:
    return Analyzer.load("default", threads=1)


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float, float]]:
    """What the classifier gets while the test runs: per crop the centre of its box, and the width of its picture."""
    seen: list[tuple[float, float, float]] = []
    cut, predict = classifier_module.crop_face, ExpressionClassifier.predict

    def centre(image: Picture, box: npt.ArrayLike) -> tuple[float, float, float]:
        x1, y1, x2, y2 = (float(v) for v in np.asarray(box).reshape(4))
        return (x1 + x2) / 2, (y1 + y2) / 2, float(image.shape[1])

    def watched_cut(image: Picture, box: npt.NDArray[np.float32], *rest: Any) -> Any:
        seen.append(centre(image, box))
        return cut(image, box, *rest)

    def watched_predict(self: Any, images: Sequence[Picture], boxes: Sequence[npt.ArrayLike]) -> Any:
        for image, several in zip(images, boxes, strict=True):
            seen.extend(centre(image, box) for box in np.asarray(several).reshape(-1, 4))
        return predict(self, images, boxes)

    monkeypatch.setattr(classifier_module, "crop_face", watched_cut)
    monkeypatch.setattr(ExpressionClassifier, "predict", watched_predict)
    return seen


def analysed(run: Sequence[Frame], detector: str, staff: bool, **camera: Any) -> list[FaceRow]:
    zones = [{"id": "desk", "kind": "staff", "polygon": LEFT_HALF}] if staff else []
    raw = {"id": "till", "source": "x", "detector": detector, "min_face_size": 40, "zones": zones} | camera
    setup = CameraSetup.of("store", CameraConfig.model_validate(raw))
    state, faces = CameraState.start("session", 0), list[FaceRow]()
    for at in range(0, len(run), 3):
        chunk, state = _analyzer().analyze(run[at : at + 3], setup, state)
        faces += chunk.faces
        assert sum(o.faces for o in chunk.outcomes) == len(chunk.faces), "not even counted"
    return faces


def assert_staff_is_left_out(
    run: Sequence[Frame], received: list[tuple[float, float, float]], detector: str, **camera: Any
) -> None:
    width = run[0].image.shape[1] * run[0].scale
    control = analysed(run, detector, staff=False, **camera)
    assert any(in_left_half(row, width) for row in control), "the faces are there, and found"
    assert any(not in_left_half(row, width) for row in control)
    assert any(x <= w / 2 for x, _, w in received), "and the classifier gets them where there is no staff zone"
    received.clear()
    kept = analysed(run, detector, staff=True, **camera)
    assert kept, "customers are seen"
    assert received
    assert not [1 for x, _, w in received if x <= w / 2], "no crop of a staff zone reaches the classifier"
    assert not [row for row in kept if in_left_half(row, width)]
    assert not [row for row in kept if "desk" in row.zone_ids]
    assert {(r.frame_seq, r.x1, r.y1) for r in kept} <= {(r.frame_seq, r.x1, r.y1) for r in control}


def frames(pictures: Sequence[Picture]) -> list[Frame]:
    at = datetime(2026, 11, 22, 9, tzinfo=UTC)
    return [Frame("till", "session", i, i / 5, at, 0.0, picture) for i, picture in enumerate(pictures)]


@pytest.mark.parametrize(("detector", "every"), [("mtcnn", 1), ("mtcnn", 3), ("haar", 1)])
def test_the_classifier_never_receives_a_face_of_a_staff_zone(
    detector: str, every: int, received: list[tuple[float, float, float]]
) -> None:
    assert_staff_is_left_out(frames([scene(i) for i in range(6)]), received, detector, detect_every=every)


@pytest.mark.parametrize("name", ["images/group_5.jpg", "images/group_6.jpg"])
def test_nor_in_pictures_of_real_groups(name: str, shared: Path, received: list[tuple[float, float, float]]) -> None:
    picture = np.asarray(PilImage.open(shared / name).convert("RGB"))
    assert_staff_is_left_out(frames([picture]), received, "mtcnn")


@pytest.mark.parametrize("every", [1, 4])
def test_nor_in_a_video_of_a_crowd(every: int, shared: Path, received: list[tuple[float, float, float]]) -> None:
    raw = {"id": "till", "source": str(shared / "video" / "arcade_1080p.mp4"), "max_width": 960, "sampling_fps": 2.5}
    camera = CameraConfig.model_validate(raw)
    start = datetime(2026, 11, 22, 9, tzinfo=UTC)
    read = list(read_frames(create_source(camera, UTC), camera, "session", start))  # type: ignore[arg-type]
    run = [item for item in read if isinstance(item, Frame)]
    assert run[0].scale == 2
    assert_staff_is_left_out(run, received, "mtcnn", min_face_size=24, detect_every=every)


# --- (a), (b) a whole run ------------------------------------------------------------------------------------------

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


def pictures_in(data: bytes) -> list[str]:
    """What a file holds of pictures: encoded ones that can be decoded, and raw pixels of the scene."""
    found = []
    for name, magic in (("JPEG", b"\xff\xd8\xff"), ("PNG", b"\x89PNG\r\n\x1a\n"), ("WebP", b"RIFF")):
        for at in (m.start() for m in re.finditer(re.escape(magic), data)):
            if name == "WebP" and data[at + 8 : at + 12] != b"WEBP":
                continue
            if cv2.imdecode(np.frombuffer(data[at:], np.uint8), cv2.IMREAD_UNCHANGED) is not None:
                found.append(name)
    found += [f"raw {name}" for name, piece in _pieces() if piece in data]
    return found


@cache
def _pieces() -> tuple[tuple[str, bytes], ...]:
    """Bytes that only a part of the scene's pixels can be, in the usual orders: 20 pixels of a row each."""
    pieces = []
    for what, area in (("pattern", _pattern()[:32]), ("face", _portrait()[60:120:6, 50:100])):
        for order, channels in (("RGB", area), ("BGR", area[..., ::-1])):
            pieces += [(f"{what} {order}", np.ascontiguousarray(row[4:24]).tobytes()) for row in channels]
        grey = np.asarray(cv2.cvtColor(np.ascontiguousarray(area), cv2.COLOR_RGB2GRAY))
        pieces += [(f"{what} grey", row[4:24].tobytes()) for row in grey]
        planes = np.ascontiguousarray(area.transpose(2, 0, 1))
        pieces += [(f"{what} plane", row[4:24].tobytes()) for plane in planes for row in plane]
        floats = (area / np.float32(255)).astype(np.float32)
        pieces += [(f"{what} float", np.ascontiguousarray(row[4:24]).tobytes()) for row in floats]
    return tuple(pieces)


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


# --- (c) no password of a camera -----------------------------------------------------------------------------------

SECRET = "S3cr3t"


@pytest.fixture
def refusing() -> Iterator[str]:
    """A camera that takes no credentials: its host and port."""

    class Refusal(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def ending(address: str, path: str) -> Ending:
    """How a session of the camera ends."""
    camera = CameraConfig(id="till", source=f"http://boss:{SECRET}@{address}{path}")
    source = create_source(camera, ZoneInfo("UTC"))
    session = SessionInfo("s", camera.id, "session", True, START)
    buffer = FrameBuffer("freshest", 8, 1.0)
    decoding = Decoding(source, camera, session, -1, buffer, Lifecycle(5.0))
    decoding.start()
    while not buffer.exhausted:
        buffer.wait(0.05)
    return decoding.ending()


@pytest.mark.parametrize(
    "path", ["/cam/realmonitor?channel=1&subtype=0", "/?action=stream", "/video", f"/video?channel=1&token={SECRET}"]
)
def test_the_reason_of_a_failure_is_shown_and_no_password(
    path: str, refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = ending(refusing, path)
    assert refused.refused
    assert refused.note.endswith(": access refused; check user and password, and what the user may see")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        down = ending(f"127.0.0.1:{free.getsockname()[1]}", path)
    assert down.note.endswith(": connection refused")

    def throw(self: Any, *_: object) -> Any:
        raise RuntimeError(f"cannot decode {self._url}")

    monkeypatch.setattr("risa_ray.sources.network.NetworkCamera.pictures", throw)
    odd = ending(refusing, path)
    assert ": RuntimeError: cannot decode http://***@127.0.0.1" in odd.note
    for end in (refused, down, odd):
        assert end.word == "broken"
        assert end.note.startswith("http://***@127.0.0.1:")
        assert SECRET not in end.note
        assert "boss" not in end.note
    if path.endswith("subtype=0"):
        assert path in refused.note, "what is no secret is shown"


# --- (d) the defaults ----------------------------------------------------------------------------------------------


def chain(**privacy: Any) -> ChainConfig:
    raw: dict[str, Any] = {
        "stores": [{"id": "s", "cameras": [{"id": "door", "source": "rtsp://u:secret@192.0.2.1/a"}]}]
    }
    return parse_config(raw | ({"privacy": privacy} if privacy else {}), "test")


def test_privacy_is_the_default() -> None:
    privacy = chain().privacy
    assert privacy == PrivacyConfig()
    assert privacy.k == 10
    assert privacy.retention.observations == 30
    assert None not in (privacy.retention.tracks, privacy.retention.frames, privacy.retention.alerts)


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


# --- the report ----------------------------------------------------------------------------------------------------


CLAIMS = re.compile(r"\b(compliant|compliance|lawful\b(?! for)|legal to|GDPR-ready|certified)\b", re.IGNORECASE)


def test_the_report_names_every_table_and_column() -> None:
    report = privacy_report(chain())
    flat = " ".join(report.split())
    for table, schema in TABLES.items():
        assert table in PURPOSES, f"{table}: say why it is there"
        assert f"\n{table}: " in report
        told = " ".join(", ".join(columns_in_words(table)).split())
        assert told in flat
        for name in schema.names:
            assert re.search(rf"\b{name}\b", told), (table, name)
    assert set(PURPOSES) == set(TABLES)
    assert all(thing in flat for thing in NEVER_STORED)
    assert "secret" not in report


def test_the_report_follows_the_config() -> None:
    privacy = {"k": 25, "retention": {"observations": 7, "tracks": None, "frames": 99, "alerts": 1}}
    report = privacy_report(chain(**privacy))
    kept = dict(re.findall(r"^(\w+): .*\n(?:  .*\n)*?  kept: (.*)$", report, re.MULTILINE))
    assert kept["observations"] == "7 days"
    assert kept["closed_tracks"].startswith("for good")
    assert (kept["frames"], kept["alerts"]) == ("99 days", "1 day")
    assert "k-floor 25" in report
    assert "THERE IS NO FLOOR" in privacy_report(chain(k=1))


def test_the_report_names_cameras_without_a_staff_zone() -> None:
    staff = {"id": "desk", "kind": "staff", "polygon": LEFT_HALF}
    mask = {"id": "window", "kind": "mask", "polygon": LEFT_HALF}
    cameras = [
        {"id": "door", "source": "demo:front", "zones": [staff, mask]},
        {"id": "till", "source": "demo:side", "zones": [mask | {"kind": "checkout"}]},
    ]
    report = " ".join(privacy_report(parse_config({"stores": [{"id": "s", "cameras": cameras}]}, "test")).split())
    assert "no staff zone on till." in report
    assert "staff zones: desk masks: window" in report
    assert "window (checkout) staff zones: NONE" in report
    both = [camera | {"zones": [staff]} for camera in cameras]
    assert "WARNING" not in privacy_report(parse_config({"stores": [{"id": "s", "cameras": both}]}, "test"))


def test_the_report_tells_who_can_open_the_data(tmp_path: Path) -> None:
    for mode, says in ((0o755, "OTHER USERS"), (0o750, "its group"), (0o700, "only its owner")):
        tmp_path.chmod(mode)
        assert says in " ".join(privacy_report(chain().model_copy(update={"data": str(tmp_path)})).split())


def test_the_sign_says_what_it_must_and_claims_nothing() -> None:
    text = " ".join(sign(chain()).split())
    for needed in (
        "apparent expression",
        "automated",
        "No identification",
        "30 days",
        "object",
        "CONTROLLER",
        "CONTACT",
    ):
        assert needed in text
    assert not CLAIMS.search(privacy_report(chain()))
    assert "without a fixed end" in sign(chain(retention={"observations": None}))


def test_the_command_prints_and_refuses_as_check_does(tmp_path: Path, risa: Command) -> None:
    path = tmp_path / "chain.yaml"
    path.write_text(json.dumps({"stores": [{"id": "s", "cameras": [{"id": "door", "source": "demo:front"}]}]}))
    code, report, error = risa("privacy", path)
    assert code == 0, error
    code, only, error = risa("privacy", path, "--sign")
    assert code == 0, error
    assert report.endswith(only)
    assert only.startswith("CAMERAS")
    assert max(map(len, report.splitlines())) <= WIDTH
    path.write_text(json.dumps({"stores": [{"id": "s", "cameras": [{"id": "door", "source": "x", "zoom": 2}]}]}))
    for command in ("privacy", "check"):
        code, shown, error = risa(command, path)
        assert (code, shown) == (2, "")
        assert len(error.splitlines()) == 1
        assert "zoom" in error
    assert risa("privacy", tmp_path / "missing.yaml")[0] == 2


def test_the_guide_claims_nothing_and_names_what_exists() -> None:
    tests = Path(__file__).parent
    guide = (tests.parent / "docs" / "privacy.md").read_text(encoding="utf-8")
    assert not CLAIMS.search(guide)
    source = "".join(path.read_text(encoding="utf-8") for path in tests.rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", guide))
    assert named
    assert [name for name in named if f"def {name}(" not in source] == []
    assert [
        path for path in set(re.findall(r"`(tests/[\w/]+\.py)`", guide)) if not (tests.parent / path).is_file()
    ] == []
