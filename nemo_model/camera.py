# SPDX-License-Identifier: Apache-2.0
"""The pinhole camera, and the virtual camera that looks straight at a detection.

A crop away from the principal point shows the object turned by its viewing ray. The virtual
camera is rotated towards the box centre, so that the crop is a true pinhole image again; a pose
found there is turned back by R_crop_cam.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from nemo_model.errors import NemoError

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]

STRIDE = 8
"""Pixels of the crop per cell of the feature map."""
FIRST_CELL = 7.0
"""Crop pixel of the first cell's centre: three strided SAME paddings centre cell i on 8 i + 7."""


@dataclass(frozen=True)
class Camera:
    """A rectified pinhole camera.

    Attributes:
        K: intrinsics (3, 3), pixels, pixel centres at integers.
        width, height: image size in pixels.

    Raises:
        NemoError: when K is not (3, 3), not finite, the identity, has a focal length that is not
            positive, or a last row other than (0, 0, 1).
    """

    K: Array
    width: int
    height: int

    def __post_init__(self) -> None:
        K = np.asarray(self.K, dtype=np.float64)
        if K.shape != (3, 3):
            raise NemoError(f"camera: K has shape {K.shape}, needs (3, 3)")
        if not np.isfinite(K).all():
            raise NemoError("camera: K holds NaN or infinite values; calibrate the camera")
        if K[0, 0] <= 0.0 or K[1, 1] <= 0.0:
            raise NemoError(
                "camera: the focal length in K is zero or negative; the camera is not calibrated"
            )
        if np.array_equal(K, np.eye(3)):
            raise NemoError("camera: K is the identity matrix; the camera is not calibrated")
        if (K[2] != [0.0, 0.0, 1.0]).any():
            raise NemoError(f"camera: the last row of K is {K[2].tolist()}, needs 0, 0, 1")
        if self.width < 1 or self.height < 1:
            raise NemoError(f"camera: image size {self.width} x {self.height} is empty")
        object.__setattr__(self, "K", K)

    def project(self, points: Array) -> Array:
        """Project points (N, 3) of the camera frame to pixels (N, 2)."""
        uvw = points @ self.K.T
        return uvw[:, :2] / uvw[:, 2:]

    def ray(self, u: float, v: float) -> Array:
        """Return the unit viewing ray (3,) of pixel (u, v) in the camera frame."""
        ray = np.linalg.solve(self.K, np.array([u, v, 1.0]))
        return ray / np.linalg.norm(ray)


@dataclass(frozen=True)
class CropCamera:
    """A virtual camera turned towards a box, and the homography that makes its image.

    Attributes:
        K: intrinsics (3, 3) of the crop: square pixels, principal point at the crop's centre.
        R_crop_cam: (3, 3), camera frame -> crop camera frame.
        width, height: crop size in pixels.
        scale: crop pixels per image pixel at the box centre.
        H_crop_image: (3, 3), image pixel -> crop pixel.
    """

    K: Array
    R_crop_cam: Array
    width: int
    height: int
    scale: float
    H_crop_image: Array

    def warp(self, image: Image) -> Image:
        """Return the crop (height, width, 3) of an image (H, W, 3); outside is mid grey.

        When the crop shrinks the image, the region is first reduced by area averaging, so that
        no frequency aliases.
        """
        H = self.H_crop_image
        shrink = int(np.floor(1.0 / self.scale + 1e-6)) if self.scale < 1.0 else 1
        w, h = float(self.width), float(self.height)
        corners = np.array([[0.0, 0.0], [w, 0.0], [0.0, h], [w, h]])
        all_ahead = bool((self._depth(corners) > 0.0).all())
        if shrink >= 2:
            seen = np.asarray(cv2.perspectiveTransform(corners[None], np.linalg.inv(H))[0])
            image, H = _reduce(image, H, seen if all_ahead else None, shrink)
        crop = cv2.warpPerspective(
            image,
            H,
            (self.width, self.height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(128, 128, 128),
        )
        if not all_ahead:  # a homography shows what lies behind the camera, upside down
            pixels = np.stack(np.meshgrid(np.arange(w), np.arange(h)), axis=2)
            crop[self._depth(pixels) <= 0.0] = 128
        return np.asarray(crop, dtype=np.uint8)

    def _depth(self, pixels: Array) -> Array:
        """How far the rays of crop pixels (..., 2) lead along the real camera's optical axis."""
        axis, slopes = self.R_crop_cam[:, 2], (pixels - self.K[:2, 2]) / self.K[0, 0]
        return np.asarray(slopes @ axis[:2] + axis[2])

    def map_K(self) -> Array:
        """Return the intrinsics (3, 3) in cells of the feature map, cell centres at integers."""
        K = self.K.copy()
        K[:2, 2] -= FIRST_CELL
        K[:2] /= STRIDE
        return K

    @property
    def map_size(self) -> tuple[int, int]:
        """(height, width) of the feature map in cells."""
        return self.height // STRIDE, self.width // STRIDE


def _reduce(image: Image, H: Array, seen: Array | None, shrink: int) -> tuple[Image, Array]:
    """Cut the region that a crop sees and shrink it by an integral factor.

    Args:
        seen: pixels (4, 2) at the crop's corners; None where one looks past the image plane.
    """
    rows, cols = image.shape[:2]
    if seen is None:
        seen = np.array([[0.0, 0.0], [cols, rows]])
    lo = np.clip(np.floor(seen.min(0)) - 2 * shrink, 0, [cols, rows]).astype(int)
    hi = np.clip(np.ceil(seen.max(0)) + 2 * shrink, 0, [cols, rows]).astype(int)
    size = (hi - lo) // shrink
    if size.min() < 1:
        return image, H
    hi = lo + size * shrink
    region = image[lo[1] : hi[1], lo[0] : hi[0]]
    small = cv2.resize(region, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
    to_image = np.array(
        [
            [shrink, 0.0, lo[0] + (shrink - 1) / 2.0],
            [0.0, shrink, lo[1] + (shrink - 1) / 2.0],
            [0.0, 0.0, 1.0],
        ]
    )
    return np.asarray(small, dtype=np.uint8), H @ to_image


def check_box(box: npt.ArrayLike, width: int, height: int) -> Array:
    """Return the box (4,) as x1, y1, x2, y2 in pixels.

    Raises:
        NemoError: when it holds NaN, is empty, or lies outside the image.
    """
    try:
        values = np.asarray(box, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise NemoError(f"box: {box!r} must be four numbers: x1, y1, x2, y2") from error
    if values.shape != (4,):
        raise NemoError(f"box: has shape {values.shape}, needs (4,): x1, y1, x2, y2")
    if not np.isfinite(values).all():
        raise NemoError(f"box: holds NaN or infinite values: {values.tolist()}")
    x1, y1, x2, y2 = values
    if x2 - x1 < 1.0 or y2 - y1 < 1.0:
        raise NemoError(f"box: is empty or smaller than a pixel: {values.tolist()}")
    if x2 <= 0 or y2 <= 0 or x1 >= width - 1 or y1 >= height - 1:
        raise NemoError(f"box: {values.tolist()} lies outside the {width} x {height} image")
    return values


def crop_camera(
    camera: Camera, box: npt.ArrayLike, width: int, height: int, fill: float = 0.86
) -> CropCamera:
    """Return the virtual camera turned to a box, which then fills a share of the crop.

    Args:
        camera: the real camera.
        box: x1, y1, x2, y2 in pixels; may reach beyond the image.
        width, height: crop size in pixels, multiples of 32.
        fill: the box's longer side over the crop's, after fitting both sides.

    Raises:
        NemoError: for a box that is empty, not finite or outside the image.
    """
    x1, y1, x2, y2 = check_box(box, camera.width, camera.height)
    z_axis = camera.ray((x1 + x2) / 2.0, (y1 + y2) / 2.0)
    R_crop_cam = _turn_to(z_axis)
    corners = np.array([[x1, y1, 1.0], [x2, y1, 1.0], [x1, y2, 1.0], [x2, y2, 1.0]])
    rays = corners @ np.linalg.inv(camera.K).T @ R_crop_cam.T
    if (rays[:, 2] <= 0.05).any():
        raise NemoError("box: spans more than the virtual camera can see; check K and the box")
    slopes = rays[:, :2] / rays[:, 2:]
    extent = slopes.max(0) - slopes.min(0)
    focal = fill * min(width / extent[0], height / extent[1])
    # the turned box is centred in the crop, which moves it by a fraction of a pixel at most
    K = np.array([[focal, 0.0, (width - 1) / 2.0], [0.0, focal, (height - 1) / 2.0], [0, 0, 1.0]])
    H = K @ R_crop_cam @ np.linalg.inv(camera.K)
    scale = float(focal / np.sqrt(camera.K[0, 0] * camera.K[1, 1]))
    return CropCamera(K, R_crop_cam, width, height, scale, H / H[2, 2])


def _turn_to(z_axis: Array) -> Array:
    """Return the smallest rotation (3, 3) that takes a unit ray to the optical axis."""
    target = np.array([0.0, 0.0, 1.0])
    cross = np.cross(z_axis, target)
    cosine = float(z_axis @ target)
    skew = np.array(
        [[0.0, -cross[2], cross[1]], [cross[2], 0.0, -cross[0]], [-cross[1], cross[0], 0.0]]
    )
    return np.eye(3) + skew + skew @ skew / (1.0 + cosine)
