# SPDX-License-Identifier: Apache-2.0
"""A CAD model as a closed mesh of about n evenly spread vertices.

Neural meshes carry a feature per vertex, so the vertices should be as evenly spread on a flat door
as on a wheel. The CAD models of the data sets are soups of many parts, with insides and without
closed surfaces; collapsing edges by their quadric error neither gets them down to 1000 vertices nor
keeps them whole. So the model is put into voxels, hollows are filled, and the border between full
and empty voxels is drawn back towards the model's surface. Parts thinner than a voxel get thicker.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import trimesh
from scipy.spatial import cKDTree

from nemo_model.errors import NemoError
from nemo_model.mesh import Array, Mesh

Voxels = npt.NDArray[np.bool_]

SAMPLES = 100_000
"""Points on the surface, by area: some tens in every voxel that it passes through."""
ROUNDS = 8
NEAR_ENOUGH = 0.03
"""Share by which the number of vertices may miss n."""
DRAW_BACK = 0.9
"""Share of the way to the model's surface that a vertex goes; 1 would fold thin parts flat."""


def simplify(mesh: Mesh, n: int = 1000) -> Mesh:
    """Return a closed mesh of about n evenly spread vertices around `mesh`, faces outwards.

    Raises:
        NemoError: where the mesh has no extent, or n is below 50.
    """
    if n < 50:
        raise NemoError(f"mesh: {n} vertices are too few for a CAD model, ask for 50 or more")
    a, b, c = mesh.extent
    if not max(a, b, c) > 0.0 or not len(mesh.faces):
        raise NemoError("mesh: has no surface to spread vertices over")
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    surface = np.concatenate(
        [
            trimesh.sample.sample_surface(solid, SAMPLES, seed=0)[0],
            mesh.vertices[mesh.faces.ravel()],
        ]
    )
    pitch = float(np.sqrt(2.0 * (a * b + b * c + c * a) / n))
    best: tuple[Mesh, float] | None = None
    for _ in range(ROUNDS):
        found = _border(*_voxels(surface, pitch), pitch)
        count = len(found.vertices)
        if best is None or abs(count - n) < abs(len(best[0].vertices) - n):
            best = found, pitch
        if abs(count - n) <= NEAR_ENOUGH * n:
            break
        pitch *= float(np.clip(np.sqrt(count / n), 0.7, 1.4))
    assert best is not None
    return _drawn_back(best[0], surface, best[1])


def _voxels(surface: Array, pitch: float) -> tuple[Voxels, Array]:
    """The voxels (X, Y, Z) that hold points (N, 3), hollows filled, and the first one's centre."""
    cells = np.round(surface / pitch).astype(int)  # the voxels' centres lie on a fixed grid
    low = cells.min(axis=0)
    full = np.zeros(cells.max(axis=0) - low + 1, dtype=bool)
    full[tuple((cells - low).T)] = True
    return trimesh.voxel.VoxelGrid(full).fill("orthographic").matrix, low * pitch


def _border(voxels: Voxels, origin: Array, pitch: float) -> Mesh:
    """The squares between full and empty voxels, each as two triangles, wound outwards."""
    padded = np.pad(voxels, 1)
    quads = []
    for axis in range(3):
        b, c = (axis + 1) % 3, (axis + 2) % 3
        for side in (0, 1):
            beside = np.roll(padded, 1 - 2 * side, axis=axis)
            cells = np.argwhere(padded & ~beside) - 1
            corners = np.repeat(cells[:, None], 4, axis=1)
            corners[:, :, axis] += side
            corners[:, :, b] += [0, 1, 1, 0]
            corners[:, :, c] += [0, 0, 1, 1]
            quads.append(corners if side else corners[:, ::-1])
    joined = np.concatenate(quads).reshape(-1, 3)
    places, number = np.unique(joined, axis=0, return_inverse=True)
    p, q, r, s = number.reshape(-1, 4).T
    faces = np.concatenate([np.stack([p, q, r], 1), np.stack([p, r, s], 1)])
    return Mesh(origin + (places - 0.5) * pitch, faces.astype(np.int32))


def _drawn_back(border: Mesh, surface: Array, pitch: float) -> Mesh:
    """Move the vertices (V, 3) most of the way to the nearest of the surface's points (N, 3)."""
    distance, nearest = cKDTree(surface).query(border.vertices)
    way = DRAW_BACK * (surface[nearest] - border.vertices)
    way[distance > np.sqrt(3.0) * pitch] = 0.0  # the lid of a hollow that was filled
    return Mesh(border.vertices + way, border.faces)
