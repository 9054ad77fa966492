# SPDX-License-Identifier: Apache-2.0
"""Figures with intervals: a bootstrap over objects and seeds, and paired differences.

The errors of a system are a matrix (S, N): S trainings that differ in their seed, N objects, the
same ones for every training. A resample draws N objects (within each category as many as there
are) and S seeds, with replacement, and takes the figure's mean over the drawn seeds (the crossed
bootstrap of A. Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1, 2007). Intervals are
percentiles. Two systems are compared on the same drawn objects; their seeds are drawn apart.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nemo_model.evaluation import metrics

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

METRICS = ("acc_pi_6", "acc_pi_18", "median_deg")
LIMITS = {"acc_pi_6": metrics.PI_6, "acc_pi_18": metrics.PI_18}
COVERAGE = 0.95
_CHUNK = 4_000_000
"""Object counts drawn at once."""


@dataclass(frozen=True)
class Interval:
    """A figure and the limits of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Bootstrap:
    """The figures of a system, METRICS in order: values (M,) and their resamples (B, M)."""

    values: Floats
    samples: Floats
    right: Floats
    """Share of right objects over all seeds (M,), NaN for the median: tells all from none."""
    objects: int
    seeds: int

    def interval(self, metric: str) -> Interval:
        """A figure's interval; Wilson's where all objects are right or all wrong, since a
        resample of them never differs."""
        k = METRICS.index(metric)
        value = float(self.values[k])
        if self.right[k] in (0.0, 1.0):
            low, high = metrics.wilson(round(self.right[k] * self.objects), self.objects)
            return Interval(value, low, high)
        return Interval(value, *_percentiles(self.samples[:, k]))


def bootstrap(
    errors_deg: npt.ArrayLike,
    strata: npt.ArrayLike,
    stream: str,
    resamples: int = 2000,
    seed: int = 0,
) -> Bootstrap:
    """Resample a system's errors (S, N), degrees.

    Args:
        strata: the category's number of each object (N,). The figure of all is the mean of the
            categories' figures, weighted by their objects, as in the paper.
        stream: names the draws of seeds; those of objects depend on strata, resamples and seed
            alone, so that systems can be compared.

    Raises ValueError where there are no objects or the shapes differ.
    """
    errors = np.atleast_2d(np.asarray(errors_deg, dtype=np.float64))
    groups = np.asarray(strata, dtype=np.int64)
    if errors.ndim != 2 or not errors.size or groups.shape != errors.shape[1:]:
        raise ValueError(f"errors {errors.shape} and strata {groups.shape} must be (S, N) and (N,)")
    seeds, count = errors.shape
    mix = _seed_weights(seeds, resamples, seed, stream)  # (B, S)
    values, samples = np.zeros(len(METRICS)), np.zeros((resamples, len(METRICS)))
    for number in np.unique(groups):
        own = errors[:, groups == number]
        share = own.shape[1] / count
        values += share * _figures(own)
        rng = np.random.default_rng([seed, int(number), own.shape[1]])
        step = max(_CHUNK // own.shape[1], 1)
        for start in range(0, resamples, step):
            part = slice(start, min(start + step, resamples))
            counts = _object_counts(rng, part.stop - part.start, own.shape[1])
            samples[part] += share * _resampled(own, counts, mix[part])
    right = [float(np.mean(errors < LIMITS[m])) if m in LIMITS else np.nan for m in METRICS]
    return Bootstrap(values, samples, np.array(right), count, seeds)


def difference(ours: Bootstrap, reference: Bootstrap, metric: str) -> Interval:
    """A system's figure minus the reference's, both resampled with the same objects.

    Raises ValueError where the numbers of objects or resamples differ.
    """
    if ours.objects != reference.objects or ours.samples.shape != reference.samples.shape:
        raise ValueError("a paired difference needs the same objects and resamples")
    k = METRICS.index(metric)
    gap = ours.samples[:, k] - reference.samples[:, k]
    return Interval(float(ours.values[k] - reference.values[k]), *_percentiles(gap))


def verdict(gap: Interval, metric: str) -> str:
    """ "ahead" or "behind" of the reference where the interval leaves zero out, else
    "undecided"."""
    if gap.low <= 0.0 <= gap.high:
        return "undecided"
    better = gap.low > 0.0 if metric in LIMITS else gap.high < 0.0
    return "ahead" if better else "behind"


def _figures(errors: Floats) -> Floats:
    """METRICS (M,) of errors (S, N): the mean over the seeds of each seed's figure."""
    rights = [np.mean(errors < limit) for limit in LIMITS.values()]
    return np.array([*rights, np.mean(np.median(errors, axis=1))])


def _resampled(errors: Floats, counts: Counts, mix: Floats) -> Floats:
    """METRICS (B, M) of errors (S, N) under object counts (B, N) and seed weights (B, S)."""
    total = errors.shape[1]
    found = []
    for limit in LIMITS.values():
        hits = counts @ (errors < limit).T.astype(np.float64) / total  # (B, S)
        found.append((hits * mix).sum(axis=1))
    middles = np.stack([_medians(own, counts) for own in errors], axis=1)  # (B, S)
    found.append((middles * mix).sum(axis=1))
    return np.stack(found, axis=1)


def _medians(errors: Floats, counts: Counts) -> Floats:
    """The median (B,) of errors (N,), each counted as often as counts (B, N) say."""
    order = np.argsort(errors, kind="stable")
    upto = np.cumsum(counts[:, order], axis=1)
    total = errors.size
    lower = (upto >= (total + 1) // 2).argmax(axis=1)
    upper = (upto >= total // 2 + 1).argmax(axis=1)
    ranked = errors[order]
    return np.asarray((ranked[lower] + ranked[upper]) / 2)


def _object_counts(rng: np.random.Generator, resamples: int, objects: int) -> Counts:
    """How often each object is drawn (B, N) when N are drawn of N, with replacement."""
    drawn = rng.integers(0, objects, (resamples, objects))
    drawn += np.arange(resamples)[:, None] * objects
    return np.bincount(drawn.ravel(), minlength=resamples * objects).reshape(resamples, objects)


def _seed_weights(seeds: int, resamples: int, seed: int, stream: str) -> Floats:
    """What each training counts (B, S) when S are drawn of S, with replacement; rows sum to 1."""
    name = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "big")
    rng = np.random.default_rng([seed, name])
    return np.asarray(_object_counts(rng, resamples, seeds) / seeds)


def _percentiles(samples: Floats) -> tuple[float, float]:
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return float(low), float(high)
