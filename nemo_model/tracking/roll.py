# SPDX-License-Identifier: Apache-2.0
"""How a camera rolled from one image to the next, seen in what lies around the objects.

Boxes tell a tracker where the camera turned to, and nothing of a turn about its own axis. Corners
of the background are followed (Lucas and Kanade, IJCAI 1981, in pyramids), those that move alike
are found (RANSAC over similarities), and the rotation between their viewing rays is fitted
(Wahba's problem). Of it only the roll is taken, and only where it explains what is seen: a camera
that moves along looks as if it turned to a side, and over a floor as if it rolled as well.
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
Points = npt.NDArray[np.float32]
Grey = npt.NDArray[np.uint8]

WIDTH = 320
"""The images are shrunk to this many pixels across."""
FEWEST = 20
"""Fewer corners that move alike, or less than half of those followed, tell nothing."""
TOLERANCE = 3.0
"""Pixels of the shrunk image by which corners may miss the similarity. A camera that turns by 8
degrees moves the image's corners that much less alike."""
LEFT = 1.0
"""What a rotation does not explain may be at most this share of what the roll moves. A camera at
rest seems to roll by some hundredths of a degree, one that moves along over a floor by more."""
MOST = math.radians(20.0)
"""A larger roll from one image to the next is a mistake."""
MARGIN = 0.1
"""Share of a box's size by which what is left out around an object is larger."""


def small_grey(image: npt.NDArray[np.uint8]) -> Grey:
    """An RGB image (H, W, 3) as `camera_roll` wants it: grey, at most WIDTH pixels across."""
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    height, width = grey.shape
    if width > WIDTH:
        size = (WIDTH, max(1, round(height * WIDTH / width)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, dtype=np.uint8)


def camera_roll(
    before: Grey, after: Grey, camera: Camera, objects: Sequence[Box] = (), most: int = 150
) -> float:
    """The angle by which directions turned about the optical axis, radians; 0 where none is seen.

    A static point at x in the first camera's frame lies at Rz(angle) x in the second's, apart from
    pan and tilt.

    Args:
        before, after: (h, w) uint8, of small_grey, of one size.
        camera: of both images at full size.
        objects: boxes in `before`, pixels of the full size, whose insides may move by themselves.
        most: corners that are followed.
    """
    if before.shape != after.shape:
        return 0.0
    scale = before.shape[1] / camera.width
    start, end = _followed(before, after, _background(before, objects, scale), most)
    if len(start) < FEWEST:
        return 0.0
    _, alike = cv2.estimateAffinePartial2D(start, end, ransacReprojThreshold=TOLERANCE)
    chosen = np.zeros(len(start), bool) if alike is None else alike.ravel() == 1
    if np.count_nonzero(chosen) < max(FEWEST, len(start) / 2):
        return 0.0
    rays, seen = (_rays(points[chosen], camera, scale) for points in (start, end))
    turn = Rotation.align_vectors(seen, rays)[0]
    roll = float(turn.as_rotvec()[2])
    left = float(np.median(np.linalg.norm(turn.apply(rays) - seen, axis=1)))
    moved = abs(roll) * float(np.median(np.linalg.norm(rays[:, :2], axis=1)))
    return roll if left <= LEFT * moved and abs(roll) <= MOST else 0.0


class RollFollower:
    """Reads the camera's roll from frame to frame; nothing as long as no object is known.

    angle: what the last frame's was, radians.
    """

    def __init__(self) -> None:
        self.angle = 0.0
        self._before: tuple[Grey, Camera] | None = None

    def follow(self, frame: Frame, memories: Iterable[Memory], most: int) -> None:
        """Turn what is known with the camera, where it rolled since the last frame.

        most: corners that are followed; 0: the roll is not read.
        """
        known = [one for one in memories if one.estimate is not None]
        boxes = [one.history[-1].box if one.history else one.box for one in known]
        self.angle = self.step(frame.image, frame.camera, boxes, bool(frame.detections), most)
        for one in known:
            one.roll(self.angle)

    def step(
        self,
        image: npt.NDArray[np.uint8],
        camera: Camera,
        known: Sequence[Box],
        boxed: bool,
        most: int,
    ) -> float:
        """The roll since the last frame, radians; 0 where none is to be seen, see camera_roll.

        known: boxes that the known objects had in the last frame; boxed: the frame has boxes.
        """
        before, self._before = self._before, None
        if not most or not (known or boxed):
            return 0.0
        self._before = (small_grey(image), camera)
        if before is None or not known or not _same(before[1], camera):
            return 0.0
        return camera_roll(before[0], self._before[0], camera, known, int(most))


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


def _same(a: Camera, b: Camera) -> bool:
    same_size = (a.width, a.height) == (b.width, b.height)
    return same_size and bool(np.array_equal(a.K, b.K))


def _background(image: Grey, objects: Sequence[Box], scale: float) -> Grey:
    """255 where no object is, else 0; (h, w). objects: in pixels of the full size."""
    mask = np.full(image.shape, 255, np.uint8)
    for box in objects:
        x1, y1, x2, y2 = np.nan_to_num(np.array(box) * scale)
        dx, dy = MARGIN * (x2 - x1), MARGIN * (y2 - y1)
        low = np.clip([x1 - dx, y1 - dy], 0, image.shape[::-1]).astype(int)
        high = np.clip([x2 + dx + 1, y2 + dy + 1], 0, image.shape[::-1]).astype(int)
        mask[low[1] : high[1], low[0] : high[0]] = 0
    return mask


def _followed(before: Grey, after: Grey, where: Grey, most: int) -> tuple[Points, Points]:
    """Corners (N, 2) of the first image that are found in the second, and their places there."""
    corners = cv2.goodFeaturesToTrack(before, most, 0.01, 5.0, mask=where)
    if corners is None or len(corners) < FEWEST:
        return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, np.empty_like(corners))
    there = found.ravel() == 1
    return corners.reshape(-1, 2)[there], moved.reshape(-1, 2)[there]


def _rays(points: Points, camera: Camera, scale: float) -> Array:
    """Unit directions (N, 3) of pixels (N, 2) of the shrunk image."""
    full = (points.astype(np.float64) + 0.5) / scale - 0.5
    ones = np.ones((len(full), 1))
    rays = np.linalg.solve(camera.K, np.hstack([full, ones]).T).T
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))
