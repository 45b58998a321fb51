from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from helpers_live import START, chain, chunk, face, outcome, people, wall
from hypothesis import given, settings
from hypothesis import strategies as st

from risa_ray.analytics.moods import net_sentiment_interval
from risa_ray.live import Figures, Rolling

HAPPY, SAD, PLAIN = (0.8, "happiness"), (-0.6, "sadness"), (0.0, "neutral")


def camera(rolling: Rolling, now: float) -> Figures:
    return rolling.figures(now)[0]


def test_a_camera_without_a_frame_has_figures_of_nobody() -> None:
    figures = Rolling(chain(zones=("shelf", "staff"))).figures(wall(0))
    assert [f.zone_id for f in figures] == [None, "shelf"], "a staff zone has no figures"
    assert figures[0].age_s is None
    assert (figures[0].people_now, figures[0].tracks, figures[0].status) == (0, 0, "no_mood")


def test_moods_and_net_sentiment() -> None:
    rolling = Rolling(chain())
    rolling.add(people({"a": HAPPY, "b": SAD, "c": PLAIN, "d": HAPPY}))
    got = camera(rolling, wall(100))
    assert (got.positive, got.negative, got.neutral, got.with_mood) == (2, 1, 1, 4)
    assert got.net_sentiment == pytest.approx(0.25)
    assert got.negative_share == pytest.approx(0.25)
    assert got.unknown_share == 0
    assert got.status == "ok"
    assert got.ci is not None
    assert got.ci[0] < 0.25 < got.ci[1]
    assert dict(got.expressions) == {"happiness": 2, "sadness": 1, "neutral": 1}
    assert got.people_now == 4
    assert (got.store_id, got.camera_id) == ("007", "front")


def test_fewer_than_three_known_observations_are_no_mood() -> None:
    rolling = Rolling(chain())
    seen = [face(s, s / 5, "a", 0.9, "happiness" if s < 2 else "unknown") for s in range(5)]
    rolling.add(chunk([outcome(s, s / 5) for s in range(5)], seen))
    got = camera(rolling, wall(1))
    assert (got.tracks, got.with_mood, got.status) == (1, 0, "no_mood")
    assert got.unknown_share == 1
    assert got.net_sentiment is None
    assert got.ci is None
    assert got.negative_share is None


def test_an_observation_weighs_the_time_until_the_next_up_to_the_cap() -> None:
    rolling = Rolling(chain(sampling_fps=1))  # the cap is 2 s
    times = [0.0, 1.0, 2.0, 30.0]
    values = [-0.5, -0.5, 1.0, -0.5]  # weights 1, 1, 2 (capped), 1 (the last: one interval)
    seen = [
        face(i, t, "a", v, "sadness" if v < 0 else "happiness")
        for i, (t, v) in enumerate(zip(times, values, strict=True))
    ]
    rolling.add(chunk([outcome(i, t) for i, t in enumerate(times)], seen))
    got = camera(rolling, wall(30))
    # (-0.5 - 0.5 + 2 * 1 - 0.5) / 5 = 0.1: neutral. Without the cap it would be positive, without weights negative.
    assert (got.positive, got.neutral, got.negative) == (0, 1, 0)


def test_below_the_floor_nothing_about_mood_is_told() -> None:
    rolling = Rolling(chain(k=3))
    rolling.add(people({"a": HAPPY, "b": SAD}))
    got = camera(rolling, wall(2))
    assert got.status == "suppressed"
    assert got.people_now == 2, "heads are counted whatever the floor"
    for name in (
        "tracks",
        "with_mood",
        "positive",
        "negative",
        "neutral",
        "net_sentiment",
        "ci",
        "negative_share",
        "unknown_share",
    ):
        assert getattr(got, name) is None
    assert got.expressions == {}


def test_a_zone_is_suppressed_when_the_total_would_give_the_others_away() -> None:
    tracks = {name: HAPPY for name in "abcd"} | {"e": SAD}
    rolling = Rolling(chain(k=3))
    rolling.add(people(tracks, zones={name: ("shelf",) for name in "abcd"}))
    total, shelf, desk = rolling.figures(wall(2))
    assert total.status == "ok"
    assert (shelf.status, shelf.tracks) == ("suppressed", None), "the total minus the shelf is one person"
    assert desk.status == "no_mood", "nobody is there to hide"


def test_a_crowd_of_whom_few_have_a_mood_shows_no_mood() -> None:
    rolling = Rolling(chain(k=3))
    unreadable = dict.fromkeys("cdef", (0.0, "unknown"))
    rolling.add(people({"a": HAPPY, "b": SAD} | unreadable))
    got = camera(rolling, wall(2))
    assert (got.status, got.tracks, got.with_mood) == ("mood_suppressed", 6, 2)
    assert got.unknown_share == pytest.approx(4 / 6)
    assert {got.positive, got.negative, got.neutral, got.net_sentiment, got.ci, got.negative_share} == {None}


def test_the_moods_of_a_zone_may_not_give_those_of_the_others_away() -> None:
    """Six people at the shelf with a mood, six elsewhere of whom one has one."""
    tracks = {f"s{i}": HAPPY for i in range(6)} | {"x": SAD} | {f"u{i}": (0.0, "unknown") for i in range(5)}
    rolling = Rolling(chain(k=3))
    rolling.add(people(tracks, zones={f"s{i}": ("shelf",) for i in range(6)}))
    total, shelf, _ = rolling.figures(wall(2))
    assert (total.status, shelf.status, shelf.tracks) == ("ok", "mood_suppressed", 6)


def test_two_zones_together_may_not_leave_a_small_rest() -> None:
    names = "abcdefghi"
    zones = {n: ("shelf",) for n in "abcd"} | {n: ("desk",) for n in "efgh"}
    rolling = Rolling(chain(k=3))
    rolling.add(people({n: PLAIN for n in names}, zones=zones))
    shown = [f for f in rolling.figures(wall(2)) if f.zone_id and f.status == "ok"]
    assert len(shown) == 1


def test_zones_count_what_happened_inside_them() -> None:
    rolling = Rolling(chain())
    rolling.add(people({"a": HAPPY, "b": SAD}, zones={"a": ("shelf",), "b": ("shelf", "desk")}))
    _, shelf, desk = rolling.figures(wall(2))
    assert (shelf.tracks, shelf.net_sentiment) == (2, 0)
    assert (desk.tracks, desk.net_sentiment) == (1, -1)


def test_the_window_ends_at_the_newest_frame_of_a_file_whatever_the_wall_clock_says() -> None:
    rolling = Rolling(chain(), window_s=10)
    rolling.add(people({"a": HAPPY}, seconds=2))
    rolling.add(chunk([outcome(10, 8.0)]))
    assert camera(rolling, wall(1e6)).tracks == 1
    assert camera(rolling, wall(1e6)).people_now == 0, "nobody was seen in the last 2 s"
    rolling.add(chunk([outcome(11, 11.9)]))
    assert camera(rolling, 0).tracks == 0


def test_a_live_camera_that_goes_quiet_shows_nobody_and_forgets_by_the_wall_clock() -> None:
    rolling = Rolling(chain(source="rtsp://shop/1"), window_s=10)
    rolling.add(people({"a": HAPPY}, seconds=2))
    assert camera(rolling, wall(3)).people_now == 1
    quiet = camera(rolling, wall(6))
    assert (quiet.people_now, quiet.tracks, quiet.expressions) == (0, 1, {})
    assert quiet.age_s == pytest.approx(4.2)
    assert camera(rolling, wall(13)).tracks == 0


def test_a_file_played_as_live_goes_quiet_by_the_arrival_of_its_frames() -> None:
    config = chain()
    (store,) = config.stores
    film = store.cameras[0].model_copy(update={"realtime": True})
    config = config.model_copy(update={"stores": (store.model_copy(update={"cameras": (film,)}),)})
    rolling = Rolling(config, window_s=10)
    played = people({"a": HAPPY}, seconds=2)
    late = 1e6  # the film was taken long before it is played
    shifted = tuple(replace(o, arrived_at=o.arrived_at + late) for o in played.outcomes)
    rolling.add(replace(played, outcomes=shifted))
    assert camera(rolling, wall(late + 3)).people_now == 1
    quiet = camera(rolling, wall(late + 6))
    assert (quiet.people_now, quiet.tracks) == (0, 1)
    assert quiet.age_s == pytest.approx(4.2)


@pytest.mark.parametrize(("back", "kept"), [(1.5, True), (2.5, False)])
def test_a_clock_that_steps_back_within_a_chunk_starts_the_window_anew(back: float, kept: bool) -> None:
    rolling = Rolling(chain())
    times = [10.0, 10.2, 10.2 - back, 10.4 - back]
    faces = [face(i, t, "before" if i < 2 else "after") for i, t in enumerate(times)]
    rolling.add(chunk([outcome(i, t) for i, t in enumerate(times)], faces))
    got = camera(rolling, wall(11))
    assert got.tracks == (2 if kept else 1)
    assert got.frames_analysed == (4 if kept else 2)


def test_a_clock_set_back_starts_the_window_anew() -> None:
    rolling = Rolling(chain(), window_s=10)
    rolling.add(chunk([outcome(0, 500.0)], [face(0, 500.0, "old")], "s0"))
    rolling.add(people({"a": HAPPY}))
    got = camera(rolling, wall(0))
    assert got.tracks == 1
    assert got.at < START.replace(minute=1)


def test_delay_fps_and_drops() -> None:
    rolling = Rolling(chain())
    outcomes = [outcome(i, i / 5, "stale" if i % 5 == 4 else None) for i in range(50)]
    rolling.add(chunk(outcomes[:25]), now=wall(5.0))
    rolling.add(chunk(outcomes[25:]))
    got = camera(rolling, wall(10))
    assert got.fps_analysed == pytest.approx(4, abs=0.1)
    assert dict(got.dropped) == {"stale": 10}
    assert got.delay_p50_s == pytest.approx(2.7, abs=0.2)
    assert got.delay_p95_s is not None
    assert 4.5 < got.delay_p95_s <= 5
    assert rolling.figures(wall(10))[1].delay_p95_s == got.delay_p95_s


def test_no_delay_is_made_up_where_none_was_measured() -> None:
    rolling = Rolling(chain())
    rolling.add(people({"a": HAPPY}))
    assert camera(rolling, wall(2)).delay_p95_s is None


def test_rules_lengthen_what_is_kept_and_longer_windows_are_refused() -> None:
    rule = {"id": "r", "figure": "people", "above": 1, "window_s": 120}
    rolling = Rolling(chain(alerts=[rule]), window_s=10)
    rolling.add(people({"a": HAPPY}, seconds=1))
    rolling.add(chunk([outcome(5, 100.0)]))
    assert rolling.figures(wall(0))[0].tracks == 0
    assert rolling.figures(wall(0), 120)[0].tracks == 1
    with pytest.raises(ValueError, match="kept"):
        rolling.figures(wall(0), 121)


def test_a_strange_camera_is_refused() -> None:
    strange = people({"a": HAPPY})
    with pytest.raises(ValueError, match="not in the config"):
        Rolling(chain().model_copy(update={"stores": ()})).add(strange)


def test_what_is_kept_is_bounded_by_the_window() -> None:
    rolling = Rolling(chain(), window_s=5)
    for second in range(200):
        rolling.add(people({f"t{second}": HAPPY}, seconds=1, start_seq=second * 5))
    kept = rolling._cameras["front"]
    assert len(kept.faces.rows) <= 5 * (5 + 2)
    assert len(kept.frames.rows) <= 5 * (5 + 2)
    assert len(kept.faces._rows) == 256, "and the array behind it does not grow"
    assert len(kept.tracks) <= 8
    assert camera(rolling, wall(0)).tracks == 5


def test_the_interval_is_sane() -> None:
    assert net_sentiment_interval(0, 0, 0) is None
    for positive, negative, total in [(3, 0, 3), (0, 3, 3), (0, 0, 3), (50, 50, 100)]:
        interval = net_sentiment_interval(positive, negative, total)
        assert interval is not None
        low, high = interval
        assert -1 <= low <= high <= 1
        assert high - low > 0.1, "three people who agree are no certainty"
    wide, narrow = net_sentiment_interval(8, 2, 10), net_sentiment_interval(800, 200, 1000)
    assert wide is not None
    assert narrow is not None
    assert wide[1] - wide[0] > narrow[1] - narrow[0]


def test_queue_length_is_people_at_a_time_over_the_seconds_that_were_watched() -> None:
    rolling = Rolling(chain(k=10, zones=("queue", "checkout", "shelf")), window_s=10)
    rolling.add(people({"a": PLAIN, "b": PLAIN}, 4, zones={"a": ("queue",), "b": ("queue", "checkout")}))
    rolling.add(people({"a": PLAIN}, 4, start_seq=20, zones={"a": ("queue",)}))
    total, queue, checkout, shelf = rolling.figures(wall(8))
    assert queue.queue_length == pytest.approx((2 * 4 + 4) / 8), "a count of heads: the floor does not hide it"
    assert checkout.queue_length == pytest.approx(4 / 8)
    assert total.queue_length is shelf.queue_length is None


def test_frames_that_were_dropped_are_no_empty_queue() -> None:
    rolling = Rolling(chain(zones=("queue",)), window_s=60)
    times = [i / 5 for i in range(100)]
    causes = ["overrun" if 5 <= t < 15 else None for t in times]
    seen = [face(i, t, zones=("queue",)) for i, (t, c) in enumerate(zip(times, causes, strict=True)) if c is None]
    rolling.add(chunk([outcome(i, t, c) for i, (t, c) in enumerate(zip(times, causes, strict=True))], seen))
    assert rolling.figures(wall(20))[1].queue_length == pytest.approx(1)


def test_the_longest_wait_outlasts_the_window_and_ends_when_the_person_leaves() -> None:
    rolling = Rolling(chain(k=10, zones=("queue", "checkout")), window_s=10)
    for second in range(40):
        tracks = {"first": PLAIN} | ({"second": PLAIN} if second >= 30 else {})
        away = second == 20  # for 1 s: bridged
        places = {"first": () if away else ("queue",), "second": ("queue",)}
        rolling.add(people(tracks, 1, start_seq=second * 5, zones=places))
    _, queue, checkout = rolling.figures(wall(40))
    assert queue.longest_wait_s == pytest.approx(39.8)
    assert checkout.longest_wait_s is None, "who pays does not wait"
    rolling.add(people({"first": PLAIN, "second": PLAIN}, 3, start_seq=200, zones={"second": ("queue",)}))
    assert rolling.figures(wall(43))[1].longest_wait_s == pytest.approx(12.8)
    rolling.add(people({"first": PLAIN}, 3, start_seq=215, zones={"first": ("queue",)}))
    assert rolling.figures(wall(46))[1].longest_wait_s == pytest.approx(2.8), "who comes back waits anew"


def test_accumulated_negative_expression_is_a_mean_over_people() -> None:
    tracks = {"a": (-0.5, "sadness"), "b": (0.8, "happiness"), "c": (-0.1, "neutral"), "d": (-0.9, "unknown")}
    shown = Rolling(chain(k=3))
    shown.add(people(tracks, 10))
    got = camera(shown, wall(10))
    assert got.negative_s == pytest.approx((0.5 * 10 + 0 + 0.1 * 10) / 3), "d cannot be read"
    assert got.positive_share == pytest.approx(1 / 3)
    hidden = Rolling(chain(k=4))
    hidden.add(people(tracks, 10))
    assert camera(hidden, wall(10)).negative_s is None


def test_a_camera_is_down_while_it_delivers_nothing_also_before_it_ever_came() -> None:
    rolling = Rolling(chain(source="rtsp://shop/1"))
    assert camera(rolling, wall(0)).camera_down_s == 0
    assert camera(rolling, wall(30)).camera_down_s == pytest.approx(30)
    rolling.add(people({"a": PLAIN}, 1, start_seq=200))
    assert camera(rolling, wall(41)).camera_down_s == 0
    assert camera(rolling, wall(61)).camera_down_s == pytest.approx(20.2)
    film = Rolling(chain())
    film.add(people({"a": PLAIN}))
    assert camera(film, wall(500)).camera_down_s == 0, "a film ends"


EXPRESSIONS = st.sampled_from(["happiness", "neutral", "sadness", "unknown"])
STEPS = st.lists(
    st.tuples(
        st.floats(0.05, 3, allow_nan=False),
        st.dictionaries(
            st.sampled_from("abcd"),
            st.tuples(st.floats(-1, 1), EXPRESSIONS, st.sets(st.sampled_from(["shelf", "desk"]))),
        ),
    ),
    min_size=1,
    max_size=25,
)


def naive(
    rows: list[tuple[float, str, float, str, set[str]]], end: float, window: float, zone: str | None
) -> tuple[int, ...]:
    """docs/metrics.md, written down without thought for speed: tracks, positive, negative, neutral."""
    tracks = defaultdict(list)
    for i, (t, track, valence, expression, zones) in enumerate(rows):
        later = [u for u, other, *_ in rows[i + 1 :] if other == track]
        weight = min(later[0] - t, 1.0) if later else 0.2
        if end - window < t <= end and (zone is None or zone in zones):
            tracks[track].append((weight, valence, expression))
    moods = []
    for observations in tracks.values():
        known = [(w, v) for w, v, e in observations if e != "unknown"]
        if len(known) >= 3:
            moods.append(sum(w * v for w, v in known) / sum(w for w, _ in known))
    return (
        len(tracks),
        sum(m >= 0.2 for m in moods),
        sum(m <= -0.2 for m in moods),
        sum(-0.2 < m < 0.2 for m in moods),
    )


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(1, 5), st.sampled_from([5.0, 20.0]))
def test_against_the_definitions_and_whatever_the_chunks(steps, size, window) -> None:  # type: ignore[no-untyped-def]
    pts, outcomes, faces, rows = 0.0, [], [], []
    for seq, (gap, seen) in enumerate(steps):
        pts = round(pts + gap, 3)
        outcomes.append(outcome(seq, pts))
        for index, (track, (valence, expression, zones)) in enumerate(sorted(seen.items())):
            faces.append(face(seq, pts, track, valence, expression, tuple(sorted(zones)), index))
            rows.append((pts, track, valence, expression, zones))
    rolling = Rolling(chain(), window_s=window)
    for at in range(0, len(outcomes), size):
        part = outcomes[at : at + size]
        seqs = {o.frame_seq for o in part}
        rolling.add(chunk(part, [f for f in faces if f.frame_seq in seqs]))
    for got in rolling.figures(wall(0)):
        expected = naive(rows, pts, window, got.zone_id)
        assert (got.tracks, got.positive, got.negative, got.neutral) == expected
