# SPDX-License-Identifier: Apache-2.0
"""What the solver precomputes once per model: per-face algebra, the box grid, coarse patches."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nemo_model.mesh import Mesh

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]

ALGEBRA = 16
"""Columns of FaceTable.algebra: one cache line of float32 per face."""


class FaceTable(NamedTuple):
    """A mesh with features, laid out for the kernels (object frame, float32).

    Attributes:
        vertices: (3, V), one row per axis.
        faces: (3, F) vertex numbers a, b, c, degenerate faces removed.
        algebra: (F, 16) per face: unit normal n (3) and n.X_a; dual edge vectors a1 (3) and
            a1.X_a, a2 (3) and a2.X_a, so that a1.(X - X_a) and a2.(X - X_a) are the barycentric
            weights of b and c; then l11, l21, l22, the Cholesky factor of the Gram matrix of
            (theta_b - theta_a, theta_c - theta_a); one unused.
        features: (V, C) theta.
        convex: the mesh is convex and n points outwards: faces turned away cannot be seen and
            faces turned to the camera do not hide each other.
        original: (F,) number of the face in the mesh it came from.
        box: (2, 3) lowest and highest corner where the mesh is a cuboid of regular grids.
        box_counts: (3,) squares of the grid per axis; all zero when the mesh is no such cuboid.
        box_squares: (6, N, M, 2, 4) by side (2 axis + end), square along the next two axes, and
            half of it: the vertices at the right angle, beside it along the first and along the
            second axis; then 2 face number + straight, which is 1 where the diagonal joins (0, 0)
            and (1, 1). The halves are x + y < 1 and x + y >= 1; if straight, x < y and x >= y.
        box_terms: (6, N, M, 2, 4) per half: l11, l21, l22, the Cholesky factor of the Gram matrix
            of the features' slopes along the two axes; one unused.
    """

    vertices: F32
    faces: I32
    algebra: F32
    features: F32
    convex: bool
    original: I32
    box: F32
    box_counts: I32
    box_squares: I32
    box_terms: F32


def face_table(mesh: Mesh, features: npt.ArrayLike) -> FaceTable:
    """Build the table of a mesh with vertex features (V, C).

    Raises:
        ValueError: when the features do not fit the mesh or are not finite.
    """
    theta = np.ascontiguousarray(features, dtype=np.float32)
    if theta.ndim != 2 or len(theta) != len(mesh.vertices) or not np.isfinite(theta).all():
        raise ValueError(
            f"vertex features: shape {theta.shape} must be finite ({len(mesh.vertices)}, C)"
        )
    points = mesh.vertices[mesh.faces]  # (F, 3, 3)
    edge1, edge2 = points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]
    normal = np.cross(edge1, edge2)
    double_area = np.linalg.norm(normal, axis=1)
    scale = max(float(np.abs(mesh.vertices).max(initial=0.0)), 1e-12)
    keep = np.flatnonzero(double_area > 1e-9 * scale * scale)
    faces = mesh.faces[keep]
    points, edge1, edge2 = points[keep], edge1[keep], edge2[keep]
    normal = normal[keep] / double_area[keep, None]

    e11, e12, e22 = (np.sum(p * q, axis=1) for p, q in _pairs(edge1, edge2))
    det = e11 * e22 - e12 * e12
    dual1 = (e22[:, None] * edge1 - e12[:, None] * edge2) / det[:, None]
    dual2 = (e11[:, None] * edge2 - e12[:, None] * edge1) / det[:, None]

    wide = theta.astype(np.float64)
    d1, d2 = wide[faces[:, 1]] - wide[faces[:, 0]], wide[faces[:, 2]] - wide[faces[:, 0]]
    m11, m12, m22 = (np.sum(p * q, axis=1) for p, q in _pairs(d1, d2))
    l11 = np.sqrt(m11)
    l21 = np.divide(m12, l11, out=np.zeros_like(m12), where=l11 > 1e-12)
    l22 = np.sqrt(np.maximum(m22 - l21 * l21, 0.0))

    convex, sign = _convex(mesh, faces, normal)
    normal = normal * sign[:, None]
    anchor = points[:, 0]
    algebra = np.zeros((len(faces), ALGEBRA), dtype=np.float32)
    algebra[:, 0:3] = normal
    algebra[:, 3] = np.sum(normal * anchor, axis=1)
    algebra[:, 4:7] = dual1
    algebra[:, 7] = np.sum(dual1 * anchor, axis=1)
    algebra[:, 8:11] = dual2
    algebra[:, 11] = np.sum(dual2 * anchor, axis=1)
    algebra[:, 12], algebra[:, 13], algebra[:, 14] = l11, l21, l22
    return FaceTable(
        vertices=np.ascontiguousarray(mesh.vertices.T, dtype=np.float32),
        faces=np.ascontiguousarray(faces.T, dtype=np.int32),
        algebra=algebra,
        features=theta,
        convex=convex,
        original=keep.astype(np.int32),
        **_box_grid(mesh, faces, normal, wide),
    )


def _pairs(p: F64, q: F64) -> tuple[tuple[F64, F64], ...]:
    return ((p, p), (p, q), (q, q))


def _convex(mesh: Mesh, faces: I32, normal: F64) -> tuple[bool, F64]:
    """Return whether every face's plane has all vertices on one side, and the outward sign (F,)."""
    sign = np.ones(len(faces))
    if not len(faces):
        return False, sign
    used = mesh.vertices[np.unique(faces)]
    slack = 1e-6 * max(float(np.ptp(used, axis=0).max()), 1e-12)
    anchor = mesh.vertices[faces[:, 0]]
    convex = True
    for start in range(0, len(faces), 256):
        part = slice(start, start + 256)
        height = normal[part] @ used.T - np.sum(normal[part] * anchor[part], axis=1)[:, None]
        above, below = height.max(axis=1) > slack, height.min(axis=1) < -slack
        convex = convex and not bool((above & below).any() or (~above & ~below).any())
        sign[part] = np.where(above & ~below, -1.0, 1.0)
    return convex, sign if convex else np.ones(len(faces))


def _box_grid(mesh: Mesh, faces: I32, normal: F64, theta: F64) -> dict[str, Any]:
    """Recognise a cuboid of regular grids, each square cut in two, and index its faces."""
    none: dict[str, Any] = {
        "box": np.zeros((2, 3), dtype=np.float32),
        "box_counts": np.zeros(3, dtype=np.int32),
        "box_squares": np.zeros((6, 1, 1, 2, 4), dtype=np.int32),
        "box_terms": np.zeros((6, 1, 1, 2, 4), dtype=np.float32),
    }
    if not len(faces):
        return none
    used = mesh.vertices[np.unique(faces)]
    lo, hi = used.min(axis=0), used.max(axis=0)
    size = hi - lo
    if (size <= 0).any():
        return none
    counts = np.array([len(np.unique(np.round((used[:, a] - lo[a]) / size[a], 5))) - 1
                       for a in range(3)])  # fmt: skip
    if (counts < 1).any() or 4 * (counts * np.roll(counts, 1)).sum() != len(faces):
        return none
    grid = (mesh.vertices[faces] - lo) / size * counts  # (F, 3 corners, 3 axes), integers
    if np.abs(grid - np.round(grid)).max() > 1e-3:
        return none
    grid = np.round(grid).astype(np.int64)
    side_faces = np.full((6, counts.max(), counts.max(), 2), -1, dtype=np.int32)
    diagonal = np.zeros((6, counts.max(), counts.max()), dtype=np.int32)
    for number, corners in enumerate(grid):
        axis = int(np.argmax(np.abs(normal[number])))
        end = corners[0, axis]
        if (corners[:, axis] != end).any() or end not in (0, counts[axis]):
            return none
        others = corners[:, [(axis + 1) % 3, (axis + 2) % 3]]
        i, j = others.min(axis=0)
        local = {(int(p) - int(i), int(q) - int(j)) for p, q in others}
        missing = {(0, 0), (1, 0), (0, 1), (1, 1)} - local
        if len(local) != 3 or len(missing) != 1:
            return none
        side = 2 * axis + int(end > 0)
        cut, half = {(1, 1): (0, 0), (0, 0): (0, 1), (1, 0): (1, 0), (0, 1): (1, 1)}[missing.pop()]
        if side_faces[side, i, j, half] >= 0 or (
            side_faces[side, i, j, 1 - half] >= 0 and diagonal[side, i, j] != cut
        ):
            return none
        side_faces[side, i, j, half] = number
        diagonal[side, i, j] = cut
    squares, terms = _box_records(side_faces, diagonal, grid, size / counts, faces, theta)
    return {
        "box": np.stack([lo, hi]).astype(np.float32),
        "box_counts": counts.astype(np.int32),
        "box_squares": squares,
        "box_terms": terms,
    }


def _box_records(
    side_faces: I32, diagonal: I32, grid: Any, step: F64, faces: I32, theta: F64
) -> tuple[I32, F32]:
    """Return what the cuboid's kernel reads per triangle (see FaceTable): squares and terms."""
    squares = np.zeros((*side_faces.shape, 4), dtype=np.int32)
    terms = np.zeros((*side_faces.shape, 4), dtype=np.float32)
    for place in np.argwhere(side_faces >= 0):
        side, i, j, half = place
        number, straight = side_faces[tuple(place)], diagonal[side, i, j]
        b, c = (side // 2 + 1) % 3, (side // 2 + 2) % 3
        at = {(p - i, q - j): k for k, (p, q) in enumerate(grid[number][:, [b, c]])}
        x = half  # where the right angle is
        y = 1 - half if straight else half
        corner, along_b, along_c = (
            faces[number, at[key]] for key in ((x, y), (1 - x, y), (x, 1 - y))
        )
        squares[tuple(place)] = corner, along_b, along_c, 2 * number + straight
        slope_b = (1 - 2 * x) / step[b] * (theta[along_b] - theta[corner])
        slope_c = (1 - 2 * y) / step[c] * (theta[along_c] - theta[corner])
        l11 = np.sqrt(slope_b @ slope_b)
        l21 = slope_b @ slope_c / l11 if l11 > 1e-12 else 0.0
        terms[tuple(place)][:3] = l11, l21, np.sqrt(max(slope_c @ slope_c - l21 * l21, 0.0))
    return squares, terms
