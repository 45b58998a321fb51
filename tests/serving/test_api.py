"""The API over the tables as its clients see it, and docs/api.md: every example runs, and answers what it shows.

`PYTHONPATH=tests python tests/serving/test_api.py` writes the answers of the page anew.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import requests
from fastapi import FastAPI
from typer.testing import CliRunner
from web import serving

from risa_ray.analytics import open_dataset
from risa_ray.cli import app as risa
from risa_ray.serving import problems, routes_alerts, routes_data, routes_live, routes_metrics
from risa_ray.serving.alert_book import AlertBook
from risa_ray.serving.hub import Hub
from risa_ray.serving.prometheus import Traffic
from risa_ray.serving.tables import Limits, Tables

PAGE = Path(__file__).parents[2] / "docs/api.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```\n(?:\n```json\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
SERVER = "http://127.0.0.1:8787"
ELSEWHERE = ("/v1/events", "/v1/alerts/ALERT_ID/acknowledge", "/v1/analyze")
"""What the page names and other tests ask: it does not end, or needs an alert or models."""


def application(data: str) -> FastAPI:
    """The API over a dataset, with no job running."""
    app = FastAPI()
    problems.install(app)
    state = app.state
    # However busy the machine is.
    state.tables = tables = Tables(data, Limits(seconds=300))
    state.alerts = AlertBook(tables)
    state.hub = Hub(tables.hour, state.alerts.latest, names=list, find=lambda _: None)
    state.traffic = Traffic()
    for module in (routes_live, routes_alerts, routes_data, routes_metrics):
        app.include_router(module.router)
    app.router.add_event_handler("shutdown", tables.close)
    return app


@contextmanager
def page_server(folder: Path) -> Iterator[str]:
    """The dataset that the page makes, served."""
    (line,) = re.findall(r"^risa (simulate .*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    with chdir(folder):
        made = CliRunner().invoke(risa, shlex.split(line))
        assert made.exit_code == 0, made.output
    with serving(application(str(folder / "invented"))) as address:
        yield address


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    with page_server(folder) as address:
        yield address


def answers(page: str, server: str, folder: Path) -> Iterator[tuple[re.Match[str], Any]]:
    """Each block of the page that shows an answer, and the answer; the others are run too."""
    for block in BLOCK.finditer(page):
        for line in block[1].splitlines():
            program, *arguments = shlex.split(line)
            path = urlsplit(arguments[-1]).path
            if program != "curl" or path in ELSEWHERE:
                continue
            call = [argument.replace(SERVER, server) for argument in arguments]
            told = subprocess.run(["curl", "-sS", *call], cwd=folder, capture_output=True, text=True, check=True)
            if block[2] is not None:
                yield block, json.loads(told.stdout)
            elif "-o" not in call:
                assert not told.stdout.startswith('{"detail'), f"{line}: {told.stdout}"


def brief(answer: Any) -> Any:
    """Without what differs from run to run, and with digits for people."""
    if isinstance(answer, dict):
        return {name: "2026-03-04T00:00:00Z" if name == "as_of" else brief(v) for name, v in answer.items()}
    if isinstance(answer, list):
        return [brief(value) for value in answer]
    return round(answer, 4) if isinstance(answer, float) else answer


def test_every_example_of_the_page_runs_and_answers_what_it_shows(server: str, folder: Path) -> None:
    shown = 0
    for block, answer in answers(PAGE.read_text(encoding="utf-8"), server, folder):
        assert json.loads(block[2]) == brief(answer), (
            f"{block[1]}\nrun PYTHONPATH=tests python tests/serving/test_api.py"
        )
        shown += 1
    assert shown >= 3
    assert pyarrow.parquet.read_table(folder / "zones.parquet").num_rows > 100


def test_every_route_is_on_the_page(server: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for path in requests.get(f"{server}/openapi.json", timeout=60).json()["paths"]:
        assert path.split("{")[0].rstrip("/") in page, path


def test_every_format_has_the_same_rows(server: str, folder: Path) -> None:
    url = f"{server}/v1/query/next_products?store=sim001"
    told = requests.get(url, timeout=60)
    rows = told.json()["rows"]
    assert rows
    assert told.headers["X-Truncated"] == "false"
    with open_dataset(folder / "invented") as connection:
        count = connection.sql("SELECT count(*) FROM next_products WHERE store_id = 'sim001'").fetchall()
    assert count == [(len(rows),)]
    for accept in ("application/vnd.apache.parquet", "application/vnd.apache.arrow.stream;q=0.9, image/png"):
        answer = requests.get(url, headers={"Accept": accept}, timeout=60)
        assert answer.headers["Content-Type"] in accept
        assert answer.headers["X-As-Of"].endswith("Z")
        source = pa.BufferReader(answer.content)
        read = pa.ipc.open_stream(source).read_all() if "arrow" in accept else pyarrow.parquet.read_table(source)
        assert brief(read.to_pylist()) == brief(rows)
    csv = pyarrow.csv.read_csv(io.BytesIO(requests.get(f"{url}&format=csv", timeout=60).content))
    assert csv["lift"].to_pylist() == pytest.approx([row["lift"] for row in rows])


def test_a_long_answer_is_whole(server: str) -> None:
    url = f"{server}/v1/query/mood_by_minute?store=sim001&limit=2500"
    rows = requests.get(url, timeout=60).json()["rows"]
    arrow = pa.ipc.open_stream(requests.get(f"{url}&format=arrow", timeout=60).content).read_all()
    assert len(rows) == 2500
    assert [row["tracks"] for row in rows] == arrow["tracks"].to_pylist()
    assert rows[0]["minute"].endswith("Z")
    assert not rows[0]["minute_local"].endswith("Z")


def test_a_long_answer_is_cut_and_says_so(server: str) -> None:
    answer = requests.get(f"{server}/v1/query/camera_hour?limit=2&format=csv", timeout=60)
    assert answer.headers["X-Truncated"] == "true"
    assert len(answer.text.splitlines()) == 3


@pytest.mark.parametrize(
    ("path", "status", "part"),
    [
        ("query/observations", 404, "there is no view 'observations'; /v1/views lists them"),
        ("query/people.tracks", 404, "no view"),
        ("query/mood?zone=tea' OR 1=1 --", 422, "there is no zone"),
        ("query/mood?columns=zone_id,(SELECT 1)", 422, "has no column '(SELECT 1)'"),
        ("query/mood?order=hour; DROP TABLE stores", 422, "has no column"),
        ("query/mood?limit=1e9", 422, "limit: "),
        ("query/mood?limit=1000000", 422, "limit: input should be less than or equal to 100000"),
        ("query/mood?format=xlsx", 422, "format: input should be 'json', 'csv', 'parquet' or 'arrow' (got 'xlsx')"),
        ("query/mood?from=2026-03-03&to=2026-03-02", 422, "does not lie before"),
        ("query/mood?from=2026-03-03T10:00:00+01:00", 422, "%2B"),
        ("content/next?store=sim001&zone=tea", 422, "'tea' is no screen zone at that time; there is screen"),
        ("content/next?zone=screen", 422, "store: field required"),
        ("content/next?store=sim001&zone=screen&measure=love", 422, "measure: input should be"),
        ("products/next?store=sim001&zone=tea&at=now", 422, "at: 'now' is not a time"),
        ("products/next?store=sim001&zone=tea&from=2030-01-01", 422, "lies after the day of at"),
        (f"products/next?store={'x' * 65}&zone=tea", 422, "store: string should have at most 64 characters"),
    ],
)
def test_wrong_questions_are_refused_in_one_line(server: str, path: str, status: int, part: str) -> None:
    answer = requests.get(f"{server}/v1/{path}", timeout=60)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["detail"]
    assert part in answer.json()["detail"]
    assert len(answer.json()["detail"].splitlines()) == 1


def test_formats_that_are_not_there_are_refused(server: str) -> None:
    answer = requests.get(f"{server}/v1/query/mood", headers={"Accept": "image/png, text/csv;q=0"}, timeout=60)
    assert answer.status_code == 406
    assert "text/csv" in answer.json()["detail"]


def rewrite() -> None:
    page = PAGE.read_text(encoding="utf-8")
    with TemporaryDirectory() as name, page_server(Path(name)) as server:
        for block, answer in answers(page, server, Path(name)):
            text = json.dumps(brief(answer), indent=2)
            page = page.replace(block[0], f"```sh\n{block[1]}```\n\n```json\n{text}\n```\n")
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    rewrite()
