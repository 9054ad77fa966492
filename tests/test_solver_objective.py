# SPDX-License-Identifier: Apache-2.0
"""Energy and gradient against PyTorch3D, and hostile input; the rest is in test_reference.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from shapes import torus, two_boxes

from nemo_model.mesh import Mesh, cuboid
from nemo_model.objective import Scene, background, evaluate, render, workspace
from nemo_model.synthetic import unit
from nemo_model.tables import FaceTable, face_table

WIDTH, HEIGHT, CHANNELS = 15, 11, 12
K = np.array([[16.0, 0.0, 7.2], [0.0, 15.0, 4.9], [0.0, 0.0, 1.0]])
MESHES = {
    "cuboid": cuboid([-0.2, -0.4, -0.15], [0.2, 0.4, 0.15], 120),
    "torus": torus(),
    "two boxes": two_boxes(),
}


def make_scene(F: np.ndarray, b: np.ndarray, K: np.ndarray, width: int, height: int) -> Scene:
    flat = np.ascontiguousarray(F.reshape(width * height, -1), dtype=np.float32)
    return Scene(flat, b.astype(np.float32).ravel(), height, width,
                 K[0, 0], K[1, 1], K[0, 2], K[1, 2])  # fmt: skip


def without_box(table: FaceTable) -> FaceTable:
    return table._replace(box_counts=np.zeros(3, dtype=np.int32))


def random_problem(mesh: Mesh, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    theta = unit(rng.normal(size=(len(mesh.vertices), CHANNELS))).astype(np.float32)
    F = unit(rng.normal(size=(WIDTH * HEIGHT, CHANNELS)) + 0.7 * theta[0]).astype(np.float32)
    return theta, F, rng.uniform(-0.2, 0.1, WIDTH * HEIGHT).astype(np.float32)


@pytest.mark.parametrize("order", [0, 1])
def test_lower_orders_give_the_same_value(order: int) -> None:
    mesh = MESHES["cuboid"]
    theta, F, b = random_problem(mesh, 4)
    table = face_table(mesh, theta)
    scene = make_scene(F, b, K, WIDTH, HEIGHT)
    R, t = Rotation.from_rotvec([0.3, 1.0, 0.2]).as_matrix(), np.array([0.0, 0.0, 1.2])
    full, part = workspace(table, WIDTH * HEIGHT), workspace(table, WIDTH * HEIGHT)
    assert evaluate(table, scene, R, t, part, order) == evaluate(table, scene, R, t, full, 2)
    if order == 1:
        np.testing.assert_allclose(part.gradient, full.gradient, rtol=1e-9)


@pytest.mark.parametrize("counts", [(-0.2, 0.2, 400), (-0.1, 0.3, 1000)])
def test_ray_cast_of_the_cuboid_equals_the_z_buffer(counts: tuple[float, float, int]) -> None:
    low, high, n = counts
    mesh = cuboid([low, -0.4, -0.15], [high, 0.45, 0.2], n)
    theta = np.eye(4, dtype=np.float32)[np.arange(len(mesh.vertices)) % 4]
    table = face_table(mesh, theta)
    assert table.convex
    assert table.box_counts.min() > 0
    width, height = 40, 30
    blank = np.zeros((width * height, 4))
    camera = np.array([[40.0, 0.0, 19.0], [0.0, 40.0, 14.0], [0.0, 0.0, 1.0]])
    scene = make_scene(blank, blank[:, 0], camera, width, height)
    cast, drawn = workspace(table, width * height), workspace(table, width * height)
    rng = np.random.default_rng(0)
    different = covered = 0
    for _ in range(60):
        R = Rotation.random(random_state=rng).as_matrix()
        t = np.array([*rng.normal(size=2) * 0.3, rng.uniform(0.5, 3.0)])
        render(table, scene, R, t, cast)
        render(without_box(table), scene, R, t, drawn)
        different += int((cast.face != drawn.face).sum())
        covered += int((drawn.face >= 0).sum())
    assert covered > 5000
    assert different < 1e-3 * covered  # cells on an edge of two faces


def golden(path: Path) -> list[tuple[dict[str, np.ndarray], int]]:
    data = dict(np.load(path))
    return [(data, pose) for pose in range(len(data["energy"]))]


def check_golden(path: Path, fast_box: bool) -> None:
    """Compare cover, depth, energy and gradient; CAD meshes hold faces twice, so not numbers."""
    for data, pose in golden(path):
        mesh = Mesh(data["vertices"], data["faces"].astype(np.int32))
        table = face_table(mesh, data["vertex_features"])
        table = table if fast_box else without_box(table)
        height, width = data["pix_to_face"].shape[1:]
        F = data["feature_map"][pose]
        camera, T = data["K"][pose], data["T_cam_obj"][pose]
        scene = make_scene(F, F @ data["beta"], camera, width, height)
        work = workspace(table, height * width)
        R, t = np.ascontiguousarray(T[:3, :3]), T[:3, 3].copy()
        energy = evaluate(table, scene, R, t, work, 2)
        assert energy == pytest.approx(float(data["energy"][pose]), rel=1e-5, abs=1e-4)
        truth = data["gradient"][pose]
        limit = 5e-4 * max(float(np.abs(truth).max()), 1e-6)
        np.testing.assert_allclose(work.gradient, truth, rtol=0, atol=limit)
        assert np.linalg.eigvalsh(work.hessian).min() >= -1e-6 * max(work.hessian.max(), 1.0)
        covered = data["pix_to_face"][pose].ravel() >= 0
        np.testing.assert_array_equal(work.face >= 0, covered)
        ours = table.original[work.face[covered]]
        points = (mesh.vertices @ R.T + t)[mesh.faces[ours]]
        normal = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
        row, column = np.divmod(np.flatnonzero(covered), width)
        ray = np.stack([column, row, np.ones(len(row))], axis=1) @ np.linalg.inv(camera).T
        depth = np.sum(normal * points[:, 0], axis=1) / np.sum(normal * ray, axis=1)
        np.testing.assert_allclose(depth, data["zbuf"][pose].ravel()[covered], rtol=1e-3)


@pytest.mark.parametrize("fast_box", [True, False])
def test_cuboid_agrees_with_pytorch3d(fast_box: bool) -> None:
    check_golden(Path(__file__).parent / "data" / "pytorch3d" / "cuboid_car_28.npz", fast_box)


@pytest.mark.parametrize("mesh", ["cuboid_car", "cad_car", "cad_chair", "cad_aeroplane"])
@pytest.mark.parametrize("size", [28, 56])
def test_every_golden_mesh_agrees_with_pytorch3d(shared_data: Path, mesh: str, size: int) -> None:
    path = shared_data / "pytorch3d_golden" / f"{mesh}_{size}.npz"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    check_golden(path, fast_box=True)


@pytest.mark.parametrize("name", MESHES)
@pytest.mark.parametrize(
    "t",
    [(0, 0, -2.0), (50.0, 0, 1.0), (0, 0, 0.01), (0, 0, 0.3), (0, 0, 9e3), (0.1, 0.1, 1e-3)],
)
def test_no_pose_breaks_it(name: str, t: tuple[float, float, float]) -> None:
    mesh = MESHES[name]
    theta, F, b = random_problem(mesh, 5)
    table = face_table(mesh, theta)
    for fast in (table, without_box(table)):
        work = workspace(fast, WIDTH * HEIGHT)
        R = Rotation.from_rotvec([0.1, 0.2, 0.3]).as_matrix()
        energy = evaluate(fast, make_scene(F, b, K, WIDTH, HEIGHT), R, np.array(t), work, 2)
        assert np.isfinite(energy)
        assert energy >= 0.0
        assert np.isfinite(work.gradient).all()
        assert np.isfinite(work.hessian).all()
        if t[2] < 0.0 or t[0] > 10.0:
            assert energy == 0.0
            assert (work.state == -1).all()


def test_cells_that_are_not_numbers_count_as_hidden() -> None:
    mesh = MESHES["cuboid"]
    theta, F, b = random_problem(mesh, 6)
    F[::3] = np.nan
    table = face_table(mesh, theta)
    work = workspace(table, WIDTH * HEIGHT)
    R, t = Rotation.from_rotvec([0.4, 1.9, 0.3]).as_matrix(), np.array([0.0, 0.0, 1.2])
    assert np.isfinite(evaluate(table, make_scene(F, b, K, WIDTH, HEIGHT), R, t, work, 2))
    assert np.isfinite(work.gradient).all()
    assert (work.state[::3] < 1).all()


def test_degenerate_faces_are_left_out() -> None:
    box = MESHES["cuboid"]
    lame = np.array([[0, 0, 1], [2, 2, 2], [0, 1, 1]], dtype=np.int32)
    mesh = Mesh(box.vertices, np.concatenate([lame, box.faces]))
    theta, F, b = random_problem(mesh, 7)
    R, t = Rotation.from_rotvec([0.4, 1.9, 0.3]).as_matrix(), np.array([0.0, 0.0, 1.2])
    energies = []
    for shape in (box, mesh):
        table = face_table(shape, theta)
        work = workspace(table, WIDTH * HEIGHT)
        energies.append(evaluate(table, make_scene(F, b, K, WIDTH, HEIGHT), R, t, work, 2))
    assert table.original.min() == 3
    assert energies[0] == energies[1] > 0.0
    nothing = face_table(Mesh(box.vertices, lame), theta)
    work = workspace(nothing, WIDTH * HEIGHT)
    assert evaluate(nothing, make_scene(F, b, K, WIDTH, HEIGHT), R, t, work, 2) == 0.0


def test_background_is_the_best_or_the_mean_prototype() -> None:
    rng = np.random.default_rng(8)
    F = rng.normal(size=(20, 6)).astype(np.float32)
    clutter = rng.normal(size=(5, 6)).astype(np.float32)
    out = np.zeros(20, dtype=np.float32)
    background(F, clutter, False, out)
    np.testing.assert_allclose(out, (F @ clutter.T).max(axis=1), rtol=1e-5, atol=1e-6)
    background(F, clutter, True, out)
    np.testing.assert_allclose(out, F @ clutter.mean(axis=0), rtol=1e-4, atol=1e-5)
    background(F, clutter[:0], False, out)
    assert (out == 0.0).all()


def test_features_must_fit_the_mesh() -> None:
    mesh = MESHES["cuboid"]
    with pytest.raises(ValueError, match="vertex features"):
        face_table(mesh, np.ones((3, 4)))
    with pytest.raises(ValueError, match="vertex features"):
        face_table(mesh, np.full((len(mesh.vertices), 4), np.nan))
