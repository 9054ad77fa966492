# SPDX-License-Identifier: Apache-2.0
"""Neural meshes' geometry: the category cuboid and CAD meshes in OFF files."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nemo_model.errors import NemoError

Array = npt.NDArray[np.float64]
Faces = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in the object frame (z up, front at -y, unit = the CAD's diagonal).

    Attributes:
        vertices: (V, 3).
        faces: (F, 3) vertex numbers, counter-clockwise seen from outside.

    Raises:
        NemoError: for wrong shapes, NaN, or a face that names no vertex.
    """

    vertices: Array
    faces: Faces

    def __post_init__(self) -> None:
        vertices = np.ascontiguousarray(self.vertices, dtype=np.float64)
        faces = np.ascontiguousarray(self.faces, dtype=np.int32)
        if vertices.ndim != 2 or vertices.shape[1] != 3 or not np.isfinite(vertices).all():
            raise NemoError(f"mesh: vertices of shape {vertices.shape} must be finite (V, 3)")
        if faces.ndim != 2 or faces.shape[1] != 3:
            raise NemoError(f"mesh: faces have shape {faces.shape}, need (F, 3)")
        if faces.size and (faces.min() < 0 or faces.max() >= len(vertices)):
            raise NemoError("mesh: a face names a vertex that does not exist")
        object.__setattr__(self, "vertices", vertices)
        object.__setattr__(self, "faces", faces)

    @property
    def lo(self) -> Array:
        """(3,) lowest coordinates."""
        return np.asarray(self.vertices.min(axis=0))

    @property
    def hi(self) -> Array:
        """(3,) highest coordinates."""
        return np.asarray(self.vertices.max(axis=0))

    @property
    def extent(self) -> Array:
        """(3,) size along the object's axes."""
        return self.hi - self.lo


def cuboid(lo: npt.ArrayLike, hi: npt.ArrayLike, n: int = 1000) -> Mesh:
    """Return a closed cuboid with about n vertices, spread evenly over its six faces.

    Edge length e = sqrt(A / n), A = 2 (wh + hd + wd); floor(len / e + 1) vertices per axis
    (NeMo, ICLR 2021, section 3.1). Vertices on edges and corners are shared between faces.

    Raises:
        NemoError: when an extent is not positive.
    """
    low, high = np.asarray(lo, dtype=np.float64), np.asarray(hi, dtype=np.float64)
    size = high - low
    if not (np.isfinite(size).all() and (size > 0).all()):
        raise NemoError(f"cuboid: extents {size.tolist()} must be positive")
    area = 2.0 * (size[0] * size[1] + size[1] * size[2] + size[2] * size[0])
    counts = np.maximum(np.floor(size / np.sqrt(area / n) + 1.0).astype(int), 2)
    index: dict[tuple[int, ...], int] = {}
    faces: list[tuple[int, int, int]] = []

    def vertex(cell: tuple[int, ...]) -> int:
        return index.setdefault(cell, len(index))

    for axis in range(3):
        b, c = (axis + 1) % 3, (axis + 2) % 3
        for end in (0, counts[axis] - 1):
            for i in range(counts[b] - 1):
                for j in range(counts[c] - 1):
                    quad = []
                    for di, dj in ((0, 0), (1, 0), (1, 1), (0, 1)):
                        cell = [0, 0, 0]
                        cell[axis], cell[b], cell[c] = int(end), i + di, j + dj
                        quad.append(vertex(tuple(cell)))
                    p, q, r, s = quad if end else quad[::-1]
                    faces += [(p, q, r), (p, r, s)]
    cells = np.array(list(index), dtype=np.float64)
    vertices = low + size * cells / (counts - 1)
    return Mesh(vertices, np.array(faces, dtype=np.int32))


def category_cuboid(meshes: list[Mesh], share: float = 0.99, n: int = 1000) -> Mesh:
    """Return the single cuboid of a category (NeMo's SingleCuboid).

    Per axis the shortest interval that holds a share of all CAD vertices.
    """
    if not meshes:
        raise NemoError("cuboid: no CAD mesh to measure")
    points = np.concatenate([mesh.vertices for mesh in meshes])
    bounds = [_shortest_interval(points[:, axis], share) for axis in range(3)]
    return cuboid([b[0] for b in bounds], [b[1] for b in bounds], n)


def _shortest_interval(values: Array, share: float) -> tuple[float, float]:
    ordered = np.sort(values)
    inside = max(int(np.ceil(share * len(ordered))), 2)
    widths = ordered[inside - 1 :] - ordered[: len(ordered) - inside + 1]
    start = int(np.argmin(widths))
    return float(ordered[start]), float(ordered[start + inside - 1])


def sphere_directions(count: int) -> Array:
    """Return (count, 3) unit vectors, spread evenly over the sphere (a Fibonacci spiral)."""
    k = np.arange(count) + 0.5
    z = 1.0 - 2.0 * k / count
    phi = np.pi * (1.0 + np.sqrt(5.0)) * k
    r = np.sqrt(1.0 - z * z)
    return np.stack([r * np.cos(phi), r * np.sin(phi), z], axis=1)


def mean_outline(meshes: list[Mesh], directions: int = 200) -> Array:
    """Return (P, 3) mean support points of a category.

    For each of P directions spread evenly over the sphere, the mean over the meshes of the vertex
    furthest along it: a rounded average hull, whose projection predicts a detector's box better
    than the cuboid's corners do.
    """
    rays = sphere_directions(directions)
    points = [mesh.vertices[np.argmax(mesh.vertices @ rays.T, axis=0)] for mesh in meshes]
    return np.asarray(np.mean(points, axis=0))


def load_off(path: str | Path) -> Mesh:
    """Read an OFF file (polygons are split into fans).

    Raises:
        NemoError: naming the file, when it is missing, cut off, not OFF or without faces.
    """
    path = Path(path)
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise NemoError(f"{path}: cannot be read as an OFF mesh ({error})") from error
    words = [word for line in lines for word in line.partition("#")[0].split()]
    if not words or words[0] != "OFF":
        raise NemoError(f"{path}: does not begin with OFF")
    try:
        n_vertices, n_faces = int(words[1]), int(words[2])
        vertices = np.array(words[4 : 4 + 3 * n_vertices], dtype=np.float64)
        vertices = vertices.reshape(n_vertices, 3)
        rest = words[4 + 3 * n_vertices :]
        faces: list[tuple[int, int, int]] = []
        at = 0
        for _ in range(n_faces):
            corners = [int(rest[at + k]) for k in range(1, int(rest[at]) + 1)]
            at += 1 + len(corners)
            faces += [(corners[0], b, c) for b, c in pairwise(corners[1:])]
        if not faces:
            raise ValueError("it has no faces")
        return Mesh(vertices, np.array(faces, dtype=np.int32))
    except (ValueError, IndexError) as error:
        raise NemoError(f"{path}: is cut off or not an OFF mesh ({error})") from error
