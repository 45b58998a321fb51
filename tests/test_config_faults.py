"""A faulty config is refused with one line that a user can act on."""

from __future__ import annotations

from typing import Any

import pytest
from small_configs import Mapping, camera, chain, refusal, zone

from risa_ray.config import parse_config


def alert(**keys: Any) -> Mapping:
    return {"id": "busy", "figure": "people", "above": 3} | keys


def content(start: Any, end: Any) -> Mapping:
    return chain(camera(zones=[zone(kind="screen", content=[{"id": "ad", "from": start, "to": end}])]))


def screen(*shown: tuple[str, int, int]) -> Mapping:
    """A screen with a content from one hour to another."""
    day = "2026-11-22T"
    items = [{"id": i, "from": f"{day}{a:02}:00:00+01:00", "to": f"{day}{b:02}:00:00+01:00"} for i, a, b in shown]
    return chain(camera(zones=[zone(kind="screen", content=items)]))


REFUSED: list[tuple[str, Mapping, list[str]]] = [
    (
        "zone outside the picture",
        chain(camera(zones=[zone(polygon=[[0, 0], [1.2, 0], [1, 1]])])),
        ["stores[centre].cameras[till].zones[shelf].polygon[1][0]", "less than or equal to 1", "(got 1.2)"],
    ),
    (
        "self-crossing polygon",
        chain(camera(zones=[zone(polygon=[[0, 0], [1, 1], [1, 0], [0, 1]])])),
        ["zones[shelf].polygon", "crosses itself", "in order around the zone"],
    ),
    (
        "polygon without area",
        chain(camera(zones=[zone(polygon=[[0, 0], [0.5, 0.5], [1, 1]])])),
        ["zones[shelf].polygon", "no area", "not in one line"],
    ),
    (
        "polygon of two corners",
        chain(camera(zones=[zone(polygon=[[0, 0], [1, 1]])])),
        ["zones[shelf].polygon", "give at least 3"],
    ),
    (
        "unknown zone kind",
        chain(camera(zones=[zone(kind="prodct")])),
        ["zones[shelf].kind", "'product'", "(got 'prodct')"],
    ),
    (
        "zone id twice",
        chain(camera(zones=[zone(), zone()])),
        ["cameras[till]", "zone id 'shelf' is used twice", "camera till"],
    ),
    (
        "unknown detector",
        chain(camera(detector="yolo")),
        ["cameras[till].detector", "'mtcnn', 'haar' or 'dlib'", "(got 'yolo')"],
    ),
    ("too small faces", chain(camera(min_face_size=5)), ["cameras[till].min_face_size", "12", "(got 5)"]),
    (
        "nothing to refine with",
        chain(camera(detector="haar", detect_every=5)),
        ["cameras[till]", "detect_every 5 needs detector mtcnn"],
    ),
    ("negative rate", chain(camera(sampling_fps=-1)), ["cameras[till].sampling_fps", "greater than 0", "(got -1)"]),
    ("no number", chain(camera(sampling_fps=float("nan"))), ["cameras[till].sampling_fps", "finite", "(got nan)"]),
    (
        "naive start",
        chain(camera(start="2026-11-22T09:00:00")),
        ["cameras[till].start", "with its zone", "+01:00", "(got '2026-11-22T09:00:00')"],
    ),
    (
        "naive content",
        content("2026-11-22T09:00:00", "2026-11-22T10:00:00+01:00"),
        ["content[ad]", "with their zone", "+01:00"],
    ),
    (
        "content that ends first",
        content("2026-11-22T10:00:00+01:00", "2026-11-22T09:00:00+01:00"),
        ["content[ad]", "'to' must come after 'from'"],
    ),
    (
        "two contents at a time",
        screen(("ad", 9, 12), ("brand", 15, 16), ("brand", 11, 13)),
        ["zones[shelf]", "ad runs to 2026-11-22T12:00:00+01:00 and brand from 2026-11-22T11:00:00+01:00", "one at a"],
    ),
    (
        "a content twice at a time",
        screen(("ad", 9, 12), ("ad", 9, 10)),
        ["zones[shelf]", "ad runs to", "and ad from", "before the next begins"],
    ),
    (
        "unknown time zone",
        {"stores": [{"id": "centre", "timezone": "Berlin", "cameras": [camera()]}]},
        ["stores[centre].timezone", "'Berlin'", "such as Europe/Berlin"],
    ),
    (
        "camera id twice",
        chain(camera(), camera(source="b.mp4")),
        ["camera id 'till' is used twice", "unique in the chain"],
    ),
    (
        "camera id twice in two stores",
        {"stores": [{"id": "a", "cameras": [camera()]}, {"id": "b", "cameras": [camera()]}]},
        ["camera id 'till' is used twice"],
    ),
    (
        "store id twice",
        {"stores": [{"id": "a", "cameras": [camera()]}, {"id": "a", "cameras": [camera(id="b")]}]},
        ["store id 'a' is used twice"],
    ),
    ("alert id twice", chain(alerts=[alert(), alert()]), ["alert id 'busy' is used twice"]),
    (
        "alert on unknown camera",
        chain(alerts=[alert(camera="door")]),
        ["alert busy", "no camera 'door'", "there are till"],
    ),
    (
        "alert on unknown zone",
        chain(camera(zones=[zone()]), alerts=[alert(zone="door")]),
        ["alert busy", "no zone 'door'", "there are shelf"],
    ),
    (
        "alert on a staff zone",
        chain(camera(zones=[zone(), zone(id="desk", kind="staff")]), alerts=[alert(zone="desk")]),
        ["alert busy", "no zone 'desk' that people are counted in", "there are shelf"],
    ),
    (
        "alert on a zone of another camera",
        chain(camera(zones=[zone()]), camera(id="door"), alerts=[alert(camera="door", zone="shelf")]),
        ["no zone 'shelf'", "there are none"],
    ),
    ("both thresholds", chain(alerts=[alert(below=1)]), ["alerts[busy]", "either 'above' or 'below'"]),
    ("no threshold", chain(alerts=[alert(above=None)]), ["alerts[busy]", "either 'above' or 'below'"]),
    ("threshold that no figure passes", chain(alerts=[alert(above=float("nan"))]), ["alerts[busy].above", "finite"]),
    (
        "misspelt key",
        chain(camera(samplingfps=3)),
        ["cameras[till].samplingfps", "unknown key", "did you mean 'sampling_fps'?"],
    ),
    ("misspelt top-level key", chain(pipline={}), ["pipline", "did you mean 'pipeline'?"]),
    (
        "misspelt alias",
        chain(camera(zones=[zone(content=[{"id": "ad", "form": 1}])])),
        ["content[ad].form", "did you mean 'from'?"],
    ),
    ("unlike key", chain(camera(quality=3)), ["cameras[till].quality", "known here: id, source, name"]),
    ("no store", {"stores": []}, ["stores", "give at least 1"]),
    ("nothing under stores", {"stores": None}, ["stores", "must be a list", "(got None)"]),
    ("no stores key", {"chain": "x"}, ["stores", "missing"]),
    ("number for an id", {"stores": [{"id": 7, "cameras": [camera()]}]}, ["stores[0].id", "quotes", "(got 7)"]),
    (
        "id with a space",
        {"stores": [{"id": "my shop", "cameras": [camera()]}]},
        ["stores[my shop].id", "letters, digits", "'my shop'"],
    ),
    ("camera that is no mapping", chain(camera(), "door.mp4"), ["cameras[1]", "mapping", "'door.mp4'"]),  # type: ignore[arg-type]
    (
        "unknown device",
        chain(pipeline={"device": "gpu"}),
        ["pipeline.device", "'auto', 'cpu' or 'cuda'", "(got 'gpu')"],
    ),
    ("retention of old", chain(privacy={"retention_days": 90}), ["privacy.retention_days", "did you mean 'retention'"]),
    (
        "no such table",
        chain(privacy={"retention": {"people": 9}}),
        ["privacy.retention.people", "observations, tracks"],
    ),
    ("no day", chain(privacy={"retention": {"frames": 0}}), ["privacy.retention.frames", "(got 0)"]),
    ("no privacy", chain(privacy={"k": 0}), ["privacy.k", "greater than or equal to 1", "(got 0)"]),
    ("value over two lines", chain(camera(detector="mt\ncnn")), ["cameras[till].detector"]),
]


@pytest.mark.parametrize(("raw", "parts"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_a_fault_is_one_line_with_key_value_and_way_out(raw: Mapping, parts: list[str]) -> None:
    line = refusal(raw)
    assert [p for p in parts if p not in line] == [], line


def test_a_content_may_come_back() -> None:
    config = parse_config(screen(("ad", 12, 13), ("ad", 9, 10), ("brand", 10, 12)), "test")
    ((_, shown),) = config.cameras()
    assert [item.id for item in shown.zones[0].content] == ["ad", "ad", "brand"]


def test_only_real_faults_are_counted() -> None:
    assert "more" not in refusal(chain(camera(detector="yolo")))
    assert refusal(chain(camera(detector="yolo", sampling_fps=0))).endswith("; and 1 more")


def test_a_misspelt_key_comes_before_the_one_that_is_missing_by_it() -> None:
    assert refusal(chain({"id": "till", "sorce": "a.mp4"})).startswith(
        "stores[centre].cameras[till].sorce: unknown key"
    )


def test_a_long_value_is_cut_short() -> None:
    assert len(refusal(chain(camera(detector="x" * 5000)))) < 300
