# SPDX-License-Identifier: Apache-2.0
"""The scores: the logistic that turns evidence into probabilities, and its fit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from nemo_model.calibration import Calibration, Logistic
from nemo_model.confidence import fit_logistic, probabilities, scaled, standards
from nemo_model.evidence import STATISTICS, VIEW

NAMES = ("a", "b", "c")


def calibration(**changes: Any) -> Calibration:
    """P30: 0.5 + 2 z_a - z_b; P10: 2 lower; even views: by a alone."""
    fields: dict[str, Any] = {
        "means": {"a": 0.4, "b": 0.5},
        "deviations": {"a": 0.1, "b": 0.25},
        "within_30": Logistic(intercept=0.5, weights={"a": 2.0, "b": -1.0}),
        "within_10": Logistic(intercept=-1.5, weights={"a": 2.0, "b": -1.0}),
        "even_30": Logistic(intercept=0.25, weights={"a": 1.0}),
        "even_10": Logistic(intercept=9.0, weights={}),
        "data": "by hand",
    }
    return Calibration(**(fields | changes))


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scaled statistics (count, 3) and the logits of a known logistic model of them."""
    z = np.random.default_rng(seed).normal(size=(count, 3))
    return z, 0.4 + 1.5 * z[:, 0] - 0.7 * z[:, 2]


def fitted(z: np.ndarray, right: np.ndarray, weights: np.ndarray | None = None) -> Logistic:
    return fit_logistic(z, right.tolist(), np.ones(len(z)) if weights is None else weights, NAMES)


def predicted(model: Logistic, z: np.ndarray) -> np.ndarray:
    logit = model.intercept + z @ [model.weights[name] for name in NAMES]
    return np.asarray(1.0 / (1.0 + np.exp(-logit)))


def test_probabilities_by_hand() -> None:
    """z_a = 1, z_b = 1: 0.5 + 2 - 1 = 1.5, and 2 less for 10 degrees."""
    found = probabilities(calibration(), {"a": 0.5, "b": 0.75, "unused": 3.0})
    assert found == pytest.approx((sigmoid(1.5), sigmoid(-0.5)))


def test_even_views_have_a_model_of_their_own_and_10_degrees_is_never_likelier_than_30() -> None:
    found = probabilities(calibration(), {"a": 0.5, "b": 0.75}, even_views=True)
    assert found == pytest.approx((sigmoid(1.25), sigmoid(1.25)))  # its own would be sigmoid(9)


def test_far_outliers_cannot_make_certain() -> None:
    """Each statistic counts as at most four deviations: 0.5 + 2 * 4 + 4 = 12.5"""
    values = {"a": 1e9, "b": -1e9}
    assert scaled(calibration(), values) == {"a": 4.0, "b": -4.0}
    assert probabilities(calibration(), values)[0] == pytest.approx(sigmoid(12.5))
    hopeless = calibration(within_30=Logistic(intercept=-50.0, weights={}))
    assert 0.0 < probabilities(hopeless, values)[0] < 1e-10


@pytest.mark.parametrize(("margin", "expected"), [(0.3, 0.3), (-0.5, 0.0), (1.7, 1.0)])
def test_without_a_calibration_the_margin_ranks(margin: float, expected: float) -> None:
    assert probabilities(None, {"relative_margin": margin}) == (expected, expected)


def test_a_calibration_that_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="name the same statistics"):
        calibration(means={"a": 0.0})
    with pytest.raises(ValueError, match="must be positive"):
        calibration(deviations={"a": 0.1, "b": 0.0})
    with pytest.raises(ValueError, match="must name statistics"):
        calibration(even_30=Logistic(intercept=0.0, weights={"z": 1.0}))
    with pytest.raises(ValueError, match="within_30: a number beyond 50 is no fit's"):
        calibration(within_30=Logistic(intercept=99.0, weights={}))
    with pytest.raises(ValueError, match="even_10: a number beyond 50 is no fit's"):
        calibration(even_10=Logistic(intercept=0.0, weights={"a": 1e308}))


def test_the_names_of_the_statistics_are_distinct() -> None:
    assert len({*STATISTICS, *VIEW}) == len(STATISTICS) + len(VIEW) == 15


def test_standards() -> None:
    mean, deviation = standards([{"a": 1.0, "b": 5.0}, {"a": 3.0, "b": 5.0}], ("a", "b"))
    np.testing.assert_allclose(mean, [2.0, 5.0])
    np.testing.assert_allclose(deviation, [1.0, 1e-9])


def test_fit_recovers_a_known_logistic() -> None:
    z, logit = drawn(20_000, seed=0)
    right = np.random.default_rng(1).random(len(z)) < 1.0 / (1.0 + np.exp(-logit))
    found = fitted(z, right)
    assert found.intercept == pytest.approx(0.4, abs=0.06)
    assert found.weights["a"] == pytest.approx(1.5, abs=0.08)
    assert found.weights["c"] == pytest.approx(-0.7, abs=0.06)
    assert abs(found.weights["b"]) < 0.06  # it told nothing


def test_fitted_probabilities_are_calibrated() -> None:
    """Of the estimates scored about p, a share of about p is right."""
    z, logit = drawn(20_000, seed=3)
    right = np.random.default_rng(4).random(len(z)) < 1.0 / (1.0 + np.exp(-logit))
    score = predicted(fitted(z[:10_000], right[:10_000]), z[10_000:])
    for lo in np.arange(0.1, 0.9, 0.1):
        group = (score >= lo) & (score < lo + 0.1)
        assert right[10_000:][group].mean() == pytest.approx(score[group].mean(), abs=0.06)


def test_a_weight_of_two_counts_as_twice_the_trial() -> None:
    z, logit = drawn(400, seed=5)
    right = np.random.default_rng(6).random(400) < 1.0 / (1.0 + np.exp(-logit))
    weights = np.where(right, 1.0, 2.0)
    twice = np.concatenate([np.arange(400), np.flatnonzero(~right)])
    one, other = fitted(z, right, weights), fitted(z[twice], right[twice])
    assert one.intercept == pytest.approx(other.intercept, abs=1e-3)
    assert one.weights == pytest.approx(other.weights, abs=1e-3)


def test_separable_and_constant_data_give_finite_weights() -> None:
    """The ridge holds the weights where a threshold tells right from wrong without fault."""
    z, _ = drawn(200, seed=7)
    z[:, 1] = 0.0
    found = fitted(z, z[:, 0] > 0.3)
    assert all(math.isfinite(weight) for weight in found.weights.values())
    assert np.mean((predicted(found, z) > 0.5) == (z[:, 0] > 0.3)) > 0.95


@pytest.mark.parametrize("right", [[True] * 5, [False] * 5, [True, False], []])
def test_there_must_be_something_to_tell_apart(right: list[bool]) -> None:
    z, _ = drawn(len(right) and 5, seed=8)
    with pytest.raises(ValueError, match="right and ones that are wrong"):
        fit_logistic(z, right, np.ones(len(z)), NAMES)
