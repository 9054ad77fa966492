# SPDX-License-Identifier: Apache-2.0
"""The render-and-compare objective, its gradient and its Gauss-Newton Hessian, without allocations.

E(R, t) = sum over covered cells p of relu(s_p - b_p), where s_p is the dot product of the feature
map with the vertex features interpolated at the surface point that cell p sees, and b_p the score
of the background (NeMo, ICLR 2021, section 3.3, up to a constant and the sum instead of the mean).

A surface point that moves by delta changes s_p by -q.delta, with q = G - n (G.d)/(n.d) for the
in-plane gradient G of the face's score, its normal n and the cell's ray d: the model-side gradient.
All of it is done in the object frame; the sums are turned into the camera frame at the end, where
delta = omega x (R X) + dt.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nemo_model.cuboid import NEAR, columns, evaluate_cuboid
from nemo_model.kernel import kernel

HESSIAN_SCALE = 0.7
"""alpha of the Gauss-Newton Hessian, which overestimates the curvature of a cosine (measured)."""


class Scene(NamedTuple):
    """One image: features (N, C) float32 by row-major cells, background (N,), the grid, its camera.

    fx, fy, cx, cy are in cells, cell centres at integers.
    """

    features: Any
    background: Any
    height: int
    width: int
    fx: float
    fy: float
    cx: float
    cy: float


class Workspace(NamedTuple):
    """Buffers of one evaluation, reused by all of them.

    projected (3, V): u, v, 1/z of the vertices. front (F,) uint8: faces worth drawing. face (N,)
    int32: face per cell or -1. inverse_depth (N,). state (N,) int8: -1 not covered, 0 hidden,
    1 visible. sums (3,): energy, covered cells, cells that the object explains better. gradient
    (6,) by (omega, dt). hessian (6, 6) likewise, of -E. columns: see nemo_model.cuboid.
    """

    projected: Any
    front: Any
    face: Any
    inverse_depth: Any
    state: Any
    sums: Any
    gradient: Any
    hessian: Any
    columns: Any


def workspace(table: Any, cells: int) -> Workspace:
    """Allocate the buffers for a face table and a map of so many cells."""
    return Workspace(
        projected=np.zeros((3, table.vertices.shape[1]), dtype=np.float32),
        front=np.zeros(table.faces.shape[1], dtype=np.uint8),
        face=np.full(cells, -1, dtype=np.int32),
        inverse_depth=np.zeros(cells, dtype=np.float32),
        state=np.full(cells, -1, dtype=np.int8),
        sums=np.zeros(3),
        gradient=np.zeros(6),
        hessian=np.zeros((6, 6)),
        columns=columns(cells if table.box_counts[0] > 0 else 0),
    )


@kernel
def _project(vertices, R, t, fx, fy, cx, cy, out):  # type: ignore[no-untyped-def]
    r00, r01, r02 = np.float32(R[0, 0]), np.float32(R[0, 1]), np.float32(R[0, 2])
    r10, r11, r12 = np.float32(R[1, 0]), np.float32(R[1, 1]), np.float32(R[1, 2])
    r20, r21, r22 = np.float32(R[2, 0]), np.float32(R[2, 1]), np.float32(R[2, 2])
    t0, t1, t2 = np.float32(t[0]), np.float32(t[1]), np.float32(t[2])
    fx, fy, cx, cy = np.float32(fx), np.float32(fy), np.float32(cx), np.float32(cy)
    near, one, zero = np.float32(NEAR), np.float32(1.0), np.float32(0.0)
    for k in range(vertices.shape[1]):
        x, y, z = vertices[0, k], vertices[1, k], vertices[2, k]
        zc = r20 * x + r21 * y + r22 * z + t2
        inverse = one / max(zc, near)
        out[0, k] = fx * (r00 * x + r01 * y + r02 * z + t0) * inverse + cx
        out[1, k] = fy * (r10 * x + r11 * y + r12 * z + t1) * inverse + cy
        out[2, k] = inverse if zc >= near else zero


@kernel
def _sift(projected, faces, algebra, convex, eye, height, width, front):  # type: ignore[no-untyped-def]
    """Mark the faces whose bounding box holds a cell centre and that may face the camera."""
    right, bottom, zero = np.float32(width - 1), np.float32(height - 1), np.float32(0.0)
    u, v, inverse = projected[0], projected[1], projected[2]
    for k in range(faces.shape[1]):
        a, b, c = faces[0, k], faces[1, k], faces[2, k]
        left_k = np.ceil(max(min(u[a], u[b], u[c]), zero))
        right_k = min(max(u[a], u[b], u[c]), right)
        top_k = np.ceil(max(min(v[a], v[b], v[c]), zero))
        bottom_k = min(max(v[a], v[b], v[c]), bottom)
        ahead = min(inverse[a], inverse[b], inverse[c]) > zero
        front[k] = ahead & (left_k <= right_k) & (top_k <= bottom_k)
    if convex:
        e0, e1, e2 = np.float32(eye[0]), np.float32(eye[1]), np.float32(eye[2])
        for k in range(faces.shape[1]):
            side = algebra[k, 0] * e0 + algebra[k, 1] * e1 + algebra[k, 2] * e2 - algebra[k, 3]
            front[k] &= side > zero


@kernel
def _draw(projected, faces, front, height, width, face, inverse_depth):  # type: ignore[no-untyped-def]
    """Fill the z-buffer with the marked faces."""
    u, v, inverse = projected[0], projected[1], projected[2]
    zero, one = np.float32(0.0), np.float32(1.0)
    for k in range(faces.shape[1]):
        if not front[k]:
            continue
        a, b, c = faces[0, k], faces[1, k], faces[2, k]
        ua, ub, uc, va, vb, vc = u[a], u[b], u[c], v[a], v[b], v[c]
        area = (ub - ua) * (vc - va) - (uc - ua) * (vb - va)
        if abs(area) < np.float32(1e-9):
            continue
        scale = one / area
        j0 = int(np.ceil(max(min(ua, ub, uc), zero)))
        j1 = int(min(max(ua, ub, uc), np.float32(width - 1)))
        i0 = int(np.ceil(max(min(va, vb, vc), zero)))
        i1 = int(min(max(va, vb, vc), np.float32(height - 1)))
        for i in range(i0, i1 + 1):
            y = np.float32(i)
            for j in range(j0, j1 + 1):
                x = np.float32(j)
                wa = ((ub - x) * (vc - y) - (uc - x) * (vb - y)) * scale
                wb = ((uc - x) * (va - y) - (ua - x) * (vc - y)) * scale
                wc = one - wa - wb
                if wa < zero or wb < zero or wc < zero:
                    continue
                near = wa * inverse[a] + wb * inverse[b] + wc * inverse[c]
                cell = i * width + j
                if near > inverse_depth[cell]:
                    inverse_depth[cell] = near
                    face[cell] = k


@kernel
def render(table, scene, R, t, work):  # type: ignore[no-untyped-def]
    """Fill work.face with the face that each cell sees, -1 for none."""
    work.face[:] = -1
    eye = (
        -(R[0, 0] * t[0] + R[1, 0] * t[1] + R[2, 0] * t[2]),
        -(R[0, 1] * t[0] + R[1, 1] * t[1] + R[2, 1] * t[2]),
        -(R[0, 2] * t[0] + R[1, 2] * t[1] + R[2, 2] * t[2]),
    )
    height, width = scene.height, scene.width
    fx, fy, cx, cy = scene.fx, scene.fy, scene.cx, scene.cy
    if table.box_counts[0] > 0 and evaluate_cuboid(table, scene, R, t, work, -1) >= 0.0:
        return
    work.inverse_depth[:] = 0.0
    _project(table.vertices, R, t, fx, fy, cx, cy, work.projected)
    _sift(work.projected, table.faces, table.algebra, table.convex, eye, height, width, work.front)
    _draw(work.projected, table.faces, work.front, height, width, work.face, work.inverse_depth)


@kernel
def _scores(features, cell, theta, a, b, c):  # type: ignore[no-untyped-def]
    sa, sb, sc = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for k in range(theta.shape[1]):
        value = features[cell, k]
        sa += value * theta[a, k]
        sb += value * theta[b, k]
        sc += value * theta[c, k]
    return sa, sb, sc


@kernel
def evaluate(table, scene, R, t, work, order):  # type: ignore[no-untyped-def]
    """Evaluate E at a pose; order 0: value, 1: and gradient, 2: and Gauss-Newton Hessian of -E.

    R (3, 3) and t (3,) float64, object to camera. Results are left in `work` (see Workspace).
    """
    work.face[:] = -1
    work.state[:] = -1
    work.gradient[:] = 0.0
    work.hessian[:] = 0.0
    energy = -1.0
    if table.box_counts[0] > 0:
        energy = evaluate_cuboid(table, scene, R, t, work, order)
    if energy < 0.0:
        energy = _evaluate_mesh(table, scene, R, t, work, order)
    if order > 0:
        _to_camera(R, work.gradient, work.hessian, order)
    return energy


@kernel
def _evaluate_mesh(table, scene, R, t, work, order):  # type: ignore[no-untyped-def]
    """Draw the mesh and sum over the cells, derivatives in object axes, upper half of H."""
    state, g, H = work.state, work.gradient, work.hessian
    render(table, scene, R, t, work)
    energy, covered, explained = 0.0, 0, 0
    ex = -(R[0, 0] * t[0] + R[1, 0] * t[1] + R[2, 0] * t[2])
    ey = -(R[0, 1] * t[0] + R[1, 1] * t[1] + R[2, 1] * t[2])
    ez = -(R[0, 2] * t[0] + R[1, 2] * t[1] + R[2, 2] * t[2])
    g0 = g1 = g2 = g3 = g4 = g5 = 0.0
    for i in range(scene.height):
        y = (i - scene.cy) / scene.fy
        row_x = R[1, 0] * y + R[2, 0]
        row_y = R[1, 1] * y + R[2, 1]
        row_z = R[1, 2] * y + R[2, 2]
        for j in range(scene.width):
            cell = i * scene.width + j
            number = work.face[cell]
            if number < 0:
                continue
            x = (j - scene.cx) / scene.fx
            dx, dy, dz = R[0, 0] * x + row_x, R[0, 1] * x + row_y, R[0, 2] * x + row_z
            al = table.algebra[number]
            nd = al[0] * dx + al[1] * dy + al[2] * dz
            if abs(nd) < 1e-9:
                continue
            z = (al[3] - al[0] * ex - al[1] * ey - al[2] * ez) / nd
            px, py, pz = ex + z * dx, ey + z * dy, ez + z * dz
            wb = min(max(al[4] * px + al[5] * py + al[6] * pz - al[7], 0.0), 1.0)
            wc = min(max(al[8] * px + al[9] * py + al[10] * pz - al[11], 0.0), 1.0)
            sa, sb, sc = _scores(
                scene.features, cell, table.features,
                table.faces[0, number], table.faces[1, number], table.faces[2, number],
            )  # fmt: skip
            step_b, step_c = np.float64(sb - sa), np.float64(sc - sa)
            gain = sa + wb * step_b + wc * step_c - scene.background[cell]
            covered += 1
            if not gain > 0.0:
                state[cell] = 0
                continue
            state[cell] = 1
            explained += 1
            energy += gain
            if order == 0:
                continue
            # rows of the Jacobian of -(barycentric weights of b and c) by the motion of the face
            k1 = (al[4] * dx + al[5] * dy + al[6] * dz) / nd
            k2 = (al[8] * dx + al[9] * dy + al[10] * dz) / nd
            p0, p1, p2 = al[4] - k1 * al[0], al[5] - k1 * al[1], al[6] - k1 * al[2]
            q0, q1, q2 = al[8] - k2 * al[0], al[9] - k2 * al[1], al[10] - k2 * al[2]
            p3, p4, p5 = py * p2 - pz * p1, pz * p0 - px * p2, px * p1 - py * p0
            q3, q4, q5 = py * q2 - pz * q1, pz * q0 - px * q2, px * q1 - py * q0
            g0 -= step_b * p3 + step_c * q3
            g1 -= step_b * p4 + step_c * q4
            g2 -= step_b * p5 + step_c * q5
            g3 -= step_b * p0 + step_c * q0
            g4 -= step_b * p1 + step_c * q1
            g5 -= step_b * p2 + step_c * q2
            if order == 1:
                continue
            l11, l21, l22 = al[12], al[13], al[14]
            p0, p1, p2 = l11 * p0 + l21 * q0, l11 * p1 + l21 * q1, l11 * p2 + l21 * q2
            p3, p4, p5 = l11 * p3 + l21 * q3, l11 * p4 + l21 * q4, l11 * p5 + l21 * q5
            q0, q1, q2 = l22 * q0, l22 * q1, l22 * q2
            q3, q4, q5 = l22 * q3, l22 * q4, l22 * q5
            H[0, 0] += p3 * p3 + q3 * q3
            H[0, 1] += p3 * p4 + q3 * q4
            H[0, 2] += p3 * p5 + q3 * q5
            H[0, 3] += p3 * p0 + q3 * q0
            H[0, 4] += p3 * p1 + q3 * q1
            H[0, 5] += p3 * p2 + q3 * q2
            H[1, 1] += p4 * p4 + q4 * q4
            H[1, 2] += p4 * p5 + q4 * q5
            H[1, 3] += p4 * p0 + q4 * q0
            H[1, 4] += p4 * p1 + q4 * q1
            H[1, 5] += p4 * p2 + q4 * q2
            H[2, 2] += p5 * p5 + q5 * q5
            H[2, 3] += p5 * p0 + q5 * q0
            H[2, 4] += p5 * p1 + q5 * q1
            H[2, 5] += p5 * p2 + q5 * q2
            H[3, 3] += p0 * p0 + q0 * q0
            H[3, 4] += p0 * p1 + q0 * q1
            H[3, 5] += p0 * p2 + q0 * q2
            H[4, 4] += p1 * p1 + q1 * q1
            H[4, 5] += p1 * p2 + q1 * q2
            H[5, 5] += p2 * p2 + q2 * q2
    work.sums[0], work.sums[1], work.sums[2] = energy, covered, explained
    g[0], g[1], g[2], g[3], g[4], g[5] = g0, g1, g2, g3, g4, g5
    return energy


@kernel
def _to_camera(R, g, H, order):  # type: ignore[no-untyped-def]
    """Turn sums in object axes into camera axes: g <- B g, H <- alpha B H B^T, B = diag(R, R)."""
    v = np.empty(6)
    for k in range(3):
        v[k] = R[k, 0] * g[0] + R[k, 1] * g[1] + R[k, 2] * g[2]
        v[k + 3] = R[k, 0] * g[3] + R[k, 1] * g[4] + R[k, 2] * g[5]
    g[:] = v
    if order < 2:
        return
    for i in range(6):
        for j in range(i):
            H[i, j] = H[j, i]
    for i in range(6):
        v[:] = H[i]
        for k in range(3):
            H[i, k] = R[k, 0] * v[0] + R[k, 1] * v[1] + R[k, 2] * v[2]
            H[i, k + 3] = R[k, 0] * v[3] + R[k, 1] * v[4] + R[k, 2] * v[5]
    for j in range(6):
        for k in range(6):
            v[k] = H[k, j]
        for k in range(3):
            H[k, j] = HESSIAN_SCALE * (R[k, 0] * v[0] + R[k, 1] * v[1] + R[k, 2] * v[2])
            H[k + 3, j] = HESSIAN_SCALE * (R[k, 0] * v[3] + R[k, 1] * v[4] + R[k, 2] * v[5])
    for i in range(6):
        for j in range(i):
            H[i, j] = H[j, i]


@kernel
def background(features, clutter, use_mean, out):  # type: ignore[no-untyped-def]
    """Background score of each cell: the best prototype's, or the mean prototype's; 0 for none."""
    for cell in range(features.shape[0]):
        best = np.float32(0.0)
        for m in range(clutter.shape[0]):
            score = np.float32(0.0)
            for k in range(features.shape[1]):
                score += features[cell, k] * clutter[m, k]
            if use_mean:
                best += score
            elif m == 0 or score > best:
                best = score
        if use_mean and clutter.shape[0] > 0:
            best /= np.float32(clutter.shape[0])
        out[cell] = best
