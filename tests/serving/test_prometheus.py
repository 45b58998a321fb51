"""The metrics on a real Prometheus: it scrapes them, and the dashboard and the rules work on what it has."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from monitored import GRAFANA, MANUAL, TOKEN, expressions, monitored, panels, rules
from secured import Served
from waiting import eventually

from risa_ray.serving.server import free_port

PROMETHEUS = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="Prometheus is not installed (Debian: apt-get install prometheus): rules and dashboard are not tried on it",
)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with monitored() as found:
        yield found


@pytest.fixture(scope="module")
def prometheus(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prometheus with the configuration of the manual, that scrapes the server.

    It scrapes and evaluates in its own time, and a scrape that is missed empties its series for a moment.
    """
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
