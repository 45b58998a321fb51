"""Frames on a GPU, of which levels of the pyramid and crops are resampled.

Area resampling takes differences of one table of running sums (a summed-area table, Crow 1984; Viola and Jones 2001),
which serves all levels and all crops.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from risa_ray.vision.mtcnn.gpu_suppression import Boxes
from risa_ray.vision.mtcnn.pyramid import Level


class Batch:
    """Frames of one size as a table of running sums.

    Args:
        frames: uint8 (n, H, W, 3).
    """

    def __init__(self, frames: Tensor) -> None:
        self.frames, self.height, self.width, _ = frames.shape
        planes = frames.permute(0, 3, 1, 2).contiguous()
        # A window's sum is a difference, right even where the sums have wrapped around.
        self._sums = torch.zeros(
            (self.frames, 3, self.height + 1, self.width + 1), dtype=torch.int32, device=frames.device
        )
        self._sums[:, :, 1:, 1:] = planes.cumsum(3, dtype=torch.int32).cumsum(2, dtype=torch.int32)

    def level(self, level: Level) -> Tensor:
        """A level of the pyramid as P-Net takes it, float32 (n, 3, h, w): (mean - 127.5) / 128."""
        top, bottom = self._windows(self.height, level.height)
        left, right = self._windows(self.width, level.width)
        rows = self._sums[:, :, bottom] - self._sums[:, :, top]
        sums = rows[..., right] - rows[..., left]
        return _normal(sums, (bottom - top)[:, None] * (right - left))

    def _windows(self, size: int, parts: int) -> tuple[Tensor, Tensor]:
        """Where the windows of adaptive average pooling begin and end; they may overlap."""
        edges = torch.arange(parts + 1, device=self._sums.device) * size
        return edges[:-1] // parts, -(-edges[1:] // parts)

    def see(self, boxes: Boxes, network: nn.Module, side: int, at_a_time: int) -> tuple[Tensor, list[Tensor]]:
        """Which boxes (n,) have anything in their frame, and a network's answers to what is in them."""
        limit = torch.tensor([self.width, self.height], device=self._sums.device)
        ends = boxes.corners.long()  # towards zero; the first pixel is number 1, as in Matlab
        begins = torch.minimum(ends[:, :2].clamp(min=1) - 1, limit)
        ends = torch.minimum(ends[:, 2:].clamp(min=0), limit)
        inside = (ends > begins).all(1)
        ends = torch.maximum(ends, begins)
        answers = []
        for first in range(0, max(1, len(begins)), at_a_time):
            part = slice(first, first + at_a_time)
            pictures = self._cut(boxes.frame[part], begins[part], ends[part], side)
            # A few sizes of batches: the card plans its work for each size anew, and keeps the plans.
            blank = pictures.new_zeros((round_up(len(pictures)) - len(pictures), 3, side, side))
            answers.append([answer[: len(pictures)] for answer in network(torch.cat([pictures, blank]))])
        return inside, [torch.cat(several) for several in zip(*answers, strict=True)]

    def _cut(self, frame: Tensor, begins: Tensor, ends: Tensor, side: int) -> Tensor:
        """Parts of the frames, area-resampled to squares as the networks take them, float32 (n, 3, side, side).

        Args:
            frame: (n,).
            begins, ends: (n, 2), x and y in pixels within the frame; what is empty gives nothing of use.
        """
        step, size = torch.arange(side, device=frame.device), (ends - begins)[..., None]
        first = begins[..., None] + step * size // side
        last = begins[..., None] - (-(step + 1) * size // side)
        (left, top), (right, bottom) = first.unbind(1), last.unbind(1)
        n, plane = frame[:, None, None, None], torch.arange(3, device=frame.device)[None, :, None, None]

        def sums(y: Tensor, x: Tensor) -> Tensor:
            return self._sums[n, plane, y[:, None, :, None], x[:, None, None, :]]

        counts = (bottom - top)[:, None, :, None] * (right - left)[:, None, None, :]
        return _normal(sums(bottom, right) - sums(top, right) - sums(bottom, left) + sums(top, left), counts)


def _normal(sums: Tensor, counts: Tensor) -> Tensor:
    return (sums / counts.clamp(min=1) - 127.5) * 0.0078125


def round_up(count: int) -> int:
    """The next power of two up to 256, beyond it the next multiple of 256; 1 at least."""
    return -(-count // 256) * 256 if count > 256 else 1 << max(0, count - 1).bit_length()
