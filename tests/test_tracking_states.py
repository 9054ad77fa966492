# SPDX-License-Identifier: Apache-2.0
"""States of an object: two thresholds, time, reasons; and what of it is published."""

from __future__ import annotations

import numpy as np
import pytest
from tracking_doubles import FakeEstimator, frame

from nemo_model.tracker import Detection, State, Tracker, TrackerConfig
from nemo_model.tracking.states import Look, begin, judge

CONFIG = TrackerConfig(upper_score=0.5, lower_score=0.2, confirm_hits=2, lost_after_s=0.25)
A = (100.0, 100.0, 200.0, 160.0)


def look(t: float, score: float | None, boxed: bool = True, obstacle: str = "") -> Look:
    return Look(round(t * 1e9), boxed, score, "refined", obstacle)


def follow(*looks: Look, config: TrackerConfig = CONFIG) -> list[State]:
    standing = begin(looks[0])
    states = []
    for one in looks:
        standing = judge(standing, one, config)
        states.append(standing.state)
    return states


T, K, O, L = State.TENTATIVE, State.TRACKING, State.OCCLUDED, State.LOST  # noqa: E741


def test_an_object_is_tentative_until_confirmed():
    assert follow(look(0, 0.9), look(0.1, 0.9)) == [T, K]
    assert follow(look(0, 0.9), look(0.1, 0.4), look(0.2, 0.9), look(0.3, 0.9)) == [T, T, T, K]


def test_an_object_with_a_box_that_is_never_confirmed_stays_tentative():
    assert follow(*[look(0.1 * i, 0.1) for i in range(10)]) == [T] * 10
    assert follow(look(0, 0.1), look(0.3, None, False), look(0.6, None, False))[-1] is L


def test_the_state_holds_between_the_thresholds_from_both_sides():
    tracked = (look(0, 0.9), look(0.1, 0.9))
    assert follow(*tracked, look(0.2, 0.3)) == [T, K, K]
    gone = (look(0.2, 0.1), look(0.3, 0.1))
    assert follow(*tracked, *gone, look(0.4, 0.3)) == [T, K, O, O, O]
    assert follow(*tracked, *gone, look(0.4, 0.5)) == [T, K, O, O, K]


def test_without_a_box_the_image_bridges_then_occluded_then_lost():
    looks = [look(0, 0.9), look(0.1, 0.9), look(0.2, 0.6, False), look(0.3, 0.3, False)]
    looks += [look(0.4, 0.1, False), look(0.5, 0.1, False), look(0.6, 0.1, False)]
    assert follow(*looks) == [T, K, K, O, O, O, L]


def test_a_lost_object_has_to_earn_the_upper_threshold():
    looks = [look(0, 0.9), look(0.1, 0.9), look(1.0, None, False)]
    assert follow(*looks, look(1.1, 0.4)) == [T, K, L, L]
    assert follow(*looks, look(1.1, 0.6)) == [T, K, L, K]


def test_lost_is_said_within_three_frames():
    for rate in (10.0, 12.0, 15.0):
        looks = [look(0, 0.9), look(1 / rate, 0.9)]
        looks += [look((2 + i) / rate, None, False) for i in range(4)]
        config = TrackerConfig()
        states = follow(*looks, config=config)
        assert states.index(L) - 2 <= round(config.lost_after_s * rate)
        assert states[2] is O


def test_the_image_alone_is_not_believed_for_ever():
    looks = [look(0, 0.9), look(0.1, 0.9)]
    looks += [look(0.1 * i, 0.9, False) for i in range(2, 30)]
    states = follow(*looks, config=TrackerConfig(bridge_s=1.0))
    assert states[11] is K
    assert states[-1] is L


def test_reasons_are_words():
    standing = begin(look(0, 0.9))
    assert "refined" in judge(standing, look(0, 0.9), CONFIG).reason
    assert "no box, but" in judge(standing, look(0, 0.9, False), CONFIG).reason
    assert "score 0.10 is below 0.2" in judge(standing, look(0, 0.1), CONFIG).reason
    lost = judge(standing, look(1, None, False, "hidden by car-2"), CONFIG)
    assert lost.reason == "hidden by car-2; not seen for 1.0 s"


def test_thresholds_must_be_in_order():
    with pytest.raises(ValueError, match="lower_score"):
        TrackerConfig(lower_score=0.6, upper_score=0.5)


# -- what of it is published ----------------------------------------------------------------------


def scored(*scores: float) -> FakeEstimator:
    return FakeEstimator(lambda mode, n: (10.0, scores[min(n, len(scores)) - 1]))


def quiet(estimator: FakeEstimator, **config: float) -> Tracker:
    settings = {"cold_every": 0, "weak_every": 0, "grid_deg": 0.0} | config
    return Tracker({"car": estimator}, TrackerConfig(**settings))


def test_a_missing_box_is_bridged_with_a_falling_score_and_the_box_is_not_trusted():
    estimator = scored(0.9)
    tracker = quiet(estimator)
    for i in range(3):
        tracker.step(frame(0.1 * i, A))
    scores = [tracker.step(frame(0.1 * i)).tracks[0].estimate.score for i in range(3, 6)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(0.9 * 0.5**0.1)
    assert [call.trust_box for call in estimator.calls] == [True] * 3 + [False] * 3


def test_an_unsupported_object_is_not_published_but_known_with_its_reason():
    tracker = quiet(scored(0.9, 0.9, 0.05))
    tracker.step(frame(0.0, A))
    tracker.step(frame(0.1, A))
    result = tracker.step(frame(0.2))
    assert result.tracks == ()
    (unseen,) = result.unseen
    assert (unseen.id, unseen.state) == ("car-1", State.OCCLUDED)
    assert "score 0.05" in unseen.reason
    for i in range(3, 6):
        (unseen,) = tracker.step(frame(0.1 * i)).unseen
    assert unseen.state is State.LOST
    assert unseen.estimate.score < 0.9 * 0.7


def test_a_lost_object_is_found_under_its_id_by_place_and_forgotten_in_the_end():
    def lost() -> tuple[Tracker, FakeEstimator]:
        estimator = scored(0.9, 0.9, 0.05)
        tracker = quiet(estimator, forget_after_s=2.0)
        for i in range(2):
            tracker.step(frame(0.1 * i, A))
        for i in range(2, 12):
            result = tracker.step(frame(0.1 * i))
        assert [t.state for t in result.unseen] == [State.LOST]
        estimator.answer = lambda mode, n: (10.0, 0.9)
        return tracker, estimator

    near = (150.0, 105.0, 250.0, 165.0)
    tracker, _ = lost()
    (found,) = tracker.step(frame(1.2, near)).tracks
    assert (found.id, found.state) == ("car-1", State.TRACKING)
    tracker, _ = lost()
    for i in range(12, 40):
        tracker.step(frame(0.1 * i))
    (new,) = tracker.step(frame(4.0, near)).tracks
    assert (new.id, new.state) == ("car-2", State.TENTATIVE)


def test_an_object_that_leaves_the_image_says_so():
    tracker = quiet(scored(0.9))
    for i in range(6):
        x = 400.0 + 40.0 * i
        tracker.step(frame(0.1 * i, (x, 100.0, min(x + 120.0, 639.0), 170.0)))
    results = [tracker.step(frame(0.1 * i)) for i in range(6, 10)]
    assert results[-1].tracks == ()
    assert any("left the image" in track.reason for r in results for track in r.unseen)


def test_two_objects_cross_and_keep_their_ids_one_hidden_by_the_other():
    tracker = quiet(scored(0.9))
    reasons, final = [], []
    for i in range(41):
        x = 12.0 * i
        far = (60.0 + x, 120.0, 140.0 + x, 160.0)
        near = (500.0 - x, 90.0, 640.0 - x - 1, 190.0)
        hidden = abs((far[0] + far[2] - near[0] - near[2]) / 2) < 90
        boxes = [near] if hidden else [far, near]
        result = tracker.step(frame(0.1 * i, *boxes))
        reasons += [t.reason for t in result.unseen]
        final = [(t.id, t.box[2] - t.box[0]) for t in result.tracks]
    assert any("hidden by car-2" in reason for reason in reasons)
    assert {name: round(width) for name, width in final} == {"car-1": 80, "car-2": 139}


def test_detectors_ids_keep_through_crossing_boxes():
    tracker = quiet(scored(0.9))
    tracker.step(frame(0.0, Detection(A, "car", 0.9, "7")))
    assert tracker.step(frame(0.1)).tracks[0].id == "7"
    result = tracker.step(frame(0.2, Detection((300.0, 90, 400, 150), "car", 0.9, "7")))
    assert [t.id for t in result.tracks] == ["7"]


def test_a_turning_object_is_predicted_to_turn_on_while_it_has_no_box():
    class Turning(FakeEstimator):
        def solve(self, seen, *, prior=None, trust_box=True):
            made = super().solve(seen, prior=prior, trust_box=trust_box)
            if trust_box:
                a = 0.1 * len(self.calls)
                made.T_cam_obj[:3, 0] = (np.cos(a), 0.0, -np.sin(a))
                made.T_cam_obj[:3, 1] = (np.sin(a), 0.0, np.cos(a))
            return made

    estimator = Turning()
    tracker = quiet(estimator)
    for i in range(12):
        tracker.step(frame(0.1 * i, A))
    tracker.step(frame(1.2))
    prior = estimator.calls[-1].prior
    assert prior is not None
    ahead = np.arctan2(-prior[2, 0], prior[0, 0])
    assert ahead == pytest.approx(1.3, abs=0.05)  # and not 1.2, where it was
