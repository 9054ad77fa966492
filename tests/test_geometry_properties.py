# SPDX-License-Identifier: Apache-2.0
"""What must hold for any pose, camera, box and annotation; more of it in test_pose, test_camera."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from pascal3d_files import SIZE, texture, thing, viewpoint, write_object, write_set
from properties import holds_for
from scipy.spatial.transform import Rotation

from nemo_model.camera import FIRST_CELL, STRIDE, Camera, crop_camera
from nemo_model.datasets.pascal3d import Pascal3D
from nemo_model.errors import NemoError
from nemo_model.pose import (
    angles_from_rotation,
    flip_angles,
    geodesic,
    rotation_from_angles,
    transform,
)
from nemo_model.refine import step_pose

angles = st.tuples(st.floats(0.0, 6.28), st.floats(-1.5, 1.5), st.floats(-3.1, 3.1))
quaternions = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: sum(x * x for x in q) > 1e-2)
offsets = st.tuples(*[st.floats(-10.0, 10.0)] * 3)
boxes = st.tuples(st.floats(0, 639), st.floats(0, 479), st.floats(4, 500), st.floats(4, 400))
W, H = 192, 128


# --- SE(3)


@holds_for(quaternions, quaternions, quaternions, offsets, offsets, offsets)
def test_transforms_are_a_group(p, q, r, t, u, v) -> None:
    A, B, C = (
        transform(Rotation.from_quat(a).as_matrix(), np.array(b))
        for a, b in ((p, t), (q, u), (r, v))
    )
    np.testing.assert_allclose((A @ B) @ C, A @ (B @ C), atol=1e-12)
    np.testing.assert_allclose(np.linalg.inv(A @ B), np.linalg.inv(B) @ np.linalg.inv(A), atol=1e-9)
    moved = geodesic((C @ A)[:3, :3], (C @ B)[:3, :3])  # the same turn before both changes nothing
    assert math.isclose(moved, geodesic(A[:3, :3], B[:3, :3]), abs_tol=1e-7)


@holds_for(quaternions, st.tuples(*[st.floats(-0.5, 0.5)] * 3), st.floats(-0.5, 0.5))
def test_a_step_and_its_opposite_lead_back(q, turn, grow) -> None:
    R, t = Rotation.from_quat(q).as_matrix(), np.array([0.1, -0.2, 2.0])
    moved_R, moved_t = R.copy(), t.copy()
    step_pose(moved_R, moved_t, np.array([*turn, 0.0, 0.0, grow]), 0.5, 6)
    step_pose(moved_R, moved_t, -np.array([*turn, 0.0, 0.0, grow]), 0.5, 6)
    np.testing.assert_allclose(moved_R, R, atol=1e-12)
    np.testing.assert_allclose(moved_t, t, atol=1e-12)


# --- viewpoints


@holds_for(angles)
def test_flipping_mirrors_the_rotation_and_twice_is_once_back(view) -> None:
    """Mirrored in the picture's x and in the object's x: M R M with M = diag(-1, 1, 1)."""
    M = np.diag([-1.0, 1.0, 1.0])
    R = rotation_from_angles(*view)
    np.testing.assert_allclose(rotation_from_angles(*flip_angles(*view)), M @ R @ M, atol=1e-12)
    assert flip_angles(*flip_angles(*view)) == view


@holds_for(angles, st.floats(1.0, 30.0), st.floats(-20.0, 180.0), st.floats(0.5, 4.0), examples=25)
def test_an_annotation_is_read_back_as_it_was_written(view, distance, px, focal) -> None:
    """Degrees and pixels from 1 in the file, radians and pixels from 0 here, one K and one pose."""
    azimuth, elevation, theta = (math.degrees(angle) for angle in view)
    written = viewpoint(azimuth=azimuth, elevation=elevation, theta=theta, distance=distance,
                        px=px, focal=focal, viewport=3000.0)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        blank = texture(np.random.default_rng(0))
        write_object(root, "a", [thing(view=written)], image=blank, imgsize=[*SIZE, 3])
        write_set(root, "val", ["a"])
        item = Pascal3D(root, "car", split="val").objects[0]
    np.testing.assert_allclose(
        [item.azimuth, item.elevation, item.theta, item.distance], [*view, distance], atol=1e-9
    )
    np.testing.assert_allclose(item.principal_point, [px - 1.0, 60.0])
    np.testing.assert_allclose(np.diag(item.K), [3000.0 * focal, 3000.0 * focal, 1.0])
    np.testing.assert_allclose(item.box, [30.0, 40.0, 130.0, 90.0])
    again = angles_from_rotation(item.R_cam_obj)
    assert geodesic(rotation_from_angles(*again), rotation_from_angles(*view)) < 1e-6
    np.testing.assert_allclose(item.K @ item.T_cam_obj[:3, 3] / distance, [px - 1.0, 60.0, 1.0])


# --- projection and crop


def camera_at(scale: float) -> Camera:
    """One camera at different resolutions; pixel centres at integers, so edges are at -0.5."""
    K = np.array([[500.0, 0, 310.0], [0, 520.0, 250.0], [0, 0, 1.0]])
    K[:2] *= scale
    K[:2, 2] += 0.5 * (scale - 1.0)
    return Camera(K, round(640 * scale), round(480 * scale))


def scaled(box: np.ndarray, scale: float) -> np.ndarray:
    return (box + 0.5) * scale - 0.5


@holds_for(quaternions, st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(2, 20)),
           st.floats(0.1, 10.0))  # fmt: skip
def test_projection_is_linear_in_the_ray_and_forgets_scale(q, place, factor) -> None:
    camera = camera_at(1.0)
    points = np.random.default_rng(1).uniform(-0.5, 0.5, (8, 3))
    points = points @ Rotation.from_quat(q).as_matrix().T + place
    pixels = camera.project(points)
    np.testing.assert_allclose(camera.project(factor * points), pixels, rtol=1e-9)
    for point, (u, v) in zip(points, pixels, strict=True):
        np.testing.assert_allclose(camera.ray(u, v), point / np.linalg.norm(point), atol=1e-9)


@holds_for(boxes, st.sampled_from([0.5, 2.0, 4.0]))
def test_the_crop_does_not_depend_on_the_images_resolution(at, scale) -> None:
    u, v, width, height = at
    box = np.array([u - width / 2, v - height / 2, u + width / 2, v + height / 2])
    try:
        one = crop_camera(camera_at(1.0), box, W, H)
        other = crop_camera(camera_at(scale), scaled(box, scale), W, H)
    except NemoError:
        assume(False)
    np.testing.assert_allclose(other.R_crop_cam, one.R_crop_cam, atol=1e-9)
    np.testing.assert_allclose(other.K, one.K, rtol=1e-9)
    assert math.isclose(other.scale * scale, one.scale, rel_tol=1e-9)


@holds_for(boxes, st.tuples(st.floats(0, 23), st.floats(0, 15)), st.floats(0.5, 30.0))
def test_cells_crop_pixels_and_the_image_tell_of_one_ray(at, cell, depth) -> None:
    """From a cell to a point in the camera frame, to the image, through the homography, back."""
    u, v, width, height = at
    camera = camera_at(1.0)
    try:
        crop = crop_camera(camera, [u - width / 2, v - height / 2, u + width / 2, v + height / 2],
                           W, H)  # fmt: skip
    except NemoError:
        assume(False)
    ray = np.linalg.solve(crop.map_K(), [*cell, 1.0])
    point = crop.R_crop_cam.T @ (depth * ray)
    assume(point[2] > 0.05)
    pixel = crop.H_crop_image @ [*camera.project(point[None])[0], 1.0]
    np.testing.assert_allclose((pixel[:2] / pixel[2] - FIRST_CELL) / STRIDE, cell, atol=1e-6)
