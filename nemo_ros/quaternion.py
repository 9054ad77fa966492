# SPDX-License-Identifier: Apache-2.0
"""Rotations as ROS writes them: quaternions x, y, z, w."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def rotation_from_quaternion(q: Floats) -> Floats:
    """Quaternion (4,) x, y, z, w to a rotation (3, 3). Raises ValueError when it is no unit one."""
    norm = float(np.linalg.norm(q))
    if not math.isfinite(norm) or abs(norm - 1.0) > 1e-2:
        raise ValueError(f"orientation {q.tolist()} is not a unit quaternion")
    x, y, z, w = q / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_from_rotation(R: Floats) -> Floats:
    """Rotation (3, 3) to a quaternion (4,) x, y, z, w with w >= 0 (Shepperd's method)."""
    xx, yy, zz = float(R[0, 0]), float(R[1, 1]), float(R[2, 2])
    squares = [1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz, 1 + xx + yy + zz]
    largest = max(range(4), key=squares.__getitem__)
    a, b, c = R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]
    d, e, f = R[1, 0] + R[0, 1], R[2, 0] + R[0, 2], R[2, 1] + R[1, 2]
    s = squares[largest]
    q = np.array([[s, d, e, a], [d, s, f, b], [e, f, s, c], [a, b, c, s]][largest], dtype=float)
    q /= np.linalg.norm(q)
    return -q if q[3] < 0 else q
