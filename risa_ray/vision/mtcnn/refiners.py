"""R-Net and O-Net on a CPU, with facenet-pytorch's weights."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from risa_ray.vision.mtcnn.refiner_loops import LANES, Floats, onet_heads, rnet_heads


class Refiner:
    """R-Net or O-Net; several threads may call it at a time.

    Attributes:
        side: of the crops that it takes, in pixels.
        batch: crops that it takes at a time at most.
    """

    def __init__(self, run: Callable[..., Floats], layers: Any, side: int, batch: int, areas: tuple[int, int, int]):
        self.side, self.batch = side, batch
        self._run, self._layers, self._areas = run, layers, areas
        self._local = threading.local()
        for n in range(1, batch + 1):  # compiled then; areas too small for any number would raise an error
            self(np.zeros((n, 3, side, side), np.float32))

    def __call__(self, crops: Floats) -> Floats:
        """Of crops (n, 3, side, side) the face's probability, how far its box moves, and its landmarks.

        Returns:
            (n, 15): the probability; four and ten numbers in sides of the crop, the last ten of O-Net only.

        Raises:
            ValueError: there are more crops than `batch`.
        """
        if len(crops) > self.batch:
            raise ValueError(f"{len(crops)} crops are more than a batch of {self.batch}")
        if not hasattr(self._local, "areas"):
            self._local.areas = [_aligned(size) for size in self._areas]
        heads: Floats = self._run(crops, self._layers, *self._local.areas)
        with np.errstate(over="ignore"):  # a probability of zero
            heads[:, 1] = 1 / (1 + np.exp(heads[:, 0] - heads[:, 1]))
        return heads[:, 1:]


@cache
def rnet() -> Refiner:
    """R-Net with facenet-pytorch's weights."""
    from facenet_pytorch.models.mtcnn import RNet

    return Refiner(rnet_heads, _layers(RNet(), 4), 24, 48, (500_000, 28 * 11 * 12 * 48, 48 * 4 * 4 * 48))


@cache
def onet() -> Refiner:
    """O-Net with facenet-pytorch's weights."""
    from facenet_pytorch.models.mtcnn import ONet

    return Refiner(onet_heads, _layers(ONet(), 5), 48, 24, (900_000, 32 * 23 * 24 * 24, 64 * 10 * 12 * 24))


def _aligned(size: int) -> Floats:
    """Room for numbers that begins with a cache line."""
    room: Floats = np.empty(size + LANES, np.float32)
    start = int(-room.ctypes.data % (4 * LANES)) // 4
    return room[start : start + size]


def _winograd(weights: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The weights of a convolution (m, c, 3, 3) as the loops take them, (25, m, c)."""
    transform = np.array([[3, 0, 0], [-3, -3, -3], [-1, 1, -1], [1, 2, 4], [0, 0, 6]]) / 6
    factors: npt.NDArray[Any] = np.einsum("ik,mckl,jl->ijmc", transform, weights, transform)
    return factors.reshape(25, *weights.shape[:2])


def _layers(module: Any, dense: int) -> tuple[tuple[Floats, ...], ...]:
    """Weights, bias and PReLU's slopes of each layer, and the heads side by side, as the loops take them.

    Args:
        module: facenet-pytorch's RNet or ONet: convolutions, the last of 2x2 and the others of 3x3, a dense layer,
            heads.
        dense: the number of the dense layer.
    """
    state = {name: value.numpy() for name, value in module.state_dict().items()}
    first, square, full = (state[f"{name}.weight"] for name in ("conv1", f"conv{dense - 1}", f"dense{dense}"))
    weights = [
        np.pad(first.transpose(0, 2, 1, 3).reshape(len(first), 27), ((0, 0), (0, 1))),
        *(_winograd(state[f"conv{i}.weight"]) for i in range(2, dense - 1)),
        square.reshape(len(square), -1),
        # The features that facenet-pytorch's dense layer takes are of each column, row and channel.
        full.reshape(len(full), 3, 3, len(square)).transpose(3, 2, 1, 0).reshape(-1, len(full)),
    ]
    names = [*(f"conv{i}" for i in range(1, dense)), f"dense{dense}"]
    layers = [
        (weight, state[f"{name}.bias"], state[f"prelu{i}.weight"])
        for i, (weight, name) in enumerate(zip(weights, names, strict=True), 1)
    ]
    heads = [name for name in state if name.startswith(f"dense{dense + 1}_")]
    last = np.concatenate([state[name] for name in heads if name.endswith("weight")])
    bias = np.concatenate([state[name] for name in heads if name.endswith("bias")])
    spare = 16 - len(bias)
    return tuple(
        tuple(np.ascontiguousarray(part, np.float32) for part in layer)
        for layer in (*layers, (np.pad(last, ((0, spare), (0, 0))).T, np.pad(bias, (0, spare))))
    )
