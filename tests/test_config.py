"""A config is read as written, and its credentials are shown nowhere."""

from __future__ import annotations

import string
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from small_configs import Mapping, camera, chain, refusal, zone

from risa_ray.config import CameraConfig, ChainConfig, load_config, parse_config, redact, resolve_paths
from risa_ray.errors import InputError


@pytest.mark.parametrize(
    "raw",
    [
        chain(camera(detector="rtsp://admin:Geheim7@10.0.0.5/1")),
        chain("rtsp://admin:Geheim7@10.0.0.5/1"),  # type: ignore[arg-type]
        chain({"id": "till", "rtsp://admin:Geheim7@10.0.0.5/1": None}),
        chain({"id": "rtsp://admin:Geheim7@10.0.0.5/1", "source": "x"}),
        chain(camera(zones="http://10.0.0.5/video?user=admin&password=Geheim7")),
    ],
)
def test_no_credentials_in_errors(raw: Mapping) -> None:
    assert "Geheim7" not in refusal(raw)


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("stores:\n  - id: a\n   cameras: [\n", ":3", "not valid YAML"),
        ("stores:\n\t- id: a\n", ":2", "not valid YAML"),
        (
            "stores:\n- id: a\n  cameras:\n  - id: c\n    source: a\n    source: b\n",
            ":6",
            "key 'source' is given twice",
        ),
        ("stores:\n- id: a\n  cameras:\n  - id: c\n    source: a\n    start: 2026-13-01\n", ":6", "month"),
        ("a: !!python/object:os.system {}\n", ":1", "not valid YAML"),
        ("", "", "expected a mapping with 'stores:'"),
        ("# nothing yet\n", "", "expected a mapping with 'stores:'"),
        ("- a\n- b\n", "", "expected a mapping with 'stores:'"),
        ("just text\n", "", "expected a mapping with 'stores:'"),
        ("\x01", "", "not valid YAML"),
    ],
)
def test_a_broken_file_is_named_with_the_line(tmp_path: Path, text: str, line: str, part: str) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.startswith(f"{path}{line}: ")
    assert part in message
    assert "\n" not in message


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no-such\.yaml: no such config file; see configs/"):
        load_config(tmp_path / "no-such.yaml")
    with pytest.raises(InputError, match="cannot be read as a config file"):
        load_config(tmp_path)
    (tmp_path / "latin1.yaml").write_bytes("chain: Köln".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        load_config(tmp_path / "latin1.yaml")


def test_a_merged_key_is_not_a_key_given_twice(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(
        "stores:\n- id: a\n  cameras:\n"
        "  - &base {id: c1, source: a.mp4, detector: haar}\n  - {<<: *base, id: c2}\n  - {<<: *base, id: c3}\n"
    )
    assert [(c.id, c.detector) for _, c in load_config(path).cameras()] == [
        ("c1", "haar"),
        ("c2", "haar"),
        ("c3", "haar"),
    ]


def test_relative_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    sources = ["door.mp4", "/films/till.mp4", "rtsp://h/1", "http://h/1", "usb:0", "usb:/dev/video0", "demo:front"]
    raw = chain(
        *(camera(id=f"c{i}", source=s) for i, s in enumerate(sources)),
        data="../tables",
        pipeline={"model": "own.safetensors"},
    )
    (folder / "shop.yaml").write_text(yaml.safe_dump(raw))
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("etc/shop.yaml"))
    assert [c.source for _, c in config.cameras()] == [str(folder / "door.mp4"), *sources[1:]]
    assert Path(config.data).resolve() == tmp_path / "tables"
    assert Path(config.data).is_absolute()
    assert config.pipeline.model == str(folder / "own.safetensors")


def test_data_in_an_object_store_and_model_names_stay(tmp_path: Path) -> None:
    config = resolve_paths(parse_config(chain(data="s3://bucket/tables"), "x"), tmp_path)
    assert config.data == "s3://bucket/tables"
    assert config.pipeline.model == "default"


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = resolve_paths(parse_config(chain(camera(source="~/a.mp4")), "x"), Path("/elsewhere"))
    assert next(config.cameras())[1].source == str(tmp_path / "a.mp4")


def test_times_with_a_zone_are_taken_as_yaml_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text("stores: [{id: a, cameras: [{id: c, source: a.mp4, start: 2026-11-22T09:00:00+01:00}]}]")
    start = next(load_config(path).cameras())[1].start
    assert start is not None
    assert start.isoformat() == "2026-11-22T09:00:00+01:00"


def test_the_shipped_examples_are_valid() -> None:
    examples = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.yaml"))
    assert examples
    for path in examples:
        assert list(load_config(path).cameras())


def test_a_camera_config_can_be_a_key() -> None:
    one, other = (CameraConfig.model_validate(camera(zones=[zone()])) for _ in range(2))
    assert {one: 1}[other] == 1


identifiers = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,11}", fullmatch=True)
positive = st.floats(0.01, 200, allow_nan=False)
offsets = st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours)))
times = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=offsets)


@st.composite
def zones(draw: st.DrawFn) -> Mapping:
    x, y = draw(st.floats(0, 0.5)), draw(st.floats(0, 0.5))
    w, h = draw(st.floats(0.01, 0.5)), draw(st.floats(0.01, 0.5))
    kinds = st.sampled_from(["entrance", "exit", "product", "service", "queue", "checkout", "screen", "staff", "mask"])
    return {
        "id": draw(identifiers),
        "kind": draw(kinds),
        "polygon": [[x, y], [x + w, y], [x + w, y + h], [x, y + h]],
        "tags": draw(st.lists(st.text(max_size=5), max_size=2)),
        "look_yaw": draw(st.none() | st.floats(-90, 90)),
        "target_wait_s": draw(positive),
    }


@st.composite
def chains(draw: st.DrawFn) -> Mapping:
    ids = draw(st.lists(identifiers, min_size=1, max_size=4, unique=True))
    cameras = [
        {
            "id": i,
            "source": draw(st.text(min_size=1, max_size=20)),
            "sampling_fps": draw(st.none() | positive),
            "policy": draw(st.sampled_from([None, "every_frame", "freshest"])),
            "detector": draw(st.sampled_from(["mtcnn", "haar", "dlib"])),
            "start": draw(st.none() | times.map(lambda t: t.isoformat())),
            "zones": draw(st.lists(zones(), max_size=2, unique_by=lambda z: z["id"])),
        }
        for i in ids
    ]
    cut = draw(st.integers(1, len(cameras)))
    stores = [{"id": f"s{n}", "cameras": part} for n, part in enumerate((cameras[:cut], cameras[cut:])) if part]
    threshold = {draw(st.sampled_from(["above", "below"])): draw(st.floats(-10, 10))}
    alerts = draw(st.sampled_from([[], [{"id": "a", "figure": "people", "camera": ids[0]} | threshold]]))
    return {"chain": draw(identifiers), "stores": stores, "alerts": alerts, "privacy": {"k": draw(st.integers(1, 99))}}


@settings(max_examples=60, deadline=None)
@given(chains())
def test_a_valid_config_survives_yaml_and_back(raw: Mapping) -> None:
    config = parse_config(raw, "x")
    text = yaml.safe_dump(config.model_dump(mode="json", by_alias=True))
    assert parse_config(yaml.safe_load(text), "x") == config
    assert ChainConfig.model_validate_json(config.model_dump_json(by_alias=True)) == config


SECRET = "S3cr3t"
anything = st.text(alphabet=string.printable + "äß€", max_size=8)
hosts = st.sampled_from(["10.0.0.5", "cam.shop.example:8554", "[fe80::1]:554"])


@given(
    anything.filter(lambda u: ":" not in u),
    anything,
    anything,
    hosts,
    st.sampled_from(["", "/live/1", "/a@2x/1", "/?a=b@c"]),
)
def test_no_password_survives_redaction_whatever_is_in_it(
    user: str, before: str, after: str, host: str, path: str
) -> None:
    """Passwords stand in addresses as people type them: with '@', ':', '/', '?' and '#' unescaped."""
    if any(mark in user for mark in "/?#"):
        user = quote(user, safe="")
    shown = redact(f"rtsp://{user}:{before}{SECRET}{after}@{host}{path}")
    assert SECRET not in shown
    assert shown.startswith("rtsp://***@")


@given(
    st.sampled_from(
        ["user", "pass", "password", "pwd", "pw", "token", "access_token", "auth", "api_key", "X-Amz-Signature", "sig"]
    ),
    st.text(alphabet=string.ascii_letters + string.digits + "%+-_.~/:;@!$'()*,=?", max_size=8),
    st.sampled_from(["?", "?a=1&", "#", "?a=1;"]),
    st.sampled_from(["", "&b=2", "#t=3"]),
)
def test_no_token_in_the_query_survives_redaction(name: str, junk: str, before: str, after: str) -> None:
    for value in (SECRET + junk, junk + SECRET):
        shown = redact(f"http://10.0.0.5/video{before}{name}={value}{after}")
        assert SECRET not in shown
        assert redact(f"http://10.0.0.5/video{before}{name.upper()}={value}{after}").count(SECRET) == 0


@pytest.mark.parametrize("value", [SECRET, f"a&{SECRET}", f"a#{SECRET}", f"a&b={SECRET}", f"a?{SECRET}&c#{SECRET}"])
@pytest.mark.parametrize("query", ["?{}", "?x={}", "?id=1&x={}", "?channel=1&loginuse=admin&x={}", "#{}", "?channel={}",
                                   "/user=admin_password={}"])  # fmt: skip
def test_a_query_shows_nothing_that_might_be_a_secret(query: str, value: str) -> None:
    shown = redact("http://10.0.0.5/video" + query.format(value))
    assert SECRET not in shown or (query == "?channel={}" and value == SECRET)
    assert shown.startswith("http://10.0.0.5/video")


def test_credentials_in_the_path_are_hidden() -> None:
    shown = redact(f"rtsp://10.0.0.5:554/user=admin_password={SECRET}_channel=1_stream=0.sdp")
    assert SECRET not in shown
    assert shown.startswith("rtsp://10.0.0.5:554/")


@pytest.mark.parametrize(
    "source",
    [
        "rtsp://10.0.0.5:554/live/1",
        "http://h/a@2x/b.jpg",
        "film.mp4",
        "/films/a=b/till@noon.mp4",
        "usb:0",
        "demo:front",
        "http://h/?fps=5",
        "rtsp://h/cam/realmonitor?channel=1&subtype=0",
        "http://h/axis-cgi/mjpg/video.cgi?resolution=640x480&fps=5&camera=2",
    ],
)
def test_what_holds_no_credentials_is_shown_as_it_is(source: str) -> None:
    assert redact(source) == source


@given(anything, st.sampled_from(["rtsp://u:p@h/1", "http://h/?token=x", "a.mp4"]))
def test_redaction_twice_changes_nothing_more(junk: str, source: str) -> None:
    once = redact(source + junk)
    assert redact(once) == once


def test_credentials_in_the_place_of_a_variables_name_are_not_shown() -> None:
    camera = {"id": "a", "source": "rtsp://h/live", "credentials_env": f"admin:{SECRET}"}
    with pytest.raises(InputError, match="must name an environment variable") as caught:
        parse_config({"stores": [{"id": "s", "cameras": [camera]}]}, "x")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("path", [f"/admin:{SECRET}/live", f"/live/admin:{SECRET}", f"/a/b:{SECRET}/c?channel=1"])
def test_a_password_in_the_path_is_hidden(path: str) -> None:
    shown = redact(f"rtsp://10.0.0.5:554{path}")
    assert SECRET not in shown
    assert shown.startswith("rtsp://10.0.0.5:554/")


def test_a_message_about_an_address_is_not_hidden() -> None:
    told = "rtsp://10.0.0.5:554/live: access refused; check user and password"
    assert redact(told) == told
