# SPDX-License-Identifier: Apache-2.0
"""One object in one image: refine, doubt, search on a local grid or everywhere, and choose.

The image is run through the network once; everything here works on that observation. A pose of
another orientation is not believed for one frame's better energy: it is followed beside the
object's own (a rival), and takes its place when it leads in the mean of several frames.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.transform import Rotation

from nemo_model.boxes import Floats
from nemo_model.estimate import Observation
from nemo_model.symmetry import Symmetry
from nemo_model.tracking.budget import Purse
from nemo_model.tracking.config import TrackerConfig
from nemo_model.tracking.effort import fresh
from nemo_model.tracking.memory import Memory, Rival
from nemo_model.tracking.types import PoseEstimator

if TYPE_CHECKING:
    from nemo_model.estimator import Estimate

APART = math.radians(25.0)
"""Poses nearer than this are the same orientation."""
AGREES = 0.02
"""A global search that finds the same orientation is believed unless it lacks more than this share
of the energy: its pose is the mean of several climbs, or of two pictures, and errs less."""
RIVAL_FRAMES = 15
"""A rival that did not win within so many frames is forgotten."""
CHANGES = ("found anew", "found on", "turned round", "another orientation led")
"""How a pose was found that does not go on from the last one."""
_KEEP = 0.8
"""Share of the evidence that is kept from frame to frame."""
_GRID = ((1, 0), (-1, 0), (0, 1), (0, -1))
"""Steps of the local grid: about the object's z axis, and about the camera's x axis."""


def solve(
    estimator: PoseEstimator, seen: Any, prior: Floats | None, symmetry: Symmetry,
    reference: Floats | None = None, boxed: bool = True,
) -> Estimate:  # fmt: skip
    """A checked solve; of the orientations that look alike the one nearest to `reference`.

    boxed: the observation is of a box of the detector, not of a predicted one.

    Raises:
        ValueError: when the result cannot be a pose.
    """
    estimate = checked(estimator.solve(seen, prior=prior, trust_box=boxed))
    near = prior if reference is None else reference
    if symmetry.order == 1 or near is None:
        return estimate
    T = estimate.T_cam_obj.copy()
    T[:3, :3] = symmetry.nearest(T[:3, :3], near[:3, :3])
    return replace(estimate, T_cam_obj=T)


def checked(estimate: Estimate) -> Estimate:
    """The estimate. Raises ValueError when it cannot be a pose."""
    if not (np.isfinite(estimate.T_cam_obj).all() and math.isfinite(estimate.energy)):
        raise ValueError("the solver's result is not finite")
    if estimate.T_cam_obj[2, 3] <= 0.0:
        raise ValueError("the solver put the object behind the camera")
    return estimate


def refine(
    estimator: PoseEstimator, memory: Memory, seen: Any, prior: Floats, config: TrackerConfig,
    purse: Purse, boxed: bool,
) -> tuple[Estimate, str]:  # fmt: skip
    """The warm estimate, in competition with the rival and the pose turned round; paid before."""
    estimate = solve(estimator, seen, prior, memory.symmetry, boxed=boxed)
    how = "refined from the last frame"
    rival = memory.rival
    if rival is not None and purse.pay(config.cost_warm_ms):
        before = np.eye(4) if memory.estimate is None else memory.estimate.T_cam_obj
        start = rival.T.copy()  # it moves as the object does
        start[:3, :3] = prior[:3, :3] @ before[:3, :3].T @ rival.T[:3, :3]
        start[:3, 3] = prior[:3, 3]
        other = solve(estimator, seen, start, memory.symmetry, boxed=boxed)
        lead = _lead(other, estimate)
        memory.rival = Rival(other.T_cam_obj, _KEEP * rival.evidence + lead, rival.frames + 1)
        limit = 3.0 * config.switch_gain
        beaten = memory.rival.evidence < -limit or memory.rival.frames > RIVAL_FRAMES
        if beaten or not apart(other, estimate, memory.symmetry):
            memory.rival = None
        elif memory.rival.evidence > limit:
            memory.rival, memory.turned = None, 1.0
            return other, "another orientation led over several frames and was taken"
    if memory.symmetry.order % 2 == 0:  # turned round it looks the same
        return estimate, how
    memory.turned += 0.35 * (_share(estimate) - memory.turned)
    if memory.turned < 0.0 and estimate.margin < 0.0 and purse.pay(config.cost_warm_ms):
        turned = estimate.T_cam_obj.copy()
        turned[:3, :2] *= -1.0
        other = solve(estimator, seen, turned, memory.symmetry, boxed=boxed)
        if _lead(other, estimate) > 0.0:
            memory.turned, memory.rival = _share(other), None
            return other, "turned round: the other way led over several frames"
    return estimate, how


def search(
    estimator: PoseEstimator, memory: Memory, seen: Any, estimate: Estimate, how: str,
    config: TrackerConfig, purse: Purse, boxed: bool, turn: bool = False,
) -> tuple[Estimate, str]:  # fmt: skip
    """Look further where the estimate is weak, or it is time to; updates weak_run and owed.

    turn: it has the search that is due anyway, see effort.py.
    """
    weakness = weak(estimate, memory, config)
    memory.weak_run = memory.weak_run + 1 if weakness else 0
    if weakness and config.grid_deg > 0.0 and memory.weak_run == 1:
        better = _local(estimator, memory, seen, estimate, config, purse, boxed)
        if better is not None:
            estimate, how = better, f"found on the local grid ({weakness})"
            weakness = weak(estimate, memory, config)
    new = fresh(memory)
    due = boxed and bool(config.cold_every) and (new or turn)
    weak_due = bool(weakness) and bool(config.weak_every)
    weak_due = weak_due and ((memory.weak_run - 1) % config.weak_every == 0 or memory.owed)
    if not (due or weak_due or memory.owed):
        return estimate, f"{how}, weak ({weakness})" if weakness else how
    why = weakness or ("not yet sure" if new else "periodic check")
    memory.owed = not purse.pay(config.cost_cold_ms)
    if memory.owed:
        return estimate, f"{how}; the global search has to wait ({why})"
    memory.passed_over = 0
    cold = _everywhere(estimator, memory, seen, estimate, new or weak_due)
    lead = _lead(cold, estimate)
    if memory.lost:  # its old pose counts no more
        memory.rival, memory.turned = None, 1.0
        return cold, "found anew by the global search (it was lost)"
    if not apart(cold, estimate, memory.symmetry):
        if lead > -AGREES:
            return cold, f"{how}, and improved by the global search ({why})"
        return estimate, f"{how}, and the global search agrees ({why})"
    if lead > config.switch_gain and (weakness or new):
        memory.weak_run, memory.rival, memory.turned = 0, None, 1.0
        return cold, f"found anew by the global search ({why})"
    if lead > -config.switch_gain and memory.rival is None:
        memory.rival = Rival(cold.T_cam_obj, lead)
        return estimate, f"{how}; another orientation does as well and is watched ({why})"
    return estimate, f"{how}, and the global search found nothing better ({why})"


def _everywhere(
    estimator: PoseEstimator, memory: Memory, seen: Any, estimate: Estimate, doubted: bool
) -> Estimate:
    """The global search; a check that agrees with the estimate needs no second look."""
    if not doubted and isinstance(seen, Observation):
        once = replace(seen, pixels=None)
        cold = solve(estimator, once, None, memory.symmetry, estimate.T_cam_obj)
        if not apart(cold, estimate, memory.symmetry):
            return cold
    return solve(estimator, seen, None, memory.symmetry, estimate.T_cam_obj)


def weak(estimate: Estimate, memory: Memory, config: TrackerConfig) -> str:
    """In words, or "" when the estimate is as good as this object's usually are."""
    if memory.reference > 0.0 and estimate.energy < config.weak_energy * memory.reference:
        share = 100.0 * estimate.energy / memory.reference
        return f"energy at {share:.0f} % of this object's usual"
    if estimate.score < config.upper_score:
        return f"score {estimate.score:.2f}"
    return ""


def doubted(estimate: Estimate, memory: Memory, unboxed_s: float) -> Estimate:
    """The estimate with a score that takes the rival and the missing box into account.

    A pose that is followed without a box confirms its own mistakes: its score halves in a second
    (a rule of thumb). unboxed_s: time since the last box.

    A rival with as much evidence leaves a probability of one half; 20 makes a lead of 10 % in
    energy worth a probability of 0.88.
    """
    score = estimate.score * 0.5**unboxed_s
    if memory.rival is None:
        return replace(estimate, score=score) if unboxed_s > 0.0 else estimate
    main = 1.0 / (1.0 + math.exp(float(np.clip(20.0 * memory.rival.evidence, -30.0, 30.0))))
    return replace(estimate, score=min(score, main))


def apart(a: Estimate, b: Estimate, symmetry: Symmetry) -> bool:
    """Whether two estimates are of different orientations."""
    return symmetry.angle(a.T_cam_obj[:3, :3], b.T_cam_obj[:3, :3]) > APART


def _local(
    estimator: PoseEstimator, memory: Memory, seen: Any, estimate: Estimate,
    config: TrackerConfig, purse: Purse, boxed: bool,
) -> Estimate | None:  # fmt: skip
    """The best of the grid around an estimate, when it is clearly better."""
    best: Estimate | None = None
    step = math.radians(config.grid_deg)
    for yaw, pitch in _GRID:
        if not purse.pay(config.cost_warm_ms):
            break
        T = estimate.T_cam_obj.copy()
        tilt = Rotation.from_rotvec([pitch * step, 0.0, 0.0]).as_matrix()
        T[:3, :3] = tilt @ T[:3, :3] @ Rotation.from_rotvec([0.0, 0.0, yaw * step]).as_matrix()
        tried = solve(estimator, seen, T, memory.symmetry, boxed=boxed)
        if _lead(tried, estimate if best is None else best) > config.switch_gain:
            best = tried
    return best


def _lead(a: Estimate, b: Estimate) -> float:
    """By how much more speaks for the first, as a share of the larger energy."""
    lead = a.energy + a.leaning - b.energy - b.leaning
    return float(lead / max(a.energy, b.energy, 1e-9))


def _share(estimate: Estimate) -> float:
    return float(np.clip(estimate.margin / max(estimate.energy, 1e-9), -1.0, 1.0))
