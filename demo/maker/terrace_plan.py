# SPDX-License-Identifier: Apache-2.0
"""The terrace: a sofa, a table, a chair and a car; a camera that goes more than half around them.

World frame: x to the right and y away from the camera's middle position. Pure numpy.
"""

from __future__ import annotations

import numpy as np

from maker.timeline import RATE, Array, Placement, Timeline, smooth

FRAMES = 90
MIDDLE = np.array([0.0, 0.5, 0.0])
"""The point between the objects that the camera goes around."""

OBJECTS = (
    Placement("leather_sofa", "sofa", "1", (-1.75, -0.55), np.radians(28.0)),
    Placement("white_kitchen_table", "diningtable", "2", (0.35, -1.15), np.radians(-14.0)),
    Placement("ella_chair_f", "chair", "3", (1.75, -0.55), np.radians(-68.0)),
    Placement("focus", "car", "4", (0.1, 2.35), np.radians(-82.0), (0.24, 0.25, 0.26)),
)

POSTS = tuple((a, 3.55) for a in (-63.0, -20.0, 24.0, 64.0))
"""Pergola posts that sweep over everything: angle (degrees) and distance (m) from MIDDLE."""
PLANTERS = ((-42.0, 3.7), (1.0, 3.7), (47.0, 3.8))
"""Low hedges that hide the lower part of the furniture, likewise."""

TUBS = ((103.0, 3.9),)
"""Tall clipped trees in tubs, for the car."""


def around(angle_deg: float, distance: float) -> tuple[float, float]:
    """Return (x, y) at an angle about MIDDLE, 0 towards the camera's middle position."""
    a = np.radians(angle_deg)
    return float(MIDDLE[0] + distance * np.sin(a)), float(MIDDLE[1] - distance * np.cos(a))


def _eye(frame: float) -> Array:
    """An orbit that comes nearer."""
    u = frame / (FRAMES - 1)
    angle = -80.0 + 181.0 * (0.55 * u + 0.45 * smooth(u))
    radius = 5.9 + 1.3 * (1.0 - smooth(u / 0.4)) + 0.5 * smooth((u - 0.7) / 0.3)
    height = 1.35 + 0.45 * np.sin(np.pi * u) ** 2
    bob = 0.012 * np.sin(2 * np.pi * 1.7 * frame / RATE)
    return np.array([*around(angle, radius), height + bob])


def _target(frame: float) -> Array:
    """Between the objects, with a hand's sway."""
    t = frame / RATE
    sway = np.array([0.12 * np.sin(0.9 * t), 0.0, 0.5 + 0.05 * np.sin(1.3 * t + 1.0)])
    return MIDDLE + sway


TIMELINE = Timeline(FRAMES, 11, OBJECTS, _eye, _target)
