# SPDX-License-Identifier: Apache-2.0
"""Synthetic pose problems with a known answer, for the solver's tests and benchmarks.

Smooth random vertex features, rendered by the objective's own rasteriser at a true pose, blended
with noise; background cells and hidden ones are clutter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nemo_model.mesh import Mesh
from nemo_model.objective import Scene, render, workspace
from nemo_model.pose import rotation_from_angles
from nemo_model.tables import FaceTable

Array = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Problem:
    """A feature map (h, w, C), its camera, the detector's box and the true pose."""

    features: F32
    K_map: Array
    box: Array
    R: Array
    t: Array


def unit(values: Array) -> Array:
    """Return rows of unit length."""
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12))


def smooth_features(mesh: Mesh, channels: int, seed: int, length: float = 0.25) -> F32:
    """Return (V, C) unit features that vary over `length` (object units) along the surface."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(3, channels)) / length
    phase = rng.uniform(0.0, 2.0 * np.pi, channels)
    return unit(np.cos(mesh.vertices @ waves + phase)).astype(np.float32)


def clutter_features(count: int, channels: int, seed: int) -> F32:
    """Return (M, C) random unit prototypes."""
    return unit(np.random.default_rng(seed).normal(size=(count, channels))).astype(np.float32)


def make_problem(
    table: FaceTable,
    clutter: F32,
    seed: int,
    width: int = 24,
    height: int = 16,
    hidden: float = 0.0,
    noise: float = 1.0,
    box_jitter: float = 0.03,
    elevation_deg: tuple[float, float] = (-5.0, 40.0),
    in_plane_deg: float = 8.0,
) -> Problem:
    """Draw a random view of a mesh with features that fills most of the map.

    Args:
        table: the mesh, from tables.face_table.
        clutter: (M, C) background prototypes.
        hidden: share of the covered cells that a rectangle of clutter hides.
        noise: length of the noise vector added to each unit feature.
        box_jitter: standard deviation of the box's sides, as a share of its size.
    """
    rng = np.random.default_rng(seed)
    low, high = np.radians(elevation_deg)
    R = rotation_from_angles(
        rng.uniform(0.0, 2.0 * np.pi),
        rng.uniform(low, high),
        np.radians(rng.uniform(-in_plane_deg, in_plane_deg)),
    )
    distance = rng.uniform(1.2, 4.0)
    shift = rng.normal(size=2) * 0.03
    t = np.array([shift[0], shift[1], distance])
    features, vertices = table.features, table.vertices.T.astype(np.float64)
    points = vertices @ R.T + t
    plane = points[:, :2] / points[:, 2:]
    span, middle = np.ptp(plane, axis=0), 0.5 * (plane.max(axis=0) + plane.min(axis=0))
    focal = 0.86 * min((width - 1) / span[0], (height - 1) / span[1])
    cx, cy = 0.5 * (width - 1) - focal * middle[0], 0.5 * (height - 1) - focal * middle[1]
    K = np.array([[focal, 0.0, cx], [0.0, focal, cy], [0.0, 0.0, 1.0]])

    cells, channels = height * width, features.shape[1]
    blank = np.zeros((cells, channels), dtype=np.float32)
    work = workspace(table, cells)
    scene = Scene(blank, blank[:, 0], height, width, focal, focal, cx, cy)
    render(table, scene, np.ascontiguousarray(R), t, work)
    pure = unit(clutter[rng.integers(len(clutter), size=cells)] + rng.normal(
        size=(cells, channels)) / np.sqrt(channels))  # fmt: skip
    covered = np.flatnonzero(work.face >= 0)
    number = work.face[covered]
    row, column = np.divmod(covered, width)
    rays = np.stack([(column - cx) / focal, (row - cy) / focal, np.ones(len(row))], axis=1) @ R
    eye = -R.T @ t
    algebra = table.algebra[number].astype(np.float64)
    depth = (algebra[:, 3] - algebra[:, :3] @ eye) / np.sum(algebra[:, :3] * rays, axis=1)
    at = eye + depth[:, None] * rays
    wb = np.sum(algebra[:, 4:7] * at, axis=1) - algebra[:, 7]
    wc = np.sum(algebra[:, 8:11] * at, axis=1) - algebra[:, 11]
    a, b, c = (features[table.faces[k, number]] for k in range(3))
    seen = (1.0 - wb - wc)[:, None] * a + wb[:, None] * b + wc[:, None] * c
    shown = ~_hide(covered, width, hidden, rng)
    noisy = seen + noise * rng.normal(size=seen.shape) / np.sqrt(channels)
    pure[covered[shown]] = unit(noisy)[shown]
    box = np.array([*(plane.min(axis=0) * focal), *(plane.max(axis=0) * focal)])
    box += np.array([cx, cy, cx, cy])
    size = np.array([box[2] - box[0], box[3] - box[1]] * 2)
    return Problem(
        features=pure.reshape(height, width, channels).astype(np.float32),
        K_map=K,
        box=box + rng.normal(size=4) * box_jitter * size,
        R=R,
        t=t,
    )


def _hide(
    covered: npt.NDArray[np.int64], width: int, share: float, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Return which covered cells a growing rectangle at a random place hides."""
    row, column = np.divmod(covered, width)
    if not len(covered) or share <= 0.0:
        return np.zeros(len(covered), dtype=bool)
    centre = rng.integers(len(covered))
    aspect = np.exp(rng.uniform(-0.5, 0.5))
    reach = np.maximum(
        np.abs(row - row[centre]) * aspect, np.abs(column - column[centre]) / aspect
    ) + 1e-6 * np.arange(len(covered))  # fmt: skip
    return np.asarray(np.argsort(np.argsort(reach)) < round(share * len(covered)))
