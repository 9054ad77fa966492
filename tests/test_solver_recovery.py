# SPDX-License-Identifier: Apache-2.0
"""The whole solver on synthetic problems: it finds the pose, repeats itself, survives nonsense."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from shapes import torus

from nemo_model.mesh import Mesh, cuboid
from nemo_model.pose import geodesic
from nemo_model.solver import Solution, SolverConfig, SolverModel, solve_cold, solve_warm
from nemo_model.synthetic import Problem, clutter_features, make_problem, smooth_features

CHANNELS = 32
CLUTTER = clutter_features(8, CHANNELS, 2)
# synthetic boxes jitter on every side: trust the features more than on real photos
CONFIG = SolverConfig(box_weight=0.001, box_sigma=0.05)
NUMBERS = ("energy", "margin", "relative_margin", "second_energy", "visible_fraction")


def build(mesh: Mesh, config: SolverConfig = CONFIG) -> SolverModel:
    return SolverModel.build(mesh, smooth_features(mesh, CHANNELS, 1), CLUTTER, config=config)


@pytest.fixture(scope="module")
def model() -> SolverModel:
    return build(cuboid([-0.18, -0.44, -0.145], [0.18, 0.44, 0.145], 600))


def cold(model: SolverModel, problem: Problem, **kwargs: object) -> Solution:
    return solve_cold(model, problem.features, problem.K_map, problem.box, **kwargs)


def error_deg(solution: Solution, problem: Problem) -> float:
    return float(np.degrees(geodesic(solution.R, problem.R)))


def turned(R: np.ndarray, degrees: float, seed: int) -> np.ndarray:
    axis = np.random.default_rng(seed).normal(size=3)
    axis *= np.radians(degrees) / np.linalg.norm(axis)
    return Rotation.from_rotvec(axis).as_matrix() @ R


@pytest.mark.parametrize(
    ("hidden", "within_30", "within_10"),
    [(0.0, 1.0, 0.9), (0.3, 0.95, 0.85), (0.5, 0.95, 0.75), (0.7, 0.9, 0.5)],
)
def test_cold_finds_the_pose(
    model: SolverModel, hidden: float, within_30: float, within_10: float
) -> None:
    errors = []
    for seed in range(20):
        problem = make_problem(model.table, CLUTTER, seed, hidden=hidden)
        errors.append(error_deg(cold(model, problem), problem))
    assert np.mean(np.array(errors) < 30.0) >= within_30
    assert np.mean(np.array(errors) < 10.0) >= within_10


@pytest.mark.parametrize(("hidden", "median"), [(0.0, 2.0), (0.5, 4.0)])
def test_cold_with_the_translation_given(model: SolverModel, hidden: float, median: float) -> None:
    errors = []
    for seed in range(15):
        problem = make_problem(model.table, CLUTTER, seed, hidden=hidden)
        solution = cold(model, problem, given_t=problem.t)
        np.testing.assert_array_equal(solution.t, problem.t)
        errors.append(error_deg(solution, problem))
    assert np.median(errors) < median
    assert np.mean(np.array(errors) < 30.0) >= 0.93


def test_cold_places_the_object(model: SolverModel) -> None:
    for seed in range(10):
        problem = make_problem(model.table, CLUTTER, seed, noise=0.7)
        solution = cold(model, problem)
        assert np.linalg.norm(solution.t - problem.t) < 0.08 * problem.t[2]


def test_cold_finds_a_mesh_that_is_not_convex() -> None:
    model = build(torus(24, 16), replace(CONFIG, elevations_deg=(20.0, 40.0, 60.0)))
    good = 0
    for seed in range(10):
        problem = make_problem(model.table, CLUTTER, seed, elevation_deg=(25.0, 60.0), noise=0.7)
        good += error_deg(cold(model, problem), problem) < 15.0
    assert good >= 9


def test_warm_from_20_degrees_ends_within_2(model: SolverModel) -> None:
    errors = []
    for seed in range(20):
        problem = make_problem(model.table, CLUTTER, seed, noise=0.7, box_jitter=0.01)
        start = turned(problem.R, 20.0, seed)
        solution = solve_warm(
            model, problem.features, problem.K_map, start, 1.03 * problem.t, problem.box
        )
        errors.append(error_deg(solution, problem))
        assert solution.margin > 0.0
    assert np.median(errors) < 2.0
    assert np.max(errors) < 8.0


def test_warm_without_a_box_and_with_the_translation_given(model: SolverModel) -> None:
    problem = make_problem(model.table, CLUTTER, 3, noise=0.7)
    start = turned(problem.R, 12.0, 0)
    args = (model, problem.features, problem.K_map, start, problem.t)
    assert error_deg(solve_warm(*args), problem) < 3.0
    given = solve_warm(*args, given_t=problem.t)
    assert error_deg(given, problem) < 2.0
    np.testing.assert_array_equal(given.t, problem.t)


def test_a_warm_start_turned_round_says_so(model: SolverModel) -> None:
    problem = make_problem(model.table, CLUTTER, 4, noise=0.7)
    wrong = problem.R @ np.diag([-1.0, -1.0, 1.0])
    solution = solve_warm(model, problem.features, problem.K_map, wrong, problem.t, problem.box)
    assert error_deg(solution, problem) > 90.0
    assert solution.margin < 0.0
    assert solution.second_R is not None
    assert geodesic(solution.second_R, problem.R) < np.radians(3.0)


def test_what_a_solution_says_is_consistent(model: SolverModel) -> None:
    for seed, hidden in ((0, 0.0), (1, 0.5), (2, 0.7)):
        problem = make_problem(model.table, CLUTTER, seed, hidden=hidden)
        for given in (None, problem.t):
            solution = cold(model, problem, given_t=given)
            assert solution.occlusion.shape == (16, 24)
            assert solution.occlusion.dtype == np.int8
            covered = (solution.occlusion >= 0).sum()
            shown = (solution.occlusion == 1).sum()
            assert solution.visible_fraction == pytest.approx(shown / covered)
            assert abs(solution.visible_fraction - (1.0 - hidden)) < 0.3
            assert solution.margin >= 0.0
            assert 0.0 <= solution.relative_margin <= 1.0
            assert solution.second_R is not None  # a cold solve always has a rival
            assert geodesic(solution.second_R, solution.R) > np.radians(24.9)
            assert np.linalg.eigvalsh(solution.hessian).min() > -1e-6
            np.testing.assert_allclose(solution.R @ solution.R.T, np.eye(3), rtol=0, atol=1e-9)


def test_a_side_cut_by_the_image_is_not_trusted() -> None:
    mesh = cuboid([-0.18, -0.44, -0.145], [0.18, 0.44, 0.145], 600)
    model = build(mesh, replace(CONFIG, box_weight=0.1))
    trusting, warned = [], []
    for seed in range(12):
        problem = make_problem(model.table, CLUTTER, seed, noise=0.7, box_jitter=0.0)
        box = problem.box.copy()
        box[2] -= 0.35 * (box[2] - box[0])
        for errors, reliable in ((trusting, (True,) * 4), (warned, (True, True, False, True))):
            solution = solve_cold(model, problem.features, problem.K_map, box, reliable=reliable)
            errors.append(np.linalg.norm(solution.t - problem.t) / problem.t[2])
    assert np.median(warned) < 0.05
    assert np.mean(warned) < np.mean(trusting)


def same(a: Solution, b: Solution) -> bool:
    return all(
        np.asarray(getattr(a, f.name)).tobytes() == np.asarray(getattr(b, f.name)).tobytes()
        for f in fields(Solution)
        if not (getattr(a, f.name) is None and getattr(b, f.name) is None)
    )


def test_same_input_same_bytes(model: SolverModel) -> None:
    first = make_problem(model.table, CLUTTER, 5, hidden=0.3)
    other = make_problem(model.table, CLUTTER, 6)
    before = cold(model, first)
    warm = solve_warm(model, first.features, first.K_map, before.R, before.t, first.box)
    cold(model, other)  # what the buffers held before must not matter
    wide = make_problem(model.table, CLUTTER, 6, width=30, height=20)
    cold(model, wide)
    assert same(before, cold(model, first))
    again = solve_warm(model, first.features, first.K_map, before.R, before.t, first.box)
    assert same(warm, again)
    fresh = build(cuboid([-0.18, -0.44, -0.145], [0.18, 0.44, 0.145], 600))
    assert same(before, cold(fresh, first))


def test_input_is_not_changed(model: SolverModel) -> None:
    problem = make_problem(model.table, CLUTTER, 7)
    R0, t0, F = problem.R.copy(), problem.t.copy(), problem.features.copy()
    solve_warm(model, problem.features, problem.K_map, R0, t0, problem.box)
    cold(model, problem, given_t=t0)
    np.testing.assert_array_equal(R0, problem.R)
    np.testing.assert_array_equal(t0, problem.t)
    np.testing.assert_array_equal(F, problem.features)


def test_nonsense_gives_finite_numbers(model: SolverModel) -> None:
    rng = np.random.default_rng(0)
    problem = make_problem(model.table, CLUTTER, 8)
    for k in range(150):
        F = problem.features.copy()
        kind = k % 5
        if kind == 0:
            F[:] = 0.0
        elif kind == 1:
            F[rng.random(F.shape[:2]) < 0.3] = np.nan
        elif kind == 2:
            F *= np.float32(10.0 ** rng.uniform(-30, 15))
        elif kind == 3:
            F = rng.normal(size=F.shape).astype(np.float32)
        box = np.sort(rng.normal(size=(2, 2)) * 10.0 ** rng.uniform(-3, 3), axis=0).ravel()
        K = problem.K_map.copy()
        K[:2] *= 10.0 ** rng.uniform(-2, 2)
        t = np.array([*rng.normal(size=2), 10.0 ** rng.uniform(-3, 3)])
        flags = tuple(bool(f) for f in rng.random(4) < 0.6)
        start = turned(problem.R, 180.0 * rng.random(), k)
        for solution in (
            solve_cold(model, F, K, box, t if k % 3 == 0 else None, flags),
            solve_warm(model, F, K, start, t, box if k % 2 else None, None, flags),
        ):
            for name in NUMBERS:
                assert np.isfinite(getattr(solution, name)), name
            assert np.isfinite(solution.R).all()
            assert np.isfinite(solution.t).all()
            assert np.isfinite(solution.hessian).all()
            assert solution.t[2] > 0.0
            assert solution.energy >= 0.0
            if kind == 0:
                assert solution.energy == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.zeros((4, 5, 3), np.float32)}, "feature map"),
        ({"features": np.zeros((4, CHANNELS), np.float32)}, "feature map"),
        ({"K_map": np.zeros((3, 3))}, "K_map"),
        ({"K_map": np.full((3, 3), np.nan)}, "K_map"),
        ({"box_map": [1.0, 2.0, 1.0, 5.0]}, "is empty"),
        ({"box_map": [1.0, np.nan, 3.0, 5.0]}, "finite"),
        ({"box_map": [1.0, 2.0, 3.0]}, "four"),
        ({"given_t": [0.0, 0.0, -1.0]}, "in front"),
        ({"given_t": [0.0, np.inf, 1.0]}, "finite"),
        ({"reliable": (True, False)}, "four flags"),
    ],
)
def test_bad_input_is_refused(model: SolverModel, change: dict, message: str) -> None:
    problem = make_problem(model.table, CLUTTER, 9)
    good = {"features": problem.features, "K_map": problem.K_map, "box_map": problem.box}
    with pytest.raises(ValueError, match=message):
        solve_cold(model, **{**good, **change})


def test_bad_start_pose_is_refused(model: SolverModel) -> None:
    problem = make_problem(model.table, CLUTTER, 9)
    for R in (np.eye(2), 2.0 * np.eye(3), np.diag([1.0, 1.0, -1.0]), np.full((3, 3), np.nan)):
        with pytest.raises(ValueError, match="rotation"):
            solve_warm(model, problem.features, problem.K_map, R, problem.t)


def test_bad_configurations_and_models_are_refused() -> None:
    for change in ({"background": "median"}, {"starts": 0}, {"shifts": ()},
                   {"distance_factors": (0.0,)}):  # fmt: skip
        with pytest.raises(ValueError, match="solver config"):
            SolverConfig(**change)
    mesh = cuboid([-0.1] * 3, [0.1] * 3, 50)
    features = smooth_features(mesh, 8, 0)
    with pytest.raises(ValueError, match="outline"):
        SolverModel.build(mesh, features, np.zeros((0, 8)), outline=np.zeros((0, 3)))
    with pytest.raises(ValueError, match="clutter"):
        SolverModel.build(mesh, features, np.full((1, 8), np.nan))
