# SPDX-License-Identifier: Apache-2.0
"""What an estimator makes of boxes that end where something hides the object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny

from nemo_model import Estimate, Estimator
from nemo_model.camera import Camera
from nemo_model.errors import NemoError
from nemo_model.pose import geodesic, rotation_from_angles, transform

CAMERA = Camera(np.array([[600.0, 0, 330], [0, 600.0, 230], [0, 0, 1]]), 640, 480)
SCENE = transform(rotation_from_angles(*np.radians([125.0, 15.0, 0.0])), np.array([2.0, 0.7, 14.0]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("boxes") / "tiny")


def errors(estimate: Estimate) -> tuple[float, float]:
    """Rotation error in degrees; position error as a share of the distance."""
    off = np.linalg.norm(estimate.position - SCENE[:3, 3]) / np.linalg.norm(SCENE[:3, 3])
    return float(np.degrees(geodesic(estimate.rotation, SCENE[:3, :3]))), float(off)


def test_a_box_that_ends_at_a_wall(folder: Path) -> None:
    """The object's right end is behind a wall, and its box ends there too."""
    image, box = tiny.photo(CAMERA, SCENE)
    box = np.array(box, dtype=float)
    box[2] -= 0.4 * (box[2] - box[0])
    edge = round(box[2])
    wall = np.random.default_rng(0).integers(0, 255, (480, 640 - edge, 3))
    image = image.copy()
    image[:, edge:] = wall.astype(np.uint8)
    misled = errors(Estimator.load(folder).estimate(image, CAMERA.K, box))
    estimator = Estimator.load(folder, boxes="visible")
    cold = estimator.estimate(image, CAMERA.K, box)
    warm = estimator.estimate(image, CAMERA.K, box, prior=cold.T_cam_obj)
    for found in (cold, warm):
        rotation, position = errors(found)
        assert rotation < 10.0
        assert position < 0.5 * misled[1]


def test_boxes_of_an_unknown_kind_are_refused(folder: Path) -> None:
    with pytest.raises(NemoError, match="boxes: 'modal' is none of whole, visible"):
        Estimator.load(folder, boxes="modal")
