# SPDX-License-Identifier: Apache-2.0
"""When and where everything is: the camera's path, the cars and the occluders. Pure numpy.

World frame: x along the street, y across it (away from the camera), z up, metres, ground at 0.
Object frame: z up, front at -y, origin at the centre of the car's bounding box.
Camera frame: OpenCV (x right, y down, z forward).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

WIDTH, HEIGHT = 640, 360
FOCAL = 535.0
RATE = 10.0
FRAMES = 120
SEED = 7
START_NS = 1_700_000_000_000_000_000
"""Stamp of the first frame; any epoch will do, this one is round."""

MIDDLE = np.array([0.05, 0.0, 0.0])
"""The point between the two cars that the camera goes around."""


@dataclass(frozen=True)
class Placement:
    """A car on the street: bounding-box centre (x, y) in metres and yaw in radians about z."""

    model: str
    track_id: str
    xy: tuple[float, float]
    yaw: float


CARS = (
    Placement("focus", "1", (-2.85, 0.05), np.radians(-91.5)),
    Placement("suv", "2", (2.95, -0.08), np.radians(88.0)),
)

COLUMN_XY = (-3.5, -6.2)
"""Advertising column that sweeps over the first car."""
HEDGE_XY = (3.9, -6.3)
"""Planted hedge that sweeps over the second car."""


def intrinsics() -> Array:
    """Return K (3, 3), pixel centres at integers."""
    return np.array(
        [[FOCAL, 0.0, (WIDTH - 1) / 2], [0.0, FOCAL, (HEIGHT - 1) / 2], [0.0, 0.0, 1.0]]
    )


def stamp_ns(frame: int) -> int:
    """Return the stamp of a frame in nanoseconds."""
    return START_NS + round(frame * 1e9 / RATE)


def _smooth(x: Array | float) -> Array | float:
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def camera_position(frame: float) -> Array:
    """Return the camera centre (3,) in the world: an approach, then part of an orbit."""
    u = frame / (FRAMES - 1)
    angle = np.radians(-58.0 + 112.0 * (0.35 * u + 0.65 * _smooth(u)))
    radius = 10.7 + 7.0 * (1.0 - _smooth(u / 0.42))
    height = 1.4 + 0.2 * np.sin(np.pi * u) ** 2
    bob = 0.012 * np.sin(2 * np.pi * 1.7 * frame / RATE)
    x, y = MIDDLE[0] + radius * np.sin(angle), MIDDLE[1] - radius * np.cos(angle)
    return np.array([x, y, height + bob])


def T_cam_world(frame: int) -> Array:
    """Return (4, 4): world -> camera of a frame, the camera looking between the cars."""
    eye = camera_position(frame)
    t = frame / RATE
    sway = np.array([0.18 * np.sin(0.9 * t), 0.0, 0.72 + 0.05 * np.sin(1.3 * t + 1.0)])
    forward = MIDDLE + sway - eye
    forward /= np.linalg.norm(forward)
    roll = np.radians(0.6) * np.sin(1.1 * t)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    right, down = (
        np.cos(roll) * right + np.sin(roll) * down,
        -np.sin(roll) * right + np.cos(roll) * down,
    )
    T = np.eye(4)
    T[:3, :3] = np.stack([right, down, forward])
    T[:3, 3] = -T[:3, :3] @ eye
    return T


def T_world_obj(placement: Placement, height: float) -> Array:
    """Return (4, 4): object -> world, for a car of this height (metres) standing on the ground."""
    c, s = np.cos(placement.yaw), np.sin(placement.yaw)
    T = np.eye(4)
    T[:3, :3] = [[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]
    T[:3, 3] = (*placement.xy, height / 2.0)
    return T
