# SPDX-License-Identifier: Apache-2.0
"""Where an object will be: constant velocity from the stamps, dying away; and its box with it.

The rotation moves by an angular velocity about the camera's axes, the translation by velocities of
(x / z, y / z, log z), which is what an image tells about it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from nemo_model.boxes import Box, Floats
from nemo_model.camera import Camera

MAX_TURN = 3.0
"""Radians per second; a faster one is a mistake of the estimate, not a motion."""
FAR_TURN = math.radians(20.0)
"""What differs more from the prediction is not averaged with it."""
BIASED = 0.35
"""A mean innovation of more than this share of the mean square is a lag, not scatter."""
LEAST_DOUBT, MOST_DOUBT = math.radians(4.2) ** 2, math.pi**2
"""A rotation's variance is never taken for less or more, rad squared, all axes together."""
RESTLESS = 6.0 * LEAST_DOUBT
"""By how much it grows, rad squared per second. At 12 frames a second a rotation known to 6
degrees, as of a car in full sight, counts for 0.4 against the prediction, one known to 17 (half
hidden) for 0.16. Chosen on rendered sequences, seeds 0 to 3."""
LAG, MOST_LAG = 0.1, math.radians(30.0)
"""Share of a correction that is put down to a rate at which predictions lag behind; the rate is at
most so much, rad/s, and foretells at most SOON seconds."""
SOON = 0.25
LOOSE_DEPTH, LOOSE_TURN = 0.3, 0.5
"""Weight of what is found without a box against what is predicted."""
GAIN = 0.35
"""Weight of the newest frame in the mean velocity."""


@dataclass(frozen=True)
class Motion:
    """A velocity, and whether it is one.

    Attributes:
        turn: (3,) rad/s about the camera's axes.
        drift: (3,) of x / z, y / z and log z per second.
        missed: (4,) mean squares by which the turn, standing still in rotation, the drift, and
            standing still in place failed to foretell the next frame. A camera that shakes makes
            velocities that foretell nothing.
    """

    turn: Floats
    drift: Floats
    missed: Floats

    @property
    def turning(self) -> bool:
        """Whether the turn foretells better than standing still."""
        return bool(self.missed[0] < self.missed[1])

    @property
    def drifting(self) -> bool:
        """Whether the drift foretells better than standing still."""
        return bool(self.missed[2] < self.missed[3])


def still() -> Motion:
    """No motion."""
    return Motion(np.zeros(3), np.zeros(3), np.zeros(4))


def learn(motion: Motion, before: Floats, after: Floats, dt: float) -> Motion:
    """The mean motion, with that from one pose (4, 4) to another within dt seconds.

    A turn that is too fast is left out.
    """
    if dt <= 0.0:
        return motion
    new_turn = Rotation.from_matrix(after[:3, :3] @ before[:3, :3].T).as_rotvec() / dt
    new_drift = (_bearing(after) - _bearing(before)) / dt
    usable = float(np.linalg.norm(new_turn)) <= MAX_TURN
    errors = np.array(
        [
            np.sum((new_turn - motion.turn) ** 2) if usable else motion.missed[0],
            np.sum(new_turn**2) if usable else motion.missed[1],
            np.sum((new_drift - motion.drift)[:2] ** 2),
            np.sum(new_drift[:2] ** 2),
        ]
    )
    missed = motion.missed + 0.2 * (errors - motion.missed)
    turn = motion.turn + GAIN * (new_turn - motion.turn) if usable else motion.turn
    return Motion(turn, motion.drift + GAIN * (new_drift - motion.drift), missed)


def advance(T: Floats, motion: Motion, dt: float, damping_s: float) -> Floats:
    """The pose (4, 4) after dt seconds; the velocity dies away with the time constant damping_s."""
    result = T.copy()
    if damping_s <= 0.0 or dt <= 0.0:
        return result
    span = damping_s * -math.expm1(-dt / damping_s)
    if motion.turning:
        result[:3, :3] = Rotation.from_rotvec(motion.turn * span).as_matrix() @ T[:3, :3]
    if motion.drifting:
        x, y, log_z = _bearing(T) + np.clip(motion.drift * span, -0.7, 0.7)
        z = math.exp(log_z)
        result[:3, 3] = (x * z, y * z, z)
    return result


@dataclass
class Steadier:
    """Rotations averaged over frames, as long as they scatter about the prediction.

    A Kalman filter of one variance for all three axes, with a slow rate beside it (an alpha-beta
    filter's): what is found counts for as much as its covariance says it is worth.

    Attributes:
        innovation: (3,) mean difference of what was found from what was predicted, as a rotation
            vector; square: its mean square. A difference that keeps its direction is no scatter.
        rate: (3,) rad/s about the camera's axes by which predictions lag behind.
        variance: rad squared, of the present rotation.
    """

    innovation: Floats = field(default_factory=lambda: np.zeros(3))
    square: float = 0.0
    rate: Floats = field(default_factory=lambda: np.zeros(3))
    variance: float = 0.0

    def led(self, ahead: Floats, dt: float) -> Floats:
        """A predicted rotation (3, 3), moved on by the rate; dt: seconds it was predicted for."""
        return np.asarray(Rotation.from_rotvec(self.rate * min(dt, SOON)).as_matrix() @ ahead)

    def steady(
        self, found: Floats, ahead: Floats, doubt: float, dt: float, turning: bool
    ) -> Floats:
        """The rotation (3, 3) between what was predicted and what was found.

        doubt: variance of what was found, rad squared, all axes together; dt: seconds since the
        last pose that a box confirmed; turning: the prediction follows a turn, and does not lag.
        """
        e = Rotation.from_matrix(found @ ahead.T).as_rotvec()
        doubt = _bounded(doubt)
        if float(np.linalg.norm(e)) > FAR_TURN:
            self.innovation, self.square = np.zeros(3), 0.0
            self.rate, self.variance = np.zeros(3), doubt
            return found
        told = 0.25 * min(1.0, 2.0 * LEAST_DOUBT / doubt)  # of doubtful ones a mean tells little
        self.innovation = self.innovation + told * (e - self.innovation)
        self.square += told * (float(e @ e) - self.square)
        before = _bounded(self.variance or doubt) + RESTLESS * dt
        biased = float(self.innovation @ self.innovation) > BIASED * self.square
        gain = 1.0 if biased else before / (before + doubt)
        self.variance = gain * doubt
        self.rate = np.zeros(3) if turning else self.rate + LAG * gain * e / max(dt, 1.0 / 60.0)
        self.rate = self.rate * min(1.0, MOST_LAG / max(float(np.linalg.norm(self.rate)), 1e-9))
        return np.asarray(Rotation.from_rotvec(gain * e).as_matrix() @ ahead)


def _bounded(doubt: float) -> float:
    return max(doubt, LEAST_DOUBT) if doubt < MOST_DOUBT else MOST_DOUBT


def swung(T: Floats, onto: Floats) -> Floats:
    """The rotation (3, 3) of a predicted pose (4, 4), if the camera's turn made its place differ.

    A place that was not foretold is put down to a camera that turned, not to the object: the
    rotation turns as the ray to the predicted place turns onto the ray to the place `onto` (3,).
    """
    a, b = T[:3, 3] / np.linalg.norm(T[:3, 3]), onto / np.linalg.norm(onto)
    axis = np.cross(a, b)
    sine = float(np.linalg.norm(axis))
    if sine < 1e-9:
        return np.asarray(T[:3, :3])
    angle = math.atan2(sine, float(a @ b))
    return np.asarray(Rotation.from_rotvec(axis / sine * angle).as_matrix() @ T[:3, :3])


def held(T: Floats, ahead: Floats) -> Floats:
    """A pose (4, 4) found without a box, held towards the predicted one.

    The distance, which such an image tells least, goes LOOSE_DEPTH of the way, along the viewing
    ray; the rotation LOOSE_TURN of it.
    """
    result = T.copy()
    result[:3, 3] *= math.exp((LOOSE_DEPTH - 1.0) * math.log(T[2, 3] / ahead[2, 3]))
    start = swung(ahead, T[:3, 3])
    e = Rotation.from_matrix(T[:3, :3] @ start.T).as_rotvec()
    if float(np.linalg.norm(e)) <= FAR_TURN:
        result[:3, :3] = Rotation.from_rotvec(LOOSE_TURN * e).as_matrix() @ start
    return result


def carry_box(
    box: Box, before: Floats, after: Floats, size: Floats, camera: Camera, after_camera: Camera
) -> Box:
    """The box of an object that moved from one pose (4, 4) to another.

    The box keeps its place about the projected cuboid of `size` (3,), as a share of that cuboid's
    extent. Sides that the image's edge cut are taken from the cuboid. An object too near to be
    projected keeps its box.
    """
    old, new = _outline(before, size, camera), _outline(after, size, after_camera)
    if old is None or new is None:
        return box
    result = []
    for k, (side, last) in enumerate(zip(box, (camera.width, camera.height) * 2, strict=True)):
        low, high = old[k % 2], old[k % 2 + 2]
        share = (side - old[k]) / (high - low) if 1.5 < side < last - 2.5 else 0.0
        result.append(float(new[k] + share * (new[k % 2 + 2] - new[k % 2])))
    x1, y1, x2, y2 = result
    return (x1, y1, x2, y2)


def clipped(box: Box, camera: Camera) -> Box:
    """A box as a detector would give it: cut at the image's edge."""
    x, y = camera.width - 1.0, camera.height - 1.0
    return (
        min(max(box[0], 0.0), x), min(max(box[1], 0.0), y),
        min(max(box[2], 0.0), x), min(max(box[3], 0.0), y),
    )  # fmt: skip


def _bearing(T: Floats) -> Floats:
    x, y, z = T[:3, 3]
    return np.array([x / z, y / z, math.log(z)])


def _outline(T: Floats, size: Floats, camera: Camera) -> Floats | None:
    half = np.asarray(size) / 2
    signs = np.array([[1 if i & bit else -1 for bit in (1, 2, 4)] for i in range(8)])
    points = (signs * half) @ T[:3, :3].T + T[:3, 3]
    if (points[:, 2] < 0.05 * max(float(T[2, 3]), 1e-6)).any():
        return None
    pixels = camera.project(points)
    return np.concatenate([pixels.min(0), pixels.max(0)])
