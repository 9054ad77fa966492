# SPDX-License-Identifier: Apache-2.0
"""A model in the project's object frame: z up, front at -y, centred, unit diagonal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull, QhullError

from nemo_model.errors import NemoError
from nemo_model.sequences.wavefront import Soup, read_obj
from nemo_model.synth.ac3d import read_ac
from nemo_model.synth.axes import rotation_to_object
from nemo_model.synth.materials import Material, Textures, find_texture, mtl_of, pack

Array = npt.NDArray[np.float64]

RED, SPECULAR, SHININESS, OPACITY, TEXTURE = 0, 3, 4, 5, 6
"""Columns of Model.table; the colour takes three."""
SEEN, SOLID = 0.05, 0.95
"""Faces fainter than this are not part of the object (helpers, discs of propellers)."""


@dataclass(frozen=True)
class Model:
    """F triangles that share no vertex.

    Attributes:
        points: (F, 3, 3) corners in the object frame, unit: the diagonal of the bounding box.
        normals: (F, 3, 3) unit, per corner.
        uv: (F, 3, 2).
        material: (F,) int32 row of `table`.
        table: (M, 7) linear colour, specular, shininess, opacity, number of the texture or -1.
        textures: packed.
        clear: (F,) faces that one can see through, in places at least.
        hull: (H, 3) those corners that boxes around the projected model depend on.
    """

    points: Array
    normals: Array
    uv: Array
    material: npt.NDArray[np.int32]
    table: Array
    textures: Textures
    clear: npt.NDArray[np.bool_]
    hull: Array

    def with_surface(self, table: Array, textures: Textures) -> Model:
        """The same shape with other materials."""
        return replace(self, table=table, textures=textures)

    def box_mapped(self, rows: npt.NDArray[np.integer], repeats: float) -> Model:
        """With texture coordinates for some materials that come from the points, as for a box.

        A texture is repeated so many times per unit.
        """
        mine = np.isin(self.material, rows)
        across = np.abs(self.normals[mine].mean(axis=1)).argmax(axis=1)
        axes = np.array([[1, 2], [0, 2], [0, 1]])[across]  # (F, 2)
        uv = self.uv.copy()
        uv[mine] = repeats * np.take_along_axis(
            self.points[mine], np.repeat(axes[:, None], 3, axis=1), axis=2
        )
        return replace(self, uv=uv)

    def stretched(self, factors: Array) -> Model:
        """The shape scaled by factors (3,), above 0, along x, y, z of the object frame."""
        normals = self.normals / factors
        normals /= np.linalg.norm(normals, axis=2, keepdims=True)
        return replace(
            self, points=self.points * factors, normals=normals, hull=self.hull * factors
        )

    @property
    def extent(self) -> Array:
        """(3,) along the object's axes."""
        flat = self.points.reshape(-1, 3)
        return np.asarray(flat.max(0) - flat.min(0))


def canonical(soup: Soup, up: str, front: str) -> Soup:
    """Turn a soup into the object frame, centre it, scale it to a unit diagonal.

    Raises:
        NemoError: when it has no extent.
    """
    R = rotation_to_object(up, front)
    points = soup.points @ R.T
    low, high = points.min((0, 1)), points.max((0, 1))
    diagonal = float(np.linalg.norm(high - low))
    if not 0.0 < diagonal < np.inf:
        raise NemoError(f"model: its bounding box has the diagonal {diagonal}")
    return Soup(
        (points - (low + high) / 2) / diagonal, soup.normals @ R.T, soup.uv, soup.material,
        soup.names,
    )  # fmt: skip


def load_model(path: Path, up: str, front: str, left_out: str = "", root: Path | None = None
               ) -> Model:  # fmt: skip
    """Read an OBJ (with its MTL) or AC file with its textures into the object frame.

    Args:
        path: of the file; the suffix decides.
        up, front: the file's axes.
        left_out: see ac3d.read_ac.
        root: folder below which textures are looked for that do not lie beside the file.

    Raises:
        NemoError: naming the file.
    """
    if path.suffix.lower() == ".ac":
        soup, materials = read_ac(path, left_out)
    elif path.suffix.lower() == ".obj":
        soup = _as_in_file(read_obj(path))
        library = mtl_of(path)
        materials = [library.get(name, Material()) for name in soup.names]
    else:
        raise NemoError(f"{path}: models are read from .obj and .ac files")
    textures, number = _textures(materials, path.parent, root or path.parent)
    table = np.array([_row(m, number.get(m.texture, -1)) for m in materials])
    opacity = _opacity(soup, table, textures)  # (F, 4)
    kept = (opacity > SEEN).any(axis=1) & (_areas(soup.points) > 0.0)
    if not kept.any():
        raise NemoError(f"{path}: nothing of it can be seen")
    soup = Soup(
        soup.points[kept], soup.normals[kept], soup.uv[kept], soup.material[kept], soup.names
    )
    soup = canonical(soup, up, front)
    clear = np.asarray((opacity[kept] < SOLID).any(axis=1), dtype=np.bool_)
    hull = hull_of(soup.points.reshape(-1, 3))
    return Model(
        soup.points, soup.normals, soup.uv, soup.material, table, textures, clear, hull
    )  # fmt: skip


def hull_of(points: Array) -> Array:
    """The corners (H, 3) of the convex hull of points (N, 3); all points where they are flat."""
    try:
        return np.asarray(points[ConvexHull(points).vertices])
    except QhullError:
        return np.unique(points, axis=0)


def _as_in_file(soup: Soup) -> Soup:
    """Undo the turn that read_obj makes."""
    R = rotation_to_object("y", "z")
    return Soup(soup.points @ R, soup.normals @ R, soup.uv, soup.material, soup.names)


def _textures(
    materials: list[Material], folder: Path, root: Path
) -> tuple[Textures, Mapping[str, int]]:
    names = sorted({m.texture for m in materials if m.texture})
    found = {name: find_texture(name, folder, root) for name in names}
    paths = sorted({path for path in found.values() if path is not None})
    number = {name: paths.index(path) for name, path in found.items() if path is not None}
    return pack(paths), number


def _row(material: Material, texture: int) -> list[float]:
    r, g, b = (float(c) ** 2.2 for c in material.colour)
    return [r, g, b, material.specular, material.shininess, material.opacity, float(texture)]


def _opacity(soup: Soup, table: Array, textures: Textures) -> Array:
    """Opacity (F, 4) of faces, with their texture's, near the corners and in the middle."""
    found = np.repeat(table[soup.material, OPACITY][:, None], 4, axis=1)
    middle = soup.uv.mean(axis=1, keepdims=True)
    spots = np.concatenate([0.9 * soup.uv + 0.1 * middle, middle], axis=1)
    for number, (at, height, width) in enumerate(textures.shapes):
        alpha = textures.pixels[at : at + height * width, 3].reshape(height, width)
        mine = table[soup.material, TEXTURE] == number
        u, v = spots[mine, :, 0] % 1.0, 1.0 - spots[mine, :, 1] % 1.0
        rows = np.clip((v * height).astype(int), 0, height - 1)
        columns = np.clip((u * width).astype(int), 0, width - 1)
        found[mine] *= alpha[rows, columns] / 255.0
    return found


def _areas(points: Array) -> Array:
    """Twice the areas (F,) of triangles (F, 3, 3)."""
    cross = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    return np.asarray(np.linalg.norm(cross, axis=1))
