# SPDX-License-Identifier: Apache-2.0
"""The viewpoint prior as a term of the climb: its value and derivatives at a rotation.

R = F Rz(theta) Rx(elevation - pi/2) Rz(-azimuth), F = diag(1, -1, -1) (pose.rotation_from_angles).
Turning the camera's view by omega, R <- exp(omega) R, changes the angles by J omega, with
s, c = sin, cos(theta):

    azimuth    (s, c, 0) / cos(elevation)
    elevation  (c, -s, 0)
    theta      (0, 0, -1) + sin(elevation) * the azimuth's row

Towards straight down or up the azimuth's row grows without bounds; it is held at 1 / STEEP.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from nemo_model.angles import ANGLES
from nemo_model.kernel import kernel

STEEP = 0.1
"""Least cosine of the elevation that derivatives are divided by."""
_COUNTS = tuple(bins.count for bins in ANGLES)
_STARTS = (0, _COUNTS[0], _COUNTS[0] + _COUNTS[1])
_LO = tuple(float(bins.lo) for bins in ANGLES)
_WIDTHS = tuple(float(bins.width) for bins in ANGLES)
_ROUND = tuple(bool(bins.circular) for bins in ANGLES)


@kernel
def _at(log, start, count, circular, k):  # type: ignore[no-untyped-def]
    """Value of bin k, one beyond the ends being the first (last) or, if circular, the next one."""
    if circular:
        return log[start + k % count]
    return log[start + min(max(k, 0), count - 1)]


@kernel
def read(log, place, angle):  # type: ignore[no-untyped-def]
    """Log probability of an angle, its slope and its curvature (not above 0), per radian.

    place: 0, 1, 2 for azimuth, elevation, theta. Linear between the centres of bins.
    """
    start, count = _STARTS[place], _COUNTS[place]
    width, circular = _WIDTHS[place], _ROUND[place]
    at = (angle - _LO[place]) / width - 0.5
    low = math.floor(at)
    part = at - low
    k = int(low)
    below, above = _at(log, start, count, circular, k), _at(log, start, count, circular, k + 1)
    near = k + 1 if part > 0.5 else k
    middle = _at(log, start, count, circular, near)
    bend = (
        _at(log, start, count, circular, near - 1)
        + _at(log, start, count, circular, near + 1)
        - 2.0 * middle
    )
    value = (1.0 - part) * below + part * above
    return value, (above - below) / width, min(bend / width**2, 0.0)


@kernel
def lean(log, R, scale, order, gradient, hessian):  # type: ignore[no-untyped-def]
    """Return scale * log probability of R (3, 3), adding its derivatives to the sums.

    Args:
        log: (BINS,) of a Viewpoint.
        scale: weight in units of E.
        order: 0 value, 1 and gradient by (omega, dt), 2 and Hessian of its negative (the curvature
            along each angle alone, as far as it is one of a maximum).
    """
    sine = R[2, 2] * -1.0
    cosine = math.hypot(R[0, 2], R[1, 2])
    azimuth = math.atan2(-R[2, 0], R[2, 1])
    elevation = math.atan2(sine, cosine)
    theta = math.atan2(-R[0, 2], -R[1, 2])
    a, slope_a, bend_a = read(log, 0, azimuth)
    e, slope_e, bend_e = read(log, 1, elevation)
    h, slope_h, bend_h = read(log, 2, theta)
    if order > 0:
        s, c = math.sin(theta), math.cos(theta)
        across = max(cosine, STEEP)
        rows = np.zeros((3, 3))
        rows[0, 0], rows[0, 1] = s / across, c / across
        rows[1, 0], rows[1, 1] = c, -s
        rows[2, 0], rows[2, 1], rows[2, 2] = sine * rows[0, 0], sine * rows[0, 1], -1.0
        for k in range(3):
            slope = slope_a if k == 0 else (slope_e if k == 1 else slope_h)
            bend = bend_a if k == 0 else (bend_e if k == 1 else bend_h)
            for i in range(3):
                gradient[i] += scale * slope * rows[k, i]
                if order > 1:
                    for j in range(3):
                        hessian[i, j] -= scale * bend * rows[k, i] * rows[k, j]
    return scale * (a + e + h)


@kernel
def _each(log, rotations, values):  # type: ignore[no-untyped-def]
    gradient, hessian = np.zeros(6), np.zeros((6, 6))
    for k in range(len(rotations)):
        values[k] = lean(log, rotations[k], 1.0, 0, gradient, hessian)


def log_probabilities(
    log: npt.NDArray[np.float64], rotations: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Log probabilities (n,), relative to even, of rotations (n, 3, 3); or one (3, 3): (1,)."""
    given = np.ascontiguousarray(rotations, dtype=np.float64).reshape(-1, 3, 3)
    values = np.empty(len(given))
    _each(log, given, values)
    return values
