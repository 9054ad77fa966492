# SPDX-License-Identifier: Apache-2.0
"""The global search that checks a tracked pose: when it is believed, when it looks twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiny
from test_estimator import CAMERA, SCENE
from tracking_doubles import FakeEstimator, frame

from nemo_model import Estimator
from nemo_model.boxes import Detection
from nemo_model.estimate import Estimate, Observation
from nemo_model.pose import transform
from nemo_model.tracker import Frame, Tracker, TrackerConfig
from nemo_model.tracking.looking import AGREES

BOX = (100.0, 80.0, 220.0, 160.0)


@pytest.mark.parametrize(("lacks", "mode"), [(0.5 * AGREES, "cold"), (2.0 * AGREES, "warm")])
def test_a_search_that_agrees_is_believed_unless_it_lacks_energy(lacks: float, mode: str) -> None:
    estimator = FakeEstimator(lambda how, _: (10.0 * (1 - lacks if how == "cold" else 1), 0.9))
    tracker = Tracker({"car": estimator}, TrackerConfig(cold_every=1, grid_deg=0.0))
    for i in range(4):
        tracks = tracker.step(frame(0.1 * i, BOX)).tracks
    assert tracks[0].estimate.mode == mode


class Watched(Estimator):
    """Notes of every global search whether it might look twice; may turn what one look finds."""

    twice: list[bool]
    turned: bool

    def solve(self, seen: Observation, **options: Any) -> Estimate:
        found = super().solve(seen, **options)
        if options.get("prior") is not None:
            return found
        self.twice.append(seen.pixels is not None)
        if self.turned and seen.pixels is None:
            half_turn = np.diag([-1.0, -1.0, 1.0])
            T = transform(found.rotation @ half_turn, found.position)
            return replace(found, T_cam_obj=T)
        return found


@pytest.mark.parametrize("turned", [False, True])
def test_a_check_looks_twice_only_where_it_disagrees(
    tmp_path_factory: pytest.TempPathFactory, turned: bool
) -> None:
    folder = tiny.write(tmp_path_factory.mktemp("watched") / "tiny", mirror=True)
    estimator = Watched.load(folder)
    assert isinstance(estimator, Watched)
    estimator.twice, estimator.turned = [], turned
    image, box = tiny.photo(CAMERA, SCENE)
    x1, y1, x2, y2 = (float(side) for side in box)
    boxes = (Detection((x1, y1, x2, y2), "car", 0.9, "one"),)
    config = TrackerConfig(upper_score=0.0, lower_score=0.0, weak_energy=0.0, confirm_hits=1)
    tracker = Tracker({"car": estimator}, config)
    for i in range(4):
        done = tracker.step(Frame(image, CAMERA, (i + 1) * 10**8, boxes))
    assert estimator.twice[0]  # a new object: looks twice where it is in doubt
    assert estimator.twice[-2:] == ([False, True] if turned else [False, False])
    R = done.tracks[0].estimate.rotation
    assert float(np.trace(R.T @ SCENE[:3, :3])) > 2.9  # and the pose is the right one
