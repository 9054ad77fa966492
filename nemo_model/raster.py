# SPDX-License-Identifier: Apache-2.0
"""A z-buffer rasteriser in numba: which face each cell sees, where, and how far away.

Perspective-correct barycentric coordinates, one face per cell, no blur: the fragments that
PyTorch3D's rasterize_meshes gives with blur_radius 0 and faces_per_pixel 1.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from nemo_model.mesh import Mesh

Array = npt.NDArray[np.float64]

NEAR = 1e-3
"""Faces with a vertex nearer than this (object units) are not drawn."""


@numba.njit(cache=True)
def _rasterize(points, faces, fx, fy, cx, cy, width, height, face, bary, depth):  # type: ignore[no-untyped-def]
    for i in range(height):
        for j in range(width):
            face[i, j] = -1
            depth[i, j] = np.inf
    for k in range(faces.shape[0]):
        a, b, c = faces[k, 0], faces[k, 1], faces[k, 2]
        za, zb, zc = points[a, 2], points[b, 2], points[c, 2]
        if za < NEAR or zb < NEAR or zc < NEAR:
            continue
        ua, va = fx * points[a, 0] / za + cx, fy * points[a, 1] / za + cy
        ub, vb = fx * points[b, 0] / zb + cx, fy * points[b, 1] / zb + cy
        uc, vc = fx * points[c, 0] / zc + cx, fy * points[c, 1] / zc + cy
        area = (ub - ua) * (vc - va) - (uc - ua) * (vb - va)
        if not 1e-12 <= abs(area) < np.inf:  # also where a coordinate is NaN
            continue
        # clamped as floats: an integer cannot hold every float, and numba does not check
        j0 = int(max(np.ceil(min(ua, ub, uc)), 0.0))
        j1 = int(min(np.floor(max(ua, ub, uc)), width - 1.0))
        i0 = int(max(np.ceil(min(va, vb, vc)), 0.0))
        i1 = int(min(np.floor(max(va, vb, vc)), height - 1.0))
        for i in range(i0, i1 + 1):
            for j in range(j0, j1 + 1):
                wa = ((ub - j) * (vc - i) - (uc - j) * (vb - i)) / area
                wb = ((uc - j) * (va - i) - (ua - j) * (vc - i)) / area
                wc = 1.0 - wa - wb
                if wa < 0.0 or wb < 0.0 or wc < 0.0:
                    continue
                z = 1.0 / (wa / za + wb / zb + wc / zc)
                if z < depth[i, j]:
                    depth[i, j] = z
                    face[i, j] = k
                    bary[i, j, 0] = wa * z / za
                    bary[i, j, 1] = wb * z / zb
                    bary[i, j, 2] = wc * z / zc


def rasterize(
    points: Array, faces: npt.NDArray[np.int32], K: Array, width: int, height: int
) -> tuple[npt.NDArray[np.int32], Array, Array]:
    """Rasterise a mesh.

    Args:
        points: vertices (V, 3) in the camera frame.
        faces: (F, 3).
        K: (3, 3) in the units of the grid, cell centres at integers.
        width, height: of the grid.

    Returns:
        face (height, width) int32, -1 where nothing is seen; bary (height, width, 3), zero there;
        depth (height, width), infinite there.
    """
    face = np.empty((height, width), dtype=np.int32)
    bary = np.zeros((height, width, 3))
    depth = np.empty((height, width))
    _rasterize(
        np.ascontiguousarray(points, dtype=np.float64), faces,
        K[0, 0], K[1, 1], K[0, 2], K[1, 2], width, height, face, bary, depth,
    )  # fmt: skip
    return face, bary, depth


@numba.njit(cache=True)
def _visible(points, fx, fy, cx, cy, depth, slack, visible, uv):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    for k in range(points.shape[0]):
        visible[k] = False
        z = points[k, 2]
        if z < NEAR:
            continue
        u, v = fx * points[k, 0] / z + cx, fy * points[k, 1] / z + cy
        uv[k, 0], uv[k, 1] = u, v
        if not (-0.5 <= u < width - 0.5 and -0.5 <= v < height - 0.5):
            continue
        i, j = int(np.floor(v + 0.5)), int(np.floor(u + 0.5))
        nearest = 0.0
        for di in range(-1, 2):
            for dj in range(-1, 2):
                ii, jj = i + di, j + dj
                if 0 <= ii < height and 0 <= jj < width and depth[ii, jj] < np.inf:
                    nearest = max(nearest, depth[ii, jj])
        visible[k] = z <= nearest + slack


def visible_vertices(
    mesh: Mesh, T_cam_obj: Array, K: Array, width: int, height: int, slack: float = 0.01
) -> tuple[npt.NDArray[np.bool_], Array]:
    """Return which vertices (V,) are in front, by a z-buffer, and their pixels (V, 2).

    A vertex is visible when it lies inside the grid and is not further away than the furthest
    surface in the 3 x 3 cells around it, plus slack (object units).
    """
    return visible_points(mesh.vertices, mesh, T_cam_obj, K, width, height, slack)


def visible_points(
    points: Array, mesh: Mesh, T_cam_obj: Array, K: Array, width: int, height: int, slack: float
) -> tuple[npt.NDArray[np.bool_], Array]:
    """Return which points (P, 3) of the object the mesh leaves to see, and their pixels (P, 2)."""
    R, t = T_cam_obj[:3, :3], T_cam_obj[:3, 3]
    _, _, depth = rasterize(mesh.vertices @ R.T + t, mesh.faces, K, width, height)
    turned = points @ R.T + t
    visible = np.zeros(len(points), dtype=np.bool_)
    uv = np.full((len(points), 2), np.nan)
    _visible(turned, K[0, 0], K[1, 1], K[0, 2], K[1, 2], depth, slack, visible, uv)
    return visible, uv


@numba.njit(cache=True)
def _cover(points, faces, fx, fy, cx, cy, mask):  # type: ignore[no-untyped-def]
    """What _rasterize covers, without depth: a cell that is covered already costs nothing."""
    height, width = mask.shape
    uv = np.empty((points.shape[0], 2))
    for k in range(points.shape[0]):
        if points[k, 2] >= NEAR:
            uv[k, 0] = fx * points[k, 0] / points[k, 2] + cx
            uv[k, 1] = fy * points[k, 1] / points[k, 2] + cy
    for k in range(faces.shape[0]):
        a, b, c = faces[k, 0], faces[k, 1], faces[k, 2]
        if points[a, 2] < NEAR or points[b, 2] < NEAR or points[c, 2] < NEAR:
            continue
        ua, va, ub, vb, uc, vc = uv[a, 0], uv[a, 1], uv[b, 0], uv[b, 1], uv[c, 0], uv[c, 1]
        j0 = int(max(np.ceil(min(ua, ub, uc)), 0.0))
        j1 = int(min(np.floor(max(ua, ub, uc)), width - 1.0))
        if j1 < j0:
            continue
        area = (ub - ua) * (vc - va) - (uc - ua) * (vb - va)
        if not 1e-12 <= abs(area) < np.inf:
            continue
        i0 = int(max(np.ceil(min(va, vb, vc)), 0.0))
        i1 = int(min(np.floor(max(va, vb, vc)), height - 1.0))
        for i in range(i0, i1 + 1):
            for j in range(j0, j1 + 1):
                if mask[i, j]:
                    continue
                wa = ((ub - j) * (vc - i) - (uc - j) * (vb - i)) / area
                wb = ((uc - j) * (va - i) - (ua - j) * (vc - i)) / area
                mask[i, j] = wa >= 0.0 and wb >= 0.0 and 1.0 - wa - wb >= 0.0


def silhouette(
    mesh: Mesh, T_cam_obj: Array, K: Array, width: int, height: int
) -> npt.NDArray[np.bool_]:
    """Return the mask (height, width) of the mesh's projection."""
    points = mesh.vertices @ T_cam_obj[:3, :3].T + T_cam_obj[:3, 3]
    mask = np.zeros((height, width), dtype=np.bool_)
    _cover(
        np.ascontiguousarray(points), mesh.faces, K[0, 0], K[1, 1], K[0, 2], K[1, 2], mask
    )  # fmt: skip
    return mask
