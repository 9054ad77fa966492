# SPDX-License-Identifier: Apache-2.0
"""One labelled object, whatever data set it comes from: what the estimator gets, what is true."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nemo_model.datasets.kitti import KittiObject
from nemo_model.datasets.pascal3d import Pascal3DObject


@dataclass(frozen=True)
class StreetLabel:
    """What only street scenes tell: KITTI's flags, box height in px, centre (3,) in metres."""

    occluded: int
    truncated: float
    height_px: float
    centre: np.ndarray


@dataclass(frozen=True)
class Sample:
    """An object to be estimated.

    read_image gives (H, W, 3) RGB; box (4,) and K (3, 3) in pixels; T_cam_obj (4, 4) is the truth,
    lengths in `metric` ? metres : CAD units. `index` tells the objects of one image apart.
    subtype: the annotated CAD model, 0 where there is none. symmetry: of this object (a round table
    among others), None where the data set does not say.
    """

    name: str
    index: int
    image_path: Path
    read_image: Callable[[], np.ndarray]
    K: np.ndarray
    box: np.ndarray
    T_cam_obj: np.ndarray
    metric: bool
    street: StreetLabel | None = None
    subtype: int = 0
    symmetry: int | None = None

    @property
    def azimuth_deg(self) -> float:
        """Azimuth in [0, 360) of the side that the camera sees: 0 the front, 180 the rear."""
        camera = -self.T_cam_obj[:3, :3].T @ self.T_cam_obj[:3, 3]
        return math.degrees(math.atan2(camera[0], -camera[1])) % 360.0

    @property
    def centre_px(self) -> np.ndarray:
        """Pixel (2,) on which the object's origin projects."""
        u, v, w = self.K @ self.T_cam_obj[:3, 3]
        return np.array([u / w, v / w])

    @property
    def depth(self) -> float:
        """Distance of the object's origin along the optical axis, metres or CAD units."""
        return float(self.T_cam_obj[2, 3])


def from_pascal3d(objects: Sequence[Pascal3DObject]) -> list[Sample]:
    """Samples with lengths in CAD units."""
    return [
        Sample(
            item.name, item.index, item.image_path, item.read_image, item.K, item.box,
            item.T_cam_obj, metric=False, subtype=item.cad_index, symmetry=item.symmetry,
        )
        for item in objects
    ]  # fmt: skip


def from_kitti(objects: Sequence[KittiObject]) -> list[Sample]:
    """Samples with lengths in metres and the labels of the street."""
    return [
        Sample(
            item.name, item.index, item.image_path, item.read_image, item.K, item.box,
            item.T_cam_obj, metric=True,
            street=StreetLabel(
                item.occluded, item.truncated, item.height_px, item.T_cam_obj[:3, 3]
            ),
        )
        for item in objects
    ]  # fmt: skip
