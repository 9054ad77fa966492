# SPDX-License-Identifier: Apache-2.0
"""The tracker lets objects that overlap compete, as far as its budget goes."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
from test_estimator import CAMERA
from test_together import degrees, street

from nemo_model import Estimator
from nemo_model.tracker import Detection, Frame, Tracker, TrackerConfig


@pytest.fixture(scope="module")
def estimator(tmp_path_factory: pytest.TempPathFactory) -> Estimator:
    return Estimator.load(tiny.write(tmp_path_factory.mktemp("contest") / "tiny"))


def boxes_of(boxes: list[np.ndarray]) -> tuple[Detection, ...]:
    return tuple(
        Detection((float(b[0]), float(b[1]), float(b[2]), float(b[3])), "car", 0.9, name)
        for b, name in zip(boxes, ("near", "far"), strict=True)
    )


def followed(estimator: Estimator, config: TrackerConfig) -> list[dict[str, float]]:
    """Rotation errors by object, frame by frame; the same picture three times."""
    image, boxes, poses, _ = street()
    tracker = Tracker({"car": estimator}, config)
    truth = dict(zip(("near", "far"), poses, strict=True))
    result = []
    for k in range(3):
        done = tracker.step(Frame(image, CAMERA, (k + 1) * 10**8, boxes_of(boxes)))
        tracks = (*done.tracks, *done.unseen)
        result.append({t.id: degrees(t.estimate, truth[t.id]) for t in tracks})
    return result


def test_the_hidden_one_keeps_its_place_from_the_first_frame_on(estimator: Estimator) -> None:
    for errors in followed(estimator, TrackerConfig()):
        assert set(errors) == {"near", "far"}
        assert max(errors.values()) < 10.0


def test_a_budget_without_room_for_it_leaves_each_as_alone(estimator: Estimator) -> None:
    config = TrackerConfig(
        budget_ms=16.5, cost_observe_ms=4.0, cost_cold_ms=4.0, cost_warm_ms=1.0, cold_every=0
    )
    first = followed(estimator, config)[0]
    assert first["near"] < 10.0
    assert first["far"] > 20.0


def test_the_reason_says_what_stands_in_front(estimator: Estimator) -> None:
    image, boxes, _, _ = street()
    tracker = Tracker({"car": estimator})
    done = tracker.step(Frame(image, CAMERA, 10**8, boxes_of(boxes)))
    reasons = {t.id: t.reason for t in (*done.tracks, *done.unseen)}
    assert "behind near" in reasons["far"]
    assert "behind" not in reasons["near"]
