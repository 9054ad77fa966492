# SPDX-License-Identifier: Apache-2.0
"""The solver's objective once more, in plain float64 numpy: slow, obvious, and no shared code."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

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


def rays(K: Array, width: int, height: int) -> Array:
    """Return (cells, 3) viewing rays with z = 1."""
    row, column = np.divmod(np.arange(width * height), width)
    return np.stack([(column - K[0, 2]) / K[0, 0], (row - K[1, 2]) / K[1, 1],
                     np.ones(len(row))], axis=1)  # fmt: skip


def weights(points: Array, directions: Array) -> tuple[Array, Array]:
    """Barycentric weights (n, 3) and depth (n,) where rays (n, 3) meet triangles (n, 3, 3).

    Solves w_a X_a + w_b X_b + w_c X_c = z d with weights that sum to 1.
    """
    system = np.zeros((len(points), 4, 4))
    system[:, :3, :3] = np.swapaxes(points, 1, 2)
    system[:, :3, 3] = -directions
    system[:, 3, :3] = 1.0
    singular = np.abs(np.linalg.det(system)) < 1e-14
    system[singular] = np.eye(4)
    solution = np.linalg.solve(
        system, np.broadcast_to([0.0, 0.0, 0.0, 1.0], (len(points), 4))[..., None]
    )[..., 0]
    solution[singular] = -1.0
    return solution[:, :3], solution[:, 3]


def visible_faces(mesh: Mesh, R: Array, t: Array, K: Array, width: int, height: int) -> Array:
    """Return (cells,) the nearest face that each cell's ray meets, -1 for none."""
    points = (mesh.vertices @ R.T + t)[mesh.faces]
    directions = rays(K, width, height)
    face = np.full(len(directions), -1)
    nearest = np.full(len(directions), np.inf)
    for number, triangle in enumerate(points):
        if triangle[:, 2].min() < 1e-3:
            continue
        w, z = weights(np.broadcast_to(triangle, (len(directions), 3, 3)), directions)
        hit = (w.min(axis=1) >= 0.0) & (z > 0.0) & (z < nearest)
        face[hit], nearest[hit] = number, z[hit]
    return face


def rendered(
    mesh: Mesh, features: Array, face: Array, R: Array, t: Array, K: Array, width: int, height: int
) -> Array:
    """Return (covered, C) interpolated features of the covered cells, their faces held fixed."""
    covered = np.flatnonzero(face >= 0)
    corners = mesh.faces[face[covered]]
    points = (mesh.vertices @ R.T + t)[corners]
    w, _ = weights(points, rays(K, width, height)[covered])
    return np.einsum("nk,nkc->nc", w, features[corners])


def moved(R: Array, t: Array, step: Array) -> tuple[Array, Array]:
    """Return the pose after (omega, dt), camera axes, about the object's origin."""
    return Rotation.from_rotvec(step[:3]).as_matrix() @ R, t + step[3:]


def derivatives(
    mesh: Mesh, features: Array, face: Array, F: Array, b: Array, R: Array, t: Array, K: Array,
    width: int, height: int,
) -> tuple[float, Array, Array]:  # fmt: skip
    """Return E, its gradient (6,) and sum J^T J (6, 6) by central differences of (omega, dt)."""
    covered = np.flatnonzero(face >= 0)

    def gains(step: Array) -> tuple[Array, Array]:
        c = rendered(mesh, features, face, *moved(R, t, step), K, width, height)
        return c, np.sum(c * F[covered], axis=1) - b[covered]

    centre, gain = gains(np.zeros(6))
    on = gain > 0.0
    jacobian = np.zeros((6, int(on.sum()), centre.shape[1]))
    gradient = np.zeros(6)
    h = 1e-6
    for k in range(6):
        (c1, g1), (c0, g0) = gains(h * np.eye(6)[k]), gains(-h * np.eye(6)[k])
        jacobian[k] = (c1 - c0)[on] / (2 * h)
        gradient[k] = (g1 - g0)[on].sum() / (2 * h)
    return float(gain[on].sum()), gradient, np.einsum("inc,jnc->ij", jacobian, jacobian)
