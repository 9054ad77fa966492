# SPDX-License-Identifier: Apache-2.0
"""StarMap: keypoints to maps and back, and a pose from keypoints some of which are wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nemo_model.mesh import cuboid, mean_outline
from nemo_model.pose import geodesic, rotation_from_angles
from nemo_model.rivals.fit import Keypoints, explained, fit_pose
from nemo_model.rivals.keypoints import FIRST, STRIDE, keypoint_maps, sampled
from nemo_model.rivals.starmap import StarMap, read_keypoints

K = np.array([[520.0, 0, 95.5], [0, 520.0, 63.5], [0, 0, 1]])
MESH = cuboid([-0.2, -0.43, -0.16], [0.2, 0.43, 0.16], 300)
OUTLINE = mean_outline([MESH])
SIDES = (True, True, True, True)


def seen(
    R: np.ndarray, t: np.ndarray, outliers: int, seed: int, count: int = 14
) -> tuple[Keypoints, np.ndarray]:
    """Noisy projections of points of the mesh, `outliers` of them anywhere, and the box."""
    rng = np.random.default_rng(seed)
    points = rng.permutation(MESH.vertices)[:count]
    uvw = (points @ R.T + t) @ K.T
    uv = uvw[:, :2] / uvw[:, 2:] + rng.normal(0.0, 1.0, (count, 2))
    uv[:outliers] = rng.uniform([0, 0], [192, 128], (outliers, 2))
    out = (OUTLINE @ R.T + t) @ K.T
    out = out[:, :2] / out[:, 2:]
    box = np.concatenate([out.min(axis=0), out.max(axis=0)])
    return Keypoints(points + rng.normal(0, 0.01, points.shape), uv, np.full(count, 0.7)), box


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_a_known_pose_is_found_among_outliers(seed: int, given: bool) -> None:
    rng = np.random.default_rng(seed)
    R = rotation_from_angles(rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.5), rng.normal(0, 0.1))
    t = np.array([0.02, -0.03, 2.6])
    points, box = seen(R, t, 5, seed)
    found = fit_pose(points, K, box, SIDES, OUTLINE, t if given else None)
    assert math.degrees(geodesic(found.R, R)) < 5.0
    assert found.t is not None
    np.testing.assert_allclose(found.t, t, rtol=0.06, atol=0.0 if given else 0.05)
    assert 0.4 < found.right <= 9.2 / 14 + 0.05  # the share that is explained


def test_the_fit_needs_its_robust_loss() -> None:
    """With as many outliers plain least squares over all keypoints is far off."""
    R, t = rotation_from_angles(1.0, 0.2, 0.0), np.array([0.0, 0.0, 2.6])
    points, box = seen(R, t, 5, 0)
    cv2 = pytest.importorskip("cv2")
    _, rotation, _ = cv2.solvePnP(points.points, points.uv, K, None, flags=cv2.SOLVEPNP_SQPNP)
    assert math.degrees(geodesic(cv2.Rodrigues(rotation)[0], R)) > 10.0
    found = fit_pose(points, K, box, SIDES, OUTLINE, None)
    assert math.degrees(geodesic(found.R, R)) < 5.0


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_keypoints_give_an_unsure_pose_and_no_error(count: int) -> None:
    R, t = rotation_from_angles(1.0, 0.2, 0.0), np.array([0.0, 0.0, 2.6])
    points, box = seen(R, t, 0, 0, count)
    found = fit_pose(points, K, box, SIDES, OUTLINE, None)
    np.testing.assert_allclose(found.R @ found.R.T, np.eye(3), atol=1e-9)
    assert found.t is not None
    assert found.t[2] > 0
    full = fit_pose(*_full(R, t), SIDES, OUTLINE, None)
    assert found.right < full.right
    assert (found.right == 0.0) == (count == 0)


def _full(R: np.ndarray, t: np.ndarray) -> tuple[Keypoints, np.ndarray, np.ndarray]:
    points, box = seen(R, t, 0, 0)
    return points, K, box


def test_explained_counts_keypoints_where_they_belong() -> None:
    R, t = rotation_from_angles(1.0, 0.2, 0.0), np.array([0.0, 0.0, 2.6])
    uvw = (MESH.vertices[:10] @ R.T + t) @ K.T
    points = Keypoints(MESH.vertices[:10], uvw[:, :2] / uvw[:, 2:], np.ones(10))
    assert explained(points, K, R, t) == pytest.approx(10.0)
    assert explained(points, K, R, -t) == 0.0
    moved = Keypoints(points.points, points.uv + np.array([6.0, 0.0]), points.weight)
    assert explained(moved, K, R, t) == pytest.approx(10.0 * math.exp(-0.5))


def test_maps_are_read_back_finer_than_a_cell() -> None:
    points = np.array([[0.1, -0.4, 0.05], [-0.15, 0.2, -0.1], [0.0, 0.4, 0.12]])
    cells = np.array([[5.3, 6.2], [20.8, 10.6], [40.0, 25.45]])
    maps = keypoint_maps(points, cells, 32, 48)
    assert maps["peaks"].sum() == 3
    assert maps["heat"].max() == 1.0
    blob = np.zeros((32, 48))
    rows, cols = np.mgrid[:32, :48]
    for x, y in cells:
        blob = np.maximum(blob, 0.9 * np.exp(-((cols - x) ** 2 + (rows - y) ** 2) / 2.0))
    found = read_keypoints(torch.tensor(blob).float(), torch.from_numpy(maps["canonical"]))
    order = np.argsort(found.uv[:, 0])
    np.testing.assert_allclose(found.uv[order], STRIDE * cells + FIRST, atol=0.2)
    np.testing.assert_allclose(found.points[order], points, atol=1e-6)


def test_a_flat_map_holds_no_keypoints() -> None:
    found = read_keypoints(torch.full((8, 8), 0.05), torch.zeros(3, 8, 8))
    assert found.points.shape == (0, 3)
    assert found.uv.shape == (0, 2)


def test_the_loss_is_lowest_for_the_true_maps() -> None:
    maps = keypoint_maps(np.array([[0.1, -0.4, 0.05]]), np.array([[5.0, 6.0]]), 16, 16)
    batch = {name: torch.from_numpy(value)[None] for name, value in maps.items()}
    network = StarMap(64, 64)
    logit = torch.where(batch["peaks"] > 0, 8.0, -8.0)[:, None]
    true = torch.cat([logit, batch["canonical"]], dim=1)
    best = network.loss(true, batch)[0]
    assert best < 0.01
    assert network.loss(torch.cat([-logit, batch["canonical"]], dim=1), batch)[0] > 1.0
    off = torch.cat([logit, batch["canonical"] + 0.1], dim=1)
    assert network.loss(off, batch)[0] > best + 1.0
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 4, 16, 16)


def test_sampled_points_lie_on_the_outside_and_apart() -> None:
    points = sampled(MESH, 12)
    assert points.shape == (12, 3)
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2) + 9 * np.eye(12)
    assert gaps.min() > 0.15
    np.testing.assert_array_equal(points, sampled(MESH, 12))
