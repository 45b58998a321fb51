"""Privacy is the default, and the report and the sign tell of it without claiming anything."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from portraits import LEFT_HALF

from risa_ray.config import ChainConfig, PrivacyConfig, parse_config
from risa_ray.privacy import NEVER_STORED, PURPOSES, WIDTH, columns_in_words, privacy_report, sign
from risa_ray.store.schema import TABLES

Command = Callable[..., tuple[int, str, str]]
CLAIMS = re.compile(r"\b(compliant|compliance|lawful\b(?! for)|legal to|GDPR-ready|certified)\b", re.IGNORECASE)


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


def test_the_report_and_the_sign_tell_of_pictures_that_can_be_watched() -> None:
    door, till = ({"id": name, "source": "demo:front"} for name in ("door", "till"))
    none, some = (
        parse_config({"stores": [{"id": "s", "cameras": [door | shown, till]}]}, "test")
        for shown in ({}, {"blurred_picture": True})
    )
    assert "PICTURES ARE SHOWN of door (" in privacy_report(some)
    assert "live pictures in which faces are blurred" in " ".join(sign(some).split())
    assert "PICTURES ARE SHOWN" not in privacy_report(none)
    assert "pictures in which" not in " ".join(sign(none).split())


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
