# SPDX-License-Identifier: Apache-2.0
"""A contact sheet of meshes: one row per mesh, seen from all around, shaded, with its edges."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from nemo_model.mesh import Array, Mesh
from nemo_model.meshes.meshset import MeshSet
from nemo_model.pose import rotation_from_angles, transform
from nemo_model.raster import rasterize

CELL = 220
VIEWS = ((30.0, 20.0), (0.0, 5.0), (90.0, 5.0), (180.0, 5.0), (45.0, 60.0))
"""Azimuth and elevation, degrees."""
DISTANCE = 6.0
FOCAL = 0.86 * CELL * DISTANCE
"""The unit diagonal fills 0.86 of a picture."""
Image = npt.NDArray[np.uint8]


def contact_sheet(meshes: MeshSet) -> Image:
    """Return (rows * CELL, len(VIEWS) * CELL, 3) uint8 BGR."""
    rows = []
    for each in meshes.meshes:
        mesh = each.mesh
        row = np.hstack([picture(mesh, *view) for view in VIEWS])
        name = f"{each.subtype:02d}" if each.subtype else "all"
        text = f"{meshes.category} {name}  {len(mesh.vertices)} vertices {len(mesh.faces)} faces"
        cv2.putText(row, text, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (30, 30, 30), 1)
        rows.append(row)
    return np.vstack(rows)


def picture(mesh: Mesh, azimuth_deg: float, elevation_deg: float) -> Image:
    """One view (CELL, CELL, 3) uint8 BGR: brighter where a face looks at the camera."""
    T = _pose(mesh, azimuth_deg, elevation_deg)
    points = mesh.vertices @ T[:3, :3].T + T[:3, 3]
    K = np.array([[FOCAL, 0.0, CELL / 2], [0.0, FOCAL, CELL / 2], [0.0, 0.0, 1.0]])
    face, bary, _ = rasterize(points, mesh.faces, K, CELL, CELL)
    seen = face >= 0
    corners = points[mesh.faces[face[seen]]]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = np.abs(normal[:, 2]) / np.maximum(np.linalg.norm(normal, axis=1), 1e-12)
    shade = 90.0 + 150.0 * facing - 60.0 * (bary[seen].min(axis=1) < 0.06)
    image = np.full((CELL, CELL, 3), 255, dtype=np.uint8)
    image[seen] = np.clip(shade[:, None] * [1.0, 0.93, 0.82], 0, 255).astype(np.uint8)
    return image


def _pose(mesh: Mesh, azimuth_deg: float, elevation_deg: float) -> Array:
    R = rotation_from_angles(np.radians(azimuth_deg), np.radians(elevation_deg), 0.0)
    return transform(R, np.array([0.0, 0.0, DISTANCE]) - R @ ((mesh.lo + mesh.hi) / 2))
