# SPDX-License-Identifier: Apache-2.0
"""Viewpoint angles, rotations and the geodesic distance, against hand-made and published values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example
from hypothesis import strategies as st
from properties import holds_for
from scipy.spatial.transform import Rotation

from nemo_model.camera import Camera
from nemo_model.pose import (
    angles_from_rotation,
    flip_angles,
    geodesic,
    rotation_from_angles,
    transform,
)

azimuths = st.floats(-2.0 * math.pi, 4.0 * math.pi)
elevations = st.floats(-math.pi / 2, math.pi / 2)
thetas = st.floats(-math.pi, math.pi)
quaternions = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: sum(x * x for x in q) > 1e-2)


def pascal3d_projection(
    points: np.ndarray, azimuth: float, elevation: float, theta: float, distance: float,
    focal: float, principal: tuple[float, float],
) -> np.ndarray:  # fmt: skip
    """Pixels (N, 2) by the formula that PASCAL3D+'s own tool uses, written out independently."""
    centre = distance * np.array([
        math.cos(elevation) * math.sin(azimuth),
        -math.cos(elevation) * math.cos(azimuth),
        math.sin(elevation),
    ])  # fmt: skip
    a, e = -azimuth, -(math.pi / 2 - elevation)
    Rz = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    Rx = np.array([[1, 0, 0], [0, math.cos(e), -math.sin(e)], [0, math.sin(e), math.cos(e)]])
    seen = (points - centre) @ (Rx @ Rz).T
    plane = focal * seen[:, :2] / -seen[:, 2:]
    c, s = math.cos(theta), math.sin(theta)
    turned = plane @ np.array([[c, -s], [s, c]]).T
    return np.asarray(turned * [1.0, -1.0] + principal)


@pytest.mark.parametrize(
    ("angles_deg", "expected"),
    [
        # the camera stands at -y and looks along +y: right is +x, down is -z
        ((0, 0, 0), [[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
        # at +x, looking along -x: right is +y
        ((90, 0, 0), [[0, 1, 0], [0, 0, -1], [-1, 0, 0]]),
        # at +y, looking along -y: right is -x
        ((180, 0, 0), [[-1, 0, 0], [0, 0, -1], [0, -1, 0]]),
        # above, looking down: right is +x, down is -y (towards the object's front)
        ((0, 90, 0), [[1, 0, 0], [0, -1, 0], [0, 0, -1]]),
        # below, looking up
        ((0, -90, 0), [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        # turned in the plane: the object's right side points up in the image
        ((0, 0, 90), [[0, 0, -1], [-1, 0, 0], [0, 1, 0]]),
    ],
)
def test_rotation_of_cardinal_views(angles_deg, expected) -> None:
    found = rotation_from_angles(*np.radians(angles_deg))
    np.testing.assert_allclose(found, expected, atol=1e-15)


def test_azimuth_zero_shows_the_front_and_positive_azimuth_its_side_at_plus_x() -> None:
    """Front at -y; at azimuth 30 degrees the camera has moved towards the object's +x side."""
    R = rotation_from_angles(math.radians(30), 0.0, 0.0)
    towards_camera = -R.T @ [0, 0, 1]
    np.testing.assert_allclose(towards_camera, [0.5, -math.sqrt(3) / 2, 0.0], atol=1e-15)


def test_projection_golden_value() -> None:
    """Worked out by hand: 45 degrees azimuth, the point (1, 0, 0) of an object 10 away."""
    R = rotation_from_angles(math.radians(45), 0.0, 0.0)
    camera = Camera(np.array([[100.0, 0, 50], [0, 100.0, 40], [0, 0, 1]]), 100, 80)
    h = math.sqrt(0.5)  # right by h, nearer by h
    found = camera.project(np.array([[1.0, 0.0, 0.0]]) @ R.T + [0, 0, 10])
    np.testing.assert_allclose(found, [[50 + 100 * h / (10 - h), 40]])


@holds_for(azimuths, elevations, thetas, st.floats(2.0, 20.0), st.floats(100.0, 3000.0))
def test_projection_is_that_of_pascal3d(a, e, t, distance, focal) -> None:
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3))
    principal = (123.5, 77.25)
    K = np.array([[focal, 0, principal[0]], [0, focal, principal[1]], [0, 0, 1]])
    R = rotation_from_angles(a, e, t)
    found = Camera(K, 250, 150).project(points @ R.T + [0, 0, distance])
    expected = pascal3d_projection(points, a, e, t, distance, focal, principal)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@holds_for(azimuths, elevations, thetas)
def test_rotations_are_proper(a, e, t) -> None:
    R = rotation_from_angles(a, e, t)
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1.0)


@holds_for(quaternions)
@example((1.0, 0.0, 0.0, 0.0))  # looking straight up
@example((0.0, 1.0, 0.0, 0.0))
@example((0.7071067811865476, 0.7071067811865476, 0.0, 0.0))
def test_every_rotation_survives_the_way_through_angles(q) -> None:
    R = Rotation.from_quat(q).as_matrix()
    assert geodesic(rotation_from_angles(*angles_from_rotation(R)), R) < 1e-5


@holds_for(azimuths, st.floats(-1.57, 1.57), st.floats(-3.14, 3.14))
@example(-1e-17, 0.0, 0.0)
def test_angles_survive_the_way_through_a_rotation(a, e, t) -> None:
    found = angles_from_rotation(rotation_from_angles(a, e, t))
    assert 0.0 <= found[0] < 2.0 * math.pi
    assert -math.pi <= found[2] <= math.pi
    assert math.remainder(found[0] - a, 2.0 * math.pi) == pytest.approx(0.0, abs=1e-9)
    assert found[1:] == pytest.approx((e, t), abs=1e-9)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("a", "t"), [(0.3, 0.0), (2.0, 0.5), (5.0, -1.0)])
def test_gimbal_lock_reports_theta_zero_and_the_same_rotation(sign, a, t) -> None:
    R = rotation_from_angles(a, sign * math.pi / 2, t)
    azimuth, elevation, theta = angles_from_rotation(R)
    assert theta == 0.0
    assert elevation == pytest.approx(sign * math.pi / 2)
    assert azimuth == pytest.approx((a - sign * t) % (2 * math.pi))
    assert geodesic(rotation_from_angles(azimuth, elevation, theta), R) < 1e-9


@holds_for(azimuths, elevations, thetas, st.floats(2.0, 20.0), st.floats(0.0, 199.0))
def test_flip_mirrors_the_image_of_a_symmetric_object(a, e, t, distance, px) -> None:
    """(a, e, t, px) -> (-a, e, -t, W - 1 - px), for a point set and its mirror image in x."""
    width, focal = 200, 300.0
    points = np.random.default_rng(1).uniform(-0.5, 0.5, (20, 3))

    def pixels(angles: tuple[float, float, float], px: float, x: np.ndarray) -> np.ndarray:
        K = np.array([[focal, 0, px], [0, focal, 60.0], [0, 0, 1]])
        R = rotation_from_angles(*angles)
        return Camera(K, width, 120).project(x @ R.T + [0, 0, distance])

    seen = pixels((a, e, t), px, points)
    mirrored = pixels(flip_angles(a, e, t), width - 1 - px, points * [-1, 1, 1])
    np.testing.assert_allclose(mirrored[:, 0], width - 1 - seen[:, 0], atol=1e-6)
    np.testing.assert_allclose(mirrored[:, 1], seen[:, 1], atol=1e-6)


def test_flip_is_not_pi_minus_azimuth() -> None:
    """A published reimplementation flips to pi - a, which shows the back instead of the front."""
    a = math.radians(30)
    R = rotation_from_angles(*flip_angles(a, 0.1, 0.05))
    assert geodesic(R, rotation_from_angles(math.pi - a, 0.1, -0.05)) > 1.0


@holds_for(quaternions, quaternions)
def test_geodesic_is_a_metric(p, q) -> None:
    P, Q = Rotation.from_quat(p).as_matrix(), Rotation.from_quat(q).as_matrix()
    distance = geodesic(P, Q)
    assert 0.0 <= distance <= math.pi
    assert geodesic(Q, P) == pytest.approx(distance, abs=1e-7)
    assert geodesic(P, P) < 1e-7
    assert geodesic(np.eye(3), Q) <= geodesic(np.eye(3), P) + distance + 1e-7


@holds_for(
    st.one_of(st.floats(0.0, math.pi), st.floats(0.0, 1e-6), st.floats(0.0, 1e-6)),
    st.booleans(),
    quaternions,
)
def test_geodesic_is_exact_also_near_zero_and_pi(angle, near_pi, q) -> None:
    """arccos of the trace would lose half the digits at both ends."""
    angle = math.pi - angle if near_pi else angle
    axis = Rotation.from_quat(q).as_matrix()[:, 0]
    R = Rotation.from_quat(q).as_matrix()
    turned = Rotation.from_rotvec(angle * axis).as_matrix() @ R
    assert geodesic(R, turned) == pytest.approx(angle, abs=2e-8)


@holds_for(quaternions, st.tuples(*[st.floats(-10, 10)] * 3), st.tuples(*[st.floats(-10, 10)] * 3))
def test_transform_composes_and_inverts_as_se3(q, t, x) -> None:
    R = Rotation.from_quat(q).as_matrix()
    T = transform(R, np.array(t))
    np.testing.assert_array_equal(T[3], [0, 0, 0, 1])
    point = np.append(x, 1.0)
    np.testing.assert_allclose((T @ point)[:3], R @ x + t, atol=1e-9)
    inverse = transform(R.T, -R.T @ t)
    np.testing.assert_allclose(inverse @ T, np.eye(4), atol=1e-9)
    np.testing.assert_allclose((T @ T)[:3, 3], R @ t + t, atol=1e-9)
