# SPDX-License-Identifier: Apache-2.0
"""Scoring against ground truth, on sequences whose scores can be told by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nemo_ros.conversion import ObjectPose
from nemo_ros.scoring import Answer, pair_up, score

SIZE = np.array([1.8, 4.5, 1.5])
STEP = 100_000_000


def pose(name: str, x: float, z: float, yaw_deg: float = 0.0, category: str = "car") -> ObjectPose:
    c, s = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    T = np.eye(4)
    T[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    T[:3, 3] = (x, 0.0, z)
    return ObjectPose(name, category, 0.8, T, np.eye(6), SIZE)


def answers(*frames: list[ObjectPose]) -> list[Answer]:
    return [Answer(i * STEP, tuple(objects)) for i, objects in enumerate(frames)]


def truth(*frames: list[ObjectPose]) -> dict[int, list[ObjectPose]]:
    return {i * STEP: objects for i, objects in enumerate(frames)}


def test_errors_are_the_ones_that_were_put_in():
    result = score(answers([pose("t", 0.3, 10.4, 25.0)]), truth([pose("a", 0.0, 10.0, 20.0)]))
    (match,) = result.matches
    assert match.rotation_deg == pytest.approx(5.0)
    assert match.position_m == pytest.approx(0.5)
    assert match.depth_share == pytest.approx(math.hypot(0.3, 10.4) / 10.0 - 1.0)
    summary = result.summary()
    assert summary["recall"] == 1.0
    assert summary["acc_pi_18"] == 1.0
    assert summary["rotation_median_deg"] == pytest.approx(5.0)


def test_accuracy_counts_shares():
    real = [[pose("a", 0, 10)]] * 4
    guesses = [[pose("t", 0, 10, yaw)] for yaw in (2.0, 15.0, 25.0, 170.0)]
    summary = score(answers(*guesses), truth(*real)).summary()
    assert summary["acc_pi_6"] == 0.75
    assert summary["acc_pi_18"] == 0.25


def test_the_nearest_belong_together():
    real = [pose("a", -2, 10), pose("b", 2, 10)]
    found = [pose("x", 2.2, 11), pose("y", -2.1, 9)]
    assert pair_up(real, found) == [(0, 1), (1, 0)]


def test_one_behind_the_other_is_told_by_distance():
    real = [pose("near", 0, 8), pose("far", 0.4, 20)]
    found = [pose("x", 0.3, 19), pose("y", 0.05, 8.5)]
    assert pair_up(real, found) == [(0, 1), (1, 0)]


def test_the_same_id_goes_first():
    real = [pose("a", -1.0, 10), pose("b", 1.0, 10)]
    found = [pose("b", 0.2, 10), pose("a", 0.1, 10)]
    assert pair_up(real, found) == [(0, 1), (1, 0)]


def test_far_apart_or_of_another_category_is_no_match():
    assert pair_up([pose("a", -6, 10)], [pose("x", 6, 10)]) == []
    assert pair_up([pose("a", -6, 10)], [pose("a", 16, 10)]) == []
    assert pair_up([pose("a", 0, 10)], [pose("x", 0, 10, category="bus")]) == []


def test_missing_frames_lower_recall_and_extra_estimates_are_counted():
    real = truth([pose("a", 0, 10)], [pose("a", 0, 10)], [pose("a", 0, 10)], [pose("a", 0, 10)])
    given = answers([pose("t", 0, 10)], [], [pose("t", 0, 10), pose("u", 8, 10)])
    summary = score(given, real).summary()
    assert summary["truth_frames"] == 4
    assert summary["answered_frames"] == 3
    assert summary["recall"] == 0.5
    assert summary["unmatched_estimates"] == 1


def test_answers_at_other_stamps_are_left_out():
    result = score([Answer(5, (pose("t", 0, 10),))], truth([pose("a", 0, 10)]))
    assert result.matches == ()
    assert result.unmatched_estimates == 0


def test_switches_fragmentations_and_gaps():
    real = truth(*[[pose("a", 0, 10)]] * 8)
    names = ["t", "t", None, None, None, "t", "u", None]
    given = answers(*[[pose(name, 0, 10)] if name else [] for name in names])
    (obj,) = score(given, real).objects
    assert (obj.frames, obj.found) == (8, 4)
    assert obj.id_switches == 1
    assert obj.fragmentations == 1  # the gap at the end is not followed by a return
    assert obj.longest_gap_frames == 3
    assert obj.longest_gap_s == pytest.approx(0.3)


def test_a_late_start_is_no_fragmentation():
    real = truth(*[[pose("a", 0, 10)]] * 3)
    (obj,) = score(answers([], [pose("t", 0, 10)], [pose("t", 0, 10)]), real).objects
    assert obj.fragmentations == 0
    assert obj.longest_gap_frames == 1


def test_nothing_found_gives_no_averages():
    summary = score(answers([]), truth([pose("a", 0, 10)])).summary()
    assert summary["recall"] == 0.0
    assert summary["rotation_median_deg"] is None
    assert summary["acc_pi_6"] is None
    assert score([], {}).summary()["recall"] is None
