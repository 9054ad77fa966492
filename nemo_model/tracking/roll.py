# SPDX-License-Identifier: Apache-2.0
"""How a camera rolled from one image to the next, seen in what lies around the objects.

Boxes tell a tracker where the camera turned to, and nothing of a turn about its own axis. Corners
of the background are followed (Lucas and Kanade, IJCAI 1981, in pyramids), those that move alike
are found (RANSAC over similarities), and the rotation between their viewing rays is fitted
(Wahba's problem). Of it only the roll is taken: a moving camera's translation looks like a turn to
either side, not like a roll.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from nemo_model.boxes import Box
from nemo_model.camera import Camera

if TYPE_CHECKING:
    from nemo_model.tracking.memory import Memory
    from nemo_model.tracking.types import Frame

Array = npt.NDArray[np.float64]

WIDTH = 320
"""The images are shrunk to this many pixels across."""
FEWEST = 20
"""Fewer corners that move alike, or less than half of those followed, tell nothing."""
TOLERANCE = 3.0
"""Pixels of the shrunk image by which corners may miss the similarity. A camera that turns by 8
degrees moves the image's corners that much less alike."""
LEAST = math.radians(0.2)
"""A smaller roll is none: a camera at rest seems to roll by some hundredths of a degree."""
MOST = math.radians(20.0)
"""A larger roll from one image to the next is a mistake."""
MARGIN = 0.1
"""Share of a box's size by which what is left out around an object is larger."""


def small_grey(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """An RGB image (H, W, 3) as `camera_roll` wants it: grey, at most WIDTH pixels across."""
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    scale = WIDTH / grey.shape[1]
    if scale < 1.0:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, dtype=np.uint8)


def camera_roll(
    before: npt.NDArray[np.uint8],
    after: npt.NDArray[np.uint8],
    camera: Camera,
    objects: Sequence[Box] = (),
    most: int = 150,
) -> float:
    """The angle by which directions turned about the optical axis, radians; 0 where none is seen.

    A static point at x in the first camera's frame lies at Rz(angle) x in the second's, apart from
    pan and tilt.

    Args:
        before, after: of small_grey, of one size.
        camera: of both images at full size.
        objects: boxes in `before`, pixels of the full size, whose insides may move by themselves.
        most: corners that are followed.
    """
    if before.shape != after.shape:
        return 0.0
    scale = before.shape[1] / camera.width
    mask = np.full(before.shape, 255, np.uint8)
    for box in objects:
        x1, y1, x2, y2 = np.array(box) * scale
        dx, dy = MARGIN * (x2 - x1), MARGIN * (y2 - y1)
        low = np.clip([x1 - dx, y1 - dy], 0, None).astype(int)
        high = np.clip([x2 + dx + 1, y2 + dy + 1], 0, None).astype(int)
        mask[low[1] : high[1], low[0] : high[0]] = 0
    corners = cv2.goodFeaturesToTrack(before, most, 0.01, 5.0, mask=mask)
    if corners is None or len(corners) < FEWEST:
        return 0.0
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, np.empty_like(corners))
    there = found.ravel() == 1
    start, end = corners.reshape(-1, 2)[there], moved.reshape(-1, 2)[there]
    if len(start) < FEWEST:
        return 0.0
    _, alike = cv2.estimateAffinePartial2D(start, end, ransacReprojThreshold=TOLERANCE)
    if alike is None:
        return 0.0
    chosen = alike.ravel() == 1
    if np.count_nonzero(chosen) < max(FEWEST, len(start) / 2):
        return 0.0
    turn, _ = Rotation.align_vectors(
        _rays(end[chosen], camera, scale), _rays(start[chosen], camera, scale)
    )
    roll = float(turn.as_rotvec()[2])
    return roll if LEAST <= abs(roll) <= MOST else 0.0


class RollFollower:
    """Reads the camera's roll from frame to frame; nothing as long as no object is known."""

    def __init__(self, most: int) -> None:
        """most: corners that are followed; 0: the roll is not read."""
        self.most = most
        self._before: tuple[npt.NDArray[np.uint8], Camera] | None = None

    def follow(self, frame: Frame, memories: Iterable[Memory]) -> None:
        """Turn what is known with the camera, where it rolled since the last frame."""
        known = [one for one in memories if one.estimate is not None]
        boxes, boxed = [one.box for one in known], bool(frame.detections)
        angle = self.step(frame.image, frame.camera, boxes, boxed)
        for one in known:
            one.roll(angle)

    def step(
        self, image: npt.NDArray[np.uint8], camera: Camera, known: Sequence[Box], boxed: bool
    ) -> float:
        """The roll since the last frame, radians; 0 where there is none to compare with.

        known: boxes that the known objects had in the last frame; boxed: the frame has boxes.
        """
        before, self._before = self._before, None
        if not self.most or not (known or boxed):
            return 0.0
        self._before = (small_grey(image), camera)
        if before is None or not known or not np.array_equal(before[1].K, camera.K):
            return 0.0
        return camera_roll(before[0], self._before[0], camera, known, self.most)


def rolled(T: Array, angle: float) -> Array:
    """The pose (4, 4) of an object after the camera rolled, before its new place is known.

    A roll moves a ray beside the optical axis as well. That part of the turn comes with the place
    (motion.swung); what is left is a turn about the ray itself (swing-twist decomposition).
    """
    ray = T[:3, 3] / np.linalg.norm(T[:3, 3])
    twist = 2.0 * math.atan2(ray[2] * math.sin(0.5 * angle), math.cos(0.5 * angle))
    turned = T.copy()
    turned[:3, :3] = Rotation.from_rotvec(twist * ray).as_matrix() @ T[:3, :3]
    return turned


def _rays(points: npt.NDArray[np.float32], camera: Camera, scale: float) -> Array:
    """Unit directions (N, 3) of pixels (N, 2) of the shrunk image."""
    full = (points.astype(np.float64) + 0.5) / scale - 0.5
    ones = np.ones((len(full), 1))
    rays = np.linalg.solve(camera.K, np.hstack([full, ones]).T).T
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))
