# SPDX-License-Identifier: Apache-2.0
"""A rival behind the estimator's interface: image, K and box to a metric pose."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from nemo_model.boxfit import translation_from_box
from nemo_model.camera import Camera, CropCamera, crop_camera
from nemo_model.checks import given_translation, image_size, whole_sides
from nemo_model.errors import NemoError
from nemo_model.estimator import Estimate, Given
from nemo_model.mesh import cuboid
from nemo_model.pose import transform
from nemo_model.rivals.model import Rival
from nemo_model.rivals.types import Looked

Array = npt.NDArray[np.float64]

ROTATION_SIGMA = np.deg2rad(10.0)
"""Nominal deviation in the covariance: rivals tell none of their own."""


@dataclass(frozen=True)
class Runtime:
    """What runs the network."""

    provider: str


class RivalEstimator:
    """One category's rival, ready to run; see nemo_model.estimator.Estimator for its interface.

    Attributes:
        bundle: the loaded rival.
        mesh: the category's cuboid, object units.
        metres_per_unit: from the size prior.
        extractor: what runs the network.
    """

    def __init__(self, rival: Rival, threads: int = 1) -> None:
        torch.set_num_threads(threads)
        self.bundle = rival
        self.mesh = cuboid(rival.card.lo, rival.card.hi, rival.card.training.vertices)
        self.metres_per_unit = rival.card.size.length_m / float(self.mesh.extent[1])
        self.size = self.mesh.extent * self.metres_per_unit
        self.extractor = Runtime("torch, CPU")

    @classmethod
    def load(cls, folder: Path, system: str, threads: int = 1) -> RivalEstimator:
        """Load a rival's folder. Raises NemoError where it is not one of this system."""
        return cls(Rival.load(folder, system), threads)

    @property
    def category(self) -> str:
        return self.bundle.card.category

    def estimate(
        self,
        image: npt.NDArray[np.uint8],
        K: npt.ArrayLike,
        box: npt.ArrayLike,
        *,
        prior: Array | None = None,
        given: Given | None = None,
    ) -> Estimate:
        """Estimate the pose of the object in a box; arguments as Estimator.estimate's.

        Raises:
            NemoError: for a wrong image, an uncalibrated camera, a bad box or given, or a prior:
                a rival has no use for one.
        """
        if prior is not None:
            raise NemoError(f"prior: {self.bundle.card.system} estimates each image by itself")
        start = time.perf_counter()
        card = self.bundle.card
        size = card.training
        camera = Camera(np.asarray(K, dtype=np.float64), *image_size(image))
        crop = crop_camera(camera, box, size.width, size.height, card.fill)
        pixels = torch.from_numpy(crop.warp(image)).permute(2, 0, 1)[None].float()
        cropped = time.perf_counter()
        corners = np.asarray(box, dtype=np.float64)
        given_t = None if given is None else given_translation(given, camera, crop)
        place = _box_in_crop(corners, crop)
        reliable = whole_sides(corners, camera)
        outline = self.bundle.outline
        found = self.bundle.network.look(Looked(pixels, crop.K, place, reliable, outline, given_t))
        t = given_t if given_t is not None else found.t
        if t is None:
            t = translation_from_box(outline, found.R, crop.K, place, reliable)
        end = time.perf_counter()
        R_cam_crop = crop.R_crop_cam.T
        position = R_cam_crop @ t * self.metres_per_unit
        return Estimate(
            T_cam_obj=transform(R_cam_crop @ found.R, position),
            covariance=self._covariance(float(np.linalg.norm(position))),
            score=found.right,
            score_10=min(found.precise, found.right),
            visible_fraction=0.0,
            occlusion=np.full(crop.map_size, -1, dtype=np.int8),
            energy=0.0,
            margin=0.0,
            size=self.size,
            crop=crop,
            category=self.category,
            mode="cold",
            statistics={},
            milliseconds={
                "crop": 1e3 * (cropped - start),
                "solve": 1e3 * (end - cropped),
                "total": 1e3 * (end - start),
            },
        )

    def _covariance(self, distance: float) -> Array:
        """Nominal (6, 6): the size's deviation along all axes, ROTATION_SIGMA about them."""
        shift = max(self.bundle.card.size.sigma, 0.01) * distance
        return np.diag([shift**2] * 3 + [ROTATION_SIGMA**2] * 3)


def _box_in_crop(box: Array, crop: CropCamera) -> Array:
    """The box (4,) in the crop's pixels: the bounding box of its turned corners."""
    x1, y1, x2, y2 = box
    corners = np.array([[x1, y1, 1.0], [x2, y1, 1.0], [x1, y2, 1.0], [x2, y2, 1.0]])
    uvw = corners @ crop.H_crop_image.T
    pixels = uvw[:, :2] / uvw[:, 2:]
    return np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])
