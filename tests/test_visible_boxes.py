# SPDX-License-Identifier: Apache-2.0
"""Boxes that end where the object does not, but where something hides the rest of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from nemo_model.mesh import cuboid
from nemo_model.pose import geodesic
from nemo_model.solver import Solution, SolverConfig, SolverModel, solve_cold, solve_warm
from nemo_model.synthetic import Problem, clutter_features, make_problem, smooth_features
from nemo_model.visible_boxes import doubts, solve_cold_visible, trusted_sides

CHANNELS = 24
CLUTTER = clutter_features(6, CHANNELS, 3)
ALL = (True, True, True, True)
SEEDS = range(12)


@pytest.fixture(scope="module")
def model() -> SolverModel:
    mesh = cuboid([-0.18, -0.44, -0.145], [0.18, 0.44, 0.145], 600)
    return SolverModel.build(mesh, smooth_features(mesh, CHANNELS, 1), CLUTTER, config=CONFIG)


CONFIG = SolverConfig()


def behind_a_wall(problem: Problem, side: int, share: float = 0.45) -> Problem:
    """The problem with a share of its box hidden from one side, and the box ending there."""
    features, box = problem.features.copy(), problem.box.copy()
    extent = box[side % 2 + 2] - box[side % 2]
    box[side] += share * extent * (1.0 if side < 2 else -1.0)
    rng = np.random.default_rng(side)
    cells = np.arange(features.shape[1] if side % 2 == 0 else features.shape[0])
    beyond = cells < box[side] if side < 2 else cells > box[side]
    wall = features[:, beyond] if side % 2 == 0 else features[beyond]
    drawn = CLUTTER[rng.integers(len(CLUTTER), size=wall.shape[:2])]
    noisy = drawn + rng.normal(0.0, 0.05, drawn.shape)
    noisy = noisy / np.linalg.norm(noisy, axis=-1, keepdims=True)
    if side % 2 == 0:
        features[:, beyond] = noisy
    else:
        features[beyond] = noisy
    return replace(problem, features=features.astype(np.float32), box=box)


def errors(
    model: SolverModel, search: Callable[..., Solution], problems: list[Problem]
) -> np.ndarray:
    found = [search(model, one.features, one.K_map, one.box) for one in problems]
    return np.degrees([geodesic(s.R, p.R) for s, p in zip(found, problems, strict=True)])


@pytest.mark.parametrize("side", [0, 2, 3])
def test_a_box_of_the_visible_part_no_longer_misleads(model: SolverModel, side: int) -> None:
    problems = [behind_a_wall(make_problem(model.table, CLUTTER, s), side) for s in SEEDS]
    plain = errors(model, solve_cold, problems)
    doubting = errors(model, solve_cold_visible, problems)
    assert np.mean(doubting < 30.0) >= 0.8
    assert np.median(doubting) < np.median(plain)


def test_it_does_as_well_with_boxes_of_the_whole_object(model: SolverModel) -> None:
    problems = [make_problem(model.table, CLUTTER, s) for s in SEEDS]
    assert np.mean(errors(model, solve_cold_visible, problems) < 30.0) >= 0.9


def test_the_best_explanation_wins_and_its_margin_is_to_the_best_other(model: SolverModel) -> None:
    problem = behind_a_wall(make_problem(model.table, CLUTTER, 1), 2)
    words = (model, problem.features, problem.K_map, problem.box)
    attempts = [solve_cold(*words, None, sides) for sides in doubts(ALL)]
    found = solve_cold_visible(*words)
    best = max(attempts, key=lambda one: one.energy)
    assert found.energy == best.energy
    assert found.evaluations == sum(one.evaluations for one in attempts)
    np.testing.assert_array_equal(found.R, best.R)
    apart = [a.energy for a in attempts if np.degrees(geodesic(a.R, best.R)) > 25.0]
    assert found.margin <= best.margin
    assert all(found.margin <= best.energy - energy + 1e-9 for energy in apart)


def test_with_the_place_given_nothing_is_asked_of_the_box(model: SolverModel) -> None:
    problem = make_problem(model.table, CLUTTER, 2)
    words = (model, problem.features, problem.K_map, problem.box, problem.t)
    np.testing.assert_array_equal(solve_cold_visible(*words).R, solve_cold(*words).R)


def test_doubts_leave_alone_what_the_image_cuts() -> None:
    assert doubts(ALL) == [
        ALL,
        (False, True, True, True),
        (True, False, True, True),
        (True, True, False, True),
        (True, True, True, False),
    ]
    assert doubts((False, True, True, True)) == [
        (False, True, True, True),
        (False, False, True, True),
        (False, True, False, True),
        (False, True, True, False),
    ]


@pytest.mark.parametrize("side", range(4))
def test_a_prior_knows_which_side_is_short(model: SolverModel, side: int) -> None:
    problem = make_problem(model.table, CLUTTER, 4)
    pose = (problem.R, problem.t, problem.K_map)
    assert trusted_sides(model, *pose, problem.box, ALL) == ALL
    short = behind_a_wall(problem, side).box
    expected = tuple(k != side for k in range(4))
    assert trusted_sides(model, *pose, short, ALL) == expected
    wide = problem.box.copy()
    wide[side] += -3.0 if side < 2 else 3.0  # the object cannot be shorter than it looks
    assert trusted_sides(model, *pose, wide, ALL) == ALL


def test_a_warm_start_keeps_what_the_short_side_would_pull_away(model: SolverModel) -> None:
    kept: list[float] = []
    pulled: list[float] = []
    for seed in SEEDS:
        problem = behind_a_wall(make_problem(model.table, CLUTTER, seed), 2)
        pose = (problem.R, problem.t)
        sides = trusted_sides(model, *pose, problem.K_map, problem.box, ALL)
        assert not sides[2]
        for found, reliable in ((kept, sides), (pulled, ALL)):
            words = (model, problem.features, problem.K_map, *pose, problem.box, None, reliable)
            t = solve_warm(*words).t
            found.append(abs(np.log(t[2] / problem.t[2])))
    assert np.median(kept) < 0.5 * np.median(pulled)
