# SPDX-License-Identifier: Apache-2.0
"""Symmetries: the same look is the same rotation, in angles and in tracking."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tracking_doubles import FakeEstimator, frame

from nemo_model.symmetry import NONE, Symmetry
from nemo_model.tracker import Tracker, TrackerConfig

A = (100.0, 100.0, 200.0, 160.0)


def z(degrees: float) -> np.ndarray:
    return Rotation.from_euler("z", degrees, degrees=True).as_matrix()


@pytest.mark.parametrize("seed", range(5))
def test_any_turn_about_z_looks_the_same(seed):
    R = Rotation.random(random_state=seed).as_matrix()
    for degrees in (10.0, 123.0, -170.0):
        assert Symmetry(0).angle(R, R @ z(degrees)) == pytest.approx(0.0, abs=1e-7)
        np.testing.assert_allclose(Symmetry(0).nearest(R, R @ z(degrees)), R @ z(degrees))
    tilt = Rotation.from_euler("x", 20, degrees=True).as_matrix()
    assert math.degrees(Symmetry(0).angle(R, R @ tilt)) == pytest.approx(20.0)


def test_a_table_looks_the_same_after_quarter_turns_only():
    R = Rotation.random(random_state=3).as_matrix()
    four = Symmetry(4)
    assert math.degrees(four.angle(R, R @ z(90))) == pytest.approx(0.0, abs=1e-6)
    assert math.degrees(four.angle(R, R @ z(100))) == pytest.approx(10.0)
    assert math.degrees(four.angle(R, R @ z(45))) == pytest.approx(45.0)
    assert math.degrees(NONE.angle(R, R @ z(90))) == pytest.approx(90.0)


def test_the_nearest_of_any_turn_is_the_best_of_many():
    rng = np.random.default_rng(0)
    a, b = (Rotation.random(random_state=int(rng.integers(100))).as_matrix() for _ in range(2))
    best = Symmetry(0).angle(a, b)
    assert best <= min(NONE.angle(a @ z(d), b) for d in np.linspace(0, 360, 721)) + 1e-9


def test_a_negative_order_is_refused():
    with pytest.raises(ValueError, match="order is -1"):
        Symmetry(-1)


@pytest.mark.parametrize(("order", "spins"), [(0, False), (1, True)])
def test_a_round_object_does_not_spin(order, spins):
    class Spinning(FakeEstimator):
        symmetry = Symmetry(order)

        def solve(self, seen, *, prior=None, trust_box=True):
            made = super().solve(seen, prior=prior, trust_box=trust_box)
            made.T_cam_obj[:3, :3] = made.T_cam_obj[:3, :3] @ z(37.0 * len(self.calls))
            return made

    tracker = Tracker({"car": Spinning()}, TrackerConfig(cold_every=0, grid_deg=0.0))
    poses = [tracker.step(frame(0.1 * i, A)).tracks[0].estimate.rotation for i in range(6)]
    turns = [NONE.angle(a, b) for a, b in pairwise(poses)]
    assert (max(turns) > 0.1) is spins
