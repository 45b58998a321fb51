"""From paths and URLs on a command line to the config that runs them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from risa_ray.config import CameraConfig, ChainConfig, StoreConfig, is_url, parse_config, redact, resolve_paths
from risa_ray.errors import InputError
from risa_ray.pictures import PICTURE_SUFFIXES

VIDEO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("mp4", "m4v", "mov", "avi", "mkv", "webm", "ts", "mts", "m2ts", "mpg", "mpeg", "flv", "wmv", "3gp", "gif"),
        *("h264", "h265", "hevc", "mjpeg"),
    )
)


@dataclass(frozen=True)
class Unit:
    """One source to run: a camera, or one recording of a camera. `key` is unique in the run."""

    key: str
    store: StoreConfig
    camera: CameraConfig


def refuse_job_folder(path: str, what: str) -> None:
    """Within a submitted job the working folder is Ray's copy, which goes with the job: nothing that is to last.

    Raises:
        InputError: `path` lies there.
    """
    submitted = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    if submitted and not is_url(path) and Path(path).resolve().is_relative_to(Path.cwd()):
        raise InputError(f"{path}: lies in the job's working folder, which Ray deletes; give an absolute {what}")


def units_of(config: ChainConfig) -> list[Unit]:
    """Every camera of a chain."""
    return [Unit(camera.id, store, camera) for store, camera in config.cameras()]


def camera_of(config: ChainConfig, camera_id: str | None) -> Unit:
    """The camera of that id; None names the only one of a chain.

    Raises:
        InputError: the chain has no such camera, or several.
    """
    cameras = {unit.key: unit for unit in units_of(config)}
    if camera_id is None and len(cameras) == 1:
        return next(iter(cameras.values()))
    if camera_id not in cameras:
        raise InputError(f"--camera {camera_id or '(none)'}: the config has {', '.join(cameras)}; name one of them")
    return cameras[camera_id]


def recordings_of(config: ChainConfig, camera_id: str, files: Sequence[Path]) -> list[Unit]:
    """Recordings of one camera of a chain: each file runs with that camera's settings and zones, under its id.

    Raises:
        InputError: the chain has no such camera.
    """
    unit = camera_of(config, camera_id)
    return [
        Unit(
            f"{camera_id}:{number}",
            unit.store,
            unit.camera.model_copy(update={"source": str(file), "realtime": False, "policy": None, "start": None}),
        )
        for number, file in enumerate(files)
    ]


def config_for(sources: Sequence[str], data: str, camera: dict[str, Any], pipeline: dict[str, Any]) -> ChainConfig:
    """A chain of one store with a camera per source, named after it.

    Args:
        sources: paths, URLs, `usb:0` or `demo:front`.
        data: where the tables go.
        camera: settings of every camera, as in a config file.
        pipeline: settings of the pipeline, likewise.

    Raises:
        InputError: a setting is wrong.
    """
    cameras = [{"id": i, "source": s} | camera for i, s in zip(camera_ids(sources), sources, strict=True)]
    raw = {"ad_hoc": True, "data": data, "stores": [{"id": "store", "cameras": cameras}], "pipeline": pipeline}
    return resolve_paths(parse_config(raw, "command line"), Path.cwd())


def camera_ids(sources: Sequence[str]) -> list[str]:
    """A readable, unique camera id per source, from its name."""
    ids: list[str] = []
    for source in sources:
        name = redact(source).split("://", 1)[-1].replace("***@", "") if is_url(source) else Path(source).stem or source
        base = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:48] or "camera"
        if not base[0].isalnum():
            base = f"c{base}"
        unique, number = base, 2
        while unique in ids:
            unique, number = f"{base}-{number}", number + 1
        ids.append(unique)
    return ids


def find_files(paths: Iterable[Path]) -> list[Path]:
    """The units of a batch: video files, single pictures, and folders of pictures, sorted, each once.

    A folder is searched with all its subfolders but the hidden ones; one that holds pictures itself is one unit, its
    pictures its frames.

    Raises:
        InputError: a path does not exist, or a folder holds neither video nor picture.
    """
    found: list[Path] = []
    for path in paths:
        if os.path.isfile(path):  # Path.is_file raises where a name is too long
            found.append(path)
        elif os.path.isdir(path):
            inside = _search(path)
            if not inside:
                raise InputError(f"{path}: no video and no picture in this folder; give files or another folder")
            found.extend(inside)
        else:
            raise InputError(f"{path}: no such file or folder; check the path")
    return list(dict.fromkeys(p.resolve() for p in found))


def _search(folder: Path) -> list[Path]:
    visible = (p for p in folder.rglob("*") if not any(part.startswith(".") for part in p.relative_to(folder).parts))
    files = sorted(p for p in visible if p.is_file())
    videos = [p for p in files if p.suffix.lower() in VIDEO_SUFFIXES]
    folders = sorted({p.parent for p in files if p.suffix.lower() in PICTURE_SUFFIXES})
    return sorted([*videos, *folders])
