# SPDX-License-Identifier: Apache-2.0
"""The z-buffer against a ray caster, PyTorch3D and hand-made values; visibility of vertices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from properties import holds_for

from nemo_model.mesh import Mesh, cuboid
from nemo_model.pose import rotation_from_angles, transform
from nemo_model.raster import NEAR, rasterize, silhouette, visible_vertices

GOLDEN = (
    "cuboid_car_28", "cuboid_car_56", "cad_car_28", "cad_car_56", "cad_chair_28", "cad_chair_56",
    "cad_aeroplane_28", "cad_aeroplane_56",
)  # fmt: skip


def intrinsics(f: float, cx: float, cy: float) -> np.ndarray:
    return np.array([[f, 0, cx], [0, 0.9 * f, cy], [0, 0, 1.0]])


def cast_rays(
    points: np.ndarray, faces: np.ndarray, K: np.ndarray, width: int, height: int
) -> np.ndarray:
    """Depths (height, width, F) at which each cell's ray meets each face; infinite for a miss."""
    j, i = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack([j, i, np.ones_like(i)], axis=2) @ np.linalg.inv(K).T  # z = 1
    a, b, c = np.moveaxis(points[faces], 1, 0)
    # ray * depth = a + y (b - a) + z (c - a): one 3 x 3 system per cell and face, by Cramer
    e1, e2 = b - a, c - a
    normal = np.cross(e1, e2)
    along = rays @ normal.T
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.einsum("fk,fk->f", a, normal) / along
        hit = rays[:, :, None] * depth[..., None] - a
        area = np.einsum("fk,fk->f", normal, normal)
        y = np.einsum("hwfk,fk->hwf", np.cross(hit, e2), normal) / area
        z = np.einsum("hwfk,fk->hwf", np.cross(e1, hit), normal) / area
    inside = (y >= 0) & (z >= 0) & (y + z <= 1) & (depth > 0)
    return np.where(inside, depth, np.inf)


@holds_for(st.integers(0, 10_000), examples=15)
def test_a_heap_of_triangles_as_a_ray_caster_sees_it(seed) -> None:
    """Random triangles, none convex, some cut by the grid's edge, both orientations."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform([-1.2, -0.9, 2.0], [1.2, 0.9, 5.0], (40, 3))
    points = (centres[:, None] + rng.normal(0, 0.4, (40, 3, 3))).reshape(-1, 3)
    faces = np.arange(120, dtype=np.int32).reshape(-1, 3)
    K = intrinsics(30.0, 15.3, 10.8)
    face, bary, depth = rasterize(points, faces, K, 31, 23)
    all_depths = cast_rays(points, faces, K, 31, 23)
    expected = all_depths.min(axis=2)
    covered = np.isfinite(expected)
    np.testing.assert_array_equal(face >= 0, covered)
    np.testing.assert_array_equal(silhouette(Mesh(points, faces), np.eye(4), K, 31, 23), covered)
    np.testing.assert_allclose(depth[covered], expected[covered], rtol=1e-9)
    np.testing.assert_array_equal(face[covered], all_depths.argmin(axis=2)[covered])
    # barycentric weights rebuild the surface point, perspective and all
    np.testing.assert_allclose(bary[covered].sum(axis=1), 1.0)
    assert (bary >= 0).all()
    surface = np.einsum("nk,nkd->nd", bary[covered], points[faces[face[covered]]])
    uvw = surface @ K.T
    i, j = np.nonzero(covered)
    np.testing.assert_allclose(uvw[:, 0] / uvw[:, 2], j, atol=1e-7)
    np.testing.assert_allclose(uvw[:, 1] / uvw[:, 2], i, atol=1e-7)
    np.testing.assert_allclose(surface[:, 2], depth[covered])
    assert (face[~covered] == -1).all()
    assert np.isinf(depth[~covered]).all()
    assert (bary[~covered] == 0).all()


@pytest.mark.parametrize("name", GOLDEN)
def test_fragments_are_those_of_pytorch3d(shared_data: Path, name: str) -> None:
    """64 poses of four meshes: the same cells covered, the same depth and surface point in each."""
    path = shared_data / "pytorch3d_golden" / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with np.load(path) as golden:
        mesh = Mesh(golden["vertices"], golden["faces"])
        for k in range(8):
            T, K = golden["T_cam_obj"][k], golden["K"][k]
            pix_to_face, zbuf, weights = (golden[n][k] for n in ("pix_to_face", "zbuf", "bary"))
            height, width = pix_to_face.shape
            points = mesh.vertices @ T[:3, :3].T + T[:3, 3]
            face, bary, depth = rasterize(points, mesh.faces, K, width, height)
            expected = pix_to_face >= 0
            differ = (face >= 0) != expected
            assert differ.sum() <= 0.002 * expected.sum(), (name, k)
            both = (face >= 0) & expected
            np.testing.assert_allclose(depth[both], zbuf[both], atol=1e-4)
            same = both & (face == pix_to_face)
            if name.startswith("cuboid"):  # CAD meshes hold faces twice, and either may be named
                assert same.sum() >= 0.98 * both.sum(), (name, k)
            # float32 weights of triangles seen edge-on are coarse, the others must agree
            wrong = np.abs(bary[same] - weights[same]).max(axis=1, initial=0.0)
            assert (wrong > 1e-2).sum() <= 0.02 * same.sum()
            surface = np.einsum("nk,nkd->nd", bary[both], mesh.vertices[mesh.faces[face[both]]])
            theirs = mesh.vertices[mesh.faces[pix_to_face[both]]]
            theirs = np.einsum("nk,nkd->nd", weights[both], theirs)
            np.testing.assert_allclose(surface, theirs, atol=2e-3)


def test_a_silhouette_leaves_out_what_the_z_buffer_leaves_out() -> None:
    """A face with a corner behind the camera, and one seen on edge."""
    points = np.array([[-1, -1, 2], [1, -1, 2], [0, 1, -2], [1, 1, 2], [0, -1, 2.0]])
    faces = np.array([[0, 1, 2], [0, 4, 1]], dtype=np.int32)
    K = intrinsics(20.0, 15.0, 10.0)
    assert not silhouette(Mesh(points, faces), np.eye(4), K, 31, 21).any()
    shown = Mesh(points, np.vstack([faces, [[0, 1, 3]]]).astype(np.int32))
    face, _, _ = rasterize(points, shown.faces, K, 31, 21)
    mask = silhouette(shown, np.eye(4), K, 31, 21)
    assert mask.any()
    np.testing.assert_array_equal(mask, face >= 0)


def test_a_square_face_on_by_hand() -> None:
    """A cube's front face, 1 wide and 10 away, f = 100 (90 down): 10 x 9 cells at depth 10."""
    K = intrinsics(100.0, 20.3, 15.4)
    T = transform(np.eye(3), np.array([0.0, 0.0, 10.5]))
    mesh = cuboid([-0.5] * 3, [0.5] * 3, 100)
    mask = silhouette(mesh, T, K, 40, 30)
    rows, cols = np.nonzero(mask)
    assert (cols.min(), cols.max(), rows.min(), rows.max()) == (16, 25, 11, 19)
    assert mask.sum() == 90
    points = mesh.vertices + T[:3, 3]
    _, _, depth = rasterize(points, mesh.faces, K, 40, 30)
    np.testing.assert_allclose(depth[mask], 10.0)


def test_what_is_behind_or_too_near_the_camera_is_not_drawn() -> None:
    K = intrinsics(20.0, 10.0, 10.0)
    triangle = np.array([[-1.0, -1.0, 2.0], [1.0, -1.0, 2.0], [0.0, 1.0, 2.0]])
    faces = np.array([[0, 1, 2]], dtype=np.int32)
    assert (rasterize(triangle, faces, K, 21, 21)[0] >= 0).any()
    for moved in (triangle * [1, 1, -1], triangle * [1, 1, 0.4 * NEAR]):
        assert (rasterize(moved, faces, K, 21, 21)[0] == -1).all()
    crossing = triangle.copy()
    crossing[2, 2] = -1.0
    assert (rasterize(crossing, faces, K, 21, 21)[0] == -1).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_monstrous_vertices_do_no_harm(value) -> None:
    points = np.array([[value, 0.0, 2.0], [1.0, -1.0, 2.0], [0.0, 1.0, 2.0]])
    face, _, _ = rasterize(
        points, np.array([[0, 1, 2]], np.int32), intrinsics(20.0, 10.0, 10.0), 21, 21
    )
    assert face.shape == (21, 21)
    assert set(np.unique(face)) <= {-1, 0}


def test_an_empty_mesh_draws_nothing() -> None:
    face, bary, depth = rasterize(
        np.zeros((0, 3)), np.zeros((0, 3), np.int32), intrinsics(20.0, 10.0, 10.0), 5, 4
    )
    assert face.shape == depth.shape == (4, 5)
    assert (face == -1).all()
    assert np.isinf(depth).all()
    assert not bary.any()


# --- visibility


def vertex_facing(mesh: Mesh, T: np.ndarray) -> np.ndarray:
    """(V,) the largest cosine between the view and the normals of a vertex's faces."""
    points = mesh.vertices @ T[:3, :3].T + T[:3, 3]
    a, b, c = np.moveaxis(points[mesh.faces], 1, 0)
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    towards = -(a + b + c) / np.linalg.norm(a + b + c, axis=1, keepdims=True)
    cosine = np.einsum("fk,fk->f", normal, towards)
    best = np.full(len(mesh.vertices), -np.inf)
    np.maximum.at(best, mesh.faces, cosine[:, None])
    return best


@holds_for(st.floats(0, 6.28), st.floats(-0.3, 1.2), st.floats(-0.5, 0.5), examples=25)
def test_on_a_convex_mesh_visible_means_facing(a, e, t) -> None:
    """In a fine grid: exactly the vertices with a face turned to the camera are seen."""
    mesh = cuboid([-0.2, -0.43, -0.15], [0.2, 0.43, 0.15], 400)
    T = transform(rotation_from_angles(a, e, t), np.array([0.05, -0.02, 1.8]))
    K = intrinsics(400.0, 150.0, 110.0)
    visible, uv = visible_vertices(mesh, T, K, 300, 220)
    facing = vertex_facing(mesh, T)
    # a side seen at a grazing angle changes its depth by more than the slack from cell to cell
    assert visible[facing > 0.4].all()
    hidden = facing < -0.15
    assert visible[hidden].mean() < 0.02
    projected = (mesh.vertices @ T[:3, :3].T + T[:3, 3]) @ K.T
    np.testing.assert_allclose(uv, projected[:, :2] / projected[:, 2:])


@pytest.mark.parametrize("azimuth_deg", range(0, 360, 30))
def test_visibility_in_the_feature_maps_coarse_grid(azimuth_deg) -> None:
    """24 x 16 cells, as in training: few facing vertices are lost, few hidden ones get through."""
    mesh = cuboid([-0.2, -0.43, -0.15], [0.2, 0.43, 0.15], 1000)
    R = rotation_from_angles(np.radians(azimuth_deg), 0.2, 0.0)
    T = transform(R, np.array([0.0, 0.0, 2.0]))
    visible, _ = visible_vertices(mesh, T, intrinsics(40.0, 11.5, 7.5), 24, 16)
    facing = vertex_facing(mesh, T)
    assert visible[facing > 0.2].mean() > 0.94
    assert visible[facing < -0.2].mean() < 0.06


def test_vertices_behind_another_part_are_hidden() -> None:
    """A wall in front of the right half hides it, though it faces the camera."""
    box = cuboid([-0.5] * 3, [0.5] * 3, 600)
    wall = np.array([[0.0, -2, -1.0], [3, -2, -1.0], [3, 2, -1.0], [0.0, 2, -1.0]])
    first = len(box.vertices)
    mesh = Mesh(
        np.concatenate([box.vertices, wall]),
        np.concatenate([box.faces, [[first, first + 1, first + 2], [first, first + 2, first + 3]]]),
    )
    T = transform(np.eye(3), np.array([0.0, 0.0, 4.0]))
    visible, _ = visible_vertices(mesh, T, intrinsics(300.0, 100.0, 100.0), 200, 200)
    front = np.flatnonzero(mesh.vertices[:first, 2] == -0.5)
    x = mesh.vertices[front, 0]
    assert visible[front[x < -0.01]].all()
    assert not visible[front[x > 0.05]].any()


def test_vertices_outside_the_grid_or_behind_the_camera_are_not_visible() -> None:
    mesh = cuboid([-0.5] * 3, [0.5] * 3, 100)
    K = intrinsics(30.0, 10.0, 10.0)
    beside = transform(np.eye(3), np.array([5.0, 0.0, 4.0]))
    visible, uv = visible_vertices(mesh, beside, K, 21, 21)
    assert not visible.any()
    assert np.isfinite(uv).all()
    behind = transform(np.eye(3), np.array([0.0, 0.0, -4.0]))
    visible, uv = visible_vertices(mesh, behind, K, 21, 21)
    assert not visible.any()
    assert np.isnan(uv).all()
