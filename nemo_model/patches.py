# SPDX-License-Identifier: Apache-2.0
"""A mesh in some hundred patches, for the global search: a position, an area, a mean feature."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nemo_model.objective import Scene, render, workspace
from nemo_model.tables import FaceTable

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

_GRID = 96  # cells per side of the renderings that measure a non-convex mesh's visible areas
_AWAY = 3.0  # their distance in mesh sizes


class Patches(NamedTuple):
    """Patches of a mesh in the object frame (float32).

    Attributes:
        centre: (3, Q).
        normal: (3, Q) times the patch's area, outwards; used when `convex`.
        seen: (views, Q) area at right angles to the line of sight of what a distant camera sees of
            each patch; used when not `convex`.
        features: (Q, C) area-weighted means of the vertex features.
        convex: of the mesh.
    """

    centre: F32
    normal: F32
    seen: F32
    features: F32
    convex: bool


def make_patches(table: FaceTable, count: int, views: F64) -> Patches:
    """Cut a mesh into patches of about equal size by farthest point sampling of its faces.

    Args:
        table: the mesh with its features.
        count: of patches; fewer when the mesh has fewer faces.
        views: (views, 3, 3) rotations R_cam_obj, for a mesh that is not convex.
    """
    vertices: F64 = table.vertices.T.astype(np.float64)
    corners = vertices[table.faces.T]  # (F, 3, 3)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = 0.5 * np.linalg.norm(cross, axis=1)
    unit = table.algebra[:, :3].astype(np.float64)
    middle = corners.mean(axis=1)
    if not len(middle):
        empty = np.zeros((3, 0), dtype=np.float32)
        none = np.zeros((0, table.features.shape[1]), dtype=np.float32)
        return Patches(empty, empty, np.zeros((len(views), 0), np.float32), none, True)
    size = float(np.linalg.norm(np.ptp(middle, axis=0))) + 1e-12
    # patches must not bend around an edge: nearness counts the direction of the face as well
    key = np.concatenate([middle, (0.3 * size if table.convex else 0.0) * unit], axis=1)
    owner = _farthest_points(key, min(count, len(key)))
    q = int(owner.max()) + 1
    total = np.bincount(owner, area, q)

    def mean(values: F64) -> F64:
        sums = np.stack([np.bincount(owner, area * column, q) for column in values.T], axis=1)
        return np.asarray(sums / total[:, None])

    features = mean(table.features.astype(np.float64)[table.faces.T].mean(axis=1))
    return Patches(
        centre=np.ascontiguousarray(mean(middle).T, dtype=np.float32),
        normal=np.ascontiguousarray((mean(unit) * total[:, None]).T, dtype=np.float32),
        seen=np.ones((len(views), 0), dtype=np.float32)
        if table.convex
        else _seen(table, owner, q, views, vertices),
        features=np.ascontiguousarray(features, dtype=np.float32),
        convex=table.convex,
    )


def _farthest_points(key: F64, count: int) -> npt.NDArray[np.int64]:
    """Return per row of key the number of the nearest of `count` rows that lie far apart."""
    owner = np.zeros(len(key), dtype=np.int64)
    nearest = np.full(len(key), np.inf)
    chosen = int(np.argmax(np.linalg.norm(key - key.mean(axis=0), axis=1)))
    for number in range(count):
        distance = np.sum((key - key[chosen]) ** 2, axis=1)
        closer = distance < nearest
        owner[closer] = number
        nearest[closer] = distance[closer]
        chosen = int(np.argmax(nearest))
        if nearest[chosen] <= 0.0:
            break
    return np.unique(owner, return_inverse=True)[1]


def _seen(table: FaceTable, owner: npt.NDArray[np.int64], q: int, views: F64, vertices: F64) -> F32:
    centre = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0))
    size = float(np.linalg.norm(np.ptp(vertices, axis=0))) + 1e-12
    focal = 0.9 * _GRID * _AWAY
    middle = 0.5 * (_GRID - 1)
    blank = np.zeros((_GRID * _GRID, 1), dtype=np.float32)
    scene = Scene(blank, blank[:, 0], _GRID, _GRID, focal, focal, middle, middle)
    work = workspace(table, _GRID * _GRID)
    seen = np.zeros((len(views), q), dtype=np.float32)
    for number, R in enumerate(views):
        t = np.array([0.0, 0.0, _AWAY * size]) - R @ centre
        render(table, scene, np.ascontiguousarray(R), t, work)
        faces = work.face[work.face >= 0]
        cells = np.bincount(owner[faces], minlength=q)
        seen[number] = cells * (_AWAY * size / focal) ** 2
    return seen
