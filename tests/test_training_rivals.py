# SPDX-License-Identifier: Apache-2.0
"""The wrong poses that training compares the true one with are wrong as they claim to be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st
from properties import holds_for
from scipy.spatial.transform import Rotation

from nemo_model.mesh import cuboid, mean_outline
from nemo_model.pose import geodesic, rotation_from_angles, transform
from nemo_model.symmetry import Symmetry
from nemo_model.training.rivals import RIVALS, rival_poses, rival_rotations

K = np.array([[90.0, 0.0, 11.5], [0.0, 90.0, 7.5], [0.0, 0.0, 1.0]])
CUBOID = cuboid([-0.2, -0.43, -0.16], [0.2, 0.43, 0.16], 200)
OUTLINE = mean_outline([CUBOID])


def pose(seed: int) -> np.ndarray:
    """An upright car somewhere before the camera."""
    rng = np.random.default_rng(seed)
    R = rotation_from_angles(rng.uniform(-np.pi, np.pi), rng.uniform(-0.1, 0.5), 0.0)
    return transform(R, np.array([*rng.uniform(-0.3, 0.3, 2), rng.uniform(3.0, 6.0)]))


def enclosing(T: np.ndarray) -> np.ndarray:
    uvw = (OUTLINE @ T[:3, :3].T + T[:3, 3]) @ K.T
    uv = uvw[:, :2] / uvw[:, 2:]
    return np.concatenate([uv.min(axis=0), uv.max(axis=0)])


@holds_for(st.integers(0, 10_000), examples=40)
def test_rivals_are_turned_by_what_they_claim(seed) -> None:
    rng = np.random.default_rng(seed)
    R = Rotation.random(random_state=seed).as_matrix()
    rivals = rival_rotations(R, rng)
    assert len(rivals) == 5
    for rival in rivals:
        np.testing.assert_allclose(rival @ rival.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(rival) == pytest.approx(1.0)
    error = np.degrees([geodesic(R, rival) for rival in rivals])
    limits = [(160, 180), (12, 35), (35, 90), (90, 160)]
    for (lo, hi), value in zip(limits, error[:4], strict=True):
        assert lo - 1e-6 <= value <= hi + 1e-6
    assert 0.0 < error[4] < 60.0
    for rival in rivals[:4]:  # other azimuths: the object stays upright
        np.testing.assert_allclose(rival[:, 2], R[:, 2], atol=1e-9)


def test_rivals_turn_both_ways() -> None:
    found = []
    for seed in range(40):
        rival = rival_rotations(np.eye(3), np.random.default_rng(seed))[1]
        found.append(np.sign(rival[1, 0]))
    assert 10 < np.sum(np.array(found) > 0) < 30


@holds_for(st.integers(0, 10_000), examples=30)
def test_a_rival_stands_in_place_or_fills_the_box(seed) -> None:
    """Turned rivals keep the true place or fill the jittered box; nothing is behind the camera."""
    T = pose(seed)
    box = enclosing(T)
    size = np.tile(box[2:] - box[:2], 2)
    rivals = rival_poses(T, OUTLINE, K, True, np.random.default_rng(seed))
    assert len(rivals) == RIVALS
    for rival in rivals[:-1]:
        in_place = np.array_equal(rival[:3, 3], T[:3, 3])
        gap = np.abs(enclosing(rival) - box) / size
        assert in_place or gap.max() < 0.6  # three unknowns do not fit four sides exactly
        assert rival[2, 3] > 0.3 * T[2, 3]


def test_half_of_the_turned_rivals_move_to_fill_the_box() -> None:
    T = pose(3)
    kept, gaps = [], []
    for seed in range(60):
        rivals = rival_poses(T, OUTLINE, K, True, np.random.default_rng(seed))
        kept.extend(np.array_equal(rival[:3, 3], T[:3, 3]) for rival in rivals[:5])
        gaps.append(np.abs(enclosing(rivals[5]) - enclosing(T)).mean())
    assert 0.4 < np.mean(kept) < 0.6
    assert 0.0 < np.median(gaps) < 2.0  # cells: it fills a box near the true one


def test_without_a_box_they_turn_in_place() -> None:
    T = pose(5)
    rivals = rival_poses(T, OUTLINE, K, False, np.random.default_rng(0))
    assert all(np.array_equal(rival[:3, 3], T[:3, 3]) for rival in rivals[:-1])


def test_the_misplaced_rival_is_unturned_and_elsewhere() -> None:
    T = pose(7)
    ratios = []
    for seed in range(50):
        last = rival_poses(T, OUTLINE, K, True, np.random.default_rng(seed))[-1]
        np.testing.assert_array_equal(last[:3, :3], T[:3, :3])
        ratios.append(last[2, 3] / T[2, 3])
    assert 0.08 < np.std(np.log(ratios)) < 0.16
    assert np.mean(np.array(ratios) > 1.0) == pytest.approx(0.5, abs=0.25)


@pytest.mark.parametrize("symmetry", [0, 2, 4])
def test_no_rotation_that_looks_as_the_truth_is_a_rival(symmetry: int) -> None:
    for seed in range(30):
        R = Rotation.random(random_state=seed).as_matrix()
        rivals = rival_rotations(R, np.random.default_rng(seed), symmetry)
        angles = [np.degrees(Symmetry(symmetry).angle(rival, R)) for rival in rivals[:4]]
        assert min(angles) > 2.9  # 12 degrees over 4
        assert max(angles) > 30.0
