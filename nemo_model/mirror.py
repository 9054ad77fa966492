# SPDX-License-Identifier: Apache-2.0
"""A second opinion for the global search: the mirror image, where left and right look alike.

A network sees a mirrored crop as another picture, with other mistakes. Where the global search in
the picture itself leaves doubt it is made in both; every orientation that either finds is climbed
to in the other one, and that which explains both best is taken: where an occluder makes front and
rear all but equal, two votes are better than one. The answer is the mean of its two poses.

Mirroring about the crop's vertical centre line and the object's x = 0 plane, M = diag(-1, 1, 1): a
camera that sees X = R x + t sees the mirrored object in the mirrored picture at M X = (M R M) M x +
M t. It needs vertices whose features are right for both sides, which mirrored training photos give,
and a principal point on the centre line, which crop cameras have.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from nemo_model.pose import geodesic
from nemo_model.solver import Solution, SolverModel, describe, solve_warm
from nemo_model.solver_input import hints_of, leaning
from nemo_model.viewpoint import Viewpoint

Array = npt.NDArray[np.float64]
Sides = tuple[bool, bool, bool, bool]

MIRROR = np.diag([-1.0, 1.0, 1.0])
DOUBT = 0.5
"""A search whose relative margin is below this leaves doubt. Chosen on photos of train-tune, L0 to
L3: few searches are, with most of the gross errors that looking always would avoid among them."""


class Look(NamedTuple):
    """What a search gets of one picture: arguments of solve_cold."""

    features: npt.NDArray[np.float32]
    K: Array
    box: Array
    given_t: Array | None
    reliable: Sides
    viewpoint: Viewpoint | None = None


@dataclass
class _Mode:
    """One orientation (R, t, what was maximised) in both pictures, in the first one's camera."""

    found: list[tuple[Array, Array, float] | None] = field(default_factory=lambda: [None, None])

    @property
    def rotation(self) -> Array:
        first = self.found[0] or self.found[1]
        assert first is not None
        return first[0]

    @property
    def total(self) -> float:
        """Mean over the two pictures; minus infinity where one does not bear it out."""
        values = [-math.inf if one is None else one[2] for one in self.found]
        return 0.5 * sum(values)


def mirrored(R: Array, t: Array) -> tuple[Array, Array]:
    """The pose (3, 3), (3,) of the mirrored object in the mirrored picture, and back."""
    return MIRROR @ R @ MIRROR, MIRROR @ t


def mirrored_look(
    look: Look, features: npt.NDArray[np.float32], viewpoint: Viewpoint | None = None
) -> Look:
    """The mirrored picture's look, with its features (h, w, C) and viewpoint prior.

    K, whose principal point lies on the crop's centre line, stays as it is.
    """
    x1, y1, x2, y2 = look.box
    across = 2.0 * look.K[0, 2]  # columns u and across - u, in cells, mirror each other
    left, top, right, bottom = look.reliable
    return Look(
        features,
        look.K,
        np.array([across - x2, y1, across - x1, y2]),
        None if look.given_t is None else MIRROR @ look.given_t,
        (right, top, left, bottom),
        viewpoint,
    )


def mirrored_cells(cells: npt.NDArray[np.bool_], centre: float) -> npt.NDArray[np.bool_]:
    """A mask (h, w) of cells as it lies in the mirrored picture; centre: principal column, cells.

    To the nearest cell: the mirrored picture's cells need not lie on the picture's.
    """
    columns = np.round(2.0 * centre - np.arange(cells.shape[1])).astype(int)
    return cells[:, np.clip(columns, 0, cells.shape[1] - 1)]


def search_both(
    model: SolverModel,
    cold: Callable[..., Solution],
    first: Solution,
    look: Look,
    features: npt.NDArray[np.float32],
    viewpoint: Viewpoint | None = None,
) -> Solution:
    """The global search in a picture and its mirror image.

    Args:
        model: the category.
        cold: the search of one picture, arguments as of solve_cold.
        first: what it found in the picture.
        look: the picture.
        features: (h, w, C) of the mirror image.
        viewpoint: prior of the mirror image.

    Returns: the solution, described in the picture; `margin` and the second mode are of both
    pictures' mean. Raises NemoError as the search does.
    """
    looks = (look, mirrored_look(look, features, viewpoint))
    found = (first, cold(model, *looks[1]))
    apart = math.radians(model.config.second_apart_deg)
    modes: list[_Mode] = []
    for picture, solution in enumerate(found):
        for R, t, total in _answers(solution):
            pose = (R, t) if picture == 0 else mirrored(R, t)
            _sort_in(modes, picture, (*pose, total), apart)
    used = sum(solution.evaluations for solution in found)
    plain = replace(model, config=replace(model.config, warm_twin=False))
    for mode in modes:
        used += _complete(plain, mode, looks, apart)
    modes.sort(key=lambda mode: -mode.total)  # stable: of equals the picture's own answer leads
    best = modes[0]
    if not math.isfinite(best.total):  # neither bears out what the other sees
        return replace(first, evaluations=used)
    R, t = _mean(best, look.given_t)
    second = modes[1] if len(modes) > 1 and math.isfinite(modes[1].total) else None
    rival = None if second is None else (*_mean(second, look.given_t), second.total)
    found_pose = describe(model, look.features, look.K, R, t, best.total, rival, used)
    fixed = look.given_t is not None
    hints = hints_of(model, look.box, look.K, look.reliable, fixed, look.viewpoint)
    return replace(found_pose, leaning=leaning(hints, R))


def _answers(solution: Solution) -> list[tuple[Array, Array, float]]:
    """The best mode and the second one, with what was maximised at each."""
    total = solution.energy if solution.total is None else solution.total
    answers = [(solution.R, solution.t, total)]
    if solution.second_R is not None and solution.second_t is not None:
        answers.append((solution.second_R, solution.second_t, total - solution.margin))
    return answers


def _sort_in(
    modes: list[_Mode], picture: int, answer: tuple[Array, Array, float], apart: float
) -> None:
    """Add an answer of a picture to the mode whose orientation it shares, or as a new one."""
    for mode in modes:
        if geodesic(mode.rotation, answer[0]) <= apart:
            if mode.found[picture] is None:
                mode.found[picture] = answer
            return
    modes.append(_Mode())
    modes[-1].found[picture] = answer


def _complete(model: SolverModel, mode: _Mode, looks: tuple[Look, Look], apart: float) -> int:
    """Climb to a mode in the picture whose search did not give it; returns the evaluations."""
    missing = next((k for k, one in enumerate(mode.found) if one is None), None)
    if missing is None:
        return 0
    known = mode.found[1 - missing]
    assert known is not None
    look = looks[missing]
    start = known[:2] if missing == 0 else mirrored(*known[:2])
    solution = solve_warm(
        model, look.features, look.K, *start, look.box, look.given_t, look.reliable, look.viewpoint
    )
    pose = (solution.R, solution.t) if missing == 0 else mirrored(solution.R, solution.t)
    if geodesic(pose[0], known[0]) <= apart:
        total = solution.energy if solution.total is None else solution.total
        mode.found[missing] = (*pose, total)
    return solution.evaluations


def _mean(mode: _Mode, given_t: Array | None) -> tuple[Array, Array]:
    """The pose half-way between the two pictures' ones."""
    (Ra, ta, _), (Rb, tb, _) = (one for one in mode.found if one is not None)
    half = Rotation.from_rotvec(0.5 * Rotation.from_matrix(Rb @ Ra.T).as_rotvec()).as_matrix()
    return half @ Ra, 0.5 * (ta + tb) if given_t is None else np.array(given_t, dtype=np.float64)
