"""What `POST /v1/analyze` may take in, and what it is analysed with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from risa_ray.config_base import Model


class UploadLimits(Model):
    """What may come in. More is refused before it costs anything."""

    max_mb: float = Field(default=20, gt=0, le=512, description="size of an upload, in 10^6 bytes")
    upload_s: float = Field(default=30, gt=0, le=600, description="an upload that takes longer to come in is refused")
    picture_pixels: int = Field(default=40_000_000, ge=1024, le=80_000_000, description="width x height of a picture")
    clip_pixels: int = Field(default=3840 * 2160, ge=1024, le=40_000_000, description="width x height of a clip")
    clip_s: float = Field(default=10, gt=0, le=120, description="length of a clip")
    clip_fps: float = Field(default=5, gt=0, le=60, description="pictures a second that are analysed of a clip")
    max_width: int = Field(default=1920, ge=64, description="wider pictures are reduced before analysis")
    decode_s: int = Field(default=20, ge=1, le=600, description="CPU time of decoding one upload")
    decode_mb: int = Field(default=1000, ge=256, description="memory for decoding one upload, in 10^6 bytes")

    @property
    def max_bytes(self) -> int:
        """Bytes of an upload."""
        return int(self.max_mb * 1e6)


class AnalyzeConfig(Model):
    """Models and capacity of `POST /v1/analyze`.

    `gpus` of a replica: a share of one lets a running job keep the rest. None: a quarter where the cluster has that
    free, else the CPU. `waiting`: uploads taken in at a time, from their first byte to their answer; one more is told
    to come back later.
    """

    model: str = Field(default="default", description="a name under models/, or a path")
    detector: Literal["mtcnn", "haar", "dlib"] = "mtcnn"
    min_face_size: int = Field(default=40, ge=12, description="in pixels of the analysed picture")
    replicas: int = Field(default=1, ge=1)
    gpus: float | None = Field(default=None, ge=0)
    threads: int | None = Field(default=None, ge=1, description="of a replica on a CPU; None: the node's cores")
    max_batch: int = Field(default=8, ge=1, le=256, description="uploads in one call of the models")
    batch_wait_ms: float = Field(default=2, ge=0, le=1000, description="how long one upload waits for company")
    waiting: int = Field(default=32, ge=1, le=1024)
    answer_s: float = Field(default=60, gt=0, le=600, description="an analysis that takes longer is given up")
    uploads: UploadLimits = UploadLimits()
