from __future__ import annotations

from dataclasses import replace

from helpers_live import chain, chunk, face, outcome, people, wall

from risa_ray.frames import Chunk
from risa_ray.live.presence import Presence

SIZE = (100.0, 200.0)


def sized(one: Chunk) -> Chunk:
    return replace(one, size=SIZE)


def test_a_face_is_where_it_was_seen_last() -> None:
    presence = Presence(chain())
    moved = replace(face(1, 0.2, zones=("shelf",)), x1=50.0, y1=100.0, x2=70.0, y2=140.0)
    presence.add(sized(chunk([outcome(0, 0.0), outcome(1, 0.2)], [face(0, 0.0), moved])))
    (person,) = presence.people(wall(0.3))
    assert (person.store_id, person.camera_id, person.zone_ids) == ("007", "front", ("shelf",))
    assert (person.x, person.y, person.size) == (0.6, 0.6, 0.2)


def test_people_keep_their_numbers_while_they_are_in_view() -> None:
    presence = Presence(chain())
    presence.add(sized(people({"a": (0.0, "neutral"), "b": (0.0, "neutral")})))
    assert [p.number for p in presence.people(wall(2))] == [1, 2]
    presence.add(sized(people({"b": (0.0, "neutral"), "c": (0.0, "neutral")}, seconds=3, start_seq=10)))
    assert [p.number for p in presence.people(wall(5))] == [2, 3], "a has left, and its number is not given again"


def test_expressions_are_told_from_k_people_on() -> None:
    for k, told in ((2, "happiness"), (3, None)):
        presence = Presence(chain(k=k))
        presence.add(sized(people({"a": (0.8, "happiness"), "b": (0.8, "happiness")})))
        assert {p.expression for p in presence.people(wall(2))} == {told}


def test_the_expression_is_that_of_most_of_the_last_seconds() -> None:
    presence = Presence(chain())
    seen = [face(s, s / 5, "a", 0.0, "sadness" if s == 9 else "unknown" if s == 8 else "neutral") for s in range(10)]
    presence.add(sized(chunk([outcome(s, s / 5) for s in range(10)], seen)))
    assert presence.people(wall(2))[0].expression == "neutral"
    later = [face(s, s / 5, "a", 0.0, "unknown") for s in range(10, 40)]
    presence.add(sized(chunk([outcome(s, s / 5) for s in range(10, 40)], later)))
    assert presence.people(wall(8))[0].expression is None, "it could not be read for 5 s"


def test_a_silent_live_camera_has_nobody_but_a_file_waits() -> None:
    for source, there in (("rtsp://192.0.2.1/a", 0), ("front.mp4", 1)):
        presence = Presence(chain(source=source))
        presence.add(sized(people({"a": (0.0, "neutral")})))
        assert len(presence.people(wall(60))) == there


def test_a_clock_that_steps_back_starts_anew() -> None:
    presence = Presence(chain())
    presence.add(sized(chunk([outcome(0, 100.0)], [face(0, 100.0, "old")])))
    presence.add(sized(chunk([outcome(1, 0.0)], [face(1, 0.0, "new")])))
    assert [p.number for p in presence.people(wall(0))] == [2]


def test_an_edited_config_keeps_the_cameras_that_stay() -> None:
    presence = Presence(chain())
    presence.add(sized(people({"a": (0.8, "happiness")})))
    presence.reconfigure(chain(k=5))
    (person,) = presence.people(wall(2))
    assert person.expression is None, "the new k holds"


def test_a_chunk_without_a_picture_moves_nobody() -> None:
    presence = Presence(chain())
    presence.add(sized(people({"a": (0.0, "neutral")})))
    presence.add(chunk([outcome(10, 2.0, "overrun")]))
    assert len(presence.people(wall(2))) == 1


def test_nobody_is_told_apart_in_a_zone_of_few() -> None:
    presence = Presence(chain(k=2))
    zones = {"a": ("shelf",), "b": ("shelf",), "c": ("desk",)}
    presence.add(sized(people({name: (0.8, "happiness") for name in zones}, zones=zones)))
    told = {person.zone_ids: person.expression for person in presence.people(wall(2))}
    assert told == {("shelf",): "happiness", ("desk",): None}


def test_a_clock_that_steps_back_within_a_chunk_leaves_no_ghost() -> None:
    presence = Presence(chain())
    presence.add(sized(chunk([outcome(0, 3600.0), outcome(1, 0.0)], [face(0, 3600.0, "old"), face(1, 0.0, "new")])))
    assert len(presence.people(wall(0))) == 1


def test_the_shape_of_a_picture_is_that_of_its_newest_frame() -> None:
    presence = Presence(chain())
    assert presence.aspects() == {}
    presence.add(chunk([outcome(0, 0.0, "overrun")]))
    assert presence.aspects() == {}, "a dropped frame has no picture"
    presence.add(sized(people({"a": (0.0, "neutral")}, start_seq=1)))
    assert presence.aspects() == {"front": 0.5}
    presence.add(replace(people({"a": (0.0, "neutral")}, start_seq=20, seconds=3), size=(640.0, 360.0)))
    presence.add(chunk([outcome(40, 9.0, "overrun")]))
    assert presence.aspects() == {"front": 16 / 9}
