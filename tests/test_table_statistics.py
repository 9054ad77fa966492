# SPDX-License-Identifier: Apache-2.0
"""The bootstrap of nemo table against known cases, and the paired difference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import strategies as st
from properties import holds_for

from nemo_model.comparison.statistics import (
    METRICS,
    Interval,
    _medians,
    _object_counts,
    bootstrap,
    difference,
    verdict,
)


def flat(count: int) -> np.ndarray:
    return np.zeros(count, dtype=int)


def test_one_seed_gives_the_binomial_interval() -> None:
    errors = np.where(np.arange(400) < 280, 5.0, 50.0)
    boot = bootstrap(errors, flat(400), "a", resamples=8000)
    found = boot.interval("acc_pi_6")
    half = 1.96 * math.sqrt(0.7 * 0.3 / 400)
    assert found.value == pytest.approx(0.7)
    assert found.low == pytest.approx(0.7 - half, abs=0.006)
    assert found.high == pytest.approx(0.7 + half, abs=0.006)


def test_seeds_widen_the_interval_as_their_spread_says() -> None:
    """Two trainings, one with all right, one with none: a quarter of the draws is all or none."""
    errors = np.stack([np.full(50, 5.0), np.full(50, 90.0)])
    boot = bootstrap(errors, flat(50), "a", resamples=4000)
    found = boot.interval("acc_pi_6")
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)
    shares, counts = np.unique(np.round(boot.samples[:, 0], 6), return_counts=True)
    assert shares.tolist() == [0.0, 0.5, 1.0]
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    alike = bootstrap(np.stack([errors[0], errors[0]]), flat(50), "a").interval("acc_pi_6")
    assert alike.high == 1.0
    assert alike.low == pytest.approx(1 / (1 + 1.96**2 / 50))  # Wilson's where none is wrong


def test_the_median_of_a_normal_sample() -> None:
    """The median's standard error is 1.2533 sigma / sqrt(n)."""
    errors = np.random.default_rng(1).normal(20.0, 4.0, 900)
    boot = bootstrap(errors, flat(900), "a", resamples=4000)
    found = boot.interval("median_deg")
    assert found.value == pytest.approx(float(np.median(errors)))
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 1.2533 * 4.0 / 30, rel=0.25)


@holds_for(st.integers(0, 10_000), st.integers(1, 12), examples=60)
def test_medians_of_resamples_are_numpys(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    errors = rng.integers(0, 6, count).astype(float)
    counts = _object_counts(rng, 5, count)
    assert (counts.sum(axis=1) == count).all()
    expected = [np.median(np.repeat(errors, row)) for row in counts]
    assert _medians(errors, counts).tolist() == expected


def test_same_seed_same_bytes_and_another_seed_differs() -> None:
    errors = np.random.default_rng(2).uniform(0, 60, (3, 80))
    first, again = (bootstrap(errors, flat(80), "a") for _ in range(2))
    assert first.samples.tobytes() == again.samples.tobytes()
    assert (bootstrap(errors, flat(80), "a", seed=1).samples != first.samples).any()
    assert (bootstrap(errors, flat(80), "b").samples != first.samples).any()  # its seeds


def test_categories_count_by_their_objects_and_keep_them() -> None:
    """30 cars right, 10 buses wrong: every resample has 30 cars, so the share never moves."""
    errors = np.where(np.arange(40) < 30, 5.0, 90.0)
    strata = np.repeat([0, 1], [30, 10])
    boot = bootstrap(errors, strata, "a")
    assert boot.values[0] == pytest.approx(0.75)
    assert boot.samples[:, 0] == pytest.approx(0.75)
    assert boot.values[2] == pytest.approx(0.75 * 5 + 0.25 * 90)  # medians, weighted
    one = bootstrap(errors, flat(40), "a")
    assert np.ptp(one.samples[:, 0]) > 0.1


def test_a_paired_difference_is_sharper_than_two_intervals() -> None:
    """The same hard objects are wrong for both; one system has 20 of 400 more of them right."""
    reference = np.where(np.arange(400) < 240, 5.0, 50.0)
    ours = np.where(np.arange(400) < 260, 5.0, 50.0)
    a, b = (bootstrap(e, flat(400), name) for e, name in ((ours, "a"), (reference, "b")))
    assert a.interval("acc_pi_6").low < b.interval("acc_pi_6").high  # they overlap
    gap = difference(a, b, "acc_pi_6")
    half = 1.96 * math.sqrt(0.05 * 0.95 / 400)  # of the 20 that differ
    assert gap.value == pytest.approx(0.05)
    assert (gap.low, gap.high) == (pytest.approx(0.05 - half, abs=0.006),
                                   pytest.approx(0.05 + half, abs=0.006))  # fmt: skip
    assert verdict(gap, "acc_pi_6") == "ahead"
    back = difference(b, a, "acc_pi_6")
    assert (back.value, back.low, back.high) == pytest.approx((-gap.value, -gap.high, -gap.low))


def test_verdicts() -> None:
    assert verdict(Interval(0.1, 0.02, 0.2), "acc_pi_6") == "ahead"
    assert verdict(Interval(-0.1, -0.2, -0.02), "acc_pi_18") == "behind"
    assert verdict(Interval(-2.0, -3.0, -1.0), "median_deg") == "ahead"  # smaller errors
    assert verdict(Interval(2.0, 1.0, 3.0), "median_deg") == "behind"
    assert verdict(Interval(0.1, -0.01, 0.2), "acc_pi_6") == "undecided"
    assert verdict(Interval(0.0, 0.0, 0.0), "acc_pi_6") == "undecided"


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"errors \(1, 3\) and strata \(2,\)"):
        bootstrap(np.zeros(3), flat(2), "a")
    with pytest.raises(ValueError, match="same objects"):
        difference(bootstrap(np.ones(3), flat(3), "a"), bootstrap(np.ones(4), flat(4), "b"),
                   METRICS[0])  # fmt: skip
