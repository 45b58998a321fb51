"""What `POST /v1/analyze` answers; names and units are those of table `observations` (docs/views.md)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from risa_ray.serving.models import Answer


class FaceSeen(Answer):
    """A face and its apparent expression.

    `box`: x1 y1 x2 y2 in pixels of the upright upload; it may reach beyond the picture. `person`: tells people of one
    clip apart, from 1 by first appearance, and nothing else. `expression` is `unknown` where `abstain_reason` says why
    it cannot be read; `probabilities` are given all the same.
    """

    person: int
    box: tuple[float, float, float, float]
    score: float
    yaw_deg: float | None
    expression: str
    abstain_reason: Literal["too_small", "turned_away", "low_confidence"] | None
    confidence: float
    valence: float
    probabilities: dict[str, float]


class FrameSeen(Answer):
    """An analysed picture: of a clip one of every so many, `pts` seconds after its first."""

    pts: float
    width: int
    height: int
    faces: list[FaceSeen] = Field(description="by falling score")


class Analysis(Answer):
    """Faces and apparent expressions of a picture or a clip. `undecoded`: pictures of a clip that are damaged."""

    frames: list[FrameSeen]
    undecoded: int
    model_id: str
    detector: str
