# SPDX-License-Identifier: Apache-2.0
"""Objects that overlap compete for cells: two alike, one half behind the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny
from test_estimator import CAMERA, pose

from nemo_model import Estimate, Estimator
from nemo_model.estimate import Observation
from nemo_model.mirror import mirrored_cells
from nemo_model.pose import geodesic
from nemo_model.raster import rasterize
from nemo_model.together import carried, compete, rivals, without


@pytest.fixture(scope="module")
def estimator(tmp_path_factory: pytest.TempPathFactory) -> Estimator:
    return Estimator.load(tiny.write(tmp_path_factory.mktemp("together") / "tiny"))


def street(
    near_at: tuple[float, float] = (300.0, 250.0), far_at: tuple[float, float] = (345.0, 235.0)
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray], np.ndarray]:
    """A picture of two objects, their boxes, poses (near, far), and what hides the far one."""
    poses = [pose(30.0, 8.0, near_at, 13.0), pose(100.0, 10.0, far_at, 17.0)]
    near, near_box = tiny.photo(CAMERA, poses[0], seed=1)
    image, far_box = tiny.photo(CAMERA, poses[1], seed=2)
    mesh = tiny.mesh(200)
    points = tiny.METRES_PER_UNIT * mesh.vertices @ poses[0][:3, :3].T + poses[0][:3, 3]
    front = rasterize(points, mesh.faces, CAMERA.K, CAMERA.width, CAMERA.height)[0] >= 0
    image[front] = near[front]
    return image, [near_box, far_box], poses, front


def degrees(estimate: Estimate, T: np.ndarray) -> float:
    return float(np.degrees(geodesic(estimate.rotation, T[:3, :3])))


def test_the_hidden_one_is_not_dragged_onto_the_other(estimator: Estimator) -> None:
    image, boxes, poses, _ = street()
    alone = [estimator.estimate(image, CAMERA.K, box) for box in boxes]
    for order in ((0, 1), (1, 0)):
        found = estimator.estimate_together(image, CAMERA.K, [boxes[k] for k in order])
        for k, estimate in zip(order, found, strict=True):
            assert degrees(estimate, poses[k]) < 8.0
        hidden = found[order.index(1)]
        assert hidden.visible_fraction < 0.6
        assert found[order.index(0)].energy == alone[0].energy  # it stands in front: as alone
    assert degrees(alone[1], poses[1]) > 20.0  # what competition is for


def test_objects_apart_are_estimated_as_alone(estimator: Estimator) -> None:
    image, boxes, _, _ = street((150.0, 250.0), (500.0, 235.0))
    assert not rivals(*boxes)
    for one, both in zip(
        [estimator.estimate(image, CAMERA.K, box) for box in boxes],
        estimator.estimate_together(image, CAMERA.K, boxes),
        strict=True,
    ):
        assert one.T_cam_obj.tobytes() == both.T_cam_obj.tobytes()
    assert estimator.estimate_together(image, CAMERA.K, []) == []


def test_gains_are_carried_to_the_cells_of_another_crop(
    estimator: Estimator,
) -> None:
    image, boxes, _, front = street()
    near, far = estimator.observe_many(image, CAMERA.K, boxes)
    gains = estimator.gains(near, estimator.solve(near))
    taken = carried(gains, near.crop, far.crop) > 0.0
    rows, columns = np.mgrid[: taken.shape[0], : taken.shape[1]]
    crop = np.stack([8.0 * columns + 7, 8.0 * rows + 7, np.ones(taken.shape)], axis=-1)
    there = crop @ np.linalg.inv(far.crop.H_crop_image).T
    u, v = np.moveaxis(np.round(there[..., :2] / there[..., 2:]).astype(int), -1, 0)
    inside = (u >= 0) & (v >= 0) & (u < CAMERA.width) & (v < CAMERA.height)
    true = np.zeros_like(taken)
    true[inside] = front[v[inside], u[inside]]
    assert (taken & true).sum() > 0.85 * (taken | true).sum() > 20


def test_a_cell_that_is_taken_speaks_for_nothing(estimator: Estimator) -> None:
    image, boxes, _, _ = street()
    _, far = estimator.observe_many(image, CAMERA.K, boxes)
    everything = np.ones(far.crop.map_size, dtype=bool)
    rest = without(far, everything)
    assert rest is not None
    blind = estimator.solve(rest)
    assert blind.energy == 0.0
    assert blind.score == 0.0
    few = np.zeros(far.crop.map_size, dtype=bool)
    few[0, 0] = True
    assert without(far, few) is None
    twice = without(rest, everything)
    assert twice is not None
    assert twice.taken is not None
    assert twice.taken.all()


def test_an_object_behind_two_others_loses_both_their_cells(estimator: Estimator) -> None:
    image, boxes, _, _ = street()
    near, far = estimator.observe_many(image, CAMERA.K, boxes)
    alone = [estimator.solve(near), estimator.solve(far)]
    halves = np.full((2, *near.crop.map_size), -np.inf)
    halves[0, :, :10], halves[1, :, 14:] = 2.0, 2.0

    def solve(k: int, one: Observation) -> Estimate:
        return found if k == 2 else alone[0]

    def gain(k: int, one: Observation, estimate: Estimate) -> np.ndarray:
        return halves[k] if k < 2 else np.full(far.crop.map_size, 9.0 if estimate is found else 0)

    found = replace(alone[1])
    front = replace(alone[0], energy=1e3)
    settled = compete([near, near, far], [front, front, alone[1]], solve, gain)
    assert settled[2].behind == (0, 1)
    taken = settled[2].seen.taken
    assert taken is not None
    both = [carried(half, near.crop, far.crop) > 0.0 for half in halves]
    assert both[0].any()
    assert both[1].any()
    assert (taken == (both[0] | both[1])).all()


def test_a_pose_counts_by_what_it_adds(estimator: Estimator) -> None:
    """A pose that explains only what the other one does already is not taken."""
    image, boxes, _, _ = street()
    seen = estimator.observe_many(image, CAMERA.K, boxes)
    alone = [estimator.solve(one) for one in seen]
    asked: list[int] = []

    def solve(k: int, one: Observation) -> Estimate:
        assert one.taken is not None
        asked.append(int(one.taken.sum()))
        return replace(alone[k])

    def gain(k: int, one: Observation, estimate: Estimate) -> np.ndarray:
        return np.full(one.crop.map_size, 0.5 if estimate is alone[k] else 0.4)

    settled = compete(seen, alone, solve, gain)
    assert [each.estimate is alone[k] for k, each in enumerate(settled)] == [True, True]
    assert len(asked) == 2  # both masks are alike where both explain alike
    assert min(asked) > 50


def test_one_object_found_twice_is_no_rival_of_itself(estimator: Estimator) -> None:
    image, boxes, _, _ = street()
    twice = [boxes[0], boxes[0] + [2.0, -1.0, 2.0, 1.0]]
    alone = [estimator.estimate(image, CAMERA.K, box) for box in twice]
    both = estimator.estimate_together(image, CAMERA.K, twice)
    assert [one.energy for one in both] == [one.energy for one in alone]
    assert not rivals(*twice)
    assert rivals(*boxes)
    assert not rivals(boxes[0], boxes[0] + 1000.0)


def test_without_time_for_it_all_stay_as_they_are(estimator: Estimator) -> None:
    image, boxes, _, _ = street()
    seen = estimator.observe_many(image, CAMERA.K, boxes)
    alone = [estimator.solve(one) for one in seen]
    settled = compete(seen, alone, lambda k, one: None, lambda _, *one: estimator.gains(*one))
    assert [each.estimate for each in settled] == alone
    assert all(each.behind == () for each in settled)


def test_gains_sum_up_to_the_energy(estimator: Estimator) -> None:
    image, boxes, _, _ = street()
    near = estimator.observe(image, CAMERA.K, boxes[0])
    found = estimator.solve(near)
    gains = estimator.gains(near, found)
    assert np.maximum(gains, 0.0).sum() == pytest.approx(found.energy, rel=0.02)
    assert ((gains > 0.0) == (found.occlusion == 1)).mean() > 0.98


def test_a_mask_is_mirrored_about_the_principal_column() -> None:
    mask = np.zeros((2, 24), dtype=bool)
    mask[0, 3] = True
    assert np.argwhere(mirrored_cells(mask, 11.5)).tolist() == [[0, 20]]
    assert np.argwhere(mirrored_cells(mask, 11.0625)).tolist() == [[0, 19]]
