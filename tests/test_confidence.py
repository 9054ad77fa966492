# SPDX-License-Identifier: Apache-2.0
"""The score: statistics of a solution, the logistic that turns them into a probability, its fit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from nemo_model.bundle import Calibration
from nemo_model.confidence import STATISTICS, fit, probability, statistics
from nemo_model.solver import Solution


def solution(**changes: Any) -> Solution:
    occlusion = np.full((4, 5), -1, dtype=np.int8)
    occlusion[1:3, 1:4] = [[1, 1, 0], [1, 0, 0]]
    fields: dict[str, Any] = {
        "R": np.eye(3), "t": np.array([0, 0, 2.0]), "energy": 3.0, "margin": 1.2,
        "relative_margin": 0.4, "second_R": None, "second_t": None, "second_energy": 1.8,
        "visible_fraction": 0.5, "occlusion": occlusion, "hessian": np.eye(6), "evaluations": 7,
    }  # fmt: skip
    return Solution(**(fields | changes))


def calibration(**changes: Any) -> Calibration:
    fields: dict[str, Any] = {
        "intercept": 0.5,
        "weights": {"energy_per_cell": 2.0, "visible_fraction": -1.0},
        "means": {"energy_per_cell": 0.4, "visible_fraction": 0.5},
        "deviations": {"energy_per_cell": 0.1, "visible_fraction": 0.25},
        "data": "by hand",
    }
    return Calibration(**(fields | changes))


def drawn(count: int, seed: int) -> tuple[list[dict[str, float]], np.ndarray]:
    """Rows of statistics and the logits of a known logistic model of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal([0.3, 0.2, 0.1, 0.8, 0.5], [0.1, 0.15, 0.05, 0.15, 0.4], (count, 5))
    logit = 0.4 + 6.0 * (x[:, 0] - 0.3) + 8.0 * (x[:, 1] - 0.2) - 1.5 * (x[:, 4] - 0.5)
    return [dict(zip(STATISTICS, row, strict=True)) for row in x.tolist()], logit


def test_statistics_by_hand() -> None:
    """Energy 3 and margin 1.2 over six covered cells; the image is twice as coarse as the crop."""
    found = statistics(solution(), scale=2.0)
    assert tuple(found) == STATISTICS
    assert found == pytest.approx({
        "energy_per_cell": 0.5, "relative_margin": 0.4, "margin_per_cell": 0.2,
        "visible_fraction": 0.5, "log_scale": math.log(2.0),
    })  # fmt: skip


def test_statistics_of_nothing_are_finite() -> None:
    nothing = solution(
        occlusion=np.full((4, 5), -1, np.int8), energy=0.0, margin=0.0, relative_margin=0.0
    )
    found = statistics(nothing, scale=1e-9)
    assert all(math.isfinite(value) for value in found.values())
    assert found["log_scale"] == 0.0  # a fine image is no reason for doubt


def test_probability_by_hand() -> None:
    """0.5 + 2 (0.5 - 0.4) / 0.1 - (0.75 - 0.5) / 0.25 = 1.5"""
    found = probability(calibration(), {"energy_per_cell": 0.5, "visible_fraction": 0.75})
    assert found == pytest.approx(1.0 / (1.0 + math.exp(-1.5)))


def test_far_outliers_cannot_make_certain() -> None:
    """Each statistic counts as at most four deviations: 0.5 + 2 * 4 + 4 = 12.5"""
    found = probability(calibration(), {"energy_per_cell": 1e9, "visible_fraction": -1e9})
    assert found == pytest.approx(1.0 / (1.0 + math.exp(-12.5)))
    assert 0.0 < probability(calibration(intercept=-1e6), statistics(solution(), 1.0)) < 1e-10


@pytest.mark.parametrize(("margin", "expected"), [(0.3, 0.3), (-0.5, 0.0), (1.7, 1.0)])
def test_without_a_calibration_the_margin_ranks(margin: float, expected: float) -> None:
    assert probability(None, {"relative_margin": margin}) == expected


def test_fit_recovers_a_known_logistic() -> None:
    rows, logit = drawn(20_000, seed=0)
    truth = 1.0 / (1.0 + np.exp(-logit))
    found = fit(rows, (np.random.default_rng(1).random(len(rows)) < truth).tolist(), "drawn")
    fresh, fresh_logit = drawn(2_000, seed=2)
    predicted = np.array([probability(found, row) for row in fresh])
    expected = 1.0 / (1.0 + np.exp(-fresh_logit))
    assert np.abs(predicted - expected).mean() < 0.03
    assert np.abs(predicted - expected).max() < 0.12
    slope = {name: found.weights[name] / found.deviations[name] for name in STATISTICS}
    assert slope["energy_per_cell"] == pytest.approx(6.0, rel=0.2)
    assert slope["relative_margin"] == pytest.approx(8.0, rel=0.2)
    assert slope["log_scale"] == pytest.approx(-1.5, rel=0.2)
    assert abs(found.weights["visible_fraction"]) < 0.06  # it told nothing
    assert found.data == "drawn"


def test_fitted_probabilities_are_calibrated() -> None:
    """Of the estimates scored about p, a share of about p is right."""
    rows, logit = drawn(20_000, seed=3)
    right = np.random.default_rng(4).random(len(rows)) < 1.0 / (1.0 + np.exp(-logit))
    found = fit(rows[:10_000], right[:10_000].tolist(), "drawn")
    score = np.array([probability(found, row) for row in rows[10_000:]])
    for lo in np.arange(0.1, 0.9, 0.1):
        group = (score >= lo) & (score < lo + 0.1)
        assert right[10_000:][group].mean() == pytest.approx(score[group].mean(), abs=0.06)


def test_more_margin_never_scores_lower_once_fitted() -> None:
    rows, logit = drawn(5_000, seed=5)
    found = fit(rows, (np.random.default_rng(6).random(5_000) * 4 - 2 < logit).tolist(), "drawn")
    row = rows[0]
    scores = [probability(found, row | {"relative_margin": m}) for m in np.linspace(-1, 1, 41)]
    assert all(0.0 <= score <= 1.0 for score in scores)
    assert np.all(np.diff(scores) >= 0.0)
    assert scores[-1] - scores[0] > 0.5


def test_separable_and_constant_data_give_finite_weights() -> None:
    """The ridge holds the weights where a threshold tells right from wrong without fault."""
    rows, _ = drawn(200, seed=7)
    rows = [row | {"visible_fraction": 1.0} for row in rows]
    right = [row["energy_per_cell"] > 0.3 for row in rows]
    found = fit(rows, right, "drawn")
    assert all(math.isfinite(weight) for weight in found.weights.values())
    agreed = [(probability(found, r) > 0.5) == y for r, y in zip(rows, right, strict=True)]
    assert np.mean(agreed) > 0.95
    assert probability(found, rows[0] | {"visible_fraction": 0.5}) <= 1.0


@pytest.mark.parametrize("right", [[True] * 5, [False] * 5, [True, False]])
def test_there_must_be_something_to_tell_apart(right: list[bool]) -> None:
    rows, _ = drawn(5, seed=8)
    with pytest.raises(ValueError, match="right and ones that are wrong"):
        fit(rows, right, "drawn")


def test_no_estimates_at_all() -> None:
    with pytest.raises(ValueError, match="calibration"):
        fit([], [], "drawn")
