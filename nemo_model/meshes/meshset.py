# SPDX-License-Identifier: Apache-2.0
"""The meshes that stand for a category, one or one per CAD sub-type, and their .npz file."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nemo_model.errors import NemoError
from nemo_model.mesh import Array, Mesh

WHOLE = 0
"""The sub-type's number of a mesh that stands for the whole category."""


@dataclass(frozen=True)
class SubtypeMesh:
    """One mesh.

    Attributes:
        subtype: number of the CAD model (cad_index, from 1) that it stands for; 0: for all.
        mesh: in object units.
        outline: (P, 3) points whose projection's bounding box a detector gives.
    """

    subtype: int
    mesh: Mesh
    outline: Array


@dataclass(frozen=True)
class MeshSet:
    """The meshes of a category, in the order of their sub-types' numbers.

    Raises:
        NemoError: for an empty set, or one sub-type twice.
    """

    category: str
    kind: str
    meshes: tuple[SubtypeMesh, ...]

    def __post_init__(self) -> None:
        numbers = [each.subtype for each in self.meshes]
        if not numbers or len(set(numbers)) < len(numbers):
            raise NemoError(f"meshes: sub-types {numbers} must be one or more, each once")

    def of(self, subtype: int) -> SubtypeMesh:
        """The mesh of a CAD model. Raises NemoError where the set has none."""
        return self.meshes[index_of([each.subtype for each in self.meshes], subtype)]

    def joined(self) -> tuple[Mesh, npt.NDArray[np.int32]]:
        """All meshes as one, and the sub-type of each vertex (V,): rows of a joint feature bank."""
        starts = np.cumsum([0] + [len(each.mesh.vertices) for each in self.meshes])
        vertices = np.concatenate([each.mesh.vertices for each in self.meshes])
        faces = [each.mesh.faces + start for each, start in zip(self.meshes, starts, strict=False)]
        owner = np.repeat([each.subtype for each in self.meshes], np.diff(starts))
        return Mesh(vertices, np.concatenate(faces)), owner.astype(np.int32)

    def save(self, path: Path) -> None:
        """Write vertices (V, 3), faces (F, 3), subtype (V,), outline (P, 3), outline_subtype (P,).

        The numbers in `faces` count through all meshes.
        """
        whole, owner = self.joined()
        points = [len(each.outline) for each in self.meshes]
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            path,
            category=self.category,
            kind=self.kind,
            vertices=whole.vertices.astype(np.float32),
            faces=whole.faces,
            subtype=owner,
            outline=np.concatenate([each.outline for each in self.meshes]).astype(np.float32),
            outline_subtype=np.repeat([e.subtype for e in self.meshes], points).astype(np.int32),
        )

    @staticmethod
    def load(path: Path) -> MeshSet:
        """Read such a file.

        Raises:
            NemoError: naming the file, where it is missing, damaged or inconsistent.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                whole = Mesh(data["vertices"], data["faces"])
                owner, outline = data["subtype"], np.asarray(data["outline"], dtype=np.float64)
                outline_owner = data["outline_subtype"]
                category, kind = str(data["category"]), str(data["kind"])
            return MeshSet(category, kind, split(whole, owner, outline, outline_owner))
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, NemoError) as error:
            raise NemoError(f"{path}: is no file of nemo make-mesh ({error})") from error


def split(
    whole: Mesh, owner: npt.NDArray[np.integer], outline: Array, outline_owner: npt.NDArray
) -> tuple[SubtypeMesh, ...]:
    """Undo MeshSet.joined.

    Raises:
        ValueError: where the arrays do not fit, or a face joins two sub-types.
    """
    if owner.shape != (len(whole.vertices),) or outline_owner.shape != (len(outline),):
        raise ValueError("subtype and outline_subtype need one number per vertex and point")
    corners = owner[whole.faces]
    if (corners != corners[:, :1]).any():
        raise ValueError("a face joins vertices of two sub-types")
    parts = []
    for subtype in np.unique(owner):
        mine = np.flatnonzero(owner == subtype)
        faces = np.searchsorted(mine, whole.faces[corners[:, 0] == subtype])
        points = outline[outline_owner == subtype]
        if not len(faces) or len(points) < 4:
            raise ValueError(f"sub-type {subtype} has no faces, or fewer than 4 outline points")
        parts.append(SubtypeMesh(int(subtype), Mesh(whole.vertices[mine], faces), points))
    return tuple(parts)


def index_of(subtypes: Sequence[int], subtype: int) -> int:
    """Place of the mesh that stands for a CAD model: its own, or the one that stands for all.

    Raises:
        NemoError: where there is neither.
    """
    for number in (subtype, WHOLE):
        if number in subtypes:
            return list(subtypes).index(number)
    raise NemoError(f"no mesh of sub-type {subtype}; there are {', '.join(map(str, subtypes))}")
