# SPDX-License-Identifier: Apache-2.0
"""A photo as a sample takes it: perhaps mirrored, boxed roughly, its crop turned a little."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from nemo_model.camera import Camera, CropCamera, crop_camera
from nemo_model.datasets.pascal3d import Pascal3DObject
from nemo_model.pose import flip_angles, rotation_from_angles, transform
from nemo_model.training.config import AugmentConfig, TrainConfig

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """A photo with its camera, box and pose, perhaps mirrored.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        K: (3, 3) pixels.
        box: (4,) x1, y1, x2, y2 in pixels.
        T_cam_obj: (4, 4), object units.
        mirrored: left to right; K, box and pose are then those of the mirror image.
    """

    image: Image
    K: Array
    box: Array
    T_cam_obj: Array
    mirrored: bool = False


def jittered_box(
    view: View, augment: AugmentConfig, rng: np.random.Generator
) -> tuple[Array, npt.NDArray[np.uint8]]:
    """Return a detector-like box (4,) and which pixels (H, W) the camera sees.

    The mask is 1 inside the photo and 2 where an image edge cuts the object; the box then ends
    at the edge, as a detector's would.
    """
    rows, cols = view.image.shape[:2]
    seen = np.ones((rows, cols), dtype=np.uint8)
    x1, y1, x2, y2 = view.box
    if rng.random() < augment.cut:
        share = rng.uniform(0.05, augment.cut_share)
        side = int(rng.choice([0, 1, 2, 3], p=[0.4, 0.4, 0.05, 0.15]))
        if side == 0:
            x1 += share * (x2 - x1)
            seen[:, : int(x1)] = 2
        elif side == 1:
            x2 -= share * (x2 - x1)
            seen[:, int(x2) :] = 2
        elif side == 2:
            y1 += share * (y2 - y1)
            seen[: int(y1)] = 2
        else:
            y2 -= share * (y2 - y1)
            seen[int(y2) :] = 2
    jitter = augment.box_jitter * (3.0 if rng.random() < augment.rough_box else 1.0)
    noise = np.clip(rng.normal(0.0, jitter, 4), -2.5 * jitter, 2.5 * jitter)
    size = np.array([x2 - x1, y2 - y1, x2 - x1, y2 - y1])
    return np.array([x1, y1, x2, y2]) + noise * size, seen


def view_of(item: Pascal3DObject, image: Image, mirrored: bool) -> View:
    """The photo (H, W, 3) of an object, mirrored left to right if `mirrored`."""
    K, angles, box = item.K, (item.azimuth, item.elevation, item.theta), item.box
    if mirrored:
        last = image.shape[1] - 1
        image = np.ascontiguousarray(image[:, ::-1])
        angles = flip_angles(*angles)
        K = K.copy()
        K[0, 2] = last - K[0, 2]
        box = np.array([last - box[2], box[1], last - box[0], box[3]])
    T = transform(rotation_from_angles(*angles), np.array([0.0, 0.0, item.distance]))
    return View(image, K, box, T, mirrored)


def rolled_crop(
    view: View, box: Array, config: TrainConfig, rng: np.random.Generator, finer: int
) -> CropCamera:
    """A crop camera turned a little about its axis, with `finer` times the size of the input."""
    rows, cols = view.image.shape[:2]
    fill = rng.uniform(*config.augment.fill)
    width, height = finer * config.width, finer * config.height
    crop = crop_camera(Camera(view.K, cols, rows), box, width, height, fill)
    roll = np.clip(rng.normal(), -2.5, 2.5) * np.deg2rad(config.augment.roll_deg)
    R = Rotation.from_euler("z", roll).as_matrix() @ crop.R_crop_cam
    H = crop.K @ R @ np.linalg.inv(view.K)
    return CropCamera(crop.K, R, crop.width, crop.height, crop.scale, H / H[2, 2])
