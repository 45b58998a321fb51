"""What the simulator knows and an analysis has to find out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from risa_ray.analytics.simulate import people as drawn
from risa_ray.analytics.simulate import scenario
from risa_ray.analytics.simulate.arrow import TIME, Ints, lists, texts, times
from risa_ray.analytics.simulate.day import Rates, StoreDay
from risa_ray.analytics.simulate.render import VALENCE_NOISE

FOLDER = "truth"


def _schema(columns: list[tuple[str, pa.DataType]]) -> pa.Schema:
    return pa.schema(columns)


VISITS = _schema(
    [
        ("store_id", pa.string()),
        ("camera_id", pa.string()),
        ("visit_id", pa.string()),
        ("session_id", pa.string()),
        ("track_ids", pa.list_(pa.string())),
        ("first_seen", TIME),
        ("last_seen", TIME),
        ("valence", pa.float64()),
        ("split", pa.bool_()),
    ]
)
STAYS = _schema(
    [
        ("store_id", pa.string()),
        ("camera_id", pa.string()),
        ("zone_id", pa.string()),
        ("zone_kind", pa.string()),
        ("visit_id", pa.string()),
        ("track_id", pa.string()),
        ("entered_at", TIME),
        ("left_at", TIME),
        ("looked_s", pa.float64()),
        ("content_id", pa.string()),
        ("outcome", pa.string()),
        ("wait_s", pa.float64()),
    ]
)
_OUTCOMES = [None, "served", "abandoned"]


@dataclass(frozen=True)
class Truth:
    """The truth of a simulation.

    Attributes:
        visits: one row per person seen by a camera; `valence` is the mean over their observations before noise.
        stays: one row per stay of at least 1 s of a track in a zone, with the times of the observed rows. A visit that
            was split has two in the zone where it was cut. `looked_s` is NULL without `look_yaw`; `content_id`: running
            when the stay began; of queues `outcome` is served, abandoned, or NULL where the session's end cut the
            visit off, and `wait_s` the whole visit's wait, to being served or to leaving, whatever was observed of it.
        parameters: what was drawn from.
        observations: rows written to the table.
        frames: rows written to that one.
    """

    visits: pa.Table
    stays: pa.Table
    parameters: dict[str, Any]
    observations: int = 0
    frames: int = 0


def write_truth(truth: Truth, folder: Path) -> None:
    """Write visits.parquet, stays.parquet and parameters.json."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(truth.visits, folder / "visits.parquet", compression="zstd")
    pq.write_table(truth.stays, folder / "stays.parquet", compression="zstd")
    (folder / "parameters.json").write_text(json.dumps(truth.parameters, indent=1) + "\n", encoding="utf-8")


def visits_of(day: StoreDay) -> pa.Table:
    """The visits of a day that left any row."""
    people, rows = day.people, day.rows
    visit = people.visit[rows.segment]
    starts, ends = _runs(visit)
    seen = visit[starts]
    valence = np.bincount(visit, people.valence[rows.segment], len(people.session))
    # A split with nothing before or after it is none.
    split = rows.track[starts] != rows.track[ends]
    tracks = np.stack([rows.track[starts], rows.track[ends]], axis=1)
    kept = np.stack([np.ones(len(split), bool), split], axis=1)
    columns: list[pa.Array[Any]] = [
        *_place(day, starts),
        _visit_ids(day, seen),
        texts([s.id for s in day.sessions], people.session[seen]),
        lists(kept.sum(axis=1), texts(day.track_ids, tracks[kept])),
        times(rows.at_us[starts]),
        times(rows.at_us[ends]),
        pa.array(valence[seen] / (ends - starts + 1)),
        pa.array(split),
    ]
    return pa.table(columns, schema=VISITS)


def stays_of(day: StoreDay) -> pa.Table:
    """The stays of a day, of at least 1 s."""
    people, rows = day.people, day.rows
    starts, ends = _runs(rows.segment, rows.track)
    looked = np.add.reduceat(_weights(day) * rows.looking, starts) if len(starts) else np.zeros(0)
    segment = rows.segment[starts]
    stay = (people.zone[segment] >= 0) & (rows.at_us[ends] - rows.at_us[starts] >= 1_000_000)
    starts, ends, looked, segment = starts[stay], ends[stay], looked[stay], segment[stay]
    zone, outcome = people.zone[segment], people.outcome[segment]
    fps = np.array([s.fps for s in day.sessions])[people.session[people.visit[segment]]]
    columns: list[pa.Array[Any]] = [
        *_place(day, starts),
        texts([z.id for z in day.zones], zone),
        texts([z.kind for z in day.zones], zone),
        _visit_ids(day, people.visit[segment]),
        texts(day.track_ids, rows.track[starts]),
        times(rows.at_us[starts]),
        times(rows.at_us[ends]),
        pa.array(looked, mask=np.isnan(people.look_yaw[segment])),
        texts([None, *scenario.CONTENTS], people.content[segment] + 1),
        texts(_OUTCOMES, np.maximum(outcome, 0)),
        pa.array(people.wait[segment] / fps, mask=outcome <= 0),
    ]
    return pa.table(columns, schema=STAYS)


def parameters(stores: tuple[scenario.Store, ...], rates: Rates, seed: int, dates: list[str]) -> dict[str, Any]:
    """What the people were drawn from, as JSON."""
    zones = {z.id: z for z in stores[0].cameras[1].zones}
    return {
        "seed": seed,
        "dates": dates,
        "stores": {s.id: {"timezone": s.timezone, "opens": s.opens, "closes": s.closes} for s in stores},
        "sampling_fps": {c.id: c.fps for s in stores for c in s.cameras},
        "visits_per_hour": rates.visits_per_hour,
        "share_of_arrivals": scenario.SHARE_OF_ARRIVALS,
        "hour_weights": scenario.HOUR_WEIGHTS,
        "split_rate": rates.split_rate,
        "split_gap_s": drawn.SPLIT_GAP_S,
        "drop_rate": rates.drop_rate,
        "unknown_rate": rates.unknown_rate,
        "outages": rates.outages,
        "entering_share": drawn.ENTERING_SHARE,
        "base_valence": {"mean": drawn.BASE_VALENCE[0], "sd": drawn.BASE_VALENCE[1]},
        "observation_noise_sd": VALENCE_NOISE,
        "zone_valence": {name: z.valence for name, z in zones.items() if z.kind == "product"},
        "zone_attention": {name: z.attention for name, z in zones.items() if z.kind == "product"},
        "content_valence": dict(zip(scenario.CONTENTS, scenario.CONTENT_VALENCE, strict=True)),
        "content_attention": dict(zip(scenario.CONTENTS, scenario.CONTENT_ATTENTION, strict=True)),
        "content_slot_s": scenario.SLOT_S,
        "service_valence": scenario.SERVICE_VALENCE,
        "wait_gamma": {"shape": drawn.WAIT_GAMMA[0], "scale_s": drawn.WAIT_GAMMA[1]},
        "patience_mean_s": drawn.PATIENCE_S,
        "checkout_chance": drawn.CHECKOUT_CHANCE,
        "product_chance": drawn.PRODUCT_CHANCE,
        "affinity_lift": drawn.affinity_lift(),
    }


def _runs(*columns: Ints) -> tuple[Ints, Ints]:
    """First and last index of each run of equal values."""
    size = len(columns[0])
    new = np.ones(size, bool)
    new[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    starts = np.flatnonzero(new)
    return starts, np.append(starts[1:], size)[: len(starts)] - 1


def _weights(day: StoreDay) -> npt.NDArray[np.float64]:
    """Observation weights in seconds, as docs/metrics.md defines them."""
    people, rows = day.people, day.rows
    fps = np.array([s.fps for s in day.sessions])[people.session[people.visit[rows.segment]]]
    seconds = 1 / fps
    same = rows.track[1:] == rows.track[:-1]
    seconds[:-1] = np.where(same, np.diff(rows.frame_seq) / fps[:-1], seconds[:-1])
    weights: npt.NDArray[np.float64] = np.minimum(seconds, np.maximum(1, 2 / fps))
    return weights


def _place(day: StoreDay, at: Ints) -> list[pa.Array[Any]]:
    cameras = [c.id for c in day.store.cameras]
    return [pa.repeat(pa.scalar(day.store.id), len(at)), texts(cameras, day.rows.camera[at])]


def _visit_ids(day: StoreDay, visit: Ints) -> pa.Array[Any]:
    """A visit is called after the track that it would be if it was never split."""
    return texts([f"v{track}" for track in day.track_ids[::2]], visit)
