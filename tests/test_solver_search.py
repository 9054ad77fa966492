# SPDX-License-Identifier: Apache-2.0
"""Tables, patches and the search grid."""

from __future__ import annotations

import numpy as np
import pytest
from shapes import torus, two_boxes

from nemo_model.mesh import Mesh, cuboid
from nemo_model.patches import make_patches
from nemo_model.pose import angles_from_rotation, geodesic
from nemo_model.search import lookup_table, peaks, rotation_grid
from nemo_model.synthetic import smooth_features
from nemo_model.tables import face_table


def test_the_grid_holds_the_angles_it_is_asked_for() -> None:
    rotations, views = rotation_grid(8, (-10.0, 20.0), (-15.0, 0.0, 15.0))
    assert rotations.shape == (48, 3, 3)
    assert np.bincount(views).tolist() == [3] * 16
    azimuth, elevation, theta = np.degrees(angles_from_rotation(rotations[3]))
    assert azimuth == pytest.approx(0.0, abs=1e-6)
    assert elevation == pytest.approx(20.0)
    assert theta == pytest.approx(-15.0)


@pytest.mark.parametrize("shape", [(5, 7, 3, 2), (16, 24, 64, 6), (9, 4, 10, 4)])
def test_lookup_table_is_the_clipped_product(shape: tuple[int, int, int, int]) -> None:
    height, width, channels, pad = shape
    rng = np.random.default_rng(1)
    F = rng.normal(size=(height * width, channels)).astype(np.float32)
    patches = rng.normal(size=(11, channels)).astype(np.float32)
    b = rng.normal(size=height * width).astype(np.float32)
    out = np.zeros((11, (height + 2 * pad) * (width + 2 * pad)), dtype=np.float32)
    lookup_table(F, patches, b, height, width, pad, np.zeros_like(F.T, order="C"),
                 np.zeros((4, len(F)), np.float32), out)  # fmt: skip
    expected = np.maximum(patches @ F.T - b, 0.0).reshape(11, height, width)
    expected = np.pad(expected, [(0, 0), (pad, pad), (pad, pad)])
    np.testing.assert_allclose(out.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)


def test_peaks_are_the_best_and_far_apart() -> None:
    rotations, _ = rotation_grid(24, (0.0, 20.0), (0.0,))
    scores = np.random.default_rng(2).uniform(size=len(rotations))
    chosen = np.zeros(5, dtype=np.int64)
    assert peaks(rotations, scores, np.cos(np.radians(40.0)), chosen) == 5
    assert chosen[0] == np.argmax(scores)
    for i in range(5):
        for j in range(i):
            assert geodesic(rotations[chosen[i]], rotations[chosen[j]]) >= np.radians(40.0) - 1e-9
    many = np.zeros(len(rotations), dtype=np.int64)
    assert peaks(rotations, scores, np.cos(np.radians(90.0)), many) < 10


def surface(mesh: Mesh) -> float:
    points = mesh.vertices[mesh.faces]
    cross = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    return float(0.5 * np.linalg.norm(cross, axis=1).sum())


def test_patches_of_a_cuboid_tile_it_and_do_not_bend() -> None:
    mesh = cuboid([-0.2, -0.4, -0.15], [0.2, 0.4, 0.15], 500)
    table = face_table(mesh, smooth_features(mesh, 8, 0))
    patches = make_patches(table, 80, np.eye(3)[None])
    assert patches.convex
    assert patches.centre.shape == (3, 80)
    area = np.linalg.norm(patches.normal, axis=0)
    assert area.sum() == pytest.approx(surface(mesh), rel=1e-3)
    assert np.abs(patches.normal).max(axis=0) == pytest.approx(area, rel=1e-5)  # flat
    outward = np.sum(patches.normal * patches.centre, axis=0)
    assert (outward > 0).all()


@pytest.mark.parametrize("mesh", [torus(), two_boxes()], ids=["torus", "two boxes"])
def test_visible_areas_of_other_meshes_are_measured(mesh: Mesh) -> None:
    table = face_table(mesh, smooth_features(mesh, 8, 0))
    views, _ = rotation_grid(6, (10.0,), (0.0,))
    patches = make_patches(table, 40, views)
    assert not patches.convex
    assert patches.seen.shape == (6, 40)
    assert (patches.seen >= 0).all()
    assert ((patches.seen == 0).sum(axis=1) > 3).all()  # some are always hidden
    assert (patches.seen.sum(axis=1) < 0.6 * surface(mesh)).all()
    assert (patches.seen.sum(axis=1) > 0.1 * surface(mesh)).all()


def test_only_cuboids_of_regular_grids_are_ray_cast() -> None:
    box = cuboid([-0.2, -0.4, -0.15], [0.2, 0.4, 0.15], 200)
    assert face_table(box, np.ones((len(box.vertices), 2))).box_counts.min() > 0
    turned = Mesh(box.vertices @ rotation_grid(3, (20.0,), (10.0,))[0][1].T, box.faces)
    table = face_table(turned, np.ones((len(box.vertices), 2)))
    assert table.convex
    assert table.box_counts.max() == 0
    dented = box.vertices.copy()
    dented[10] *= 0.9
    table = face_table(Mesh(dented, box.faces), np.ones((len(box.vertices), 2)))
    assert not table.convex
    assert table.box_counts.max() == 0
    flipped = Mesh(box.vertices, box.faces[:, ::-1])
    table = face_table(flipped, np.ones((len(box.vertices), 2)))
    assert table.convex
    centres = box.vertices[box.faces].mean(axis=1)
    assert (np.sum(table.algebra[:, :3] * centres, axis=1) > 0).all()  # outwards all the same
