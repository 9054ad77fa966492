# SPDX-License-Identifier: Apache-2.0
"""Where a category's 3D keypoints are, and which of them a picture shows.

Keypoints come from a JSON file, {category: {model: {name: {x, y, z}}}}, or, where there is none,
from the CAD models: points spread evenly over what can be seen of them. Names are not used: left
and right are not always meant alike, and canonical coordinates tell points apart without them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from nemo_model.datasets.pascal3d import Pascal3DObject
from nemo_model.errors import NemoError
from nemo_model.mesh import Mesh
from nemo_model.pose import rotation_from_angles, transform
from nemo_model.raster import visible_points, visible_vertices
from nemo_model.training.parts import MIRROR, both_ways
from nemo_model.training.samples import Picture

Array = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]

STRIDE, FIRST = 4, 5.0
"""Cell j of the heat map is centred on crop pixel 4 j + 5: NeMo's cells, twice as fine."""
SAMPLED = 20
"""Points taken from a CAD model that has no named keypoints."""
OFF_SURFACE = 0.05
"""Mean distance from keypoints to the CAD model's vertices beyond which they are not its own."""
SLACK = 0.06
"""Object units that a keypoint may lie behind the surface: wheels' are on the axle."""
SPREAD = 1.0
"""Deviation of a keypoint's peak, cells."""
CORE = 0.3
"""Cells whose heat is above this learn the canonical coordinates."""
NEAR_ANCHOR = 0.12
"""An annotated point is the projected keypoint that is nearest, within this share of the crop."""


def category_keypoints(
    root: Path, path: Path | None, category: str, cads: Mapping[int, Mesh]
) -> dict[int, Array]:
    """Keypoints (P, 3) in object units of each CAD model.

    Args:
        root: of the data set; root/CAD/keypoints.json is read where `path` is None and it exists.
        path: the JSON file, else None.
        category: its first level.
        cads: by cad_index.

    Raises:
        NemoError: when the file is missing, not of that form, or of other CAD models.
    """
    file = path if path is not None else root / "CAD" / "keypoints.json"
    if path is None and not file.is_file():
        return {index: sampled(cad) for index, cad in cads.items()}
    models = _read(file, category)
    if models is None:
        return {index: sampled(cad) for index, cad in cads.items()}
    return {index: _of_model(file, index, cad, models) for index, cad in cads.items()}


def _read(path: Path, category: str) -> list[Array] | None:
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
        if category not in raw:
            return None
        return [
            np.array([[float(p[axis]) for axis in "xyz"] for p in model.values()])
            for model in raw[category].values()
        ]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise NemoError(f"{path}: cannot be read as JSON ({error})") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NemoError(
            f"{path}: {category}: needs model: name: x, y, z in object units ({error!r})"
        ) from error


def _of_model(path: Path, index: int, cad: Mesh, models: Sequence[Array]) -> Array:
    """The file's model whose keypoints lie nearest to this CAD: files may number otherwise."""
    tree = cKDTree(cad.vertices)
    off = [float(np.mean(tree.query(points)[0])) if len(points) else np.inf for points in models]
    best = int(np.argmin(off)) if off else -1
    if best < 0 or off[best] > OFF_SURFACE:
        raise NemoError(f"{path}: holds no keypoints that lie on CAD model {index}")
    return models[best]


def sampled(cad: Mesh, count: int = SAMPLED) -> Array:
    """Points (count, 3) spread over the vertices that can be seen: farthest-point sampling."""
    seen = np.zeros(len(cad.vertices), dtype=bool)
    K = np.array([[300.0, 0.0, 63.5], [0.0, 300.0, 63.5], [0.0, 0.0, 1.0]])
    for azimuth in np.arange(0.0, 2 * np.pi, np.pi / 4):
        for elevation in (0.1, 0.6):
            R = rotation_from_angles(float(azimuth), elevation, 0.0)
            T = transform(R, np.array([0.0, 0.0, 3.0]))
            seen |= visible_vertices(cad, T, K, 128, 128)[0]
    points = cad.vertices[seen] if seen.any() else cad.vertices
    chosen = [int(np.argmax(np.linalg.norm(points - points.mean(axis=0), axis=1)))]
    away = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(np.argmax(away)))
        away = np.minimum(away, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return points[chosen]


class KeypointMaps:
    """From a picture to the maps that StarMap learns."""

    def __init__(
        self,
        objects: Sequence[Pascal3DObject],
        cads: Mapping[int, Mesh],
        points: Mapping[int, Array],
    ) -> None:
        self.objects = objects
        self.cads = both_ways(cads)
        self.points = {
            (index, flip): p * MIRROR if flip else p
            for index, p in points.items()
            for flip in (False, True)
        }

    def __call__(self, picture: Picture) -> dict[str, npt.NDArray[np.float32]]:
        """heat (h, w) in [0, 1]; canonical (3, h, w) of the nearest keypoint; peaks (h, w), 1 at
        each keypoint's cell."""
        points, uv = self.shown(picture)
        h, w = picture.crop.height // STRIDE, picture.crop.width // STRIDE
        return keypoint_maps(points, (uv - FIRST) / STRIDE, h, w)

    def shown(self, picture: Picture) -> tuple[Array, Array]:
        """The visible keypoints (P, 3), object units, and their pixels (P, 2) in the crop."""
        item = self.objects[picture.at]
        index = (
            item.cad_index if (item.cad_index, False) in self.points else next(iter(self.points))[0]
        )
        points, crop = self.points[index, picture.mirrored], picture.crop
        cad = item.shape(self.cads[index, picture.mirrored])
        points = points if item.stretch is None else points * item.stretch
        front, uv = visible_points(points, cad, picture.T, crop.K, crop.width, crop.height, SLACK)
        if item.anchors:
            points, uv = annotated(item, picture, points, uv, front)
            front = np.ones(len(points), dtype=bool)
        at = np.nan_to_num(np.round(uv), nan=-1.0).astype(int)
        inside = (at >= 0).all(axis=1) & (at < [crop.width, crop.height]).all(axis=1)
        front &= inside
        front[front] = ~picture.hidden[at[front, 1], at[front, 0]]
        return points[front], uv[front]


def annotated(
    item: Pascal3DObject, picture: Picture, points: Array, uv: Array, front: npt.NDArray[np.bool_]
) -> tuple[Array, Array]:
    """Annotated visible keypoints: where they were marked, with the coordinates of the nearest one.

    Args:
        points: (P, 3) of the CAD model; uv (P, 2): where they project; front (P,): seen there.

    Returns:
        (Q, 3) canonical coordinates and (Q, 2) pixels of the crop.
    """
    marks = np.array(list(item.anchors.values()))
    if picture.mirrored:
        marks = marks * [-1.0, 1.0] + [item.size[0] - 1.0, 0.0]
    turned = np.column_stack([marks, np.ones(len(marks))]) @ picture.H.T
    at = turned[:, :2] / turned[:, 2:]
    away = np.linalg.norm(at[:, None] - uv[None], axis=2)
    away = np.where(front[None] & np.isfinite(away), away, np.inf)
    nearest = away.argmin(axis=1) if len(points) else np.zeros(len(at), dtype=int)
    close = away[np.arange(len(at)), nearest] < NEAR_ANCHOR * picture.crop.width
    return points[nearest[close]], at[close]


def keypoint_maps(points: Array, cells: Array, h: int, w: int) -> dict[str, F32]:
    """Draw keypoints (P, 3) at cells (P, 2) into heat, canonical and peaks; see KeypointMaps."""
    heat, peaks = np.zeros((h, w)), np.zeros((h, w))
    canonical = np.zeros((3, h, w))
    rows, cols = np.mgrid[:h, :w]
    for point, (x, y) in zip(points, cells, strict=True):
        blob = np.exp(-((cols - x) ** 2 + (rows - y) ** 2) / (2 * SPREAD**2))
        nearer = blob > heat
        canonical[:, nearer] = point[:, None]
        heat = np.maximum(heat, blob)
        i, j = round(float(y)), round(float(x))
        if 0 <= i < h and 0 <= j < w:
            peaks[i, j] = 1.0
    heat[peaks > 0] = 1.0
    maps = {"heat": heat, "canonical": canonical, "peaks": peaks}
    return {name: value.astype(np.float32) for name, value in maps.items()}
