# SPDX-License-Identifier: Apache-2.0
"""The tracker: joins, warm starts, gates, clocks and bad boxes, with an estimator double."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from tracking_doubles import CAMERA, FakeEstimate, FakeEstimator, frame

from nemo_model.pose import geodesic
from nemo_model.tracker import Detection, Frame, StaleFrame, State, Tracker, TrackerConfig

A = (100.0, 100.0, 200.0, 160.0)
B = (400.0, 100.0, 500.0, 160.0)


def make(estimator: FakeEstimator | None = None, **config: float) -> Tracker:
    config = {"cold_every": 0, "grid_deg": 0.0} | config  # no searches unless they are asked for
    return Tracker({"car": estimator or FakeEstimator()}, TrackerConfig(**config))


def ids(result) -> list[str]:
    return [track.id for track in result.tracks]


def moved(box, dx, dy=0.0):
    return (box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy)


def test_ids_are_stable_over_frames_and_order_of_boxes():
    tracker = make()
    assert ids(tracker.step(frame(0.0, A, B))) == ["car-1", "car-2"]
    assert ids(tracker.step(frame(0.1, moved(B, 9), moved(A, 9)))) == ["car-2", "car-1"]
    third = tracker.step(frame(0.2, moved(A, 18), moved(B, 18)))
    assert ids(third) == ["car-1", "car-2"]
    assert [track.hits for track in third.tracks] == [3, 3]
    assert third.tracks[0].first_stamp_ns == 0


def test_best_overlap_wins_whatever_the_order():
    tracker = make()
    tracker.step(frame(0.0, A))
    result = tracker.step(frame(0.1, moved(A, 30), moved(A, 5)))
    assert ids(result) == ["car-2", "car-1"]


def test_a_far_box_is_a_new_object():
    tracker = make()
    tracker.step(frame(0.0, A))
    assert ids(tracker.step(frame(0.1, B))) == ["car-2", "car-1"]  # the first is bridged


def test_the_detectors_id_decides_against_overlap():
    tracker = make()
    first = tracker.step(frame(0.0, Detection(A, "car", 0.9, "7"), Detection(B, "car", 0.9, "8")))
    assert ids(first) == ["7", "8"]
    swapped = tracker.step(frame(0.1, Detection(B, "car", 0.9, "7"), Detection(A, "car", 0.9, "8")))
    assert ids(swapped) == ["7", "8"]
    assert [track.hits for track in swapped.tracks] == [2, 2]


def test_generated_ids_never_meet_the_detectors_own():
    tracker = make()
    result = tracker.step(frame(0.0, A, Detection(B, "car", 0.9, "car-1")))
    assert ids(result) == ["car-2", "car-1"]


def test_two_boxes_with_one_id_keep_the_better():
    tracker = make()
    low, high = Detection(A, "car", 0.4, "7"), Detection(B, "car", 0.8, "7")
    result = tracker.step(frame(0.0, low, high))
    assert [track.detection for track in result.tracks] == [high]
    assert [r.detection for r in result.rejected] == [low]
    assert "same id '7'" in result.rejected[0].reason


def test_a_known_object_starts_warm_from_its_moved_pose():
    estimator = FakeEstimator()
    tracker = make(estimator)
    first = tracker.step(frame(0.0, Detection(A, "car", 0.9, "7")))
    start = first.tracks[0].estimate.T_cam_obj
    closer = (200.0, 90.0, 320.0, 162.0)  # 20 percent larger, moved to the right
    tracker.step(frame(0.1, Detection(closer, "car", 0.9, "7")))
    assert estimator.modes == ["cold", "warm"]
    prior = estimator.calls[1].prior
    assert prior[2, 3] == pytest.approx(start[2, 3] / 1.2)
    u, v = CAMERA.project(prior[None, :3, 3])[0]
    assert (u, v) == pytest.approx((260.0, 126.0))
    ray = start[:3, 3] / np.linalg.norm(start[:3, 3])  # a jump is put down to the camera's turn:
    seen = prior[:3, 3] / np.linalg.norm(prior[:3, 3])  # it looks as before along its ray
    np.testing.assert_allclose(prior[:3, :3].T @ seen, start[:3, :3].T @ ray, atol=1e-9)


def test_a_still_box_does_not_shake_the_prior():
    estimator = FakeEstimator()
    tracker = make(estimator)
    start = tracker.step(frame(0.0, A)).tracks[0].estimate.T_cam_obj
    tracker.step(frame(0.1, moved(A, 1.0)))
    np.testing.assert_array_equal(estimator.calls[1].prior, start)


@pytest.mark.parametrize(("boxes", "further"), [("whole", True), ("visible", False)])
def test_a_box_of_the_visible_part_that_shrinks_is_no_motion(boxes: str, further: bool) -> None:
    """A wall comes in from the left: the object is as far away as before."""
    estimator = FakeEstimator()
    estimator.boxes = boxes
    tracker = make(estimator)
    tracker.step(frame(0.0, Detection(A, "car", 0.9, "7")))
    short = (150.0, 100.0, 200.0, 160.0)
    tracker.step(frame(0.1, Detection(short, "car", 0.9, "7")))
    first, second = (call.prior for call in estimator.calls)
    assert first is None
    start = estimator.solve(estimator.observe_many(frame(0.0).image, CAMERA.K, [A])[0])
    assert (second[2, 3] > 1.2 * start.T_cam_obj[2, 3]) == further


def test_a_box_cut_by_the_border_does_not_change_the_distance():
    estimator = FakeEstimator()
    tracker = make(estimator)
    start = tracker.step(frame(0.0, (520.0, 100.0, 638.0, 160.0))).tracks[0].estimate.T_cam_obj
    tracker.step(frame(0.1, (580.0, 100.0, 639.5, 160.0)))  # drives out to the right
    prior = estimator.calls[1].prior
    assert prior[2, 3] == pytest.approx(start[2, 3])
    shift = CAMERA.project(prior[None, :3, 3])[0] - CAMERA.project(start[None, :3, 3])[0]
    assert tuple(shift) == pytest.approx((60.0, 0.0))


class Modes(FakeEstimator):
    """Energies by mode; a cold pose is turned round by 180 degrees when `turned`."""

    def __init__(self, warm: float, cold: float, turned: bool = True, score: float = 0.9) -> None:
        super().__init__(lambda mode, number: (cold if mode == "cold" else warm, score))
        self.turned = turned

    def solve(self, seen, *, prior=None, trust_box=True):
        made = super().solve(seen, prior=prior, trust_box=trust_box)
        if prior is None and self.turned and len(self.calls) > 1:
            made.T_cam_obj[:3, :2] *= -1.0
        return made


def test_a_weak_refinement_calls_the_global_search_and_the_better_is_kept():
    answers = {1: (10.0, 0.9), 2: (5.0, 0.9), 3: (9.0, 0.8)}
    estimator = FakeEstimator(lambda mode, number: answers[number])
    tracker = make(estimator)
    tracker.step(frame(0.0, A))
    track = tracker.step(frame(0.1, A)).tracks[0]
    assert estimator.modes == ["cold", "warm", "cold"]
    assert track.estimate.mode == "cold"
    assert track.estimate.energy == 9.0
    assert "50 %" in track.reason
    assert track.id == "car-1"


def test_another_orientation_must_win_clearly_even_while_weak():
    estimator = Modes(warm=5.0, cold=5.1)
    tracker = make(estimator)
    tracker.step(frame(0.0, A))
    tracker.memories["car-1"].reference = 10.0
    tracker.memories["car-1"].standing = dataclasses.replace(
        tracker.memories["car-1"].standing, state=State.TRACKING
    )
    assert tracker.step(frame(0.1, A)).tracks[0].estimate.mode == "warm"


def test_another_orientation_is_taken_after_leading_over_several_frames_not_at_once():
    estimator = Modes(warm=10.0, cold=10.9)
    tracker = make(estimator, cold_every=4)
    tracker.step(frame(0.0, A))
    tracker.memories["car-1"].standing = dataclasses.replace(
        tracker.memories["car-1"].standing, state=State.TRACKING
    )
    start = tracker.memories["car-1"].estimate.T_cam_obj[:3, 0].copy()

    def rival_leads(mode: str, number: int) -> tuple[float, float]:
        prior = estimator.calls[-1].prior
        turned = prior is None or prior[0, 0] * start[0] < 0
        return (10.9 if turned else 10.0), 0.9

    estimator.answer = rival_leads
    seen = []
    for i in range(1, 10):
        track = tracker.step(frame(0.1 * i, A)).tracks[0]
        seen.append(bool(track.estimate.T_cam_obj[:3, 0] @ start < 0))
    assert not any(seen[:4])
    assert seen[-1]
    assert tracker.memories["car-1"].rival is None


def test_a_rival_lowers_the_score_while_it_lives():
    estimator = Modes(warm=10.0, cold=10.0)
    tracker = make(estimator, cold_every=1)
    tracker.step(frame(0.0, A))
    track = tracker.step(frame(0.1, A)).tracks[0]
    assert track.estimate.score == pytest.approx(0.5)
    assert "is watched" in track.reason


def test_a_low_score_is_weak_too():
    estimator = FakeEstimator(lambda mode, number: (10.0, 0.1 if mode == "warm" else 0.9))
    tracker = make(estimator)
    tracker.step(frame(0.0, A))
    tracker.step(frame(0.1, A))
    assert estimator.modes == ["cold", "warm", "cold"]


def test_a_weak_object_is_sought_on_the_local_grid_first():
    def answer(mode: str, number: int) -> tuple[float, float]:
        return (9.0, 0.9) if number == 4 else (10.0, 0.9) if mode == "cold" else (5.0, 0.9)

    estimator = FakeEstimator(answer)
    tracker = make(estimator, grid_deg=15.0)
    start = tracker.step(frame(0.0, A)).tracks[0].estimate.T_cam_obj
    track = tracker.step(frame(0.1, A)).tracks[0]
    assert estimator.modes == ["cold", *["warm"] * 5]
    tried = [call.prior for call in estimator.calls[2:]]
    for T in tried:
        assert math.degrees(geodesic(T[:3, :3], start[:3, :3])) == pytest.approx(15.0)
    assert "local grid" in track.reason
    np.testing.assert_array_equal(track.estimate.T_cam_obj, tried[1])


def test_a_pose_that_looks_better_turned_round_for_some_frames_is_turned():
    class Doubtful(FakeEstimator):
        def solve(self, seen, *, prior=None, trust_box=True):
            made = super().solve(seen, prior=prior, trust_box=trust_box)
            right = prior is not None and prior[0, 0] < 0
            made = dataclasses.replace(made, energy=10.0 if right else 8.0)
            return dataclasses.replace(made, margin=3.0 if right or prior is None else -3.0)

    tracker = make(Doubtful())
    start = tracker.step(frame(0.0, A)).tracks[0].estimate.T_cam_obj[0, 0]
    first = tracker.step(frame(0.1, A)).tracks[0]
    assert first.estimate.T_cam_obj[0, 0] == pytest.approx(start)
    reasons = []
    for i in range(2, 8):
        last = tracker.step(frame(0.1 * i, A)).tracks[0]
        reasons.append(last.reason)
    assert last.estimate.T_cam_obj[0, 0] == pytest.approx(-start)
    assert sum("turned round" in reason for reason in reasons) == 1


def test_while_weak_the_search_is_not_run_on_every_frame():
    estimator = FakeEstimator(lambda mode, number: (10.0, 0.3))
    tracker = make(estimator, weak_every=3)
    for i in range(8):
        tracker.step(frame(0.1 * i, A))
    # cold, then warm with a search at weak frames 1, 4 and 7
    assert estimator.modes.count("cold") == 1 + 3
    assert estimator.modes.count("warm") == 7


def test_the_periodic_check_can_be_set_and_switched_off():
    for every, colds in ((4, 1 + 1 + 2), (0, 1)):  # begun, once while tentative, at hits 4 and 8
        estimator = FakeEstimator()
        tracker = make(estimator, cold_every=every)
        for i in range(9):
            tracker.step(frame(0.1 * i, A))
        assert estimator.modes.count("cold") == colds


def test_a_jump_of_the_camera_does_not_make_a_new_object():
    tracker = make()
    for i in range(3):
        tracker.step(frame(0.1 * i, A))
    assert ids(tracker.step(frame(0.3, moved(A, 0.0, 50.0)))) == ["car-1"]


def test_jittering_boxes_are_smoothed_but_a_growing_object_is_followed():
    rng = np.random.default_rng(0)
    tracker = make()
    errors, raw = [], []
    for i in range(60):
        box = tuple(np.array(A) + rng.normal(0, 1, 4) * 0.1 * np.array([100, 60, 100, 60]))
        track = tracker.step(frame(0.1 * i, box)).tracks[0]
        if i > 20:
            errors.append(np.abs(np.array(track.box) - A).max())
            raw.append(np.abs(np.array(box) - A).max())
    assert np.mean(errors) < 0.7 * np.mean(raw)
    tracker = make()
    for i in range(30):
        grown = 1.0 + 0.04 * i
        box = (320 - 40 * grown, 180 - 25 * grown, 320 + 40 * grown, 180 + 25 * grown)
        track = tracker.step(frame(0.1 * i, box)).tracks[0]
    assert track.box[2] - track.box[0] == pytest.approx(80 * grown, rel=0.05)


def test_a_pause_of_the_stream_drops_all_tracks():
    tracker = make(max_gap_s=2.0)
    tracker.step(frame(0.0, A))
    assert ids(tracker.step(frame(2.5, A))) == ["car-2"]


def test_frames_out_of_order_raise_and_change_nothing():
    tracker = make()
    tracker.step(frame(1.0, A))
    for stamp in (1.0, 0.9):
        with pytest.raises(StaleFrame, match="not newer"):
            tracker.step(frame(stamp, B))
    result = tracker.step(frame(1.1, A))
    assert ids(result) == ["car-1"]
    assert result.tracks[0].hits == 2
    assert not result.reset


def test_a_clock_that_jumps_back_starts_anew():
    estimator = FakeEstimator()
    tracker = make(estimator)
    tracker.step(frame(100.0, A))
    result = tracker.step(frame(0.0, A))
    assert result.reset
    assert ids(result) == ["car-1"]
    assert result.tracks[0].hits == 1
    assert estimator.modes == ["cold", "cold"]


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((math.nan, 1.0, 2.0, 3.0), "not finite"),
        ((100.0, 100.0, math.inf, 160.0), "not finite"),
        ((100.0, 100.0, 100.0, 160.0), "empty"),
        ((200.0, 100.0, 100.0, 160.0), "empty"),
        ((100.0, 100.0, 102.0, 160.0), "too small"),
        ((700.0, 100.0, 800.0, 160.0), "outside the image"),
        ((-90.0, 100.0, 1.0, 160.0), "outside the image"),
    ],
)
def test_a_bad_box_is_rejected_with_the_reason_and_the_others_go_on(box, words):
    result = make().step(frame(0.0, box, A))
    assert ids(result) == ["car-1"]
    assert len(result.rejected) == 1
    assert words in result.rejected[0].reason


def test_an_unknown_category_is_rejected_and_says_what_is_loaded():
    result = make().step(frame(0.0, Detection(A, "zebra")))
    assert result.tracks == ()
    assert "'zebra'" in result.rejected[0].reason
    assert "loaded: car" in result.rejected[0].reason


def test_a_nan_score_is_rejected():
    result = make().step(frame(0.0, Detection(A, "car", math.nan, "x")))
    assert "score" in result.rejected[0].reason


def test_an_estimator_that_refuses_or_diverges_is_a_rejection():
    class Refuses(FakeEstimator):
        def observe_many(self, image, K, boxes):
            raise ValueError("the crop is empty")

    class Diverges(FakeEstimator):
        def solve(self, seen, *, prior=None, trust_box=True):
            good: FakeEstimate = super().solve(seen, prior=prior, trust_box=trust_box)
            good.T_cam_obj[0, 3] = np.nan
            return good

    for estimator, words in ((Refuses(), "the crop is empty"), (Diverges(), "not finite")):
        result = make(estimator).step(frame(0.0, A))
        assert result.tracks == ()
        assert words in result.rejected[0].reason


def test_image_and_camera_must_belong_together():
    good = frame(0.0, A)
    wrong = Frame(good.image[:100], good.camera, 5, good.detections)
    with pytest.raises(ValueError, match="640x100 pixels but its camera says 640x360"):
        make().step(wrong)
    grey = Frame(good.image[:, :, 0], good.camera, 5, good.detections)
    with pytest.raises(ValueError, match="uint8 expected"):
        make().step(grey)


def test_config_refuses_nonsense():
    with pytest.raises(ValueError, match="min_iou"):
        TrackerConfig(min_iou=1.5)
    with pytest.raises(ValueError, match="cold_every"):
        TrackerConfig(cold_every=-1)
    with pytest.raises(ValueError, match="no estimators"):
        Tracker({})


def test_the_same_frames_give_the_same_result():
    def run() -> list:
        rng = np.random.default_rng(3)
        estimator = FakeEstimator(lambda mode, n: (8.0 + math.sin(n), 0.3 + 0.5 * math.cos(n)))
        tracker = make(estimator)
        out = []
        for i in range(40):
            boxes = [moved(A, *rng.normal(0, 8, 2)), moved(B, *rng.normal(0, 8, 2))]
            for track in tracker.step(frame(0.1 * i, *boxes[: 1 + i % 2])).tracks:
                pose = track.estimate.T_cam_obj.tobytes()
                out.append((track.id, track.reason, pose))
        return out

    assert run() == run()
