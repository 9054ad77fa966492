# SPDX-License-Identifier: Apache-2.0
"""Rotations averaged over frames: scatter shrinks, a lag does not stay, doubt weighs less."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nemo_model.boxes import Floats
from nemo_model.camera import Camera
from nemo_model.symmetry import Symmetry
from nemo_model.tracking.memory import Memory
from nemo_model.tracking.motion import LEAST_DOUBT, MOST_LAG, SOON, Steadier

DT = 1.0 / 12.0
CLEAR = math.radians(6.0) ** 2
AXIS = np.array([0.0, 1.0, 0.0])


def turn(degrees: float) -> Floats:
    return np.asarray(Rotation.from_rotvec(degrees * AXIS, degrees=True).as_matrix())


def angle(R: Floats) -> float:
    return float(Rotation.from_matrix(R).as_rotvec(degrees=True) @ AXIS)


def run(found: list[float], doubt: list[float] | float = CLEAR, turning: bool = False) -> Floats:
    """What a steadier makes of angles, each predicted to be as the last one."""
    doubts = [doubt] * len(found) if isinstance(doubt, float) else doubt
    steadier, now, result = Steadier(), turn(found[0]), []
    for each, worth in zip(found, doubts, strict=True):
        ahead = now if turning else steadier.led(now, DT)
        now = steadier.steady(turn(each), ahead, worth, DT, turning)
        result.append(angle(now))
    return np.array(result)


def test_scatter_shrinks() -> None:
    found = list(np.random.default_rng(0).normal(0.0, 2.0, 400))
    assert np.std(run(found)) < 0.65 * np.std(found)


def test_a_steady_turn_leaves_no_lag() -> None:
    """Without the rate it would stay 0.4 degrees behind."""
    rng = np.random.default_rng(1)
    truth = 0.25 * np.arange(300)
    made = run(list(truth + rng.normal(0.0, 1.0, 300)))
    assert abs(np.mean((made - truth)[60:])) < 0.2


def test_a_miss_that_keeps_its_direction_is_a_lag_and_is_followed() -> None:
    assert run([0.0] * 30 + [6.0] * 2)[-1] > 5.5


def test_what_is_in_doubt_weighs_less() -> None:
    found = [0.0] * 30 + [8.0] * 4
    sure = run(found)[-1]
    unsure = run(found, [CLEAR] * 30 + [9.0 * CLEAR] * 4)[-1]
    assert unsure < 0.5 * sure


def test_no_doubt_is_not_believed_blindly() -> None:
    np.testing.assert_allclose(run([0.0, 2.0, 1.0], 0.0), run([0.0, 2.0, 1.0], LEAST_DOUBT))


@pytest.mark.parametrize("doubt", [math.inf, math.nan, 1e9])
def test_a_variance_that_says_nothing_leaves_the_prediction(doubt: float) -> None:
    made = run([0.0] * 30 + [8.0], [CLEAR] * 30 + [doubt])
    assert abs(made[-1]) < 0.1


def test_a_jump_is_taken_as_it_is_and_forgets() -> None:
    steadier = Steadier()
    for each in (0.0, 1.0, 2.0, 3.0):
        steadier.steady(turn(each), turn(0.0), CLEAR, DT, False)
    assert np.linalg.norm(steadier.rate) > 0.0
    jumped = steadier.steady(turn(60.0), turn(0.0), CLEAR, DT, False)
    assert angle(jumped) == pytest.approx(60.0)
    assert np.linalg.norm(steadier.rate) == 0.0


def test_a_prediction_that_turns_has_no_rate_of_its_own() -> None:
    steadier = Steadier()
    steadier.steady(turn(3.0), turn(0.0), CLEAR, DT, False)
    assert np.linalg.norm(steadier.rate) > 0.0
    steadier.steady(turn(3.0), turn(2.0), CLEAR, DT, True)
    assert np.linalg.norm(steadier.rate) == 0.0


def test_the_rate_is_bounded() -> None:
    steadier = Steadier()
    for k in range(20):
        steadier.steady(turn(0.4 * k + 8.0), turn(0.4 * k), CLEAR, 1e-3, False)
    assert float(np.linalg.norm(steadier.rate)) <= MOST_LAG + 1e-9
    assert angle(steadier.led(turn(0.0), 60.0)) <= math.degrees(MOST_LAG) * SOON + 1e-9


def test_after_a_long_time_the_new_one_counts() -> None:
    def after(seconds: float) -> float:
        steadier = Steadier()
        for _ in range(20):
            steadier.steady(turn(0.0), turn(0.0), CLEAR, DT, False)
        return angle(steadier.steady(turn(8.0), turn(0.0), CLEAR, seconds, False))

    assert after(1.0) > 1.5 * after(DT)


def test_a_poor_first_look_weighs_less_than_a_sure_second_one() -> None:
    poor = Steadier(variance=25.0 * CLEAR).steady(turn(10.0), turn(0.0), CLEAR, DT, False)
    assert angle(poor) > 9.0


def test_any_turn_about_an_axis_of_symmetry_is_no_doubt() -> None:
    C = np.diag([0.0, 0.0, 0.0, 0.01, 0.02, 9.0])
    T = np.eye(4)  # its z axis is the camera's
    estimate: Any = SimpleNamespace(covariance=C, T_cam_obj=T)
    camera = Camera(np.diag([5.0, 5.0, 1.0]), 4, 4)
    for order, expected in ((1, 9.03), (2, 9.03), (0, 0.03)):
        memory = Memory("1", "bottle", (0, 0, 1, 1), camera, 0, 0, Symmetry(order))
        assert memory.doubt(estimate) == pytest.approx(expected)
