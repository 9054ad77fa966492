# SPDX-License-Identifier: Apache-2.0
"""The cuboid's own kernel against the z-buffer's, where they must agree, and where it gives way."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nemo_model.mesh import Mesh, cuboid
from nemo_model.objective import Scene, Workspace, evaluate, workspace
from nemo_model.synthetic import unit
from nemo_model.tables import FaceTable, face_table

WIDTH, HEIGHT, FOCAL = 26, 18, 26.0
BOX = cuboid([-0.2, -0.4, -0.15], [0.2, 0.45, 0.15], 400)


def scene_for(mesh: Mesh, channels: int, seed: int) -> tuple[FaceTable, Scene]:
    rng = np.random.default_rng(seed)
    theta = unit(rng.normal(size=(len(mesh.vertices), channels))).astype(np.float32)
    F = unit(rng.normal(size=(WIDTH * HEIGHT, channels)) + 0.5 * theta[0]).astype(np.float32)
    b = rng.uniform(-0.2, 0.1, WIDTH * HEIGHT).astype(np.float32)
    middle = 0.5 * (WIDTH - 1.0) + 0.13, 0.5 * (HEIGHT - 1.0) - 0.07
    return face_table(mesh, theta), Scene(F, b, HEIGHT, WIDTH, FOCAL, 1.1 * FOCAL, *middle)


def both(table: FaceTable, scene: Scene, R: np.ndarray, t: np.ndarray, order: int = 2
         ) -> tuple[Workspace, Workspace]:  # fmt: skip
    """Evaluate with the cuboid's kernel and with the z-buffer."""
    none = table._replace(box_counts=np.zeros(3, dtype=np.int32))
    fast, slow = workspace(table, WIDTH * HEIGHT), workspace(none, WIDTH * HEIGHT)
    evaluate(table, scene, np.ascontiguousarray(R), t, fast, order)
    evaluate(none, scene, np.ascontiguousarray(R), t, slow, order)
    return fast, slow


@pytest.mark.parametrize("channels", [12, 64])
@pytest.mark.parametrize("flipped", [False, True])
def test_agrees_with_the_z_buffer(channels: int, flipped: bool) -> None:
    # flipped: every square is cut along its other diagonal
    mesh = Mesh(BOX.vertices * [1.0, 1.0, -1.0], BOX.faces[:, ::-1]) if flipped else BOX
    table, scene = scene_for(mesh, channels, 1)
    assert table.box_counts.min() > 0
    rng = np.random.default_rng(2)
    compared = 0
    for _ in range(60):
        R = Rotation.random(random_state=rng).as_matrix()
        t = np.array([*rng.normal(size=2) * 0.3, rng.uniform(0.7, 3.0)])
        fast, slow = both(table, scene, R, t)
        if (fast.face != slow.face).any():
            continue  # a cell on an edge of two faces, whose values agree but not their slopes
        compared += 1
        np.testing.assert_array_equal(fast.state >= 0, slow.state >= 0)
        np.testing.assert_allclose(fast.sums, slow.sums, rtol=1e-4, atol=1e-4)
        scale = max(np.abs(slow.gradient).max(), 1e-3)
        np.testing.assert_allclose(fast.gradient, slow.gradient, rtol=0, atol=3e-4 * scale)
        scale = max(np.abs(slow.hessian).max(), 1e-3)
        np.testing.assert_allclose(fast.hessian, slow.hessian, rtol=0, atol=3e-4 * scale)
    assert compared > 40


def test_a_cell_on_an_edge_counts_once() -> None:
    table, scene = scene_for(BOX, 12, 3)
    scene = scene._replace(cx=12.0, cy=9.0)
    # a vertical edge in the middle of the picture, right through a column of cell centres
    R = Rotation.from_euler("z", 45.0, degrees=True).as_matrix()
    R = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]) @ R
    corner = R @ [-0.2, -0.4, 0.0]
    t = np.array([-corner[0], 0.0, 1.6])
    fast, slow = both(table, scene, R, t)
    assert fast.sums[1] == (fast.face >= 0).sum() == (fast.state >= 0).sum()
    assert abs(fast.sums[1] - slow.sums[1]) <= 2
    assert (fast.face[12::WIDTH] >= 0).any()


def test_only_the_faces_are_found_at_order_minus_one() -> None:
    table, scene = scene_for(BOX, 12, 4)
    R, t = Rotation.from_rotvec([0.4, 1.9, 0.3]).as_matrix(), np.array([0.0, 0.0, 1.3])
    fast, slow = both(table, scene, R, t, 0)
    assert (fast.face >= 0).sum() > 50
    np.testing.assert_array_equal(fast.face >= 0, slow.face >= 0)
    assert (fast.gradient == 0.0).all()
    assert (fast.hessian == 0.0).all()


def test_a_corner_behind_the_camera_is_left_to_the_z_buffer() -> None:
    table, scene = scene_for(BOX, 12, 5)
    R = Rotation.from_rotvec([np.pi / 2, 0.0, 0.0]).as_matrix()
    fast, slow = both(table, scene, R, np.array([0.0, 0.0, 0.2]))
    np.testing.assert_array_equal(fast.face, slow.face)
    np.testing.assert_array_equal(fast.sums, slow.sums)


@pytest.mark.parametrize("offset", [0.0, 1e-12, 1e-8, 1e-6, -1e-9])
def test_a_side_seen_edge_on_stays_finite(offset: float) -> None:
    table, scene = scene_for(BOX, 12, 6)
    scene = scene._replace(cx=12.0, cy=9.0)
    R = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    t = np.array([0.2 + offset, 0.0, 1.4])  # the eye almost in the plane of a side
    fast, slow = both(table, scene, R, t)
    for values in (fast.sums, fast.gradient, fast.hessian):
        assert np.isfinite(values).all()
    assert np.linalg.eigvalsh(fast.hessian).min() > -1e-3 * fast.hessian.max()
    assert fast.sums[0] == pytest.approx(slow.sums[0], rel=0.25)  # a column more or less
