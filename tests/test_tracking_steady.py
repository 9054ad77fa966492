# SPDX-License-Identifier: Apache-2.0
"""Rotations averaged over frames: scatter shrinks, a lag does not stay, doubt weighs less."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nemo_model.boxes import Floats
from nemo_model.tracking.motion import LEAST_DOUBT, Steadier

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
        now = steadier.steady(turn(each), now, worth, DT, turning)
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
