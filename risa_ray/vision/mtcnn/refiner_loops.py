"""The inner loops of R-Net and O-Net on a CPU, by Numba: all candidates of a batch side by side in the registers.

Every layer comes down to one product of matrices, `_multiply`, whose columns are places in the picture times
candidates: the first convolution and that of 2x2 by writing each window as a column, those of 3x3 by Winograd's
F(3x3, 3x3), nine numbers of the answer from 25 products and not 81 (Lavin and Gray, "Fast algorithms for convolutional
neural networks", 2016), a dense layer with the candidates as rows. Three by three fits R-Net's 9x9 and O-Net's 21x21,
and nearly its 8x8.

Pictures between the layers are float32 (channels, rows, columns * n): of each place the numbers of the `n` candidates.
The columns are dealt out by their remainder of 6, see `_place`, so that what the transforms and pooling read lies in a
row.

Functions that call each other are in one module: Numba keeps what it has compiled until the file of the caller changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from risa_ray.vision.mtcnn.compiled import compiled

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

Layer = tuple[Floats, Floats, Floats]
"""Weights, bias (m,), and the slopes (m,) of the PReLU that follows."""

LANES = 16
"""Numbers that a register holds at most, and a cache line: a matrix has as many columns of these as it needs."""

_COLUMNS = 352
"""Columns of Winograd's products, about: enough for the loop over them, and few enough for the processor's caches."""


@compiled
def _whole(columns: int) -> int:
    """The columns that a matrix has room for; what is in those behind is computed too and never read."""
    return -(-columns // LANES) * LANES


@compiled
def _take(area: Floats, begin: int, rows: int, columns: int) -> Floats:
    """A part of `area` as (rows, columns), not initialised."""
    return area[begin : begin + rows * columns].reshape((rows, columns))


@compiled
def _multiply(weights: Floats, columns: Floats, out: Floats, size: int) -> None:
    """Add a product of matrices to `out`, of `size` columns.

    Args:
        weights: (m, k), both multiples of 4.
        columns: (k, >= size).
        out: (m, >= size).
    """
    for o in range(0, weights.shape[0], 4):
        for c in range(0, weights.shape[1], 4):
            # Four by four: each number loaded is used four times, and the weights stay in registers.
            a0, a1, a2, a3 = weights[o, c], weights[o, c + 1], weights[o, c + 2], weights[o, c + 3]
            b0, b1, b2, b3 = weights[o + 1, c], weights[o + 1, c + 1], weights[o + 1, c + 2], weights[o + 1, c + 3]
            c0, c1, c2, c3 = weights[o + 2, c], weights[o + 2, c + 1], weights[o + 2, c + 2], weights[o + 2, c + 3]
            d0, d1, d2, d3 = weights[o + 3, c], weights[o + 3, c + 1], weights[o + 3, c + 2], weights[o + 3, c + 3]
            for t in range(size):
                v0, v1, v2, v3 = columns[c, t], columns[c + 1, t], columns[c + 2, t], columns[c + 3, t]
                out[o, t] += a0 * v0 + a1 * v1 + a2 * v2 + a3 * v3
                out[o + 1, t] += b0 * v0 + b1 * v1 + b2 * v2 + b3 * v3
                out[o + 2, t] += c0 * v0 + c1 * v1 + c2 * v2 + c3 * v3
                out[o + 3, t] += d0 * v0 + d1 * v1 + d2 * v2 + d3 * v3


@compiled
def _activate(rows: Floats, bias: Floats, slope: Floats, size: int) -> None:
    """Add the bias to each row of (m, >= size) and take its PReLU."""
    for o in range(len(bias)):
        b, s = bias[o], slope[o]
        for t in range(size):
            v = rows[o, t] + b
            rows[o, t] = v if v > 0 else v * s


@compiled
def _pool(widest: Floats, y: int, window: int, n: int, order: Ints, highest: Floats, out: Floats) -> None:
    """Take the next row into max pooling, 3x3 or 2x2 at every second place.

    Args:
        widest: (columns * n,), of the row the highest numbers in each window.
        y: the row's number.
        window: 3 or 2, the rows of a window.
        order: where in a row of `out` each column belongs.
        highest: (columns * n,), of the window that has begun.
        out: (rows, room * n); a row is written when its window is complete.
    """
    size = len(order) * n
    if y % 2 or window == 3:
        for t in range(size):
            highest[t] = max(highest[t], widest[t])
        if y and y % 2 != window % 2:
            _deal(highest, n, order, out[(y - window + 1) // 2])
    if y % 2 == 0:
        for t in range(size):
            highest[t] = widest[t]


@compiled
def _deal(row: Floats, n: int, order: Ints, out: Floats) -> None:
    """Write each column of `row`, `n` numbers, to its place."""
    for k in range(len(order)):
        begin, to = k * n, order[k] * n
        for i in range(n):
            out[to + i] = row[begin + i]


@compiled
def _spread(crops: Floats, y: int, pixels: Floats, out: Floats) -> None:
    """Row `y` of crops (n, 3, side, side) from the first, second and third column on, the even places before the odd.

    Args:
        pixels: room for (2, side / 2 * n).
        out: (9, >= (side - 2) * n), three rows of each channel.
    """
    n, side = crops.shape[0], crops.shape[2]
    part = (side // 2 - 1) * n
    for c in range(3):
        for i in range(n):
            row = crops[i, c, y]
            for x in range(side // 2):
                pixels[0, x * n + i] = row[2 * x]
                pixels[1, x * n + i] = row[2 * x + 1]
        for shift in range(3):
            even, odd = shift // 2 * n, (shift + 1) // 2 * n
            out[3 * c + shift, :part] = pixels[shift % 2, even : even + part]
            out[3 * c + shift, part : 2 * part] = pixels[(shift + 1) % 2, odd : odd + part]


@compiled
def _begin(crops: Floats, layer: Layer, room: int, work: Floats, area: Floats) -> Floats:
    """The first convolution, 3x3 of three channels, its PReLU, and max pooling of 3x3 at every second place.

    Args:
        crops: (n, 3, side, side), side even.
        layer: its weights (m, 28): of each row, channel and column of the window, and a zero.
        room: columns that a row of the answer has room for, a multiple of 6.
        work: for what is needed meanwhile.
        area: for the answer.

    Returns:
        (m, p, room * n), p = (side - 2) / 2; columns that there are not are zero.
    """
    weights, bias, slope = layer
    n, side = crops.shape[0], crops.shape[2]
    channels, pooled = weights.shape[0], (side - 2) // 2
    part = pooled * n
    size = _whole(2 * part)
    # The windows of a row of the answer are 27 of these that follow each other; the 28th meets the weights of zero.
    shifted = _take(work, 0, 9 * side + 1, size)
    used = (9 * side + 1) * size
    pixels = _take(work, used, 2, side // 2 * n)
    used += _whole(side * n)
    line, highest = _take(work, used, channels, size), _take(work, used + channels * size, channels, part)
    widest = _take(work, used + channels * (size + part), 1, part)[0]
    order = np.empty(pooled, np.int64)
    for x in range(pooled):
        order[x] = _place(x, room)
    out = area[: channels * pooled * room * n].reshape((channels, pooled, room * n))
    out[:] = 0
    for y in range(side):
        _spread(crops, y, pixels, shifted[9 * y : 9 * y + 9])
        if y < 2:
            continue
        shifted[9 * y + 9] = 0
        line[:] = 0
        _multiply(weights, shifted[9 * y - 18 : 9 * y + 10], line, size)
        _activate(line, bias, slope, size)
        for o in range(channels):
            left, middle, right = line[o], line[o, part:], line[o, n:]
            for t in range(part - n):
                widest[t] = max(left[t], middle[t], right[t])
            for t in range(part - n, part):  # the last window has but two columns, and two rows
                widest[t] = max(left[t], middle[t])
            _pool(widest, y - 2, 3, n, order, highest[o], out[o])
    for o in range(channels):
        _deal(highest[o], n, order, out[o, pooled - 1])
    return out


@compiled
def _place(x: int, room: int) -> int:
    """Where column `x` is in a row that `_convolve` takes."""
    return x % 6 * (room // 6) + x // 6


@compiled
def _transform(
    pictures: Floats, c: int, y: int, n: int, lines: Floats, columns: Floats, evens: int, row: int, at: int
) -> None:
    """The factors of the tiles in a row: Winograd's transform for F(3, 3) with the points 0, 1, -1, 2, down and across.

    Args:
        pictures, c, y: the tiles' channel and first row.
        lines: room for (5, columns * n).
        columns: (25, c, size); from `at` on, `row` factors are written, first `evens` of the even tiles.
    """
    plane = lines.shape[1] // 6
    p0, p1, p2, p3 = pictures[c, y], pictures[c, y + 1], pictures[c, y + 2], pictures[c, y + 3]
    p4 = pictures[c, min(y + 4, pictures.shape[1] - 1)]  # where there is none, the tile's last row is of no answer
    for t in range(lines.shape[1]):
        v0, v1, v2, v3, v4 = p0[t], p1[t], p2[t], p3[t], p4[t]
        lines[0, t], lines[1, t], lines[2, t] = 2 * (v0 - v2) - v1 + v3, v3 - v2 - 2 * v1, v3 - 3 * v2 + 2 * v1
        lines[3, t], lines[4, t] = v3 - v1, 2 * (v1 - v3) - v2 + v4
    for i in range(5):
        line, e = lines[i], 5 * i
        for odd in range(2):
            # Tiles are three columns apart: those of an odd one begin with number 3, and two are of the next six.
            p0, p1, p2 = line[3 * odd * plane :], line[(3 * odd + 1) * plane :], line[(3 * odd + 2) * plane :]
            p3, p4 = (line[n:], line[plane + n :]) if odd else (line[3 * plane :], line[4 * plane :])
            to = at + odd * evens
            c0, c1, c2 = columns[e, c, to:], columns[e + 1, c, to:], columns[e + 2, c, to:]
            c3, c4 = columns[e + 3, c, to:], columns[e + 4, c, to:]
            for t in range(row - evens if odd else evens):
                v0, v1, v2, v3, v4 = p0[t], p1[t], p2[t], p3[t], p4[t]
                c0[t], c1[t], c2[t] = 2 * (v0 - v2) - v1 + v3, v3 - v2 - 2 * v1, v3 - 3 * v2 + 2 * v1
                c3[t], c4[t] = v3 - v1, 2 * (v1 - v3) - v2 + v4


@compiled
def _gather(sums: Floats, p: int, halves: Floats) -> None:
    """Winograd's other transform, down: of sums (25, channels, size) those of channel `p`, to (3, 5, size)."""
    for j in range(5):
        s0, s1, s2, s3, s4 = sums[j, p], sums[5 + j, p], sums[10 + j, p], sums[15 + j, p], sums[20 + j, p]
        h0, h1, h2 = halves[0, j], halves[1, j], halves[2, j]
        for t in range(sums.shape[2]):
            v0, v1, v2, v3, v4 = s0[t], s1[t], s2[t], s3[t], s4[t]
            h0[t], h1[t], h2[t] = v0 + v1 + v2 + v3, v1 - v2 + 2 * v3, v1 + v2 + 4 * v3 + v4


@compiled
def _answer(half: Floats, at: int, bias: float, slope: float, out: Floats, size: int) -> None:
    """The same across, and PReLU: from half (5, > at) a row of the answer, the columns of each tile, (3, size)."""
    h0, h1, h2, h3, h4 = half[0, at:], half[1, at:], half[2, at:], half[3, at:], half[4, at:]
    for t in range(size):
        v0, v1, v2, v3, v4 = h0[t], h1[t], h2[t], h3[t], h4[t]
        r0, r1, r2 = bias + v0 + v1 + v2 + v3, bias + v1 - v2 + 2 * v3, bias + v1 + v2 + 4 * v3 + v4
        out[0, t] = r0 if r0 > 0 else r0 * slope
        out[1, t] = r1 if r1 > 0 else r1 * slope
        out[2, t] = r2 if r2 > 0 else r2 * slope


@compiled
def _across(answer: Floats, n: int, evens: int, window: int, pooled: int, widest: Floats) -> None:
    """The highest number of each window in a row.

    Args:
        answer: (3, >= columns): of each tile the three columns, the even tiles before the odd ones.
        evens: numbers in the even tiles.
        window: 2 or 3 columns, one window at every second.
        widest: (pooled * n,): of the windows 0, 3, 6, ..., then 1, 4, 7, ..., then 2, 5, 8, ...
    """
    a0, a1, a2, following = answer[0], answer[1], answer[2], answer[0, n:]
    b0, b1, b2 = answer[0, evens:], answer[1, evens:], answer[2, evens:]
    first, second, third = (pooled + 2) // 3 * n, (pooled + 1) // 3 * n, pooled // 3 * n
    w1, w2 = widest[first:], widest[first + second :]
    if window == 3:
        for t in range(first):
            widest[t] = max(a0[t], a1[t], a2[t])
        for t in range(second):
            w1[t] = max(a2[t], b0[t], b1[t])
        for t in range(third):
            w2[t] = max(b1[t], b2[t], following[t])
    else:
        for t in range(first):
            widest[t] = max(a0[t], a1[t])
        for t in range(second):
            w1[t] = max(a2[t], b0[t])
        for t in range(third):
            w2[t] = max(b1[t], b2[t])


@compiled
def _convolve(pictures: Floats, n: int, layer: Layer, window: int, room: int, work: Floats, area: Floats) -> Floats:
    """A convolution of 3x3, its PReLU, and max pooling at every second place.

    Args:
        pictures: (c, side, columns * n), side no multiple of 3; each column at its `_place`.
        layer: its weights (25, m, c) as `refiners` prepares them; c a multiple of 4 and m one of 8.
        window: of the pooling, 3 for 3x3 or 2 for 2x2.
        room: columns that a row of the answer has room for: a multiple of 6, for another convolution; or as many as
            there are, which then come in order.
        work: for what is needed meanwhile.
        area: for the answer.

    Returns:
        (m, p, room * n), p = (side - 2 - window) // 2 + 1.
    """
    weights, bias, slope = layer
    side, inputs, channels = pictures.shape[1], weights.shape[2], weights.shape[1]
    tiles = side // 3  # of three by three places of the answer; the last may reach beyond it
    row, evens = tiles * n, (tiles + 1) // 2 * n
    # As many rows of tiles at a time as make a good product, and always as many.
    together = min(tiles, max(1, _COLUMNS // row))
    together = -(-tiles // -(-tiles // together))
    size, line, pooled = _whole(together * row), _whole(row), (side - 2 - window) // 2 + 1
    columns, used = work[: 25 * inputs * size].reshape((25, inputs, size)), 25 * inputs * size
    sums, used = work[used : used + 200 * size].reshape((25, 8, size)), used + 200 * size
    halves, used = work[used : used + 15 * size].reshape((3, 5, size)), used + 15 * size
    answer, used = _take(work, used, 3, line), used + 3 * line
    lines, used = _take(work, used, 5, pictures.shape[2]), used + 5 * pictures.shape[2]
    highest, used = _take(work, used, channels, pooled * n), used + channels * pooled * n
    widest = _take(work, used, 1, pooled * n)[0]
    order = np.empty(pooled, np.int64)
    k = 0
    for i in range(3):
        for x in range(i, pooled, 3):
            order[k] = x if room == pooled else _place(x, room)
            k += 1
    out = area[: channels * pooled * room * n].reshape((channels, pooled, room * n))
    out[:] = 0
    for first in range(0, tiles, together):
        count = min(together, tiles - first)
        for k in range(count):
            for c in range(inputs):
                _transform(pictures, c, 3 * (first + k), n, lines, columns, evens, row, k * row)
        for o in range(0, channels, 8):
            sums[:] = 0
            for e in range(25):
                _multiply(weights[e, o : o + 8], columns[e], sums[e], _whole(count * row))
            for p in range(8):
                _gather(sums, p, halves)
                for k in range(min(3 * count, side - 2 - 3 * first)):
                    _answer(halves[k % 3], k // 3 * row, bias[o + p], slope[o + p], answer, row)
                    _across(answer, n, evens, window, pooled, widest)
                    _pool(widest, 3 * first + k, window, n, order, highest[o + p], out[o + p])
    return out


@compiled
def _windows(pictures: Floats, n: int, columns: Floats) -> None:
    """The 2x2 windows of pictures (c, 4, 4 * n), of each channel, row and column, as columns (4 * c, >= 9 * n)."""
    for c in range(pictures.shape[0]):
        for k in range(4):
            for y in range(3):
                begin, to = k % 2 * n, 3 * y * n
                columns[4 * c + k, to : to + 3 * n] = pictures[c, y + k // 2, begin : begin + 3 * n]


@compiled
def _finish(
    pictures: Floats, n: int, square: Layer, dense: Layer, heads: tuple[Floats, Floats], work: Floats, area: Floats
) -> Floats:
    """A convolution of 2x2, a dense layer, and the heads.

    Args:
        pictures: (c, 4, 4 * n).
        square: the convolution, its weights (m, 4 * c): of each channel, row and column of the window.
        dense: its weights (9 * m, d): of each channel, row and column.
        heads: weights (d, 16) and bias (16,).
        work: for what is needed meanwhile.
        area: likewise.

    Returns:
        (n, 16).
    """
    w1, b1, s1 = square
    w2, b2, s2 = dense
    size, channels, rows = _whole(9 * n), w1.shape[0], -(-n // 4) * 4
    columns = _take(work, 0, w1.shape[1], size)
    _windows(pictures, n, columns)
    out = _take(area, 0, channels, size)
    out[:] = 0
    _multiply(w1, columns, out, size)
    _activate(out, b1, s1, size)
    features = _take(work, 0, rows, 9 * channels)
    features[n:] = 0
    for c in range(channels):
        for k in range(9):
            for i in range(n):
                features[i, 9 * c + k] = out[c, k * n + i]
    hidden = _take(work, rows * 9 * channels, rows, len(b2))
    hidden[:] = 0
    # In parts, since all weights of the layer are more than a cache holds.
    for c in range(0, 9 * channels, 64):
        _multiply(features[:, c : c + 64], w2[c : c + 64], hidden, len(b2))
    for i in range(rows):
        for k in range(len(b2)):
            v = hidden[i, k] + b2[k]
            hidden[i, k] = v if v > 0 else v * s2[k]
    answer = np.empty((rows, 16), np.float32)
    answer[:] = heads[1]
    _multiply(hidden, heads[0], answer, 16)
    return answer[:n]


@compiled
def rnet_heads(crops: Floats, layers: Any, work: Floats, one: Floats, other: Floats) -> Floats:
    """R-Net's heads (n, 16) for crops (n, 3, 24, 24); layers as `refiners` gives them, and three areas for work."""
    n = crops.shape[0]
    pictures = _begin(crops, layers[0], 12, work, one)
    pictures = _convolve(pictures, n, layers[1], 3, 4, work, other)
    return _finish(pictures, n, layers[2], layers[3], layers[4], work, one)


@compiled
def onet_heads(crops: Floats, layers: Any, work: Floats, one: Floats, other: Floats) -> Floats:
    """O-Net's heads (n, 16) for crops (n, 3, 48, 48); layers as `refiners` gives them, and three areas for work."""
    n = crops.shape[0]
    pictures = _begin(crops, layers[0], 24, work, one)
    pictures = _convolve(pictures, n, layers[1], 3, 12, work, other)
    pictures = _convolve(pictures, n, layers[2], 2, 4, work, one)
    return _finish(pictures, n, layers[3], layers[4], layers[5], work, other)
