"""What operators watch: metrics that a real Prometheus scrapes, a dashboard and alert rules that fit them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families
from secured import Served, application, bearer, book_of, serving

from risa_ray.config_serve import LimitsConfig, ServeConfig
from risa_ray.serving import models
from risa_ray.serving.server import free_port

GRAFANA = Path(__file__).parents[2] / "docs" / "grafana"
MANUAL = GRAFANA.parent / "monitoring.md"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PROMETHEUS = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="Prometheus is not installed (Debian: apt-get install prometheus): rules and dashboard are not tried on it",
)
NAME = re.compile(r"\b(?:ray_|risa_|process_)\w+|\bup\b")


def camera(camera_id: str, state: str, **values: Any) -> models.CameraNow:
    told: dict[str, Any] = {"store_id": "007", "camera_id": camera_id, "state": state, "note": "", "connections": 2}
    told |= {"stalls": 1, "decode_errors": 3, "fps": 4.5, "delay_p50_s": 0.1, "delay_p95_s": 0.25, "age_s": 0.0}
    return models.CameraNow(**(told | {"dropped": {"stale": 7}} | values))


def figures(camera_id: str, zone_id: str | None, people: int) -> models.FiguresNow:
    told = dict.fromkeys(("tracks", "with_mood", "positive", "neutral", "negative", "net_sentiment", "ci"))
    told |= dict.fromkeys(("negative_share", "unknown_share"))
    return models.FiguresNow(
        store_id="007", camera_id=camera_id, zone_id=zone_id, at=NOW, window_s=60, k=10, people_now=people,
        expressions={}, status="suppressed", **told,
    )  # fmt: skip


def alert(number: int, severity: str, acknowledged: bool, **deliveries: str) -> models.AlertNow:
    return models.AlertNow(
        alert_id=f"a{number}", rule_id="queue", store_id="007", camera_id="door", zone_id=None, figure="people",
        value=9, threshold=8, direction="above", tracks=12, window_s=60, severity=severity, text="", fired_at=NOW,
        deliveries=[models.Delivery(channel=channel, state=state) for channel, state in deliveries.items()],
        acknowledged_at=NOW if acknowledged else None,
    )  # fmt: skip


EVERYTHING = models.LiveNow(
    at=NOW,
    revision="1",
    runs=[models.RunNow(run_id="r1", chain='riverside "1"', started_at=NOW, silent_s=2.5, trouble="disk full")],
    cameras=[
        camera("door", "live"),
        camera("till", "backing_off", fps=0.0, delay_p50_s=None, delay_p95_s=None, age_s=None, dropped={}),
    ],
    figures=[figures("door", None, 3), figures("door", "shelf", 2), figures("till", None, 0)],
    people=[],
    alerts=[
        alert(1, "critical", False, phone="pending", mqtt="delivered"),
        alert(2, "critical", True, phone="failed", mqtt="delivered"),
        alert(3, "info", False, phone="pending"),
    ],
)


class Jobs:
    """What the hub would find running."""

    def __init__(self, now: models.LiveNow) -> None:
        self.now = now

    async def live(self) -> models.LiveNow:
        return self.now


BOOK, TOKEN = book_of(prometheus="viewer")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    app = application()
    app.state.hub = Jobs(EVERYTHING)
    limits = LimitsConfig(requests_per_s=10_000, burst=10_000)
    with serving(ServeConfig(tokens_file="tokens", limits=limits), BOOK, app) as found:
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


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GRAFANA / "risa.json").read_text())
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((GRAFANA / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> list[str]:
    """Every expression of the dashboard, as it is with all stores chosen, and of the rules."""
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [e.replace("$store", ".*") for e in shown] + [rule["expr"] for rule in rules()]


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


@pytest.fixture(scope="module")
def prometheus(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prometheus with the configuration of the manual, that scrapes the server."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "token").write_text(TOKEN["prometheus"])
    config = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", MANUAL.read_text(), re.DOTALL)[0])
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(GRAFANA / "alerts.yml")]
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert set(jobs) == {"risa", "ray"}
    jobs["risa"] |= {"static_configs": [{"targets": [served.url.removeprefix("http://")]}], "scheme": "http"}
    jobs["risa"]["authorization"]["credentials_file"] = str(folder / "token")
    jobs["risa"].pop("tls_config", None)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port(0)}"
    command = [
        "prometheus",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        f"--web.listen-address={address}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        requests.get(f"{served.url}/v1/cameras")  # one that is refused: it has no token

        def scraped() -> bool:
            assert process.poll() is None, (folder / "log").read_text()
            try:
                return value(f"http://{address}", 'risa_serve_refused_total{reason="token"}') is not None
            except requests.RequestException:
                return False

        eventually(scraped)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def eventually(true: Callable[[], bool], seconds: float = 60) -> None:
    """Prometheus scrapes and evaluates in its own time, and a scrape that is missed empties its series for a moment."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.2)


def ask(prometheus: str, path: str, **parameters: str) -> Any:
    answer = requests.get(f"{prometheus}/api/v1/{path}", params=parameters, timeout=20).json()
    assert answer["status"] == "success", (parameters, answer)
    return answer["data"]


def value(prometheus: str, expression: str) -> float | None:
    found = ask(prometheus, "query", query=expression)["result"]
    return float(found[0]["value"][1]) if found else None


@PROMETHEUS
class TestOnPrometheus:
    def test_it_reads_the_metrics_with_its_token(self, prometheus: str) -> None:
        expected = {
            'risa_camera_state{camera_id="till",state="backing_off"}': 1,
            "sum(risa_alert_deliveries)": 5,
            'risa_store_trouble{chain="riverside \\"1\\""}': 1,
            'up{job="risa"}': 1,
        }
        eventually(lambda: {expression: value(prometheus, expression) for expression in expected} == expected)
        types = ask(prometheus, "metadata")
        assert types["risa_camera_connections_total"][0]["type"] == "counter"
        assert types["risa_delay_p95_seconds"][0]["type"] == "gauge"
        assert types["risa_serve_request_seconds"][0]["type"] == "histogram"

    def test_every_expression_can_be_asked(self, prometheus: str) -> None:
        for expression in expressions():
            ask(prometheus, "query", query=expression)
        assert len(expressions()) > 50

    def test_panels_of_the_server_show_something_and_name_what_they_show(self, prometheus: str) -> None:
        for panel in panels():
            for target in panel["targets"]:
                if "ray_" in target["expr"]:
                    continue
                named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))

                def shown(target: dict[str, Any] = target, named: set[str] = named) -> bool:
                    found = ask(prometheus, "query", query=target["expr"].replace("$store", ".*"))["result"]
                    return bool(found) and all(named <= set(series["metric"]) for series in found)

                eventually(shown)

    def test_the_tiles_say_how_it_is(self, prometheus: str) -> None:
        tiles = {p["title"]: p["targets"][0]["expr"].replace("$store", ".*") for p in panels() if p["type"] == "stat"}
        expected = {
            "Jobs": 1,
            "Cameras that deliver": 1,
            "Cameras in trouble": 1,
            "Delay, worst camera": 0.25,
            "Store in trouble": 1,
            "Alerts nobody has acknowledged": 2,
        }
        eventually(lambda: {title: value(prometheus, expression) for title, expression in tiles.items()} == expected)

    def test_the_rules_load_and_see_what_is_wrong(self, prometheus: str) -> None:
        def states() -> dict[str, tuple[str, str]]:
            groups = ask(prometheus, "rules")["groups"]
            return {rule["name"]: (rule["health"], rule["state"]) for group in groups for rule in group["rules"]}

        eventually(lambda: states()["RisaAlertsLost"] == ("ok", "firing"))
        eventually(lambda: states()["RisaCameraDown"] == ("ok", "pending"))
        eventually(lambda: {health for health, _ in states().values()} == {"ok"})
        assert states()["RisaDelayed"] == ("ok", "inactive")
        assert states().keys() == {rule["alert"] for rule in rules()}


STATE = "risa_camera_state"
DOWN = f'{STATE}{{store_id="007",camera_id="door",state="stalled"}}'
LIVE = f'{STATE}{{store_id="007",camera_id="door",state="live"}}'
OTHER = f'{STATE}{{store_id="007",camera_id="till",state="live"}}'
RUN = '{run_id="r1",chain="c"}'
CASES: list[tuple[str, dict[str, str], str, list[dict[str, str]]]] = [
    # rule, series by the minute, minute, labels of what fires then
    ("RisaServerDown", {'up{job="risa",instance="s"}': "1 0x9"}, "4m", [{"job": "risa", "instance": "s"}]),
    ("RisaServerDown", {'up{job="risa",instance="s"}': "1 0 1x9"}, "4m", []),
    ("RisaServerDown", {'up{job="other",instance="s"}': "0x9"}, "4m", []),
    (
        "RisaServerErrors",
        {
            'risa_serve_requests_total{instance="s",status="500"}': "0+10x20",
            'risa_serve_requests_total{instance="s",status="200"}': "0+90x20",
        },
        "15m",
        [{"instance": "s"}],
    ),
    ("RisaServerErrors", {'risa_serve_requests_total{instance="s",status="200"}': "0+90x20"}, "15m", []),
    (
        "RisaWrongTokens",
        {'risa_serve_refused_total{instance="s",reason="token"}': "0+30x20"},
        "15m",
        [{"instance": "s"}],
    ),
    ("RisaWrongTokens", {'risa_serve_refused_total{instance="s",reason="token"}': "0+1x20"}, "15m", []),
    ("RisaServerFull", {'risa_serve_refused_total{instance="s",reason="rate"}': "0+5x20"}, "15m", [{"instance": "s"}]),
    ("RisaNoJob", {"risa_runs": "1 0x20"}, "7m", [{}]),
    ("RisaNoJob", {"risa_runs": "1 0 0 0 1x20"}, "7m", []),
    ("RisaJobSilent", {f"risa_run_silent_seconds{RUN}": "0 60+60x9"}, "4m", [{"run_id": "r1", "chain": "c"}]),
    ("RisaStoreTrouble", {f"risa_store_trouble{RUN}": "0 1x9"}, "4m", [{"run_id": "r1", "chain": "c"}]),
    ("RisaDiskNearlyFull", {'ray_node_disk_utilization_percentage{instance="n"}': "95x20"}, "12m", [{"instance": "n"}]),
    ("RisaCameraDown", {DOWN: "0 1x9", LIVE: "1 0x9"}, "4m", [{"store_id": "007", "camera_id": "door"}]),
    ("RisaCameraDown", {DOWN: "0 1 0x9", LIVE: "1 0 1x9"}, "4m", []),
    ("RisaStoreDark", {DOWN: "0 1x9", LIVE: "1 0x9"}, "4m", [{"store_id": "007"}]),
    ("RisaStoreDark", {DOWN: "0 1x9", LIVE: "1 0x9", OTHER: "1x9"}, "4m", []),
    (
        "RisaDelayed",
        {'risa_delay_p95_seconds{store_id="007",camera_id="door"}': "3x20"},
        "7m",
        [{"store_id": "007", "camera_id": "door"}],
    ),
    (
        "RisaFramesDropped",
        {
            'risa_camera_dropped_frames{store_id="007",camera_id="door",cause="stale"}': "100x20",
            'risa_camera_dropped_frames{store_id="007",camera_id="door",cause="overrun"}': "100x20",
            'risa_camera_frame_rate{store_id="007",camera_id="door"}': "5x20",
        },
        "7m",
        [{"store_id": "007", "camera_id": "door"}],
    ),
    (
        "RisaFramesDropped",
        {
            'risa_camera_dropped_frames{store_id="007",camera_id="door",cause="stale"}': "50x20",
            'risa_camera_frame_rate{store_id="007",camera_id="door"}': "5x20",
        },
        "7m",
        [],
    ),
    (
        "RisaAlertsWaiting",
        {'risa_alert_deliveries{channel="phone",state="pending"}': "1x20"},
        "12m",
        [{"channel": "phone"}],
    ),
    ("RisaAlertsWaiting", {'risa_alert_deliveries{channel="phone",state="delivered"}': "1x20"}, "12m", []),
    (
        "RisaAlertsLost",
        {'risa_alert_deliveries{channel="phone",state="failed"}': "0 1x20"},
        "2m",
        [{"channel": "phone"}],
    ),
    ("RisaAlertsIgnored", {'risa_alerts_unacknowledged{severity="critical"}': "1x20"}, "17m", [{}]),
    ("RisaAlertsIgnored", {'risa_alerts_unacknowledged{severity="info"}': "1x20"}, "17m", []),
]


@PROMETHEUS
def test_each_rule_fires_when_it_should_and_not_else(tmp_path: Path) -> None:
    known = {rule["alert"]: rule for rule in rules()}
    assert {rule for rule, _, _, fires in CASES if fires} == set(known), "every rule fires in one of the cases"
    severity = {name: rule["labels"]["severity"] for name, rule in known.items()}
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "alert_rule_test": [
                {
                    "eval_time": at,
                    "alertname": rule,
                    "exp_alerts": [{"exp_labels": labels | {"severity": severity[rule]}} for labels in fires],
                }
            ],
        }
        for rule, series, at, fires in CASES
    ]
    # What the annotations say is not compared: the copy has none.
    bare = yaml.safe_load((GRAFANA / "alerts.yml").read_text())
    for group in bare["groups"]:
        for rule in group["rules"]:
            del rule["annotations"]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(bare))
    (tmp_path / "tests.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": tests}))
    for command in (["check", "rules", str(GRAFANA / "alerts.yml")], ["test", "rules", "tests.yml"]):
        told = subprocess.run(["promtool", *command], cwd=tmp_path, check=False, capture_output=True, text=True)
        assert told.returncode == 0, told.stdout + told.stderr
