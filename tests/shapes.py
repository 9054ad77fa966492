# SPDX-License-Identifier: Apache-2.0
"""Meshes that are no plain cuboid, for the solver's tests."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nemo_model.mesh import Mesh, cuboid

Array = npt.NDArray[np.float64]


def torus(rings: int = 14, sides: int = 9) -> Mesh:
    """Return a closed mesh with a hole: not convex, hides itself."""
    a, b = np.meshgrid(np.arange(rings), np.arange(sides), indexing="ij")
    u, v = a * 2 * np.pi / rings, b * 2 * np.pi / sides
    r = 0.33 + 0.13 * np.cos(v)
    vertices = np.stack([r * np.cos(u), r * np.sin(u), 0.13 * np.sin(v)], axis=-1).reshape(-1, 3)

    def at(i: Array, j: Array) -> Array:
        return (i % rings) * sides + j % sides

    quads = np.stack([at(a, b), at(a + 1, b), at(a + 1, b + 1), at(a, b + 1)], axis=-1)
    quads = quads.reshape(-1, 4)
    return Mesh(vertices, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]))


def two_boxes() -> Mesh:
    """Return two cuboids that run into each other, as multi-cuboid models may."""
    low = cuboid([-0.2, -0.45, -0.15], [0.2, 0.45, 0.02], 90)
    high = cuboid([-0.15, -0.2, -0.05], [0.15, 0.25, 0.16], 60)
    return Mesh(
        np.concatenate([low.vertices, high.vertices]),
        np.concatenate([low.faces, high.faces + len(low.vertices)]),
    )


def stairs() -> Mesh:
    """Return an L-shaped solid of large triangles, as a decimated CAD model has: not convex."""
    outline = np.array([(-0.4, -0.15), (0.4, -0.15), (0.4, 0.0), (0.0, 0.02), (0.0, 0.17),
                        (-0.4, 0.17)])  # fmt: skip
    n = len(outline)
    vertices = np.array([(x, y, z) for x in (-0.2, 0.2) for y, z in outline])
    caps = [(0, 1, 2), (0, 2, 3), (0, 3, 4), (0, 4, 5)]
    faces = [(a, c, b) for a, b, c in caps] + [(a + n, b + n, c + n) for a, b, c in caps]
    for k in range(n):
        a, b = k, (k + 1) % n
        faces += [(a, b, b + n), (a, b + n, a + n)]
    return Mesh(vertices, np.array(faces, dtype=np.int32))
