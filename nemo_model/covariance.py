# SPDX-License-Identifier: Apache-2.0
"""From the curvature of the objective to a pose covariance in the order of REP-103.

C = k (a H^-1 + N): the inverse curvature H^-1 tells which way a pose is loose, N what is wrong even
where the objective is sharp (a cuboid for a car, the labels): deviations about the object's own
axes, across the line of sight, and along it. k = exp(sum_k w_k z_k) grows with doubt. a, N and w
are fitted to the errors of right estimates (evaluation/spread.py) and ship in the bundle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from nemo_model.calibration import Spread

Array = npt.NDArray[np.float64]

FLOOR = 1e-3
"""Smallest curvature per axis, as a share of the largest of its kind (rotation, translation)."""
WORST_ROTATION = np.pi
"""Standard deviation in radians where the objective says nothing at all."""
PLAIN = Spread()
"""Of a bundle that was not calibrated: the inverse curvature alone."""


def pose_covariance(
    hessian: Array,
    R_crop_obj: Array,
    t_crop_obj: Array,
    R_cam_crop: Array,
    metres_per_unit: float,
    size_sigma: float,
    spread: Spread = PLAIN,
    scaled: Mapping[str, float] | None = None,
) -> Array:
    """Return the covariance (6, 6) of x, y, z, rotX, rotY, rotZ about the camera frame's axes.

    The pose errs as t + dt, exp(dw) R. To the spread comes the category's size: an object larger
    by a factor s, seen as large, is further away by s, so its position errs along its own ray by
    size_sigma |position|.

    Args:
        hessian: (6, 6) of minus the energy by (dw, dt), crop camera axes, object units.
        R_crop_obj: (3, 3) the pose's rotation.
        t_crop_obj: (3,) of the object's origin in the crop camera, object units.
        R_cam_crop: (3, 3) crop camera to camera axes.
        metres_per_unit: of the model.
        size_sigma: relative standard deviation of the object's size.
        spread: of the bundle.
        scaled: statistics in deviations from their mean; none counts as the mean.
    """
    local = crop_covariance(hessian, R_crop_obj, t_crop_obj, spread, scaled)
    turn = np.zeros((6, 6))
    turn[3:, :3] = R_cam_crop
    turn[:3, 3:] = R_cam_crop * metres_per_unit
    result = turn @ local @ turn.T
    position = R_cam_crop @ t_crop_obj * metres_per_unit
    result[:3, :3] += size_sigma**2 * np.outer(position, position)
    deviation = np.sqrt(np.maximum(np.diag(result), 1e-18))
    limit = np.concatenate([np.full(3, np.inf), np.full(3, WORST_ROTATION)])
    shrink = np.minimum(1.0, limit / deviation)
    return np.asarray(result * shrink[:, None] * shrink[None, :])


def crop_covariance(
    hessian: Array,
    R: Array,
    t: Array,
    spread: Spread = PLAIN,
    scaled: Mapping[str, float] | None = None,
) -> Array:
    """Return the covariance (6, 6) of (dw, dt) in the crop camera, object units, without the size.

    Arguments as of pose_covariance.
    """
    result = spread.curvature * steady_inverse(hessian)
    result[:3, :3] += (R * np.square(spread.rotation)) @ R.T
    result[3:, 3:] += spread.lateral**2 * np.diag([1.0, 1.0, 0.0])
    result[3:, 3:] += spread.depth**2 * np.outer(t, t)
    known = scaled or {}
    doubt = sum(weight * known.get(name, 0.0) for name, weight in spread.weights.items())
    return np.asarray(result * math.exp(min(max(doubt, -6.0), 6.0)))


def steady_inverse(hessian: Array) -> Array:
    """Invert a curvature (6, 6) that may be flat, or bent the wrong way, in some directions."""
    curvature = 0.5 * (hessian + hessian.T)
    scale = np.repeat([_largest(curvature[:3, :3]), _largest(curvature[3:, 3:])], 3)
    root = np.sqrt(scale)
    values, vectors = np.linalg.eigh(curvature / root[:, None] / root[None, :])
    inverse = (vectors / np.maximum(values, FLOOR)) @ vectors.T
    return np.asarray(inverse / root[:, None] / root[None, :])


def _largest(block: Array) -> float:
    """A positive scale for a (3, 3) block; tiny where there is no curvature at all."""
    return max(float(np.diag(block).max()), 1e-9)
