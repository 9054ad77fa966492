# SPDX-License-Identifier: Apache-2.0
"""What goes into an estimate beside the image, what one box of it shows, and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nemo_model.camera import Camera, CropCamera
from nemo_model.solver import Solution

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Given:
    """What the paper's protocol takes from the annotation: all but the rotation.

    Attributes:
        centre: (2,) pixel on which the object's origin projects.
        distance: along the optical axis, object units.
        subtype: the annotated CAD model, where that is given as well; None: found by likelihood.
    """

    centre: Array
    distance: float
    subtype: int | None = None


@dataclass(frozen=True)
class Observation:
    """What one box of one image shows: all that a solve needs.

    Attributes:
        camera: of the image.
        crop: the virtual camera that looks at the box.
        box: (4,) x1, y1, x2, y2 in the image's pixels.
        features: (h, w, C) float32 map of the crop, unit norm per cell.
        milliseconds: crop, features.
        pixels: (H, W, 3) uint8 crop, for a second look at its mirror image; None: without one.
        taken: (h, w) cells that another object explains, which say nothing of this one; or None.
        context: (D,) float32 of the crop, from which the viewpoint prior is read; or None.
    """

    camera: Camera
    crop: CropCamera
    box: Array
    features: npt.NDArray[np.float32]
    milliseconds: Mapping[str, float]
    pixels: npt.NDArray[np.uint8] | None
    taken: npt.NDArray[np.bool_] | None = None
    context: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, repr=False)
class Estimate:
    """One object's pose.

    Attributes:
        T_cam_obj: (4, 4), object to camera optical frame, metres.
        covariance: (6, 6), x, y, z (metres), rotations (radians) about the camera frame's axes.
        score: probability that the rotation is within 30 degrees, in [0, 1].
        visible_fraction: share of the covered cells that show the object.
        occlusion: (h, w) int8 in cells of the crop: -1 not covered, 0 hidden, 1 visible.
        energy: value of the objective, cells times cosine.
        margin: what was maximised minus that of the best pose more than 25 degrees away.
        size: (3,) extents along the object's x, y, z, metres.
        crop: the virtual camera that the map belongs to.
        category: of the model.
        mode: "cold" (global search) or "warm" (from a prior).
        statistics: what the score was computed from.
        milliseconds: crop, features, solve, total.
        score_10: probability that the rotation is within 10 degrees; never above `score`.
        solution: what the solver found, in the crop's camera.
        subtype: the CAD model whose mesh was found likeliest; 0 where the bundle has one for all.
        leaning: what the viewpoint prior adds to the energy; 0 without one.
    """

    T_cam_obj: Array
    covariance: Array
    score: float
    visible_fraction: float
    occlusion: npt.NDArray[np.int8]
    energy: float
    margin: float
    size: Array
    crop: CropCamera
    category: str
    mode: str
    statistics: Mapping[str, float]
    milliseconds: Mapping[str, float]
    score_10: float = 0.0
    solution: Solution | None = None
    subtype: int = 0
    leaning: float = 0.0

    def __repr__(self) -> str:
        """One line of what matters; the fields hold the rest."""
        x, y, z = self.position
        return (
            f"Estimate({self.category}, {self.mode}, at ({x:.2f}, {y:.2f}, {z:.2f}) m, score "
            f"{self.score:.2f}, visible {self.visible_fraction:.2f})"
        )

    @property
    def rotation(self) -> Array:
        """R_cam_obj (3, 3)."""
        return self.T_cam_obj[:3, :3]

    @property
    def position(self) -> Array:
        """The object's origin (3,) in the camera frame, metres."""
        return self.T_cam_obj[:3, 3]
