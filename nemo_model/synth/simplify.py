# SPDX-License-Identifier: Apache-2.0
"""A model's triangles as a CAD mesh with at most so many faces: vertices near each other merged."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nemo_model.mesh import Mesh

Array = npt.NDArray[np.float64]

MOST_FACES = 8000
FINEST, GROWTH = 1e-4, 1.25
"""First cell of the grid, units, and by how much it grows from try to try."""


def simplified(points: Array, most: int = MOST_FACES) -> Mesh:
    """A mesh from triangles (F, 3, 3).

    Vertices in one cell of a grid become their mean, what has no area then or is there twice goes;
    the cell grows until at most `most` faces are left (Rossignac and Borrel, 1993). Thin parts
    become thinner, never thicker, and the outline moves by at most a cell.
    """
    cell = FINEST
    while True:
        mesh = _clustered(points, cell)
        if len(mesh.faces) <= most:
            return mesh
        cell *= GROWTH if len(mesh.faces) < 2 * most else GROWTH**2


def _clustered(points: Array, cell: float) -> Mesh:
    corners = points.reshape(-1, 3)
    keys = np.floor(corners / cell + 0.5).astype(np.int64)
    keys -= keys.min(axis=0)
    sizes = keys.max(axis=0) + 1
    _, place = np.unique((keys[:, 0] * sizes[1] + keys[:, 1]) * sizes[2] + keys[:, 2],
                         return_inverse=True)  # fmt: skip
    count = np.bincount(place)
    vertices = np.stack([np.bincount(place, corners[:, k]) / count for k in range(3)], axis=1)
    faces = place.reshape(-1, 3)
    distinct = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    faces = faces[distinct]
    low, middle, high = np.sort(faces, axis=1).T
    _, first = np.unique((low * len(vertices) + middle) * len(vertices) + high, return_index=True)
    faces = faces[np.sort(first)]
    used, renumbered = np.unique(faces, return_inverse=True)
    return Mesh(vertices[used], renumbered.reshape(-1, 3).astype(np.int32))
