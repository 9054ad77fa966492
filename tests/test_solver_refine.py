# SPDX-License-Identifier: Apache-2.0
"""The climb's parts: the step on the pose, the damped solve, the tangent change of variables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st
from properties import holds_for
from scipy.spatial.transform import Rotation

from nemo_model.mesh import cuboid
from nemo_model.objective import Scene, evaluate, workspace
from nemo_model.refine import (
    ENERGY,
    EVALUATIONS,
    RESULT,
    TOTAL,
    Hints,
    Schedule,
    blend,
    climb,
    solve_damped,
    step_pose,
)
from nemo_model.synthetic import clutter_features, make_problem, smooth_features
from nemo_model.tables import face_table
from nemo_model.viewpoint import BINS

MESH = cuboid([-0.18, -0.44, -0.145], [0.18, 0.44, 0.145], 300)
TABLE = face_table(MESH, smooth_features(MESH, 16, 1))
NO_BOX = Hints(
    np.zeros((3, 1), np.float32), np.zeros(4), np.ones(6), np.ones(6), 0.0, np.zeros(BINS), 0.0
)

steps = st.tuples(*[st.floats(-1.0, 1.0)] * 6)


@holds_for(steps)
def test_a_step_is_a_turn_a_shift_and_a_size(step: tuple) -> None:
    R, t = Rotation.from_rotvec([0.3, -1.0, 0.5]).as_matrix(), np.array([0.1, -0.2, 1.5])
    moved_R, moved_t = R.copy(), t.copy()
    step_pose(moved_R, moved_t, np.array(step), 0.5, 6)
    np.testing.assert_allclose(
        moved_R, Rotation.from_rotvec(step[:3]).as_matrix() @ R, rtol=0, atol=1e-12
    )
    shift = 0.5 * np.array([step[3], step[4], 0.0])
    np.testing.assert_allclose(moved_t, (t + shift) * np.exp(step[5]), rtol=1e-12)
    only_R, same_t = R.copy(), t.copy()
    step_pose(only_R, same_t, np.array(step), 0.5, 3)
    np.testing.assert_array_equal(only_R, moved_R)
    np.testing.assert_array_equal(same_t, t)


def test_many_steps_keep_the_rotation_orthonormal() -> None:
    rng = np.random.default_rng(0)
    R, t = np.eye(3), np.array([0.0, 0.0, 2.0])
    for _ in range(1000):
        step_pose(R, t, np.concatenate([rng.normal(size=3), np.zeros(3)]), 0.5, 6)
    np.testing.assert_allclose(R @ R.T, np.eye(3), rtol=0, atol=1e-11)


@pytest.mark.parametrize("n", [3, 6])
def test_damped_solve_is_the_linear_solve(n: int) -> None:
    rng = np.random.default_rng(n)
    root = rng.normal(size=(6, 6))
    H, g, step = root @ root.T, rng.normal(size=6), np.zeros(6)
    assert solve_damped(H, g, n, 0.05, step)
    part = H[:n, :n]
    floor = 1e-6 * np.diag(part).max()
    expected = np.linalg.solve(part + 0.05 * np.diag(np.diag(part)) + floor * np.eye(n), g[:n])
    np.testing.assert_allclose(step[:n], expected, rtol=1e-8)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_damped_solve_refuses_what_has_no_solution(value: float) -> None:
    assert not solve_damped(np.full((6, 6), value), np.ones(6), 6, 0.05, np.zeros(6))


def schedule(adam: int, newton: int) -> Schedule:
    return Schedule(adam, 0.1, 0.01, 0.8, 0.95, newton, 0.05, 0.5, 0.3, 0.15, 1e-4)


@pytest.mark.parametrize("plan", [(0, 0), (0, 6), (6, 0), (6, 6)])
@pytest.mark.parametrize("freedom", [3, 6])
def test_a_climb_returns_the_best_pose_that_it_met(plan: tuple[int, int], freedom: int) -> None:
    problem = make_problem(TABLE, clutter_features(4, 16, 2), 5)
    h, w, _ = problem.features.shape
    K = problem.K_map
    flat = problem.features.reshape(h * w, -1)
    scene = Scene(flat, np.zeros(h * w, np.float32), h, w, K[0, 0], K[1, 1], K[0, 2], K[1, 2])
    work, result = workspace(TABLE, h * w), np.zeros(RESULT)
    R = Rotation.from_rotvec([0.1, 0.1, -0.1]).as_matrix() @ problem.R
    start = evaluate(TABLE, scene, R, problem.t, work, 0)
    t = problem.t.copy()
    climb(TABLE, scene, NO_BOX, R, t, freedom, schedule(*plan), work, result)
    assert result[TOTAL] == result[ENERGY] >= start
    assert result[EVALUATIONS] <= sum(plan) + 1
    best_R, best_t = result[:9].reshape(3, 3).copy(), result[9:12].copy()
    assert evaluate(TABLE, scene, best_R, best_t, work, 0) == result[ENERGY]
    if sum(plan):
        assert result[ENERGY] > start
    if freedom == 3:
        np.testing.assert_array_equal(best_t, problem.t)


def test_a_climb_with_nothing_to_see_stays_put() -> None:
    blank = np.zeros((24, 16), dtype=np.float32)
    scene = Scene(blank, blank[:, 0], 4, 6, 8.0, 8.0, 2.5, 1.5)
    work, result = workspace(TABLE, 24), np.zeros(RESULT)
    R, t = np.eye(3), np.array([30.0, 0.0, 2.0])
    climb(TABLE, scene, NO_BOX, R, t, 6, schedule(5, 5), work, result)
    assert result[ENERGY] == 0.0
    assert np.isfinite(result).all()
    np.testing.assert_array_equal(result[:9].reshape(3, 3), np.eye(3))


def test_the_mean_of_climbs_that_end_together() -> None:
    rng = np.random.default_rng(3)
    centre = Rotation.from_rotvec([0.3, -0.8, 0.5])
    turns = Rotation.from_rotvec(np.radians(8.0) * rng.uniform(-1.0, 1.0, (5, 3)))
    rows = np.zeros((6, RESULT))
    rows[:5, :9] = (turns * centre).as_matrix().reshape(5, 9)
    rows[:, 9:12] = rng.normal(size=(6, 3))
    rows[:5, TOTAL] = [3.0, 5.0, 4.0, 1.0, 4.5]
    rows[5, :9] = Rotation.from_rotvec([0.0, 2.0, 0.0]).as_matrix().ravel()
    rows[5, TOTAL] = 100.0  # far away: it does not count, however high it is
    R, t = np.empty((3, 3)), np.empty(3)
    blend(rows, rows[1], 2.0, np.cos(np.radians(40.0)), R, t)
    weights = np.exp(np.minimum((rows[:5, TOTAL] - 5.0) / 2.0, 0.0))
    mean = (turns * centre).mean(weights).as_matrix()
    np.testing.assert_allclose(R @ R.T, np.eye(3), rtol=0, atol=1e-12)
    np.testing.assert_allclose(R, mean, rtol=0, atol=1e-4)
    np.testing.assert_allclose(t, weights @ rows[:5, 9:12] / weights.sum(), rtol=1e-9)
    blend(rows[5:], rows[5], 2.0, 0.9, R, t)
    np.testing.assert_allclose(R.ravel(), rows[5, :9], rtol=0, atol=1e-12)
