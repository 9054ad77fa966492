# SPDX-License-Identifier: Apache-2.0
"""How likely an estimate is right: a logistic model of what the solver saw, fitted per bundle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from nemo_model.bundle import Calibration
from nemo_model.solver import Solution

STATISTICS = (
    "energy_per_cell",
    "relative_margin",
    "margin_per_cell",
    "visible_fraction",
    "log_scale",
)
RIDGE = 1e-2


def statistics(solution: Solution, scale: float) -> dict[str, float]:
    """Return what the confidence is computed from.

    Args:
        solution: of the solver.
        scale: crop pixels per image pixel; above 1 the image is coarser than the crop.
    """
    cells = max(int((solution.occlusion >= 0).sum()), 1)
    return {
        "energy_per_cell": solution.energy / cells,
        "relative_margin": solution.relative_margin,
        "margin_per_cell": solution.margin / cells,
        "visible_fraction": solution.visible_fraction,
        "log_scale": math.log(max(scale, 1.0)),
    }


def probability(calibration: Calibration | None, values: Mapping[str, float]) -> float:
    """Return P(rotation error < 30 degrees) in [0, 1].

    P = 1 / (1 + exp(-(b + sum_k w_k (x_k - mean_k) / deviation_k))). A bundle that was not
    calibrated gives the relative margin instead, which ranks estimates but is no probability.
    """
    if calibration is None:
        return float(np.clip(values["relative_margin"], 0.0, 1.0))
    logit = calibration.intercept
    for name, weight in calibration.weights.items():
        scaled = (values[name] - calibration.means[name]) / calibration.deviations[name]
        logit += weight * float(np.clip(scaled, -4.0, 4.0))
    return float(1.0 / (1.0 + math.exp(-float(np.clip(logit, -30.0, 30.0)))))


def fit(rows: Sequence[Mapping[str, float]], right: Sequence[bool], data: str) -> Calibration:
    """Fit the logistic model by maximum likelihood with a slight ridge.

    Args:
        rows: statistics of N estimates.
        right: whether each was within 30 degrees.
        data: what they come from, for the card.

    Raises:
        ValueError: when all or none are right: there is nothing to tell apart.
    """
    y = np.asarray(right, dtype=np.float64)
    if not len(y) or len(rows) != len(y) or not 0.0 < float(y.mean()) < 1.0:
        raise ValueError("calibration: needs estimates that are right and ones that are wrong")
    x = np.array([[row[name] for name in STATISTICS] for row in rows])
    mean, deviation = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-9)
    scaled = np.clip((x - mean) / deviation, -4.0, 4.0)
    design = np.concatenate([np.ones((len(x), 1)), scaled], axis=1)

    def loss(w: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        z = design @ w
        value = float(np.mean(np.logaddexp(0.0, z) - y * z) + 0.5 * RIDGE * w[1:] @ w[1:])
        slope = design.T @ (1.0 / (1.0 + np.exp(-z)) - y) / len(y)
        slope[1:] += RIDGE * w[1:]
        return value, slope

    w = np.asarray(minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B").x)
    return Calibration(
        intercept=float(w[0]),
        weights=dict(zip(STATISTICS, w[1:].tolist(), strict=True)),
        means=dict(zip(STATISTICS, mean.tolist(), strict=True)),
        deviations=dict(zip(STATISTICS, deviation.tolist(), strict=True)),
        data=data,
    )
