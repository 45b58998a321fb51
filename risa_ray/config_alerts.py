"""The alert rules of a config file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from risa_ray.config_base import Identifier, Model


class AlertRule(Model):
    """Fires when a rolling figure is past its threshold for `for_s`, in each camera or zone in scope.

    `figure`: people, net_sentiment, negative_share, unknown_share, delay_p95_s. Give `above` or `below`.
    `camera` and `zone` narrow the scope; with a zone (or `per: zone`) the figure is that of the zone.
    """

    id: Identifier
    figure: Literal["people", "net_sentiment", "negative_share", "unknown_share", "delay_p95_s"]
    above: float | None = None
    below: float | None = None
    camera: str | None = None
    zone: str | None = None
    per: Literal["camera", "zone"] = "camera"
    window_s: float = Field(default=60, gt=0, le=3600)
    for_s: float = Field(default=0, ge=0)
    min_tracks: int = Field(default=1, ge=1)
    cooldown_s: float = Field(default=60, ge=0)
    severity: Literal["info", "warning", "critical"] = "warning"
    text: str = ""

    @model_validator(mode="after")
    def _one_threshold(self) -> AlertRule:
        if (self.above is None) == (self.below is None):
            raise ValueError(f"alert {self.id}: give either 'above' or 'below'")
        return self
