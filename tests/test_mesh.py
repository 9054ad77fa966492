# SPDX-License-Identifier: Apache-2.0
"""Cuboids, outlines and OFF files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from properties import holds_for

from nemo_model.errors import NemoError
from nemo_model.mesh import Mesh, category_cuboid, cuboid, load_off, mean_outline

lengths = st.tuples(*[st.floats(0.05, 2.0)] * 3)
corners = st.tuples(*[st.floats(-3.0, 3.0)] * 3)

TETRAHEDRON = """OFF
4 4 6
0 0 0
1 0 0
0 1 0
0 0 1
3 0 2 1
3 0 1 3
3 0 3 2
3 1 2 3
"""


def volume(mesh: Mesh) -> float:
    """Signed volume; positive when the faces are counter-clockwise seen from outside."""
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6.0)


def directed_edges(mesh: Mesh) -> Counter[tuple[int, int]]:
    edges = np.concatenate([mesh.faces[:, [i, (i + 1) % 3]] for i in range(3)])
    return Counter(map(tuple, edges.tolist()))


# --- cuboids


@holds_for(corners, lengths, st.integers(8, 1500), examples=25)
def test_cuboids_are_closed_boxes_with_outward_faces(low, size, n) -> None:
    lo, hi = np.array(low), np.array(low) + size
    mesh = cuboid(lo, hi, n)
    np.testing.assert_allclose(mesh.lo, lo, atol=1e-12)
    np.testing.assert_allclose(mesh.hi, hi, atol=1e-12)
    np.testing.assert_allclose(mesh.extent, hi - lo, atol=1e-12)
    assert volume(mesh) == pytest.approx(np.prod(hi - lo), rel=1e-9)
    # watertight: every directed edge once, and its opposite too; Euler: V - E + F = 2
    edges = directed_edges(mesh)
    assert set(edges.values()) == {1}
    assert all((b, a) in edges for a, b in edges)
    assert len(mesh.vertices) - len(edges) // 2 + len(mesh.faces) == 2
    # every vertex lies on the surface and is used; no face is degenerate
    on_face = np.isclose(mesh.vertices, lo, atol=1e-12) | np.isclose(mesh.vertices, hi, atol=1e-12)
    assert on_face.any(axis=1).all()
    assert len(np.unique(mesh.faces)) == len(mesh.vertices)
    p, q, r = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    normals = np.cross(q - p, r - p)
    assert (np.linalg.norm(normals, axis=1) > 0).all()
    outward = (p + q + r) / 3 - (lo + hi) / 2
    assert (np.einsum("ij,ij->i", normals, outward) > 0).all()


def test_a_cube_of_27_points_by_hand() -> None:
    """A = 6, n = 24: e = 0.5, 3 vertices per axis, 26 on the surface, 4 squares a side."""
    mesh = cuboid([0, 0, 0], [1, 1, 1], 24)
    assert mesh.vertices.shape == (26, 3)
    assert mesh.faces.shape == (48, 3)
    assert set(np.unique(mesh.vertices)) == {0.0, 0.5, 1.0}


@pytest.mark.parametrize("size", [(0.39, 0.87, 0.31), (1.0, 1.0, 1.0), (0.1, 0.9, 0.5)])
def test_about_n_vertices_evenly_spread(size) -> None:
    mesh = cuboid([0, 0, 0], size, 1000)
    assert 850 <= len(mesh.vertices) <= 1150
    spacing = [np.diff(np.unique(mesh.vertices[:, axis])).max() for axis in range(3)]
    assert max(spacing) / min(spacing) < 2.2


@pytest.mark.parametrize("hi", [(1, 0, 1), (1, -1, 1), (1, np.nan, 1), (1, np.inf, 1)])
def test_a_flat_or_inverted_cuboid_is_refused(hi) -> None:
    with pytest.raises(NemoError, match="must be positive"):
        cuboid([0, 0, 0], hi)


def test_the_category_cuboid_holds_the_shortest_share_of_all_vertices() -> None:
    """100 points on a line from 0 to 1 and one outlier far away: 99 % leave it out."""
    line = np.linspace(0.0, 1.0, 100)
    points = np.stack([line, 2 * line, 3 * line], axis=1)
    first = Mesh(points, np.zeros((0, 3), np.int32))
    outlier = Mesh([[50.0, 50.0, 50.0]], np.zeros((0, 3), np.int32))
    mesh = category_cuboid([first, outlier], 0.99)
    np.testing.assert_allclose(mesh.lo, 0.0, atol=1e-12)
    np.testing.assert_allclose(mesh.hi, [1.0, 2.0, 3.0])
    np.testing.assert_allclose(category_cuboid([first, outlier], 1.0).hi, 50.0)
    with pytest.raises(NemoError, match="no CAD mesh"):
        category_cuboid([])


def test_the_outline_is_the_mean_of_the_furthest_points() -> None:
    small, large = cuboid([-1, -1, -1], [1, 1, 1], 8), cuboid([-3, -3, -3], [3, 3, 3], 8)
    outline = mean_outline([small, large], 64)
    assert outline.shape == (64, 3)
    np.testing.assert_allclose(np.abs(outline), 2.0)  # the corner of the mean cube, each time
    assert len(np.unique(np.sign(outline), axis=0)) == 8  # directions all around


# --- Mesh and OFF


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (np.zeros((4, 2)), np.zeros((1, 3)), "vertices of shape"),
        ([[0, 0, np.nan]], np.zeros((0, 3)), "finite"),
        (np.zeros((4, 3)), np.zeros((1, 4)), "faces have shape"),
        (np.zeros((4, 3)), [[0, 1, 4]], "does not exist"),
        (np.zeros((4, 3)), [[0, -1, 2]], "does not exist"),
    ],
)
def test_a_mesh_that_is_none_is_refused(vertices, faces, message) -> None:
    with pytest.raises(NemoError, match=message):
        Mesh(vertices, faces)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_off_files_are_read(tmp_path: Path) -> None:
    mesh = load_off(write(tmp_path / "t.off", TETRAHEDRON))
    np.testing.assert_array_equal(mesh.vertices, [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(mesh.faces, [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    assert volume(mesh) == pytest.approx(1 / 6)


def test_polygons_become_fans(tmp_path: Path) -> None:
    text = "OFF\n5 1 0\n0 0 0\n1 0 0\n1 1 0\n.5 1.5 0\n0 1 0\n5 0 1 2 3 4\n"
    mesh = load_off(write(tmp_path / "p.off", text))
    np.testing.assert_array_equal(mesh.faces, [[0, 1, 2], [0, 2, 3], [0, 3, 4]])


def test_comments_are_skipped(tmp_path: Path) -> None:
    text = TETRAHEDRON.replace("OFF\n", "OFF # exported\n# by hand\n")
    assert load_off(write(tmp_path / "c.off", text)).faces.shape == (4, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not begin with OFF"),
        ("PLY\n4 4 6\n", "does not begin with OFF"),
        ("OFF\n", "cut off"),
        ("OFF\nfour 4 6\n", "cut off"),
        (TETRAHEDRON[: TETRAHEDRON.index("0 0 1")], "cut off"),
        (TETRAHEDRON[: TETRAHEDRON.index("3 1 2 3")], "cut off"),
        (TETRAHEDRON.replace("3 1 2 3", "3 1 2"), "cut off"),  # within the last face
        (TETRAHEDRON.replace("3 1 2 3", "3 1 2 4"), "does not exist"),
        (TETRAHEDRON.replace("1 0 0", "nan 0 0"), "finite"),
        (TETRAHEDRON.replace("1 0 0", "x 0 0"), "cut off"),
        ("OFF\n4 0 0\n0 0 0\n1 0 0\n", "cut off"),  # fewer vertices than announced
        ("OFF\n0 0 0\n", "no faces"),
        ("OFF\n-4 2 0\n", "cut off"),
    ],
)
def test_a_broken_off_file_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(NemoError, match=message) as caught:
        load_off(write(tmp_path / "broken.off", text))
    assert "broken.off" in str(caught.value)


def test_a_missing_or_binary_off_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(NemoError, match=r"none\.off"):
        load_off(tmp_path / "none.off")
    (tmp_path / "binary.off").write_bytes(b"OFF\n\xff\xfe\x00")
    with pytest.raises(NemoError, match=r"binary\.off"):
        load_off(tmp_path / "binary.off")


def test_the_cads_of_pascal3d_have_unit_diagonal_and_their_front_at_minus_y(shared_data) -> None:
    files = sorted((shared_data / "pascal3d_cad" / "car").glob("*.off"))
    if not files:
        pytest.skip("no pascal3d_cad/car in the shared data")
    for path in files:
        mesh = load_off(path)
        assert np.linalg.norm(mesh.extent) == pytest.approx(1.0, abs=0.02), path
        assert mesh.extent[1] == mesh.extent.max(), path
    box = category_cuboid([load_off(path) for path in files])
    width, length, height = box.extent
    assert 0.7 < length < 1.0
    assert 0.3 * length < width < 0.6 * length
    assert 0.2 * length < height < 0.5 * length
