"""`POST /v1/analyze` with the real models on a real cluster, over HTTP."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests
from fastapi import FastAPI
from uploads import exif, malformed, png_of, same_picture_clip, scene, written
from waiting import eventually

from risa_ray.config import CameraConfig
from risa_ray.config_analyze import AnalyzeConfig, UploadLimits
from risa_ray.config_serve import ServeConfig
from risa_ray.errors import InputError
from risa_ray.frames import FaceRow
from risa_ray.serving import routes_analyze
from risa_ray.serving.analyze import Service, application
from risa_ray.serving.security import secure
from risa_ray.serving.server import Server, listen
from risa_ray.sources import create_source, read_frames
from risa_ray.streaming.process import give_memory_back, process_use
from risa_ray.vision import EXPRESSIONS
from risa_ray.vision.analyze import Analyzer, CameraSetup, CameraState

CONFIG = AnalyzeConfig(threads=1, uploads=UploadLimits(max_mb=1.5))
MALFORMED = 120


class Api:
    """The route behind the gate, on a port of its own in a thread; `service` may be replaced."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.app = FastAPI()
        self.app.include_router(routes_analyze.router)
        self.serve_with(CONFIG)
        sock = listen("127.0.0.1", 0)
        self.port = sock.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = Server(secure(self.app, ServeConfig(analyze=CONFIG), None), sock)
        self._loop.call_soon_threadsafe(self._server.start)

    def serve_with(self, config: AnalyzeConfig) -> Service:
        service = Service(self.handle, config)
        self.app.state.analyze = service
        return service

    def post(self, body: Any, **options: Any) -> requests.Response:
        return requests.post(f"http://127.0.0.1:{self.port}/v1/analyze", data=body, timeout=120, **options)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="module")
def served(cluster: Any) -> Iterator[Api]:
    from ray import serve

    serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING", "enable_access_log": False})
    api = Api(serve.run(application(CONFIG), name="analyze-test", route_prefix=None))
    yield api
    api.close()
    serve.delete("analyze-test")
    serve.shutdown()


@pytest.fixture
def api(served: Api) -> Api:
    served.serve_with(CONFIG)
    return served


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer.load(CONFIG.model, threads=1)


def pipeline(analyzer: Analyzer, path: Path) -> list[FaceRow]:
    """What the pipeline finds in a file of the same content."""
    still = path.suffix != ".mp4"
    fps = None if still else CONFIG.uploads.clip_fps
    camera = CameraConfig(id="file", source=str(path), sampling_fps=fps, max_width=CONFIG.uploads.max_width)
    source = create_source(camera, ZoneInfo("UTC"))
    frames = list(read_frames(source, camera, "file", source.started_at()))
    chunk, _ = analyzer.analyze(frames, CameraSetup.of("store", camera), CameraState.start("file", 0))
    return list(chunk.faces)


def assert_same(answer: requests.Response, rows: list[FaceRow]) -> None:
    """The answer says of every face what the rows say."""
    assert answer.status_code == 200, answer.text
    found = [(frame["pts"], face) for frame in answer.json()["frames"] for face in frame["faces"]]
    assert len(found) == len(rows)
    people: dict[str, int] = {}
    for (pts, face), row in zip(found, rows, strict=True):
        assert pts == pytest.approx(row.pts)
        assert face["box"] == pytest.approx([row.x1, row.y1, row.x2, row.y2], abs=1e-2)
        assert face["score"] == pytest.approx(row.detector_score, abs=1e-3)
        assert face["yaw_deg"] == pytest.approx(row.yaw_deg, abs=1e-2)
        assert list(face["probabilities"]) == list(EXPRESSIONS)
        assert list(face["probabilities"].values()) == pytest.approx(row.probabilities, abs=1e-3)
        assert (face["expression"], face["abstain_reason"]) == (row.expression, row.abstain_reason)
        assert face["confidence"] == pytest.approx(row.confidence, abs=1e-3)
        assert face["valence"] == pytest.approx(row.valence, abs=1e-3)
        assert face["person"] == people.setdefault(row.track_id, len(people) + 1)


def test_a_picture_gives_the_numbers_of_the_pipeline(api: Api, analyzer: Analyzer, tmp_path: Path) -> None:
    path = tmp_path / "scene.png"
    path.write_bytes(written(scene((800, 450)), "PNG"))
    rows = pipeline(analyzer, path)
    assert len(rows) >= 2
    answer = api.post(path.read_bytes())
    assert_same(answer, rows)
    (frame,) = answer.json()["frames"]
    assert (frame["width"], frame["height"], frame["pts"]) == (800, 450, 0)
    assert answer.json()["detector"] == "mtcnn"
    assert answer.json()["model_id"] == analyzer.model_id
    assert "landmarks" not in frame["faces"][0]


def test_a_clip_gives_the_numbers_and_the_people_of_the_pipeline(api: Api, analyzer: Analyzer, clip: Path) -> None:
    rows = pipeline(analyzer, clip)
    answer = api.post(clip.read_bytes(), headers={"Content-Type": "image/png"})  # which nobody believes
    assert_same(answer, rows)
    frames = answer.json()["frames"]
    assert len(frames) == 25
    assert {(f["width"], f["height"]) for f in frames} == {(480, 270)}
    seen = [{face["person"] for face in frame["faces"]} for frame in frames]
    assert any(before & after for before, after in pairwise(seen))


@pytest.mark.parametrize("name", ["images/single.jpg", "images/group_6.jpg", "video/single_face.mp4"])
def test_real_faces_give_the_numbers_of_the_pipeline(api: Api, analyzer: Analyzer, shared: Path, name: str) -> None:
    rows = pipeline(analyzer, shared / name)
    assert rows
    assert_same(api.post((shared / name).read_bytes()), rows)


def test_uploads_that_come_together_get_each_their_own_answer(api: Api) -> None:
    bodies = [written(scene((320 + 40 * n, 240), n), "JPEG") for n in range(8)]
    alone = [api.post(body).json() for body in bodies]
    assert len({len(a["frames"][0]["faces"]) for a in alone}) > 1
    with ThreadPoolExecutor(8) as clients:
        together = list(clients.map(api.post, bodies * 2))
    assert [answer.status_code for answer in together] == [200] * 16
    for one, answer in zip(alone * 2, together, strict=True):
        for face, other in zip(one["frames"][0]["faces"], answer.json()["frames"][0]["faces"], strict=True):
            assert face["box"] == pytest.approx(other["box"], abs=1e-2)
            assert face["probabilities"] == pytest.approx(other["probabilities"], abs=1e-3)


def test_a_turned_picture_is_told_about_upright(api: Api) -> None:
    lying = written(scene().rotate(90, expand=True), "JPEG", exif=exif(6))
    (frame,) = api.post(lying).json()["frames"]
    (upright,) = api.post(written(scene(), "JPEG")).json()["frames"]
    assert (frame["width"], frame["height"]) == (640, 360)
    assert len(frame["faces"]) == len(upright["faces"])


def test_nobody_in_the_picture_is_an_answer_too(api: Api) -> None:
    (frame,) = api.post(written(scene().resize((2, 2)), "PNG")).json()["frames"]
    assert (frame["width"], frame["height"], frame["faces"]) == (2, 2, [])


def test_what_does_not_fit_is_refused_in_one_line(api: Api) -> None:
    large = bytes(CONFIG.uploads.max_bytes + 1)
    parts = (bytes(2**18) for _ in range(7))
    for answer, status, told in (
        (api.post(b""), 400, "it is empty; send a picture or clip"),
        (api.post(large), 413, "the body is larger than 1500000 bytes; send less"),
        (api.post(parts), 413, "the body is larger than 1500000 bytes; send less"),
        (api.post(png_of(60_000, 60_000)), 413, "40 million is the most"),
        (api.post(b"hello"), 415, "neither a picture"),
        (api.post(None, files={"../../etc/passwd": b"x"}), 415, "it is a form; send the file itself"),
        (api.post(written(scene(), "JPEG")[:9000]), 422, "cannot be decoded"),
        (api.post(same_picture_clip(60, 5, (96, 64))), 413, "longer than 10 s"),
    ):
        assert answer.status_code == status, answer.text
        assert list(answer.json()) == ["detail"]
        assert told in answer.json()["detail"]
        assert "\n" not in answer.json()["detail"]


def test_an_upload_that_takes_for_ever_is_given_up(api: Api) -> None:
    api.serve_with(CONFIG.model_copy(update={"uploads": UploadLimits(upload_s=0.3)}))
    with socket.create_connection(("127.0.0.1", api.port), timeout=30) as client:
        client.sendall(b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc")
        assert client.recv(100).startswith(b"HTTP/1.1 408 ")
    api.serve_with(CONFIG.model_copy(update={"answer_s": 0.001}))
    late = api.post(written(scene(), "JPEG"))
    assert (late.status_code, "takes longer than" in late.json()["detail"]) == (504, True)


def test_when_every_place_is_taken_the_next_is_told_to_come_again(api: Api) -> None:
    service = api.serve_with(CONFIG.model_copy(update={"waiting": 1}))
    body = written(scene(), "JPEG")
    with service.place():
        busy = api.post(body)
    assert busy.status_code == 503
    assert int(busy.headers["Retry-After"]) >= 1
    assert "send it again later" in busy.json()["detail"]
    assert api.post(body).status_code == 200


def test_the_models_take_a_share_of_a_gpu_where_there_is_one(api: Api, cluster: Any) -> None:
    assert api.post(written(scene(), "JPEG")).status_code == 200
    eventually(lambda: cluster.available_resources()["GPU"] == cluster.cluster_resources()["GPU"] - 0.25)


def test_a_model_that_is_not_there_is_told_before_anything_starts() -> None:
    with pytest.raises(InputError, match="no-such-model"):
        application(AnalyzeConfig(model="no-such-model"))


def replica() -> int:
    """The process that holds the models."""
    titles = {int(p.parent.name): p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()}
    (pid,) = [pid for pid, title in titles.items() if title.startswith(b"ray::ServeReplica:analyze-test")]
    return pid


def resident_mb(pid: int) -> float:
    resident, shared = (int(v) for v in Path(f"/proc/{pid}/statm").read_text().split()[1:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_malformed_uploads_neither_crash_nor_leak_nor_are_written(api: Api, clip: Path) -> None:
    before, held = replica(), []
    opened: list[Any] = []
    watching = True

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        writing = watching and event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writing and "/ray/" not in str(arguments[0]):  # the driver's log
            opened.append(arguments[0])

    sys.addaudithook(watch)  # there is no taking it away again
    try:
        for number, body in enumerate(malformed(11, MALFORMED, clip)):
            answer = api.post(body)
            assert answer.status_code in (200, 400, 413, 415, 422), answer.text
            if number in (MALFORMED // 3, MALFORMED - 1):
                give_memory_back()
                held.append((resident_mb(before), process_use().resident_mb))
    finally:
        watching = False
    assert opened == []
    for early, late in zip(*held, strict=True):
        assert late <= 1.05 * early
    assert replica() == before
    assert api.post(written(scene(), "JPEG")).status_code == 200


def test_models_that_are_killed_come_back(api: Api) -> None:
    os.kill(replica(), signal.SIGKILL)
    body = written(scene(), "JPEG")
    answers = [api.post(body)]

    def back() -> bool:
        answers.append(api.post(body))
        return answers[-1].status_code == 200

    eventually(back)
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert all(a.headers["Retry-After"] for a in answers if a.status_code == 503)


def test_the_benchmark_refuses_what_it_cannot_send(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "detector: must be 'mtcnn', 'haar' or 'dlib'" in refused("bench", "serve-analyze", "--detector", "eyes")
    assert "cannot be read" in refused("bench", "serve-analyze", "--picture", tmp_path / "nobody.jpg")
