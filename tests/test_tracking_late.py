# SPDX-License-Identifier: Apache-2.0
"""Boxes that come after their image, and a budget that does not suffice for everything."""

from __future__ import annotations

import numpy as np
import pytest
from tracking_doubles import FakeEstimator, frame

from nemo_model.tracker import Detection, LateBoxes, StepResult, Tracker, TrackerConfig
from nemo_model.tracking.budget import Purse

A = (100.0, 100.0, 200.0, 160.0)


def make(estimator: FakeEstimator | None = None, **config: float) -> Tracker:
    settings = {"cold_every": 0, "weak_every": 0, "grid_deg": 0.0} | config
    return Tracker({"car": estimator or FakeEstimator()}, TrackerConfig(**settings))


def moved(box, dx, dy=0.0):
    return (box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy)


def late(t: float, *boxes) -> tuple[LateBoxes, ...]:
    return (LateBoxes(round(t * 1e9), tuple(Detection(box, "car") for box in boxes)),)


def run_late(tracker: Tracker, count: int, lag: int, step_px: float) -> list[StepResult]:
    results = []
    for i in range(count):
        boxes = late(0.1 * (i - lag), moved(A, step_px * (i - lag))) if i >= lag else ()
        results.append(tracker.step(frame(0.1 * i, late=boxes)))
    return results


def test_a_late_box_is_looked_up_in_its_own_image_and_caught_up():
    estimator = FakeEstimator()
    tracker = make(estimator)
    for i in range(3):
        shade = np.full((360, 640, 3), 10 * i, np.uint8)
        made = frame(0.1 * i)
        tracker.step(type(made)(shade, made.camera, made.stamp_ns, ()))
    result = tracker.step(frame(0.3, late=late(0.0, A)))
    assert estimator.modes == ["cold", "warm", "warm", "warm"]
    assert [int(call.image[0, 0, 0]) for call in estimator.calls] == [0, 10, 20, 90]
    (track,) = result.tracks
    assert track.hits == 4
    assert track.detection is None


def test_a_moving_object_is_where_it_is_now_and_not_where_its_late_box_was():
    results = run_late(make(), 20, 3, 6.0)
    errors = [
        abs((r.tracks[0].box[0] + r.tracks[0].box[2]) / 2 - (150.0 + 6.0 * i))
        for i, r in enumerate(results)
        if i > 10
    ]
    assert max(errors) < 9.0  # and not the 18 pixels of three frames
    assert {r.tracks[0].id for r in results[3:]} == {"car-1"}


def test_a_confirmed_object_costs_one_look_per_late_box():
    estimator = FakeEstimator()
    tracker = make(estimator)
    run_late(tracker, 8, 3, 0.0)
    before = len(estimator.calls)
    tracker.step(frame(0.8, late=late(0.5, A)))
    assert len(estimator.calls) - before == 2  # on its own image, and on this one


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_late_boxes_that_jitter_are_held_back(seed):
    """Each teaches once: what is learnt twice looks like a mistake of the prediction."""
    tracker, rng, boxes = make(), np.random.default_rng(seed), []
    for i in range(60):
        jittered = tuple(np.array(A) + rng.normal(0.0, 4.0, 4))
        tracker.step(frame(0.1 * i, late=late(0.1 * (i - 3), jittered) if i >= 3 else ()))
        if i > 20:
            (memory,) = tracker.memories.values()
            boxes.append(memory.box)
    assert np.std(boxes, axis=0).mean() < 3.0  # of 4.0


def test_a_turn_found_late_is_carried_to_the_present():
    class Turned(FakeEstimator):
        angle = 0.0

        def solve(self, seen, *, prior=None, trust_box=True):
            made = super().solve(seen, prior=prior, trust_box=trust_box)
            if trust_box:
                c, s = np.cos(self.angle), np.sin(self.angle)
                made.T_cam_obj[:3, :3] = np.array([[c, s, 0], [0, 0, -1.0], [-s, c, 0]])
            return made

    estimator = Turned()
    tracker = make(estimator, damping_s=0.0)
    run_late(tracker, 6, 2, 0.0)
    estimator.angle = 0.15
    (track,) = tracker.step(frame(0.6, late=late(0.4, A))).tracks
    assert np.arctan2(-track.estimate.T_cam_obj[2, 0], track.estimate.T_cam_obj[0, 0]) == (
        pytest.approx(0.15, abs=1e-6)
    )


def test_a_box_whose_image_is_gone_is_rejected_with_the_reason():
    tracker = make(buffer_frames=2)
    for i in range(4):
        tracker.step(frame(0.1 * i))
    result = tracker.step(frame(0.4, late=late(0.0, A)))
    assert "is not kept" in result.rejected[0].reason
    assert result.tracks == ()


def test_late_boxes_wait_for_the_budget():
    estimator = FakeEstimator()
    costs = {"cost_observe_ms": 4.0, "cost_warm_ms": 1.0, "cost_cold_ms": 6.0}
    tracker = make(estimator, budget_ms=10.0, **costs)
    tracker.step(frame(0.0))
    far = moved(A, 300.0)
    first = tracker.step(frame(0.1, late=late(0.0, A, far)))
    assert len(first.tracks) == 1
    second = tracker.step(frame(0.2))
    third = tracker.step(frame(0.3))
    assert {t.id for r in (second, third) for t in r.tracks} >= {"car-1", "car-2"}


# -- budget ---------------------------------------------------------------------------------------


def test_the_first_payment_is_always_allowed_and_no_other_beyond_the_limit():
    purse = Purse(TrackerConfig(budget_ms=10.0))
    assert purse.pay(12.0)
    assert not purse.pay(0.1)
    purse = Purse(TrackerConfig(budget_ms=10.0))
    assert [purse.pay(4.0) for _ in range(3)] == [True, True, False]
    assert purse.spent == 8.0
    assert all(Purse(TrackerConfig()).pay(1e6) for _ in range(2))


def grid(count: int) -> list[Detection]:
    places = [(60.0 * (i % 10), 100.0 + 90.0 * (i // 10)) for i in range(count)]
    return [Detection((x, y, x + 50.0, y + 40.0), "car", 0.9, f"{k}") for k, (x, y) in
            enumerate(places)]  # fmt: skip


@pytest.mark.parametrize("count", [3, 10])
def test_the_budget_is_kept_and_every_object_gets_its_turn(count):
    estimator = FakeEstimator()
    costs = {"cost_observe_ms": 4.0, "cost_warm_ms": 1.0, "cost_cold_ms": 5.0}
    tracker = make(estimator, budget_ms=20.0, cold_every=3, **costs)
    last: dict[str, int] = {}
    gaps: list[int] = []
    for i in range(40):
        seen = len(estimator.observed)
        result = tracker.step(frame(0.05 * i, *grid(count)))
        assert result.spent_ms <= 20.0
        assert len(estimator.observed) - seen <= 4
        for track in result.tracks:
            if not track.predicted:
                gaps.append(i - last.get(track.id, i))
                last[track.id] = i
    assert len(last) == count
    assert max(gaps[5 * count :]) <= -(-count // 2)


def test_an_object_that_waits_coasts_with_a_lower_score_and_says_so():
    tracker = make(budget_ms=9.5)
    boxes = grid(2)
    for i in range(4):
        result = tracker.step(frame(0.05 * i, *boxes))
    waiting = [t for t in result.tracks if t.predicted]
    assert len(waiting) == 1 == result.waiting
    assert "waits for its turn" in waiting[0].reason
    assert waiting[0].estimate.score < 0.9
    assert np.trace(waiting[0].estimate.covariance) > 0.06


def test_the_same_frames_give_the_same_bytes_with_a_budget_and_late_boxes():
    def run() -> list:
        rng = np.random.default_rng(1)
        tracker = make(budget_ms=16.0, cold_every=3)
        out = []
        for i in range(30):
            boxes = [moved(A, 4.0 * i + rng.normal(0, 2)), moved(A, 200 - rng.normal(0, 2), 80.0)]
            late_ones = late(0.1 * (i - 2), moved(A, 100.0, 100.0)) if i % 4 == 3 else ()
            result = tracker.step(frame(0.1 * i, *boxes[: 1 + i % 2], late=late_ones))
            for track in (*result.tracks, *result.unseen):
                pose = track.estimate.T_cam_obj.tobytes()
                out.append((track.id, track.state, track.reason, pose, result.spent_ms))
        return out

    assert run() == run()


def test_many_corrections_leave_rotations_rotations():
    class Restless(FakeEstimator):
        def solve(self, seen, *, prior=None, trust_box=True):
            made = super().solve(seen, prior=prior, trust_box=trust_box)
            if trust_box:
                a = 0.1 * np.sin(len(self.calls))
                c, s = np.cos(a), np.sin(a)
                made.T_cam_obj[:3, :3] = np.array([[c, s, 0], [0, 0, -1.0], [-s, c, 0]])
                made.T_cam_obj[:3, :3] *= 1.0 + 1e-9  # as rounding leaves it
            return made

    results = run_late(make(Restless()), 80, 3, 0.0)
    R = results[-1].tracks[0].estimate.rotation
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-7)


def test_a_clock_that_runs_faster_than_the_costs_ends_the_work_earlier():
    now = [0.0]

    class Slow(FakeEstimator):
        def observe_many(self, image, K, boxes):
            now[0] += 0.010 * len(boxes)  # 10 ms where the table says 4
            return super().observe_many(image, K, boxes)

    estimator = Slow()
    tracker = make(estimator, budget_ms=40.0)
    tracker.clock = lambda: now[0]
    for i in range(20):
        begin = now[0]
        tracker.step(frame(0.05 * i, *grid(10)))
        assert now[0] - begin <= 0.9 * 0.040 - 0.001 + 1e-9  # what is held back is left
    assert len(estimator.observed) == pytest.approx(20 * 2.5, abs=20)
    tracker = make(Slow(), budget_ms=40.0, cost_cold_ms=4.0)
    begin = now[0]
    tracker.step(frame(0.0, *grid(10)))
    assert now[0] - begin > 0.040, "by the table alone"
