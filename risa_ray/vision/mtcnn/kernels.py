"""The inner loops of MTCNN on a CPU, compiled by Numba; each releases the interpreter's lock.

A level of the image pyramid is never held: its rows are averaged out of the frame one by one and pass through P-Net's
layers in rings of three rows, which stay in the processor's caches.

Functions that call each other are in one module: Numba keeps what it has compiled until the file of the caller changes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from risa_ray.vision.mtcnn.compiled import compiled

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@compiled
def _windows(size: int, parts: int) -> tuple[Ints, Ints, Floats]:
    """Adaptive average pooling of `size` pixels to `parts`: where each window begins and ends, and 1 / its length.

    The windows overlap where `size` is no multiple of `parts`.
    """
    begin, end, inverse = np.empty(parts, np.int64), np.empty(parts, np.int64), np.empty(parts, np.float32)
    for i in range(parts):
        begin[i] = i * size // parts
        end[i] = -(-(i + 1) * size // parts)
        inverse[i] = np.float32(1) / np.float32(end[i] - begin[i])
    return begin, end, inverse


@compiled
def _average_row(
    pixels: Bytes,
    top: int,
    bottom: int,
    left: int,
    right: int,
    begin: Ints,
    end: Ints,
    inverse: Floats,
    sums: npt.NDArray[np.int32],
    out: Floats,
    slot: int,
) -> None:
    """One row of an area-resampled picture, as the networks take it: (mean of the window - 127.5) / 128.

    Args:
        pixels: a picture uint8 (H, W, 3), as (H, W * 3).
        top, bottom, left, right: the rows that the row averages, and the columns that the picture has.
        begin, end, inverse: its `_windows`, counted from `left`.
        sums: room for (right - left + 1) * 3 numbers.
        out: float32 (3, slots, n); row `slot` is written.
    """
    first, size = 3 * left, 3 * (right - left)
    # Sliced, since Numba cannot tell that `first` is not negative and would look at every index.
    row = pixels[top, first : first + size]
    for x in range(size):
        sums[x + 3] = row[x]
    for y in range(top + 1, bottom):
        row = pixels[y, first : first + size]
        for x in range(size):
            sums[x + 3] += row[x]
    # Summed up to each column: a window's sum is a difference, right even where the sums have wrapped around.
    a = b = c = np.int32(0)
    sums[0] = sums[1] = sums[2] = 0
    for x in range(3, size + 3, 3):
        a += sums[x]
        b += sums[x + 1]
        c += sums[x + 2]
        sums[x], sums[x + 1], sums[x + 2] = a, b, c
    scale = np.float32(0.0078125) / np.float32(bottom - top)
    for i in range(len(begin)):
        p, q, weight = 3 * begin[i], 3 * end[i], scale * inverse[i]
        out[0, slot, i] = np.float32(np.int32(sums[q] - sums[p])) * weight - np.float32(0.99609375)
        out[1, slot, i] = np.float32(np.int32(sums[q + 1] - sums[p + 1])) * weight - np.float32(0.99609375)
        out[2, slot, i] = np.float32(np.int32(sums[q + 2] - sums[p + 2])) * weight - np.float32(0.99609375)


@compiled
def _convolve_row(
    rows: Floats, first: int, weights: Floats, bias: Floats, slope: Floats, out: Floats, slot: int, width: int
) -> None:
    """One row of a 3x3 convolution and its PReLU.

    Args:
        rows: float32 (in, 3, W), a ring of three rows of which `first` is the uppermost.
        weights, bias, slope: (out, in, 3, 3), (out,), (out,); the number of channels that come out is even.
        out: float32 (out, slots, >= width); row `slot` is written.
    """
    i, j, k = first, (first + 1) % 3, (first + 2) % 3
    channels = weights.shape[1]
    # Two channels out at a time use each number loaded twice, and their 18 weights stay in registers.
    for o in range(0, weights.shape[0], 2):
        bias0, bias1 = bias[o], bias[o + 1]
        for x in range(width):
            out[o, slot, x] = bias0
            out[o + 1, slot, x] = bias1
        for c in range(channels):
            a0, a1, a2 = weights[o, c, 0, 0], weights[o, c, 0, 1], weights[o, c, 0, 2]
            a3, a4, a5 = weights[o, c, 1, 0], weights[o, c, 1, 1], weights[o, c, 1, 2]
            a6, a7, a8 = weights[o, c, 2, 0], weights[o, c, 2, 1], weights[o, c, 2, 2]
            b0, b1, b2 = weights[o + 1, c, 0, 0], weights[o + 1, c, 0, 1], weights[o + 1, c, 0, 2]
            b3, b4, b5 = weights[o + 1, c, 1, 0], weights[o + 1, c, 1, 1], weights[o + 1, c, 1, 2]
            b6, b7, b8 = weights[o + 1, c, 2, 0], weights[o + 1, c, 2, 1], weights[o + 1, c, 2, 2]
            for x in range(width):
                v0, v1, v2 = rows[c, i, x], rows[c, i, x + 1], rows[c, i, x + 2]
                v3, v4, v5 = rows[c, j, x], rows[c, j, x + 1], rows[c, j, x + 2]
                v6, v7, v8 = rows[c, k, x], rows[c, k, x + 1], rows[c, k, x + 2]
                out[o, slot, x] += (
                    a0 * v0 + a1 * v1 + a2 * v2 + a3 * v3 + a4 * v4 + a5 * v5 + a6 * v6 + a7 * v7 + a8 * v8
                )
                out[o + 1, slot, x] += (
                    b0 * v0 + b1 * v1 + b2 * v2 + b3 * v3 + b4 * v4 + b5 * v5 + b6 * v6 + b7 * v7 + b8 * v8
                )
        slope0, slope1 = slope[o], slope[o + 1]
        for x in range(width):
            v = out[o, slot, x]
            out[o, slot, x] = v if v > 0 else v * slope0
            v = out[o + 1, slot, x]
            out[o + 1, slot, x] = v if v > 0 else v * slope1


_LANES = 16
"""Numbers that a register holds at most, and a cache line: rows are as many of these as they need and begin with one,
which makes the loops a third faster. What lies behind a row's last column is computed too and never read."""


@compiled
def _whole(columns: int) -> int:
    """The columns that a row has room for."""
    return -(-columns // _LANES) * _LANES


@compiled
def _aligned(size: int) -> Floats:
    """Zeros that begin with a cache line."""
    room = np.zeros(size + _LANES, np.float32)
    start = (-room.ctypes.data % (4 * _LANES)) // 4
    return room[start : start + size]


def winograd(weights: Floats) -> Floats:
    """The weights of a 3x3 convolution (out, in, 3, 3) as `_multiply_row` takes them, (out, in, 4, 3).

    F(2, 3) along the row: two outputs of three taps from four products and not six (Winograd 1980; Lavin and Gray
    2016), an input row being transformed once for all channels out.
    """
    left, middle, right = weights[..., 0], weights[..., 1], weights[..., 2]
    kinds: list[npt.NDArray[Any]] = [left, (left + middle + right) / 2, (left - middle + right) / 2, right]
    return np.ascontiguousarray(np.stack(kinds, 2), np.float32)


@compiled
def _transform_row(rows: Floats, slot: int, out: Floats, out_slot: int) -> None:
    """A row of float32 (channels, slots, >= 2 * T + 2) as `_multiply_row` takes it: (channels, 4, slots, T)."""
    for c in range(out.shape[0]):
        for t in range(out.shape[3]):
            d0, d1, d2, d3 = (
                rows[c, slot, 2 * t],
                rows[c, slot, 2 * t + 1],
                rows[c, slot, 2 * t + 2],
                rows[c, slot, 2 * t + 3],
            )
            out[c, 0, out_slot, t] = d0 - d2
            out[c, 1, out_slot, t] = d1 + d2
            out[c, 2, out_slot, t] = d2 - d1
            out[c, 3, out_slot, t] = d1 - d3


@compiled
def _multiply_row(
    rows: Floats, first: int, weights: Floats, bias: Floats, slope: Floats, sums: Floats, out: Floats, slot: int
) -> None:
    """One row of a 3x3 convolution and its PReLU, from rows and weights that are transformed.

    Args:
        rows: float32 (in, 4, 3, T), a ring of three rows of which `first` is the uppermost.
        weights, bias, slope: (out, in, 4, 3), (out,), (out,); the number of channels that come out is a multiple of 4.
        sums: room for (4, 4, T).
        out: float32 (out, slots, >= 2 * T); row `slot` is written.
    """
    i, j, k = first, (first + 1) % 3, (first + 2) % 3
    for o in range(0, weights.shape[0], 4):
        sums[:] = 0
        for c in range(weights.shape[1]):
            for n in range(4):
                # Four channels out at a time use each number loaded four times, and their weights stay in registers.
                a0, a1, a2 = weights[o, c, n, 0], weights[o, c, n, 1], weights[o, c, n, 2]
                b0, b1, b2 = weights[o + 1, c, n, 0], weights[o + 1, c, n, 1], weights[o + 1, c, n, 2]
                c0, c1, c2 = weights[o + 2, c, n, 0], weights[o + 2, c, n, 1], weights[o + 2, c, n, 2]
                d0, d1, d2 = weights[o + 3, c, n, 0], weights[o + 3, c, n, 1], weights[o + 3, c, n, 2]
                for t in range(rows.shape[3]):
                    v0, v1, v2 = rows[c, n, i, t], rows[c, n, j, t], rows[c, n, k, t]
                    sums[0, n, t] += a0 * v0 + a1 * v1 + a2 * v2
                    sums[1, n, t] += b0 * v0 + b1 * v1 + b2 * v2
                    sums[2, n, t] += c0 * v0 + c1 * v1 + c2 * v2
                    sums[3, n, t] += d0 * v0 + d1 * v1 + d2 * v2
        for p in range(4):
            bias_p, slope_p = bias[o + p], slope[o + p]
            for t in range(rows.shape[3]):
                m1, m2 = sums[p, 1, t], sums[p, 2, t]
                left = bias_p + sums[p, 0, t] + m1 + m2
                right = bias_p + m1 - m2 - sums[p, 3, t]
                out[o + p, slot, 2 * t] = left if left > 0 else left * slope_p
                out[o + p, slot, 2 * t + 1] = right if right > 0 else right * slope_p


@compiled
def _pool_row(rows: Floats, out: Floats) -> None:
    """One row of 2x2 max pooling of rows float32 (channels, 2, 2 * W) to `out` (channels, 1, >= W)."""
    for c in range(out.shape[0]):
        for x in range(rows.shape[2] // 2):
            upper = max(rows[c, 0, 2 * x], rows[c, 0, 2 * x + 1])
            lower = max(rows[c, 1, 2 * x], rows[c, 1, 2 * x + 1])
            out[c, 0, x] = max(upper, lower)


@compiled
def _collect_row(
    features: Floats,
    heads: Floats,
    bias: Floats,
    threshold: float,
    row: int,
    width: int,
    logit: Floats,
    found: Floats,
    count: int,
) -> int:
    """Enter the cells of a row, features float32 (32, 1, >= width), that may be faces; how many are entered then."""
    for x in range(len(logit)):
        logit[x] = bias[0]
    for c in range(features.shape[0]):
        weight = heads[0, c]
        for x in range(len(logit)):
            logit[x] += weight * features[c, 0, x]
    # A cell this far below the threshold needs no closer look.
    least = np.float32(math.log(threshold / (1 - threshold)) - 1e-3)
    for x in range(width):
        if logit[x] < least:
            continue
        probability = np.float32(1) / (np.float32(1) + np.float32(math.exp(-logit[x])))
        if probability < np.float32(threshold):
            continue
        found[count, 0], found[count, 1], found[count, 2] = x, row, probability
        for k in range(4):
            moved = bias[k + 1]
            for c in range(features.shape[0]):
                moved += heads[k + 1, c] * features[c, 0, x]
            found[count, 3 + k] = moved
        count += 1
    return count


@compiled
def propose(
    image: Bytes,
    height: int,
    width: int,
    top: int,
    bottom: int,
    threshold: float,
    w1: Floats,
    b1: Floats,
    s1: Floats,
    w2: Floats,
    b2: Floats,
    s2: Floats,
    w3: Floats,
    b3: Floats,
    s3: Floats,
    heads: Floats,
    head_bias: Floats,
) -> Floats:
    """P-Net over some rows of one level of the pyramid.

    Args:
        image: uint8 (H, W, 3).
        height, width: of the level, at least 12.
        top, bottom: rows of P-Net's answer, of (height - 2 + 1) // 2 - 4 in all.
        threshold: least probability of a face.
        w1, b1, s1 to w3, b3, s3: the convolutions, the second's and the third's weights as `winograd` gives them, and
            the slopes of their PReLUs.
        heads, head_bias: (5, 32) and (5,): the face's logit over the other's, then the four numbers that move the box.

    Returns:
        float32 (n, 7): column and row in the answer, probability, and the four numbers, of each cell above it.
    """
    frame_height, frame_width = image.shape[0], image.shape[1]
    pixels = image.reshape(frame_height, frame_width * 3)
    begin, end, inverse = _windows(frame_width, width)
    row_begin, row_end, _ = _windows(frame_height, height)
    pooled_width = (width - 1) // 2
    second_width, answer_width = pooled_width - 2, pooled_width - 4
    sums = np.empty(3 * frame_width + 3, np.int32)
    first_width = _whole(width - 2)
    level = _aligned(9 * (first_width + _LANES)).reshape((3, 3, first_width + _LANES))
    first = _aligned(w1.shape[0] * 2 * first_width).reshape((w1.shape[0], 2, first_width))
    second_pairs, answer_pairs = _whole((second_width + 1) // 2), _whole((answer_width + 1) // 2)
    row = _whole(2 * second_pairs + 2)
    pooled = _aligned(w1.shape[0] * row).reshape((w1.shape[0], 1, row))
    pooled_ring = _aligned(w1.shape[0] * 12 * second_pairs).reshape((w1.shape[0], 4, 3, second_pairs))
    second = _aligned(w2.shape[0] * row).reshape((w2.shape[0], 1, row))
    second_ring = _aligned(w2.shape[0] * 12 * answer_pairs).reshape((w2.shape[0], 4, 3, answer_pairs))
    third = _aligned(w3.shape[0] * 2 * answer_pairs).reshape((w3.shape[0], 1, 2 * answer_pairs))
    products = _aligned(16 * second_pairs).reshape((4, 4, second_pairs))
    logit = _aligned(2 * answer_pairs)
    found = np.empty((max(1, bottom - top) * answer_width, 7), np.float32)
    count, fetched = 0, 2 * top
    for row in range(top, bottom + 4):
        for half in range(2):
            y = 2 * row + half
            if y >= height - 2:
                first[:, half, :] = -np.inf
                continue
            while fetched <= y + 2:
                upper, lower = row_begin[fetched], row_end[fetched]
                _average_row(pixels, upper, lower, 0, frame_width, begin, end, inverse, sums, level, fetched % 3)
                fetched += 1
            _convolve_row(level, y % 3, w1, b1, s1, first, half, first_width)
            # The pooling's last window may have but one column.
            first[:, half, width - 2 : 2 * pooled_width] = -np.inf
        _pool_row(first, pooled)
        _transform_row(pooled, 0, pooled_ring, row % 3)
        if row >= top + 2:
            _multiply_row(pooled_ring, (row - 2) % 3, w2, b2, s2, products, second, 0)
            _transform_row(second, 0, second_ring, (row - 2) % 3)
        if row >= top + 4:
            _multiply_row(second_ring, (row - 4) % 3, w3, b3, s3, products, third, 0)
            count = _collect_row(third, heads, head_bias, threshold, row - 4, answer_width, logit, found, count)
    return found[:count].copy()


@compiled
def cut(image: Bytes, boxes: Ints, side: int) -> Floats:
    """Parts of a picture, area-resampled to squares as the networks take them.

    Args:
        image: uint8 (H, W, 3).
        boxes: (n, 4), x1 y1 x2 y2 in pixels within the picture, the ends excluded; none is empty.

    Returns:
        float32 (n, 3, side, side).
    """
    out = np.empty((len(boxes), 3, side, side), np.float32)
    pixels = image.reshape(image.shape[0], image.shape[1] * 3)
    width = 1
    for n in range(len(boxes)):
        width = max(width, boxes[n, 2] - boxes[n, 0])
    sums = np.empty(3 * width + 3, np.int32)
    for n in range(len(boxes)):
        x1, y1, x2, y2 = boxes[n]
        begin, end, inverse = _windows(x2 - x1, side)
        row_begin, row_end, _ = _windows(y2 - y1, side)
        for row in range(side):
            upper, lower = y1 + row_begin[row], y1 + row_end[row]
            _average_row(pixels, upper, lower, x1, x2, begin, end, inverse, sums, out[n], row)
    return out
