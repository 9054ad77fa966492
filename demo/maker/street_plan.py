# SPDX-License-Identifier: Apache-2.0
"""The street: two parked cars, a camera that comes nearer and goes half around them. Pure numpy.

World frame: x along the street, y across it, away from the camera.
"""

from __future__ import annotations

import numpy as np

from maker.timeline import RATE, Array, Placement, Timeline, smooth

FRAMES = 120
MIDDLE = np.array([0.05, 0.0, 0.0])
"""The point between the two cars that the camera goes around."""

COLUMN_XY = (-3.5, -6.2)
"""Advertising column that sweeps over the first car."""
HEDGE_XY = (3.9, -6.3)
"""Planted hedge that sweeps over the second car."""

CARS = (
    Placement("focus", "car", "1", (-2.85, 0.05), np.radians(-91.5), (0.022, 0.075, 0.22)),
    Placement("suv", "car", "2", (2.95, -0.08), np.radians(88.0), (0.33, 0.028, 0.022)),
)


def _eye(frame: float) -> Array:
    """An approach, then part of an orbit."""
    u = frame / (FRAMES - 1)
    angle = np.radians(-58.0 + 112.0 * (0.35 * u + 0.65 * smooth(u)))
    radius = 10.7 + 7.0 * (1.0 - smooth(u / 0.42))
    height = 1.4 + 0.2 * np.sin(np.pi * u) ** 2
    bob = 0.012 * np.sin(2 * np.pi * 1.7 * frame / RATE)
    x, y = MIDDLE[0] + radius * np.sin(angle), MIDDLE[1] - radius * np.cos(angle)
    return np.array([x, y, height + bob])


def _target(frame: float) -> Array:
    """Between the cars, with a hand's sway."""
    t = frame / RATE
    sway = np.array([0.18 * np.sin(0.9 * t), 0.0, 0.72 + 0.05 * np.sin(1.3 * t + 1.0)])
    return MIDDLE + sway


TIMELINE = Timeline(FRAMES, 7, CARS, _eye, _target)
