"""The expression network: a small residual CNN over one grey face picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

FACE_SIZE = 48
"""Side of the square grey picture that the network reads, in pixels."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2016, post-activation)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False),
                nn.BatchNorm2d(channels_out),
            )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class ExpressionNet(nn.Module):
    """ResNet for 48x48 grey faces.

    A 3x3 stem and no max pool, since a face has only 48 pixels to give. Adaptive pooling at the end, so that other
    input sizes work as well.

    Args:
        widths: channels of each stage; every stage after the first halves the resolution.
        blocks: residual blocks per stage.
        classes: number of expressions.
        dropout: before the classifier, in training only.
        labels: classes of a second head on the same features, 0 for none; the original FER-2013 labels have 7.
        stem: channels of a residual block at full resolution, before the first stage halves it; 0 for none, then the
            stem's convolution halves it.
    """

    def __init__(
        self,
        widths: Sequence[int] = (24, 48, 96, 192),
        blocks: int = 2,
        classes: int = 8,
        dropout: float = 0.3,
        labels: int = 0,
        stem: int = 0,
    ) -> None:
        super().__init__()
        channels = stem or widths[0]
        layers: list[nn.Module] = [
            nn.Conv2d(1, channels, 3, 1 if stem else 2, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        ]
        if stem:
            layers.append(ResidualBlock(stem, stem, 1))
        for stage, width in enumerate(widths):
            for block in range(blocks):
                layers.append(ResidualBlock(channels, width, 2 if (stage or stem) and block == 0 else 1))
                channels = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, classes)
        )
        self.label_head = nn.Linear(channels, labels) if labels else None

    def forward(self, x: Tensor) -> Tensor:
        """Logits, float (n, classes), of faces float (n, 1, H, W) as `classifier.normalise` makes them."""
        return self.head(self.features(x))  # type: ignore[no-any-return]

    def both_heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of both heads, float (n, classes) and (n, labels), for a network that has the second."""
        pooled = self.head[:3](self.features(x))
        assert self.label_head is not None
        return self.head[3](pooled), self.label_head(pooled)
