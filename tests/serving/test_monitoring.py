"""What operators watch: metrics, and a dashboard and a manual that fit them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import requests
from monitored import MANUAL, NOW, TOKEN, dashboard, expressions, monitored, panels, rules
from prometheus_client.parser import text_string_to_metric_families
from secured import Served, bearer, serving

NAME = re.compile(r"\b(?:ray_|risa_|process_)\w+|\bup\b")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with monitored() as found:
        yield found


def scrape(served: Served) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by its name and labels."""
    answer = requests.get(f"{served.url}/v1/metrics", headers=bearer(TOKEN["prometheus"]))
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(answer.text))
    assert len({family.name for family in families}) == len(families), "each is described once"
    samples = [sample for family in families for sample in family.samples]
    found = {(s.name, frozenset(s.labels.items())): s.value for s in samples}
    assert len(found) == len(samples), "no series is there twice"
    return found


def of(samples: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


class TestMetrics:
    def test_they_say_what_the_jobs_say(self, served: Served) -> None:
        found = scrape(served)
        run = {"run_id": "r1", "chain": 'riverside "1"'}
        door, till = {"store_id": "007", "camera_id": "door"}, {"store_id": "007", "camera_id": "till"}
        assert of(found, "risa_runs") == 1
        assert of(found, "risa_run_start_time_seconds", **run) == NOW.timestamp()
        assert of(found, "risa_run_silent_seconds", **run) == 2.5
        assert of(found, "risa_store_trouble", **run) == 1
        assert of(found, "risa_camera_state", **door, state="live") == 1
        assert of(found, "risa_camera_state", **door, state="stalled") == 0
        assert of(found, "risa_camera_state", **till, state="backing_off") == 1
        assert of(found, "risa_camera_connections_total", **door) == 2
        assert of(found, "risa_camera_stalls_total", **door) == 1
        assert of(found, "risa_camera_decode_errors_total", **door) == 3
        assert of(found, "risa_camera_frame_rate", **door) == 4.5
        assert of(found, "risa_camera_age_seconds", **door) == 0
        assert of(found, "risa_delay_p50_seconds", **door) == 0.1
        assert of(found, "risa_delay_p95_seconds", **door) == 0.25
        assert of(found, "risa_camera_dropped_frames", **door, cause="stale") == 7
        assert of(found, "risa_people", **door) == 3
        assert of(found, "risa_alert_deliveries", channel="phone", state="pending") == 2
        assert of(found, "risa_alert_deliveries", channel="phone", state="failed") == 1
        assert of(found, "risa_alert_deliveries", channel="mqtt", state="pending") == 0
        assert of(found, "risa_alerts_unacknowledged", severity="critical") == 1
        assert of(found, "risa_alerts_unacknowledged", severity="warning") == 0

    def test_what_is_not_known_is_not_there(self, served: Served) -> None:
        unknown = {"store_id": "007", "camera_id": "till"}
        found = scrape(served)
        for name in ("risa_people", "risa_delay_p95_seconds", "risa_delay_p50_seconds", "risa_camera_age_seconds"):
            assert of(found, name, **unknown) is None, name

    def test_they_tell_of_the_server_itself_by_pattern_not_by_path(self, served: Served) -> None:
        before = scrape(served)
        headers = bearer(TOKEN["prometheus"])
        for number in range(3):
            requests.get(f"{served.url}/v1/nothing-{number}", headers=headers)
            requests.post(f"{served.url}/v1/alerts/a{number}/acknowledge", headers=headers)
        requests.get(f"{served.url}/v1/metrics")
        found = scrape(served)

        def more(name: str, **labels: str) -> float:
            return (of(found, name, **labels) or 0) - (of(before, name, **labels) or 0)

        assert more("risa_serve_requests_total", route="other", method="GET", status="404") == 3
        assert more("risa_serve_requests_total", route="other", method="POST", status="403") == 3
        assert more("risa_serve_refused_total", reason="role") == 3
        assert more("risa_serve_refused_total", reason="token") == 1
        assert more("risa_serve_requests_total", route="/v1/metrics", method="GET", status="200") == 1
        assert more("risa_serve_request_seconds_count", route="/v1/metrics") == 1
        assert of(found, "risa_serve_event_streams") == 0
        assert (of(found, "process_resident_memory_bytes") or 0) > 1e6
        assert not any("a1" in value or "nothing" in value for _, labels in found for _, value in labels)

    def test_open_pages_are_counted(self) -> None:
        with serving() as served, requests.get(f"{served.url}/v1/events", stream=True) as events:
            assert events.ok
            text = requests.get(f"{served.url}/v1/metrics").text
            assert "\nrisa_serve_event_streams 1.0\n" in text
            assert "\nrisa_runs 0.0\n" in text, "no job runs"

    def test_names_and_labels_are_those_of_the_jobs_own(self, served: Served) -> None:
        from risa_ray.streaming.metrics import Metrics

        theirs = {m.info["name"]: set(m.info["tag_keys"]) for m in vars(Metrics()).values() if hasattr(m, "info")}
        ours: dict[str, set[str]] = {}
        for name, labels in scrape(served):
            ours.setdefault(name, set()).update(key for key, _ in labels)
        both = theirs.keys() & ours.keys()
        assert {"risa_camera_state", "risa_delay_p95_seconds", "risa_people"} <= both
        # a server sees several jobs, which Ray tells apart by labels of its own
        assert {name: ours[name] - {"run_id", "chain"} for name in both} == {name: theirs[name] for name in both}


class TestTheDashboard:
    def test_it_can_be_provisioned_anywhere(self) -> None:
        found = dashboard()
        assert (found["title"], found["uid"]) == ("RISA", "risa-live")
        assert "id" not in found, "Grafana gives it"
        variables = {v["name"]: v for v in found["templating"]["list"]}
        assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
        for panel in panels():
            sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
            assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(found))) - {"__all"}
        assert used == set(variables)

    def test_its_panels_lie_side_by_side(self) -> None:
        taken: set[tuple[int, int]] = set()
        for panel in dashboard()["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert at["x"] + at["w"] <= 24
            assert not cells & taken, panel["title"]
            taken |= cells
        ids = [panel["id"] for panel in dashboard()["panels"]]
        assert len(set(ids)) == len(ids)

    def test_every_metric_in_it_and_in_the_rules_exists(self, served: Served) -> None:
        from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

        from risa_ray.streaming.metrics import Metrics

        known = {name for name, _ in scrape(served)} | {"up"}
        known |= {f"ray_{m.info['name']}" for m in vars(Metrics()).values() if hasattr(m, "info")}
        known |= {f"ray_{name}" for name in METRICS_GAUGES}
        for expression in expressions():
            names = set(NAME.findall(re.sub(r'"[^"]*"', '""', expression)))
            assert names, expression
            assert names <= known, (expression, names - known)


def test_the_manual_names_every_metric_and_every_rule(served: Served) -> None:
    text = MANUAL.read_text()
    for name in {re.sub(r"_(bucket|count|sum|created)$", "", name) for name, _ in scrape(served)}:
        if name.startswith("risa_"):
            assert f"`{name}" in text, name
    for rule in rules():
        assert f"`{rule['alert']}`" in text, rule["alert"]
        assert rule["annotations"]["action"]
