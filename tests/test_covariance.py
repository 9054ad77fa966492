# SPDX-License-Identifier: Apache-2.0
"""From curvature to covariance: order, axes, units, the category's size, and flat directions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import strategies as st
from properties import holds_for
from scipy.spatial.transform import Rotation

from nemo_model.calibration import Spread
from nemo_model.covariance import FLOOR, PLAIN, WORST_ROTATION
from nemo_model.covariance import pose_covariance as full_covariance

AHEAD = np.array([0.0, 0.0, 10.0])


def pose_covariance(
    hessian: np.ndarray,
    R_cam_crop: np.ndarray,
    position: np.ndarray,
    metres: float,
    sigma: float,
    spread: Spread = PLAIN,
) -> np.ndarray:
    """Of a pose that is not turned in the crop, at a position in the camera's metres."""
    t = R_cam_crop.T @ position / metres
    return full_covariance(hessian, np.eye(3), t, R_cam_crop, metres, sigma, spread)


def curvature(seed: int) -> np.ndarray:
    """A well-conditioned (6, 6) Hessian with correlations, rotations about ten times as stiff."""
    A = np.random.default_rng(seed).normal(size=(6, 6))
    S = np.diag([10.0, 10, 10, 1, 1, 1])
    return np.asarray(S @ (A @ A.T + 6 * np.eye(6)) @ S)


def test_diagonal_by_hand() -> None:
    """Hessian by (dw, dt); covariance of (x, y, z, rotX, rotY, rotZ), metres = 4 units."""
    hessian = np.diag([100.0, 400.0, 25.0, 1.0, 4.0, 16.0])
    found = pose_covariance(hessian, np.eye(3), AHEAD, 4.0, 0.0)
    expected = [16 / 1, 16 / 4, 16 / 16, 1 / 100, 1 / 400, 1 / 25]
    np.testing.assert_allclose(found, np.diag(expected), atol=1e-12)


def test_variance_scale_multiplies_the_curvatures_part_only() -> None:
    hessian = np.diag([100.0, 400.0, 25.0, 1.0, 4.0, 16.0])
    one = pose_covariance(hessian, np.eye(3), AHEAD, 4.0, 0.0)
    np.testing.assert_allclose(
        pose_covariance(hessian, np.eye(3), AHEAD, 4.0, 0.0, Spread(curvature=0.01)), one / 100
    )
    with_size = pose_covariance(hessian, np.eye(3), AHEAD, 4.0, 0.1, Spread(curvature=0.01))
    assert with_size[2, 2] == pytest.approx(one[2, 2] / 100 + 1.0)


@holds_for(st.integers(0, 1000), st.floats(0.1, 10.0), st.floats(0.0, 0.3), examples=40)
def test_symmetric_and_positive_definite(seed, metres, sigma) -> None:
    rng = np.random.default_rng(seed)
    R = Rotation.random(random_state=seed).as_matrix()
    found = pose_covariance(curvature(seed), R, rng.normal(size=3) * 10, metres, sigma)
    assert found.shape == (6, 6)
    np.testing.assert_allclose(found, found.T, rtol=1e-9)
    assert np.linalg.eigvalsh((found + found.T) / 2).min() > 0.0


@holds_for(st.integers(0, 1000), examples=25)
def test_turning_to_camera_axes_is_turning_the_errors(seed) -> None:
    """Errors drawn in the crop's axes and turned have the covariance that is returned."""
    R = Rotation.random(random_state=seed).as_matrix()
    H, metres = 1e4 * curvature(seed), 3.0
    inverse = np.linalg.inv(H)
    draws = np.linalg.cholesky(inverse) @ np.eye(6)  # columns whose outer products sum to H^-1
    turned = np.concatenate([metres * R @ draws[3:], R @ draws[:3]])
    found = pose_covariance(H, R, AHEAD, metres, 0.0)
    np.testing.assert_allclose(found, turned @ turned.T, rtol=1e-6, atol=1e-15)


def test_a_flat_direction_of_the_crop_is_flat_along_the_same_ray_of_the_camera() -> None:
    """Depth is uncertain in the crop camera's z; that camera looks 30 degrees to the right."""
    R_cam_crop = Rotation.from_euler("y", 30, degrees=True).as_matrix()
    hessian = np.diag([100.0, 100, 100, 100, 100, 1])
    found = pose_covariance(hessian, R_cam_crop, AHEAD, 1.0, 0.0)
    values, vectors = np.linalg.eigh(found[:3, :3])
    assert values[2] == pytest.approx(1.0)
    ray = R_cam_crop @ [0, 0, 1]
    assert ray[0] == pytest.approx(0.5)
    assert abs(vectors[:, 2] @ ray) == pytest.approx(1.0)


def test_the_sizes_uncertainty_lies_along_the_objects_ray() -> None:
    position = np.array([3.0, -1.0, 12.0])
    H = np.diag([1e4] * 6)
    without = pose_covariance(H, np.eye(3), position, 1.0, 0.0)
    found = pose_covariance(H, np.eye(3), position, 1.0, 0.1)
    np.testing.assert_allclose((found - without)[:3, :3], 0.01 * np.outer(position, position))
    np.testing.assert_array_equal(found[3:], without[3:])  # a rotation does not depend on it
    values, vectors = np.linalg.eigh(found[:3, :3])
    distance = np.linalg.norm(position)
    assert math.sqrt(values[2]) == pytest.approx(0.1 * distance, rel=1e-3)
    assert abs(vectors[:, 2] @ position) == pytest.approx(distance)


@pytest.mark.parametrize(
    "hessian",
    [
        np.zeros((6, 6)),
        np.diag([0, 0, 0, 1.0, 1, 1]),
        np.diag([100.0, 100, 0, 1, 1, 0]),
        -np.eye(6),
        np.diag([1e-300] * 6),
        np.diag([1e12] * 6),
        np.ones((6, 6)),
    ],
)
def test_flat_or_inverted_curvature_gives_a_wide_finite_covariance(hessian: np.ndarray) -> None:
    found = pose_covariance(hessian, np.eye(3), AHEAD, 4.0, 0.08)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, found.T)
    scale = 1.0 / np.sqrt(np.diag(found))
    assert np.linalg.eigvalsh(found * np.outer(scale, scale)).min() > 0.0
    assert (np.sqrt(np.diag(found))[3:] <= WORST_ROTATION + 1e-12).all()


def test_nothing_known_means_any_rotation() -> None:
    found = pose_covariance(np.zeros((6, 6)), np.eye(3), AHEAD, 4.0, 0.08)
    np.testing.assert_allclose(np.sqrt(np.diag(found))[3:], WORST_ROTATION)
    assert np.sqrt(np.diag(found))[:3].min() > 100.0


def test_one_flat_axis_widens_that_axis_only() -> None:
    sharp = np.diag([1e4, 1e4, 1e4, 100, 100, 100])
    flat = np.diag([1e4, 0, 1e4, 100, 100, 100])
    a = np.diag(pose_covariance(sharp, np.eye(3), AHEAD, 1.0, 0.0))
    b = np.diag(pose_covariance(flat, np.eye(3), AHEAD, 1.0, 0.0))
    np.testing.assert_allclose(np.delete(b, 4), np.delete(a, 4))
    assert b[4] == pytest.approx(a[4] / FLOOR)


def test_the_floor_of_the_rotation_lies_along_the_objects_axes() -> None:
    """Sharp curvature, an object that lies on its side (its x is the camera's y)."""
    R = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    spread = Spread(rotation=(0.1, 0.2, 0.3))
    sharp = np.diag([1e12] * 6)
    found = full_covariance(sharp, R, np.array([0, 0, 2.0]), np.eye(3), 1.0, 0.0, spread)
    np.testing.assert_allclose(np.diag(found)[3:], [0.04, 0.01, 0.09], rtol=1e-6)
    np.testing.assert_allclose(np.diag(found)[:3], 0.0, atol=1e-9)


def test_the_floor_of_the_position_lies_across_and_along_the_ray_and_is_metric() -> None:
    """Object units of 3 m, at 2 units: 0.05 * 3 across, 0.1 * 2 * 3 along."""
    R_cam_crop = Rotation.from_euler("y", 90, degrees=True).as_matrix()  # the crop looks to +x
    spread = Spread(lateral=0.05, depth=0.1)
    found = full_covariance(
        np.diag([1e12] * 6), np.eye(3), np.array([0, 0, 2.0]), R_cam_crop, 3.0, 0.0, spread
    )
    np.testing.assert_allclose(np.diag(found)[:3], [0.36, 0.0225, 0.0225], rtol=1e-6)


def test_doubt_scales_all_of_the_spread_but_not_the_size() -> None:
    hessian, t = np.diag([100.0] * 6), np.array([0, 0, 2.0])
    spread = Spread(rotation=(0.1, 0.1, 0.1), weights={"a": math.log(2.0), "b": 1.0})

    def found(values: dict[str, float] | None, sigma: float = 0.0) -> np.ndarray:
        return full_covariance(hessian, np.eye(3), t, np.eye(3), 1.0, sigma, spread, values)

    np.testing.assert_allclose(found({"a": 3.0}), 8.0 * found(None))
    np.testing.assert_allclose(found({"a": 0.0, "b": 0.0, "unused": 9.0}), found(None))
    np.testing.assert_allclose(found({"a": 1e6}), math.exp(6.0) * found(None))  # never without end
    size = found({"a": 3.0}, 0.1) - found({"a": 3.0})
    np.testing.assert_allclose(size[:3, :3], 0.01 * np.outer(t, t), atol=1e-12)
