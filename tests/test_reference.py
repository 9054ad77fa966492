# SPDX-License-Identifier: Apache-2.0
"""The solver's kernels against the reference: the objective by automatic differentiation, float64.

Value, gradient, Gauss-Newton Hessian, occlusion map and the visibility of vertices, on a cuboid,
two cuboids, a torus and an L-shaped solid of few large faces; in the middle, close, over the
image's edge, far, before and behind the camera, and seen edge-on.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st
from properties import holds_for
from scipy.spatial.transform import Rotation
from shapes import stairs, torus, two_boxes

from nemo_model.mesh import Mesh, cuboid
from nemo_model.objective import Scene, Workspace, workspace
from nemo_model.objective import evaluate as kernel
from nemo_model.pose import transform
from nemo_model.raster import rasterize, visible_vertices
from nemo_model.reference.objective import Evaluation, evaluate
from nemo_model.reference.render import (
    Fragments,
    TorchScene,
    depth_map,
    torch_fragments,
    torch_scene,
    weights_of,
)
from nemo_model.synthetic import unit
from nemo_model.tables import FaceTable, face_table

WIDTH, HEIGHT, CHANNELS = 15, 11, 12
K = np.array([[16.0, 0.0, 7.2], [0.0, 15.0, 4.9], [0.0, 0.0, 1.0]])
MESHES = {
    "cuboid": cuboid([-0.2, -0.4, -0.15], [0.2, 0.4, 0.15], 120),
    "two boxes": two_boxes(),
    "torus": torus(),
    "stairs": stairs(),
}
POSES = {
    "centre": ([0.4, 1.9, 0.3], [0.02, -0.03, 1.3]),
    "close": ([1.1, -0.8, 0.5], [0.1, 0.0, 0.75]),
    "edge": ([-0.7, 0.2, 1.4], [0.5, 0.35, 1.1]),
    "corner": ([0.2, 2.6, -0.4], [-0.62, -0.45, 1.2]),
    "far": ([2.0, 0.1, -1.0], [0.0, 0.1, 2.4]),
    "through the camera": ([0.5, 1.0, -0.2], [0.05, 0.02, 0.3]),
}
UNSEEN = {
    "behind the camera": [0.0, 0.1, -1.3],
    "beside the image": [9.0, 0.0, 1.5],
    "between the cells": [0.031, -0.02, 200.0],  # smaller than a cell, and on none's centre
}


class Case:
    """A mesh with random features before a random map, for the kernels and for the reference."""

    def __init__(self, mesh: Mesh, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.mesh = mesh
        theta = unit(rng.normal(size=(len(mesh.vertices), CHANNELS))).astype(np.float32)
        self.F = unit(rng.normal(size=(WIDTH * HEIGHT, CHANNELS)) + 0.7 * theta[0])
        self.F = self.F.astype(np.float32)
        self.b = rng.uniform(-0.2, 0.1, WIDTH * HEIGHT).astype(np.float32)
        self.table = face_table(mesh, theta)
        self.scene = Scene(self.F, self.b, HEIGHT, WIDTH, K[0, 0], K[1, 1], K[0, 2], K[1, 2])
        self.wide: TorchScene = torch_scene(
            mesh.vertices, mesh.faces, theta, self.F.reshape(HEIGHT, WIDTH, -1), self.b, K
        )

    def ours(self, R: np.ndarray, t: np.ndarray, table: FaceTable | None = None) -> Workspace:
        table = self.table if table is None else table
        work = workspace(table, WIDTH * HEIGHT)
        kernel(table, self.scene, R, np.asarray(t, dtype=np.float64), work, 2)
        return work

    def theirs(self, R: np.ndarray, t: np.ndarray, work: Workspace) -> Evaluation:
        """The reference on the faces that the kernels chose: a cell may sit on an edge of two."""
        faces = np.where(work.face >= 0, self.table.original[work.face], -1)

        def drawn(scene: TorchScene, points: torch.Tensor) -> Fragments:
            cells = torch.tensor(np.flatnonzero(faces >= 0))
            chosen = torch.tensor(faces[faces >= 0], dtype=torch.int64)
            return Fragments(cells, chosen, weights_of(scene, points, cells, chosen))

        return evaluate(self.wide, R, t, drawn)


@cache
def case(name: str) -> Case:
    return Case(MESHES[name], 3)


def without_box(table: FaceTable) -> FaceTable:
    return table._replace(box_counts=np.zeros(3, dtype=np.int32))


def pose(name: str) -> tuple[np.ndarray, np.ndarray]:
    return Rotation.from_rotvec(POSES[name][0]).as_matrix(), np.array(POSES[name][1])


def assert_same(work: Workspace, wanted: Evaluation) -> None:
    """The kernels' float32 against float64, the same faces seen."""
    assert work.sums[0] == pytest.approx(wanted.energy, rel=1e-5, abs=1e-6)
    scale = max(float(np.abs(wanted.gradient).max()), 1e-3)
    np.testing.assert_allclose(work.gradient, wanted.gradient, rtol=0, atol=3e-4 * scale)
    scale = max(float(wanted.hessian.max()), 1e-3)
    np.testing.assert_allclose(work.hessian, wanted.hessian, rtol=0, atol=3e-4 * scale)
    # a gain of nearly zero may fall to either side
    assert (work.state != wanted.state.ravel()).sum() <= 1
    assert work.sums[1] == (wanted.state >= 0).sum()
    assert abs(work.sums[2] - (wanted.state == 1).sum()) <= 1


# --- the kernels


@pytest.mark.parametrize("name", MESHES)
@pytest.mark.parametrize("view", POSES)
def test_value_gradient_hessian_and_occlusion_map(name: str, view: str) -> None:
    this = case(name)
    R, t = pose(view)
    own = evaluate(this.wide, R, t)
    assert view == "through the camera" or (own.face >= 0).sum() > 8
    for table in {id(x): x for x in (this.table, without_box(this.table))}.values():
        work = this.ours(R, t, table)
        faces = np.where(work.face >= 0, this.table.original[work.face], -1)
        assert (faces != own.face.ravel()).sum() <= 1  # a cell may sit on an edge
        assert_same(work, this.theirs(R, t, work))


@pytest.mark.parametrize("name", MESHES)
@pytest.mark.parametrize("place", UNSEEN)
def test_nothing_seen_is_worth_nothing(name: str, place: str) -> None:
    this = case(name)
    R, t = Rotation.from_rotvec([0.1, 0.2, 0.3]).as_matrix(), np.array(UNSEEN[place])
    wanted = evaluate(this.wide, R, t)
    work = this.ours(R, t)
    assert (wanted.state == -1).all()
    assert (work.state == -1).all()
    for found in (work, wanted):
        assert not found.gradient.any()
        assert not found.hessian.any()
    assert wanted.energy == work.sums[0] == 0.0


def test_from_within_a_convex_mesh_nothing_is_seen() -> None:
    """The one known difference: the kernels leave out what is turned away, and a camera inside a
    cuboid sees nothing else; the reference draws its walls, also where the camera almost touches
    it and what is in front is too near to be drawn. No pose of an object is like that."""
    work = case("cuboid").ours(np.eye(3), np.zeros(3))
    assert (work.face == -1).all()
    assert (evaluate(case("cuboid").wide, np.eye(3), np.zeros(3)).face >= 0).any()


@pytest.mark.parametrize("angle_deg", [0.0, 0.01, 0.3, 2.0])
def test_faces_seen_edge_on(angle_deg: float) -> None:
    """The flat sides of a slab turned to the line of sight and just past it."""
    slab = Case(cuboid([-0.3, -0.35, -0.02], [0.3, 0.35, 0.02], 90), 5)
    R = Rotation.from_euler("x", 90.0 + angle_deg, degrees=True).as_matrix()
    t = np.array([0.01, 0.013, 1.2])
    for table in (slab.table, without_box(slab.table)):
        work = slab.ours(R, t, table)
        assert work.sums[1] > 3
        wanted = slab.theirs(R, t, work)
        assert work.sums[0] == pytest.approx(wanted.energy, rel=1e-4)
        # nearly edge-on the derivatives grow like one over the angle, and so do float32's errors
        scale = np.abs(wanted.gradient).max()
        np.testing.assert_allclose(work.gradient, wanted.gradient, rtol=0, atol=5e-3 * scale)
        assert np.linalg.eigvalsh(work.hessian).min() > -1e-6 * work.hessian.max()


rotations = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: sum(x * x for x in q) > 1e-2)
places = st.tuples(st.floats(-0.8, 0.8), st.floats(-0.6, 0.6), st.floats(-0.4, 3.0))


@holds_for(st.sampled_from(sorted(MESHES)), rotations, places, examples=120)
def test_any_pose(name, quaternion, place) -> None:
    this = case(name)
    R, t = Rotation.from_quat(quaternion).as_matrix(), np.array(place)
    if this.table.convex:  # or its far walls are seen through faces too near to be drawn
        assume((this.mesh.vertices @ R[2] + t[2]).min() >= 1e-3)
    own = evaluate(this.wide, R, t)
    work = this.ours(R, t)
    faces = np.where(work.face >= 0, this.table.original[work.face], -1)
    # faces near the camera are large and many cells may lie on edges, in symmetric views above all
    assert (faces != own.face.ravel()).sum() <= max(2, 0.1 * (faces >= 0).sum())
    assert ((faces >= 0) != (own.face.ravel() >= 0)).sum() <= 2
    wanted = this.theirs(R, t, work)
    assert work.sums[0] == pytest.approx(wanted.energy, rel=1e-4, abs=1e-4)
    scale = max(float(np.abs(wanted.gradient).max()), 1e-3)
    np.testing.assert_allclose(work.gradient, wanted.gradient, rtol=0, atol=1e-2 * scale)
    scale = max(float(wanted.hessian.max()), 1e-3)
    np.testing.assert_allclose(work.hessian, wanted.hessian, rtol=0, atol=1e-2 * scale)


@pytest.mark.parametrize("name", MESHES)
@pytest.mark.parametrize("view", POSES)
def test_visibility_of_vertices(name: str, view: str) -> None:
    """Visible: inside, and no further than the furthest surface in the 3 x 3 cells around."""
    this, slack = case(name), 0.01
    R, t = pose(view)
    points = torch.tensor(this.mesh.vertices @ R.T + t)
    seen = torch_fragments(this.wide, points)
    depth = depth_map(this.wide, points, seen)
    covered = torch.where(torch.isfinite(depth), depth, torch.zeros(()).double())
    furthest = torch.nn.functional.max_pool2d(covered[None], 3, 1, 1)[0].numpy()
    found, uv = visible_vertices(this.mesh, transform(R, t), K, WIDTH, HEIGHT, slack)
    for k, (x, y, z) in enumerate(points.numpy()):
        u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
        inside = z >= 1e-3 and -0.5 <= u < WIDTH - 0.5 and -0.5 <= v < HEIGHT - 0.5
        limit = furthest[int(np.floor(v + 0.5)), int(np.floor(u + 0.5))] if inside else -1.0
        assert found[k] == (z <= limit + slack)
        if z >= 1e-3:
            np.testing.assert_allclose(uv[k], [u, v])
    face, weights, z_buffer = rasterize(points.numpy(), this.mesh.faces, K, WIDTH, HEIGHT)
    assert ((face >= 0) == np.isfinite(depth.numpy())).all()
    np.testing.assert_allclose(z_buffer, depth.numpy())
    same = face.ravel()[seen.cells] == seen.faces.numpy()
    assert same.mean() > 0.98
    np.testing.assert_allclose(weights.reshape(-1, 3)[seen.cells][same], seen.weights[same],
                               atol=1e-9)  # fmt: skip


# --- the reference itself


@pytest.mark.parametrize("name", MESHES)
@pytest.mark.parametrize("view", ["centre", "close", "edge"])
def test_its_derivatives_are_the_finite_differences(name: str, view: str) -> None:
    this = case(name)
    R, t = pose(view)
    found = evaluate(this.wide, R, t)
    cells = torch.tensor(np.flatnonzero(found.face.ravel() >= 0))
    faces = torch.tensor(found.face.ravel()[cells])
    wide, h = this.wide, 1e-6

    def features(step: np.ndarray) -> np.ndarray:
        turned = Rotation.from_rotvec(step[:3]).as_matrix() @ R  # the exact exponential here
        points = torch.tensor(this.mesh.vertices @ turned.T + t + step[3:])
        weights = weights_of(wide, points, cells, faces).numpy()
        corners = this.table.features.astype(np.float64)[this.mesh.faces[faces]]
        return np.einsum("nk,nkc->nc", weights, corners)

    F, b = wide.features.numpy()[cells], wide.background.numpy()[cells]
    gain = np.sum(features(np.zeros(6)) * F, axis=1) - b
    assert found.energy == pytest.approx(gain[gain > 0].sum())
    axes = h * np.eye(6)
    J = np.stack([(features(a) - features(-a)) / (2 * h) for a in axes])[:, gain > 0]
    gradient = np.einsum("inc,nc->i", J, F[gain > 0])
    np.testing.assert_allclose(found.gradient, gradient, atol=1e-6 * np.abs(gradient).max())
    hessian = 0.7 * np.einsum("inc,jnc->ij", J, J)
    np.testing.assert_allclose(found.hessian, hessian, atol=1e-6 * hessian.max())


def test_cells_that_are_not_numbers_count_as_hidden() -> None:
    this = case("cuboid")
    F = this.F.reshape(HEIGHT, WIDTH, -1).copy()
    F[::2] = np.nan
    scene = torch_scene(this.mesh.vertices, this.mesh.faces, this.table.features, F, this.b, K)
    R, t = pose("centre")
    found = evaluate(scene, R, t)
    assert found.energy > 0.0
    assert np.isfinite(found.gradient).all()
    assert (found.state[::2] < 1).all()
    assert (found.state[::2] == 0).any()


def test_of_equally_near_faces_the_first_is_seen() -> None:
    mesh = MESHES["cuboid"]
    twice = Mesh(mesh.vertices, np.concatenate([mesh.faces, mesh.faces]))
    this = Case(twice, 3)
    R, t = pose("centre")
    face = evaluate(this.wide, R, t).face
    assert face.max() < len(mesh.faces)
    np.testing.assert_array_equal(face, evaluate(case("cuboid").wide, R, t).face)
