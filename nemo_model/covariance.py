# SPDX-License-Identifier: Apache-2.0
"""From the curvature of the objective to a pose covariance in the order of REP-103."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

FLOOR = 1e-3
"""Smallest curvature per axis, as a share of the largest of its kind (rotation, translation)."""
WORST_ROTATION = np.pi
"""Standard deviation in radians where the objective says nothing at all."""


def pose_covariance(
    hessian: Array,
    R_cam_crop: Array,
    position: Array,
    metres_per_unit: float,
    size_sigma: float,
    variance_scale: float = 1.0,
) -> Array:
    """Return the covariance (6, 6) of x, y, z, rotX, rotY, rotZ about the camera frame's axes.

    The pose errs as t + dt, exp(dw) R. The inverse curvature times variance_scale (fitted per
    bundle), plus the category's size: an object larger by a factor s, seen as large, is further
    away by s, so position errs along its own ray by size_sigma |position|.

    Args:
        hessian: (6, 6) of minus the energy by (dw, dt), crop camera axes, object units.
        R_cam_crop: (3, 3) crop camera to camera axes.
        position: (3,) of the object's origin in the camera frame, metres.
        metres_per_unit: of the model.
        size_sigma: relative standard deviation of the object's size.
        variance_scale: variance per unit of inverse curvature.
    """
    curvature = 0.5 * (hessian + hessian.T)
    scale = np.repeat([_largest(curvature[:3, :3]), _largest(curvature[3:, 3:])], 3)
    root = np.sqrt(scale)
    values, vectors = np.linalg.eigh(curvature / root[:, None] / root[None, :])
    inverse = (vectors / np.maximum(values, FLOOR)) @ vectors.T
    inverse = variance_scale * inverse / root[:, None] / root[None, :]
    turn = np.zeros((6, 6))
    turn[3:, :3] = R_cam_crop
    turn[:3, 3:] = R_cam_crop * metres_per_unit
    result = turn @ inverse @ turn.T
    result[:3, :3] += size_sigma**2 * np.outer(position, position)
    deviation = np.sqrt(np.maximum(np.diag(result), 1e-18))
    limit = np.concatenate([np.full(3, np.inf), np.full(3, WORST_ROTATION)])
    shrink = np.minimum(1.0, limit / deviation)
    return np.asarray(result * shrink[:, None] * shrink[None, :])


def _largest(block: Array) -> float:
    """A positive scale for a (3, 3) block; tiny where there is no curvature at all."""
    return max(float(np.diag(block).max()), 1e-9)
