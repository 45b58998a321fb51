"""`risa privacy`: what a config has recorded about people, why, for how long, and who can see it.

Written for whoever has to answer for the cameras. Tables and columns come from the schema itself, so that the report
cannot leave out what the store keeps.
"""

from __future__ import annotations

import os
import stat
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import pyarrow as pa

from risa_ray.config import CameraConfig, ChainConfig, RetentionConfig, StoreConfig, is_url, redact
from risa_ray.store.schema import TABLES

WIDTH = 100

NEVER_STORED = ("frames (whole pictures)", "crops of faces", "landmarks of faces", "embeddings or templates of faces")


@dataclass(frozen=True)
class Purpose:
    """Why a table is there.

    Attributes:
        row: what one row stands for.
        why: what it is used for.
        kept: the setting of privacy.retention that limits it; None: it is about the system, and stays.
    """

    row: str
    why: str
    kept: Literal["observations", "tracks", "frames", "alerts"] | None = None


PURPOSES: dict[str, Purpose] = {
    "observations": Purpose(
        "one row per face and analysed picture",
        "to compute every figure about apparent expressions from",
        "observations",
    ),
    "frames": Purpose(
        "one row per camera and 10 seconds; counts, no single person",
        "to tell an empty shop from a camera that was down, and to account for every picture",
        "frames",
    ),
    "alerts": Purpose(
        "one row per alert; a figure of a camera or zone", "to see afterwards what fired, and why", "alerts"
    ),
    "alert_events": Purpose(
        "one row per alert and what became of it: sent to whom, acknowledged by whom of the staff",
        "to deliver alerts also after a crash, and to see who saw to them",
        "alerts",
    ),
    "closed_tracks": Purpose(
        "one row per person followed by one camera in one session, on days that are over",
        "to answer questions about past days without the rows of single pictures",
        "tracks",
    ),
    "runs": Purpose("one row per step of a run; no person", "to store files exactly once, also after a crash"),
    "purges": Purpose(
        "one row per deletion: how many rows of which camera and time; no person", "to show what was deleted, and when"
    ),
    "stores": Purpose("one row per description of a store; no person", "so that a dataset explains itself"),
    "cameras": Purpose(
        "one row per description of a camera; no person", "so that a dataset explains itself; no credentials"
    ),
    "zones": Purpose("one row per description of a zone; no person", "so that a dataset explains itself"),
    "content": Purpose("one row per item on a screen; no person", "to compare what screens showed"),
    "privacy": Purpose("one row per change of these settings; no person", "so that readers keep to the k-floor"),
}
"""By table. A table that is not named here is reported all the same, as one without a stated purpose."""

_WORDS = {
    "date": "day in UTC",
    "store_id": "store",
    "camera_id": "camera",
    "session_id": "session of the camera",
    "frame_seq": "number of the picture",
    "face_index": "number of the face in it",
    "captured_at": "time of the picture",
    "pts": "time in the stream",
    "track_id": "random-looking name of one person in one session of one camera",
    "zone_ids": "zones the face is in",
    "x1": "left edge of the face's box",
    "y1": "its top",
    "x2": "its right edge",
    "y2": "its bottom",
    "detector_score": "how sure the detector was",
    "face_px": "size of the face in pixels",
    "yaw_deg": "estimated turn of the head",
    "expression": "apparent expression, or unknown",
    "abstain_reason": "why it is unknown",
    "confidence": "how sure the model was",
    "valence": "how positive the expression looks",
    "model_id": "which model",
    "detector": "which detector",
    "first_seen": "when first seen",
    "last_seen": "when last seen",
    "faces": "number of faces",
    "note": "what went wrong",
    "stays": "stays in zones",
    "minutes": "apparent mood by minute",
    "source": "its address without credentials",
    "host": "machine that ran it",
}
_GROUPS = {"p_": "probabilities of the expressions", "dropped_": "pictures dropped, by cause"}
"""Prefixes of columns that are told together."""


def privacy_report(config: ChainConfig) -> str:
    """What a config has recorded, why, for how long, of whom not, and who can see it; ends with the sign."""
    parts = [
        _title(f"Privacy of chain {config.chain}"),
        _text(
            "RISA estimates the apparent expression of faces in the pictures of cameras. That says how a face looks, "
            "not what somebody feels. This report describes what this config makes RISA do; whether that is allowed "
            "where you are, nothing in it can tell. docs/privacy.md lists what you still owe."
        ),
        _title("What is recorded, why, and for how long"),
        *(_table(name, config.privacy.retention) for name in TABLES),
        _text(f"Never stored: {', '.join(NEVER_STORED)}. They exist in memory while a picture is analysed."),
        _text(
            "Nobody is identified or recognised again: a track_id names one person while one camera follows them in "
            "one session, and nothing links it to another session or camera. Until it is deleted it is still a row "
            "about a person."
        ),
        _text(
            "Deletion: what is over its time leaves the tables when a run of this config starts and every few minutes "
            "while it lasts, and the disk an hour or more later. Runs without a config delete nothing. Erase on "
            "request with `risa purge --camera ID --between A B`. Backups, and versions that a bucket keeps, are "
            "yours to delete."
        ),
        _title("Cameras, zones, staff and masks"),
        *(_camera(store, camera) for store, camera in config.cameras()),
        *_without_staff(config),
        _title("Who can see what"),
        *_access(config),
        _title("A sign for the door: fill in the brackets, and adapt it"),
        sign(config),
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts)


def sign(config: ChainConfig) -> str:
    """The text of a sign for the door, with the config's figures and placeholders for the rest."""
    retention, k = config.privacy.retention, config.privacy.k
    watched = "" if not _shown(config) else " Staff can watch live pictures in which faces are blurred."
    grouped = f" The usual reports show only figures about at least {k} people." if k > 1 else ""
    paragraphs = (
        "CAMERAS WITH AUTOMATED ANALYSIS OF FACES",
        "Cameras here find faces, and a computer estimates each one's apparent expression, such as smiling or "
        "neutral. The processing is automated. It says how a face looks, not what anybody feels.",
        "No identification: faces are not compared with other faces, and nobody is recognised again. The system "
        f"stores no pictures and no face templates.{watched} [If the same cameras also record video, say so here.]",
        "What is kept: for each face its time, its place in the picture, the estimated expression, and a number that "
        f"holds for one visit to one camera, {_sign_time(retention.observations)}; a summary of each such visit, "
        f"{_sign_time(retention.tracks)}.{grouped}",
        "Why: [PURPOSE, IN PLAIN WORDS]. Legal basis: [LEGAL BASIS].",
        "Responsible: [NAME AND ADDRESS OF THE CONTROLLER]",
        "To object, to see or to erase what was recorded, or to ask: [CONTACT: TELEPHONE, E-MAIL, OR DESK IN THE "
        "SHOP]. Tell us where and when you were here; without a name in the data we can find it by no other means.",
        "Data protection officer: [CONTACT, IF ANY]. You may complain to: [SUPERVISORY AUTHORITY].",
        "The full notice: [WEB ADDRESS OR DESK]",
    )
    return "\n\n".join(_text(p) for p in paragraphs)


def period(days: int | None) -> str:
    """A retention setting in words."""
    if days is None:
        return "for good (no limit is set)"
    return f"{days} day{'' if days == 1 else 's'}"


def _sign_time(days: int | None) -> str:
    return "without a fixed end" if days is None else f"deleted after {period(days)}"


def _table(name: str, retention: RetentionConfig) -> str:
    """One table of the schema."""
    purpose = PURPOSES.get(name)
    if purpose is None:
        row, why, kept = "not described", "no purpose is stated for it", "for good (no limit is set)"
    else:
        row, why = purpose.row, purpose.why
        kept = (
            period(getattr(retention, purpose.kept))
            if purpose.kept
            else "for good (it is about the system, not about people)"
        )
    single = "; ROWS ARE SINGLE PEOPLE" if "track_id" in TABLES[name].names else ""
    lines = [_text(f"{name}: {row}{single}", "", "  ")]
    for label, text in (("why", why), ("kept", kept), ("columns", ", ".join(columns_in_words(name)))):
        lines.append(_text(f"{label}: {text}", "  ", "      "))
    return "\n".join(lines)


def columns_in_words(table: str) -> list[str]:
    """The columns of a table, each as `words (column)`, or as its name where that is a word already."""
    told = []
    for prefix, fields in groupby(TABLES[table], lambda field: _prefix(field.name)):
        if prefix:
            names = ", ".join(field.name for field in fields)
            told.append(f"{_GROUPS[prefix]} ({names})")
        else:
            told += [_column(field) for field in fields]
    return told


def _prefix(column: str) -> str:
    return next((prefix for prefix in _GROUPS if column.startswith(prefix)), "")


def _column(field: pa.Field[pa.DataType]) -> str:
    inner = field.type.value_type if pa.types.is_list(field.type) else field.type
    parts = ": " + ", ".join(part.name for part in inner) if pa.types.is_struct(inner) else ""
    words = _WORDS.get(field.name)
    if words is None:
        return f"{field.name}{f' ({parts[2:]})' if parts else ''}"
    return f"{words} ({field.name}{parts})"


def _camera(store: StoreConfig, camera: CameraConfig) -> str:
    lines = [f"{store.id}/{camera.id}: {redact(camera.source)}"]
    staff = [z.id for z in camera.zones if z.kind == "staff"]
    masks = [z.id for z in camera.zones if z.kind == "mask"]
    others = [f"{z.id} ({z.kind})" for z in camera.zones if not z.hidden]
    for label, ids, without in (
        ("zones", others, "none"),
        ("staff zones", staff, "NONE: workers in the picture would be analysed"),
        ("masks", masks, "none: no part of the picture is blacked out"),
    ):
        lines.append(_text(f"{label}: {', '.join(ids) or without}", "  ", "      "))
    return "\n".join(lines)


def _without_staff(config: ChainConfig) -> Iterator[str]:
    cameras = [camera for _, camera in config.cameras()]
    bare = [c.id for c in cameras if not any(z.kind == "staff" for z in c.zones)]
    if bare:
        yield _text(
            f"WARNING: no staff zone on {', '.join(bare)}. Workers whom such a camera sees would be analysed. In the "
            "EU, AI systems that infer emotions of people at their workplace are prohibited, except for medical or "
            "safety reasons (AI Act, Art. 5(1)(f)). Draw a staff zone or a mask wherever workers can be seen, or turn "
            "the camera; `risa zones CONFIG --camera ID` shows the result. Service and checkout zones do not do "
            "that: who stands in one is analysed."
        )
    if len(bare) < len(cameras):
        yield _text(
            "A face whose box has its centre in a staff zone is dropped before its expression is read, and a track "
            "that stays in one for a second is left out from then on, for as long as the camera follows it. A worker "
            "who walks among customers, and has not been followed there from a staff zone, is analysed like them."
        )


def _access(config: ChainConfig) -> Iterator[str]:
    k = config.privacy.k
    if k > 1:
        yield _text(
            f"k-floor {k}: the views show no figure about fewer than {k} people, and refuse those whose rows are "
            "single people. Head counts (how many are in the picture) are the exception."
        )
    else:
        yield _text("k-floor 1: THERE IS NO FLOOR. The views show single people. The default is 10.")
    yield _text(
        "`--raw` (`raw=True` in Python) shows everything to whoever can read the data. The floor is a guard rail, "
        "not access control: the permissions of the data decide."
    )
    where = redact(config.data) if is_url(config.data) else os.path.normpath(config.data)
    yield _text(f"Data: {where}. {_permissions(config.data)}")
    yield _text(
        "The live page, the API, live figures, alerts and events obey the floor, but for head counts and the time that "
        "people stand in a queue. The live page draws people as dots, with apparent expressions from k people in the "
        f"picture on. {_recipients(config)}`risa annotate` writes pictures of a file that whoever runs "
        "it has anyway; `risa zones` writes one still with the faces it finds blurred."
    )
    shown = _shown(config)
    if shown:
        yield _text(
            f"PICTURES ARE SHOWN of {', '.join(shown)} (`blurred_picture: true`): whoever may open the live page can "
            "watch them, 480 pixels wide, the faces that are found blurred, masks and staff zones black. A face that "
            "is not found (turned away, covered) is not blurred, and clothes and gait stay. Nothing of it is stored."
        )


def _shown(config: ChainConfig) -> list[str]:
    """Cameras whose picture may be watched."""
    return [camera.id for _, camera in config.cameras() if camera.blurred_picture]


def _recipients(config: ChainConfig) -> str:
    """Where alerts go, besides the tables."""
    if not config.channels:
        return ""
    names = ", ".join(f"{channel.id} ({channel.kind})" for channel in config.channels)
    return f"Alerts are also sent to: {names}; who reads them there is yours to decide. "


def _permissions(data: str) -> str:
    """Who can read the data folder, as far as this machine can tell."""
    if is_url(data):
        return "Who reads the bucket is decided by its policies; have it encrypted and not public."
    try:
        mode = Path(data).stat().st_mode
    except OSError:
        return "The folder does not exist yet; make it before the first run, with chmod 700."
    if mode & (stat.S_IROTH | stat.S_IXOTH):
        who = "OTHER USERS OF THE MACHINE CAN OPEN IT; chmod 700 closes it"
    elif mode & (stat.S_IRGRP | stat.S_IXGRP):
        who = "its owner and its group can open it"
    else:
        who = "only its owner can open it"
    return f"Permissions {stat.S_IMODE(mode):04o}: {who}."


def _title(text: str) -> str:
    return f"{text}\n{'=' * len(text)}"


def _text(text: str, first: str = "", following: str = "") -> str:
    return textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=following, break_on_hyphens=False)
