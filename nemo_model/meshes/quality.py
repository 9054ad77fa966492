# SPDX-License-Identifier: Apache-2.0
"""How well a mesh stands for a CAD model: by the overlap of their silhouettes."""

from __future__ import annotations

import numpy as np

from nemo_model.mesh import Mesh, sphere_directions
from nemo_model.pose import rotation_from_angles, transform
from nemo_model.raster import silhouette

SIDE = 128
DISTANCE = 6.0
FOCAL = 0.86 * SIDE * DISTANCE


def silhouette_overlap(mesh: Mesh, cad: Mesh, views: int = 24) -> float:
    """Intersection / union of the silhouettes, mean over views spread evenly over the sphere.

    Both in the object frame, seen where they are: a shift counts as a miss. Pictures of 128 x 128
    pixels, of which the CAD's diagonal takes 0.86.
    """
    centre = (cad.lo + cad.hi) / 2
    scale = float(np.linalg.norm(cad.extent))
    K = np.array([[FOCAL / scale, 0.0, SIDE / 2], [0.0, FOCAL / scale, SIDE / 2], [0.0, 0.0, 1.0]])
    shares = []
    for x, y, z in sphere_directions(views):
        R = rotation_from_angles(np.arctan2(x, -y), np.arcsin(z), 0.0)
        T = transform(R, np.array([0.0, 0.0, DISTANCE]) - R @ centre)
        one, other = (silhouette(each, T, K, SIDE, SIDE) for each in (mesh, cad))
        shares.append((one & other).sum() / max((one | other).sum(), 1))
    return float(np.mean(shares))
