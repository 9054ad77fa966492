# SPDX-License-Identifier: Apache-2.0
"""The pose solver: from a feature map to the pose that explains it best.

Cold: fit every rotation of a grid to the detector's box, score all by lookups, climb from the best
few that lie far apart, longer from the best of these. Warm: climb from the last pose. Both also
report the best second mode, whose distance in energy is the best single measure of confidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from nemo_model.objective import Scene, background, evaluate
from nemo_model.refine import (
    ENERGY,
    EVALUATIONS,
    RESULT,
    TOTAL,
    TRANSLATION,
    blend,
    climb_from,
    climb_twice,
    refine,
)
from nemo_model.search import lookup_table, peaks, scan
from nemo_model.solver_input import (
    checked_rotation,
    checked_translation,
    hints_of,
    leaning,
    scene_of,
    schedule_of,
)
from nemo_model.solver_model import Buffers, SolverConfig, SolverModel
from nemo_model.viewpoint import Viewpoint

__all__ = [
    "Solution",
    "SolverConfig",
    "SolverModel",
    "describe",
    "prepare",
    "solve_cold",
    "solve_warm",
]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Solution:
    """What the solver found, in the camera of the feature map, lengths in object units.

    Attributes:
        R: (3, 3) R_cam_obj.
        t: (3,) of the object's origin in the camera frame.
        energy: E at the pose, in cells times cosine.
        margin: what was maximised (energy, box term, viewpoint prior) at the pose minus the same
            at the second mode; 0 when there is no second mode. A warm start's can be negative: the
            object is better explained turned round.
        relative_margin: margin / the larger of the two energies, cut to [-1, 1].
        second_R, second_t, second_energy: the best mode further than `second_apart_deg` away; None,
            None, 0 when there is none.
        visible_fraction: cells that the object explains better than the background, of those that
            it covers; 0 when it covers none.
        occlusion: (h, w) int8: -1 not covered, 0 hidden, 1 visible.
        hessian: (6, 6) Gauss-Newton Hessian of -E by (omega, dt): camera axes, about the object's
            origin; of E alone.
        evaluations: of the objective that were used.
        total: what was maximised: energy, box term and viewpoint prior; None where it is energy.
        leaning: the viewpoint prior's part of it.
    """

    R: Array
    t: Array
    energy: float
    margin: float
    relative_margin: float
    second_R: Array | None
    second_t: Array | None
    second_energy: float
    visible_fraction: float
    occlusion: npt.NDArray[np.int8]
    hessian: Array
    evaluations: int
    total: float | None = None
    leaning: float = 0.0


def solve_cold(
    model: SolverModel,
    features: npt.ArrayLike,
    K_map: npt.ArrayLike,
    box_map: npt.ArrayLike,
    given_t: npt.ArrayLike | None = None,
    reliable: tuple[bool, bool, bool, bool] = (True, True, True, True),
    viewpoint: Viewpoint | None = None,
) -> Solution:
    """Find the pose from nothing but a feature map and a box.

    Args:
        model: the category.
        features: (h, w, C) float32 map, unit norm per cell.
        K_map: (3, 3) in cells, cell centres at integers; no skew.
        box_map: (x1, y1, x2, y2) of the detector's box in cells.
        given_t: (3,) the true translation, when it is known: only the rotation is sought.
        reliable: whether each side of the box is one (False where the image's edge cuts it).
        viewpoint: what the picture as a whole says of the rotation: a term of what is maximised.

    Raises:
        NemoError: for wrong shapes, an uncalibrated camera, an empty box, or values that are not
            finite.
    """
    config = model.config
    scene, buffers = scene_of(model, features, K_map)
    K = np.asarray(K_map, dtype=np.float64)
    fixed = given_t is not None
    start_t = checked_translation(given_t) if fixed else np.zeros(3)
    hints = hints_of(model, box_map, K, reliable, fixed, viewpoint)
    background(scene.features, model.clutter, config.background == "mean", scene.background)
    lookup_table(
        scene.features, model.patches.features, scene.background, scene.height, scene.width,
        buffers.pad, buffers.transposed, buffers.rows, buffers.lookup,
    )  # fmt: skip
    one = np.ones(1)
    scan(
        model.rotations, model.views, model.patches, model.outline, hints.rays, hints.weights,
        start_t, fixed, one if fixed else np.asarray(config.distance_factors),
        np.zeros((1, 2), dtype=np.int32) if fixed else buffers.shifts, buffers.lookup, buffers.pad,
        scene.fx, scene.fy, scene.cx, scene.cy, scene.height, scene.width,
        buffers.scores, buffers.translations,
    )  # fmt: skip
    if viewpoint is not None:
        buffers.scores[:] += hints.viewpoint_scale * viewpoint(model.rotations)
    chosen = np.zeros(config.starts, dtype=np.int64)
    found = peaks(model.rotations, buffers.scores, math.cos(math.radians(config.apart_deg)), chosen)
    freedom = 3 if fixed else 6
    start_steps = config.given_start_adam_steps if fixed else config.start_adam_steps
    final_steps = config.given_final_adam_steps if fixed else config.final_adam_steps
    first = schedule_of(model, start_steps, config.start_newton_steps)
    last = schedule_of(model, final_steps, config.final_newton_steps)
    chosen = chosen[:found]
    results = np.zeros((found, RESULT))
    used = climb_twice(
        model.table, scene, hints, model.rotations, buffers.translations, chosen, freedom, first,
        last, config.finalists, buffers.work, results,
    )  # fmt: skip
    best = results[int(np.argmax(results[:, TOTAL]))]
    R, t = _pose(best)
    if config.blend > 0.0:
        near = math.cos(math.radians(config.blend_deg))
        blend(results, best, config.blend, near, R, np.empty(3) if fixed else t)
    if config.starts > 1 and not _apart(model, results, R).any():
        # all starts led to one mode: the margin needs another, be it a weak one
        away = np.flatnonzero(_apart(model, model.rotations.reshape(-1, 9), R))
        if len(away):
            rival = away[int(np.argmax(buffers.scores[away]))]
            both = np.zeros((2, RESULT))
            for row, schedule in zip(both, (schedule_of(model, 0, 0), first), strict=True):
                climb_from(
                    model.table, scene, hints, model.rotations[[rival]],
                    buffers.translations[[rival]], freedom, schedule, buffers.work, row[None],
                )  # fmt: skip
            used += int(both[:, EVALUATIONS].sum())
            results = np.concatenate([best[None], both])
            best = results[0]
    evaluate(model.table, scene, R, t, buffers.work, 2)
    found_pose = _solution(model, scene, buffers, results, best, (R, t), used)
    return replace(found_pose, leaning=leaning(hints, R))


def solve_warm(
    model: SolverModel,
    features: npt.ArrayLike,
    K_map: npt.ArrayLike,
    R0: npt.ArrayLike,
    t0: npt.ArrayLike,
    box_map: npt.ArrayLike | None = None,
    given_t: npt.ArrayLike | None = None,
    reliable: tuple[bool, bool, bool, bool] = (True, True, True, True),
    viewpoint: Viewpoint | None = None,
) -> Solution:
    """Refine a pose (R0, t0), for instance of the frame before. Arguments as in solve_cold.

    The second mode is where the pose turned round by 180 degrees leads (config.warm_twin).
    """
    config = model.config
    scene, buffers = scene_of(model, features, K_map)
    K = np.asarray(K_map, dtype=np.float64)
    fixed = given_t is not None
    t_start = checked_translation(given_t if fixed else t0)
    R_start = checked_rotation(R0)
    hints = hints_of(model, box_map, K, reliable, fixed, viewpoint)
    short = schedule_of(model, config.twin_adam_steps, config.twin_newton_steps)
    short = short._replace(damping=config.warm_damping)
    long = short._replace(
        adam_steps=config.warm_adam_steps,
        newton_steps=config.warm_newton_steps,
        rate_start=config.warm_rate_start,
    )
    results = np.zeros((2 if config.warm_twin else 1, RESULT))
    refine(
        model.table, scene, hints, model.clutter, config.background == "mean", R_start, t_start,
        3 if fixed else 6, long, short, buffers.work, results,
    )  # fmt: skip
    used = int(results[:, EVALUATIONS].sum())
    pose = _pose(results[0])
    found = _solution(model, scene, buffers, results, results[0], pose, used)
    return replace(found, leaning=leaning(hints, pose[0]))


def describe(
    model: SolverModel,
    features: npt.ArrayLike,
    K_map: npt.ArrayLike,
    R: npt.ArrayLike,
    t: npt.ArrayLike,
    total: float,
    rival: tuple[Array, Array, float] | None = None,
    evaluations: int = 0,
) -> Solution:
    """A pose (R, t) as it stands as a Solution, without climbing. Other arguments as in solve_cold.

    Args:
        total: what was maximised to find it.
        rival: (R, t, total) of the second mode.
        evaluations: that were used so far.
    """
    scene, buffers = scene_of(model, features, K_map)
    background(scene.features, model.clutter, model.config.background == "mean", scene.background)
    modes = [(R, t, total)] if rival is None else [(R, t, total), rival]
    rows = np.zeros((len(modes), RESULT))
    for row, (Rk, tk, value) in zip(rows, modes, strict=True):
        rotation, place = checked_rotation(Rk), checked_translation(tk)
        row[:TRANSLATION], row[TRANSLATION : TRANSLATION + 3] = rotation.ravel(), place
        evaluate(model.table, scene, rotation, place, buffers.work, 0)
        row[ENERGY], row[TOTAL] = float(buffers.work.sums[0]), value
    pose = _pose(rows[0])
    evaluate(model.table, scene, *pose, buffers.work, 2)
    used = evaluations + len(rows) + 1
    return _solution(model, scene, buffers, rows, rows[0], pose, used)


def prepare(model: SolverModel, height: int, width: int) -> None:
    """Compile what only some searches need, so that none of them has to wait for it."""
    K = np.array([[float(width), 0.0, 0.5 * width], [0.0, float(width), 0.5 * height], [0, 0, 1.0]])
    empty = np.zeros((height, width, model.table.features.shape[1]), dtype=np.float32)
    scene, buffers = scene_of(model, empty, K)
    hints = hints_of(
        model, (0.2 * width, 0.2 * height, 0.8 * width, 0.8 * height), K, (True,) * 4, False
    )
    climb_from(
        model.table, scene, hints, model.rotations[[0]], np.array([[0.0, 0.0, 3.0]]), 6,
        schedule_of(model, 0, 0), buffers.work, np.zeros((1, RESULT)),
    )  # fmt: skip


def _apart(model: SolverModel, rows: Array, R: Array) -> npt.NDArray[np.bool_]:
    """Return (n,): which rotations of rows (n, >= 9) are another mode than R (3, 3)."""
    cosine = 0.5 * (rows[:, :TRANSLATION] @ R.ravel() - 1.0)
    return np.asarray(cosine < math.cos(math.radians(model.config.second_apart_deg)))


def _pose(row: Array) -> tuple[Array, Array]:
    return row[:TRANSLATION].reshape(3, 3).copy(), row[TRANSLATION : TRANSLATION + 3].copy()


def _solution(
    model: SolverModel,
    scene: Scene,
    buffers: Buffers,
    results: Array,
    best: Array,
    pose: tuple[Array, Array],
    used: int,
) -> Solution:
    """Report the pose, at which `buffers` were filled last, and the second mode among results.

    The pose is that of the row `best` or near it.
    """
    R, t = pose
    others = results[_apart(model, results, R)]
    second = others[int(np.argmax(others[:, TOTAL]))] if len(others) else None
    work = buffers.work
    energy, covered, explained = (float(value) for value in work.sums)
    second_energy = 0.0 if second is None else float(second[ENERGY])
    margin = 0.0 if second is None else float(best[TOTAL] - second[TOTAL])
    second_pose = (None, None) if second is None else _pose(second)
    return Solution(
        R=R,
        t=t,
        energy=energy,
        margin=margin,
        relative_margin=min(max(margin / max(energy, second_energy, 1e-9), -1.0), 1.0),
        second_R=second_pose[0],
        second_t=second_pose[1],
        second_energy=second_energy,
        visible_fraction=explained / covered if covered else 0.0,
        occlusion=work.state.reshape(scene.height, scene.width).copy(),
        hessian=work.hessian.copy(),
        evaluations=used,
        total=float(best[TOTAL]),
    )
