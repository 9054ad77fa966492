# SPDX-License-Identifier: Apache-2.0
"""What speaks for a pose: by hand, on a known object, and the same for warm and cold poses."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from scipy.spatial.transform import Rotation

from nemo_model import Estimate, Estimator
from nemo_model.camera import Camera
from nemo_model.evidence import FEWEST_CELLS, STATISTICS, TURNS, VIEW, View, _rivals, evidence
from nemo_model.pose import rotation_from_angles, transform
from nemo_model.solver import Solution
from nemo_model.symmetry import Symmetry

CAMERA = Camera(np.array([[600.0, 0, 320], [0, 600.0, 240], [0, 0, 1]]), 640, 480)


@pytest.fixture(scope="module")
def estimator(tmp_path_factory: pytest.TempPathFactory) -> Estimator:
    return Estimator.load(tiny.write(tmp_path_factory.mktemp("evidence") / "tiny"))


def looked_at(azimuth_deg: float, estimator: Estimator) -> tuple[Estimate, View, np.ndarray]:
    """A cold estimate of the coloured cuboid, what it was judged by, and the true pose."""
    R = rotation_from_angles(math.radians(azimuth_deg), math.radians(12.0), 0.0)
    T = transform(R, np.array([0.0, 0.0, 14.0]))
    image, box = tiny.photo(CAMERA, T)
    seen = estimator.observe(image, CAMERA.K, box)
    estimate = estimator.solve(seen)
    lo, hi = seen.crop.H_crop_image @ [*box[:2], 1], seen.crop.H_crop_image @ [*box[2:], 1]
    cells = (np.concatenate([lo[:2] / lo[2], hi[:2] / hi[2]]) - 7.0) / 8.0
    return estimate, View(seen.features, seen.crop.map_K(), cells), T


@pytest.fixture(scope="module")
def side(estimator: Estimator) -> tuple[Estimate, View, np.ndarray]:
    return looked_at(60.0, estimator)


def judged(estimator: Estimator, view: View, solution: Solution | None) -> dict[str, float]:
    assert solution is not None
    return evidence(estimator.solver, view, solution)


def test_all_statistics_are_there_and_finite(side, estimator) -> None:
    found = judged(estimator, side[1], side[0].solution)
    assert set(found) == {*STATISTICS, *VIEW, "relative_margin"}
    assert all(math.isfinite(value) for value in found.values())
    assert set(side[0].statistics) == set(found)


def test_values_that_can_be_computed_by_hand(side, estimator) -> None:
    estimate, view, _ = side
    solution, found = estimate.solution, judged(estimator, side[1], side[0].solution)
    assert found["log_energy"] == pytest.approx(math.log(1 + solution.energy))
    assert found["log_cells"] == pytest.approx(math.log((solution.occlusion >= 0).sum()))
    assert found["visible_fraction"] == solution.visible_fraction
    visible = solution.occlusion == 1
    clutter = (view.features[visible] @ tiny.clutter().T).max(axis=1)
    assert found["similarity"] == pytest.approx(solution.energy / visible.sum() + clutter.mean())
    assert found["view_front"] == pytest.approx(math.cos(math.radians(60.0)), abs=0.1)
    assert found["view_side"] == pytest.approx(math.sin(math.radians(60.0)) ** 2, abs=0.1)
    curvature = np.linalg.inv(solution.hessian[:3, :3])
    assert found["log_rotation_variance"] == pytest.approx(math.log(np.trace(curvature)), abs=0.2)


def test_the_surface_seen_counts_by_its_directions(side, estimator) -> None:
    """A corner view shows side, front and top of the cuboid, a front view front and top."""
    assert 2.0 < judged(estimator, side[1], side[0].solution)["sides"] < 3.0
    front, view, _ = looked_at(0.0, estimator)
    assert 1.0 < judged(estimator, view, front.solution)["sides"] < 2.0


def test_the_true_pose_beats_the_turned_ones_and_a_turned_one_is_beaten(side, estimator) -> None:
    estimate, view, _ = side
    right = judged(estimator, view, estimate.solution)
    assert right["twin_margin"] > 0.1
    assert 0.05 < right["far_margin"] <= right["twin_margin"] + 1e-9
    turned = replace(
        estimate.solution, R=estimate.solution.R @ np.diag([-1.0, -1.0, 1.0]), energy=1.0
    )
    wrong = judged(estimator, view, turned)
    assert wrong["twin_margin"] < -0.1
    assert wrong["view_front"] == pytest.approx(-right["view_front"])


def test_a_box_that_the_pose_does_not_fill_is_noticed(side, estimator) -> None:
    estimate, view, _ = side
    fits = judged(estimator, view, estimate.solution)["box_gap"]
    width = view.box[2] - view.box[0]
    shifted = view._replace(box=view.box + np.array([0.3 * width, 0, 0.3 * width, 0]))
    assert fits < 0.05 < judged(estimator, shifted, estimate.solution)["box_gap"]
    doubted = shifted._replace(reliable=(False, True, False, True))
    assert judged(estimator, doubted, estimate.solution)["box_gap"] == pytest.approx(fits, abs=0.05)


def test_warm_and_cold_scores_agree_on_the_same_frame(side, estimator) -> None:
    """The evidence is of the pose: where a warm start ends at the cold pose, it is worth as much.

    The margins that the solver reports differ: a warm start has seen one rival only.
    """
    estimate = side[0]
    R = Rotation.from_euler("xyz", [3.0, 4.0, -3.0], degrees=True).as_matrix()
    prior = estimate.T_cam_obj.copy()
    prior[:3, :3] = R @ prior[:3, :3]
    image, box = tiny.photo(CAMERA, side[2])
    warm = estimator.estimate(image, CAMERA.K, box, prior=prior)
    assert warm.mode == "warm"
    for name in (*STATISTICS, *VIEW):
        if name != "log_rotation_variance":  # the roughest: second derivatives at cells' edges
            near = pytest.approx(estimate.statistics[name], abs=0.06, rel=0.06)
            assert warm.statistics[name] == near, name


def test_the_same_pose_is_judged_the_same(side, estimator) -> None:
    estimate, view, _ = side
    other = replace(estimate.solution, margin=0.0, second_R=None, evaluations=3)
    assert judged(estimator, view, other) == judged(estimator, view, estimate.solution)


def test_nothing_covered_is_finite_and_poor(side, estimator) -> None:
    estimate, view, _ = side
    beside = replace(
        estimate.solution,
        t=np.array([50.0, 0.0, 3.0]),
        occlusion=np.full_like(estimate.solution.occlusion, -1),
        energy=0.0, visible_fraction=0.0, hessian=np.zeros((6, 6)),
    )  # fmt: skip
    found = evidence(estimator.solver, view, beside, scale=1e-9)
    assert all(math.isfinite(value) for value in found.values())
    assert found["log_cells"] == math.log(FEWEST_CELLS)
    assert (found["log_energy"], found["similarity"], found["sides"]) == (0.0, 0.0, 0.0)
    assert found["box_gap"] == 1.0  # at most
    assert found["log_scale"] == 0.0  # a fine image is no reason for doubt


def test_a_pose_behind_the_camera_is_finite(side, estimator) -> None:
    estimate, view, _ = side
    behind = replace(estimate.solution, t=np.array([0.0, 0.0, -2.0]))
    assert all(math.isfinite(v) for v in evidence(estimator.solver, view, behind).values())


def test_turns_that_look_alike_are_no_rivals() -> None:
    step = 360.0 / TURNS
    far, twin = _rivals(Symmetry(1))
    assert np.flatnonzero(~far).tolist() == [0, 1, 2, TURNS - 2, TURNS - 1]  # within 30 degrees
    assert [k * step for k in np.flatnonzero(twin)] == [165.0, 180.0, 195.0]
    far, twin = _rivals(Symmetry(2))
    assert not far[TURNS // 2]
    assert [k * step for k in np.flatnonzero(twin)] == [75.0, 90.0, 105.0, 255.0, 270.0, 285.0]
    far, twin = _rivals(Symmetry(0))
    assert not far.any()
    assert not twin.any()


def test_evidence_without_a_box_or_with_a_given_place(side, estimator) -> None:
    estimate, view, _ = side
    bare = judged(estimator, view._replace(box=None), estimate.solution)
    fixed = judged(estimator, view._replace(fixed=True), estimate.solution)
    assert bare["box_gap"] == 0.0
    assert bare["twin_margin"] == pytest.approx(fixed["twin_margin"])
    assert bare["twin_margin"] > 0.0


def test_the_shipped_model_scores_a_photo_high_and_noise_low(repository: Path) -> None:
    estimator = Estimator.load(repository / "models" / "car")
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    K = np.array([[400.0, 0, 160], [0, 400.0, 120], [0, 0, 1]])
    found = estimator.estimate(noise, K, (60, 60, 260, 180))
    assert found.score < 0.2
    assert 0.0 <= found.score_10 <= found.score
