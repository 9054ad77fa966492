# SPDX-License-Identifier: Apache-2.0
"""The meshes that a run trains, as rows of one bank, and which of them a photo shows.

A mirrored photo of an object shows the mirrored object (x -> -x). A mesh that is not its own mirror
image is therefore drawn mirrored as well, and each of its vertices stands for the vertex of the
unmirrored mesh that lies in that place: what looks like a left wheel trains the left wheel's
feature, also where it is the picture of a right one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from nemo_model.mesh import Array, Mesh
from nemo_model.meshes.meshset import WHOLE, MeshSet, SubtypeMesh, index_of

MIRROR = np.array([-1.0, 1.0, 1.0])
SYMMETRIC = 1e-6
"""A mesh whose vertices have mirror images nearer than this (object units) is symmetric."""
TURNED = 0.05
"""What opposite normals add to the distance of two vertices, halved, in object units: the two sides
of a thin part must not be mixed up."""


def both_ways(cads: Mapping[int, Mesh]) -> dict[tuple[int, bool], Mesh]:
    """CAD models by number and whether they are mirrored left to right, as in a mirrored photo."""
    return {
        (index, flip): Mesh(cad.vertices * MIRROR, cad.faces[:, ::-1]) if flip else cad
        for index, cad in cads.items()
        for flip in (False, True)
    }


@dataclass(frozen=True)
class Shown:
    """The neural mesh that one photo shows.

    Attributes:
        part: place of its sub-type in the set.
        mesh: as it is seen, mirrored where the photo is.
        rows: (V,) int64, the row of the joint bank that each of its vertices trains.
        outline: (P, 3) points whose projection's bounding box a detector gives.
    """

    part: int
    mesh: Mesh
    rows: npt.NDArray[np.int64]
    outline: Array


def whole(category: str, mesh: Mesh, outline: Array) -> MeshSet:
    """The set of one mesh that stands for a category."""
    return MeshSet(category, "single-cuboid", (SubtypeMesh(WHOLE, mesh, outline),))


class Parts:
    """The meshes of a set, their rows in the joint bank and their mirror images.

    Attributes:
        meshes: the set.
        starts: (S + 1,) first row of each mesh, and the number of rows.
    """

    def __init__(self, meshes: MeshSet) -> None:
        self.meshes = meshes
        self.starts = np.cumsum([0] + [len(each.mesh.vertices) for each in meshes.meshes])
        self._numbers = [each.subtype for each in meshes.meshes]
        pairs = zip(meshes.meshes, self.starts.tolist(), strict=False)
        self._shown = [(_plain(k, *pair), _mirrored(k, *pair)) for k, pair in enumerate(pairs)]

    def shown(self, subtype: int, mirrored: bool) -> Shown:
        """What a photo of a sub-type shows. Raises NemoError where no mesh stands for it."""
        return self._shown[index_of(self._numbers, subtype)][mirrored]


def _plain(part: int, each: SubtypeMesh, start: int) -> Shown:
    rows = start + np.arange(len(each.mesh.vertices), dtype=np.int64)
    return Shown(part, each.mesh, rows, each.outline)


def _mirrored(part: int, each: SubtypeMesh, start: int) -> Shown:
    plain, mesh = _plain(part, each, start), each.mesh
    outline = each.outline if _symmetric(each.outline) else each.outline * MIRROR
    if _symmetric(mesh.vertices):  # its own mirror image, so it is drawn as it is
        return Shown(part, mesh, plain.rows, outline)
    image = Mesh(mesh.vertices * MIRROR, mesh.faces[:, ::-1])
    return Shown(part, image, plain.rows[counterparts(image, mesh)], outline)


def _symmetric(points: Array) -> bool:
    return bool(cKDTree(points).query(points * MIRROR)[0].max() < SYMMETRIC)


def counterparts(mesh: Mesh, other: Mesh) -> npt.NDArray[np.int64]:
    """Vertex (V,) of `other` nearest to each of `mesh`, on a side that looks the same way."""
    tree = cKDTree(np.hstack([other.vertices, TURNED * vertex_normals(other)]))
    return np.asarray(
        tree.query(np.hstack([mesh.vertices, TURNED * vertex_normals(mesh)]))[1], dtype=np.int64
    )


def vertex_normals(mesh: Mesh) -> Array:
    """Unit normals (V, 3), the mean of the faces' by area; zero where there is none."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    normal = np.zeros_like(mesh.vertices)
    for k in range(3):
        np.add.at(normal, mesh.faces[:, k], face)
    return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12))
