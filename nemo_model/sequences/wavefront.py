# SPDX-License-Identifier: Apache-2.0
"""Wavefront OBJ to a triangle soup with normals, texture coordinates and material names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nemo_model.errors import NemoError

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CREASE = 0.75
"""A face whose normal's cosine with a vertex's mean is below this keeps its own (an edge)."""


@dataclass(frozen=True)
class Soup:
    """F triangles that share no vertex.

    Attributes:
        points: (F, 3, 3) corners, z up, front at -y.
        normals: (F, 3, 3) unit, per corner.
        uv: (F, 3, 2) texture coordinates, 0 where the file gives none.
        material: (F,) index into `names`.
        names: of the materials.
    """

    points: Array
    normals: Array
    uv: Array
    material: npt.NDArray[np.int32]
    names: tuple[str, ...]


def read_obj(path: Path) -> Soup:
    """Read an OBJ with y up and its front at z, as the furniture library's are.

    Raises:
        NemoError: naming the file, when it holds no triangle or a line that cannot be read.
    """
    points: list[list[float]] = []
    normals: list[list[float]] = []
    uvs: list[list[float]] = [[0.0, 0.0]]
    corners: list[tuple[int, int, int]] = []  # of point, uv, normal; uv 0: none; normal -1: none
    material: list[int] = []
    names: list[str] = []
    current = 0
    try:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "v":
                x, y, z = (float(x) for x in rest.split()[:3])
                points.append([x, y, z])
            elif kind == "vn":
                normals.append([float(x) for x in rest.split()[:3]])
            elif kind == "vt":
                uvs.append([float(x) for x in rest.split()[:2]])
            elif kind == "usemtl":
                name = rest.strip()
                if name not in names:
                    names.append(name)
                current = names.index(name)
            elif kind == "f":
                face = [_corner(part, len(points)) for part in rest.split()]
                for k in range(1, len(face) - 1):
                    corners += [face[0], face[k], face[k + 1]]
                    material.append(current)
    except (OSError, ValueError, IndexError) as error:
        raise NemoError(f"{path}: cannot be read as an OBJ file ({error})") from error
    if not corners:
        raise NemoError(f"{path}: holds no face")
    index = np.array(corners, dtype=np.int64).reshape(-1, 3, 3)
    turned = np.array(points) @ np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
    soup = turned[index[:, :, 0]]
    if normals and (index[:, :, 2] >= 0).all():
        given = np.array(normals) @ np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
        smooth = _unit(given[index[:, :, 2]])
    else:
        smooth = smooth_normals(soup, index[:, :, 0], np.array(material))
    return Soup(
        soup,
        smooth,
        np.array(uvs)[index[:, :, 1]],
        np.array(material, dtype=np.int32),
        tuple(names) or ("",),
    )


def _corner(text: str, count: int) -> tuple[int, int, int]:
    """ "7", "7/2", "7//3" or "7/2/3" to indices of point, uv (0: none) and normal (-1: none)."""
    parts = [*text.split("/"), "", ""]
    point = int(parts[0])
    return (
        point - 1 if point > 0 else count + point,
        int(parts[1]) if parts[1] else 0,
        int(parts[2]) - 1 if parts[2] else -1,
    )


def smooth_normals(soup: Array, index: Ints, material: Ints) -> Array:
    """Normals (F, 3, 3): the mean over a vertex's faces of one material, except at creases.

    Args:
        soup: (F, 3, 3) corners.
        index: (F, 3) vertex numbers of the corners.
        material: (F,).
    """
    cross = np.cross(soup[:, 1] - soup[:, 0], soup[:, 2] - soup[:, 0])
    flat, area = _unit(cross), np.linalg.norm(cross, axis=1)
    keys = index.astype(np.int64) * (int(material.max()) + 1) + material[:, None]
    _, place = np.unique(keys.ravel(), return_inverse=True)
    total = np.zeros((int(place.max()) + 1, 3))
    np.add.at(total, place.ravel(), np.repeat(flat * area[:, None], 3, axis=0))
    mean = _unit(total)[place.ravel()].reshape(soup.shape)
    own = np.repeat(flat[:, None], 3, axis=1)
    return np.where((mean * own).sum(-1, keepdims=True) > CREASE, mean, own)


def _unit(vectors: Array) -> Array:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12))
