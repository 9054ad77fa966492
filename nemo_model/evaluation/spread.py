# SPDX-License-Identifier: Apache-2.0
"""Fits how far right estimates err: the covariance's factors, from errors of known poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.stats import chi2

from nemo_model.calibration import Spread
from nemo_model.covariance import crop_covariance, steady_inverse

Array = np.ndarray

TAIL = 4.0
"""Degrees of freedom of the t distribution that the fit assumes: some labels are far off."""
COVERED = 0.9
"""In the end the variance is scaled so that this share of rotations lies in their ellipsoid."""
MOST = 2500
"""Errors used by the fit of the shape; all of them set the scale."""
RIDGE = 1e-3


@dataclass(frozen=True)
class Errors:
    """Errors (N, 6) by (dw, dt) in the crop camera, object units, of poses R (N, 3, 3), t (N, 3)
    with curvature hessian (N, 6, 6) and scaled statistics z (N, n)."""

    error: Array
    R: Array
    t: Array
    hessian: Array
    z: Array

    def take(self, index: Array) -> Errors:
        """Some of them."""
        return Errors(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


def fit_spread(errors: Errors, names: Sequence[str], seed: int = 0) -> Spread:
    """Fit by maximum likelihood under a t distribution, then scale to cover 90 % of rotations.

    Args:
        errors: of estimates that are right.
        names: of the statistics in errors.z.
        seed: draws the subset that the shape is fitted on.
    """
    count = len(errors.error)
    rng = np.random.default_rng(seed)
    some = errors.take(np.sort(rng.permutation(count)[:MOST]))
    inverse = np.array([steady_inverse(H) for H in some.hessian])
    outer = np.einsum("ni,nj->nij", some.t, some.t)
    flat = np.diag([1.0, 1.0, 0.0])

    def loss(x: Array) -> float:
        C = np.exp(x[0]) * inverse
        C[:, :3, :3] += np.einsum("nij,j,nkj->nik", some.R, np.exp(x[1:4]), some.R)
        C[:, 3:, 3:] += np.exp(x[4]) * flat + np.exp(x[5]) * outer
        doubt = some.z @ x[6:]
        squared = np.einsum(
            "ni,ni->n", some.error, np.linalg.solve(C, some.error[:, :, None])[..., 0]
        )
        value = 0.5 * np.linalg.slogdet(C)[1] + 3.0 * doubt
        value += 0.5 * (TAIL + 6.0) * np.log1p(squared * np.exp(-doubt) / TAIL)
        return float(value.mean() + RIDGE * (x[6:] @ x[6:]))

    start = np.log([1.0, 0.05**2, 0.05**2, 0.05**2, 0.02**2, 0.05**2])
    start = np.concatenate([start, np.zeros(len(names))])
    bounds = [(-6.0, 6.0)] + [(-12.0, 0.0)] * 5 + [(-2.0, 2.0)] * len(names)
    x = minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"maxiter": 40}).x
    spread = _spread(x, names, 1.0)
    scale = float(
        np.quantile(distances(errors, spread, names)[:, 0], COVERED) / chi2.ppf(COVERED, 3)
    )
    return _spread(x, names, max(scale, 1e-6))


def distances(errors: Errors, spread: Spread, names: Sequence[str]) -> Array:
    """Squared Mahalanobis distances (N, 2) of rotation and position, without the size's part."""
    found = np.zeros((len(errors.error), 2))
    for k, error in enumerate(errors.error):
        values = dict(zip(names, errors.z[k].tolist(), strict=True))
        C = crop_covariance(errors.hessian[k], errors.R[k], errors.t[k], spread, values)
        found[k, 0] = error[:3] @ np.linalg.solve(C[:3, :3], error[:3])
        found[k, 1] = error[3:] @ np.linalg.solve(C[3:, 3:], error[3:])
    return found


def _spread(x: Array, names: Sequence[str], scale: float) -> Spread:
    deviations = np.sqrt(scale * np.exp(x[1:6])).tolist()
    return Spread(
        curvature=scale * float(np.exp(x[0])),
        rotation=(deviations[0], deviations[1], deviations[2]),
        lateral=deviations[3],
        depth=deviations[4],
        weights=dict(zip(names, x[6:].tolist(), strict=True)),
    )
