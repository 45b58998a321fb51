"""The whole application answers as its OpenAPI document says, whatever comes, to whoever may ask."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from secured import bearer, listening
from served import chain, running
from typer.testing import CliRunner
from uploads import scene, written
from waiting import eventually

from risa_ray.cli import app as risa
from risa_ray.config_analyze import AnalyzeConfig
from risa_ray.config_serve import LimitsConfig, ServeConfig
from risa_ray.serving.app import Settings, build_app
from risa_ray.serving.tokens import add_token

EXAMPLES, OF_TABLES = 40, 6
"""For each operation and role, good ones and wrong ones together. A question to the tables takes half a second."""
ENDLESS = "/v1/events"
"""The stream has no end, and OpenAPI no words for what is in it; test_serve.py and test_security.py read it."""
PICTURE = written(scene((160, 90)), "JPEG")


@dataclass(frozen=True)
class Api:
    """The application, with a job and a dataset. `known`: parameters of a path by which there is something to tell."""

    url: str
    tokens: Mapping[str, str]
    known: Mapping[str, Mapping[str, str]]

    def operations(self) -> list[Any]:
        told = requests.get(f"{self.url}/v1/openapi.json", headers=bearer(self.tokens["viewer"]), timeout=60).json()
        assert told["components"].pop("securitySchemes"), "clients are told of tokens"
        for methods in told["paths"].values():  # every call here has one; else wrong ones would be part of wrong data
            for operation in methods.values():
                assert operation.pop("security") == [{"HTTPBearer": []}]
        document = schemathesis.openapi.from_dict(told)
        document.config.update(base_url=self.url)
        return [found.ok() for found in document.exclude(path=ENDLESS).get_all_operations()]


@pytest.fixture(scope="module")
def models(cluster: Any, tiny_model: Path) -> Iterator[tuple[AnalyzeConfig, Any]]:
    """Those of /v1/analyze on Ray Serve, small ones."""
    from ray import serve

    from risa_ray.serving.analyze import application

    config = AnalyzeConfig(model=str(tiny_model), detector="haar", threads=1)
    serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING", "enable_access_log": False})
    yield config, serve.run(application(config), name="contract", route_prefix=None)
    serve.delete("contract")
    serve.shutdown()


@pytest.fixture(scope="module")
def api(models: tuple[AnalyzeConfig, Any], tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("contract")
    data, live = str(folder / "invented"), str(folder / "live")
    made = CliRunner().invoke(risa, f"simulate --stores 1 --days 2 --start 2026-03-02 --fps 1 --data {data}".split())
    assert made.exit_code == 0, made.output
    tokens = {role: add_token(role, role, folder / "tokens") for role in ("viewer", "operator")}
    limits = LimitsConfig(requests_per_s=10_000, burst=10_000)
    config = ServeConfig(tokens_file=str(folder / "tokens"), limits=limits, analyze=models[0])
    app = build_app(Settings(config, data), models[1])
    with running(chain(live, tiny_model)), listening(app, config) as (host, port), requests.Session() as asking:
        url = f"http://{host}:{port}"
        asking.headers.update(bearer(tokens["operator"]))
        (alert, *_) = eventually(lambda: asking.get(f"{url}/v1/alerts").json())
        eventually(lambda: asking.post(f"{url}/v1/alerts/{alert['alert_id']}/acknowledge").ok)  # it is stored
        eventually(lambda: asking.get(f"{url}/v1/tracks").json())
        eventually(lambda: asking.get(f"{url}/v1/cameras/door/picture").ok)
        known = {
            "/v1/alerts/{alert_id}/acknowledge": {"alert_id": alert["alert_id"]},
            "/v1/cameras/{camera_id}/picture": {"camera_id": "door", "store": "007"},
            "/v1/content/next": {"store": "sim001", "zone": "screen"},
            "/v1/products/next": {"store": "sim001", "zone": "tea"},
            "/v1/query/{view}": {"view": "mood", "store": "sim001"},
        }
        yield Api(url, tokens, known)


def told(_: Any, response: schemathesis.Response, case: schemathesis.Case) -> None:
    """Nothing fails unforeseen, and a refusal is one line."""
    assert response.status_code != 500, case.operation.label
    if response.status_code >= 400:
        (detail,) = json.loads(response.content).values()
        assert len(detail.splitlines()) == 1, (case.operation.label, detail)


CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance, told]


def good_one(operation: Any, known: Mapping[str, str]) -> schemathesis.Case:
    """A case that is answered."""
    path = {name: value for name, value in known.items() if f"{{{name}}}" in operation.path}
    query = {name: value for name, value in known.items() if name not in path}
    picture = {"body": PICTURE, "media_type": "image/jpeg"} if operation.path == "/v1/analyze" else {}
    return operation.Case(path_parameters=path, query=query, **picture)


def may(role: str, operation: Any) -> bool:
    return operation.method == "get" or role == "operator"


def ask_anything(api: Api, operation: Any, role: str) -> set[int]:
    """The statuses that an operation answered with, whatever came."""
    known, found = api.known.get(operation.path, {}), set()
    examples = OF_TABLES if "sim001" in known.values() else EXAMPLES
    if role == "operator" and operation.method == "get":  # the same as for a viewer
        examples //= 3
    cases = [operation.as_strategy(mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)]

    def ask(case: schemathesis.Case, wrong: bool = False) -> None:
        answer = case.call(headers=bearer(api.tokens[role]), timeout=120)
        case.validate_response(answer, checks=[*CHECKS, *([negative_data_rejection] if wrong else [])])
        found.add(answer.status_code)

    @settings(max_examples=examples, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=st.one_of(cases), there=st.booleans())
    def ask_many(case: schemathesis.Case, there: bool) -> None:
        wrong = case.meta.generation.mode.is_negative
        if there and not wrong:  # chance would never name such a place
            case.query |= {name: known[name] for name in known if name in case.query}
        ask(case, wrong)

    ask(good_one(operation, known))
    assert found == ({200} if may(role, operation) else {403}), operation.label
    ask_many()
    return found


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_whatever_comes_is_answered_as_the_document_says(api: Api, role: str) -> None:
    for operation in api.operations():
        found = ask_anything(api, operation, role)
        assert may(role, operation) or found <= {400, 403}, operation.label


def test_nothing_is_told_to_whoever_has_no_token(api: Api) -> None:
    for operation in api.operations():
        for headers in ({}, bearer("risa_wrong")):
            case = operation.Case(path_parameters=dict.fromkeys(("alert_id", "camera_id", "view"), "x"))
            answer = case.call(headers=headers, timeout=60)
            assert answer.status_code == 401, operation.label
            case.validate_response(answer, checks=CHECKS)


def test_a_store_with_a_line_break_is_refused_in_one_line(api: Api) -> None:
    headers = bearer(api.tokens["viewer"])
    answer = requests.get(f"{api.url}/v1/query/mood", params={"store": "a\nb"}, headers=headers, timeout=60)
    assert len(answer.json()["detail"].splitlines()) == 1
