# SPDX-License-Identifier: Apache-2.0
"""A hard z-buffer in torch: one face per cell, barycentric weights that can be differentiated.

A cell with the ray d (z = 1) sees the point w_a A + w_b B + w_c C = z d of a face with the corners
A, B, C in the camera frame. By Cramer's rule w is proportional to
(d.(B x C), d.(C x A), d.(A x B)): perspective-correct without a division by a depth. Which face is
seen is decided without gradients, as in PyTorch3D with blur_radius 0 and faces_per_pixel 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nemo_model.objective import NEAR

_SHUT = 1e9  # background of cells that are no numbers: nothing explains them better


@dataclass(frozen=True)
class TorchScene:
    """A mesh with features and an image's feature map, all of one dtype, N = height * width cells.

    Attributes:
        vertices: (V, 3) object frame. faces: (F, 3) int64. theta: (V, C) vertex features.
        features: (N, C) of the cells, row by row. background: (N,) score of the clutter.
        rays: (N, 3) through the cells' centres, z = 1. K: (3, 3) in cells, centres at integers.
    """

    vertices: Tensor
    faces: Tensor
    theta: Tensor
    features: Tensor
    background: Tensor
    rays: Tensor
    K: Tensor
    height: int
    width: int


@dataclass(frozen=True)
class Fragments:
    """What is seen: cells (n,) ascending, the face (n,) that each sees, its weights (n, 3)."""

    cells: Tensor
    faces: Tensor
    weights: Tensor


Draw = Callable[[TorchScene, Tensor], Fragments]
"""A renderer: scene and vertices in the camera frame (V, 3) to fragments, differentiable."""


def torch_scene(
    vertices: npt.ArrayLike,
    faces: npt.ArrayLike,
    theta: npt.ArrayLike,
    features: npt.ArrayLike,
    background: npt.ArrayLike,
    K: npt.ArrayLike,
    dtype: torch.dtype = torch.float64,
) -> TorchScene:
    """Build a scene of features (h, w, C) and background (h, w) or (h * w,); see TorchScene.

    Cells whose features are no numbers count as hidden.
    """
    grid, camera = np.asarray(features), np.asarray(K, dtype=np.float64)
    height, width, channels = grid.shape
    flat = grid.reshape(-1, channels)
    clutter = np.asarray(background).ravel()
    good = np.isfinite(flat).all(axis=1) & np.isfinite(clutter)
    row, column = np.divmod(np.arange(height * width), width)
    x, y = (column - camera[0, 2]) / camera[0, 0], (row - camera[1, 2]) / camera[1, 1]

    def tensor(values: npt.ArrayLike) -> Tensor:
        return torch.tensor(np.asarray(values), dtype=dtype)

    return TorchScene(
        vertices=tensor(vertices),
        faces=torch.tensor(np.asarray(faces), dtype=torch.int64),
        theta=tensor(theta),
        features=tensor(np.where(good[:, None], flat, 0.0)),
        background=tensor(np.where(good, clutter, _SHUT)),
        rays=tensor(np.stack([x, y, np.ones_like(x)], axis=1)),
        K=tensor(camera),
        height=height,
        width=width,
    )


def torch_fragments(scene: TorchScene, points: Tensor) -> Fragments:
    """Draw vertices (V, 3) of the camera frame. Faces with a vertex nearer than NEAR are left out;
    of equally near faces the first is taken."""
    with torch.no_grad():
        number, cell = _candidates(scene, points)
        weights = weights_of(scene, points, cell, number)
        inside = (weights >= 0.0).all(dim=1)  # False for a face seen edge-on
        depth = (weights * points[:, 2][scene.faces[number]]).sum(dim=1)
        number, cell, depth = number[inside], cell[inside], depth[inside]
        cells = scene.height * scene.width
        nearest = points.new_full((cells,), torch.inf)
        nearest = nearest.scatter_reduce(0, cell, depth, "amin")
        first = depth == nearest[cell]
        faces = torch.full((cells,), len(scene.faces), dtype=torch.int64)
        faces = faces.scatter_reduce(0, cell[first], number[first], "amin")
        covered = torch.nonzero(faces < len(scene.faces))[:, 0]
        faces = faces[covered]
    return Fragments(covered, faces, weights_of(scene, points, covered, faces))


def weights_of(scene: TorchScene, points: Tensor, cells: Tensor, faces: Tensor) -> Tensor:
    """Barycentric weights (n, 3) of the points where cells see faces, differentiable in points."""
    a, b, c = points[scene.faces[faces]].unbind(dim=1)
    edges = torch.stack([torch.linalg.cross(p, q) for p, q in ((b, c), (c, a), (a, b))], dim=1)
    volumes = (edges * scene.rays[cells][:, None]).sum(dim=2)
    return volumes / volumes.sum(dim=1, keepdim=True)


def depth_map(scene: TorchScene, points: Tensor, seen: Fragments) -> Tensor:
    """Depth (height, width) of what is seen, infinite where nothing is."""
    depth = points.new_full((scene.height * scene.width,), torch.inf)
    corners = points[scene.faces[seen.faces]]
    depth[seen.cells] = (seen.weights * corners[:, :, 2]).sum(dim=1)
    return depth.reshape(scene.height, scene.width)


def _candidates(scene: TorchScene, points: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs (face, cell) of all cells in the bounding boxes of the faces that are in front."""
    plane = points @ scene.K.T
    uv = (plane[:, :2] / plane[:, 2:])[scene.faces]  # (F, 3, 2)
    last = points.new_tensor([scene.width - 1.0, scene.height - 1.0])
    low = torch.minimum(uv.amin(dim=1).ceil().clamp(min=0.0), last + 1.0)
    high = torch.minimum(uv.amax(dim=1).floor().clamp(min=-1.0), last)
    drawn = (points[scene.faces][:, :, 2] >= NEAR).all(dim=1) & torch.isfinite(uv).all(dim=(1, 2))
    drawn &= (high >= low).all(dim=1)
    shown = torch.nonzero(drawn)[:, 0]
    corner = low[shown].long()
    span = high[shown].long() - corner + 1
    count = span.prod(dim=1)
    which = torch.repeat_interleave(torch.arange(len(shown)), count)
    within = torch.arange(len(which)) - (count.cumsum(0) - count)[which]
    column = corner[which, 0] + within % span[which, 0]
    row = corner[which, 1] + torch.div(within, span[which, 0], rounding_mode="floor")
    return shown[which], row * scene.width + column
