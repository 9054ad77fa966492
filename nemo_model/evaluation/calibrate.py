# SPDX-License-Identifier: Apache-2.0
"""Fits a bundle's confidence and covariance on pictures that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from nemo_model.calibration import Calibration
from nemo_model.confidence import LIMIT, fit_logistic, probabilities, scaled, standards
from nemo_model.errors import NemoError
from nemo_model.estimator import Estimate, Estimator
from nemo_model.evaluation import metrics
from nemo_model.evaluation.spread import Errors, distances, fit_spread
from nemo_model.evaluation.trials import Case
from nemo_model.evidence import STATISTICS, VIEW
from nemo_model.symmetry import of_object

Array = np.ndarray

NAMES = (*STATISTICS, *VIEW)
DOUBT = ("log_energy", "box_gap", "log_scale", "log_cells", "visible_fraction")
"""Statistics that the size of a right estimate's error may depend on."""
EMPTY_WEIGHT = 2.0
"""A trial without an object counts for so many: few photos stand for all that is no object."""
RAREST = 5.0
"""For even views a rare view counts for at most so many."""
FOLDS = 5


@dataclass(frozen=True)
class Trial:
    """One estimate and what was true.

    kind, level, group: of the case. error_deg: of the rotation, inf where there is no object.
    azimuth_deg: true view, None without an object. error, R, t, hessian: as in spread.Errors, None
    without an object.
    """

    kind: str
    level: int
    group: str
    statistics: dict[str, float]
    error_deg: float
    azimuth_deg: float | None = None
    error: Array | None = None
    R: Array | None = None
    t: Array | None = None
    hessian: Array | None = None


def run_trials(estimator: Estimator, cases: Iterable[Case]) -> Iterator[Trial]:
    """Estimate every case; those that are refused (a box outside the image, ...) are left out."""
    for case in cases:
        try:
            estimate = estimator.estimate(case.image, case.K, case.box)
        except NemoError:
            continue
        yield trial(estimator, case, estimate)


def trial(estimator: Estimator, case: Case, estimate: Estimate) -> Trial:
    """Compare an estimate with the truth of its case."""
    values = dict(estimate.statistics)
    truth, solution = case.T_cam_obj, estimate.solution
    if truth is None or solution is None:
        return Trial(case.kind, case.level, case.group, values, math.inf)
    turn = estimate.crop.R_crop_cam
    symmetry = of_object(case.symmetry, estimator.symmetry)
    R = symmetry.nearest(turn @ truth[:3, :3], solution.R)
    turned = Rotation.from_matrix(R @ solution.R.T).as_rotvec()
    camera = -truth[:3, :3].T @ truth[:3, 3]
    return Trial(
        case.kind,
        case.level,
        case.group,
        values,
        math.degrees(float(np.linalg.norm(turned))),
        math.degrees(math.atan2(camera[0], -camera[1])) % 360.0,
        np.concatenate([turned, turn @ truth[:3, 3] - solution.t]),
        solution.R,
        solution.t,
        solution.hessian,
    )


def calibrate(trials: Sequence[Trial], data: str) -> Calibration:
    """Fit the probabilities and the covariance.

    Raises:
        NemoError: when there is nothing to fit: all right, or none.
    """
    rows = [t.statistics for t in trials]
    if not rows:
        raise NemoError("calibration: needs estimates that are right and ones that are wrong")
    mean, deviation = standards(rows, NAMES)
    x = np.array([[row[name] for name in NAMES] for row in rows])
    z = np.clip((x - mean) / deviation, -LIMIT, LIMIT)
    plain, even = _weights(trials, even=False), _weights(trials, even=True)
    own = len(STATISTICS)
    right = [t.error_deg < metrics.PI_6 for t in trials]
    precise = [t.error_deg < metrics.PI_18 for t in trials]
    try:
        return Calibration(
            means=dict(zip(NAMES, mean.tolist(), strict=True)),
            deviations=dict(zip(NAMES, deviation.tolist(), strict=True)),
            within_30=fit_logistic(z, right, plain, NAMES),
            within_10=fit_logistic(z, precise, plain, NAMES),
            even_30=fit_logistic(z[:, :own], right, even, STATISTICS),
            even_10=fit_logistic(z[:, :own], precise, even, STATISTICS),
            spread=fit_spread(_errors(trials, z), DOUBT),
            data=data,
        )
    except ValueError as error:
        raise NemoError(str(error)) from error


def cross_validate(trials: Sequence[Trial], folds: int = FOLDS) -> dict[str, Any]:
    """Judge calibrations that were fitted without the groups (models) that they are judged on.

    Returns {} where there are fewer groups of objects than folds: without one of them nothing might
    be left to fit.
    """
    groups = sorted({t.group for t in trials})
    if len({t.group for t in trials if t.error is not None}) < folds:
        return {}
    fold = {group: k % folds for k, group in enumerate(groups)}
    scored: list[tuple[Trial, float, float, float]] = []
    for k in range(folds):
        fitted = calibrate([t for t in trials if fold[t.group] != k], "")
        for one in (t for t in trials if fold[t.group] == k):
            scored.append((one, *judge(fitted, one)))
    return quality(scored)


def judge(calibration: Calibration, one: Trial) -> tuple[float, float, float]:
    """P(< 30 degrees), P(< 10 degrees), squared Mahalanobis distance of the rotation (or NaN)."""
    right, precise = probabilities(calibration, one.statistics)
    if one.error is None or one.error_deg >= metrics.PI_6:
        return right, precise, math.nan
    z = scaled(calibration, one.statistics)
    row = np.array([[z[name] for name in NAMES]])
    squared = distances(_errors([one], row), calibration.spread, DOUBT)[0, 0]
    return right, precise, float(squared)


def quality(scored: Sequence[tuple[Trial, float, float, float]]) -> dict[str, Any]:
    """Figures of detector-like boxes together and per level, of the other kinds, of no object."""

    def figures(rows: Sequence[tuple[Trial, float, float, float]]) -> dict[str, Any]:
        errors = [row[0].error_deg for row in rows]
        return metrics.score_figures([row[1] for row in rows], errors) | {
            "within_10": metrics.score_figures([row[2] for row in rows], errors, metrics.PI_18),
            "covariance": metrics.coverage([row[3] for row in rows]),
        }

    objects = [row for row in scored if row[0].kind == "object"]
    levels = sorted({row[0].level for row in objects})
    found: dict[str, Any] = {"objects": figures(objects)}
    found["objects"] |= metrics.score_curves(
        [row[1] for row in objects], [row[0].error_deg for row in objects]
    )
    found |= {f"L{k}": figures([row for row in objects if row[0].level == k]) for k in levels}
    for kind in sorted({row[0].kind for row in scored} - {"object"}):
        rows = [row for row in scored if row[0].kind == kind]
        if rows[0][0].level >= 0:
            found[kind] = figures(rows)
        else:
            scores = [row[1] for row in rows]
            found[kind] = {"n": len(rows), "median_score": metrics.median(scores),
                           "share_above_0.5": float(np.mean(np.array(scores) > 0.5))}  # fmt: skip
    return found


def _weights(trials: Sequence[Trial], even: bool) -> Array:
    """What each trial counts (N,); `even`: all views of the object as often as each other."""
    weights = np.array([EMPTY_WEIGHT if t.azimuth_deg is None else 1.0 for t in trials])
    if even:
        bins = np.array(
            [-1 if t.azimuth_deg is None else metrics.azimuth_bin(t.azimuth_deg) for t in trials]
        )
        objects = bins >= 0
        for k in range(metrics.AZIMUTH_BINS):
            count = int((bins == k).sum())
            if count:
                weights[bins == k] = min(objects.sum() / metrics.AZIMUTH_BINS / count, RAREST)
    return weights


def _errors(trials: Sequence[Trial], z: Array) -> Errors:
    """The errors of the right ones; z (N, n) by NAMES."""
    keep = [k for k, t in enumerate(trials) if t.error is not None and t.error_deg < metrics.PI_6]
    columns = [NAMES.index(name) for name in DOUBT]
    picked = [trials[k] for k in keep]
    if not picked:
        raise ValueError("calibration: needs estimates that are right and ones that are wrong")

    def stack(name: str) -> Array:
        return np.array([getattr(t, name) for t in picked])

    z = z[np.ix_(keep, columns)]
    return Errors(stack("error"), stack("R"), stack("t"), stack("hessian"), z)
