# SPDX-License-Identifier: Apache-2.0
"""Boxes around what is left to see of an object, as most detectors draw them.

Where something hides the object's end, the box stops short of it. Such a side says only that the
object reaches at least so far. Which side it is, nobody tells: a global search is made with every
side trusted and with each one doubted in turn, and the pose for which most speaks besides the
box wins.
A warm start knows it from the prior.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from nemo_model.pose import geodesic
from nemo_model.solver import Solution, solve_cold
from nemo_model.solver_model import SolverModel
from nemo_model.viewpoint import Viewpoint

Array = npt.NDArray[np.float64]
Sides = tuple[bool, bool, bool, bool]

SHORT = 0.12
"""A prior that reaches beyond a side by more than this share of the box's mean side doubts it."""


def doubts(reliable: Sides) -> list[Sides]:
    """Return which sides to trust, per attempt: all the reliable ones, then all but one."""
    return [
        reliable,
        *(
            (reliable[0] and k != 0, reliable[1] and k != 1, reliable[2] and k != 2,
             reliable[3] and k != 3)
            for k in range(4) if reliable[k]
        ),
    ]  # fmt: skip


def solve_cold_visible(
    model: SolverModel,
    features: npt.ArrayLike,
    K_map: npt.ArrayLike,
    box_map: npt.ArrayLike,
    given_t: npt.ArrayLike | None = None,
    reliable: Sides = (True, True, True, True),
    viewpoint: Viewpoint | None = None,
) -> Solution:
    """The global search from a box of the visible part; arguments and errors as in solve_cold.

    The margin is taken to the best other mode of any attempt.
    """
    if given_t is not None:  # nothing is asked of the box
        return solve_cold(model, features, K_map, box_map, given_t, reliable, viewpoint)
    found = [
        solve_cold(model, features, K_map, box_map, None, trusted, viewpoint)
        for trusted in doubts(reliable)
    ]
    used = sum(one.evaluations for one in found)
    best = replace(max(found, key=_explained), evaluations=used)
    apart = np.deg2rad(model.config.second_apart_deg)
    rivals = [one for one in found if geodesic(one.R, best.R) > apart]
    if not rivals:
        return best
    rival = max(rivals, key=_explained)
    margin = _explained(best) - _explained(rival)
    if margin >= best.margin:
        return best
    return replace(
        best,
        margin=margin,
        relative_margin=min(margin / max(best.energy, 1e-9), 1.0),
        second_R=rival.R,
        second_t=rival.t,
        second_energy=rival.energy,
    )


def _explained(solution: Solution) -> float:
    """What speaks for it besides the box, which each attempt trusts in its own way."""
    return solution.energy + solution.leaning


def trusted_sides(
    model: SolverModel,
    R: Array,
    t: Array,
    K_map: Array,
    box_map: Array,
    reliable: Sides,
) -> Sides:
    """Return the sides of a box of the visible part that end where a pose says the object does.

    Args:
        R, t: (3, 3), (3,) the pose, object units.
        K_map, box_map: (3, 3), (4,) in cells.
        reliable: sides that the image's edge does not cut.
    """
    points = model.outline.T @ R.T + t
    uv = (points @ K_map.T)[:, :2] / np.maximum(points[:, 2:], 1e-6)
    lo, hi = uv.min(axis=0), uv.max(axis=0)
    beyond = np.array([*(box_map[:2] - lo), *(hi - box_map[2:])])
    short = beyond > SHORT * 0.5 * (box_map[2] - box_map[0] + box_map[3] - box_map[1])
    left, top, right, bottom = (bool(a and not b) for a, b in zip(reliable, short, strict=True))
    return left, top, right, bottom
