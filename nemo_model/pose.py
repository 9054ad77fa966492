# SPDX-License-Identifier: Apache-2.0
"""Rotations, rigid transforms and the viewpoint angles of PASCAL3D+.

Object frame: z up, front at -y. Camera frame: OpenCV optical (x right, y down, z forward).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

Array = npt.NDArray[np.float64]

_CV_FROM_GL = np.diag([1.0, -1.0, -1.0])
_GIMBAL = 1e-9
"""Cosine of the elevation below which azimuth and theta cannot be told apart."""


def rotation_from_angles(azimuth: float, elevation: float, theta: float) -> Array:
    """Return R_cam_obj (3, 3) for a PASCAL3D+ viewpoint.

    R = diag(1, -1, -1) Rz(theta) Rx(-(pi/2 - elevation)) Rz(-azimuth)
    (Xiang et al., PASCAL3D+, WACV 2014; the diagonal turns its OpenGL camera into OpenCV's).

    Args:
        azimuth: radians; 0 sees the object's front.
        elevation: radians, positive when the camera is above the object.
        theta: in-plane rotation, radians.
    """
    gl = Rotation.from_euler("ZXZ", [theta, elevation - np.pi / 2, -azimuth])
    return _CV_FROM_GL @ gl.as_matrix()


def angles_from_rotation(rotation: Array) -> tuple[float, float, float]:
    """Return (azimuth, elevation, theta) in radians of R_cam_obj (3, 3).

    azimuth in [0, 2 pi), elevation in [-pi/2, pi/2], theta in (-pi, pi]. Looking straight down
    or up, azimuth and theta turn about the same axis; theta is then reported as 0.
    """
    gl = _CV_FROM_GL @ rotation
    cosine = float(np.hypot(gl[0, 2], gl[1, 2]))
    elevation = float(np.arctan2(gl[2, 2], cosine))  # arcsin loses half the digits at the poles
    if cosine < _GIMBAL:
        theta = 0.0
        azimuth = float(np.arctan2(gl[0, 1], gl[0, 0]))
    else:
        theta = float(np.arctan2(-gl[0, 2], gl[1, 2]))
        azimuth = float(np.arctan2(gl[2, 0], -gl[2, 1]))
    azimuth %= 2.0 * np.pi
    return (azimuth if azimuth < 2.0 * np.pi else 0.0), elevation, theta  # -1e-17 % 2 pi is 2 pi


def flip_angles(azimuth: float, elevation: float, theta: float) -> tuple[float, float, float]:
    """Return the viewpoint of the horizontally mirrored image of a symmetric object."""
    return -azimuth, elevation, -theta


def transform(rotation: Array, translation: Array) -> Array:
    """Return the (4, 4) rigid transform of a rotation (3, 3) and a translation (3,)."""
    result = np.eye(4)
    result[:3, :3] = rotation
    result[:3, 3] = translation
    return result


def geodesic(rotation_a: Array, rotation_b: Array) -> float:
    """Return the angle in radians, in [0, pi], of the rotation between two rotations (3, 3).

    By atan2 of the sine and cosine, exact near 0 and near pi, where arccos of the trace is not.
    """
    relative = np.asarray(rotation_a).T @ np.asarray(rotation_b)
    return float(Rotation.from_matrix(relative).magnitude())
