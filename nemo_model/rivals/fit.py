# SPDX-License-Identifier: Apache-2.0
"""The pose of an object from keypoints, some of which are wrong.

Hypotheses: a grid of rotations, each placed by the box, and OpenCV's RANSAC (SQPnP). All of them
are scored by how many keypoints project where they were seen; the best are refined by iteratively
reweighted least squares (Cauchy) on the reprojection, with the place held to what is told of it:
exactly, where it is given, else loosely to where the box puts the object.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from nemo_model.boxfit import translation_from_box
from nemo_model.raster import NEAR
from nemo_model.rivals.types import Found
from nemo_model.search import rotation_grid

Array = npt.NDArray[np.float64]
Sides = tuple[bool, bool, bool, bool]

GRID = (24, (-10.0, 10.0, 30.0, 50.0), (-15.0, 0.0, 15.0))
"""NeMo's: azimuths, elevations and in-plane angles."""
SIGMA_PX = 6.0
"""Width of the robust loss, and how far off a keypoint still counts as explained."""
BOX_SIGMA = 0.08
"""How far, as a share of the distance, the object may stand from where the box puts it."""
STARTS = 6
STEPS = 15
FEWEST = 4
"""Keypoints that PnP needs."""


@dataclass(frozen=True)
class Keypoints:
    """points (N, 3) in object units, uv (N, 2) crop pixels, weight (N,) in [0, 1]."""

    points: Array
    uv: Array
    weight: Array


@cache
def _grid() -> Array:
    return rotation_grid(*GRID)[0]


def fit_pose(
    seen: Keypoints, K: Array, box: Array, reliable: Sides, outline: Array, given_t: Array | None
) -> Found:
    """Return the pose that explains most of the keypoints, and how much it explains.

    With fewer keypoints than three unknowns need the grid and the box decide what they leave open;
    without any, the result is the grid's first rotation with scores of 0.

    Args:
        K: (3, 3) of the crop; box (4,) in its pixels, with `reliable` sides.
        outline: (P, 3) what a box encloses.
        given_t: (3,) where the object stands, if that is told.
    """

    def place(R: Array) -> Array:
        if given_t is not None:
            return given_t
        return translation_from_box(outline, R, K, box, reliable)

    poses = [(R, place(R)) for R in _grid()]
    if not len(seen.points):
        return Found(*poses[0], 0.0, 0.0)
    poses += [(R, place(R) if given_t is not None else t) for R, t in _ransac(seen, K)]
    scores = np.array([explained(seen, K, R, t) for R, t in poses])
    starts = _apart([R for R, _ in poses], scores)
    if len(poses) > len(_grid()):
        starts.append(len(poses) - 1)
    refined = [_refine(seen, K, *poses[k], place, given_t is not None) for k in starts]
    found = [explained(seen, K, R, t) for R, t in refined]
    best = int(np.argmax(found))
    R, t = refined[best]
    total = float(seen.weight.sum())
    sure = 1.0 - math.exp(-found[best] / 2.0)
    right = found[best] / total * sure
    return Found(R, t, right, right * right)


def explained(seen: Keypoints, K: Array, R: Array, t: Array) -> float:
    """Sum over keypoints of weight * exp(-r^2 / 2 sigma^2), r the reprojection's error."""
    turned = seen.points @ R.T + t
    ahead = turned[:, 2] > NEAR
    uvw = turned @ K.T
    off = uvw[:, :2] / np.maximum(uvw[:, 2:], NEAR) - seen.uv
    gain = np.exp(-0.5 * (off**2).sum(axis=1) / SIGMA_PX**2)
    return float((seen.weight * gain * ahead).sum())


def _ransac(seen: Keypoints, K: Array) -> list[tuple[Array, Array]]:
    """OpenCV's RANSAC over minimal sets, refitted by SQPnP; empty where it finds nothing."""
    if len(seen.points) < FEWEST:
        return []
    try:
        good, rotation, t, _ = cv2.solvePnPRansac(
            seen.points, seen.uv, K, None, iterationsCount=200, reprojectionError=2 * SIGMA_PX,
            flags=cv2.SOLVEPNP_SQPNP,
        )  # fmt: skip
    except cv2.error:  # degenerate sets
        return []
    if not good or not np.isfinite(t).all() or t[2, 0] <= NEAR:
        return []
    R = np.asarray(cv2.Rodrigues(rotation)[0], dtype=np.float64)
    return [(R, np.asarray(t[:, 0], dtype=np.float64))]


def _apart(rotations: list[Array], scores: Array) -> list[int]:
    """The best STARTS hypotheses, no two within 20 degrees."""
    chosen: list[int] = []
    for k in np.argsort(-scores, kind="stable"):
        cosines = [(np.trace(rotations[k].T @ rotations[j]) - 1.0) / 2.0 for j in chosen]
        if all(cosine < math.cos(math.radians(20.0)) for cosine in cosines):
            chosen.append(int(k))
        if len(chosen) == STARTS:
            break
    return chosen


def _refine(
    seen: Keypoints, K: Array, R: Array, t: Array, place: Callable[[Array], Array], fixed: bool
) -> tuple[Array, Array]:
    """Gauss-Newton on Cauchy-weighted reprojection by (omega, dt), dt only where not `fixed`."""

    focal = np.array([K[0, 0], K[1, 1]])
    for step in range(STEPS):
        sigma = SIGMA_PX * (1.0 + 2.0 * max(0.0, 1.0 - step / 6.0))
        turned = seen.points @ R.T
        X = turned + t
        if X[:, 2].min() <= NEAR:
            break
        off = X[:, :2] / X[:, 2:] * focal + K[:2, 2] - seen.uv
        weight = seen.weight / (1.0 + (off**2).sum(axis=1) / sigma**2) / sigma**2
        J = np.zeros((len(X), 2, 6))
        for axis in range(2):
            J[:, axis, 3 + axis] = focal[axis] / X[:, 2]
            J[:, axis, 5] = -focal[axis] * X[:, axis] / X[:, 2] ** 2
            J[:, axis, :3] = np.cross(turned, J[:, axis, 3:])
        H = np.einsum("n,nai,naj->ij", weight, J, J)
        g = np.einsum("n,nai,na->i", weight, J, off)
        H[:3, :3] += 1.0 * np.eye(3)  # steadies what too few keypoints leave open
        if fixed:
            H, g = H[:3, :3], g[:3]
        else:
            spread = BOX_SIGMA * t[2]
            H[3:, 3:] += np.eye(3) / spread**2
            g[3:] += (t - place(R)) / spread**2
        move = -np.linalg.solve(H, g)
        angle = float(np.linalg.norm(move[:3]))
        if angle > 0.3:
            move *= 0.3 / angle
        R = Rotation.from_rotvec(move[:3]).as_matrix() @ R
        if not fixed:
            t = t + move[3:]
        if np.abs(move).max() < 1e-5:
            break
    return R, t
