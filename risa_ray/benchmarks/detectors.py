"""Detectors side by side on the same frames: speed, and what each finds against facenet-pytorch's MTCNN."""

from __future__ import annotations

import csv
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from risa_ray.benchmarks.agreement import agreement, keeps_contract
from risa_ray.benchmarks.machine import machine
from risa_ray.benchmarks.peak import Finder, peak_mib
from risa_ray.charts import BLUE, MUTED, WIDTH, Sheet
from risa_ray.errors import InputError
from risa_ray.frames import Frame, Image
from risa_ray.inputs import config_for
from risa_ray.sources import create_source, read_frames
from risa_ray.sources.demo import render
from risa_ray.vision.detectors import Detector, Faces, MtcnnDetector, create_detector, resolve_device
from risa_ray.vision.mtcnn.pyramid import pyramid
from risa_ray.vision.search import Search
from risa_ray.vision.tracker import TrackerConfig, expected, start, update

SIZES = {"1080p": (1920, 1080), "720p": (1280, 720), "540p": (960, 540), "360p": (640, 360)}
REFERENCE = "facenet-pytorch"
_OURS = "mtcnn"
_BATCH, _GPU_BATCH = 4, 16
"""Frames in a call of what is fed in batches."""
_TRACKED_FRAMES = 60
_PNET_MAC = 27 * 10 + (9 * 10 * 16 + 9 * 16 * 32 + 32 * 6) / 4
"""Multiplications of P-Net per pixel of a level; its later layers have a quarter of the pixels."""


@dataclass
class _Contender:
    """One way to find faces: what it is fed at a time, and what came of it."""

    name: str
    detect: Callable[[Sequence[Image]], list[Faces]]
    batch: int
    found: list[Faces] = field(default_factory=list)
    seconds: list[list[float]] = field(default_factory=list)


class _Facenet:
    """facenet-pytorch's MTCNN as its users call it; float64 boxes come as they are, only in our form."""

    name = REFERENCE

    def __init__(self, device: str, min_face_size: int) -> None:
        from facenet_pytorch import MTCNN

        self._mtcnn = MTCNN(keep_all=True, select_largest=False, min_face_size=min_face_size, device=device)

    def detect(self, frames: Sequence[Image]) -> list[Faces]:
        found = self._mtcnn.detect(list(frames) if len(frames) > 1 else frames[0], landmarks=True)
        rows = zip(*found, strict=True) if len(frames) > 1 else [found]
        return [_faces(*row) for row in rows]


def _faces(boxes: Any, scores: Any, points: Any) -> Faces:
    if boxes is None:
        return Faces(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32))
    return Faces(*(np.asarray(a, np.float32) for a in (boxes, scores, points)))


def bench_detectors(
    videos: Sequence[Path],
    device: str,
    min_face_size: int,
    frames: int,
    repeats: int,
    threads: int,
    detect_every: int,
    memory: bool = True,
) -> dict[str, Any]:
    """Every detector on the same frames at 1080p, 720p, 540p and 360p, in turns in one process.

    Args:
        videos: frames are taken evenly from each; none stands for the demo's scene, rendered.
        frames: of each video.
        repeats: turns of every detector over all frames of a size.
        detect_every: of tracked detection, which is measured on the first frames of each video in a row.
        memory: whether to measure what one frame takes of it at 1080p and 4K, each in a process of its own.

    Returns:
        Per size and detector: frames/s (median of the turns) and its ratio to facenet-pytorch frame by frame, p50 and
        p95 milliseconds of a call, faces, recall and precision at IoU 0.5 against facenet-pytorch on a CPU,
        `equal`: whether the exact engine's contract with it is kept, and for the exact engine the milliseconds of its
        stages and the floor that matrix products set.
        Recall and precision of tracked detection are against the exact engine on every frame.

    Raises:
        InputError: a video cannot be read, the device is not there, or no face of that size fits in the smallest size.
    """
    least = min(min(size) for size in SIZES.values())
    if min_face_size > least:
        raise InputError(f"--min-face-size {min_face_size}: no such face fits into {least} rows; give {least} at most")
    device, before = resolve_device(device), machine()
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    pictures = [picture for video in videos for picture in _sample(video, frames)] or _rendered(frames)
    ours = create_detector(_OURS, device=device, min_face_size=min_face_size, threads=threads)
    assert isinstance(ours, MtcnnDetector)
    contenders = _contenders(ours, device, min_face_size, threads)
    gflops = _gemm_gflops(device)
    runs = [_first(video, _TRACKED_FRAMES) for video in videos]
    sizes = {}
    for name, size in SIZES.items():
        scaled = [_resized(p, size) for p in pictures]
        rows = _compare(scaled, contenders, _wanted(scaled, min_face_size), repeats)
        rows[_OURS] |= _breakdown(scaled, ours, rows[_OURS]["frames_per_s"], gflops, min_face_size)
        if runs:
            resized = [[(pts, _resized(p, size)) for pts, p in run] for run in runs]
            speed = rows[REFERENCE]["frames_per_s"]
            rows[f"{_OURS}, detect_every {detect_every}"] = _tracked(resized, ours, detect_every, repeats, speed)
        sizes[name] = rows
    return {
        "what": "detectors",
        "videos": [video.name for video in videos] or ["the demo scene"],
        "frames": len(pictures),
        "repeats": repeats,
        "device": device,
        "threads": threads,
        "min_face_size": min_face_size,
        "detect_every": detect_every,
        "gemm_gflops": gflops,
        "peak_mib": _memory(device, min_face_size, threads) if memory else {},
        "sizes": sizes,
        "machine": before,
    }


_Known = tuple[str, "Detector | _Facenet", int]
"""Name, detector, frames in a call."""


def _contenders(ours: Detector, device: str, min_face_size: int, threads: int) -> list[_Known]:
    facenet, several = _Facenet(device, min_face_size), _BATCH if device == "cpu" else _GPU_BATCH
    known: list[_Known] = [
        (REFERENCE, facenet, 1),
        (f"{REFERENCE}, {several} at a time", facenet, several),
        (_OURS, ours, 1),
        (f"{_OURS}, {several} at a time", ours, several),
    ]
    for name in ("haar", "dlib"):
        try:
            known.append((name, create_detector(name, min_face_size=min_face_size, threads=threads), 1))
        except InputError as error:  # dlib is an extra
            print(error, file=sys.stderr)
    return known


def _compare(
    pictures: list[Image],
    known: list[_Known],
    wanted: list[Faces],
    repeats: int,
) -> dict[str, Any]:
    contenders = [_Contender(name, detector.detect, batch) for name, detector, batch in known]
    for contender in contenders:  # the first turn warms up, and gives the faces
        contender.found = _turn(contender, pictures)[0]
    for _ in range(repeats):
        for contender in contenders:
            contender.seconds.append(_turn(contender, pictures)[1])
    reference = contenders[0]
    whole = _frames_per_s(reference, len(pictures))
    result = {}
    for contender in contenders:
        calls = [1000 * s for turn in contender.seconds for s in turn]
        speed = _frames_per_s(contender, len(pictures))
        recall, precision = agreement(contender.found, wanted)
        result[contender.name] = {
            "frames_per_s": statistics.median(speed),
            "ratio": statistics.median(a / b for a, b in zip(speed, whole, strict=True)),
            "ms_p50": float(np.percentile(calls, 50)),
            "ms_p95": float(np.percentile(calls, 95)),
            "batch": contender.batch,
            "faces": sum(map(len, contender.found)),
            "recall": recall,
            "precision": precision,
            "equal": all(map(keeps_contract, contender.found, wanted)),
        }
    return result


def _wanted(pictures: list[Image], min_face_size: int) -> list[Faces]:
    """What facenet-pytorch finds on a CPU; on a GPU it rounds to TF32 and finds other boxes."""
    facenet = _Facenet("cpu", min_face_size)
    return [faces for picture in pictures for faces in facenet.detect([picture])]


def _breakdown(
    pictures: list[Image], ours: MtcnnDetector, frames_per_s: float, gflops: float, min_face_size: int
) -> dict[str, Any]:
    """Of the exact engine, frame by frame: milliseconds per stage, and the floor of its largest part, P-Net."""
    before = ours.stage_seconds
    for picture in pictures:
        ours.detect([picture])
    stages = {k: 1000 * (v - before.get(k, 0)) / len(pictures) for k, v in ours.stage_seconds.items()}
    height, width = pictures[0].shape[:2]
    mac = _PNET_MAC * sum(level.height * level.width for level in pyramid(height, width, min_face_size))
    floor = 2 * mac / gflops / 1e9 * 1000
    return {"stage_ms": stages, "pnet_floor_ms": floor, "times_pnet_floor": 1000 / frames_per_s / floor}


def _memory(device: str, min_face_size: int, threads: int) -> dict[str, dict[str, float | None]]:
    """Peak memory of one frame, by size and detector; at 4K of the MTCNNs alone. None where it cannot be had."""
    ours = partial(create_detector, min_face_size=min_face_size, threads=threads)
    mtcnns: dict[str, Callable[[], Finder]] = {
        REFERENCE: partial(_Facenet, device, min_face_size),
        _OURS: partial(ours, _OURS, device=device),
    }
    at_1080p = {name: peak_mib(create, device, (1920, 1080), threads) for name, create in mtcnns.items()}
    at_1080p["haar"] = peak_mib(partial(ours, "haar"), "cpu", (1920, 1080), threads)
    at_4k = {name: peak_mib(create, device, (3840, 2160), threads) for name, create in mtcnns.items()}
    return {"1080p": at_1080p, "4K": at_4k}


_Run = list[tuple[float, Image]]
"""Frames in a row with their pts in seconds."""


def _tracked(runs: list[_Run], detector: Detector, every: int, repeats: int, reference: float) -> dict[str, Any]:
    """Tracked detection over frames in a row, against the exact engine on every frame of them."""
    wanted = [faces for run in runs for faces in detector.detect([picture for _, picture in run])]
    found: list[Faces] = []
    speeds, calls = [], []
    for _ in range(repeats + 1):  # the first turn warms up
        followed = [_follow(run, detector, every) for run in runs]
        found = [faces for several, _ in followed for faces in several]
        calls = [second for _, seconds in followed for second in seconds]
        speeds.append(len(found) / sum(calls))
    recall, precision = agreement(found, wanted)
    speed = statistics.median(speeds[1:])
    return {
        "frames_per_s": speed,
        "ratio": speed / reference,
        "ms_p50": float(np.percentile(calls, 50)) * 1000,
        "ms_p95": float(np.percentile(calls, 95)) * 1000,
        "batch": 1,
        "faces": sum(map(len, found)),
        "recall": recall,
        "precision": precision,
        "equal": all(map(keeps_contract, found, wanted)),
    }


def _follow(run: _Run, detector: Detector, every: int) -> tuple[list[Faces], list[float]]:
    state, search, config = start("bench", 0), Search(), TrackerConfig()
    found, seconds = [], []
    for number, (pts, picture) in enumerate(run):
        began = time.perf_counter()
        known = state.next_ordinal
        due = search.due(number)
        if due:
            (faces,) = detector.detect([picture])
        else:
            (faces,) = detector.refine([picture], [expected(state, pts, config)])
        state, _ = update(state, number, pts, faces.boxes, faces.scores, config)
        if due:
            search = search.after(number, state.next_ordinal > known, every)
        seconds.append(time.perf_counter() - began)
        found.append(faces)
    return found, seconds


def _turn(contender: _Contender, pictures: list[Image]) -> tuple[list[Faces], list[float]]:
    found, seconds = [], []
    for first in range(0, len(pictures), contender.batch):
        part = pictures[first : first + contender.batch]
        began = time.perf_counter()
        found.extend(contender.detect(part))
        seconds.append(time.perf_counter() - began)
    return found, seconds


def _frames_per_s(contender: _Contender, frames: int) -> list[float]:
    return [frames / sum(turn) for turn in contender.seconds]


def _frames(video: Path) -> Iterator[Frame]:
    """The frames of a video as the pipeline reads them, without those that cannot be decoded."""
    store, camera = next(config_for([str(video)], "data", {}, {}).cameras())
    source = create_source(camera, store.tzinfo)
    read = read_frames(source, camera, "bench", source.started_at())
    return (frame for frame in read if isinstance(frame, Frame))


def _sample(video: Path, frames: int) -> list[Image]:
    """Frames taken evenly from a video."""
    total = sum(1 for _ in _frames(video))
    wanted = {number * total // frames for number in range(frames)}
    return [frame.image for number, frame in enumerate(_frames(video)) if number in wanted]


def _first(video: Path, frames: int) -> _Run:
    """The first frames of a video."""
    return [(frame.pts, frame.image) for frame in islice(_frames(video), frames)]


def _rendered(frames: int) -> list[Image]:
    return [render("front", 1.0 + 0.4 * number) for number in range(frames)]


def _resized(picture: Image, size: tuple[int, int]) -> Image:
    """A picture within a size, at its own aspect ratio; black beside it."""
    width, height = size
    factor = min(width / picture.shape[1], height / picture.shape[0])
    inner = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
    if inner != picture.shape[1::-1]:
        interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        picture = np.asarray(cv2.resize(picture, inner, interpolation=interpolation), np.uint8)
    if inner == size:
        return picture
    out = np.zeros((height, width, 3), np.uint8)
    out[: inner[1], : inner[0]] = picture
    return out


def _gemm_gflops(device: str) -> float:
    """What matrix products in float32 reach on this device, the best of several."""
    side = 1024 if device == "cpu" else 8192
    a = torch.ones(side, side, device=device)
    best = float("inf")
    for _ in range(8):
        began = time.perf_counter()
        float((a @ a)[0, 0])  # waits for a GPU
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best / 1e9


_COLUMNS = ("frames_per_s", "ratio", "ms_p50", "ms_p95", "faces", "recall", "precision", "equal")


def write_csv(result: dict[str, Any], path: Path) -> None:
    """One row per size and detector."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["size", "detector", *_COLUMNS])
        for size, detectors in result["sizes"].items():
            for name, row in detectors.items():
                writer.writerow([size, name, *(row[column] for column in _COLUMNS)])


def write_chart(result: dict[str, Any], path: Path) -> None:
    """Frames/s of every detector at every size, as bars."""
    rows = sum(len(detectors) for detectors in result["sizes"].values())
    bar, head, left, right = 24, 30, 260, 90
    sheet = Sheet(90 + rows * bar + len(result["sizes"]) * head, "Frames per second", describe(result).split("\n")[0])
    most = max(row["frames_per_s"] for detectors in result["sizes"].values() for row in detectors.values())
    y = 80.0
    for size, detectors in result["sizes"].items():
        sheet.text((24, y + head / 2), size, 15, "lm")
        y += head
        for name, row in detectors.items():
            end = left + (WIDTH - left - right) * row["frames_per_s"] / most
            sheet.text((left - 8, y + bar / 2), name, 13, "rm")
            sheet.rectangle((left, y + 3, end, y + bar - 3), BLUE if name.startswith(_OURS) else MUTED)
            sheet.text((end + 6, y + bar / 2), f"{row['frames_per_s']:.1f}  ({row['ratio']:.1f} x)", 13, "lm")
            y += bar
    sheet.save(path)


def describe(result: dict[str, Any]) -> str:
    """A table for the terminal."""
    lines = [
        f"{result['frames']} frames of {', '.join(result['videos'])}, min face size {result['min_face_size']}, "
        f"{result['device']}, {result['threads']} threads"
    ]
    for size, detectors in result["sizes"].items():
        lines.append(
            f"{size:<34}{'frames/s':>9}{'ratio':>7}{'p50 ms':>8}{'p95 ms':>8}{'faces':>7}{'recall':>8}"
            f"{'prec.':>7}  equal"
        )
        for name, row in detectors.items():
            lines.append(
                f"  {name:<32}{row['frames_per_s']:>9.2f}{row['ratio']:>7.2f}{row['ms_p50']:>8.1f}{row['ms_p95']:>8.1f}"
                f"{row['faces']:>7}{row['recall']:>8.3f}{row['precision']:>7.3f}  {'yes' if row['equal'] else 'no'}"
            )
        ours = detectors[_OURS]
        stages = ", ".join(f"{stage} {ms:.1f}" for stage, ms in ours["stage_ms"].items())
        lines.append(f"    ms of {_OURS}: {stages}; {ours['times_pnet_floor']:.1f} x P-Net's matrix products alone")
    for size, detectors in result["peak_mib"].items():
        peaks = ", ".join(f"{name} {'?' if mib is None else f'{mib:.0f}'}" for name, mib in detectors.items())
        lines.append(f"MiB for one frame at {size}: {peaks}")
    return "\n".join(lines)
