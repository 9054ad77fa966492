# SPDX-License-Identifier: Apache-2.0
"""The viewpoint prior: what it says of rotations, where it is kept, and how a search uses it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from scipy.spatial.transform import Rotation

from nemo_model.angles import ANGLES, AZIMUTH
from nemo_model.bundle import NEURAL_MESH, Bundle, BundleError, write_neural_mesh
from nemo_model.estimator import Estimator
from nemo_model.lean import lean
from nemo_model.mesh import cuboid
from nemo_model.mirror import Look, search_both
from nemo_model.pose import (
    angles_from_rotation,
    geodesic,
    rotation_from_angles,
)
from nemo_model.solver import SolverModel, solve_cold, solve_warm
from nemo_model.synthetic import Problem, clutter_features, make_problem, smooth_features
from nemo_model.viewpoint import BINS, FLOOR, SPREAD_DEG, Reader, Viewpoint
from nemo_model.visible_boxes import solve_cold_visible

SHARP = 12.0  # logit of the bin that a test's prior is sure of


def reader_of(azimuth: float, elevation: float, theta: float) -> Reader:
    """A reader that says the same of every context: these angles, degrees."""
    bias = np.zeros(BINS, dtype=np.float32)
    start = 0
    for angle, bins in zip(np.deg2rad([azimuth, elevation, theta]), ANGLES, strict=True):
        bias[start + int(np.argmin(np.abs(bins.apart(angle))))] = SHARP
        start += bins.count
    return Reader(np.zeros((BINS, 1), dtype=np.float32), bias)


def prior_of(R: np.ndarray) -> Viewpoint:
    """A prior that is sure of a rotation."""
    angles = np.rad2deg(angles_from_rotation(R))
    return reader_of(*angles)(np.zeros(1, dtype=np.float32))


def read_by_angle(prior: Viewpoint, R: np.ndarray) -> float:
    """What a prior says of one rotation, read angle by angle with numpy's interpolation."""
    total, start = 0.0, 0
    for angle, bins in zip(angles_from_rotation(R), ANGLES, strict=True):
        values = prior.log[start : start + bins.count]
        start += bins.count
        period = bins.span if bins.circular else None
        total += float(np.interp(angle, bins.centres, values, period=period))
    return total


def test_many_rotations_are_read_as_each_one_is_by_its_angles() -> None:
    rng = np.random.default_rng(0)
    prior = Viewpoint(rng.normal(size=BINS))
    rotations = [
        rotation_from_angles(*row) for row in rng.uniform([0, -1.4, -3], [6.2, 1.4, 3], (50, 3))
    ]
    expected = [read_by_angle(prior, R) for R in rotations]
    np.testing.assert_allclose(prior(rotations), expected, atol=1e-9)
    np.testing.assert_allclose(prior(rotations[7]), expected[7:8], atol=1e-9)


def test_the_likeliest_rotation_is_the_one_that_the_prior_is_sure_of() -> None:
    prior = reader_of(92.5, 12.5, 2.5)(np.zeros(1, dtype=np.float32))
    grid = np.deg2rad(np.arange(0.0, 360.0, 2.5))
    values = prior([rotation_from_angles(a, math.radians(12.5), math.radians(2.5)) for a in grid])
    assert np.rad2deg(grid[int(np.argmax(values))]) == pytest.approx(92.5)
    assert values.max() > 5.0


def test_an_even_reading_prefers_nothing() -> None:
    even = Reader(np.zeros((BINS, 1), np.float32), np.zeros(BINS, np.float32))
    rng = np.random.default_rng(1)
    rotations = [rotation_from_angles(*row) for row in rng.uniform(-1.5, 1.5, (20, 3))]
    np.testing.assert_allclose(even(np.ones(1, np.float32))(rotations), 0.0, atol=1e-9)


def test_what_it_calls_impossible_costs_no_more_than_the_floor() -> None:
    prior = reader_of(90.0, 10.0, 0.0)(np.zeros(1, dtype=np.float32))
    opposite = rotation_from_angles(math.radians(270.0), math.radians(12.5), math.radians(2.5))
    same = rotation_from_angles(math.radians(92.5), math.radians(12.5), math.radians(2.5))
    cost = prior([same])[0] - prior([opposite])[0]
    sure = prior.log[: ANGLES[0].count].max()
    assert 1.0 < cost <= sure - math.log(FLOOR) + 1e-9


def test_the_azimuth_goes_round_and_is_even_between_bins() -> None:
    prior = reader_of(2.5, 10.0, 0.0)(np.zeros(1, dtype=np.float32))
    left, right = (
        prior([rotation_from_angles(math.radians(a), math.radians(12.5), math.radians(2.5))])[0]
        for a in (2.5 - 40.0, 2.5 + 40.0)
    )
    assert left == pytest.approx(right, abs=1e-9)


def test_views_that_training_never_showed_are_as_likely_as_the_likeliest() -> None:
    """A classifier that knows half of the views is sure of them on pictures of the other half."""
    whole = reader_of(92.5, 12.5, 2.5)
    behind = np.rad2deg(AZIMUTH.centres) > 180.0
    half = replace(whole, shown=~behind)
    context = np.zeros(1, dtype=np.float32)
    views = [rotation_from_angles(math.radians(a), math.radians(12.5), math.radians(2.5))
             for a in (92.5, 20.0, 250.0, 310.0)]  # fmt: skip
    sure, ruled_out, unknown, as_unknown = half(context)(views)
    assert unknown == pytest.approx(sure)
    assert as_unknown == pytest.approx(sure)
    np.testing.assert_allclose([sure, ruled_out], whole(context)(views[:2]))
    assert ruled_out < sure - 1.0
    assert half(context).peak == pytest.approx(whole(context).peak)


def test_the_reader_reads_the_context() -> None:
    rng = np.random.default_rng(2)
    reader = Reader(
        rng.normal(size=(BINS, 5)).astype(np.float32), rng.normal(size=BINS).astype(np.float32)
    )
    first, second = (reader(c).log for c in rng.normal(size=(2, 5)).astype(np.float32))
    assert np.abs(first - second).max() > 0.1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("viewpoint") / "model")


def test_a_reader_is_kept_in_the_bundle(folder: Path, tmp_path: Path) -> None:
    bundle = Bundle.load(folder)
    assert bundle.reader is None
    kept = write(bundle, tmp_path / "kept", reader_of(30.0, 10.0, 0.0))
    found = Bundle.load(kept).reader
    assert found is not None
    np.testing.assert_array_equal(found.bias, reader_of(30.0, 10.0, 0.0).bias)
    assert found.shown.all()


def test_what_training_showed_is_kept_in_the_bundle(folder: Path, tmp_path: Path) -> None:
    shown = np.arange(AZIMUTH.count) % 3 > 0
    reader = replace(reader_of(30.0, 10.0, 0.0), shown=shown)
    found = Bundle.load(write(Bundle.load(folder), tmp_path / "kept", reader)).reader
    assert found is not None
    np.testing.assert_array_equal(found.shown, shown)


@pytest.mark.parametrize("shown", [
    np.zeros(AZIMUTH.count, bool),
    np.array([True, False, True]),
    np.arange(AZIMUTH.count) / AZIMUTH.count,
])  # fmt: skip
def test_a_bundle_shown_from_nowhere_is_refused(
    folder: Path, tmp_path: Path, shown: np.ndarray
) -> None:
    reader = replace(reader_of(30.0, 10.0, 0.0), shown=shown)
    kept = write(Bundle.load(folder), tmp_path / "kept", reader)
    with pytest.raises(BundleError, match=f"{NEURAL_MESH}.*viewpoint_shown"):
        Bundle.load(kept)


def write(bundle: Bundle, out: Path, reader: Reader) -> Path:
    out.mkdir()
    (out / "backbone.onnx").write_bytes(bundle.onnx_path.read_bytes())
    write_neural_mesh(replace(bundle, folder=out, reader=reader))
    return out


@pytest.mark.parametrize(("bias", "message"), [
    (np.zeros(BINS - 1, np.float32), "viewpoint_bias"),
    (np.full(BINS, np.nan, np.float32), "NaN"),
])  # fmt: skip
def test_a_broken_reader_is_named(
    folder: Path, tmp_path: Path, bias: np.ndarray, message: str
) -> None:
    broken = Reader(np.zeros((BINS, 1), np.float32), bias)
    kept = write(Bundle.load(folder), tmp_path / "kept", broken)
    with pytest.raises(BundleError, match=f"{NEURAL_MESH}.*{message}"):
        Bundle.load(kept)


def test_a_reader_of_another_backbone_is_refused(folder: Path, tmp_path: Path) -> None:
    """The tiny bundle's backbone gives no context that it could read."""
    kept = write(Bundle.load(folder), tmp_path / "kept", reader_of(30.0, 10.0, 0.0))
    with pytest.raises(BundleError, match="context of 0 channels"):
        Estimator.load(kept)


CHANNELS = 32
CLUTTER = clutter_features(8, CHANNELS, 2)
ALL = (True, True, True, True)
OPPOSITE = np.diag([-1.0, -1.0, 1.0])


@pytest.fixture(scope="module")
def model() -> SolverModel:
    mesh = cuboid([-0.18, -0.44, -0.145], [0.18, 0.44, 0.145], 600)
    return SolverModel.build(mesh, smooth_features(mesh, CHANNELS, 1), CLUTTER)


@pytest.fixture(scope="module")
def problem(model: SolverModel) -> Problem:
    return make_problem(model.table, CLUTTER, 3)


def test_where_features_say_nothing_the_prior_decides(model: SolverModel, problem: Problem) -> None:
    blank = np.zeros_like(problem.features)
    for R in (problem.R, problem.R @ OPPOSITE):
        found = solve_cold(model, blank, problem.K_map, problem.box, None, ALL, prior_of(R))
        assert math.degrees(geodesic(found.R, R)) < 25.0


def test_where_features_are_sure_the_prior_changes_nothing(
    model: SolverModel, problem: Problem
) -> None:
    where = problem.features, problem.K_map, problem.box, None, ALL
    plain, backed = solve_cold(model, *where), solve_cold(model, *where, prior_of(problem.R))
    assert math.degrees(geodesic(plain.R, problem.R)) < 10.0
    assert math.degrees(geodesic(backed.R, plain.R)) < 3.0
    assert backed.energy == pytest.approx(plain.energy, rel=0.05)
    assert backed.margin > plain.margin


def test_without_weight_it_is_as_if_there_were_none(problem: Problem, model: SolverModel) -> None:
    off = replace(model, config=replace(model.config, viewpoint_weight=0.0))
    where = problem.features, problem.K_map, problem.box, None, ALL
    wrong = prior_of(problem.R @ OPPOSITE)
    np.testing.assert_array_equal(solve_cold(off, *where, wrong).R, solve_cold(off, *where).R)


def test_a_warm_start_learns_that_it_is_turned_round(model: SolverModel, problem: Problem) -> None:
    where = problem.features, problem.K_map, problem.R, problem.t, problem.box, None, ALL
    plain = solve_warm(model, *where)
    doubted = solve_warm(model, *where, prior_of(problem.R @ OPPOSITE))
    backed = solve_warm(model, *where, prior_of(problem.R))
    assert doubted.margin < plain.margin < backed.margin
    assert math.degrees(geodesic(doubted.R, plain.R)) < 5.0


def leaned(prior: Viewpoint, R: np.ndarray, order: int) -> tuple[float, np.ndarray, np.ndarray]:
    gradient, hessian = np.zeros(6), np.zeros((6, 6))
    value = lean(prior.log, np.ascontiguousarray(R), 2.0, order, gradient, hessian)
    return value, gradient, hessian


def test_its_gradient_is_that_of_finite_differences() -> None:
    """By turns of the camera's axes; between the bins' centres, where it is smooth."""
    rng = np.random.default_rng(4)
    logits = np.concatenate([np.cos(bins.centres + k) for k, bins in enumerate(ANGLES)])
    prior = Viewpoint(logits)
    step = 1e-5
    checked = 0
    for row in rng.uniform([0, -1.3, -3], [6.2, 1.3, 3], (40, 3)):
        R = rotation_from_angles(*row)
        at = [(a - bins.lo) / bins.width - 0.5 for a, bins in zip(row, ANGLES, strict=True)]
        if min(abs(x - round(x)) for x in at) < 0.01:
            continue
        gradient = leaned(prior, R, 1)[1]
        for axis in range(3):
            turn = Rotation.from_rotvec(step * np.eye(3)[axis]).as_matrix()
            ahead, behind = leaned(prior, turn @ R, 0)[0], leaned(prior, turn.T @ R, 0)[0]
            assert gradient[axis] == pytest.approx((ahead - behind) / (2 * step), abs=1e-4)
            checked += 1
        assert not gradient[3:].any()
    assert checked > 60


def test_its_hessian_is_that_of_a_maximum() -> None:
    """Positive semidefinite everywhere, and at the peak about 1 / SPREAD^2 across the azimuth."""
    prior = reader_of(92.5, 12.5, 2.5)(np.zeros(1, dtype=np.float32))
    rng = np.random.default_rng(5)
    for row in rng.uniform([0, -1.5, -3], [6.2, 1.5, 3], (30, 3)):
        hessian = leaned(prior, rotation_from_angles(*row), 2)[2]
        assert np.linalg.eigvalsh(hessian).min() > -1e-9
    peak = rotation_from_angles(*np.deg2rad([92.5, 12.5, 2.5]))
    hessian = leaned(prior, peak, 2)[2]
    down = peak[:, 2]  # the object's axis: turning about it changes the azimuth alone
    curvature = down @ hessian[:3, :3] @ down
    assert curvature == pytest.approx(2.0 / math.radians(SPREAD_DEG) ** 2, rel=0.35)


def test_straight_down_it_stays_finite() -> None:
    prior = reader_of(92.5, 12.5, 2.5)(np.zeros(1, dtype=np.float32))
    for elevation in (90.0, -90.0, 89.999):
        R = rotation_from_angles(1.0, math.radians(elevation), 0.3)
        value, gradient, hessian = leaned(prior, R, 2)
        assert np.isfinite([value, *gradient, *hessian.ravel()]).all()


def test_a_context_that_is_not_finite_says_nothing(model: SolverModel, problem: Problem) -> None:
    reader = Reader(np.ones((BINS, 1), np.float32), np.zeros(BINS, np.float32))
    broken = reader(np.array([np.nan], dtype=np.float32))
    assert not broken.log.any()
    where = problem.features, problem.K_map, problem.box, None, ALL
    found = solve_cold(model, *where, broken)
    np.testing.assert_array_equal(found.R, solve_cold(model, *where).R)


def test_what_the_prior_adds_is_told(model: SolverModel, problem: Problem) -> None:
    """Of a search in one picture, in two, and of boxes around what is left to see."""
    prior = prior_of(problem.R)
    where = problem.features, problem.K_map, problem.box, None, ALL
    x1, y1, x2, y2 = problem.box
    scale = model.config.viewpoint_weight * (x2 - x1) * (y2 - y1)
    first = solve_cold(model, *where, prior)
    mirror = problem.features[:, ::-1]
    both = search_both(model, solve_cold, first, Look(*where, prior), mirror, prior)
    visible = solve_cold_visible(model, *where, prior)
    for found in (first, both, visible):
        assert found.leaning == pytest.approx(scale * prior([found.R])[0], abs=1e-9)
        assert found.leaning > 0.0
    assert solve_cold(model, *where).leaning == 0.0
