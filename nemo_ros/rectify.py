# SPDX-License-Identifier: Apache-2.0
"""Lens distortion taken out of images and boxes, for cameras that publish no rectified image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nemo_model.camera import Camera
from nemo_model.errors import NemoError

Box = tuple[float, float, float, float]
FISHEYE = "equidistant"
MODELS = ("plumb_bob", "rational_polynomial", FISHEYE)


@dataclass(frozen=True)
class Distortion:
    """model: name as in CameraInfo; coefficients (N,), at least one of them not zero."""

    model: str
    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise NemoError(
                f"camera_info: distortion_model {self.model!r} is not supported; "
                f"known: {', '.join(MODELS)}"
            )
        if not np.isfinite(self.coefficients).all():
            raise NemoError("camera_info: D holds NaN or infinite values; calibrate the camera")
        wanted = {FISHEYE: (4,)}.get(self.model, (4, 5, 8, 12, 14))
        if len(self.coefficients) not in wanted:
            raise NemoError(
                f"camera_info: D has {len(self.coefficients)} coefficients, {self.model} has "
                f"{' or '.join(map(str, wanted))}"
            )


class Rectifier:
    """Undistorts to a pinhole camera with the same K and size. The map is made once."""

    def __init__(self, camera: Camera, distortion: Distortion) -> None:
        self.camera = camera
        self.distortion = distortion
        self._D = np.asarray(distortion.coefficients, dtype=np.float64)
        size = (camera.width, camera.height)
        make = (
            cv2.fisheye.initUndistortRectifyMap
            if distortion.model == FISHEYE
            else cv2.initUndistortRectifyMap
        )
        self._maps = make(camera.K, self._D, np.eye(3), camera.K, size, cv2.CV_16SC2)

    def image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) as the camera gives it -> (H, W, 3) as a pinhole camera would."""
        if image.shape[:2] != (self.camera.height, self.camera.width):
            return image  # the tracker refuses it, and says why
        out = cv2.remap(image, self._maps[0], self._maps[1], cv2.INTER_LINEAR)
        return np.asarray(out, dtype=np.uint8)

    def box(self, box: Box) -> Box:
        """The box around the undistorted border of a box; a bad box stays as bad as it is."""
        x1, y1, x2, y2 = box
        if not np.isfinite(box).all() or x2 <= x1 or y2 <= y1:
            return box
        along = np.linspace(0.0, 1.0, 9)
        x, y = x1 + (x2 - x1) * along, y1 + (y2 - y1) * along
        border = np.concatenate(
            [
                np.stack([x, np.full(9, y1)], 1),
                np.stack([x, np.full(9, y2)], 1),
                np.stack([np.full(9, x1), y], 1),
                np.stack([np.full(9, x2), y], 1),
            ]
        )[:, None]
        K, D = self.camera.K, self._D
        if self.distortion.model == FISHEYE:
            points = cv2.fisheye.undistortPoints(border, K, D, P=K)
        else:
            points = cv2.undistortPoints(border, K, D, P=K)
        lo, hi = points[:, 0].min(0), points[:, 0].max(0)
        return (float(lo[0]), float(lo[1]), float(hi[0]), float(hi[1]))
