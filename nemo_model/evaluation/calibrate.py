# SPDX-License-Identifier: Apache-2.0
"""Fits a bundle's confidence and covariance scale on objects that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from nemo_model.bundle import Calibration
from nemo_model.confidence import fit
from nemo_model.errors import NemoError
from nemo_model.estimator import Estimate, Estimator
from nemo_model.evaluation.samples import Sample
from nemo_model.pose import geodesic

RIGHT = math.radians(30.0)
PRECISE = math.radians(15.0)
"""Errors up to here count for the covariance; larger ones are another mode."""


@dataclass(frozen=True)
class Trial:
    """One estimate and whether it was right; `squared` is its rotation error's Mahalanobis
    distance squared under a variance scale of 1, None where that means nothing."""

    statistics: dict[str, float]
    right: bool
    squared: float | None


def object_trials(
    estimator: Estimator, samples: Iterable[Sample], jitter: float, rng: np.random.Generator
) -> list[Trial]:
    """Estimate each object in a box that errs as a detector's does.

    Args:
        estimator: its bundle without calibration, or with a variance scale of 1.
        samples: labelled objects.
        jitter: standard deviation of each side, as a share of the box's size.
        rng: for the jitter.
    """
    trials = []
    for sample in samples:
        x1, y1, x2, y2 = sample.box
        noise = np.clip(rng.normal(0.0, jitter, 4), -2.5 * jitter, 2.5 * jitter)
        box = sample.box + noise * np.array([x2 - x1, y2 - y1, x2 - x1, y2 - y1])
        try:
            estimate = estimator.estimate(sample.read_image(), sample.K, box)
        except NemoError:
            continue
        trials.append(_trial(estimate, sample.T_cam_obj[:3, :3]))
    return trials


def background_trials(
    estimator: Estimator, photos: Sequence[np.ndarray], count: int, rng: np.random.Generator
) -> list[Trial]:
    """Estimate a pose where there is no object: random boxes on photos without the category."""
    trials = []
    for _ in range(count):
        photo = photos[int(rng.integers(len(photos)))]
        rows, cols = photo.shape[:2]
        w, h = rng.uniform(0.3, 0.95) * cols, rng.uniform(0.3, 0.95) * rows
        x, y = rng.uniform(0, cols - w), rng.uniform(0, rows - h)
        focal = rng.uniform(0.8, 3.0) * cols
        K = np.array([[focal, 0, cols / 2], [0, focal, rows / 2], [0, 0, 1]])
        estimate = estimator.estimate(photo, K, (x, y, x + w, y + h))
        trials.append(Trial(dict(estimate.statistics), False, None))
    return trials


def calibrate(trials: Sequence[Trial], data: str) -> Calibration:
    """Fit the score to P(error < 30 degrees), and the covariance's scale to the errors' median.

    Raises:
        NemoError: when there is nothing to fit: all right, or none.
    """
    try:
        calibration = fit([t.statistics for t in trials], [t.right for t in trials], data)
    except ValueError as error:
        raise NemoError(str(error)) from error
    squared = [t.squared for t in trials if t.squared is not None]
    scale = float(np.median(squared) / chi2.median(3)) if squared else 1.0
    return calibration.model_copy(update={"variance_scale": max(scale, 1e-6)})


def reliability(scores: np.ndarray, right: np.ndarray, bins: int = 10) -> dict[str, float]:
    """Return ECE (equal-width bins), NLL and AUROC of scores (N,) for outcomes (N,) of 0 and 1."""
    at = np.minimum((scores * bins).astype(int), bins - 1)
    gaps = [
        (at == b).mean() * abs(scores[at == b].mean() - right[at == b].mean())
        for b in range(bins)
        if (at == b).any()
    ]
    p = np.clip(scores, 1e-6, 1 - 1e-6)
    nll = -np.mean(right * np.log(p) + (1 - right) * np.log(1 - p))
    good, bad = scores[right > 0.5], scores[right < 0.5]
    higher = (good[:, None] > bad[None]).mean() if len(good) and len(bad) else float("nan")
    ties = (good[:, None] == bad[None]).mean() if len(good) and len(bad) else 0.0
    return {"ece": float(sum(gaps)), "nll": float(nll), "auroc": float(higher + 0.5 * ties)}


def _trial(estimate: Estimate, truth: np.ndarray) -> Trial:
    angle = geodesic(truth, estimate.rotation)
    squared = None
    if angle < PRECISE:
        error = Rotation.from_matrix(truth @ estimate.rotation.T).as_rotvec()
        squared = float(error @ np.linalg.solve(estimate.covariance[3:, 3:], error))
    return Trial(dict(estimate.statistics), angle < RIGHT, squared)
