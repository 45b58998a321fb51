"""The script of the demo: who is where, how large, with which expression; and the picture of a moment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from risa_ray.frames import Image
from risa_ray.sources.demo.backdrop import HEIGHT, THEMES, WIDTH, backdrop, counter
from risa_ray.sources.demo.expressions import CROP, SCRIPTED, Expression, blend
from risa_ray.sources.demo.people import BEHIND, FRONT, LOOKS, Layer, Look, body_layers, head_layer, placement

VIEWS = ("front", "side")
DEMO_SECONDS = 20.0
CHANGE_S = 0.5
"""Seconds that a change of expression takes."""

_STEPS = 8  # shades of a change, so that painted heads can be kept


@dataclass(frozen=True, slots=True)
class Role:
    """One person's part.

    Attributes:
        path: time, x and y of the face's centre, its width, turn; in between, positions follow smoothly.
        moods: time, expression from then on.
    """

    path: tuple[tuple[float, float, float, float, float], ...]
    moods: tuple[tuple[float, str], ...]


_FRONT = (
    Role(  # comes in, finds something at the shelf, leaves pleased towards the camera
        (
            (0.0, -110, 205, 82, 3), (1.6, 118, 205, 82, 2), (2.8, 124, 205, 82, 0), (5.4, 535, 196, 92, 0),
            (14.0, 542, 196, 92, -2), (17.0, 590, 900, 150, 0),
        ),
        ((0, "neutral"), (6.2, "surprise"), (8.8, "happiness")),
    ),
    Role(  # complains at the service desk, and is helped in the end
        (
            (0.0, 1080, 218, 104, -4), (1.2, 826, 218, 104, -2), (2.4, 812, 218, 104, 0), (17.2, 812, 218, 104, 0),
            (19.2, 1110, 216, 104, 4),
        ),
        ((0, "neutral"), (2.4, "anger"), (8.2, "sadness"), (12.4, "neutral"), (14.2, "happiness")),
    ),
    Role(  # does not find what she looks for at first
        (
            (5.6, -110, 212, 80, 3), (7.2, 122, 212, 80, 1), (8.2, 128, 212, 80, 0), (10.2, 346, 188, 84, 1),
            (17.6, 352, 188, 84, 0), (20.0, 300, 860, 140, -2),
        ),
        ((0, "neutral"), (10.4, "sadness"), (13.6, "surprise"), (15.4, "happiness")),
    ),
    Role(  # looks in at the door
        ((12.6, -120, 200, 86, 3), (14.2, 118, 200, 86, 1), (18.0, 126, 200, 86, -1), (19.8, -120, 200, 86, -4)),
        ((0, "happiness"), (15.6, "neutral")),
    ),
)  # fmt: skip


def _seen_from_the_side(role: Role) -> Role:
    """The same person from the other camera: on the other side of the picture, somewhat smaller and turned."""
    return Role(
        tuple((t, 972 - x, 236 + (y - 200) * 0.92, size * 0.92, 4.5 - turn) for t, x, y, size, turn in role.path),
        role.moods,
    )


_ROLES = {"front": _FRONT, "side": tuple(_seen_from_the_side(r) for r in _FRONT)}


def _zone(view: str, id_: str, kind: str, left: float, right: float, name: str, **more: Any) -> dict[str, Any]:
    if view == "side":
        left, right = round(1 - right, 2), round(1 - left, 2)
    corners = ((left, 0.16), (right, 0.16), (right, 0.72), (left, 0.72))
    return {"id": id_, "kind": kind, "name": name, "polygon": [list(c) for c in corners], **more}


DEMO_ZONES: dict[str, list[dict[str, Any]]] = {
    view: [
        _zone(view, "entrance", "entrance", 0.0, 0.23, "Entrance"),
        _zone(view, "shelf", "product", 0.28, 0.66, title, tags=list(tags)),
        _zone(view, "service", "service", 0.72, 1.0, "Service desk"),
    ]
    for view, title, tags in (
        ("front", "Coffee and tea shelf", ("coffee", "tea")),
        ("side", "New arrivals shelf", ("new", "seasonal")),
    )
}
"""Zones of each view, ready for `ZoneConfig`."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """One person in one picture."""

    look: Look
    face: tuple[float, float]
    size: float
    tilt: float
    turn: float
    expression: Expression


def appearances(view: str, t: float, seed: int = 0) -> list[Appearance]:
    """Who is in the scene at `t` seconds, the farthest first. After `DEMO_SECONDS` the scene starts over.

    Args:
        seed: deals the looks out to the roles anew.
    """
    moment = t % DEMO_SECONDS
    casts = list(permutations(LOOKS))
    # 7 has no factor in common with the 24 casts, so seeds 0 to 23 are all different, and 0 is the script's own
    cast = casts[7 * seed % len(casts)]
    found = [
        appearance
        for role, look in zip(_ROLES[view], cast, strict=True)
        if (appearance := _appear(role, look, moment)) is not None
    ]
    return sorted(found, key=lambda a: a.size)


def _appear(role: Role, look: Look, t: float) -> Appearance | None:
    if not role.path[0][0] <= t <= role.path[-1][0]:
        return None
    later = next(i for i in range(1, len(role.path)) if t <= role.path[i][0])
    a, b = role.path[later - 1], role.path[later]
    share = (t - a[0]) / (b[0] - a[0])
    eased = share * share * (3 - 2 * share)
    x, y, size, turn = (p + (q - p) * eased for p, q in zip(a[1:], b[1:], strict=True))
    walking = min(1.0, math.hypot(b[1] - a[1], b[2] - a[2]) / (b[0] - a[0]) / 60)
    phase = 2 * math.pi * t + a[0] + role.path[0][1]
    bob = 0.018 * size * walking * math.sin(1.9 * phase)
    sway = 0.02 * size * math.sin(0.21 * phase)
    tilt = 1.6 * math.sin(0.17 * phase) + walking * math.sin(0.95 * phase)
    # steps that the eye does not see, so that the same painted head serves many pictures
    return Appearance(look, (x + sway, y + bob), size, tilt, round(turn * 2) / 2, _mood(role, t))


def _mood(role: Role, t: float) -> Expression:
    now = max(i for i in range(len(role.moods)) if role.moods[i][0] <= t)
    share = min(1.0, (t - role.moods[now][0]) / CHANGE_S)
    before = role.moods[max(0, now - 1)][1]
    return blend(SCRIPTED[before], SCRIPTED[role.moods[now][1]], round(share * _STEPS) / _STEPS)


def render(view: str, t: float, seed: int = 0) -> Image:
    """The picture of a view at `t` seconds: RGB uint8 (540, 960, 3), a pure function of its arguments."""
    picture = backdrop(view).copy()
    for person in appearances(view, t, seed):
        light = THEMES[view].light
        back, front = body_layers(person.look, light)
        head = head_layer(person.look, light, person.expression, person.turn)
        for layer, box in ((back, BEHIND), (head, CROP), (front, FRONT)):
            _paste(picture, layer, placement(person.look, box, person.face, person.size, person.tilt))
    desk = counter(view)
    _over(picture[340:], desk[340:])
    return picture


def _paste(picture: Image, layer: Layer, affine: npt.NDArray[np.float32]) -> None:
    """Draw a layer into the picture."""
    rows, columns = layer.shape[:2]
    corners = np.array(((0, 0), (columns, 0), (0, rows), (columns, rows)), np.float32) @ affine[:, :2].T + affine[:, 2]
    left, top = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)), (WIDTH, HEIGHT)).astype(int)
    if left >= right or top >= bottom:
        return
    local = affine.copy()
    local[:, 2] -= left, top
    warped = cv2.warpAffine(layer, local, (int(right - left), int(bottom - top)), flags=cv2.INTER_LINEAR)
    _over(picture[top:bottom, left:right], warped)


def _over(picture: Image, layer: npt.NDArray[Any]) -> None:
    """Porter and Duff's `over` (1984), for a premultiplied layer, in place."""
    clear = cv2.cvtColor(255 - layer[..., 3], cv2.COLOR_GRAY2RGB)
    picture[:] = cv2.add(cv2.multiply(picture, clear, scale=1 / 255), layer[..., :3])
