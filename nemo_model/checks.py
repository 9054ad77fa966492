# SPDX-License-Identifier: Apache-2.0
"""Checks of what users give to an estimator, and what a box means in the feature map."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nemo_model.bundle import CARD, NEURAL_MESH, Bundle, BundleError
from nemo_model.camera import FIRST_CELL, STRIDE, Camera, CropCamera
from nemo_model.errors import NemoError
from nemo_model.estimate import Given
from nemo_model.evidence import STATISTICS, VIEW
from nemo_model.features import FeatureExtractor

Array = npt.NDArray[np.float64]

EDGE_PX = 2.0
"""A side of the box this near to the image's edge may be cut by it and tells nothing."""


def image_size(image: npt.NDArray[np.uint8]) -> tuple[int, int]:
    if not isinstance(image, np.ndarray):
        raise NemoError(f"image: is {type(image).__name__}, not an array; was its file read?")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise NemoError(f"image: {image.shape} {image.dtype}, needs uint8 (H, W, 3) RGB")
    return image.shape[1], image.shape[0]


def known_size(size_m: npt.ArrayLike) -> Array:
    size = np.asarray(size_m, dtype=np.float64)
    if size.shape != (3,) or not np.isfinite(size).all() or (size <= 0).any():
        raise NemoError(f"size: {size.tolist()} must be three positive lengths in metres (x, y, z)")
    return size


def checked_prior(prior: Array) -> Array:
    T = np.asarray(prior, dtype=np.float64)
    if T.shape != (4, 4) or not np.isfinite(T).all() or T[2, 3] <= 0.0:
        raise NemoError("prior: T_cam_obj must be a finite (4, 4) with the object in front")
    R = T[:3, :3]
    if np.abs(R @ R.T - np.eye(3)).max() > 1e-3 or np.linalg.det(R) < 0.0:
        raise NemoError("prior: T_cam_obj holds no rotation (orthonormal, without reflection)")
    return T


def box_in_map(box: Array, crop: CropCamera) -> Array:
    """The box (4,) in cells: the bounding box of its turned corners."""
    x1, y1, x2, y2 = box
    corners = np.array([[x1, y1, 1.0], [x2, y1, 1.0], [x1, y2, 1.0], [x2, y2, 1.0]])
    uvw = corners @ crop.H_crop_image.T
    cells = (uvw[:, :2] / uvw[:, 2:] - FIRST_CELL) / STRIDE
    return np.concatenate([cells.min(axis=0), cells.max(axis=0)])


def whole_sides(box: Array, camera: Camera) -> tuple[bool, bool, bool, bool]:
    """Which sides of the box are the object's, and not where the image's edge cuts it.

    A box that is the whole image is a photo cut to the object: all its sides count.
    """
    x1, y1, x2, y2 = box
    if x2 - x1 >= camera.width - 1 - EDGE_PX and y2 - y1 >= camera.height - 1 - EDGE_PX:
        return True, True, True, True
    return (
        bool(x1 > EDGE_PX),
        bool(y1 > EDGE_PX),
        bool(x2 < camera.width - 1 - EDGE_PX),
        bool(y2 < camera.height - 1 - EDGE_PX),
    )


def given_translation(given: Given, camera: Camera, crop: CropCamera) -> Array:
    """The object's place (3,) in the crop's camera, object units. Raises NemoError if not one."""
    centre = np.asarray(given.centre, dtype=np.float64)
    if centre.shape != (2,) or not np.isfinite(centre).all():
        raise NemoError(f"given: centre {centre.tolist()} must be two finite pixels")
    if not 0.0 < given.distance < np.inf:
        raise NemoError(f"given: distance {given.distance} must be positive")
    ray = camera.ray(float(centre[0]), float(centre[1]))
    return crop.R_crop_cam @ (ray / ray[2] * given.distance)


def check_fit(bundle: Bundle, extractor: FeatureExtractor) -> None:
    """Refuse a backbone or a calibration that belongs to another model or version."""
    if extractor.channels not in (None, bundle.card.features):
        raise BundleError(
            f"{bundle.onnx_path}: gives {extractor.channels} channels, the card says "
            f"{bundle.card.features}"
        )
    if bundle.reader is not None and bundle.reader.weight.shape[1] != extractor.context:
        raise BundleError(
            f"{bundle.onnx_path}: gives a context of {extractor.context} channels, the viewpoint "
            f"prior of {NEURAL_MESH} reads {bundle.reader.weight.shape[1]}"
        )
    calibration = bundle.card.calibration
    unknown = set(calibration.means) - {*STATISTICS, *VIEW} if calibration else None
    if unknown:
        raise BundleError(
            f"{bundle.folder / CARD}: calibration.means: {', '.join(sorted(unknown))} not known "
            "to this version; calibrate again"
        )
