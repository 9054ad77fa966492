# SPDX-License-Identifier: Apache-2.0
"""The objective on a cuboid of regular grids: cast, compare and sum without drawing a triangle.

Each row of cells sees a side of the box in one interval, whose ends are the roots of four linear
functions of the column. Within it the square, its triangle and the place in it follow from the
ray's slopes u = d_b / d_n and v = d_c / d_n (n the side's axis, b and c the next two), so nothing
is tested per cell. First each cell's scores are taken and what the sums need is laid in columns;
the sums of gradient and Hessian then run along these, which compiles to SIMD code.

Values, gradient and Hessian are those that nemo_model.objective explains. On a side, n = e_n and
the score's in-plane gradient is G = (g_b, g_c), so q = (g_b, g_c, -(g_b u + g_c v)).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nemo_model.kernel import kernel

NEAR = 1e-3
"""Faces with a vertex nearer than this (object units) are not drawn."""

GRAZING = 1e-7
"""A side whose plane passes the camera nearer than this (object units) shows nothing."""

EDGE = 1e-9
"""Cells this near outside a side still see it, lest rounding leave a crack between two sides."""

SLOPE_B, SLOPE_C, L11, L21, L22, U, V, AT_B, AT_C = range(9)
"""Rows of the columns: the score's gradient (g_b, g_c), the Cholesky factor of the Gram matrix of
the features' gradients (all zero for a hidden cell), the ray's slopes, the point's b and c."""


def columns(cells: int) -> npt.NDArray[np.float32]:
    """Allocate (9, 3 N) for a map of N cells: a cell on edges may be met by up to three sides."""
    return np.zeros((9, 3 * cells), dtype=np.float32)


@kernel
def _extent(box, R, t, fx, fy, cx, cy, height, width):  # type: ignore[no-untyped-def]
    """Return whether all corners are ahead, and the cells i0, i1, j0, j1 that may see the box."""
    left, right, top, bottom = np.inf, -np.inf, np.inf, -np.inf
    for corner in range(8):
        x = box[corner & 1, 0]
        y = box[corner >> 1 & 1, 1]
        z = box[corner >> 2, 2]
        depth = R[2, 0] * x + R[2, 1] * y + R[2, 2] * z + t[2]
        if not depth >= NEAR:
            return False, 0, -1, 0, -1
        u = fx * (R[0, 0] * x + R[0, 1] * y + R[0, 2] * z + t[0]) / depth + cx
        v = fy * (R[1, 0] * x + R[1, 1] * y + R[1, 2] * z + t[1]) / depth + cy
        left, right = min(left, u), max(right, u)
        top, bottom = min(top, v), max(bottom, v)
    j0, j1 = int(np.ceil(max(left, 0.0))), int(np.floor(min(right, width - 1.0)))
    i0, i1 = int(np.ceil(max(top, 0.0))), int(np.floor(min(bottom, height - 1.0)))
    return True, i0, i1, j0, j1


@kernel
def _narrow(slope, offset, low, high):  # type: ignore[no-untyped-def]
    """Return the part of [low, high] where slope * j + offset >= 0."""
    if abs(slope) < 1e-12:
        return low, (high if offset >= 0.0 else low - 1.0)
    root = -offset / slope
    return (max(low, root), high) if slope > 0.0 else (low, min(high, root))


@kernel
def evaluate_cuboid(table, scene, R, t, work, order):  # type: ignore[no-untyped-def]
    """Evaluate E; order 1 adds the gradient, 2 the Hessian's upper triangle, in object axes.

    Fills work.face, work.state and work.sums, which come empty. With order -1 only the faces are
    found. Returns E, or -1 when a corner is nearer than NEAR and nothing was done.
    """
    fx, fy, cx, cy, width = scene.fx, scene.fy, scene.cx, scene.cy, scene.width
    box, counts = table.box, table.box_counts
    ahead, i0, i1, j0, j1 = _extent(box, R, t, fx, fy, cx, cy, scene.height, width)
    if not ahead:
        return -1.0
    squares, terms, theta = table.box_squares, table.box_terms, table.features
    features, background, face, state = scene.features, scene.background, work.face, work.state
    column = work.columns
    channels = theta.shape[1]
    whole = channels == 64
    none, one = np.float32(0.0), np.float32(1.0)
    energy, covered, explained = 0.0, 0, 0
    for n in range(3):
        b, c = (n + 1) % 3, (n + 2) % 3
        eye_n = -(R[0, n] * t[0] + R[1, n] * t[1] + R[2, n] * t[2])
        eye_b = -(R[0, b] * t[0] + R[1, b] * t[1] + R[2, b] * t[2])
        eye_c = -(R[0, c] * t[0] + R[1, c] * t[1] + R[2, c] * t[2])
        end = 1 if eye_n > box[1, n] else 0
        if end == 0 and eye_n >= box[0, n]:
            continue  # the camera is between the two planes: neither side can be seen
        side, n_b, n_c = 2 * n + end, counts[b], counts[c]
        lo_b, lo_c = float(box[0, b]), float(box[0, c])
        per_b, per_c = n_b / (box[1, b] - lo_b), n_c / (box[1, c] - lo_c)
        plane = float(box[end, n])
        distance = plane - eye_n
        sign = 1.0 if distance > 0.0 else -1.0
        reach = sign * distance
        if not reach > GRAZING:
            continue
        below_b, above_b = sign * (eye_b - lo_b), sign * (box[1, b] - eye_b)
        below_c, above_c = sign * (eye_c - lo_c), sign * (box[1, c] - eye_c)
        d_n, d_b, d_c = R[0, n] / fx, R[0, b] / fx, R[0, c] / fx  # the ray's change by column
        scale_b, scale_c = np.float32(per_b), np.float32(per_c)
        count = 0
        for i in range(i0, i1 + 1):
            y = (i - cy) / fy
            row_n = R[1, n] * y + R[2, n] - cx * d_n
            row_b = R[1, b] * y + R[2, b] - cx * d_b
            row_c = R[1, c] * y + R[2, c] - cx * d_c
            low, high = float(j0), float(j1)
            low, high = _narrow(
                below_b * d_n + reach * d_b, below_b * row_n + reach * row_b, low, high
            )
            low, high = _narrow(
                above_b * d_n - reach * d_b, above_b * row_n - reach * row_b, low, high
            )
            low, high = _narrow(
                below_c * d_n + reach * d_c, below_c * row_n + reach * row_c, low, high
            )
            low, high = _narrow(
                above_c * d_n - reach * d_c, above_c * row_n - reach * row_c, low, high
            )
            low, high = low - EDGE, high + EDGE
            if not low <= high:
                continue
            for j in range(int(np.ceil(low)), int(np.floor(high)) + 1):
                inverse = 1.0 / (d_n * j + row_n)
                u, v = (d_b * j + row_b) * inverse, (d_c * j + row_c) * inverse
                at_b, at_c = eye_b + distance * u, eye_c + distance * v
                grid_b = min(max((at_b - lo_b) * per_b, 0.0), float(n_b))
                grid_c = min(max((at_c - lo_c) * per_c, 0.0), float(n_c))
                p, q = min(int(grid_b), n_b - 1), min(int(grid_c), n_c - 1)
                rest_b, rest_c = np.float32(grid_b - p), np.float32(grid_c - q)
                straight = squares[side, p, q, 0, 3] & 1
                half = 1 if (rest_b >= rest_c if straight else rest_b + rest_c >= one) else 0
                cell = i * width + j
                face[cell] = squares[side, p, q, half, 3] >> 1
                if order < 0 or state[cell] >= 0:  # on an edge, and met from the other side
                    continue
                at0, at1, at2 = (
                    squares[side, p, q, half, 0], squares[side, p, q, half, 1],
                    squares[side, p, q, half, 2],
                )  # fmt: skip
                s0 = s1 = s2 = none
                if whole:  # of fixed length: no remainder. No function: calls count references
                    for k in range(64):
                        value = features[cell, k]
                        s0 += value * theta[at0, k]
                        s1 += value * theta[at1, k]
                        s2 += value * theta[at2, k]
                else:
                    for k in range(channels):
                        value = features[cell, k]
                        s0 += value * theta[at0, k]
                        s1 += value * theta[at1, k]
                        s2 += value * theta[at2, k]
                # the right angle lies at 0 or at 1 along either axis
                sign_b = one if half == 0 else -one
                sign_c = -sign_b if straight else sign_b
                g_b, g_c = sign_b * (s1 - s0), sign_c * (s2 - s0)
                from_b = rest_b if sign_b > none else rest_b - one
                from_c = rest_c if sign_c > none else rest_c - one
                gain = s0 + from_b * g_b + from_c * g_c - background[cell]
                on = gain > none
                state[cell] = 1 if on else 0
                covered += 1
                explained += 1 if on else 0
                energy += float(gain) if on else 0.0
                if order == 0:
                    continue
                column[SLOPE_B, count] = scale_b * g_b if on else none
                column[SLOPE_C, count] = scale_c * g_c if on else none
                column[U, count], column[V, count] = u, v
                column[AT_B, count], column[AT_C, count] = at_b, at_c
                if order > 1:
                    column[L11, count] = terms[side, p, q, half, 0] if on else none
                    column[L21, count] = terms[side, p, q, half, 1] if on else none
                    column[L22, count] = terms[side, p, q, half, 2] if on else none
                count += 1
        if order > 0:
            _sum_gradient(column, count, np.float32(plane), n, work.gradient)
        if order > 1:
            _sum_hessian(column, count, np.float32(plane), n, work.hessian)
    work.sums[0], work.sums[1], work.sums[2] = energy, covered, explained
    return energy


@kernel
def _sum_gradient(column, count, plane, n, gradient):  # type: ignore[no-untyped-def]
    """Subtract the sums of (X x q, q) over a side's cells, X the point (its n is `plane`)."""
    s0 = s1 = s2 = s3 = s4 = s5 = np.float32(0.0)
    for k in range(count):
        r0, r1 = column[SLOPE_B, k], column[SLOPE_C, k]
        r2 = -(r0 * column[U, k] + r1 * column[V, k])
        x, y = column[AT_B, k], column[AT_C, k]
        s0 += y * r2 - plane * r1
        s1 += plane * r0 - x * r2
        s2 += x * r1 - y * r0
        s3 += r0
        s4 += r1
        s5 += r2
    b, c = (n + 1) % 3, (n + 2) % 3
    for k, value in ((b, s0), (c, s1), (n, s2), (3 + b, s3), (3 + c, s4), (3 + n, s5)):
        gradient[k] -= value


@kernel
def _sum_hessian(column, count, plane, n, H):  # type: ignore[no-untyped-def]
    """Add sums of r r^T, r = (X x q, q), over the cells and the two rows q of L^T; upper half."""
    h00 = h01 = h02 = h03 = h04 = h05 = h11 = h12 = h13 = h14 = h15 = np.float32(0.0)
    h22 = h23 = h24 = h25 = h33 = h34 = h35 = h44 = h45 = h55 = np.float32(0.0)
    for k in range(count):
        u, v, x, y = column[U, k], column[V, k], column[AT_B, k], column[AT_C, k]
        p0, p1, q1 = column[L11, k], column[L21, k], column[L22, k]
        p2, q2 = -(p0 * u + p1 * v), -(q1 * v)
        p3, p4, p5 = y * p2 - plane * p1, plane * p0 - x * p2, x * p1 - y * p0
        q3, q4, q5 = y * q2 - plane * q1, -x * q2, x * q1
        h00 += p3 * p3 + q3 * q3
        h01 += p3 * p4 + q3 * q4
        h02 += p3 * p5 + q3 * q5
        h03 += p3 * p0
        h04 += p3 * p1 + q3 * q1
        h05 += p3 * p2 + q3 * q2
        h11 += p4 * p4 + q4 * q4
        h12 += p4 * p5 + q4 * q5
        h13 += p4 * p0
        h14 += p4 * p1 + q4 * q1
        h15 += p4 * p2 + q4 * q2
        h22 += p5 * p5 + q5 * q5
        h23 += p5 * p0
        h24 += p5 * p1 + q5 * q1
        h25 += p5 * p2 + q5 * q2
        h33 += p0 * p0
        h34 += p0 * p1
        h35 += p0 * p2
        h44 += p1 * p1 + q1 * q1
        h45 += p1 * p2 + q1 * q2
        h55 += p2 * p2 + q2 * q2
    b, c = (n + 1) % 3, (n + 2) % 3
    for i, j, value in (
        (b, b, h00), (b, c, h01), (b, n, h02), (b, 3 + b, h03), (b, 3 + c, h04), (b, 3 + n, h05),
        (c, c, h11), (c, n, h12), (c, 3 + b, h13), (c, 3 + c, h14), (c, 3 + n, h15),
        (n, n, h22), (n, 3 + b, h23), (n, 3 + c, h24), (n, 3 + n, h25),
        (3 + b, 3 + b, h33), (3 + b, 3 + c, h34), (3 + b, 3 + n, h35),
        (3 + c, 3 + c, h44), (3 + c, 3 + n, h45), (3 + n, 3 + n, h55),
    ):  # fmt: skip
        H[min(i, j), max(i, j)] += value
