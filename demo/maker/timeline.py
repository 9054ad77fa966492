# SPDX-License-Identifier: Apache-2.0
"""What all recordings share: intrinsics, stamps, objects on the ground, a moving camera.

World frame: z up, metres, ground at 0; the scenes' plans say where x and y go. Pure numpy.
Object frame: z up, front at -y, origin at the centre of the bounding box.
Camera frame: OpenCV (x right, y down, z forward).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

WIDTH, HEIGHT = 640, 360
FOCAL = 535.0
RATE = 10.0
START_NS = 1_700_000_000_000_000_000
"""Stamp of the first frame; any epoch will do, this one is round."""


@dataclass(frozen=True)
class Placement:
    """An object on the ground.

    Attributes:
        model: its name in maker.assets.
        category: as the detector calls it.
        track_id: as the detector's tracker calls it.
        xy: centre of the bounding box, metres.
        yaw: about z, radians.
        paint: linear base colour of a car's metallic paint.
    """

    model: str
    category: str
    track_id: str
    xy: tuple[float, float]
    yaw: float
    paint: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Timeline:
    """A recording's objects and the path of its camera.

    Attributes:
        frames: how many.
        seed: of all randomness, in the scene and in the camera's effects.
        placements: the objects of the ground truth.
        eye, target: by frame, the camera's centre and the point that it looks at (3,), metres.
    """

    frames: int
    seed: int
    placements: tuple[Placement, ...]
    eye: Callable[[float], Array]
    target: Callable[[float], Array]

    def T_cam_world(self, frame: int) -> Array:
        """Return (4, 4): world -> camera of a frame; a hand-held camera rolls a little."""
        eye = self.eye(frame)
        forward = self.target(frame) - eye
        forward /= np.linalg.norm(forward)
        roll = np.radians(0.6) * np.sin(1.1 * frame / RATE)
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


def intrinsics() -> Array:
    """Return K (3, 3), pixel centres at integers."""
    return np.array(
        [[FOCAL, 0.0, (WIDTH - 1) / 2], [0.0, FOCAL, (HEIGHT - 1) / 2], [0.0, 0.0, 1.0]]
    )


def stamp_ns(frame: int) -> int:
    """Return the stamp of a frame in nanoseconds."""
    return START_NS + round(frame * 1e9 / RATE)


def smooth(x: Array | float) -> Array | float:
    """Return the smooth step from 0 to 1 of x, clipped to [0, 1]."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def T_world_obj(placement: Placement, height: float) -> Array:
    """Return (4, 4): object -> world, for one of this height (metres) that stands on the ground."""
    c, s = np.cos(placement.yaw), np.sin(placement.yaw)
    T = np.eye(4)
    T[:3, :3] = [[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]
    T[:3, 3] = (*placement.xy, height / 2.0)
    return T
