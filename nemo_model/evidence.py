# SPDX-License-Identifier: Apache-2.0
"""What speaks for a pose: numbers of a feature map, a box and a pose, however the pose was found.

None of them depends on the way of the solver, so that a pose found by a global search and the same
pose tracked from the frame before are judged alike. The strongest is the margin over the object
turned about its own vertical axis, moved so that it fills the box as the found pose does: scored as
in the search, by patches, sum over visible patches of area * relu(patch . cell - background).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from nemo_model.boxfit import DOUBTFUL, box_rays, fit
from nemo_model.kernel import kernel
from nemo_model.objective import NEAR
from nemo_model.solver import Solution, SolverModel
from nemo_model.symmetry import NONE, Symmetry
from nemo_model.viewpoint import Viewpoint

Array = npt.NDArray[np.float64]

STATISTICS = (
    "log_energy",
    "similarity",
    "twin_margin",
    "far_margin",
    "visible_fraction",
    "log_rotation_variance",
    "log_cells",
    "sides",
    "box_gap",
    "log_scale",
    "viewpoint",
    "viewpoint_peak",
    "viewpoint_margin",
)
"""Computed from one pose; see docs/confidence.md for what each means."""
VIEW = ("view_front", "view_side")
"""Which side the pose shows: tells of the photographs' habits as well as of the pose."""

TURNS = 24
FAR_DEG = 31.0
"""Turned by less than this, the object is the same answer for the 30 degree limit."""
TWIN_DEG = 16.0
"""Turned by the half turn give or take this, it is the twin: front for rear."""
FEWEST_CELLS = 20
"""Margins are shared among at least so many cells: a sliver decides nothing."""
_HUGE = 1e6
"""Components of unit features beyond this are taken for 0: they are a broken backbone's."""


class View(NamedTuple):
    """Where the pose is judged: features (h, w, C) float32, K in cells, box (4,) in cells or None.

    reliable: whether each side of the box is one; fixed: the translation is given and not sought.
    """

    features: npt.NDArray[np.float32]
    K: Array
    box: Array | None
    reliable: tuple[bool, bool, bool, bool] = (True, True, True, True)
    fixed: bool = False


def evidence(
    model: SolverModel,
    view: View,
    solution: Solution,
    scale: float = 1.0,
    symmetry: Symmetry = NONE,
    viewpoint: Viewpoint | None = None,
) -> dict[str, float]:
    """Return the statistics of a solution, all finite, and its `relative_margin` beside them.

    Args:
        model: the category that was solved for.
        view: what was solved.
        solution: the pose.
        scale: crop pixels per image pixel; above 1 the image is coarser than the crop.
        symmetry: of the category: turns that look alike are no rivals.
        viewpoint: the prior that there was; its statistics are 0 without one.
    """
    features = np.ascontiguousarray(view.features, dtype=np.float32)
    features = np.where(np.abs(features) < _HUGE, features, np.float32(0.0))  # False for NaN
    background = background_scores(model, features)
    state = np.ascontiguousarray(solution.occlusion, dtype=np.int8)
    visible = state == 1
    covered, seen = int((state >= 0).sum()), int(visible.sum())
    angles = np.arange(TURNS) * (2.0 * math.pi / TURNS)
    scores, sides = np.zeros(TURNS), np.zeros(6)
    rays, weights = np.zeros(4), np.ones(4)
    fixed = view.fixed or view.box is None
    if view.box is not None:
        rays = box_rays(view.box, view.K)
        weights = np.where(np.asarray(view.reliable, dtype=bool), 1.0, DOUBTFUL)
    _ring(
        model.patches.centre, model.patches.normal, model.patches.features, model.outline,
        solution.R, solution.t, angles, rays, weights, fixed, features, background, state,
        view.K[0, 0], view.K[1, 1], view.K[0, 2], view.K[1, 2], scores, sides,
    )  # fmt: skip
    far, twin = _rivals(symmetry)
    own = float(scores[0])
    cells = max(covered, FEWEST_CELLS)
    mean_background = float(background[visible].mean()) if seen else 0.0
    eye = -solution.R.T @ solution.t
    across = max(float(eye[0] ** 2 + eye[1] ** 2), 1e-12)
    prior = _of_prior(viewpoint, solution.R, angles, far)
    curvature = 0.5 * (solution.hessian[:3, :3] + solution.hessian[:3, :3].T)
    return {
        "log_energy": math.log1p(max(solution.energy, 0.0)),
        "similarity": solution.energy / seen + mean_background if seen else 0.0,
        "twin_margin": (own - (float(scores[twin].max()) if twin.any() else 0.0)) / cells,
        "far_margin": (own - (float(scores[far].max()) if far.any() else 0.0)) / cells,
        "visible_fraction": solution.visible_fraction,
        "log_rotation_variance": _log_variance(curvature),
        "log_cells": math.log(cells),
        "sides": _effective(sides),
        "box_gap": 0.0 if view.box is None else _box_gap(model, view, solution),
        "log_scale": math.log(max(scale, 1.0)),
        **prior,
        "view_front": -float(eye[1]) / math.sqrt(across),
        "view_side": float(eye[0]) ** 2 / across,
        "relative_margin": solution.relative_margin,
    }


def _of_prior(
    viewpoint: Viewpoint | None,
    R: Array,
    angles: npt.NDArray[np.floating],
    far: npt.NDArray[np.bool_],
) -> dict[str, float]:
    """What the viewpoint prior says of a rotation, and of those turned from it by `far` angles."""
    if viewpoint is None:
        return {"viewpoint": 0.0, "viewpoint_peak": 0.0, "viewpoint_margin": 0.0}
    turns = Rotation.from_euler("z", angles[:, None]).as_matrix()
    values = viewpoint(R @ turns)
    own = float(values[0])
    margin = own - float(values[far].max()) if far.any() else 0.0
    return {"viewpoint": own, "viewpoint_peak": viewpoint.peak, "viewpoint_margin": margin}


def background_scores(
    model: SolverModel, features: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Score (h, w) of the background per cell, as the solver's: 0 without prototypes."""
    if not len(model.clutter):
        return np.zeros(features.shape[:2], dtype=np.float32)
    scores = features @ model.clutter.T
    mean = model.config.background == "mean"
    return np.asarray(scores.mean(axis=2) if mean else scores.max(axis=2), dtype=np.float32)


def _rivals(symmetry: Symmetry) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which turns (TURNS,) are another answer, and which the opposite one."""
    nothing = np.zeros(TURNS, dtype=bool)
    if symmetry.order == 0:
        return nothing, nothing
    period = 360.0 / symmetry.order
    angle = np.arange(TURNS) * (360.0 / TURNS) % period
    apart = np.minimum(angle, period - angle)
    far = apart > min(FAR_DEG, 0.4 * period)
    return far, far & (apart >= 0.5 * period - min(TWIN_DEG, 0.1 * period))


def _effective(shares: Array) -> float:
    """How many of the six directions the visible surface faces: exp of the shares' entropy."""
    total = float(shares.sum())
    if not total > 0.0:
        return 0.0
    p = shares[shares > 0.0] / total
    return math.exp(-float((p * np.log(p)).sum()))


def _log_variance(curvature: Array) -> float:
    """log of the trace of the inverse of the rotation's curvature (3, 3), steadied where flat."""
    steady = max(1e-3 * float(np.trace(curvature)), 1e-6)
    values = np.maximum(np.linalg.eigvalsh(curvature), 0.0) + steady
    return math.log(float((1.0 / values).sum()))


def _box_gap(model: SolverModel, view: View, solution: Solution) -> float:
    """Root mean square gap of the reliable sides between projected outline and box, in box sizes.

    At most 1, which also stands for an outline that is not wholly in front of the camera.
    """
    assert view.box is not None
    points = solution.R @ model.outline.astype(np.float64) + solution.t[:, None]
    if points[2].min() < NEAR:
        return 1.0
    focal = np.diag(view.K)[:2, None]
    pixels = focal * points[:2] / points[2] + view.K[:2, 2, None]
    gaps = np.concatenate([pixels.min(axis=1), pixels.max(axis=1)]) - view.box
    size = 0.5 * float(view.box[2] - view.box[0] + view.box[3] - view.box[1])
    use = np.asarray(view.reliable, dtype=bool)
    if not use.any():
        return 0.0
    return min(math.sqrt(float(np.mean(gaps[use] ** 2))) / max(size, 1e-6), 1.0)


@kernel
def _ring(  # type: ignore[no-untyped-def]
    centre, normal, patch_features, outline, R0, t0, angles, rays, weights, fixed, features,
    background, state, fx, fy, cx, cy, scores, sides,
):  # fmt: skip
    """Score the pose turned about the object's z axis by each of `angles` (n,), the first being 0.

    centre, normal (3, Q): of the patches, the normal times the area; a patch that faces the camera
    counts as visible (exact for convex meshes). A turned object is placed by the box, with the
    distance and offset from the box's place that the pose itself has; when `fixed`, at t0.
    Fills scores (n,) in cells times cosine, and sides (6,): the cells of patches by the object
    axis -x, x, -y, y, -z, z that they face most, where the pose's own `state` (h, w) is visible.
    """
    height, width = background.shape
    R, t, start = np.empty((3, 3)), np.empty(3), np.empty(3)
    ratio, right, down = 1.0, 0.0, 0.0
    if not fixed:
        fit(outline, R0, rays, weights, start)
        ratio = t0[2] / start[2]
        right, down = t0[0] / t0[2] - start[0] / start[2], t0[1] / t0[2] - start[1] / start[2]
    for k in range(len(angles)):
        c, s = math.cos(angles[k]), math.sin(angles[k])
        for i in range(3):
            R[i, 0] = R0[i, 0] * c + R0[i, 1] * s
            R[i, 1] = R0[i, 1] * c - R0[i, 0] * s
            R[i, 2] = R0[i, 2]
        t[:] = t0
        if k > 0 and not fixed:
            fit(outline, R, rays, weights, start)
            t[2] = start[2] * ratio
            t[0] = (start[0] / start[2] + right) * t[2]
            t[1] = (start[1] / start[2] + down) * t[2]
        ex = -(R[0, 0] * t[0] + R[1, 0] * t[1] + R[2, 0] * t[2])
        ey = -(R[0, 1] * t[0] + R[1, 1] * t[1] + R[2, 1] * t[2])
        ez = -(R[0, 2] * t[0] + R[1, 2] * t[1] + R[2, 2] * t[2])
        total = 0.0
        for q in range(centre.shape[1]):
            x, y, z = centre[0, q], centre[1, q], centre[2, q]
            facing = normal[0, q] * (ex - x) + normal[1, q] * (ey - y) + normal[2, q] * (ez - z)
            depth = R[2, 0] * x + R[2, 1] * y + R[2, 2] * z + t[2]
            if facing <= 0.0 or depth <= NEAR:
                continue
            u = fx * (R[0, 0] * x + R[0, 1] * y + R[0, 2] * z + t[0]) / depth + cx
            v = fy * (R[1, 0] * x + R[1, 1] * y + R[1, 2] * z + t[1]) / depth + cy
            if not (u > -0.5 and v > -0.5 and u < width - 0.5 and v < height - 0.5):
                continue
            j, i = int(u + 0.5), int(v + 0.5)
            area = fx * fy * facing / (depth * depth * depth)
            gain = -background[i, j]
            for m in range(features.shape[2]):
                gain += features[i, j, m] * patch_features[q, m]
            if gain > 0.0:
                total += area * gain
            if k == 0 and state[i, j] == 1:
                axis = 0
                for a in range(1, 3):
                    if abs(normal[a, q]) > abs(normal[axis, q]):
                        axis = a
                sides[2 * axis + (normal[axis, q] > 0.0)] += area
        scores[k] = total
