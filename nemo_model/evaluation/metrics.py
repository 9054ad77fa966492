# SPDX-License-Identifier: Apache-2.0
"""Figures over lists of errors: pure functions, degrees in, shares in [0, 1] out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

PI_6 = 30.0
PI_18 = 10.0
FLIP = 150.0
"""From this rotation error on, an estimate counts as turned by about 180 degrees."""
AZIMUTH_BINS = 8


def accuracy(errors_deg: npt.ArrayLike, limit_deg: float) -> float:
    """Share of errors below a limit; NaN for an empty list."""
    errors = np.asarray(errors_deg, dtype=np.float64)
    return float(np.mean(errors < limit_deg)) if errors.size else math.nan


def median(values: npt.ArrayLike) -> float:
    """Median; NaN for an empty list."""
    array = np.asarray(values, dtype=np.float64)
    return float(np.median(array)) if array.size else math.nan


def flip_rate(errors_deg: npt.ArrayLike) -> float:
    """Share of estimates turned by 150 degrees or more: front taken for rear."""
    errors = np.asarray(errors_deg, dtype=np.float64)
    return float(np.mean(errors >= FLIP)) if errors.size else math.nan


def wilson(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a share (E. B. Wilson, JASA 22, 1927); z = 1.96 for 95 %.

    (0, 1) for an empty sample. Raises ValueError where right is not within 0..count.
    """
    if not 0 <= right <= count:
        raise ValueError(f"right = {right} is not within 0 and count = {count}")
    if count == 0:
        return 0.0, 1.0
    share, z2 = right / count, z * z
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = z / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def azimuth_bin(azimuth_deg: float, bins: int = AZIMUTH_BINS) -> int:
    """Number of the bin, bin k centred on k * 360 / bins: 0 sees the front, bins / 2 the rear."""
    width = 360.0 / bins
    return math.floor(azimuth_deg / width + 0.5) % bins


def auroc(scores: npt.ArrayLike, right: Sequence[bool] | npt.NDArray[np.bool_]) -> float:
    """Chance that a right estimate has a higher score than a wrong one, ties counting half.

    NaN where all or none are right.
    """
    values, hit = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    positive, negative = values[hit], np.sort(values[~hit])
    if not positive.size or not negative.size:
        return math.nan
    below = np.searchsorted(negative, positive, side="left")
    upto = np.searchsorted(negative, positive, side="right")
    return float(np.mean(below + upto) / 2 / negative.size)


def calibration_error(
    scores: npt.ArrayLike, right: Sequence[bool] | npt.NDArray[np.bool_], bins: int = 10
) -> float:
    """Expected calibration error: mean |score - share right| over equal bins of [0, 1], weighted.

    NaN for an empty list.
    """
    values, hit = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if not values.size:
        return math.nan
    index = np.clip((values * bins).astype(int), 0, bins - 1)
    gaps = [
        abs(values[index == k].sum() - hit[index == k].sum()) for k in range(bins)
    ]  # fmt: skip
    return float(sum(gaps) / values.size)


def log_loss(scores: npt.ArrayLike, right: Sequence[bool] | npt.NDArray[np.bool_]) -> float:
    """Mean negative log-likelihood of the outcomes, scores clipped to [1e-6, 1 - 1e-6]."""
    values = np.clip(np.asarray(scores, dtype=np.float64), 1e-6, 1 - 1e-6)
    hit = np.asarray(right, dtype=bool)
    return float(-np.mean(np.log(np.where(hit, values, 1 - values)))) if hit.size else math.nan


def risk_coverage(scores: npt.ArrayLike, errors_deg: npt.ArrayLike) -> list[dict[str, float]]:
    """Share of errors of 30 degrees and more among the best-scored 100, 90, ..., 10 %."""
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    gross = np.asarray(errors_deg, dtype=np.float64)[order] >= PI_6
    rows = []
    for tenths in range(10, 0, -1):
        kept = round(len(gross) * tenths / 10)
        if kept:
            rows.append({"kept": tenths / 10, "gross": float(gross[:kept].mean())})
    return rows


def reliability(
    scores: npt.ArrayLike, right: Sequence[bool] | npt.NDArray[np.bool_], bins: int = 10
) -> list[dict[str, float]]:
    """The reliability diagram: per equal bin of [0, 1] that is not empty, n, mean score, share."""
    values, hit = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=np.float64)
    index = np.clip((values * bins).astype(int), 0, bins - 1)
    return [
        {"n": int(chosen.sum()), "score": float(values[chosen].mean()),
         "right": float(hit[chosen].mean())}
        for chosen in (index == k for k in range(bins)) if chosen.any()
    ]  # fmt: skip


def score_figures(
    scores: Sequence[float], errors_deg: Sequence[float], limit: float = PI_6
) -> dict[str, Any]:
    """What a score for "error < limit" is worth; None where there is no figure."""
    right = np.asarray(errors_deg, dtype=np.float64) < limit
    figures: dict[str, Any] = {"n": len(right), "right": number(accuracy(errors_deg, limit))}
    figures |= {
        "auroc": number(auroc(scores, right)),
        "ece": number(calibration_error(scores, right)),
        "nll": number(log_loss(scores, right)),
    }
    return figures


def score_curves(scores: Sequence[float], errors_deg: Sequence[float]) -> dict[str, Any]:
    """Risk-coverage and the reliability diagram of a score for "error < 30 degrees"."""
    right = np.asarray(errors_deg, dtype=np.float64) < PI_6
    return {
        "risk_coverage": risk_coverage(scores, errors_deg),
        "reliability": reliability(scores, right),
    }


def coverage(squared: npt.ArrayLike, freedom: int = 3) -> dict[str, Any]:
    """Share of errors inside their 50, 90 and 99 % ellipsoids, and the mean of the squared
    Mahalanobis distances (NEES, about `freedom` when the covariance is right); NaN are left out."""
    values = np.asarray(squared, dtype=np.float64)
    values = values[np.isfinite(values)]
    found: dict[str, Any] = {"n": len(values)}
    for share in (0.5, 0.9, 0.99):
        inside = float(np.mean(values < chi2.ppf(share, freedom))) if values.size else None
        found[f"inside_{100 * share:g}"] = inside
    return found | {"mean_nees": float(values.mean()) if values.size else None}


def number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(value) else float(value)
