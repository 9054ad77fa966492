# SPDX-License-Identifier: Apache-2.0
"""Where an object of known rotation must stand so that it fills a detector's box.

A box side is a plane through the camera that touches the object. For the left side, x = a z with
a = (x1 - cx) / fx, and object points y_i (camera axes, before the translation t):
    min_i (y_ix - a y_iz) + t_x - a t_z = 0,
whatever t is: the point that touches does not depend on it. Four sides give four linear equations
in three unknowns, solved by weighted least squares in closed form.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from nemo_model.kernel import kernel
from nemo_model.objective import NEAR

Array = npt.NDArray[np.float64]

DOUBTFUL = 1e-3
"""Weight of a side that is not reliable: it decides only what no other side decides."""

_FARTHEST = 1e4


@kernel
def fit(points, R, rays, weights, t):  # type: ignore[no-untyped-def]
    """Fill t (3,) with the translation that makes the projected points fill the box.

    points (3, P) float32 in the object frame; rays (4,): the sides x1, y1, x2, y2 as
    (pixel - principal point) / focal length; weights (4,) > 0.
    """
    a1, b1 = np.float32(rays[0]), np.float32(rays[1])
    a2, b2 = np.float32(rays[2]), np.float32(rays[3])
    r00, r01, r02 = np.float32(R[0, 0]), np.float32(R[0, 1]), np.float32(R[0, 2])
    r10, r11, r12 = np.float32(R[1, 0]), np.float32(R[1, 1]), np.float32(R[1, 2])
    r20, r21, r22 = np.float32(R[2, 0]), np.float32(R[2, 1]), np.float32(R[2, 2])
    large = np.float32(1e30)
    left = top = nearest = large
    right = bottom = -large
    for k in range(points.shape[1]):
        px, py, pz = points[0, k], points[1, k], points[2, k]
        x = r00 * px + r01 * py + r02 * pz
        y = r10 * px + r11 * py + r12 * pz
        z = r20 * px + r21 * py + r22 * pz
        left, right = min(left, x - a1 * z), max(right, x - a2 * z)
        top, bottom = min(top, y - b1 * z), max(bottom, y - b2 * z)
        nearest = min(nearest, z)
    # residuals m + a t_z - t_x per side; t_x and t_y eliminated by their weighted means
    wx, wy = weights[0] + weights[2], weights[1] + weights[3]
    a_mean = (weights[0] * a1 + weights[2] * a2) / wx
    b_mean = (weights[1] * b1 + weights[3] * b2) / wy
    m_mean = -(weights[0] * left + weights[2] * right) / wx
    n_mean = -(weights[1] * top + weights[3] * bottom) / wy
    over = (
        weights[0] * (a1 - a_mean) * (-left - m_mean)
        + weights[2] * (a2 - a_mean) * (-right - m_mean)
        + weights[1] * (b1 - b_mean) * (-top - n_mean)
        + weights[3] * (b2 - b_mean) * (-bottom - n_mean)
    )
    under = (
        weights[0] * (a1 - a_mean) ** 2
        + weights[2] * (a2 - a_mean) ** 2
        + weights[1] * (b1 - b_mean) ** 2
        + weights[3] * (b2 - b_mean) ** 2
    )
    depth = -over / under if under > 1e-12 else _FARTHEST
    depth = min(max(depth, 10.0 * NEAR - nearest), _FARTHEST)
    t[2] = depth
    t[0] = m_mean + a_mean * depth
    t[1] = n_mean + b_mean * depth


@kernel
def pull(points, R, t, rays, fx, fy, weights, sigmas, scale, order, gradient, hessian):  # type: ignore[no-untyped-def]
    """Add the box term to an evaluation: minus scale * sum of w rho(gap / sigma).

    gap (6,): the distances in cells between the sides (x1, y1, x2, y2) of the projected points'
    bounding box and the box, and between their centres (x, y). Sides err with the object's shape,
    which differs from car to car, centres much less. rho(r) = log(1 + r^2) / 2 (Cauchy), whose
    pull fades for what is plainly wrong.
    Adds the gradient by (omega, dt) from order 1, and from order 2 the Gauss-Newton Hessian of the
    negative. Returns the term, or 0 when a point is not in front of the camera.
    """
    large = 1e30
    extreme = (large, large, -large, -large)
    which = (0, 0, 0, 0)
    for k in range(points.shape[1]):
        px, py, pz = points[0, k], points[1, k], points[2, k]
        x = R[0, 0] * px + R[0, 1] * py + R[0, 2] * pz + t[0]
        y = R[1, 0] * px + R[1, 1] * py + R[1, 2] * pz + t[1]
        z = R[2, 0] * px + R[2, 1] * py + R[2, 2] * pz + t[2]
        if z < NEAR:
            return 0.0
        u, v = x / z, y / z
        if u < extreme[0]:
            extreme = (u, extreme[1], extreme[2], extreme[3])
            which = (k, which[1], which[2], which[3])
        if v < extreme[1]:
            extreme = (extreme[0], v, extreme[2], extreme[3])
            which = (which[0], k, which[2], which[3])
        if u > extreme[2]:
            extreme = (extreme[0], extreme[1], u, extreme[3])
            which = (which[0], which[1], k, which[3])
        if v > extreme[3]:
            extreme = (extreme[0], extreme[1], extreme[2], v)
            which = (which[0], which[1], which[2], k)
    rows = np.zeros((6, 6))  # per residual, by (omega, dt): four sides, two centres
    gaps = np.zeros(6)
    for side in range(4):
        focal = fy if side & 1 else fx
        gaps[side] = (extreme[side] - rays[side]) * focal
        k = which[side]
        px, py, pz = points[0, k], points[1, k], points[2, k]
        y0 = R[0, 0] * px + R[0, 1] * py + R[0, 2] * pz
        y1 = R[1, 0] * px + R[1, 1] * py + R[1, 2] * pz
        y2 = R[2, 0] * px + R[2, 1] * py + R[2, 2] * pz
        unit = focal / (y2 + t[2])
        row = rows[side]
        row[3] = 0.0 if side & 1 else unit
        row[4] = unit if side & 1 else 0.0
        row[5] = -unit * extreme[side]
        row[0] = y1 * row[5] - y2 * row[4]
        row[1] = y2 * row[3] - y0 * row[5]
        row[2] = y0 * row[4] - y1 * row[3]
    for axis in range(2):
        gaps[4 + axis] = 0.5 * (gaps[axis] + gaps[axis + 2])
        for i in range(6):
            rows[4 + axis, i] = 0.5 * (rows[axis, i] + rows[axis + 2, i])
    term = 0.0
    for k in range(6):
        amount = scale * weights[k]
        if amount <= 0.0:
            continue
        r = gaps[k] / sigmas[k]
        term -= 0.5 * amount * math.log1p(r * r)
        if order == 0:
            continue
        robust = amount / (1.0 + r * r)
        for i in range(6):
            gradient[i] -= robust * r * rows[k, i] / sigmas[k]
            if order > 1:
                for j in range(6):
                    hessian[i, j] += robust * rows[k, i] * rows[k, j] / sigmas[k] ** 2
    return term


def translation_from_box(
    points: npt.ArrayLike,
    R: Array,
    K: Array,
    box: npt.ArrayLike,
    reliable: tuple[bool, bool, bool, bool] = (True, True, True, True),
) -> Array:
    """Return the translation (3,), object to camera, that makes the projection fill a box.

    Args:
        points: (P, 3) outline points in the object frame.
        R: R_cam_obj (3, 3).
        K: (3, 3), in the box's units.
        box: (x1, y1, x2, y2).
        reliable: per side in that order; False for one cut by the image's edge.
    """
    columns = np.ascontiguousarray(np.asarray(points, dtype=np.float32).T)
    weights = np.where(reliable, 1.0, DOUBTFUL)
    t = np.zeros(3)
    fit(columns, np.ascontiguousarray(R, dtype=np.float64), box_rays(box, K), weights, t)
    return t


def box_rays(box: npt.ArrayLike, K: Array) -> Array:
    """Return a box's sides (4,) as (coordinate - principal point) / focal length."""
    sides = np.asarray(box, dtype=np.float64)
    offset = np.array([K[0, 2], K[1, 2], K[0, 2], K[1, 2]])
    return (sides - offset) / np.array([K[0, 0], K[1, 1], K[0, 0], K[1, 1]])
