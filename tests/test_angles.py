# SPDX-License-Identifier: Apache-2.0
"""Angles to bins and back, and a rotation relative to the crop's camera back to the camera's."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import training_set
from hypothesis import strategies as st
from properties import holds_for

from nemo_model.angles import ANGLES, AZIMUTH, ELEVATION, SIGMA, THETA
from nemo_model.camera import Camera, crop_camera
from nemo_model.errors import NemoError
from nemo_model.estimator import Given
from nemo_model.mesh import cuboid, mean_outline
from nemo_model.pose import geodesic, rotation_from_angles, transform
from nemo_model.rivals.classifier import angle_labels
from nemo_model.rivals.estimator import RivalEstimator
from nemo_model.rivals.types import Found, Looked

DEG = math.pi / 180.0


def turned(a: float, b: float) -> float:
    return abs((a - b + math.pi) % (2 * math.pi) - math.pi)


@holds_for(st.floats(0.0, 360.0), examples=60)
def test_azimuth_and_theta_come_back_from_their_labels(degrees: float) -> None:
    for bins in (AZIMUTH, THETA):
        found = bins.angle(bins.label(degrees * DEG, SIGMA))
        assert turned(found, degrees * DEG) < 0.25 * DEG
        assert bins.lo <= found < bins.lo + 2 * math.pi


@holds_for(st.floats(-75.0, 75.0), examples=40)
def test_elevation_comes_back_from_its_label(degrees: float) -> None:
    assert ELEVATION.angle(ELEVATION.label(degrees * DEG, SIGMA)) == pytest.approx(
        degrees * DEG, abs=0.25 * DEG
    )


def test_a_label_sums_to_one_and_peaks_at_its_bin() -> None:
    label = AZIMUTH.label(359.0 * DEG, SIGMA)
    assert label.sum() == pytest.approx(1.0, abs=1e-5)
    assert label.argmax() == 71
    assert label[0] > label[69]  # 2.5 degrees beyond 0 is nearer than 347.5
    assert ELEVATION.label(89.0 * DEG, SIGMA).argmax() == 35
    assert ELEVATION.label(89.0 * DEG, SIGMA)[0] == 0.0  # elevation does not go round


def test_of_two_modes_the_heavier_wins_and_they_are_not_averaged() -> None:
    front, rear = AZIMUTH.label(0.0, SIGMA), AZIMUTH.label(math.pi, SIGMA)
    p = 0.6 * front + 0.4 * rear
    assert turned(AZIMUTH.angle(p), 0.0) < 0.5 * DEG
    assert AZIMUTH.mass(p, 20 * DEG) == pytest.approx(0.6, abs=0.01)
    assert AZIMUTH.mass(np.full(72, 1 / 72), 20 * DEG) == pytest.approx(9 / 72, abs=0.02)


class Told:
    """A network that answers with the rotation whose labels it is given."""

    def __init__(self, T_crop_obj: np.ndarray) -> None:
        labels = angle_labels(SimpleNamespace(T=T_crop_obj))  # type: ignore[arg-type]
        angles = [bins.angle(labels[f"angle{k}"]) for k, bins in enumerate(ANGLES)]
        self.R = rotation_from_angles(*angles)
        self.looked: Looked | None = None

    def look(self, looked: Looked) -> Found:
        self.looked = looked
        return Found(self.R, None, 0.5, 0.4)


@pytest.fixture
def scene() -> dict[str, Any]:
    """A car far off the image's centre, so that the crop's camera is turned by 20 degrees."""
    K = np.array([[500.0, 0, 320], [0, 500.0, 240], [0, 0, 1]])
    mesh = cuboid([-0.2, -0.43, -0.16], [0.2, 0.43, 0.16], 200)
    R, t = rotation_from_angles(0.7, 0.2, 0.1), np.array([0.9, -0.3, 3.0])
    camera, outline = Camera(K, 640, 480), mean_outline([mesh])
    uv = camera.project(outline @ R.T + t)
    box = np.concatenate([uv.min(axis=0), uv.max(axis=0)])
    crop = crop_camera(camera, box, 192, 128)
    network = Told(transform(crop.R_crop_cam, np.zeros(3)) @ transform(R, t))
    card = SimpleNamespace(
        system="res50-general", category="car", fill=0.86, lo=tuple(mesh.lo), hi=tuple(mesh.hi),
        training=training_set.config(width=192, height=128, vertices=200),
        size=SimpleNamespace(length_m=4.3, sigma=0.08),
    )  # fmt: skip
    rival = SimpleNamespace(card=card, network=network, outline=outline)
    return {
        "estimator": RivalEstimator(rival), "K": K, "R": R, "t": t, "box": box, "network": network,
        "image": np.zeros((480, 640, 3), np.uint8), "camera": camera,
    }  # fmt: skip


def test_the_crops_rotation_is_turned_back_and_the_box_gives_the_place(
    scene: dict[str, Any],
) -> None:
    estimate = scene["estimator"].estimate(scene["image"], scene["K"], scene["box"])
    assert geodesic(estimate.rotation, scene["R"]) < 0.5 * DEG
    assert geodesic(scene["network"].R, scene["R"]) > 5 * DEG  # it was another one in the crop
    unit = scene["estimator"].metres_per_unit
    assert unit == pytest.approx(4.3 / 0.86)
    np.testing.assert_allclose(estimate.position / unit, scene["t"], rtol=0.03, atol=0.02)
    assert np.linalg.eigvalsh(estimate.covariance).min() > 0
    assert (estimate.score, estimate.score_10) == (0.5, 0.4)


def test_a_given_place_is_kept(scene: dict[str, Any]) -> None:
    t = scene["t"]
    given = Given(scene["camera"].project(t[None])[0], float(t[2]))
    estimate = scene["estimator"].estimate(scene["image"], scene["K"], scene["box"], given=given)
    found = estimate.position / scene["estimator"].metres_per_unit
    np.testing.assert_allclose(found, t, atol=1e-9)


def test_what_a_rival_cannot_use_is_refused(scene: dict[str, Any]) -> None:
    estimator = scene["estimator"]
    with pytest.raises(NemoError, match="prior: res50-general"):
        estimator.estimate(scene["image"], scene["K"], scene["box"], prior=np.eye(4))
    with pytest.raises(NemoError, match="given: distance"):
        given = Given(np.array([1.0, 2.0]), -1.0)
        estimator.estimate(scene["image"], scene["K"], scene["box"], given=given)
    with pytest.raises(NemoError, match="image"):
        estimator.estimate(scene["image"][..., 0], scene["K"], scene["box"])
