# SPDX-License-Identifier: Apache-2.0
"""Of many tracked objects some are sought everywhere in a frame: in turn, the doubtful first."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from tracking_doubles import FakeEstimator, frame

from nemo_model.boxes import Box, Detection
from nemo_model.tracker import Tracker, TrackerConfig

BOXES: tuple[Box, ...] = tuple((20.0 + 150.0 * k, 80, 120.0 + 150.0 * k, 140) for k in range(4))
SURE = 0.9
BEGIN = 4
"""Frames after which none of them is tentative any more."""


class Scored(FakeEstimator):
    """Gives each box a score of its own, and notes which are sought everywhere."""

    def __init__(self, scores: dict[Box, float] | None = None) -> None:
        super().__init__()
        self.scores, self.sought = scores or {}, Counter[Box]()

    def solve(self, seen: Any, *, prior: Any = None, trust_box: bool = True) -> Any:
        found = super().solve(seen, prior=prior, trust_box=trust_box)
        box = min(BOXES, key=lambda one: abs(one[0] - seen.box[0]))  # of the smoothed one
        self.sought[box] += prior is None
        return replace(found, score=self.scores.get(box, SURE))


def searches(
    estimator: Scored, boxes: tuple[Box, ...], frames: int, **config: Any
) -> list[Counter[Box]]:
    """Which boxes are sought everywhere, frame by frame, once they are tracked."""
    settings = {"grid_deg": 0.0, "still_iou": 0.0, "damping_s": 0.0} | config
    tracker = Tracker({"car": estimator}, TrackerConfig(**settings))
    found = []
    for i in range(BEGIN + frames):
        estimator.sought.clear()
        named = (Detection(box, "car", 0.9, f"at {box[0]:g}") for box in boxes)
        tracker.step(frame(0.1 * i, *named))
        found.append(+estimator.sought)
    return found[BEGIN:]


def test_one_object_is_sought_in_every_frame_and_of_many_so_many_as_are_told() -> None:
    for count, most, told in ((1, 1, 1), (4, 1, 1), (4, 3, 3), (4, 0, 4), (2, 3, 2)):
        for one in searches(Scored(), BOXES[:count], 6, cold_most=most):
            assert sum(one.values()) == told


def test_equally_certain_objects_take_turns() -> None:
    found = searches(Scored(), BOXES, 12, cold_most=1)
    for i in range(0, 12, 4):
        assert sum(found[i : i + 4], Counter()) == Counter(BOXES)


def test_a_doubtful_object_comes_more_often_and_no_other_is_forgotten() -> None:
    found = searches(Scored({BOXES[2]: 0.6}), BOXES, 40, cold_most=1)
    counts = sum(found, Counter())
    others = [counts[box] for box in BOXES if box != BOXES[2]]
    assert counts[BOXES[2]] >= 1.5 * max(others)
    assert min(others) >= 5


def test_a_search_of_every_third_frame_is_made_up_for_when_others_had_it() -> None:
    found = searches(Scored(), BOXES[:3], 12, cold_most=1, cold_every=3)
    assert sum(found, Counter()) == Counter(dict.fromkeys(BOXES[:3], 4))


def test_weak_objects_do_not_wait_for_their_turn() -> None:
    weak = dict.fromkeys(BOXES, 0.3)
    found = searches(Scored(weak), BOXES, 6, cold_most=1, weak_every=1, confirm_hits=0)
    assert all(sum(one.values()) == 4 for one in found)


def test_the_number_is_checked() -> None:
    with pytest.raises(ValueError, match="cold_most"):
        TrackerConfig(cold_most=-1)


def test_of_many_objects_some_wait_a_frame_and_are_predicted() -> None:
    tracker = Tracker({"car": Scored()}, TrackerConfig(look_most=3, cold_most=0))
    waited: list[str] = []
    for i in range(12):
        named = [Detection(box, "car", 0.9, f"at {box[0]:g}") for box in BOXES]
        result = tracker.step(frame(0.1 * i, *named))
        assert result.waiting == 1
        for track in result.tracks:
            if track.predicted:
                assert "waits for its turn" in track.reason
                waited.append(track.id)
        if i:  # the fourth object had to wait for its first look
            assert len(result.tracks) == 4
    assert max(Counter(waited).values()) - min(Counter(waited).values()) <= 1
    assert len(set(waited)) == 4


def test_as_many_objects_as_may_be_looked_at_never_wait() -> None:
    for most in (4, 0):
        tracker = Tracker({"car": Scored()}, TrackerConfig(look_most=most))
        for i in range(4):
            named = [Detection(box, "car", 0.9, f"at {box[0]:g}") for box in BOXES]
            result = tracker.step(frame(0.1 * i, *named))
            assert result.waiting == 0
            assert not any(track.predicted for track in result.tracks)


def test_a_new_object_that_flickers_is_looked_at_however_many_there_are() -> None:
    tracker = Tracker({"car": Scored()}, TrackerConfig(look_most=2))
    for i in range(8):
        boxes = BOXES[: 4 if i % 2 else 3]  # the last one has a box in every other frame
        result = tracker.step(
            frame(0.1 * i, *(Detection(b, "car", 0.9, f"{b[0]:g}") for b in boxes))
        )
    assert tracker.memories["470"].estimate is not None
    assert result.waiting == 2


def test_an_object_whose_last_look_failed_is_not_published_while_it_waits() -> None:
    estimator = Scored()
    tracker = Tracker({"car": estimator}, TrackerConfig(look_most=1, weak_every=0))
    shown: list[set[str]] = []
    for i in range(12):
        if i == 8:
            estimator.scores = {BOXES[0]: 0.05}
        named = (Detection(b, "car", 0.9, f"{b[0]:g}") for b in BOXES[:2])
        result = tracker.step(frame(0.05 * i, *named))
        shown.append({t.id for t in result.tracks if t.predicted})
    assert {"20", "170"} <= set().union(*shown[2:8])
    assert "20" not in set().union(*shown[-2:])
