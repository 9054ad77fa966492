# SPDX-License-Identifier: Apache-2.0
"""What happens in each sequence: where cars, blocks and the camera are. Pure numpy.

World frame: x along the street, y across it (away from the camera), z up, metres, ground at 0.
A yaw of 0 faces the camera's side (-y), 90 degrees faces +x.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nemo_model.sequences.scene import Block

Array = npt.NDArray[np.float64]

WIDTH, HEIGHT, FOCAL = 640, 360, 535.0
RATE_HZ = 12.0
FRAMES = 66


@dataclass(frozen=True)
class Spot:
    """A car at a moment: xy in metres, yaw in radians."""

    id: str
    model: str
    xy: tuple[float, float]
    yaw: float


@dataclass(frozen=True)
class Moment:
    """All that moves. T_cam_world (4, 4)."""

    cars: tuple[Spot, ...]
    T_cam_world: Array


@dataclass(frozen=True)
class Detector:
    """How boxes go wrong. Each number's unit is in its comment."""

    jitter: float = 0.02  # standard deviation of each side, share of the box's size
    dropped: float = 0.0  # share of the boxes that are missing
    late: int = 0  # frames by which boxes come after their image
    hidden: float = 0.7  # objects hidden by more than this share are not detected


@dataclass(frozen=True)
class Timeline:
    """A sequence: `scene` decides the pictures, `detector` the boxes."""

    name: str
    text: str
    scene: str
    detector: Detector = Detector()


Script = Callable[[float, Array], Moment]
"""From the time in [0, 1] and noise (6,) of the frame, about N(0, 1), to the moment."""


def intrinsics() -> Array:
    """K (3, 3), pixel centres at integers."""
    return np.array(
        [[FOCAL, 0.0, (WIDTH - 1) / 2], [0.0, FOCAL, (HEIGHT - 1) / 2], [0.0, 0.0, 1.0]]
    )


def look_at(eye: tuple[float, ...], at: tuple[float, ...], turn: Array | None = None) -> Array:
    """T_cam_world (4, 4) of a level camera; turn: (3,) further pitch, yaw, roll, radians."""
    centre, forward = np.array(eye), np.array(at) - np.array(eye)
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right = right / np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])
    if turn is not None:
        a, b, c = turn
        Rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
        Ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
        Rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
        R = Rz @ Rx @ Ry @ R
    T = np.eye(4)
    T[:3, :3] = R
    T[:3, 3] = -R @ centre
    return T


def _approach(u: float, noise: Array) -> Moment:
    far = 30.0 - 22.5 * u
    eye = (0.42 * far, -0.85 * far, 1.5)
    return Moment((Spot("1", "focus", (0.0, 0.0), np.radians(75.0)),), look_at(eye, (0, 0, 0.8)))


def _turn(u: float, noise: Array) -> Moment:
    s = u * u * (3.0 - 2.0 * u)
    angle = np.radians(100.0 - 205.0 * s)  # of the heading; an arc of 4 m radius
    at = (3.2 * np.cos(angle - np.pi / 2) * 1.2, 2.2 * np.sin(angle - np.pi / 2) + 1.0)
    return Moment((Spot("1", "suv", at, float(angle)),), look_at((0.6, -12.0, 1.7), (0, 0, 0.7)))


def _occlusion(u: float, noise: Array) -> Moment:
    x = -9.2 + 18.4 * u
    return Moment(
        (Spot("1", "focus", (x, 1.0), np.radians(90.0)),),
        look_at((0.8, -13.0, 1.6), (0.25 * x, 0.5, 0.9)),
    )


def _crossing(u: float, noise: Array) -> Moment:
    far, near = -8.0 + 16.5 * u, 7.5 - 15.0 * u
    return Moment(
        (
            Spot("1", "focus", (far, 2.4), np.radians(92.0)),
            Spot("2", "suv", (near, -2.9), np.radians(-90.0)),
        ),
        look_at((0.4, -13.5, 1.6), (0.0, 0.0, 0.8)),
    )


def _shake(u: float, noise: Array) -> Moment:
    turn = np.radians(np.array([1.1, 1.8, 1.0])) * noise[:3]
    eye = (-4.5 + 3.0 * u + 0.04 * noise[3], -10.5 + 0.04 * noise[4], 1.6 + 0.04 * noise[5])
    return Moment(
        (Spot("1", "suv", (0.0, 0.5), np.radians(-60.0)),), look_at(eye, (0.0, 0.5, 0.7), turn)
    )


SCRIPTS: Mapping[str, Script] = {
    "approach": _approach,
    "turn": _turn,
    "occlusion": _occlusion,
    "crossing": _crossing,
    "shake": _shake,
}
BLOCKS: Mapping[str, tuple[Block, ...]] = {
    "occlusion": (Block((-2.6, -3.6, 0.0), (3.4, -3.0, 2.6)),),
}
TIMELINES: Mapping[str, Timeline] = {
    line.name: line
    for line in (
        Timeline("approach", "towards a parked car, 30 to 7.5 m", "approach"),
        Timeline("turn", "a car turns by 205 degrees in front of the camera", "turn"),
        Timeline("occlusion", "a car drives behind a wall, fully hidden, and comes back",
                 "occlusion"),
        Timeline("crossing", "two cars pass each other, one hides the other", "crossing"),
        Timeline("shake", "a parked car, the camera moves along and shakes by degrees per frame",
                 "shake"),
        Timeline("dropped", "as turn, half of the boxes are missing", "turn",
                 Detector(dropped=0.5)),
        Timeline("late", "as turn, boxes come 3 frames after their image", "turn",
                 Detector(late=3)),
        Timeline("jitter", "as approach, boxes jittered by 10 %", "approach",
                 Detector(jitter=0.10)),
    )
}  # fmt: skip
