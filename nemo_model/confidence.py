# SPDX-License-Identifier: Apache-2.0
"""How likely an estimate is right: logistic models of the evidence, fitted per bundle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from nemo_model.calibration import Calibration, Logistic

RIDGE = 1e-3
LIMIT = 4.0
"""A statistic counts as at most so many deviations from its mean: what is far out proves little."""

Array = npt.NDArray[np.float64]


def scaled(calibration: Calibration, values: Mapping[str, float]) -> dict[str, float]:
    """Return the statistics in deviations from their mean, cut to +-LIMIT."""
    return {
        name: min(max((values[name] - mean) / calibration.deviations[name], -LIMIT), LIMIT)
        for name, mean in calibration.means.items()
    }


def probabilities(
    calibration: Calibration | None, values: Mapping[str, float], even_views: bool = False
) -> tuple[float, float]:
    """Return P(rotation error < 30 degrees) and P(< 10 degrees), the second never above the first.

    A bundle that was not calibrated gives its relative margin twice, which ranks estimates but is
    no probability.

    Args:
        calibration: of the bundle.
        values: the evidence.
        even_views: for objects seen from all sides equally often instead of as in the data.
    """
    if calibration is None:
        margin = min(max(values["relative_margin"], 0.0), 1.0)
        return margin, margin
    z = scaled(calibration, values)
    if even_views:
        models = calibration.even_30, calibration.even_10
    else:
        models = calibration.within_30, calibration.within_10
    right, precise = (_probability(model, z) for model in models)
    return right, min(right, precise)


def _probability(model: Logistic, z: Mapping[str, float]) -> float:
    logit = model.intercept + sum(weight * z[name] for name, weight in model.weights.items())
    return 1.0 / (1.0 + math.exp(-min(max(logit, -30.0), 30.0)))


def standards(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> tuple[Array, Array]:
    """Return means and deviations (n,) of statistics over rows."""
    x = np.array([[row[name] for name in names] for row in rows])
    return x.mean(axis=0), np.maximum(x.std(axis=0), 1e-9)


def fit_logistic(z: Array, right: Sequence[bool], weights: Array, names: Sequence[str]) -> Logistic:
    """Fit a logistic by weighted maximum likelihood with a slight ridge.

    Args:
        z: (N, n) scaled statistics.
        right: N outcomes.
        weights: (N,) what each counts.
        names: of the n statistics.

    Raises:
        ValueError: when all or none are right: there is nothing to tell apart.
    """
    y = np.asarray(right, dtype=np.float64)
    if not len(y) or len(z) != len(y) or not 0.0 < float(y.mean()) < 1.0:
        raise ValueError("calibration: needs estimates that are right and ones that are wrong")
    design = np.concatenate([np.ones((len(z), 1)), z], axis=1)
    share = weights / weights.sum()

    def loss(w: Array) -> tuple[float, Array]:
        logit = design @ w
        value = float(share @ (np.logaddexp(0.0, logit) - y * logit) + 0.5 * RIDGE * w[1:] @ w[1:])
        slope = design.T @ (share * (1.0 / (1.0 + np.exp(-logit)) - y))
        slope[1:] += RIDGE * w[1:]
        return value, slope

    w = np.asarray(minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B").x)
    return Logistic(intercept=float(w[0]), weights=dict(zip(names, w[1:].tolist(), strict=True)))
